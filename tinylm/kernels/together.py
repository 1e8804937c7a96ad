"""What decoding a token in one call needs, whatever the model: threads that meet, and products of few rows.

A fork and a join would take longer than the work between two meetings.  So the parts of one fork are threads that
wait for each other, at a counter: each computes its own columns of every product, and all of what lies between.
"""
from __future__ import annotations

import math
import os
import time
from functools import cache

import numba
import numpy as np
from numba import get_thread_id

from .fork import thread_count
from .jit import parallel, serial
from .matmul import panel_width, put, tile_any
from .registers import get
from .simd import (
    HALF,
    ROWS,
    WIDE,
    arrive,
    arrived,
    give_way,
    half,
    lanes,
    load,
    multiply_add,
    narrow,
    pause,
    spread,
    wide,
)

SHARED_BYTES = 1 << 20  # below this many bytes of weights, meeting costs more than a second thread saves
TRIAL_EVERY = 1024       # tokens between trials of `Pace`
TRIAL = 12               # tokens in a trial
SPINS = 2_000           # looks at the counter before a waiting thread lets another one run
PATIENCE = 1_000_000    # such looks, when it is asked whether another thread comes at all: tens of ms, or half a second
_FEWER = "OMP_DYNAMIC", "OMP_THREAD_LIMIT"  # settings by which a later region may get fewer threads than the first


class Pace:
    """Whether several threads are faster than one, tried again and again: on a busy machine they wait for each other.

    In a trial tokens have one thread and all in turn; the result has the same bits.
    """

    def __init__(self):
        self.steps, self.alone, self.together, self.hopeless = 0, math.inf, math.inf, False

    def parts(self, threads: int) -> int:
        """How many threads the next token should have."""
        place = self.steps % TRIAL_EVERY
        if place == 0:
            self.alone, self.together, self.hopeless = math.inf, math.inf, False
        if place < TRIAL:
            return threads if place % 2 and not self.hopeless else 1
        return threads if self.together < self.alone else 1

    def took(self, parts: int, seconds: float) -> None:
        if self.steps % TRIAL_EVERY < TRIAL and self.steps >= 2:  # the first two may have been compiled
            if parts == 1:
                self.alone = min(self.alone, seconds)
            else:
                self.together = min(self.together, seconds)
                self.hopeless = seconds > 3 * self.alone
        self.steps += 1


@serial
def copy(out, inp):
    for i in range(out.size):
        out[i] = inp[i]


@serial
def _two_panels(out, inp, start, column, panels, K, like):
    """`_panel` for two whole panels side by side: two streams from memory bring more than one."""
    width = lanes(like)
    total0, total1 = load(start, column, like), load(start, column + width, like)
    first0, first1 = column * K, (column + width) * K
    for k in range(K):
        x = spread(inp, k, like)
        total0 = multiply_add(total0, x, load(panels, first0 + k * width, like))
        total1 = multiply_add(total1, x, load(panels, first1 + k * width, like))
    put(out, column, total0, width)
    put(out, column + width, total1, width)


@serial
def _panel(out, inp, start, column, panels, K, columns, like):
    """out[column ...] = start + inp . a panel; each sum in the order of k, as `matmul.tile` has it."""
    total, first = get(start, column, like, columns), column * K
    for k in range(K):
        total = multiply_add(total, spread(inp, k, like), load(panels, first + k * lanes(like), like))
    put(out, column, total, columns)


@serial
def columns_of(N, part, parts):
    """(first, last + 1) of a part's columns of a product: whole panels."""
    panels = (N + WIDE - 1) // WIDE
    return panels * part // parts * WIDE, min(N, panels * (part + 1) // parts * WIDE)


@serial
def few_rows(out, inp, start, panels, rows, N, K, part, parts):
    """A part's columns of out = start + inp . panels, with the bits of `matmul` whatever the rows and parts.

    Shapes    flat: out (rows, N), inp (rows, K), start (N,), panels as `matmul.pack` makes them of b (N, K)
    """
    column, last = columns_of(N, part, parts)
    while column < last:
        width = panel_width(N - column)
        columns = min(width, N - column)
        if rows > 1:  # as many as a tile has meet a panel while it is in the nearest cache
            for row in range(0, rows, ROWS):
                tile_any(out, row * N + column, N, start, column, 0, inp, row * K, K, 1, panels, column * K, K,
                         min(ROWS, rows - row), columns, width)
        elif column + 2 * WIDE <= last:
            _two_panels(out, inp, start, column, panels, K, wide())
            width = 2 * WIDE
        elif width == WIDE:
            _panel(out, inp, start, column, panels, K, columns, wide())
        elif width == HALF:
            _panel(out, inp, start, column, panels, K, columns, half())
        else:
            _panel(out, inp, start, column, panels, K, columns, narrow())
        column += width


@serial
def meet(counter, goal):
    """Wait until there have been `goal` arrivals, this one included."""
    if goal == 0:
        return  # a single part meets nobody
    arrive(counter)
    tries = 0
    while arrived(counter) < goal:
        pause()
        tries += 1
        if tries >= SPINS:  # somebody else has the other processor
            give_way()
            tries = 0


@parallel
def _who(part, numbers, counter, parts):
    """Which thread does each part; they wait for each other, but not for ever, or one would do them all in turn."""
    numbers[part] = get_thread_id()
    arrive(counter)
    tries = 0
    while arrived(counter) < parts and tries < PATIENCE:
        pause()
        give_way()
        tries += 1


@cache
def run_together(threads):
    """Whether a region of as many parts gets a thread for each, always: only then may they wait for each other."""
    if any(name in os.environ for name in _FEWER):
        return False
    numbers = np.zeros(threads, np.int64)
    _who(numbers, np.zeros(1, np.int64), threads)
    return len(set(numbers.tolist())) == threads and numba.threading_layer() != "tbb"  # which promises nothing


def threads_for(bytes_):
    """How many threads are worth trying, if they can wait for each other."""
    threads = thread_count()
    return threads if threads > 1 and bytes_ >= SHARED_BYTES and run_together(threads) else 1


def in_one_call(bytes_, pace, spare, size, make, step):
    """step(scratch, parts) for a token, with as many threads as are worth it.

    bytes_    of the weights that it reads
    size      what decides how large scratch is, beside the number of parts
    spare     scratch by (size, parts): taken and given back, so that two threads of Python never have the same;
              making it anew takes longer than that
    make      make(parts): scratch with a `counter` at which parts meet
    """
    threads = threads_for(bytes_)
    parts, begin = pace.parts(threads) if threads > 1 else 1, time.perf_counter()
    free = spare[size, parts]
    scratch = free.pop() if free else make(parts)
    scratch.counter[0] = 0
    step(scratch, parts)
    free.append(scratch)
    pace.took(parts, time.perf_counter() - begin)
