"""Dropout, and the residual connection it usually stands in front of."""
from __future__ import annotations

from .random import dropout_mask
from .shapes import same


def dropout_forward(inp, rate, key):
    """out = inp mask / (1 - rate): each element is dropped with probability `rate`.

    Shapes    inp (..., C) -> out (..., C)
    Caches    what is needed to draw the same mask again, not the mask
    Source    Srivastava et al. 2014, JMLR 15, section 4 (scaled at training time)
    """
    return inp * dropout_mask(inp.shape, rate, key).astype(inp.dtype), (rate, key)


def dropout_backward(dout, cache):
    """Return (dinp,)."""
    rate, key = cache
    return (dout * dropout_mask(dout.shape, rate, key).astype(dout.dtype),)


def add(x, y):
    """x + y, where the gradients of an array that was used twice meet.

    Shapes    x, y (..., C) -> (..., C)
    Raises    ShapeError
    """
    same(x=x, y=y)
    return x + y


def residual_forward(inp, branch, rate=0.0, key=None):
    """out = inp + dropout(branch); without a key, or at rate 0, nothing is dropped.

    Shapes    inp, branch (..., C) -> out (..., C)
    Caches    the key of the mask
    Raises    ShapeError
    Source    He et al. 2015, arXiv:1512.03385, eq. 1
    """
    same(inp=inp, branch=branch)
    if key is None or rate == 0:
        return add(inp, branch), None
    dropped, cache = dropout_forward(branch, rate, key)
    return inp + dropped, cache


def residual_backward(dout, cache):
    """Return (dinp, dbranch); dinp is dout itself, not a copy."""
    return dout, dout if cache is None else dropout_backward(dout, cache)[0]
