"""Twins of `tinylm.ops.embedding`."""
from __future__ import annotations

import numpy as np

from ..ops import shapes
from ..ops.embedding import EmbeddingCache
from . import memory
from .jit import parallel, serial
from .recording import contiguous
from .rows import parts_for


@serial
def _sum_rows(out, x, y):
    for i in range(out.size):
        out[i] = x[i] + y[i]


@serial
def _add(out, x):
    for i in range(out.size):
        out[i] += x[i]


@parallel
def _forward(part, out, tokens, token_weight, position_weight, parts):
    B, T = tokens.shape
    rows = B * T
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _sum_rows(out[n // T, n % T], token_weight[tokens[n // T, n % T]], position_weight[n % T])


@parallel
def _backward(part, dtoken_weight, dposition_weight, dout, tokens, parts):
    """Each part has some of the channels and adds all rows in order: no two threads share a sum."""
    B, T = tokens.shape
    C, positions = dout.shape[2], dposition_weight.shape[0] > 0
    low, high = C * part // parts, C * (part + 1) // parts
    for b in range(B):
        for t in range(T):
            _add(dtoken_weight[tokens[b, t], low:high], dout[b, t, low:high])
            if positions:
                _add(dposition_weight[t, low:high], dout[b, t, low:high])


def embedding_forward(tokens, token_weight, position_weight=None, start=0):
    """See `tinylm.ops.embedding_forward`; float32."""
    shapes.tokens(tokens, len(token_weight))
    stop = start + tokens.shape[1]
    if position_weight is None:
        positions = np.zeros((tokens.shape[1], token_weight.shape[1]), np.float32)
        start, stop = 0, tokens.shape[1]
    else:
        positions = position_weight
    if stop > len(positions):
        raise shapes.ShapeError(f"positions {start} to {stop - 1} were asked for, "
                                f"there are {len(positions)}")
    ids = contiguous(tokens, np.int32)
    out = memory.empty((*tokens.shape, token_weight.shape[1]))
    _forward(out, ids, token_weight, positions[start:stop], parts_for(out.size))
    return out, EmbeddingCache(ids, token_weight, position_weight, start)


def embedding_backward(dout, cache, add_to=None):
    """See `tinylm.ops.embedding_backward`.  Adds to the arrays of add_to."""
    tokens, token_weight, position_weight, start = cache
    if add_to is None:
        add_to = np.zeros_like(token_weight), None if position_weight is None else np.zeros_like(position_weight)
    dtoken_weight, dposition_weight = add_to
    into = np.zeros((0, dout.shape[2]), np.float32) if dposition_weight is None else \
        dposition_weight[start:start + tokens.shape[1]]
    _backward(dtoken_weight, into, contiguous(dout), tokens, parts_for(dout.size))
    return dtoken_weight, dposition_weight
