"""Twins of `tinylm.ops.linear`: three matrix products and a column sum."""
from __future__ import annotations

import numpy as np

from ..ops import shapes
from ..ops.linear import LinearCache, LinearReluCache
from . import memory
from .matmul import AS_A_AND_B, BOTH_WAYS, Operand, as_a_and_b, both_ways, matmul, product, unpack
from .recording import contiguous


def _rows(x):
    return x if isinstance(x, Operand) else contiguous(x).reshape(-1, x.shape[-1])


def _forward(inp, weight, bias, relu=False, operand=None):
    array = unpack(weight)
    shapes.linear(inp, array, bias)
    as_a, as_b = as_a_and_b(_rows(inp))
    out = product(as_a, weight, transpose_b=True, bias=bias, relu=relu, operand=operand)
    return out.reshape(*inp.shape[:-1], len(array)), LinearCache(as_b, array, bias)


def linear_forward(inp, weight, bias=None):
    """See `tinylm.ops.linear_forward`; float32.

    Caches    in place of inp what `as_a_and_b` makes of its rows: in 16 bits half as many bytes, and inp may go
    """
    return _forward(inp, weight, bias)


def linear_relu(inp, weight, bias=None, operand=False):
    """See `tinylm.ops.linear_relu`; float32.  The ReLU is done while what it changes is in the cache.

    Caches    as `linear_forward`; in place of out a byte a number
    """
    positive = memory.empty((*inp.shape[:-1], len(unpack(weight))), np.bool_)
    out, cache = _forward(inp, weight, bias, positive, AS_A_AND_B if operand else None)
    return out, LinearReluCache(cache, positive)


def linear_backward(dout, cache, add_to=None, positive=None, operand=False):
    """See `tinylm.ops.linear_backward`.  Adds to the arrays of add_to.

    positive    bool, from `linear_relu`
    """
    rows, weight, bias = cache
    dweight, dbias = add_to or (None, None)
    if bias is None:
        dbias = None
    elif dbias is None:
        dbias = np.zeros(len(weight), np.float32)
    as_rows, as_columns = both_ways(_rows(dout), add_sums_to=dbias)
    dinp = product(as_rows, weight, where=positive, operand=BOTH_WAYS if operand else None)
    dinp = dinp.reshape(*dout.shape[:-1], weight.shape[1])
    dweight = matmul(as_columns, rows, transpose_a=True, add_to=dweight)
    return dinp, dweight, dbias
