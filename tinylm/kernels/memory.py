"""Arrays for results, recycled: a training step asks for the same sizes again and again.

Fresh memory costs a page fault for every 4 KB, a tenth of a small step.  A block goes back to the
shelf when the last array that uses it is gone, which Python's reference counting tells at once.

Where the system has pages of 2 MB (Linux), blocks are cut from slabs that ask for them: the activations of a step are
thousands of small pages, more than the processor remembers the places of.
"""
from __future__ import annotations

import ctypes
import math
import mmap
import threading
import weakref
from contextlib import contextmanager, suppress
from functools import cache, lru_cache

import numpy as np

SMALL = 4096     # bytes
_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
_PAGE = 2 << 20  # bytes of a large page
_SLAB = 16 << 20
_LARGE = 4 << 20  # from here on numpy asks for large pages itself


class Returned(weakref.ref):
    """A block that is gone, and its memory: (bytes, where they are aligned).

    What puts it on its shelf is `list.append` itself.  A destructor in Python would be a place where an interrupt by
    the user arrives and is lost.
    """

    __slots__ = ("memory",)


Shelves = dict[int, list[Returned]]  # by size
_shelves: Shelves = {}


@contextmanager
def lent_from(shelves: Shelves):
    """Within the block memory is lent from these shelves, and goes back there whenever it does."""
    global _shelves
    before, _shelves = _shelves, shelves
    try:
        yield
    finally:
        _shelves = before


_slab = np.empty(0, np.uint8)  # what is left of the last one
_cutting = threading.Lock()


def _fresh(size: int) -> np.ndarray:
    """Memory that was never lent, (size,) uint8."""
    global _slab
    if size >= _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, np.uint8)
    with _cutting:  # two threads may ask at once
        if size > _slab.size:
            slab = mmap.mmap(-1, _SLAB + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with suppress(OSError):  # a kernel built without large pages has small ones
                slab.madvise(mmap.MADV_HUGEPAGE)
            _slab = np.frombuffer(slab, np.uint8)
            _slab = _slab[-_slab.ctypes.data % _PAGE:][:_SLAB]
        raw, _slab = _slab[:size], _slab[size:]
        return raw


class _Lent:
    """What a block of memory is, whatever its size."""


@cache
def _lender(size: int):
    """A function that lends blocks of `size` bytes: what an array can stand on, and what gives its memory back."""

    class Block(_Lent, ctypes.c_char * size):
        pass

    def lend():
        shelf = _shelves.get(size)
        if shelf is None:
            shelf = _shelves[size] = []
        if shelf:
            memory = shelf.pop().memory
        else:
            raw = _fresh(size + _ALIGNMENT)
            memory = raw, raw.ctypes.data + -raw.ctypes.data % _ALIGNMENT
        block = Block.from_address(memory[1])
        block.back = Returned(block, shelf.append)  # lives as long as the block
        block.back.memory = memory
        return block

    return lend


def unlent(x: np.ndarray) -> np.ndarray:
    """The same numbers as an array that does not keep its memory from being lent again."""
    owner = x
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    if not isinstance(owner, _Lent):
        return x
    raw, _ = owner.back.memory
    return np.ndarray(x.shape, x.dtype, raw, x.__array_interface__["data"][0] - raw.ctypes.data, x.strides)


@lru_cache(4096)
def _room(shape, dtype):
    """(shape as a tuple, dtype, the lender of blocks of that size, or None where there is none)"""
    shape, dtype = (shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return shape, dtype, None
    # Eight sizes to each power of two: nearly equal requests share memory, at most 1/8 is lost.
    step = max(_ALIGNMENT, 1 << max(0, size.bit_length() - 4))
    return shape, dtype, _lender(-(-size // step) * step)


def empty(shape, dtype=np.float32) -> np.ndarray:
    """A C-contiguous array; its contents are whatever was there before.

    From SMALL bytes on it stands on a 64-byte boundary; below, numpy's own allocator is quicker than lending.
    """
    shape, dtype, lend = _room(shape, dtype)
    return np.empty(shape, dtype) if lend is None else np.ndarray(shape, dtype, lend())


def for_threads(threads, *shape, dtype=np.float32) -> np.ndarray:
    """Scratch memory (threads, *shape), the last axis made longer so that every thread's part begins at a cache line.

    Threads that write to one line take it from each other each time.
    """
    *before, last = shape
    line = _ALIGNMENT // np.dtype(dtype).itemsize
    last = -(-last // line) * line
    size = threads * math.prod(before) * last
    # No less than what `empty` puts at the beginning of a line.
    return empty(max(size, SMALL // _ALIGNMENT * line), dtype)[:size].reshape(threads, *before, last)
