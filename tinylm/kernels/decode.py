"""Twin of `tinylm.ops.decode`: all blocks in one call, from the row functions of the training kernels.

A token through 18 blocks is some 300 small operations.  Called one by one from Python, calling takes longer than
computing.  The rows are done by the same compiled functions as in training, so the scores have the same bits.
"""
from __future__ import annotations

import numpy as np

from ..ops.decode import BEFORE1, BEFORE2, HIDDEN, MATRICES, check_decode
from . import memory
from .activations import _squared_relu_forward_range
from .jit import serial
from .layernorm import _forward_row
from .matmul import Packed, contiguous, panel_width, put
from .packed import product_rows, quantize_row, scale_sums, words_of
from .recurrence import CHANNELS, _forward_step
from .residual import _sum
from .simd import HALF, WIDE, half, lanes, load, multiply_add, narrow, spread, wide
from .token_shift import _mix, _shares


@serial
def _copy(out, inp):
    for i in range(out.size):
        out[i] = inp[i]


@serial
def _shifted(out, scratch, inp, norm, mix, before, eps):
    """out = token shift of norm(inp); `before` becomes what the next token sees as its past."""
    C = out.size
    normed, share = scratch[:C], scratch[C:2 * C]
    _forward_row(normed, inp, norm[0], norm[1], eps)
    _shares(share, mix)
    _mix(out, normed, before, share)
    _copy(before, normed)


@serial
def _product(out, packed, codes, sums, start, factor):
    """out = packed . codes factor, for codes that have been quantised."""
    product_rows(sums, packed, codes.view(np.int32), start, 0, sums.size // 32)
    scale_sums(out, sums, factor)


@serial
def _recurrence(out, hidden, gates, bias, state, lower):
    """gates (3, C): forget, value, output; in pieces of the training kernel's size."""
    C = out.size
    for low in range(0, C, CHANNELS):
        high = min(low + CHANNELS, C)
        _forward_step(out[low:high], hidden[low:high], state[low:high], gates[0, low:high], gates[1, low:high],
                      gates[2, low:high], bias[low:high], lower)
    _copy(state, hidden)


@serial
def _two_panels(out, column, inp, panels, like):
    """`_panel` for two whole panels side by side: two streams from memory bring more than one."""
    width = lanes(like)
    total0, total1 = like, like
    first0, first1 = column * inp.size, (column + width) * inp.size
    for k in range(inp.size):
        x = spread(inp, k, like)
        total0 = multiply_add(total0, x, load(panels, first0 + k * width, like))
        total1 = multiply_add(total1, x, load(panels, first1 + k * width, like))
    put(out, column, total0, width)
    put(out, column + width, total1, width)


@serial
def _panel(out, column, inp, panels, columns, like):
    """out[column: column + columns] = inp . a panel; each sum in the order of k, as `matmul.tile` has it."""
    total, first = like, column * inp.size
    for k in range(inp.size):
        total = multiply_add(total, spread(inp, k, like), load(panels, first + k * lanes(like), like))
    put(out, column, total, columns)


@serial
def _head(out, inp, panels):
    N, column = out.size, 0
    while column + 2 * WIDE <= N:
        _two_panels(out, column, inp, panels, wide())
        column += 2 * WIDE
    while column < N:
        width = panel_width(N - column)
        columns = min(width, N - column)
        if width == WIDE:
            _panel(out, column, inp, panels, columns, wide())
        elif width == HALF:
            _panel(out, column, inp, panels, columns, half())
        else:
            _panel(out, column, inp, panels, columns, narrow())
        column += width


@serial
def _step(out, row, norms, mixes, gate_bias, head_norm, lower, packed, scales, last_norm, panels, heads, eps,
          state, scratch, gates, wide_row, codes, wide_codes, sums, wide_sums, start):
    """row (C,): the token's embedding, changed.  scratch (5 C,), gates (3, C), wide_row (F,); codes and sums as
    `packed.bitlinear_row` has them, for C and for F."""
    L, C = gate_bias.shape
    inp, branch, hidden, rest = scratch[:C], scratch[C:2 * C], scratch[2 * C:3 * C], scratch[3 * C:]
    # Words of the three kinds of matrices: sixteen codes each.
    small, up, down = sums.size * codes.size // 16, wide_sums.size * codes.size // 16, sums.size * wide_codes.size // 16
    at, D = 0, C // heads
    for layer in range(L):
        _shifted(inp, rest, row, norms[layer, 0], mixes[layer, 0], state[layer, BEFORE1], eps)
        scale, start[0] = quantize_row(codes, inp)
        for number in range(3):  # one input, so it is quantised once
            _product(gates[number], packed[at:at + small], codes, sums, start, scale * scales[layer, number])
            at += small
        _recurrence(branch, hidden, gates, gate_bias[layer], state[layer, HIDDEN], lower[layer])
        for head in range(heads):
            low, high = head * D, (head + 1) * D
            _forward_row(inp[low:high], branch[low:high], head_norm[layer, 0, low:high],
                         head_norm[layer, 1, low:high], eps)
        scale, start[0] = quantize_row(codes, inp)
        _product(branch, packed[at:at + small], codes, sums, start, scale * scales[layer, 3])
        at += small
        _sum(row, row, branch)
        _shifted(inp, rest, row, norms[layer, 1], mixes[layer, 1], state[layer, BEFORE2], eps)
        scale, start[0] = quantize_row(codes, inp)
        _product(wide_row, packed[at:at + up], codes, wide_sums, start, scale * scales[layer, 4])
        at += up
        _squared_relu_forward_range(wide_row, wide_row)
        scale, start[0] = quantize_row(wide_codes, wide_row)
        _product(branch, packed[at:at + down], wide_codes, sums, start, scale * scales[layer, 5])
        at += down
        _sum(row, row, branch)
    _forward_row(inp, row, last_norm[0], last_norm[1], eps)
    _head(out, inp, panels)


def _up(size, step):
    return -(-size // step) * step


def decode_step(token, weights, state):
    """See `tinylm.ops.decode_step`; float32, on one thread, with the bits of the model's `logits`."""
    check_decode(token, weights, state)
    w, C, F = weights, weights.embedding.shape[1], weights.hidden
    assert isinstance(w.head, Packed) and w.scales.shape[1] == MATRICES
    out, row = memory.empty(len(w.embedding)), memory.empty(C)
    row[:] = w.embedding[token]
    _step(out, row, w.norms, w.mixes, w.gate_bias, w.head_norm, w.lower, words_of(w.packed), w.scales, w.last_norm,
          w.head.panels, w.heads, w.eps, contiguous(state), memory.empty(5 * C), memory.empty((3, C)), memory.empty(F),
          memory.empty(_up(C, 16), np.int8), memory.empty(_up(F, 16), np.int8), memory.empty(_up(C, 32), np.int32),
          memory.empty(_up(F, 32), np.int32), memory.empty(1, np.int32))
    return out
