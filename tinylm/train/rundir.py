"""The folder of a run: who may write to it, and what stands where.

    runs/<time>-<preset>-<hex>/
        config.toml         the resolved options, and where each came from
        environment.json    machine, versions, command
        metrics.jsonl       one JSON object a line: train and val losses with their units
        samples/000500.txt  what the model wrote after step 500
        checkpoints/        see `tinylm.train.checkpoint`
        report.html
        STATUS              running, finished, interrupted, diverged or failed, and a few words
        LOCK                held by the process that trains
    runs/latest -> the newest
"""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from .. import __version__, threads
from ..errors import DataMissing, TinylmError, UsageError, nearest

RUNS = Path("runs")
STATUSES = ("running", "finished", "interrupted", "diverged", "failed")
_TRIES = 5


def machine() -> dict:
    """Versions and hardware."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"tinylm": __version__, "python": platform.python_version(), "platform": platform.platform(),
            "processor": _processor(), "processors": threads.available(), "memory_bytes": memory,
            **{name: version(name) for name in ("numpy", "numba", "llvmlite")}}


def _processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def find(name: str | os.PathLike, base: Path = RUNS, *, also: Iterable[str] = (), called: str = "run") -> Path:
    """The folder of a run: a path, or a name under `base`, such as `latest`.

    also      names of other things that the caller would have taken, and
    called    what all of them are called, for the message

    What every command that takes a run says of a wrong name is decided here.  A name that nothing has is a wrong
    request: usage, exit code 2.  Where the name is right and what should be behind it is not there or not whole,
    data is missing: exit code 4.  So is `latest` before the first run.

    Raises    UsageError with the nearest names where nothing is called so; DataMissing where a folder is no run,
              and for `latest` where there is none yet
    """
    for path in (Path(name), base / name):
        if (path / "checkpoints").is_dir() or (path / "config.toml").is_file():
            return path.resolve()
    for path in (Path(name), base / name):
        if str(name) and path.is_dir():
            raise DataMissing(f"{path} is a folder, but no run: it has no config.toml")
    if name == "latest":
        raise DataMissing(f"{base / name} leads to no run: tinylm train makes one")
    known = [*also, *(p.name for p in base.iterdir() if p.is_dir())] if base.is_dir() else [*also]
    raise UsageError(f"there is no {called} {str(name)!r}"
                     + (nearest(str(name), known) if known else f" and none in {base}/"))


def status(path: Path) -> str:
    """A word of STATUSES, or "killed" for a run that says it is running while nobody trains it."""
    try:
        word = ((path / "STATUS").read_text("utf-8").split() or ["unknown"])[0]
    except OSError:
        return "unknown"
    return "killed" if word == "running" and owner(path) is None else word


def owner(path: Path) -> str | None:
    """Number of the process that trains in this folder, or None."""
    try:
        with (path / "LOCK").open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except BlockingIOError:
        return (path / "LOCK").read_text("utf-8").strip() or "unknown"
    except OSError:
        return None


def metrics(path: Path) -> list[dict]:
    """The lines of metrics.jsonl; one that a killed process left unfinished is left out."""
    try:
        content = (path / "metrics.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    found = []
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found


class RunDir:
    """A run's folder, held by this process until `close`."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = _lock(path)
        self._metrics = None
        self._latest: Path | None = None
        self._new = False

    @classmethod
    def create(cls, preset: str, out: str | os.PathLike | None = None, base: Path = RUNS) -> RunDir:
        """A new folder: `out`, or one under `base` named by time and preset.

        Raises    UsageError where `out` holds something already, TinylmError where another process
                  trains there or nothing can be written
        """
        named = base / f"{time.strftime('%Y%m%d-%H%M%S')}-{preset}-{os.urandom(3).hex()}"
        path = named if out is None else Path(out)
        try:
            path.mkdir(parents=True, exist_ok=out is not None)
            run = cls(path.resolve())
            held = sorted(p.name for p in path.iterdir() if p.name != "LOCK")
            if held:
                run.close()
                if "checkpoints" in held or "config.toml" in held:
                    raise UsageError(f"--out {path} holds a run already: --resume {path} continues it, "
                                     "another --out starts one")
                raise UsageError(f"--out {path} is not empty: it holds {held[0]}")
            run.checkpoints.mkdir()
            run._latest, run._new = base / "latest" if out is None else None, True
        except FileExistsError:
            raise UsageError(f"--out {path}: there is a file of that name") from None
        except OSError as error:
            raise TinylmError(f"the run cannot be kept in {path}: {error.strerror or error}") from None
        return run

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None and self._new and not (self.path / "STATUS").exists():
            self.abandon()  # stopped before training could begin
        else:
            self.close()

    def close(self) -> None:
        """Let go of the folder."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        self._lock.close()

    def publish(self) -> None:
        """Lead `runs/latest` here: there is something to see.   Raises TinylmError"""
        if self._latest is not None:
            try:
                _lead(self._latest, self.path.name)
            except OSError as error:
                raise TinylmError(f"{self._latest} cannot be written: {error.strerror or error}") from error

    def abandon(self) -> None:
        """Delete a run that did not begin."""
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def say(self, word: str, more: str = "") -> None:
        """Set STATUS."""
        assert word in STATUSES
        self.write("STATUS", f"{word} {more}".strip() + "\n")

    def write(self, name: str, content: str) -> Path:
        """Write a file of the run, whole or not at all.   Raises TinylmError"""
        path = self.path / name
        new = path.with_name(f".{path.name}.writing")
        try:
            path.parent.mkdir(exist_ok=True)
            new.write_text(content, "utf-8")
            os.replace(new, path)
        except OSError as error:
            raise TinylmError(f"{path} cannot be written: {error.strerror or error}") from error
        return path

    def add_environment(self, facts: dict) -> None:
        """Keep what a session runs on: the first fills environment.json, later ones join `resumed`."""
        facts = {"started": time.time(), "command": sys.argv, **machine(), **facts}
        try:
            before = json.loads((self.path / "environment.json").read_bytes())
            before.setdefault("resumed", []).append(facts)
        except (OSError, ValueError, AttributeError):  # not there yet, or no longer readable: begin anew
            before = facts
        self.write("environment.json", json.dumps(before, indent=1, ensure_ascii=False) + "\n")

    def write_sample(self, step: int, text: str) -> Path:
        return self.write(f"samples/{step:06d}.txt", text)

    def add_metrics(self, values: dict) -> None:
        """Append a line to metrics.jsonl and hand it to the system.   Raises TinylmError"""
        try:
            if self._metrics is None:
                self._metrics = (self.path / "metrics.jsonl").open("a", encoding="utf-8")
            self._metrics.write(json.dumps(values, allow_nan=False) + "\n")
            self._metrics.flush()
        except OSError as error:
            raise TinylmError(f"{self.path / 'metrics.jsonl'} cannot be written: "
                              f"{error.strerror or error}") from error

    def sync_metrics(self) -> None:
        """Have the lines on the disk before a checkpoint that comes after them."""
        if self._metrics is not None:
            os.fsync(self._metrics.fileno())

    def forget_after(self, step: int) -> None:
        """Take away metrics and samples of later steps: they will come again."""
        kept = [line for line in metrics(self.path)
                if isinstance(line.get("step"), int) and line["step"] <= step]
        self.write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
        for sample in (self.path / "samples").glob("*.txt"):
            if sample.stem.isdigit() and int(sample.stem) > step:
                sample.unlink()


def _lock(path: Path):
    """Hold the folder.  The system frees the lock when its process ends, however it ends."""
    try:
        handle = (path / "LOCK").open("a+", encoding="utf-8")
    except OSError as error:
        raise TinylmError(f"nothing can be written in {path}: {error.strerror or error}") from None
    for attempt in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if attempt < _TRIES - 1:  # `owner` may be looking at it just now
                time.sleep(0.02)
                continue
            handle.seek(0)
            process = handle.read().strip() or "unknown"
            handle.close()
            raise TinylmError(f"process {process} is training in {path}: wait for it, or choose "
                              "another --out") from None
        except OSError:
            handle.close()
            raise
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def _lead(link: Path, target: str) -> None:
    """Lead a symbolic link to another target in one step, unless something else has that name."""
    if link.exists() and not link.is_symlink():
        return
    new = link.with_name(f".{link.name}-{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    os.replace(new, link)
