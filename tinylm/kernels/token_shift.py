"""Twins of `tinylm.ops.token_shift`."""
from __future__ import annotations

import numpy as np

from ..ops import shapes
from ..ops.layernorm import LayerNormCache
from ..ops.token_shift import NormShiftCache, TokenShiftCache
from . import memory
from .jit import parallel, serial, serial_shared
from .layernorm import NONE, backward_row, forward_row, normed_row
from .quantize import bytes_for, quantize_row, quantized_for
from .recording import contiguous
from .registers import ask
from .rows import CHUNK_ROWS, add_in_order, add_row, chunks_of, parts_for, threads_of
from .vector_math import sigmoid32

AHEAD = 8  # rows that are asked for before they are needed
_ONE, _NO_TOKENS = np.float32(1.0), np.zeros((0, 0, 0), np.float32)


@serial_shared
def _mix(out, inp, before, share):
    for i in range(out.size):
        out[i] = inp[i] * share[i] + before[i] * (_ONE - share[i])


@parallel
def _forward(part, out, inp, before, share, parts):
    B, T, _ = out.shape
    for n in range(B * T * part // parts, B * T * (part + 1) // parts):
        b, t = n // T, n % T
        _mix(out[b, t], inp[b, t], before[b] if t == 0 else inp[b, t - 1], share)


@parallel
def _norm_shift(part, thread, out, codes, minus_sums, steps, mean, rstd, ends, inp, weight, bias, before, share, eps,
                scratch, parts):
    """out = the shift of the norm of inp (B, T, C), or where codes are wanted 8-bit codes of that.

    ends       (B, C): the norm of each text's last token
    scratch    (threads, 3, C or more): the norms of a token and of the one before, and a shift
    """
    B, T, C = inp.shape
    mixed, low, high = scratch[thread, 2, :C], B * T * part // parts, B * T * (part + 1) // parts
    if low < high and low % T:  # another part's
        forward_row(scratch[thread, (low + 1) % 2, :C], inp[low // T, low % T - 1], weight, bias, eps)
    for n in range(low, high):
        b, t, normed = n // T, n % T, scratch[thread, n % 2, :C]
        mean[n], rstd[n] = forward_row(normed, inp[b, t], weight, bias, eps)
        last = before[b] if t == 0 else scratch[thread, (n + 1) % 2, :C]
        if codes.size:
            _mix(mixed, normed, last, share)
            steps[n], minus_sums[n] = quantize_row(codes[n], mixed)
        else:
            _mix(out[b, t], normed, last, share)
        if t == T - 1:
            for i in range(normed.size):
                ends[b, i] = normed[i]


@serial_shared
def _backward_row(dinp, dmix, dout, after, inp, before, share):
    """`after`: dout of the next token, which has this one as the token before."""
    for i in range(dinp.size):
        dinp[i] = dout[i] * share[i] + after[i] * (_ONE - share[i])
        dmix[i] += dout[i] * (inp[i] - before[i]) * share[i] * (_ONE - share[i])


@parallel
def _backward(part, dinp, partial, dout, inp, before, nothing, share, parts):
    B, T, _ = dinp.shape
    chunks = partial.shape[0]
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        partial[chunk] = 0.0
        for n in range(chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, B * T)):
            b, t = n // T, n % T
            _backward_row(dinp[b, t], partial[chunk], dout[b, t], dout[b, t + 1] if t + 1 < T else nothing,
                          inp[b, t], before[b] if t == 0 else inp[b, t - 1], share)


@parallel
def _norm_shift_backward(part, thread, dinp, added, partial_weight, partial_bias, partial_mix, dout, inp, weight, bias,
                         mean, rstd, before, nothing, share, scratch, parts):
    """`_backward` and then a LayerNorm's, row by row.

    added      whether the gradient is added to dinp
    scratch    (threads, 4, C or more): three rows as in `_norm_shift`, and a gradient
    """
    B, T, C = inp.shape
    chunks, dnormed, own = partial_mix.shape[0], scratch[thread, 2, :C], scratch[thread, 3, :C]
    flat = dout.reshape(-1), inp.reshape(-1), dinp.reshape(-1)
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        partial_weight[chunk], partial_bias[chunk], partial_mix[chunk] = 0.0, 0.0, 0.0
        low, high = chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, B * T)
        if low < high and low % T:
            normed_row(scratch[thread, (low + 1) % 2, :C], inp[low // T, low % T - 1], weight, bias, mean[low - 1],
                       rstd[low - 1])
        for n in range(low, high):
            b, t, normed = n // T, n % T, scratch[thread, n % 2, :C]
            for rows in flat:  # also of what is written: it has to come to where it can be written
                ask(rows, (n + AHEAD) * C, C)
            normed_row(normed, inp[b, t], weight, bias, mean[n], rstd[n])
            _backward_row(dnormed, partial_mix[chunk], dout[b, t], dout[b, t + 1] if t + 1 < T else nothing, normed,
                          before[b] if t == 0 else scratch[thread, (n + 1) % 2, :C], share)
            backward_row(own if added else dinp[b, t], partial_weight[chunk], partial_bias[chunk], dnormed, inp[b, t],
                         weight, mean[n], rstd[n])
            if added:
                add_row(dinp[b, t], own)


@serial
def _shares(share, mix):
    for i in range(mix.size):
        share[i] = sigmoid32(mix[i])


def _share(mix):
    share = memory.empty(mix.shape)
    _shares(share, contiguous(mix))
    return share


def token_shift_forward(inp, mix, before=None):
    """See `tinylm.ops.token_shift_forward`; float32."""
    shapes.channels(inp, mix, None)
    inp = contiguous(inp)
    if before is None:
        before = np.zeros((inp.shape[0], inp.shape[2]), np.float32)
    out = memory.empty(inp.shape)
    _forward(out, inp, contiguous(before), _share(mix), parts_for(inp.size))
    return out, TokenShiftCache(inp, mix, before)


def norm_shift_forward(inp, weight, bias, mix, before=None, eps=1e-5, operand=False):
    """See `tinylm.ops.norm_shift_forward`; float32, or `Quantized` where out is an operand."""
    shapes.channels(inp, weight, bias)
    shapes.channels(inp, mix, None)
    inp, parts = contiguous(inp), parts_for(inp.size)
    B, T, C = inp.shape
    before = np.zeros((B, C), np.float32) if before is None else contiguous(before)
    mean, rstd, ends = memory.empty(B * T), memory.empty(B * T), memory.empty((B, C))
    out = quantized_for(inp.shape) if operand else memory.empty(inp.shape)
    places = (_NO_TOKENS, *out.rows.filled) if operand else (out, *bytes_for(0, 0).filled)
    _norm_shift(*places, mean, rstd, ends, inp, weight, NONE if bias is None else bias, before, _share(mix), eps,
                memory.for_threads(threads_of(parts), 3, C), parts)
    norm = LayerNormCache(inp, weight, bias, mean.reshape(B, T, 1), rstd.reshape(B, T, 1))
    return out, NormShiftCache(norm, mix, before, ends)


def norm_shift_backward(dout, cache, add_to=None, residual=None):
    """See `tinylm.ops.norm_shift_backward`.  Adds to the arrays of add_to."""
    (inp, weight, bias, mean, rstd), mix, before, _ = cache
    dout = contiguous(dout)
    shapes.same(dout=dout, inp=inp)
    B, T, C = inp.shape
    dweight, dbias, dmix = add_to or (
        np.zeros(C, np.float32), None if bias is None else np.zeros(C, np.float32), np.zeros(C, np.float32))
    added, chunks = residual is not None, chunks_of(B * T)
    if added:
        shapes.same(residual=residual, inp=inp)
    dinp = contiguous(residual) if added else memory.empty(inp.shape)
    partial, partial_mix = memory.empty((2, chunks, C))
    partial_bias, parts = memory.empty((chunks, 0 if dbias is None else C)), min(chunks, parts_for(inp.size))
    _norm_shift_backward(dinp, added, partial, partial_bias, partial_mix, dout, inp, weight,
                         NONE if bias is None else bias, mean.reshape(-1), rstd.reshape(-1), before,
                         np.zeros(C, np.float32), _share(mix), memory.for_threads(threads_of(parts), 4, C), parts)
    add_in_order(dweight, partial)
    if dbias is not None:
        add_in_order(dbias, partial_bias)
    add_in_order(dmix, partial_mix)
    return dinp, dweight, dbias, dmix


def token_shift_backward(dout, cache, add_to=None):
    """See `tinylm.ops.token_shift_backward`.  Adds to the array of add_to."""
    inp, mix, before = cache
    dout = contiguous(dout)
    shapes.same(dout=dout, inp=inp)
    B, T, C = inp.shape
    dinp, dmix = memory.empty(inp.shape), add_to[0] if add_to else np.zeros(C, np.float32)
    chunks = chunks_of(B * T)
    partial = memory.empty((chunks, C))
    _backward(dinp, partial, dout, inp, contiguous(before), np.zeros(C, np.float32), _share(mix),
              min(chunks, parts_for(inp.size)))
    add_in_order(dmix, partial)
    return dinp, dmix
