"""How many threads, decided before numpy and numba are imported.

Numba reads NUMBA_NUM_THREADS once, at import, and OpenBLAS starts its pool when numpy loads it; the
library `tokenizers` starts one when it first learns from texts or encodes many.  So the command line
calls `prepare` first and imports the heavy modules afterwards.  While kernels run, BLAS has one
thread: two pools that wait by spinning take each other's cores.

This module imports neither numpy nor numba at the top, for the same reason.
"""
from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from .errors import UsageError

_TOKENIZERS_VARIABLE = "RAYON_NUM_THREADS"  # read by the library's thread pool when it is first used
_BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
                   "VECLIB_MAXIMUM_THREADS")


def available() -> int:
    """Number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def resolve(requested: int | None) -> tuple[int, str | None]:
    """The thread count to use and, where it is not the one asked for, a note that says why.

    Raises UsageError for a count below one.
    """
    have = available()
    if requested is None:
        return have, None
    if requested < 1:
        raise UsageError(f"--cpu-threads {requested}: at least 1 thread is needed")
    if requested > have:
        return have, (f"--cpu-threads {requested}: this machine lets the process use {have} "
                      f"processor{'s' if have > 1 else ''}, so {have} will be used")
    return requested, None


def prepare(requested: int | None = None) -> tuple[int, str | None]:
    """Fix the size of the one thread pool; returns what `resolve` returns.

    Call it before numpy or numba is imported.  When they already are (a notebook, the tests), the
    counts are set through their own functions instead; `tokenizers` has none, and keeps the pool it has.
    """
    count, note = resolve(requested)
    os.environ[_TOKENIZERS_VARIABLE] = str(count)
    prepare_blas()
    _wait_politely()
    if "numba" in sys.modules:
        import numba
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    else:
        os.environ["NUMBA_NUM_THREADS"] = str(count)
    return count, note


def _wait_politely() -> None:
    """Let a thread that waits for another one sleep after some 60 us, instead of spinning for milliseconds.

    From one kernel to the next it is a few us, and at the end of one as long as the other thread's last part takes.
    With something else busy on the machine, a thread that spins keeps the very thread it waits for from running:
    gpt-tiny beside one or two busy processes trained at 3,000 to 17,000 tokens/s with 30,000 looks, at 19,000 to 22,000
    with 1,000, and in another hour at 16,700 with 1,000 and 17,400 with 3,000, on two processors.  Alone, waking takes
    longer than looking: gpt-run1 in int16 at 23,100 tokens/s with 1,000 looks, 24,000 with 3,000 or 30,000 (six each).
    Read by GNU's OpenMP when numba starts it; a value set by the user stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def prepare_blas() -> None:
    """Give BLAS one thread, whether or not numpy has already been imported."""
    for name in _BLAS_VARIABLES:
        os.environ[name] = "1"
    if "numpy" in sys.modules:
        import threadpoolctl
        threadpoolctl.threadpool_limits(1, user_api="blas")


@contextmanager
def cpu_threads(count: int):
    """Run a block with `count` kernel threads and put the old number back, whatever happens."""
    import numba
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)
