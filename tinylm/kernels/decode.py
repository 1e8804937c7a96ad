"""Twin of `tinylm.ops.decode`: all blocks in one call, from the row functions of the training kernels.

A token through 18 blocks is some 300 small operations.  Called one by one from Python, calling takes longer than
computing.  The rows are done by the same compiled functions as in training, so the scores have the same bits.
"""
from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from functools import cache
from typing import NamedTuple

import numba
import numpy as np
from numba import get_thread_id

from ..ops.decode import BEFORE1, BEFORE2, HIDDEN, DecodeWeights, check_decode
from ..ops.precision import autocast
from . import memory
from .activations import _squared_relu_forward_range
from .fork import thread_count
from .int8 import BLOCK_ROWS, PackedInt8, int8_rows
from .jit import parallel, serial
from .layernorm import _forward_row
from .matmul import pack, panel_width, put
from .packed import product_rows, quantize_row, scale_sums, words_of
from .recording import contiguous
from .recurrence import _forward_step
from .residual import _sum
from .simd import (
    HALF,
    WIDE,
    arrive,
    arrived,
    give_way,
    half,
    lanes,
    load,
    multiply_add,
    narrow,
    pause,
    prefetch,
    spread,
    wide,
)
from .token_shift import _mix, _shares

SHARED_BYTES = 1 << 20  # below this many bytes of weights, meeting costs more than a second thread saves
TRIAL_EVERY = 1024       # tokens between trials of `Pace`
TRIAL = 12               # tokens in a trial
PRIVATE = 6             # rows of C numbers that each part has for itself
LINE = 16               # float32 numbers in a cache line
SPINS = 2_000           # looks at the counter before a waiting thread lets another one run
_FEWER = "OMP_DYNAMIC", "OMP_THREAD_LIMIT"  # settings by which a later region may get fewer threads than the first
_NO_FLOATS, _NO_WORDS = np.zeros(0, np.float32), np.zeros(0, np.int32)
# Rows of a block's parameters, in the order in which they are read.
NORM1, GATE_BIAS, HEAD_NORM, NORM2, PARAM_ROWS = 0, 3, 4, 6, 9


class Pace:
    """Whether several threads are faster than one, tried again and again: on a busy machine they wait for each other.

    In a trial tokens have one thread and all in turn; the result has the same bits.
    """

    def __init__(self):
        self.steps, self.alone, self.together, self.hopeless = 0, math.inf, math.inf, False

    def parts(self, threads: int) -> int:
        """How many threads the next token should have."""
        place = self.steps % TRIAL_EVERY
        if place == 0:
            self.alone, self.together, self.hopeless = math.inf, math.inf, False
        if place < TRIAL:
            return threads if place % 2 and not self.hopeless else 1
        return threads if self.together < self.alone else 1

    def took(self, parts: int, seconds: float) -> None:
        if self.steps % TRIAL_EVERY < TRIAL and self.steps >= 2:  # the first two may have been compiled
            if parts == 1:
                self.alone = min(self.alone, seconds)
            else:
                self.together = min(self.together, seconds)
                self.hopeless = seconds > 3 * self.alone
        self.steps += 1


class PackedDecode(NamedTuple):
    """DecodeWeights in the order in which a token meets them."""

    weights: DecodeWeights
    params: np.ndarray       # (L, PARAM_ROWS, C): what a block has besides matrices; shares in the place of mixes
    words: np.ndarray        # `packed` as int32
    panels: np.ndarray       # of a float32 head, else empty
    int8_words: np.ndarray   # of an int8 head, else empty
    head_scale: np.ndarray
    bytes_: int              # of all weights that a step reads
    pace: Pace
    spare: defaultdict[int, list[_Scratch]]  # by number of parts


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
            head = pack(w.head.array) if w.head.rounded else w.head  # what is read here are no strips of bfloat16
        panels, int8_words, head_scale = head.panels, _NO_WORDS, _NO_FLOATS
    words = words_of(w.packed)
    return PackedDecode(w, params, words, panels, int8_words, head_scale,
                        words.nbytes + panels.nbytes + int8_words.nbytes, Pace(), defaultdict(list))


@serial
def _copy(out, inp):
    for i in range(out.size):
        out[i] = inp[i]


@serial
def _ask(rows):
    """Prefetch a few rows that the next pieces of work read, while a product waits for its weights."""
    for i in range(0, rows.size, LINE):
        prefetch(rows, i)


