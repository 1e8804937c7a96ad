"""How kernels are compiled and shared among threads."""
from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from tinylm.kernels import jit
from tinylm.kernels.simd import arrive, arrived, give_way
from tinylm.threads import cpu_threads

EIGHTH = np.float32(0.125)


@jit.serial
def _eighth(x):
    return x * EIGHTH


@jit.parallel
def _eighths(part, counts, out, x, parts):
    """An eighth of each number; counts how often each part was done."""
    counts[part] += 1
    low, high = x.size * part // parts, x.size * (part + 1) // parts
    mine = out[low:high]  # an array made in a thread, of one that the threads share
    for i in range(mine.size):
        mine[i] = _eighth(x[low + i])


@jit.parallel
def _fails_in(part, out, wrong, parts):
    if part == wrong:
        raise ValueError("on purpose")
    out[part] = 1


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_every_part_is_done_once(parts, threads):
    x = np.arange(50, dtype=np.float32)
    out, counts = np.zeros_like(x), np.zeros(parts, np.int64)
    references = sys.getrefcount(x)
    with cpu_threads(threads):
        for turn in range(1, 4):
            _eighths(counts, out, x, parts)
            assert counts.tolist() == [turn] * parts
    assert np.array_equal(out, x / 8)
    assert sys.getrefcount(x) == references


@jit.parallel
def _first_waits(part, thread, counter, done_by, met, parts):
    """Part 0 waits until all others are done, or for long."""
    done_by[part] = thread
    tries = 0
    while part == 0 and arrived(counter) < parts - 1 and tries < 10_000_000:
        give_way()
        tries += 1
    if part == 0:
        met[0] = arrived(counter) == parts - 1
    arrive(counter)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_what_a_slow_thread_has_not_begun_is_done_by_another(parts):
    counter, done_by, met = np.zeros(1, np.int64), np.full(parts, -1), np.zeros(1, bool)
    with cpu_threads(2):
        _first_waits(counter, done_by, met, parts)
    assert met[0] and counter[0] == parts


@jit.parallel
def _own_scratch(part, thread, scratch, clashes, parts):
    mine = scratch[thread]
    for _ in range(100):
        before = arrived(mine)
        arrive(mine)
        give_way()
        if arrived(mine) != before + 1:
            clashes[part] += 1


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_scratch_of_a_thread_is_used_by_no_other_and_there_are_no_more_than_parts(threads):
    for parts in (1, 3, 16):
        clashes, scratch = np.zeros(parts, np.int64), np.zeros((8, 1), np.int64)
        with cpu_threads(threads):
            _own_scratch(scratch, clashes, parts)
        assert clashes.sum() == 0 and scratch.sum() == 100 * parts
        assert not scratch[min(threads, parts):].any()


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_what_a_part_raises_is_not_lost(wrong):
    out = np.zeros(3, np.int64)
    with pytest.raises(RuntimeError, match="part of a parallel kernel"):
        _fails_in(out, wrong, 3)
    assert out.sum() <= 2
    _fails_in(out, 5, 3)
    assert out.tolist() == [1, 1, 1]


def test_an_error_in_the_only_part_is_not_lost():
    with pytest.raises(RuntimeError, match="part of a parallel kernel"):
        _fails_in(np.zeros(1, np.int64), 0, 1)


def test_the_arguments_must_say_which_part_and_of_how_many():
    with pytest.raises(TypeError, match="part"):
        jit.parallel(lambda out, x, parts: None)
    with pytest.raises(TypeError, match="parts"):
        jit.parallel(lambda part, out, x: None)


@jit.serial
def _halve(row):
    for i in range(row.size):
        row[i] *= np.float32(0.5)


@jit.serial
def _halve_rows(x):
    for n in range(x.shape[0]):
        _halve(x[n])


def test_rows_cut_within_a_kernel_count_no_references():
    # Two atomic additions a row, which took a fifth of a norm's time (numba issue 2345).
    _halve_rows.within.compile((numba.float32[:, ::1],))
    (code,) = _halve_rows.inspect_asm().values()
    assert "NRT_" not in code


def test_what_kernels_call_can_be_called_from_python():
    assert _eighth(np.float32(4)) == 0.5
    assert _eighth.py_func(np.float32(4)) == 0.5


USE = """
import numpy as np
from tinylm.kernels import jit, optimizer
told = []
with jit.compilations_told(told.append):
    sums = np.zeros(4)
    optimizer._chunk_sums(sums, np.full(4 * optimizer.CHUNK, 2, np.float32), 2)  # nobody asked for threads before
    print(sums.sum() / optimizer.CHUNK, told)
"""


def test_a_kernel_is_kept_with_all_it_calls_and_needs_no_threads_to_be_running(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"TINYLM_CACHE_DIR": str(tmp_path)}
    for told in "['optimizer.chunk_sums']", "[]":  # the second process begins with machine code from the cache
        done = subprocess.run([sys.executable, "-c", USE], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        total, kernels = done.stdout.strip().split(" ", 1)
        assert float(total) == 16
        assert kernels == told


def test_numba_hears_of_a_kernel_when_it_is_first_called():
    code = """
import gc
from tinylm import kernels
from tinylm.kernels.jit import Callee, Kernel
made = [x for x in gc.get_objects() if isinstance(x, (Callee, Kernel))]
print(len(made), sum(bool({"compiled", "within", "alone"} & vars(x).keys()) for x in made))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert int(found[0]) > 100 and int(found[1]) == 0
