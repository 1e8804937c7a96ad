"""Registers at the edge of an array: whole where they fit, the first few lanes where they do not."""
from __future__ import annotations

from .jit import serial
from .simd import lanes, load, load_some, store, store_some


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
