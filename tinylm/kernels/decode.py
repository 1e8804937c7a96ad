"""Twin of `tinylm.ops.decode`: all blocks in one call, from the row functions of the training kernels.

A token through 18 blocks is some 300 small operations.  Called one by one from Python, calling takes longer than
computing.  The rows are done by the same compiled functions as in training, so the scores have the same bits.
"""
from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from ..ops.decode import BEFORE1, BEFORE2, HIDDEN, DecodeWeights, check_decode
from ..ops.precision import autocast
from . import memory
from .activations import _squared_relu_forward_range
from .int8 import BLOCK_ROWS, PackedInt8, int8_rows
from .jit import parallel, serial
from .layernorm import forward_row
from .matmul import pack
from .packed import product_rows, quantize_row, scale_sums, words_of
from .recording import contiguous
from .recurrence import _forward_step
from .registers import ask
from .residual import _sum
from .together import Pace, copy, few_rows, in_one_call, meet
from .token_shift import _mix, _shares

PRIVATE = 6             # rows of C numbers that each part has for itself
LINE = 16               # float32 numbers in a cache line
_NO_FLOATS, _NO_WORDS = np.zeros(0, np.float32), np.zeros(0, np.int32)
# Rows of a block's parameters, in the order in which they are read.
NORM1, GATE_BIAS, HEAD_NORM, NORM2, PARAM_ROWS = 0, 3, 4, 6, 9


class PackedDecode(NamedTuple):
    """DecodeWeights in the order in which a token meets them."""

    weights: DecodeWeights
    params: np.ndarray       # (L, PARAM_ROWS, C): what a block has besides matrices; shares in the place of mixes
    words: np.ndarray        # `packed` as int32
    panels: np.ndarray       # of a float32 head, else empty
    int8_words: np.ndarray   # of an int8 head, else empty
    head_scale: np.ndarray
    head_start: np.ndarray   # (V,): what scores start from, 0
    bytes_: int              # of all weights that a step reads
    pace: Pace
    spare: defaultdict[tuple[int, int], list[_Scratch]]  # by (1, number of parts)


def pack_decode(weights):
    """See `tinylm.ops.pack_decode`."""
    w = weights
    L, C = w.gate_bias.shape
    params = memory.empty((L, PARAM_ROWS, C))
    for of_block, norms, mixes, bias, head_norm in zip(params, w.norms, w.mixes, w.gate_bias, w.head_norm):
        for row, norm, mix in ((NORM1, norms[0], mixes[0]), (NORM2, norms[1], mixes[1])):
            of_block[row:row + 2] = norm
            _shares(of_block[row + 2], contiguous(mix))
        of_block[GATE_BIAS], of_block[HEAD_NORM:HEAD_NORM + 2] = bias, head_norm
    if isinstance(w.head, PackedInt8):
        panels, int8_words, head_scale = _NO_FLOATS, w.head.words, w.head.scale
    else:
        with autocast("float32"):
            head = pack(w.head.array) if w.head.rounded else w.head  # what is read here is float32
        panels, int8_words, head_scale = head.panels, _NO_WORDS, _NO_FLOATS
    words = words_of(w.packed)
    return PackedDecode(w, params, words, panels, int8_words, head_scale, np.zeros(len(w.embedding), np.float32),
                        words.nbytes + panels.nbytes + int8_words.nbytes, Pace(), defaultdict(list))


@serial
def _shifted(out, normed, inp, params, before, eps):
    """out = token shift of normed = norm(inp); params (3, C): weight and bias of the norm, share of the shift."""
    forward_row(normed, inp, params[0], params[1], eps)
    _mix(out, normed, before, params[2])


@serial
def _product(out, packed, codes, sums, start, inp_scale, scales, part, parts):
    """A part's rows of out = packed . codes (inp_scale scale), for codes that have been quantised, of one or several
    matrices of equal size, each with its scale.  Returns (first, last)."""
    groups, rows = sums.size // 32, sums.size // scales.size
    first, last = groups * part // parts, groups * (part + 1) // parts
    product_rows(sums, packed, codes.view(np.int32), start, first, last)
    for number in range(scales.size):
        low, high = max(32 * first, rows * number), min(32 * last, rows * (number + 1))
        if low < high:
            scale_sums(out[low:high], sums[low:high], inp_scale, scales[number])
    return 32 * first, 32 * last


