"""Arrays for results, recycled: a training step asks for the same sizes again and again.

Fresh memory costs a page fault for every 4 KB, a tenth of a small step.  A block goes back to the
shelf when the last array that uses it is gone, which Python's reference counting tells at once.
"""
from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

SMALL = 4096     # bytes
_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
_shelf: dict[int, list[tuple[np.ndarray, int]]] = defaultdict(list)  # (memory, where it is aligned)


def _fresh(size: int) -> tuple[np.ndarray, int]:
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    return raw, raw.ctypes.data + -raw.ctypes.data % _ALIGNMENT


class _Block:
    """Lends its memory to arrays and gives it back when it is no longer needed."""

    __slots__ = ("__array_interface__", "_memory", "_size")

    def __init__(self, shape, dtype):
        size = math.prod(shape) * dtype.itemsize
        # Eight sizes to each power of two: nearly equal requests share memory, at most 1/8 is lost.
        step = max(_ALIGNMENT, 1 << max(0, size.bit_length() - 4))
        self._size = -(-max(size, 1) // step) * step
        free = _shelf[self._size]
        self._memory = free.pop() if free else _fresh(self._size)
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str,
                                    "data": (self._memory[1], False)}

    def __del__(self, _shelf=_shelf):  # bound here: at the interpreter's end the module's names go first
        _shelf[self._size].append(self._memory)


def empty(shape, dtype=np.float32) -> np.ndarray:
    """A C-contiguous array; its contents are whatever was there before.

    From SMALL bytes on it stands on a 64-byte boundary; below, numpy's own allocator is quicker than lending.
    """
    shape, dtype = (shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype)
    if math.prod(shape) * dtype.itemsize < SMALL:
        return np.empty(shape, dtype)
    return np.asarray(_Block(shape, dtype))


def contiguous(x, dtype=np.float32):
    """x as float32 in C order and writable, so that a kernel is compiled for one layout only."""
    if x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable:
        return x
    return np.require(x, dtype, ["C", "A", "W"])
