"""Whoever answers an exercise: a learner's file in a process of its own, or the course's own code here."""
from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from . import worker

MEMORY = 4 << 30           # bytes of address space
START_SECONDS = 20.0       # for importing the file
# Read now, before any submission runs: see worker.py.
_SOURCE = Path(worker.__file__).read_text("utf-8")


class AnswerError(Exception):
    """The answer raised an error of its own: `kind`, message, and the line of its file, if known."""

    def __init__(self, kind: str, message: str, line: int | None):
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind, self.message, self.line = kind, message, line


class NotWritten(Exception):
    """The stub is still there."""


class Gone(BaseException):
    """No answer will come: out of time, or the process died.  Not an Exception: no use in shrinking it."""


class Answer:
    """What both kinds share: functions are called as attributes, `yours.softmax(logits)`.

    calls     name and arguments of the last call
    seconds   how long it took
    printed   what it printed
    """

    def __init__(self):
        self.last: tuple[str, tuple] | None = None
        self.seconds, self.printed = 0.0, ""
        self.until = float("inf")

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: self.call(name, args)[0]

    def fills(self, name: str, *args):
        """Call with arrays that may be written to; returns (result, the arrays afterwards)."""
        return self.call(name, args, fills=True)

    def threaded(self, count: int, name: str, *args):
        """Call with `count` Numba threads."""
        return self.call(name, args, threads=count)[0]


class Direct(Answer):
    """The course's own functions, called here with the same conversions as across the pipe."""

    def __init__(self, functions: Mapping[str, Callable]):
        super().__init__()
        self._functions = functions

    def call(self, name, args, fills=False, threads=None):
        self.last = name, args
        callables = []

        def send(function):
            callables.append(function)
            return len(callables) - 1

        def receive(number):
            return lambda *given: _crossed(callables[number](*_crossed(given)))

        args = worker.unpack(*worker.pack(args, send), receive, fills)
        started = time.perf_counter()
        try:
            with _threads(threads), np.errstate(all="ignore"):
                result = self._functions[name](*args)
            self.seconds = time.perf_counter() - started
            return _crossed((result, [a for a in args if isinstance(a, np.ndarray)] if fills else None))
        except NotImplementedError as error:
            raise NotWritten(str(error)) from None
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            raise AnswerError(type(error).__name__, str(error), frames[-1].lineno) from None


def _crossed(value):
    return worker.unpack(*worker.pack(value))


@contextlib.contextmanager
def _threads(count):
    if count is None:
        yield
        return
    from ..threads import cpu_threads
    with cpu_threads(count):
        yield


class Pupil(Answer):
    """A learner's file in a process of its own, with limits on time and memory.

    allowed    modules of tinylm it may import
    may_write  whether it may write files (not while marking)
    Use as a context manager.  After a hang or a crash the process is started again by the next call.
    """

    def __init__(self, path: Path, folder: Path, allowed: Sequence[str] = (), *, may_write: bool = True,
                 memory: int = MEMORY, env: Mapping[str, str] | None = None):
        super().__init__()
        self.path, self._folder, self._allowed = path.resolve(), folder, list(allowed)
        self._may_write, self._memory, self._env = may_write, memory, dict(env or {})
        self._process: subprocess.Popen | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self) -> None:
        """Import the file.   Raises AnswerError where that fails, Gone where it takes too long."""
        roots = [str(self._folder)]
        if self._allowed:
            roots.append(str(Path(__file__).parents[2]))
        arguments = [str(self.path), self._allowed, roots, self._memory, 600, self._may_write]
        # Nothing of ours is inherited but what finds Python's libraries: no seed, no settings.
        kept = {k: v for k, v in os.environ.items()
                if k in ("PATH", "HOME", "LANG", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH",
                         "VIRTUAL_ENV", "TINYLM_CACHE_DIR", "NUMBA_CPU_NAME")}
        kept |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8",
                 "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"} | self._env
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SOURCE, json.dumps(arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=kept, cwd=self.path.parent, start_new_session=True)
        self._frames: queue.SimpleQueue = queue.SimpleQueue()
        self._sending_until = None
        threading.Thread(target=_pump, args=(self._process.stdout, self._frames), daemon=True).start()
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
        head, _ = self._receive(time.monotonic() + START_SECONDS, "importing the file")
        if not head.get("ready"):
            self.stop()
            raise AnswerError(head["error"], head["message"], head["line"])

    def call(self, name, args, fills=False, threads=None):
        if self._process is None:
            self.start()
        self.last, self.printed = (name, args), ""
        callables = []

        def send(function):
            callables.append(function)
            return len(callables) - 1

        head, buffers = worker.pack(args, send)
        request = {"name": name, "args": head, "fills": fills}
        if threads is not None:
            request["threads"] = threads
        self._send(request, buffers)
        while True:
            head, buffers = self._receive(self.until, name)
            if "call" not in head:
                break
            try:  # what the learner's code passes to a function of ours may be anything
                given = worker.unpack(head["args"], buffers)
                self._send(*worker.pack(callables[head["call"]](*given)))
            except Exception as error:
                self.stop()
                raise AnswerError(type(error).__name__, f"{error} (in a function that was handed to {name})",
                                  None) from None
        self.printed = str(head.get("printed", ""))
        if "error" in head:
            if head["error"] == "NotImplementedError":
                raise NotWritten(head["message"])
            raise AnswerError(str(head["error"]), str(head["message"]), head["line"])
        try:
            self.seconds = float(head["seconds"])
            return worker.unpack(head["value"], buffers)
        except (ValueError, TypeError, KeyError, StopIteration) as error:
            raise AnswerError("ValueError", f"the answer cannot be read: {error}", None) from None

    def stop(self) -> None:
        """End the process and whatever it started."""
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()

    def _send(self, head, buffers):
        self._sending_until = min(self.until, time.monotonic() + 3600)
        try:
            worker.write_frame(self._process.stdin, head, buffers)
        except OSError:
            self._died()
        self._sending_until = None

    def _watch(self, process):
        """End a process that does not read what it is sent: a write to it would wait for ever."""
        while process.poll() is None:
            limit = self._sending_until
            if limit is not None and time.monotonic() > limit:
                _kill(process)
            time.sleep(0.2)

    def _receive(self, until, what):
        try:
            left = max(0.0, until - time.monotonic())
            frame = self._frames.get(timeout=min(left, 3600))
        except queue.Empty:
            self.stop()
            raise Gone(f"no answer in time: {what} was still running and was ended") from None
        if frame is None:
            self._died()
        return frame

    def _died(self):
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)  # before `stop` kills it: how did it end by itself?
        code = process.returncode
        self.stop()
        if code is None:
            raise Gone("the process closed its answers")
        why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise Gone(f"the process ended ({why}): out of memory, a crash in compiled code, or an exit")


def _kill(process):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _pump(stream, frames):
    """Move frames from the pipe to the queue; None says that no more will come."""
    with contextlib.suppress(ValueError, OSError, KeyError, TypeError), stream:
        while (frame := worker.read_frame(stream)) is not None:
            if not isinstance(frame[0], dict):
                break
            frames.put(frame)
    frames.put(None)


def functions_of(module) -> SimpleNamespace:
    """The functions a module of the course defines, for `Direct`."""
    return {n: f for n, f in vars(module).items() if callable(f) and getattr(f, "__module__", "") == module.__name__}
