"""Twins of `tinylm.ops.attention`: a block of queries at a time, the upper triangle skipped.

One task is one head of one sequence.  It copies the head's keys and values into panels and takes its
queries BLOCK_ROWS at a time, so that scores never need more than BLOCK_ROWS x T numbers a thread.
Forward keeps one number a query, ln of its sum of exponentials; backward computes scores again.
"""
from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numba import prange

from ..ops import shapes
from ..ops.random import DropoutKey
from . import memory
from .jit import parallel, serial
from .matmul import contiguous, dot, pack_panel, packed_columns, panel_width, tile_any
from .residual import drop, mask_arguments, mask_numbers
from .simd import ROWS, WIDE
from .vector_math import exp32

BLOCK_ROWS = 16 * ROWS
# Typed, because numba compiles a function once more for each literal number it is called with.
NOUGHT, ONE = np.int64(0), np.int64(1)


class AttentionCache(NamedTuple):
    inp: np.ndarray          # (B, T, 3C)
    heads: int
    out: np.ndarray          # (B, T, C)
    log_sums: np.ndarray     # (B, H, T): ln sum exp of each query's scaled scores
    rate: float
    key: DropoutKey | None
    scale: float | None
    window: int


@serial
def _pack(packed, b, first, ks, cs, K, N):
    """Panels of the K x N matrix whose element (k, j) is b[first + k ks + j cs]."""
    column = 0
    while column < N:
        width = panel_width(N - column)
        pack_panel(packed, column * K, b, first + column * cs, ks, cs, K, min(width, N - column), width)
        column += width


@serial
def _times(out, io, ldo, a, ia, rs, ks, packed, depth, skip, K, rows, N, zeros, accumulate):
    """out (rows, N) = a[:, skip:skip+K] b[skip:skip+K] for at most ROWS rows; b has `depth` rows.

    accumulate   1: add to what out holds; 0: do not
    """
    start = out if accumulate else zeros
    column = 0
    while column < N:
        width, at = panel_width(N - column), io + column
        tile_any(out, at, ldo, start, at * accumulate, ldo * accumulate, a, ia + skip * ks, rs, ks, packed,
                 column * depth + skip * width, K, rows, min(width, N - column), width)
        column += width


@serial
def _first_seen(i, window):
    return max(NOUGHT, i + ONE - window)


@serial
def _scores(score, ld, a, ia, rs, packed, D, T, q0, q1, window, zeros):
    """score[i - q0, j] = a[i] . b[j] for queries q0 <= i < q1 and at least all j that i sees."""
    for row in range(q0, q1, ROWS):
        rows, first = min(ROWS, q1 - row), _first_seen(row, window)
        column = 0
        while column < row + rows:
            width = panel_width(T - column)
            if column + width > first:
                tile_any(score, (row - q0) * ld + column, ld, zeros, NOUGHT, NOUGHT, a, ia + row * rs, rs, ONE,
                         packed, column * D, D, rows, width, width)
            column += width


@serial
def _softmax_row(row, scale):
    """softmax(scale row) in place; returns ln sum exp."""
    top = row[0]
    for j in range(row.size):
        top = max(top, row[j])
    top *= scale
    total = np.float32(0.0)
    for j in range(row.size):
        e = exp32(row[j] * scale - top)
        row[j] = e
        total += e
    inverse = np.float32(1.0) / total
    for j in range(row.size):
        row[j] *= inverse
    return top + np.log(total)


@serial
def _forward_head(out, log_sums, inp, offset, C, D, T, ld, scratch, zeros, mask_row, numbers, key, threshold,
                  keep, scale, window):
    """One head of one sequence.  inp, out flat; `offset` of the head's first query in inp."""
    keys, values = scratch[:D * ld], scratch[D * ld:][:T * packed_columns(D)]
    score = scratch[D * ld + T * packed_columns(D):]
    _pack(keys, inp, offset + C, ONE, 3 * C, D, T)
    _pack(values, inp, offset + 2 * C, 3 * C, ONE, T, D)
    for q0 in range(0, T, BLOCK_ROWS):
        q1 = min(q0 + BLOCK_ROWS, T)
        _scores(score, ld, inp, offset, 3 * C, keys, D, T, q0, q1, window, zeros)
        for row in range(q0, q1, ROWS):
            rows, skip = min(ROWS, q1 - row), _first_seen(row, window)
            for i in range(row, row + rows):
                at, first = (i - q0) * ld, _first_seen(i, window)
                log_sums[i] = _softmax_row(score[at + first:at + i + 1], scale)
                if threshold:
                    mask_numbers(numbers, mask_row + i, key)
                    drop(score[at + first:at + i + 1], numbers[first:], threshold, keep)
                score[at + skip:at + first] = 0.0
                score[at + i + 1:at + row + rows] = 0.0
            _times(out, row * C, C, score, (row - q0) * ld, ld, ONE, values, T, skip, row + rows - skip,
                   rows, D, zeros, NOUGHT)


