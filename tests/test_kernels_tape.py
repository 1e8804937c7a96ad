"""Kernels that are made again by one call."""
from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from tinylm.kernels import fork, jit, memory, tape
from tinylm.kernels.recording import also
from tinylm.kernels.tape import Tape
from tinylm.threads import cpu_threads


@jit.parallel
def _add(part, out, x, factor, parts):
    """out += factor x; a number below 0 fails."""
    low, high = x.size * part // parts, x.size * (part + 1) // parts
    for i in range(low, high):
        if x[i] < 0:
            raise ValueError("on purpose")
        out[i] += factor * x[i]


@jit.parallel
def _zero(part, out, parts):
    out[:] = 0


@jit.parallel
def _by(part, thread, done_by, out, parts):
    done_by[part] = thread
    out[part] *= np.float32(2)


def _step(out, x, done_by):
    _add(out, x, np.float32(3), 4)
    _by(done_by, out, out.size)
    _add(out, x, np.float32(1), 1)


def _taken(step, *arguments):
    made = Tape({})
    with made.taking():
        step(*arguments)
    return made


@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_in_a_row_are_one_call_and_do_the_same(threads):
    x, done_by = np.arange(7, dtype=np.float32), np.zeros(7, np.int64)
    with cpu_threads(threads):
        out = np.zeros(7, np.float32)
        made = _taken(_step, out, x, done_by)
        assert out.tolist() == (7 * x).tolist()
        assert len(made) == 3 and len(made._runs) == 1
        for turn in range(1, 4):
            x[:], out[:], done_by[:] = turn, 1, -1
            made.play()
            assert out.tolist() == [2 * (1 + 3 * turn) + turn] * 7
            assert set(done_by) <= set(range(threads))
    assert fork.TAPE[0] == 0


def test_other_work_stays_in_its_place():
    x, done_by = np.ones(7, np.float32), np.zeros(7, np.int64)
    out, copy = np.zeros(7, np.float32), np.zeros(7, np.float32)

    def step():
        _add(out, x, np.float32(1), 2)
        also(np.copyto, copy, out)
        _step(out, x, done_by)
    made = _taken(step)
    assert len(made._runs) == 3
    out[:] = 1
    made.play()
    assert copy.tolist() == [2] * 7 and out.tolist() == [11] * 7


@pytest.mark.parametrize("parts", [1, 3])
def test_a_part_that_fails_is_not_lost_and_ends_the_row(parts):
    x, out = np.ones(7, np.float32), np.zeros(7, np.float32)

    def step():
        _add(out[:1], x[:1], np.float32(1), 1)
        _add(out, x, np.float32(1), parts)
        _add(out, np.ones(7, np.float32), np.float32(100), 1)
    made = _taken(step)
    x[6], out[:] = -1, 0
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a part of a parallel kernel failed"):
            made.play()
    assert out.max() < 100
    x[6], out[:] = 1, 0
    made.play()
    assert out.tolist() == [102] + [101] * 6


def test_a_tape_without_room_is_made_again_from_python(monkeypatch):
    monkeypatch.setattr(tape, "ROOM", 60)
    x, out, done_by = np.ones(7, np.float32), np.zeros(7, np.float32), np.zeros(7, np.int64)
    made = _taken(_step, out, x, done_by)
    assert made._runs is None
    made.play()
    assert out.tolist() == [21] * 7  # of 7


def test_a_fork_that_nobody_noted_leaves_the_tape_unused():
    x, out = np.ones(7, np.float32), np.zeros(7, np.float32)

    def step():
        _add(out, x, np.float32(1), 2)
        _add.compiled(out, x, np.float32(1), 2)
    assert _taken(step)._runs is None


def test_no_tape_is_taken_after_an_error():
    with pytest.raises(ZeroDivisionError), Tape({}).taking():
        raise ZeroDivisionError
    assert fork.TAPE[0] == 0
    with Tape({}).taking(), pytest.raises(RuntimeError, match="a recording within a recording"), Tape({}).taking():
        pass


@pytest.mark.parametrize("size", [3, 100_000])
def test_arrays_of_a_tape_are_kept_and_lent_to_nobody(size):
    two, out = np.full(size, 2, np.float32), np.zeros(size, np.float32)

    def step():
        x = memory.empty(size)
        _zero(x, 1)
        _add(x, two, np.float32(1), 1)
        _add(out, x, np.float32(1), 1)
    made = _taken(step)
    lent = [memory.empty(size) for _ in range(9)]  # the same memory, if it were free
    for array in lent:
        array[:] = 100
    made.play()
    assert out.tolist() == [4] * size and all((array == 100).all() for array in lent)


def test_a_tape_goes_with_its_last_reference():
    x, out, done_by = np.ones(7, np.float32), np.zeros(7, np.float32), np.zeros(7, np.int64)
    gc.disable()  # which comes late, and the memory of a step is much
    try:
        made = _taken(_step, out, x, done_by)
        made.play()
        gone = weakref.ref(made)
        del made
        assert gone() is None
    finally:
        gc.enable()
