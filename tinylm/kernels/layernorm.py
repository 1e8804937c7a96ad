"""Twins of `tinylm.ops.layernorm`: a head norm is a LayerNorm of shorter rows, each with its own weights."""
from __future__ import annotations

import numpy as np

from ..ops import shapes
from ..ops.layernorm import LayerNormCache, RMSNormCache
from . import memory
from .jit import parallel, serial, serial_apart, serial_shared
from .quantize import quantize_row, quantized_for
from .recording import contiguous
from .rows import CHUNK_ROWS, add_in_order, add_row, chunks_of, parts_for, threads_of


@serial_apart
def _statistics(inp, eps):
    """(mean, rstd) of a row."""
    C = inp.size
    total = np.float32(0.0)
    for i in range(C):
        total += inp[i]
    mean = total / np.float32(C)
    square = np.float32(0.0)
    for i in range(C):
        square += (inp[i] - mean) * (inp[i] - mean)
    return mean, np.float32(1.0) / np.sqrt(square / np.float32(C) + np.float32(eps))


@serial_apart
def _normed(out, inp, weight, bias, mean, rstd):
    if bias.size:
        for i in range(inp.size):
            out[i] = (inp[i] - mean) * rstd * weight[i] + bias[i]
    else:
        for i in range(inp.size):
            out[i] = (inp[i] - mean) * rstd * weight[i]


@serial_shared
def normed_row(out, inp, weight, bias, mean, rstd):
    """Writes one row, of which the statistics are known.  A bias of size 0 is none."""
    _normed(out, inp, weight, bias, mean, rstd)


@serial_shared
def forward_row(out, inp, weight, bias, eps):
    """Writes one row; returns (mean, rstd).  A bias of size 0 is none."""
    mean, rstd = _statistics(inp, eps)
    normed_row(out, inp, weight, bias, mean, rstd)
    return mean, rstd


@serial_shared
def _heads_of_row(out, mean, rstd, inp, weight, bias, eps):
    """`forward_row` of all heads (H, D) of a token; mean and rstd (H,)."""
    for h in range(mean.size):
        mean[h], rstd[h] = _statistics(inp[h], eps)
        _normed(out[h], inp[h], weight[h], bias[h], mean[h], rstd[h])


@parallel
def _forward(part, out, mean, rstd, inp, weight, bias, eps, parts):
    rows = inp.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        mean[n], rstd[n] = forward_row(out[n], inp[n], weight, bias, eps)


@serial_shared
def backward_row(dinp, dweight, dbias, dout, inp, weight, mean, rstd):
    """Writes one row of dinp and adds to dweight and (unless it is empty) dbias."""
    C = inp.size
    total, along = np.float32(0.0), np.float32(0.0)
    for i in range(C):
        dnorm = dout[i] * weight[i]
        total += dnorm
        along += dnorm * ((inp[i] - mean) * rstd)
    total /= np.float32(C)
    along /= np.float32(C)
    for i in range(C):
        norm = (inp[i] - mean) * rstd
        dinp[i] = rstd * (dout[i] * weight[i] - total - norm * along)
        dweight[i] += dout[i] * norm
    for i in range(dbias.size):
        dbias[i] += dout[i]


@parallel
def _backward(part, dinp, partial_weight, partial_bias, dout, inp, weight, mean, rstd, residual, parts):
    rows, chunks = inp.shape[0], partial_weight.shape[0]
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        partial_weight[chunk] = 0.0
        partial_bias[chunk] = 0.0
        for n in range(chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, rows)):
            backward_row(dinp[n], partial_weight[chunk], partial_bias[chunk], dout[n], inp[n],
                          weight, mean[n], rstd[n])
            if residual.size:
                add_row(dinp[n], residual[n])


NONE, NO_ROWS = np.zeros(0, np.float32), np.zeros((0, 0), np.float32)  # stand for arrays that are not there


def _rows_of(residual, inp):
    """As the kernels take it.   Raises ShapeError"""
    if residual is None:
        return NO_ROWS
    shapes.same(residual=residual, inp=inp)
    return contiguous(residual).reshape(-1, inp.shape[-1])


