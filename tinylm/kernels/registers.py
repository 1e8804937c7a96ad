"""Registers at the edge of an array, whole or the first few lanes; and cache lines asked for in time."""
from __future__ import annotations

import numpy as np

from .jit import serial
from .simd import ROWS, lanes, load, load_some, prefetch, store, store_some

LINE_BYTES = 64      # of a cache line
LINE = 16            # numbers of 4 bytes in it
ALONE = np.int64(1)  # tiles that are together: each comes by itself


@serial
def get(a, i, like, count):
    """The `count` elements of a from i on; lanes beyond them are 0."""
    if count >= lanes(like):
        return load(a, i, like)
    return load_some(a, i, like, count)


@serial
def put(a, i, v, count):
    """Write the first `count` lanes of v."""
    if count >= lanes(v):
        store(a, i, v)
    else:
        store_some(a, i, v, count)


@serial
def ask(a, first, numbers):
    """Prefetch what will be read soon; beyond the end of a, too, nothing happens."""
    for i in range(first, first + numbers, LINE_BYTES // a.itemsize):
        prefetch(a, i)


@serial
def ask_rows(a, first, apart, rows):
    """As `ask`, for the first line of some rows: those of a tile that is next."""
    for r in range(rows):
        prefetch(a, first + r * apart)


@serial
def ask_tile(a, first, rs, numbers, together, panel):
    """As `ask`, for rows of the tile that is next, the first of them at a[first] and `rs` from one to the next.

    A tile that is taken through all panels gets a row with each of the first; one of several that are together gets
    all rows with the first panel.
    """
    if together == ALONE:
        if panel < ROWS:
            ask(a, first + panel * rs, numbers)
    elif panel == 0:
        for row in range(ROWS):
            ask(a, first + row * rs, numbers)