@parallel
def _forward(out, log_sums, inp, heads, window, scratch, numbers, zeros, key, threshold, keep, scale):
    B, T, C = out.shape
    D, parts = C // heads, scratch.shape[0]
    flat = inp.reshape(-1)
    ld = packed_columns(T)
    for part in prange(parts):
        for task in range(B * heads * part // parts, B * heads * (part + 1) // parts):
            b, h = task // heads, task % heads
            _forward_head(out[b].reshape(-1)[h * D:], log_sums[b, h], flat, b * T * 3 * C + h * D, C, D, T, ld,
                          scratch[part], zeros, task * T, numbers[part], key, threshold, keep, scale, window)


@serial
def _gradient_row(prob, dprob, log_sum, delta, numbers, threshold, keep, scale):
    """prob <- dropped probabilities, dprob <- gradient of the scores, from scores and out's gradient."""
    if threshold:
        for j in range(prob.size):
            p = exp32(prob[j] * scale - log_sum)
            factor = np.float32(0.0) if numbers[j] < threshold else keep
            prob[j] = p * factor
            dprob[j] = p * (dprob[j] * factor - delta) * scale
    else:
        for j in range(prob.size):
            p = exp32(prob[j] * scale - log_sum)
            prob[j] = p
            dprob[j] = p * (dprob[j] - delta) * scale


@serial
def _backward_head(dinp, dout, out, log_sums, inp, offset, C, D, T, ld, scratch, zeros, mask_row, numbers,
                   key, threshold, keep, scale, window):
    """One head of one sequence.  dout, out: flat, from the head's first element; dinp like inp."""
    pd, end = packed_columns(D), D * ld
    keys_t, values_t = scratch[:end], scratch[end:2 * end]
    end *= 2
    keys = scratch[end:end + T * pd]
    end += T * pd
    queries, dblock = scratch[end:end + BLOCK_ROWS * pd], scratch[end + BLOCK_ROWS * pd:end + 2 * BLOCK_ROWS * pd]
    end += 2 * BLOCK_ROWS * pd
    prob, dprob = scratch[end:end + BLOCK_ROWS * ld], scratch[end + BLOCK_ROWS * ld:]
    _pack(keys_t, inp, offset + C, ONE, 3 * C, D, T)
    _pack(values_t, inp, offset + 2 * C, ONE, 3 * C, D, T)
    _pack(keys, inp, offset + C, 3 * C, ONE, T, D)
    for q0 in range(0, T, BLOCK_ROWS):
        q1 = min(q0 + BLOCK_ROWS, T)
        n = q1 - q0
        _pack(queries, inp, offset + q0 * 3 * C, 3 * C, ONE, n, D)
        _pack(dblock, dout, q0 * C, C, ONE, n, D)
        _scores(prob, ld, inp, offset, 3 * C, keys_t, D, T, q0, q1, window, zeros)
        _scores(dprob, ld, dout, NOUGHT, C, values_t, D, T, q0, q1, window, zeros)
        for i in range(q0, q1):
            at, first = (i - q0) * ld, _first_seen(i, window)
            delta = dot(dout[i * C:i * C + D], out[i * C:i * C + D])
            if threshold:
                mask_numbers(numbers, mask_row + i, key)
            _gradient_row(prob[at + first:at + i + 1], dprob[at + first:at + i + 1], log_sums[i], delta,
                          numbers[first:], threshold, keep, scale)
            prob[at:at + first] = 0.0
            dprob[at:at + first] = 0.0
            prob[at + i + 1:at + q1] = 0.0
            dprob[at + i + 1:at + q1] = 0.0
        for row in range(q0, q1, ROWS):     # dquery = dscore keys
            rows, skip = min(ROWS, q1 - row), _first_seen(row, window)
            _times(dinp, offset + row * 3 * C, 3 * C, dprob, (row - q0) * ld, ld, ONE, keys, T, skip,
                   row + rows - skip, rows, D, zeros, NOUGHT)
        for row in range(0, q1, ROWS):      # dkeys = dscore^T queries, dvalues = prob^T dout
            rows, skip = min(ROWS, q1 - row), max(0, row - q0)
            to = offset + row * 3 * C
            _times(dinp, to + C, 3 * C, dprob, row, ONE, ld, queries, n, skip, n - skip, rows, D, zeros,
                   np.int64(row < q0))
            _times(dinp, to + 2 * C, 3 * C, prob, row, ONE, ld, dblock, n, skip, n - skip, rows, D, zeros,
                   np.int64(row < q0))


@parallel
def _backward(dinp, dout, out, log_sums, inp, heads, window, scratch, numbers, zeros, key, threshold, keep, scale):
    B, T, C = out.shape
    D, parts = C // heads, scratch.shape[0]
    flat, dflat = inp.reshape(-1), dinp.reshape(-1)
    ld = packed_columns(T)
    for part in prange(parts):
        for task in range(B * heads * part // parts, B * heads * (part + 1) // parts):
            b, h = task // heads, task % heads
            _backward_head(dflat, dout[b].reshape(-1)[h * D:], out[b].reshape(-1)[h * D:], log_sums[b, h], flat,
                           b * T * 3 * C + h * D, C, D, T, ld, scratch[part], zeros, task * T, numbers[part],
                           key, threshold, keep, scale, window)


_ZEROS = np.zeros(WIDE, np.float32)
_NO_MASK = mask_arguments(DropoutKey(0, 0, 0, 0), 0.0)


def _scale(scale, D):
    return np.float32(1 / np.sqrt(D) if scale is None else scale)


def _arguments(shape, heads, rate, key, scale, window, floats):
    """(window, scratch, numbers, zeros, key, threshold, keep, scale); `floats` of scratch for each thread."""
    B, T, width = shape
    parts = max(1, min(numba.get_num_threads(), B * heads))
    mask = _NO_MASK if key is None or rate == 0 else mask_arguments(key, rate)
    floats = -(-floats // 16) * 16
    return (np.int64(window or T), memory.empty((parts, floats)), memory.empty((parts, -(-T // 8) * 8), np.uint16),
            _ZEROS, *mask, _scale(scale, width // (3 * heads)))


def attention_forward(inp, heads, rate=0.0, key=None, scale=None, window=0):
    """See `tinylm.ops.attention_forward`; float32.

    Caches    out and one number a query; probabilities are computed again in the backward pass
    """
    shapes.attention(inp, heads)
    inp = contiguous(inp)
    B, T, C = inp.shape[0], inp.shape[1], inp.shape[2] // 3
    D, ld, pd = C // heads, packed_columns.py_func(T), packed_columns.py_func(C // heads)
    out, log_sums = memory.empty((B, T, C)), memory.empty((B, heads, T))
    _forward(out, log_sums, inp, heads,
             *_arguments(inp.shape, heads, rate, key, scale, window, D * ld + T * pd + BLOCK_ROWS * ld))
    return out, AttentionCache(inp, heads, out, log_sums, rate, key, scale, window)


def attention_backward(dout, cache):
    """See `tinylm.ops.attention_backward`."""
    inp, heads, out, log_sums, rate, key, scale, window = cache
    shapes.same(dout=dout, out=out)
    B, T, C = out.shape
    D, ld, pd = C // heads, packed_columns.py_func(T), packed_columns.py_func(C // heads)
    dinp = memory.empty(inp.shape)
    _backward(dinp, contiguous(dout), out, log_sums, inp, heads,
              *_arguments(inp.shape, heads, rate, key, scale, window,
                          2 * D * ld + T * pd + 2 * BLOCK_ROWS * pd + 2 * BLOCK_ROWS * ld))
    return (dinp,)


@serial
def _add_scaled(out, x, factor):
    for i in range(out.size):
        out[i] += factor * x[i]


@serial
def _extend_query(out, query, past_keys, past_values, low, score, scale):
    """out (D,) = softmax(scale query . keys) values; this head's keys and values start at column `low`.

    score   one number for each position seen, the first of past_keys to begin with
    """
    high = low + query.size
    for j in range(score.size):
        score[j] = dot(query, past_keys[j, low:high])
    _softmax_row(score, scale)
    out[:] = 0.0
    for j in range(score.size):
        _add_scaled(out, past_values[j, low:high], score[j])


@parallel
def _extend(out, inp, past_keys, past_values, length, heads, window, score, scale):
    B, T, C = out.shape
    D, parts = C // heads, score.shape[0]
    for part in prange(parts):
        for task in range(B * heads * part // parts, B * heads * (part + 1) // parts):
            b, low = task // heads, task % heads * D
            for t in range(T):
                first = _first_seen(length + t, window)
                _extend_query(out[b, t, low:low + D], inp[b, t, low:low + D], past_keys[b, first:],
                              past_values[b, first:], low, score[part, first:length + t + 1], scale)


def attention_extend(inp, past_keys, past_values, length, heads, scale=None, window=0):
    """See `tinylm.ops.attention_extend`; float32."""
    shapes.attention(inp, heads)
    inp = contiguous(inp)
    B, T, C = inp.shape[0], inp.shape[1], inp.shape[2] // 3
    stop = length + T
    if stop > past_keys.shape[1]:
        raise shapes.ShapeError(f"the cache holds {past_keys.shape[1]} positions, {stop} are needed")
    past_keys[:, length:stop] = inp[..., C:2 * C]
    past_values[:, length:stop] = inp[..., 2 * C:]
    out = memory.empty((B, T, C))
    work = B * T * stop * C
    parts = max(1, min(numba.get_num_threads(), B * heads, work // 100_000))
    _extend(out, inp, past_keys, past_values, length, heads, np.int64(window or stop), memory.empty((parts, stop)),
            _scale(scale, C // heads))
    return out
