"""A training step made again without the Python around its kernels.

One step calls the same kernels with the same shapes as the one before; only the numbers in the arrays differ.  From
one kernel to the next Python checks shapes, finds memory and keeps a tape, which takes a tenth of a small step, since
the kernels have pushed what Python needs out of the caches.  So the calls of one step are kept, with the very arrays
they were made with, and made again.  (GPUs have the same under the name of graphs: record once, replay.)

Recorded are kernels that Python calls, `also`, and the keys of dropout masks.  Other work on arrays is not, nor is
a number that Python reads out of an array and hands on: who records has to compare, as `tinylm.train` does.
"""
from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from ..ops.random import DropoutKey
from . import memory

_current: Recording | None = None


class Recording:
    """Calls, in their order.

    shelves   the memory they use (`memory.lent_from`): who borrows of it in between gives it back before the next time
    """

    def __init__(self, shelves: memory.Shelves):
        self._shelves = shelves
        self._calls: list[tuple] = []  # (function, arguments)
        self._keys: list[tuple[np.ndarray, int]] = []  # what a kernel reads, and of which place

    def __len__(self) -> int:
        return len(self._calls)

    @contextmanager
    def taking(self):
        """Within the block what is called is recorded, too.  Not within another recording."""
        global _current
        if _current is not None:
            raise RuntimeError("a recording within a recording")
        _current = self
        try:
            with memory.lent_from(self._shelves):
                yield self
        finally:
            _current = None

    def note(self, function, arguments, kernel: bool = False) -> None:
        """Keep a call, but not the memory of its arrays from being lent again to later ones.

        kernel    whether it is one of `jit.parallel`, and so a fork
        """
        self._calls.append((function, tuple(memory.unlent(x) if isinstance(x, np.ndarray) else x for x in arguments)))

    def note_key(self, words: np.ndarray, site: int) -> None:
        """Have `words` hold the key of this place whenever the calls are made."""
        self._keys.append((words, site))

    def play(self, key: DropoutKey | None = None) -> None:
        """Make the calls again.   key    of the masks this time"""
        for words, site in self._keys:
            words[:] = key.at(site)
        for function, arguments in self._made_again():
            function(*arguments)

    def _made_again(self):
        """The calls that `play` makes."""
        return self._calls


def current() -> Recording | None:
    """The recording that is being taken."""
    return _current


def also(function, *arguments) -> None:
    """function(*arguments), for what is no kernel but writes into arrays, such as NumPy with its `out`."""
    if _current is not None:
        _current.note(function, arguments)
    function(*arguments)


def contiguous(x, dtype=np.float32):
    """x of that type in C order and writable, so that a kernel is compiled for one layout only: itself, or a copy."""
    if x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable and x.flags.aligned:
        return x
    copy = memory.empty(x.shape, dtype)
    also(np.copyto, copy, x)
    return copy


def one(scale):
    """A number as kernels take it, float32 (1,): of an array the array itself, which may hold another one next time."""
    return np.asarray(scale, np.float32).reshape(1)
