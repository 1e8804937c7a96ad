"""Twins of `tinylm.ops.token_shift`."""
from __future__ import annotations

import numpy as np

from ..ops import shapes
from ..ops.layernorm import LayerNormCache
from ..ops.token_shift import TokenShiftCache
from . import memory
from .jit import parallel, serial
from .layernorm import NONE, _forward_row
from .quantize import bytes_for, quantize_row, quantized_for
from .recording import contiguous
from .rows import CHUNK_ROWS, add_in_order, chunks_of, parts_for, threads_of
from .vector_math import sigmoid32

_ONE, _NO_TOKENS = np.float32(1.0), np.zeros((0, 0, 0), np.float32)


@serial
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
def _norm_shift(part, thread, out, codes, minus_sums, steps, normed, mean, rstd, inp, weight, bias, before, share, eps,
                scratch, parts):
    """normed = norm of inp (B, T, C), and out its shift, or where codes are wanted 8-bit codes of that.

    scratch    (threads, 2, C or more): the token before a part's first one, which another part normalises, and a shift
    """
    B, T, _ = inp.shape
    other, mixed = scratch[thread, 0, :inp.shape[2]], scratch[thread, 1, :inp.shape[2]]
    low, high = B * T * part // parts, B * T * (part + 1) // parts
    if low < high and low % T:
        _forward_row(other, inp[low // T, low % T - 1], weight, bias, eps)
    for n in range(low, high):
        b, t = n // T, n % T
        mean[n], rstd[n] = _forward_row(normed[b, t], inp[b, t], weight, bias, eps)
        last = before[b] if t == 0 else other if n == low else normed[b, t - 1]
        if codes.size:
            _mix(mixed, normed[b, t], last, share)
            steps[n], minus_sums[n] = quantize_row(codes[n], mixed)
        else:
            _mix(out[b, t], normed[b, t], last, share)


@serial
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


def norm_shift(inp, weight, bias, mix, before=None, eps=1e-5, operand=False):
    """See `tinylm.ops.norm_shift`; float32, or `Quantized` where out is an operand."""
    shapes.channels(inp, weight, bias)
    shapes.channels(inp, mix, None)
    inp, parts = contiguous(inp), parts_for(inp.size)
    B, T, C = inp.shape
    before = np.zeros((B, C), np.float32) if before is None else contiguous(before)
    normed, mean, rstd = memory.empty(inp.shape), memory.empty(B * T), memory.empty(B * T)
    out = quantized_for(inp.shape) if operand else memory.empty(inp.shape)
    places = (_NO_TOKENS, *out.rows.filled) if operand else (out, *bytes_for(0, 0).filled)
    _norm_shift(*places, normed, mean, rstd, inp, weight, NONE if bias is None else bias, before, _share(mix), eps,
                memory.for_threads(threads_of(parts), 2, C), parts)
    norm = LayerNormCache(inp, weight, bias, mean.reshape(B, T, 1), rstd.reshape(B, T, 1))
    return out, (norm, TokenShiftCache(normed, mix, before))


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
