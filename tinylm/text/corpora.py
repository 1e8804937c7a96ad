"""Corpora: where documents come from, and how they are split into training and validation.

A corpus is a list of documents.  Three have names: `stories` is generated, `python` is read from
the running interpreter, `tinystories` is downloaded first.  Everything else is a text file.
Documents are streamed, so a file may be larger than the memory.
"""
from __future__ import annotations

import hashlib
import os
import platform
import re
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tinylm.errors import DataMissing, UsageError, nearest
from tinylm.ops.random import generator

from .tokenizer import END_OF_TEXT

MODES = ("auto", "blank-line", "whole")
VALIDATION_SHARE = 0.1
MOST_STORIES = 1_000_000
DEFAULT_STORIES = 5_500  # about 5 MB

DESCRIPTIONS = {
    "stories": "short children's stories from a generator whose entropy is known; ships with tinylm",
    "python": "source files of the standard library of the Python that runs tinylm",
    "tinystories": "TinyStories V2 (Eldan and Li 2023), downloaded by `tinylm data get tinystories`",
}

_MARKER = END_OF_TEXT.encode()
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Document:
    """One text; `logp` is its known log-probability in nats where its source has one."""

    text: str
    logp: float | None = None


@dataclass(frozen=True)
class Corpus:
    """Documents that can be read again and again, in one fixed order.

    name       what folders and tables call it
    source     where it came from, for people
    digest     sha256 of everything the documents depend on
    documents  a new iterator over the documents
    single     one running text: it is cut inside, and its end is not marked
    validation a given second iterator, where the corpus comes already split
    skipped    files left out, and why
    """

    name: str
    source: str
    digest: str
    documents: Callable[[], Iterator[Document]]
    single: bool = False
    validation: Callable[[], Iterator[Document]] | None = None
    skipped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Numbers of the documents on each side, ascending, and what was found to be the same.

    removed     validation documents left out because training has the same text
    repeated    training documents whose text an earlier training document has; they stay
    """

    train: np.ndarray
    val: np.ndarray
    removed: int
    repeated: int


def open_corpus(source: str | os.PathLike, documents: str = "auto", size: int | None = None,
                seed: int = 0) -> Corpus:
    """The corpus that a name or a path stands for.

    documents  how a file is cut: "auto" at `<|endoftext|>` where it has any, "blank-line" at empty
               lines too, "whole" never
    size       stories to generate, or bytes of TinyStories to use; None for the default
    seed       of the generated stories

    Raises UsageError for an unknown name or an option that does not fit; DataMissing for a file that
    is missing, empty, binary or not UTF-8.
    """
    name = os.fspath(source)
    if documents not in MODES:
        raise UsageError(f"documents {documents!r}: choose one of {', '.join(MODES)}")
    if size is not None and size < 1:
        raise UsageError(f"size {size}: at least 1 is needed")
    if not 0 <= seed < 2**64:
        raise UsageError(f"seed {seed}: it must lie between 0 and 2**64 − 1")
    if name in DESCRIPTIONS and isinstance(source, str):
        if documents == "blank-line":
            raise UsageError(f"{name} already consists of documents; blank-line is for text files")
        if name == "stories":
            return _stories(size, seed)
        if name == "tinystories":
            return _tinystories(size)
        if size is not None:
            raise UsageError("the size of python is given by the interpreter; leave it out")
        return _python()
    if size is not None:
        raise UsageError(f"size is for stories and tinystories; {name} is used as it is")
    return _file(Path(name), documents, named=name)


# -- the corpora ------------------------------------------------------------------------------------

def _stories(size: int | None, seed: int) -> Corpus:
    from . import stories

    count = DEFAULT_STORIES if size is None else size
    if not 2 <= count <= MOST_STORIES:
        raise UsageError(f"{count} stories: between 2 and {MOST_STORIES:,} are possible")
    digest = hashlib.sha256(f"stories {count} {seed}".encode())
    for path in sorted(Path(stories.__file__).parent.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.read_bytes())
    kept: list[Document] = []

    def documents() -> Iterator[Document]:
        if not kept:  # generated once, read twice
            kept.extend(Document(text, logp) for text, logp in stories.generate(count, seed))
        return iter(kept)

    return Corpus("stories", f"{count} generated stories, seed {seed}", digest.hexdigest(), documents)


# Tests are more than half of the library and little like the rest: byte tables, generated cases.
_LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


def _python() -> Corpus:
    """Standard library sources, one document per file, in the order of their relative paths.

    Installed packages and the folders test, tests and idle_test are left out; files that are not
    UTF-8, are empty or contain the end-of-text marker are skipped and counted.
    """
    root = Path(sysconfig.get_path("stdlib"))
    texts, skipped = [], {}
    digest = hashlib.sha256(b"python")

    def skip(reason: str) -> None:
        skipped[reason] = skipped.get(reason, 0) + 1

    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in _LEFT_OUT)
        for name in sorted(n for n in names if n.endswith(".py")):
            try:
                text = (Path(folder) / name).read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                skip("not UTF-8")
                continue
            except OSError:
                skip("unreadable")
                continue
            if not text.strip():
                skip("empty")
            elif END_OF_TEXT in text or "\0" in text:
                skip("contains a marker")
            else:
                texts.append(((Path(folder) / name).relative_to(root).as_posix(), text))
    if len(texts) < 2:
        raise DataMissing(f"no standard library sources under {root} (this Python is installed without them)")
    texts.sort()
    for path, text in texts:
        digest.update(f"{path}\0{len(text)}\0".encode())
        digest.update(text.encode())
    return Corpus("python", f"standard library of Python {platform.python_version()}",
                  digest.hexdigest(), lambda: (Document(text) for _, text in texts), skipped=skipped)


def _tinystories(size: int | None) -> Corpus:
    from .download import find_tinystories

    found = find_tinystories(size)
    train, val = (_scan(path, str(path)) for path in (found.train, found.valid))
    for path, scan, want in ((found.train, train, found.digests.get("train")),
                             (found.valid, val, found.digests.get("valid"))):
        if want and scan.digest != want:
            raise DataMissing(f"{path}: not what was downloaded (its sha256 has changed); "
                              "delete it and run: tinylm data get tinystories")
    digest = hashlib.sha256(f"tinystories {train.digest} {val.digest} {size}".encode())
    source = found.source if size is None else f"{found.source}; {size:,} bytes of it"
    return Corpus("tinystories", source, digest.hexdigest(),
                  lambda: _first(_pieces(found.train, train, _at_markers), size),
                  validation=lambda: _first(_pieces(found.valid, val, _at_markers), size and size // 10),
                  notes=found.notes)


def _first(documents: Iterator[Document], size: int | None) -> Iterator[Document]:
    """Documents until `size` bytes are full, but always one."""
    total = 0
    for number, document in enumerate(documents):
        total += len(document.text.encode("utf-8"))
        if size is not None and total > size and number:
            return
        yield document


def _file(path: Path, mode: str, named: str) -> Corpus:
    _check_file(path, named)
    scan = _scan(path, named)
    cut = _whole
    if mode == "blank-line":
        cut = _at_blank_lines
    elif mode == "auto" and scan.markers:
        cut = _at_markers

    def documents() -> Iterator[Document]:
        return _pieces(path, scan, cut)

    # Two documents are enough to know; what follows is checked when it is read for the tokens.
    first_two = [None for _, _ in zip(range(2), documents(), strict=False)]
    if not first_two:
        raise DataMissing(f"{named} is empty: it holds nothing but white space")
    single = len(first_two) == 1
    notes = ()
    if single and mode == "blank-line":
        notes = (f"{named} has no blank line between texts: it is used as one document",)
    digest = hashlib.sha256(f"file {mode if cut is not _whole else 'whole'} {scan.digest}".encode())
    return Corpus(_plain(path.stem), str(path.resolve()), digest.hexdigest(), documents,
                  single=single, notes=notes)


def _check_file(path: Path, named: str) -> None:
    try:
        if named.strip() and path.is_dir():
            raise DataMissing(f"{named} is a folder: give one text file")
        exists = path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL
        exists = False
    if not named.strip():
        raise UsageError(f"no corpus is given{nearest(named, DESCRIPTIONS)}")
    if not exists:
        if re.fullmatch(r"[\w-]{1,40}", named):
            raise UsageError(f"no corpus and no file is called {named!r}{nearest(named, DESCRIPTIONS)}")
        shown = named if len(named) <= 120 else named[:117] + "…"
        raise DataMissing(f"{shown!r}: no such file; the corpora are {', '.join(DESCRIPTIONS)}")
    if not path.is_file():
        raise DataMissing(f"{named} is not an ordinary file: save its content to one first")


# -- reading a file -------------------------------------------------------------------------------

@dataclass(frozen=True)
class _Scan:
    digest: str
    markers: bool
    named: str
    state: tuple[int, int]  # size and time of change, to notice a file that grows while it is read


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _scan(path: Path, named: str) -> _Scan:
    """One pass over the bytes: digest, end-of-text markers, and whether this is a text at all."""
    digest, markers, tail, at = hashlib.sha256(), False, b"", 0
    try:
        state = _state(path)
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                if at == 0 and block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise DataMissing(f"{named} is UTF-16, not UTF-8: convert it first "
                                      "(iconv -f UTF-16 -t UTF-8)")
                if b"\0" in block:
                    raise DataMissing(f"{named} is binary, not text: there is a zero byte at offset "
                                      f"{at + block.index(0)}")
                digest.update(block)
                seam = tail + block
                markers = markers or _MARKER in seam
                tail = seam[-len(_MARKER) + 1:]
                at += len(block)
    except OSError as error:
        raise DataMissing(f"{named} cannot be read: {error.strerror}") from None
    if at == 0:
        raise DataMissing(f"{named} is empty")
    return _Scan(digest.hexdigest(), markers, named, state)


def _pieces(path: Path, scan: _Scan, cut) -> Iterator[Document]:
    """The documents of a scanned file; white space alone is none."""
    try:
        with path.open("rb") as file:
            for offset, raw in cut(file):
                if offset == 0 and raw.startswith(b"\xef\xbb\xbf"):  # byte order mark
                    offset, raw = 3, raw[3:]
                try:
                    text = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise DataMissing(
                        f"{scan.named} is not UTF-8: byte 0x{raw[error.start]:02x} at offset "
                        f"{offset + error.start} does not fit; convert it first (iconv)") from None
                if text.strip():
                    yield Document(text)
        if _state(path) != scan.state:
            raise DataMissing(f"{scan.named} changed while it was read: run again when it is finished")
    except OSError as error:
        raise DataMissing(f"{scan.named} cannot be read: {error.strerror}") from None


def _whole(file) -> Iterator[tuple[int, bytes]]:
    yield 0, file.read()


def _at_markers(file) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) between markers, without the line breaks that set a marker off."""
    start, rest, searched = 0, b"", 0
    while block := file.read(_BLOCK):
        rest += block
        begin = 0
        while (end := rest.find(_MARKER, max(begin, searched))) >= 0:
            yield _bare(start + begin, rest[begin:end])
            begin = searched = end + len(_MARKER)
        start, rest = start + begin, rest[begin:]
        searched = max(0, len(rest) - len(_MARKER) + 1)
    yield _bare(start, rest)


