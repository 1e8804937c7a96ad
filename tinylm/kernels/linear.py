"""Twins of `tinylm.ops.linear`: three matrix products and a column sum."""
from __future__ import annotations

import numpy as np

from ..ops import shapes
from ..ops.linear import LinearCache
from . import memory
from .jit import parallel, serial
from .matmul import both_ways, matmul, unpack
from .recording import contiguous
from .rows import CHUNK_ROWS, add_in_order, chunks_of, parts_for


@serial
def _add_row(total, row):
    for i in range(row.size):
        total[i] += row[i]


@parallel
def _column_sums(part, partial, inp, parts):
    """partial (chunks, M): sums over rows of inp (N, M)."""
    rows, chunks = inp.shape[0], partial.shape[0]
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        partial[chunk] = 0.0
        for n in range(chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, rows)):
            _add_row(partial[chunk], inp[n])


def add_column_sums(out, inp):
    """out (M,) += the sum of the rows of inp (N, M)."""
    chunks = chunks_of(len(inp))
    partial = memory.empty((chunks, inp.shape[1]))
    _column_sums(partial, inp, min(chunks, parts_for(inp.size)))
    add_in_order(out, partial)


def linear_forward(inp, weight, bias=None):
    """See `tinylm.ops.linear_forward`; float32."""
    array = unpack(weight)
    shapes.linear(inp, array, bias)
    inp = contiguous(inp)
    out = matmul(inp.reshape(-1, inp.shape[-1]), weight, transpose_b=True, bias=bias)
    return out.reshape(*inp.shape[:-1], len(array)), LinearCache(inp, array, bias)


def linear_backward(dout, cache, add_to=None):
    """See `tinylm.ops.linear_backward`.  Adds to the arrays of add_to."""
    inp, weight, bias = cache
    dout = contiguous(dout)
    rows, drows = inp.reshape(-1, inp.shape[-1]), dout.reshape(-1, dout.shape[-1])
    dweight, dbias = add_to or (None, None if bias is None else np.zeros(len(weight), np.float32))
    as_rows, as_columns = both_ways(drows)
    dinp = matmul(as_rows, weight).reshape(inp.shape)
    dweight = matmul(as_columns, rows, transpose_a=True, add_to=dweight)
    if bias is not None:
        add_column_sums(dbias, drows)
    return dinp, dweight, dbias
