"""Fetching TinyStories from the Hugging Face hub, whole or the first megabytes of it.

`huggingface_hub` finds the file, its size and its checksum.  The bytes are fetched here, because
it neither takes part of a file nor goes on, in a second run, where a broken one stopped.
"""
from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tinylm import config
from tinylm.errors import DataMissing, TinylmError, UsageError

from .tokenizer import END_OF_TEXT

REPOSITORY = "roneneldan/TinyStories"
FILES = {"train": "TinyStoriesV2-GPT4-train.txt", "valid": "TinyStoriesV2-GPT4-valid.txt"}
HUB = "https://huggingface.co"

# Validation shrinks with the subset, but not below some twenty stories.
_VALID_SHARE, _VALID_LEAST = 10, 20_000
_BLOCK = 1 << 18
_TRIES = 5       # attempts in a row that bring no byte
_PAUSE = 1.0     # seconds before the second attempt; doubles
_TIMEOUT = 30.0  # seconds without a byte

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class TinyStories:
    """The two files on this machine.

    digests  sha256 of each, where it was recorded when they were downloaded
    """

    train: Path
    valid: Path
    source: str
    digests: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Remote:
    location: str
    etag: str
    size: int | None
    commit: str | None

    @property
    def sha256(self) -> str | None:
        """The hub gives large files their sha256 as entity tag, small ones a git hash."""
        return self.etag if re.fullmatch(r"[0-9a-f]{64}", self.etag) else None


def folder() -> Path:
    """Where TinyStories is kept: one folder named `full`, and one per subset named by its bytes."""
    return config.cache_dir() / "downloads" / "tinystories"


def parse_size(text: str) -> int:
    """Bytes of "20MB", "1.5 GB", "64KiB" or "1000".  Raises UsageError for anything else."""
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([kKmMgG]?)(i?)([bB]?)\s*", text)
    if not match or (match[3] and not match[2]):
        raise UsageError(f"{text!r} is not a size: write 20MB, 1.5GB or a number of bytes")
    step = 1024 if match[3] else 1000
    size = int(float(match[1]) * step ** " kmg".index(match[2].lower() or " "))
    if size < 1:
        raise UsageError(f"{text!r} is less than one byte")
    return size


def find_tinystories(size: int | None = None) -> TinyStories:
    """The files to use: everything if it is there, else the largest subset.

    size  bytes of training text wanted; the smallest collection that has them is taken

    Raises DataMissing, with what to do, where there is none.
    """
    have: dict[float, Path] = {}
    root = folder()
    if root.is_dir():
        for path in root.iterdir():
            if all((path / name).is_file() for name in FILES.values()):
                if path.name == "full":
                    have[float("inf")] = path
                elif path.name.isascii() and path.name.isdecimal():
                    have[int(path.name)] = path
    if not have:
        raise DataMissing("tinystories is not on this machine: run  tinylm data get tinystories --subset "
                          f"20MB  (all of it: 2.2 GB, without --subset); by hand: {_by_hand()}")
    enough = [n for n in have if size is None or n >= size]
    if not enough:
        raise DataMissing(f"only {max(have):,.0f} bytes of tinystories are on this machine, {size:,} are "
                          f"asked for: run  tinylm data get tinystories --subset {size}")
    chosen = max(enough) if size is None else min(enough)
    path, what = have[chosen], "all" if chosen == float("inf") else f"the first {chosen:,} bytes"
    record = _read_json(path / "record.json").get("files")
    record = record if isinstance(record, dict) else {}
    digests = {split: entry["sha256"] for split, entry in record.items()
               if isinstance(entry, dict) and isinstance(entry.get("sha256"), str)}
    notes = () if what == "all" or size is not None else (
        f"tinystories: {what}, the largest part on this machine",)
    return TinyStories(path / FILES["train"], path / FILES["valid"],
                       f"TinyStories V2, {what} ({REPOSITORY})", digests, notes)


