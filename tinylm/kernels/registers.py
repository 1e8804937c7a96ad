"""Registers at the edge of an array, whole or the first few lanes; and cache lines asked for in time."""
from __future__ import annotations

from .jit import serial
from .simd import lanes, load, load_some, prefetch, store, store_some

LINE = 16  # numbers in a cache line


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
    for i in range(first, first + numbers, LINE):
        prefetch(a, i)


@serial
def ask_rows(a, first, apart, rows):
    """As `ask`, for the first line of some rows: those of a tile that is next."""
    for r in range(rows):
        prefetch(a, first + r * apart)
