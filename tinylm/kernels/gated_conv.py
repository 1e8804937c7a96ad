"""Twins of `tinylm.ops.gated_conv`: a row of channels at a time, so that a vector is full whatever the filter."""
from __future__ import annotations

import numpy as np

from ..ops import shapes
from ..ops.gated_conv import GatedConvCache
from . import memory
from .jit import parallel, serial
from .recording import contiguous
from .rows import CHUNK_ROWS, add_in_order, chunks_of, parts_for
from .vector_math import sigmoid32

_ONE = np.float32(1.0)


@serial
def _product(out, x, y):
    for i in range(out.size):
        out[i] = x[i] * y[i]


@serial
def _add_product(out, x, y):
    for i in range(out.size):
        out[i] += x[i] * y[i]


@serial
def _gate_row(out, gate, mixed):
    for i in range(out.size):
        out[i] = sigmoid32(gate[i]) * mixed[i]


@parallel
def _forward(part, out, mixed, inp, weight, before, parts):
    B, T, C = out.shape
    K = weight.shape[0]
    for n in range(B * T * part // parts, B * T * (part + 1) // parts):
        b, t = n // T, n % T
        for k in range(K):
            # Row by row and oldest first, at every position: a text may be cut anywhere.
            source = t - K + 1 + k
            row = inp[b, source, C:2 * C] if source >= 0 else before[b, source + K - 1, 0:C]
            if k == 0:
                _product(mixed[b, t], weight[k], row)
            else:
                _add_product(mixed[b, t], weight[k], row)
        _gate_row(out[b, t], inp[b, t, 0:C], mixed[b, t])


@serial
def _gate_backward_row(dgate, dmixed, dout, gate, mixed):
    for i in range(dout.size):
        s = sigmoid32(gate[i])
        dmixed[i] = dout[i] * s
        dgate[i] = dout[i] * mixed[i] * s * (_ONE - s)


@parallel
def _backward_gate(part, dinp, dmixed, dout, inp, mixed, parts):
    B, T, C = dout.shape
    for n in range(B * T * part // parts, B * T * (part + 1) // parts):
        b, t = n // T, n % T
        _gate_backward_row(dinp[b, t, 0:C], dmixed[b, t], dout[b, t], inp[b, t, 0:C], mixed[b, t])


@parallel
def _backward_conv(part, dinp, partial, dmixed, inp, weight, before, parts):
    """partial (chunks, K C): sums for all filters, one after the other."""
    B, T, C = dmixed.shape
    K, chunks = weight.shape[0], partial.shape[0]
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        partial[chunk] = 0.0
        for n in range(chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, B * T)):
            b, t = n // T, n % T
            for k in range(K):
                source = t - K + 1 + k
                row = inp[b, source, C:2 * C] if source >= 0 else before[b, source + K - 1, 0:C]
                _add_product(partial[chunk, k * C:(k + 1) * C], dmixed[b, t], row)
            dvalue = dinp[b, t, C:2 * C]
            _product(dvalue, weight[K - 1], dmixed[b, t])
            for later in range(1, min(K, T - t)):
                _add_product(dvalue, weight[K - 1 - later], dmixed[b, t + later])


def gated_conv_forward(inp, weight, before=None):
    """See `tinylm.ops.gated_conv_forward`; float32."""
    shapes.gated_conv(inp, weight, before)
    inp, (K, C) = contiguous(inp), weight.shape
    B, T = inp.shape[:2]
    before = np.zeros((B, K - 1, C), np.float32) if before is None else contiguous(before)
    out, mixed = memory.empty((B, T, C)), memory.empty((B, T, C))
    _forward(out, mixed, inp, weight, before, parts_for(inp.size))
    return out, GatedConvCache(inp, weight, before, mixed)


def gated_conv_backward(dout, cache, add_to=None):
    """See `tinylm.ops.gated_conv_backward`.  Adds to the array of add_to."""
    inp, weight, before, mixed = cache
    shapes.same(dout=dout, mixed=mixed)
    B, T, C = mixed.shape
    dinp, dmixed = memory.empty(inp.shape), memory.empty(mixed.shape)
    dweight = add_to[0] if add_to else np.zeros(weight.shape, np.float32)
    chunks, parts = chunks_of(B * T), parts_for(inp.size)
    _backward_gate(dinp, dmixed, contiguous(dout), inp, mixed, parts)
    partial = memory.empty((chunks, weight.size))
    _backward_conv(dinp, partial, dmixed, inp, weight, before, min(chunks, parts))
    add_in_order(dweight.reshape(-1), partial)
    return dinp, dweight