def get_tinystories(subset: int | str | None = None, progress: Progress | None = None) -> TinyStories:
    """Download TinyStories V2; a broken download goes on where it stopped, in this run or the next.

    subset    take only so many bytes of training text (and a tenth of that for validation), cut
              after a whole story; an int or "20MB"
    progress  called with (file name, bytes so far, bytes in all or None)

    The server is HF_ENDPOINT, else the Hugging Face hub.  A whole file is compared with the sha256
    that the server announces; of a subset the sha256 is recorded and checked on later use.

    Raises DataMissing where the server cannot be reached or sends something else, naming the steps
    to take by hand; UsageError for a subset of no bytes; TinylmError where the disk is full.
    """
    if isinstance(subset, str):
        subset = parse_size(subset)
    if subset is not None and subset < 1:
        raise UsageError(f"subset of {subset} bytes: at least one story is needed")
    target = folder() / ("full" if subset is None else str(subset))
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            record = _read_json(target / "record.json")
            files = record["files"] if isinstance(record.get("files"), dict) else {}
            for split, name in FILES.items():
                if (target / name).is_file():
                    continue
                wanted = None
                if subset is not None:
                    wanted = subset if split == "train" else max(subset // _VALID_SHARE, _VALID_LEAST)
                files[split] = _fetch(name, target, wanted, progress or (lambda *_: None))
                _write_json(target / "record.json", {"repository": REPOSITORY, "files": files})
    except OSError as error:
        raise TinylmError(f"cannot write the download to {target}: {error.strerror or error}; free some "
                          "space or set TINYLM_CACHE_DIR") from None
    return find_tinystories(subset)


# -- one file ---------------------------------------------------------------------------------------

def _fetch(name: str, target: Path, wanted: int | None, progress: Progress) -> dict:
    """Bring one file into the folder.  Returns what the record keeps of it."""
    part, about = target / f"{name}.part", target / f"{name}.part.json"
    remote = _look_up(name)
    if wanted is not None and remote.size is not None and wanted >= remote.size:
        wanted = None  # the whole file is smaller
    # What a broken run left is only good if the server still has the same file.
    if _read_json(about).get("etag") != remote.etag:
        part.unlink(missing_ok=True)
        _write_json(about, {"etag": remote.etag})
    total = wanted if wanted is not None else remote.size
    have = part.stat().st_size if part.exists() else 0
    if total is not None and shutil.disk_usage(target).free < total - have:
        raise TinylmError(f"{name} needs {total - have:,} more bytes than the disk of {target} has free: "
                          "use --subset, or set TINYLM_CACHE_DIR")
    _transfer(name, remote, part, total, progress)
    if wanted is None:
        digest = _sha256(part)
        if remote.sha256 and digest != remote.sha256:
            part.unlink()
            raise DataMissing(f"{name} arrived damaged (sha256 {digest[:12]}… instead of "
                              f"{remote.sha256[:12]}…) and was deleted: run the command again")
    else:
        _cut_after_last_document(part, name)
        digest = _sha256(part)
    size = part.stat().st_size
    part.rename(target / name)
    about.unlink(missing_ok=True)
    return {"name": name, "size": size, "sha256": digest, "etag": remote.etag, "commit": remote.commit,
            "whole": wanted is None}


def _look_up(name: str) -> _Remote:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    endpoint = _endpoint()
    url = hf_hub_url(REPOSITORY, name, repo_type="dataset", endpoint=endpoint)
    try:
        # The data set is public; a token would only be sent to whatever HF_ENDPOINT names.
        found = get_hf_file_metadata(url, token=False, timeout=_TIMEOUT)
    except Exception as error:  # its HTTP library, and so the kind of error, depends on the version
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise _unreachable(f"it answered {status} for {name}" if status else
                           f"no connection, {_first_line(error)}") from None
    if not found.etag:
        raise _unreachable(f"it says nothing about the content of {name}")
    return _Remote(found.location, found.etag, found.size, found.commit_hash)


def _transfer(name: str, remote: _Remote, part: Path, total: int | None, progress: Progress) -> None:
    """Fetch bytes until the partial file has `total` of them, resuming after every break."""
    import http.client  # here and below: commands that download nothing shall not wait for them
    import ssl
    import urllib.error

    fruitless = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        progress(name, have, total)
        if total is not None and have > total:
            os.truncate(part, total)
            continue
        if have == total:
            return
        try:
            ended = _receive(name, remote.location, part, have, total, progress)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing of the file lies where we want to go on
                part.unlink(missing_ok=True)
            elif error.code not in (408, 429) and error.code < 500:
                raise _unreachable(f"it answered {error.code} for {name}") from None
            reason = f"it answered {error.code} for {name}"
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError,
                ssl.SSLError) as error:
            reason = f"the connection broke, {_first_line(error)}"
        else:
            if total is None and ended:
                return
            reason = "the connection broke"
        now = part.stat().st_size if part.exists() else 0
        fruitless = 0 if now > have else fruitless + 1
        if fruitless >= _TRIES:
            raise _unreachable(f"{reason}; {now:,} bytes are kept and the same command goes on from there")
        time.sleep(_PAUSE * 2 ** max(0, fruitless - 1))


def _receive(name: str, url: str, part: Path, have: int, total: int | None, progress: Progress) -> bool:
    """One request; appends what arrives.  True where the server sent all it announced."""
    import http.client
    import urllib.request

    last = "" if total is None else total - 1
    request = urllib.request.Request(url, headers={
        "Range": f"bytes={have}-{last}", "Accept-Encoding": "identity", "User-Agent": "tinylm"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        start = 0
        if response.status == 206:
            span = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            start = int(span[1]) if span else -1
            if start != have:
                raise http.client.HTTPException("it sent another range than was asked for")
        announced = response.headers.get("Content-Length")
        # A server that ignores ranges starts again from the first byte.
        with part.open("ab" if start else "wb") as file:
            at = start
            while total is None or at < total:
                block = response.read(_BLOCK if total is None else min(_BLOCK, total - at))
                if not block:
                    break
                file.write(block)
                at += len(block)
                progress(name, at, total)
    return announced is not None and at - start == int(announced)


def _cut_after_last_document(part: Path, name: str) -> None:
    """Shorten a partial text to its last whole document, with the marker that ends it."""
    marker = END_OF_TEXT.encode()
    with part.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        tail, at = b"", end
        while at > 0:
            begin = max(0, at - _BLOCK)
            file.seek(begin)
            block = file.read(at - begin) + tail
            found = block.rfind(marker)
            if found >= 0:
                file.truncate(begin + found + len(marker))
                return
            tail, at = block[:len(marker) - 1], begin
    part.unlink()
    raise DataMissing(f"the first {end:,} bytes of {name} hold no whole story: ask for a larger subset")


# -- small things -----------------------------------------------------------------------------------

def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _by_hand() -> str:
    return (f"put {FILES['train']} and {FILES['valid']} from {HUB}/datasets/{REPOSITORY} into "
            f"{folder() / 'full'}, or use any other text with --data FILE")


def _unreachable(reason: str) -> DataMissing:
    return DataMissing(f"TinyStories cannot be downloaded from {_endpoint()}: {reason}. "
                       f"By hand: {_by_hand()}")


def _first_line(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return (str(reason).strip().splitlines() or [type(error).__name__])[0][:160]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict:
    """The object in a file; {} where there is none."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_json(path: Path, value: dict) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(value, indent=1))
    fresh.replace(path)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Two downloads into one folder would append to the same partial file: the second is refused."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    with (target / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TinylmError(f"another process is downloading into {target}: wait for it") from None
        yield