def layernorm_forward(inp, weight, bias=None, eps=1e-5):
    """See `tinylm.ops.layernorm_forward`; float32.  Writes out, mean and rstd."""
    shapes.channels(inp, weight, bias)
    inp = contiguous(inp)
    rows = inp.reshape(-1, inp.shape[-1])
    out, mean, rstd = memory.empty(inp.shape), memory.empty(len(rows)), memory.empty(len(rows))
    _forward(out.reshape(rows.shape), mean, rstd, rows, weight, NONE if bias is None else bias, eps,
             parts_for(inp.size))
    stat = (*inp.shape[:-1], 1)
    return out, LayerNormCache(inp, weight, bias, mean.reshape(stat), rstd.reshape(stat))


def layernorm_backward(dout, cache, add_to=None, residual=None):
    """See `tinylm.ops.layernorm_backward`.  Adds to the arrays of add_to."""
    inp, weight, bias, mean, rstd = cache
    dout = contiguous(dout)
    shapes.same(dout=dout, inp=inp)
    C = inp.shape[-1]
    rows, drows = inp.reshape(-1, C), dout.reshape(-1, C)
    dweight, dbias = add_to or (np.zeros(C, np.float32), None if bias is None else np.zeros(C, np.float32))
    chunks = chunks_of(len(rows))
    dinp = memory.empty(inp.shape)
    partial, partial_bias = memory.empty((chunks, C)), memory.empty((chunks, 0 if dbias is None else C))
    _backward(dinp.reshape(rows.shape), partial, partial_bias, drows, rows, weight, mean.reshape(-1),
              rstd.reshape(-1), _rows_of(residual, inp), min(chunks, parts_for(inp.size)))
    add_in_order(dweight, partial)
    if dbias is not None:
        add_in_order(dbias, partial_bias)
    return dinp, dweight, dbias


@parallel
def _head_forward(part, out, mean, rstd, inp, weight, bias, eps, parts):
    """inp (N, H, D); weight and bias (H, D)."""
    rows = inp.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _heads_of_row(out[n], mean[n], rstd[n], inp[n], weight, bias, eps)


@parallel
def _head_codes(part, thread, codes, minus_sums, steps, mean, rstd, inp, weight, bias, eps, scratch, parts):
    """As `_head_forward`, but 8-bit codes of each token.   scratch: (threads, C or more)"""
    rows, heads, D = inp.shape
    row = scratch[thread, :heads * D]
    out = row.reshape(heads, D)
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _heads_of_row(out, mean[n], rstd[n], inp[n], weight, bias, eps)
        steps[n], minus_sums[n] = quantize_row(codes[n], row)


@parallel
def _head_backward(part, dinp, partial_weight, partial_bias, dout, inp, weight, mean, rstd, parts):
    rows, heads, D = inp.shape
    chunks = partial_weight.shape[0]
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        partial_weight[chunk] = 0.0
        partial_bias[chunk] = 0.0
        for n in range(chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, rows)):
            for h in range(heads):
                low, high = h * D, (h + 1) * D
                backward_row(dinp[n, h], partial_weight[chunk, low:high], partial_bias[chunk, low:high],
                              dout[n, h], inp[n, h], weight[h], mean[n, h], rstd[n, h])