@serial
def _part(part, parts, counter, out, row, params, lower, words, scales, last_norm, panels, int8_words, head_scale,
          head_start, heads, eps, state, shared, private, codes, sums, start, F):
    """One token as one of `parts` threads sees it.

    Each computes its own rows of every product, and all of what lies between: that is shorter than a wait.  What
    they share is written before a meeting and read after it: the state, which part 0 changes when nobody reads it
    any more, and `shared`, where results of products lie.  row (C,), the token's embedding, is changed; it,
    private (5 C,), codes and start are the part's own.  `_Scratch` says how large the rest is.  No operation writes
    where it reads: then it would not be vectorised.
    """
    L, _, C = params.shape
    wide_c, wide_f = (C + 31) // 32 * 32, (F + 31) // 32 * 32
    gates, branch = shared[:3 * wide_c], shared[3 * wide_c:4 * wide_c]
    up_sums, hidden = shared[4 * wide_c:4 * wide_c + wide_f], shared[4 * wide_c + wide_f:]
    inp, normed, mixed, memory_ = private[:C], private[C:2 * C], private[2 * C:3 * C], private[3 * C:4 * C]
    middle = private[4 * C:]
    codes_c, codes_f = codes[:(C + 15) // 16 * 16], codes[:(F + 15) // 16 * 16]
    sums_gates, sums_c, sums_f = sums[:3 * wide_c], sums[:wide_c], sums[:wide_f]
    # Words of the three kinds of matrices: sixteen codes each.
    small, up, down = wide_c * codes_c.size // 16, wide_f * codes_c.size // 16, wide_c * codes_f.size // 16
    at, D, met, step = 0, C // heads, 0, parts if parts > 1 else 0
    for layer in range(L):
        own = params[layer]
        _shifted(inp, normed, row, own[NORM1:], state[layer, BEFORE1], eps)
        scale, start[0] = quantize_row(codes_c, inp)
        ask(own[GATE_BIAS], 0, 3 * C)
        ask(state[layer, HIDDEN], 0, C)
        _product(gates, words[at:at + 3 * small], codes_c, sums_gates, start, scale, scales[layer, :3], part, parts)
        at += 3 * small
        met += step
        meet(counter, met)
        _forward_step(mixed, memory_, state[layer, HIDDEN], gates[:C], gates[wide_c:wide_c + C],
                      gates[2 * wide_c:2 * wide_c + C], own[GATE_BIAS], lower[layer])
        for head in range(heads):
            low, high = head * D, (head + 1) * D
            forward_row(inp[low:high], mixed[low:high], own[HEAD_NORM, low:high], own[HEAD_NORM + 1, low:high], eps)
        scale, start[0] = quantize_row(codes_c, inp)
        ask(own[NORM2], 0, 3 * C)
        ask(state[layer, BEFORE2], 0, C)
        _product(branch, words[at:at + small], codes_c, sums_c, start, scale, scales[layer, 3:4], part, parts)
        at += small
        if part == 0:
            copy(state[layer, BEFORE1], normed)  # all read it before they met
        met += step
        meet(counter, met)
        if part == 0:
            copy(state[layer, HIDDEN], memory_)
        _sum(middle, row, branch[:C])
        _shifted(inp, normed, middle, own[NORM2:], state[layer, BEFORE2], eps)
        scale, start[0] = quantize_row(codes_c, inp)
        low, high = _product(up_sums, words[at:at + up], codes_c, sums_f, start, scale, scales[layer, 4:5], part, parts)
        _squared_relu_forward_range(hidden[low:high], up_sums[low:high])
        at += up
        met += step
        meet(counter, met)
        if part == 0:
            copy(state[layer, BEFORE2], normed)
        scale, start[0] = quantize_row(codes_f, hidden[:F])
        if layer + 1 < L:
            ask(params[layer + 1, NORM1], 0, 3 * C)
            ask(state[layer + 1, BEFORE1], 0, C)
        _product(branch, words[at:at + down], codes_f, sums_c, start, scale, scales[layer, 5:], part, parts)
        at += down
        met += step
        meet(counter, met)
        _sum(row, middle, branch[:C])
    forward_row(inp, row, last_norm[0], last_norm[1], eps)
    if int8_words.size:
        scale, minus_sum = quantize_row(codes_c, inp)
        blocks = head_scale.size // BLOCK_ROWS
        int8_rows(out, codes_c[:(C + 3) // 4 * 4], minus_sum, scale, int8_words, head_scale, sums, start,
                  blocks * part // parts, blocks * (part + 1) // parts)
    else:
        few_rows(out, inp, head_start, panels, 1, out.size, C, part, parts)


@parallel
def _step(part, counter, out, embedding, token, params, lower, words, scales, last_norm, panels, int8_words,
          head_scale, head_start, heads, eps, state, floats, codes, sums, F, parts):
    """`_part` with its piece of the scratch: floats begins with what is shared and ends with what is private."""
    C = embedding.shape[1]
    shared, size = floats.size - PRIVATE * C * parts, codes.size // parts
    private = floats[shared + PRIVATE * C * part:shared + PRIVATE * C * (part + 1)]
    row = private[(PRIVATE - 1) * C:]
    copy(row, embedding[token])
    _part(part, parts, counter, out, row, params, lower, words, scales, last_norm, panels, int8_words, head_scale,
          head_start, heads, eps, state, floats[:shared], private[:(PRIVATE - 1) * C],
          codes[size * part:size * (part + 1)], sums, sums[sums.size - LINE * (part + 1):], F)


def _up(size, step):
    return -(-size // step) * step


class _Scratch(NamedTuple):
    """What a step of so many parts writes to besides its scores and the state."""

    counter: np.ndarray
    floats: np.ndarray  # what parts share, then PRIVATE rows for each
    codes: np.ndarray
    sums: np.ndarray    # and a start for each part


def _scratch(weights, parts):
    C, F = weights.params.shape[2], weights.weights.hidden
    wide_c, wide_f = _up(C, 32), _up(F, 32)
    return _Scratch(np.zeros(1, np.int64), memory.empty(4 * wide_c + 2 * wide_f + PRIVATE * C * parts),
                    memory.empty(_up(max(C, F), 64) * parts, np.int8),
                    memory.empty(max(3 * wide_c, wide_f, weights.head_scale.size) + LINE * parts, np.int32))


def decode_step(token, weights, state):
    """See `tinylm.ops.decode_step`; float32, with the bits of the model's `logits` for any number of threads."""
    w, p = weights.weights, weights
    check_decode(token, w, state)
    out, rows = memory.empty(len(w.embedding)), contiguous(state)

    def step(scratch, parts):
        _step(scratch.counter, out, w.embedding, token, p.params, w.lower, p.words, w.scales, w.last_norm, p.panels,
              p.int8_words, p.head_scale, p.head_start, w.heads, w.eps, rows, scratch.floats, scratch.codes,
              scratch.sums, w.hidden, parts)

    in_one_call(p.bytes_, p.pace, p.spare, 1, lambda parts: _scratch(p, parts), step)
    if rows is not state:
        state[...] = rows  # it was a copy, in the layout of kernels
    return out
