"""A recording that makes kernels in a row with one call: most training steps are one.

A kernel ends in a fork: so many parts for so many threads, and a record of its arguments.  While a tape is taken, every
fork writes that down (`fork.TAPE`).  Made again, kernels that follow each other need neither Python nor numba's
unpacking of arrays; both would have to come back into the caches first, from which kernels have pushed them.
"""
from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from . import jit
from .fork import APART, HEAD, TAPE, start_again
from .recording import Recording

ROOM = 1 << 20  # words for the forks of a step; memory that is not written to is not there


def _start_all(tape, start, stop, begun, failed):
    """Make the forks between two places of a tape, up to the first that fails."""
    failed[0] = 0
    at = start
    while at < stop and failed[0] == 0:
        worker, threads, parts, words = tape[at], tape[at + 1], tape[at + 2], tape[at + 3]
        begun[:threads * APART] = 0
        start_again(worker, tape.ctypes.data + 8 * (at + HEAD), threads, parts)
        at += HEAD + words


_start_all = jit.compiled(_start_all)


def _run(tape, start, stop, begun, failed):
    _start_all(tape, start, stop, begun, failed)
    if failed[0]:
        raise RuntimeError("a part of a parallel kernel failed")


class Tape(Recording):
    """A `Recording` that makes kernels in a row with one call.

    No other thread may call kernels while it is taken.
    """

    def __init__(self, shelves):
        super().__init__(shelves)
        self._kernels: list[bool] = []  # of each call
        self._runs: list[tuple] | None = None  # (function, arguments), kernels in a row being one; none: as recorded
        self._forks, self._begun = np.empty(ROOM, np.int64), np.zeros(0, np.int64)
        self._failed = np.zeros(1, np.int32)

    @contextmanager
    def taking(self):
        with super().taking():
            TAPE[:] = self._forks.ctypes.data, self._forks.size, 0, 0
            try:
                yield self
            finally:
                TAPE[0] = 0
        self._link(*TAPE[2:])

    def note(self, function, arguments, kernel=False):
        super().note(function, arguments, kernel)
        self._kernels.append(kernel)

    def _link(self, words, forks):
        """Make runs of the calls, if each kernel and nothing else is on the tape."""
        self._forks = tape = self._forks[:words].copy()
        places = [0]
        while places[-1] < words and len(places) <= forks:
            places.append(places[-1] + HEAD + int(tape[places[-1] + HEAD - 1]))
        if not (places[-1] == words and forks == len(places) - 1 == sum(self._kernels)):
            return
        heads = np.array(places[:-1], np.int64)
        self._begun = np.zeros(int(tape[heads + 1].max(initial=1)) * APART, np.int64)
        # What failed and which parts have begun stood on the stacks of the kernels.
        tape[heads + HEAD], tape[heads + HEAD + 1] = self._failed.ctypes.data, self._begun.ctypes.data
        self._runs, at = [], 0
        for call, kernel in zip(self._calls, self._kernels, strict=True):
            if not kernel:
                self._runs.append(call)
                continue
            start = places[at]
            if self._runs and self._runs[-1][0] is _run:
                start = self._runs.pop()[1][1]
            self._runs.append((_run, (tape, start, places[at + 1], self._begun, self._failed)))
            at += 1

    def _made_again(self):
        return self._calls if self._runs is None else self._runs