def _at_blank_lines(file) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of paragraphs; an end-of-text marker parts them as well."""
    at = start = 0
    lines: list[bytes] = []
    for line in file:
        if line.strip():
            if not lines:
                start = at
            lines.append(line)
        elif lines:
            yield from _marked_parts(start, b"".join(lines))
            lines = []
        at += len(line)
    if lines:
        yield from _marked_parts(start, b"".join(lines))


def _marked_parts(offset: int, raw: bytes) -> Iterator[tuple[int, bytes]]:
    for part in raw.split(_MARKER):
        yield _bare(offset, part)
        offset += len(part) + len(_MARKER)


def _bare(offset: int, raw: bytes) -> tuple[int, bytes]:
    """Without line breaks at either end: they belong to the separator."""
    bare = raw.lstrip(b"\r\n")
    return offset + len(raw) - len(bare), bare.rstrip(b"\r\n")


def _plain(stem: str) -> str:
    """A file's name as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:40] or "text"


# -- splitting --------------------------------------------------------------------------------------

def text_key(text: str) -> bytes:
    """Equal for texts that are equal up to surrounding white space."""
    return hashlib.blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=16).digest()


def split_documents(keys: list[bytes], seed: int, named: str = "the corpus") -> Split:
    """Deal whole documents, a tenth of them to validation, at least one to each side.

    keys  `text_key` of every document, in corpus order
    A validation document whose text training has as well is taken out; should none be left, one
    whose text occurs once takes its place.  A pure function of the keys and the seed.

    Raises DataMissing where there are fewer than two different texts.
    """
    count = len(keys)
    if len(set(keys)) < 2:
        raise DataMissing(f"{named}: all documents have the same text, so nothing is left to validate on")
    order = np.argsort(generator(seed, "split").random(count), kind="stable")
    share = min(max(1, round(count * VALIDATION_SHARE)), count - 1)
    val, train = np.sort(order[:share]), np.sort(order[share:])
    known = {keys[i] for i in train}
    kept = np.array([i for i in val if keys[i] not in known], dtype=np.int64)
    removed = len(val) - len(kept)
    if not len(kept):
        times: dict[bytes, int] = {}
        for key in keys:
            times[key] = times.get(key, 0) + 1
        # With no text that occurs once, all copies of the first text move over together.
        chosen = next((keys[i] for i in order if times[keys[i]] == 1), keys[order[0]])
        kept = np.array([i for i in range(count) if keys[i] == chosen], dtype=np.int64)
        train = np.array([i for i in range(count) if keys[i] != chosen], dtype=np.int64)
        removed = 0
    return Split(train, kept, removed, len(train) - len({keys[i] for i in train}))


def given_split(train_keys: list[bytes], val_keys: list[bytes]) -> Split:
    """The same for a corpus that comes in two parts; validation is numbered after training.

    Raises DataMissing where one side has nothing of its own.
    """
    known = set(train_keys)
    kept = [len(train_keys) + i for i, key in enumerate(val_keys) if key not in known]
    if not kept or not train_keys:
        raise DataMissing("the validation part holds no document that training lacks")
    return Split(np.arange(len(train_keys)), np.array(kept), len(val_keys) - len(kept),
                 len(train_keys) - len(known))


def split_text(text: str, named: str = "the text") -> tuple[str, str]:
    """One running text: its first nine tenths and its last tenth, counted in characters.

    Source: nanoGPT, data/shakespeare_char/prepare.py (`int(n * 0.9)`).
    Raises DataMissing for a text too short to give both a character.
    """
    cut = int(len(text) * 0.9)
    if cut < 1 or cut >= len(text):
        raise DataMissing(f"{named}: {len(text)} character{'s' * (len(text) != 1)} cannot be split into "
                          "training and validation")
    return text[:cut], text[cut:]