@serial
def _shifted(out, normed, inp, params, before, eps):
    """out = token shift of normed = norm(inp); params (3, C): weight and bias of the norm, share of the shift."""
    _forward_row(normed, inp, params[0], params[1], eps)
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
def _head(out, inp, panels, part, parts):
    """A part's columns of out = inp . panels."""
    N = out.size
    pairs = N // (2 * WIDE)
    for pair in range(pairs * part // parts, pairs * (part + 1) // parts):
        _two_panels(out, 2 * WIDE * pair, inp, panels, wide())
    column = 2 * WIDE * pairs
    while part == parts - 1 and column < N:
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
def _meet(counter, goal):
    """Wait until there have been `goal` arrivals, this one included."""
    if goal == 0:
        return  # a single part meets nobody
    arrive(counter)
    tries = 0
    while arrived(counter) < goal:
        pause()
        tries += 1
        if tries >= SPINS:  # somebody else has the other processor
            give_way()
            tries = 0


@serial
def _part(part, parts, counter, out, row, params, lower, words, scales, last_norm, panels, int8_words, head_scale,
          heads, eps, state, shared, private, codes, sums, start, F):
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
        _ask(own[GATE_BIAS:NORM2].reshape(-1))
        _ask(state[layer, HIDDEN])
        _product(gates, words[at:at + 3 * small], codes_c, sums_gates, start, scale, scales[layer, :3], part, parts)
        at += 3 * small
        met += step
        _meet(counter, met)
        _forward_step(mixed, memory_, state[layer, HIDDEN], gates[:C], gates[wide_c:wide_c + C],
                      gates[2 * wide_c:2 * wide_c + C], own[GATE_BIAS], lower[layer])
        for head in range(heads):
            low, high = head * D, (head + 1) * D
            _forward_row(inp[low:high], mixed[low:high], own[HEAD_NORM, low:high], own[HEAD_NORM + 1, low:high], eps)
        scale, start[0] = quantize_row(codes_c, inp)
        _ask(own[NORM2:].reshape(-1))
        _ask(state[layer, BEFORE2])
        _product(branch, words[at:at + small], codes_c, sums_c, start, scale, scales[layer, 3:4], part, parts)
        at += small
        if part == 0:
            _copy(state[layer, BEFORE1], normed)  # all read it before they met
        met += step
        _meet(counter, met)
        if part == 0:
            _copy(state[layer, HIDDEN], memory_)
        _sum(middle, row, branch[:C])
        _shifted(inp, normed, middle, own[NORM2:], state[layer, BEFORE2], eps)
        scale, start[0] = quantize_row(codes_c, inp)
        low, high = _product(up_sums, words[at:at + up], codes_c, sums_f, start, scale, scales[layer, 4:5], part, parts)
        _squared_relu_forward_range(hidden[low:high], up_sums[low:high])
        at += up
        met += step
        _meet(counter, met)
        if part == 0:
            _copy(state[layer, BEFORE2], normed)
        scale, start[0] = quantize_row(codes_f, hidden[:F])
        if layer + 1 < L:
            _ask(params[layer + 1, NORM1:GATE_BIAS].reshape(-1))
            _ask(state[layer + 1, BEFORE1])
        _product(branch, words[at:at + down], codes_f, sums_c, start, scale, scales[layer, 5:], part, parts)
        at += down
        met += step
        _meet(counter, met)
        _sum(row, middle, branch[:C])
    _forward_row(inp, row, last_norm[0], last_norm[1], eps)
    if int8_words.size:
        scale, minus_sum = quantize_row(codes_c, inp)
        blocks = head_scale.size // BLOCK_ROWS
        int8_rows(out, codes_c[:(C + 3) // 4 * 4], minus_sum, scale, int8_words, head_scale, sums, start,
                  blocks * part // parts, blocks * (part + 1) // parts)
    else:
        _head(out, inp, panels, part, parts)


@parallel
def _step(part, counter, out, embedding, token, params, lower, words, scales, last_norm, panels, int8_words,
          head_scale, heads, eps, state, floats, codes, sums, F, parts):
    """`_part` with its piece of the scratch: floats begins with what is shared and ends with what is private."""
    C = embedding.shape[1]
    shared, size = floats.size - PRIVATE * C * parts, codes.size // parts
    private = floats[shared + PRIVATE * C * part:shared + PRIVATE * C * (part + 1)]
    row = private[(PRIVATE - 1) * C:]
    _copy(row, embedding[token])
    _part(part, parts, counter, out, row, params, lower, words, scales, last_norm, panels, int8_words, head_scale,
          heads, eps, state, floats[:shared], private[:(PRIVATE - 1) * C], codes[size * part:size * (part + 1)], sums,
          sums[sums.size - LINE * (part + 1):], F)


@parallel
def _who(part, numbers, parts):
    numbers[part] = get_thread_id()


@cache
def _run_together(threads):
    """Whether a region of as many parts gets a thread for each, always: only then may they wait for each other."""
    if any(name in os.environ for name in _FEWER):
        return False
    numbers = np.zeros(threads, np.int64)
    _who(numbers, threads)
    return len(set(numbers.tolist())) == threads and numba.threading_layer() != "tbb"  # which promises nothing


def _threads(bytes_):
    """How many threads are worth trying, if they can wait for each other."""
    threads = thread_count()
    return threads if threads > 1 and bytes_ >= SHARED_BYTES and _run_together(threads) else 1


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
    threads = _threads(p.bytes_)
    parts, begin = p.pace.parts(threads) if threads > 1 else 1, time.perf_counter()
    out, rows = memory.empty(len(w.embedding)), contiguous(state)
    # Taken and given back, so that two threads of Python never have the same; making it anew takes longer than that.
    spare = p.spare[parts]
    scratch = spare.pop() if spare else _scratch(weights, parts)
    scratch.counter[0] = 0
    _step(scratch.counter, out, w.embedding, token, p.params, w.lower, p.words, w.scales, w.last_norm, p.panels,
          p.int8_words, p.head_scale, w.heads, w.eps, rows, scratch.floats, scratch.codes, scratch.sums, w.hidden,
          parts)
    spare.append(scratch)
    if rows is not state:
        state[...] = rows  # it was a copy, in the layout of kernels
    p.pace.took(parts, time.perf_counter() - begin)
    return out
