"""Recycled memory: nobody may get what somebody still holds, and it must come back."""
from __future__ import annotations

import gc
import itertools
import mmap
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm.kernels import memory
from tinylm.kernels.fork import thread_count

SHAPE = 3, 70_001  # of no kernel: nothing else takes this memory meanwhile


def _place(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("keep", [lambda x: x, lambda x: x[1:, ::3], lambda x: x.reshape(-1).view(np.int32),
                                  lambda x: memoryview(x), lambda x: np.lib.stride_tricks.as_strided(x, (2,), (8,))],
                         ids=["itself", "a view", "other words", "a buffer", "strides"])
def test_memory_is_lent_again_only_when_nobody_holds_it(keep):
    first = memory.empty(SHAPE)
    place, held = _place(first), keep(first)
    del first
    gc.collect()
    assert _place(second := memory.empty(SHAPE)) != place
    del held, second
    gc.collect()
    assert place in {_place(array) for array in [memory.empty(SHAPE) for _ in range(2)]}


@given(st.lists(st.integers(0, 300), max_size=3).map(tuple), st.sampled_from([np.float32, np.int8, "f8", np.int32]))
def test_arrays_are_what_was_asked_for_and_do_not_overlap(shape, dtype):
    arrays = [memory.empty(shape, dtype) for _ in range(3)]
    for number, array in enumerate(arrays):
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
        assert array.nbytes < memory.SMALL or _place(array) % 64 == 0
        array.fill(number)
    assert all((array == number).all() for number, array in enumerate(arrays))


def test_the_number_of_threads_is_numbas():
    before = numba.get_num_threads()
    try:
        for count in (1, before):
            numba.set_num_threads(count)
            assert thread_count() == count
    finally:
        numba.set_num_threads(before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that interrupts")
def test_an_interrupt_while_memory_goes_back_is_not_lost(monkeypatch):
    """In a destructor written in Python it would be reported and forgotten."""
    sent, arrived, lost = [], 0, []

    def interrupt(number, frame):
        sent.append(number)
        raise KeyboardInterrupt
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for turn in range(500):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-6 * (turn % 97))
                while len(sent) == turn:
                    memory.empty(SHAPE)
            except KeyboardInterrupt:
                arrived += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert arrived == len(sent) == 500 and not lost


def test_threads_that_ask_at_once_get_memory_of_their_own(monkeypatch):
    monkeypatch.setattr(memory, "_shelves", {})  # all of it is cut anew
    interval = sys.getswitchinterval()
    sizes = range(memory.SMALL, memory.SMALL + 64 * 300, 64)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            arrays = list(pool.map(lambda size: memory.empty(size, np.uint8), [*sizes] * 8))
    finally:
        sys.setswitchinterval(interval)
    ends = sorted((_place(array), _place(array) + array.nbytes) for array in arrays)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="the system has no large pages to ask for")
@pytest.mark.parametrize("megabytes", [1, 3, 5])
def test_activations_lie_where_large_pages_were_asked_for(megabytes):
    array = memory.empty((megabytes << 20) + 12_345, np.uint8)  # of no kernel
    middle = _place(array) + array.nbytes // 2
    flags, inside = set(), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= middle < int(found[2], 16)
        elif inside and line.startswith("VmFlags:"):
            flags = set(line.split()[1:])
    assert "hg" in flags


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int8])
@pytest.mark.parametrize("shape", [(1,), (384,), (8, 48), (2, 524), (0,)])
def test_threads_write_to_lines_of_their_own(shape, dtype):
    scratch = memory.for_threads(3, *shape, dtype=dtype)
    assert scratch.dtype == dtype and scratch.flags.c_contiguous
    assert scratch.shape[:-1] == (3, *shape[:-1]) and scratch.shape[-1] >= shape[-1]
    for part in scratch:
        assert part.size == 0 or part.ctypes.data % 64 == 0