def headnorm_forward(inp, heads, weight, bias, eps=1e-5, operand=False):
    """See `tinylm.ops.headnorm_forward`; float32, or `Quantized` for an operand.  Writes out, mean and rstd."""
    shapes.channels(inp, weight, bias)
    if inp.shape[-1] % heads:
        raise shapes.ShapeError(f"inp is {inp.shape}: {heads} heads cannot share {inp.shape[-1]} channels")
    inp = contiguous(inp)
    rows = inp.reshape(-1, heads, inp.shape[-1] // heads)
    mean, rstd, parts = memory.empty(rows.shape[:2]), memory.empty(rows.shape[:2]), parts_for(inp.size)
    weights = weight.reshape(heads, -1), bias.reshape(heads, -1)
    if operand:
        out = quantized_for(inp.shape)
        _head_codes(*out.rows.filled, mean, rstd, rows, *weights, eps,
                    memory.for_threads(threads_of(parts), inp.shape[-1]), parts)
    else:
        out = memory.empty(inp.shape)
        _head_forward(out.reshape(rows.shape), mean, rstd, rows, *weights, eps, parts)
    stat = (*inp.shape[:-1], heads, 1)
    return out, LayerNormCache(inp, weight, bias, mean.reshape(stat), rstd.reshape(stat))


def headnorm_backward(dout, cache, add_to=None):
    """See `tinylm.ops.headnorm_backward`.  Adds to the arrays of add_to."""
    inp, weight, bias, mean, rstd = cache
    dout = contiguous(dout)
    shapes.same(dout=dout, inp=inp)
    C, heads = inp.shape[-1], mean.shape[-2]
    rows = inp.reshape(-1, heads, C // heads)
    dweight, dbias = add_to or (np.zeros(C, np.float32), np.zeros(C, np.float32))
    chunks = chunks_of(len(rows))
    dinp = memory.empty(inp.shape)
    partial, partial_bias = memory.empty((2, chunks, C))
    _head_backward(dinp.reshape(rows.shape), partial, partial_bias, dout.reshape(rows.shape), rows,
                   weight.reshape(heads, -1), mean.reshape(-1, heads), rstd.reshape(-1, heads),
                   min(chunks, parts_for(inp.size)))
    add_in_order(dweight, partial)
    add_in_order(dbias, partial_bias)
    return dinp, dweight, dbias


@serial
def _rms_forward_row(out, inp, weight, eps):
    """Writes one row; returns one over its root mean square."""
    square = np.float32(0.0)
    for i in range(inp.size):
        square += inp[i] * inp[i]
    rrms = np.float32(1.0) / np.sqrt(square / np.float32(inp.size) + np.float32(eps))
    for i in range(inp.size):
        out[i] = inp[i] * rrms * weight[i]
    return rrms


@parallel
def _rms_forward(part, out, rrms, inp, weight, eps, parts):
    rows = inp.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        rrms[n] = _rms_forward_row(out[n], inp[n], weight, eps)


@serial
def _rms_backward_row(dinp, dweight, dout, inp, weight, rrms):
    """Writes one row of dinp and adds to dweight."""
    along = np.float32(0.0)
    for i in range(inp.size):
        along += dout[i] * weight[i] * (inp[i] * rrms)
    along /= np.float32(inp.size)
    for i in range(inp.size):
        norm = inp[i] * rrms
        dinp[i] = rrms * (dout[i] * weight[i] - norm * along)
        dweight[i] += dout[i] * norm


@parallel
def _rms_backward(part, dinp, partial, dout, inp, weight, rrms, residual, parts):
    rows, chunks = inp.shape[0], partial.shape[0]
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        partial[chunk] = 0.0
        for n in range(chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, rows)):
            _rms_backward_row(dinp[n], partial[chunk], dout[n], inp[n], weight, rrms[n])
            if residual.size:
                add_row(dinp[n], residual[n])


def rmsnorm_forward(inp, weight, eps=1e-5):
    """See `tinylm.ops.rmsnorm_forward`; float32.  Writes out and one over the root mean square."""
    shapes.channels(inp, weight, None)
    inp = contiguous(inp)
    rows = inp.reshape(-1, inp.shape[-1])
    out, rrms = memory.empty(inp.shape), memory.empty(len(rows))
    _rms_forward(out.reshape(rows.shape), rrms, rows, weight, eps, parts_for(inp.size))
    return out, RMSNormCache(inp, weight, rrms.reshape(*inp.shape[:-1], 1))


def rmsnorm_backward(dout, cache, add_to=None, residual=None):
    """See `tinylm.ops.rmsnorm_backward`.  Adds to the array of add_to."""
    inp, weight, rrms = cache
    dout = contiguous(dout)
    shapes.same(dout=dout, inp=inp)
    C = inp.shape[-1]
    rows = inp.reshape(-1, C)
    dinp, dweight = memory.empty(inp.shape), add_to[0] if add_to else np.zeros(C, np.float32)
    chunks = chunks_of(len(rows))
    partial = memory.empty((chunks, C))
    _rms_backward(dinp.reshape(rows.shape), partial, dout.reshape(rows.shape), rows, weight, rrms.reshape(-1),
                  _rows_of(residual, inp), min(chunks, parts_for(inp.size)))
    add_in_order(dweight, partial)
    return dinp, dweight
