"""What this machine can do at most, measured: the yardstick for every speed that tinylm reports."""
from __future__ import annotations

import time

import numba
import numpy as np
from numba import prange

from . import memory
from .jit import parallel, serial
from .optimizer import CHUNK, _chunk_sums
from .simd import ROWS, WIDE, multiply_add, spread, store, wide


@serial
def _spin(out, at, x, turns):
    """ROWS independent sums of WIDE lanes that never leave the registers: `turns` multiply-adds each."""
    a, b = spread(x, 0, wide()), spread(x, 1, wide())
    c0, c1, c2, c3, c4, c5 = wide(), wide(), wide(), wide(), wide(), wide()
    for _ in range(turns):
        c0, c1, c2 = multiply_add(c0, a, b), multiply_add(c1, a, b), multiply_add(c2, a, b)
        c3, c4, c5 = multiply_add(c3, a, b), multiply_add(c4, a, b), multiply_add(c5, a, b)
    store(out, at, multiply_add(multiply_add(c0, c1, c2), multiply_add(c3, c4, c5), c5))


@parallel
def _spin_all(out, x, turns, parts):
    for part in prange(parts):
        _spin(out, part * WIDE, x, turns)


def peak_flops(seconds: float = 0.3) -> float:
    """float32 operations per second of all threads together when nothing but multiply-adds is done.

    The best of many short windows: other work on the machine can only make it slower.
    """
    threads, turns = numba.get_num_threads(), 20_000
    out, x = memory.empty(threads * WIDE), np.full(2, 1e-3, np.float32)
    _spin_all(out, x, 1, threads)
    operations, best = 2 * ROWS * WIDE * turns * threads, 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        _spin_all(out, x, turns, threads)
        best = max(best, operations / (time.perf_counter() - start))
    return best


def read_bandwidth(size: int = 1 << 28, seconds: float = 0.3) -> float:
    """Bytes per second that all threads together read from memory, over `size` bytes; the best window."""
    data = np.ones(size // 4, np.float32)
    partial = memory.empty(data.size // CHUNK, np.float64)
    threads, best = numba.get_num_threads(), 0.0
    _chunk_sums(partial, data[:CHUNK], 1)
    end = time.perf_counter() + seconds
    while best == 0.0 or time.perf_counter() < end:
        start = time.perf_counter()
        _chunk_sums(partial, data, threads)
        best = max(best, data.nbytes / (time.perf_counter() - start))
    return best
