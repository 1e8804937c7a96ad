"""Twins of `tinylm.ops.attention`: a block of queries at a time, the upper triangle skipped.

One task is one head of one sequence.  Its rows lie far apart in memory, so they are copied into panels first
and everything else happens in scratch that stays in the cache: queries are taken BLOCK_ROWS at a time, and
scores never need more than BLOCK_ROWS x T numbers a thread.  Forward keeps one number a query, ln of its sum of
exponentials; backward computes scores again.

Panels here have PANEL columns: element (row, column) of a matrix of R rows is number
column // PANEL * R * PANEL + row * PANEL + column % PANEL.  T and D are padded with zeros to whole panels.
Scores are rows of `ld` numbers, an odd number of cache lines: they are also read down a column, and with an even
number those lines would push each other out of the cache.
"""
from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ..ops import shapes
from ..ops.attention import Int8Rows, check_extend, keep, kept
from ..ops.random import DropoutKey
from . import memory
from .fork import thread_count
from .jit import parallel, serial
from .matmul import dot, inlined_tile
from .recording import contiguous
from .registers import LINE, ask
from .residual import dropped, mask_arguments, mask_numbers, mask_scratch
from .rows import PIECES, threads_of
from .simd import (
    ROWS,
    WIDE,
    half,
    load,
    load_some,
    multiply_add,
    prefetch,
    spread,
    store,
    store_some,
    transpose8,
    wide,
)
from .vector_math import exp32, highest

PANEL = min(WIDE, 32)  # of a triangle, wider panels would compute much in vain
BLOCK_ROWS = 8 * ROWS
EIGHT = 8              # rows and columns that are turned together
AHEAD = 16             # rows that are asked for before they are copied
# Typed, because numba compiles a function once more for each literal number it is called with.
_ZERO, _NEXT, _BACK, _PANEL = np.int64(0), np.int64(1), np.int64(-1), np.int64(PANEL)
_register = wide if PANEL == WIDE else half
_LOWEST = np.float32(-87.0)  # exp32 goes no further down


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
def _whole(n):
    """n rounded up to whole panels."""
    return (n + PANEL - 1) // PANEL * PANEL


@serial
def _line_up(height):
    """Numbers from one row of scores to the next."""
    return ((height + LINE - 1) // LINE | 1) * LINE


# ------------------------------------------------------------------------------------ copies
@serial
def _take(out, io, row_step, panel_step, inp, ii, ldi, rows, D, factor):
    """Rows of D numbers, inp[ii + r ldi ...] times factor[0], into scratch; zeros fill the last panel.

    row_step, panel_step   PANEL and rows PANEL for panels; D in whole panels and PANEL for plain rows
    """
    like = _register()
    times = spread(factor, 0, like)
    for r in range(rows):
        for c in range(0, D, PANEL):
            at, to = ii + r * ldi + c, io + r * row_step + c // PANEL * panel_step
            for line in range(0, PANEL, LINE):
                prefetch(inp, at + AHEAD * ldi + line)
            x = load(inp, at, like) if c + PANEL <= D else load_some(inp, at, like, D - c)
            store(out, to, multiply_add(like, x, times))


@serial
def _give(out, io, ldo, inp, ii, ldi, rows, D, factor, step):
    """Rows of D numbers from scratch: out[io + r ldo ...] = inp[ii + r ldi ...] factor[r step]."""
    like = _register()
    for r in range(rows):
        times = spread(factor, r * step, like)
        for c in range(0, D, PANEL):
            x = multiply_add(like, load(inp, ii + r * ldi + c, like), times)
            if c + PANEL <= D:
                store(out, io + r * ldo + c, x)
            else:
                store_some(out, io + r * ldo + c, x, D - c)


@serial
def _take_panels(panels, inp, at, ld, T, D, factor):
    """Panels of T rows of D numbers, and zeros down to a whole panel of rows."""
    rows, columns = _whole(T), _whole(D)
    _take(panels, _ZERO, _PANEL, rows * PANEL, inp, at, ld, T, D, factor)
    for start in range(T * PANEL, columns * rows, rows * PANEL):
        panels[start:start + (rows - T) * PANEL] = 0.0


@serial
def _take_transposed(panels, inp, at, ld, T, D):
    """Panels of the transpose of T rows of D numbers, and zeros for whole panels of columns."""
    columns = _whole(D)
    whole_rows, whole = T // EIGHT * EIGHT, D // EIGHT * EIGHT
    for r in range(0, whole_rows, EIGHT):
        to = r // PANEL * columns * PANEL + r % PANEL
        for c in range(0, whole, EIGHT):
            transpose8(panels, to + c * PANEL, PANEL, inp, at + r * ld + c, ld)
    for r in range(T):
        to = r // PANEL * columns * PANEL + r % PANEL
        for c in range(whole if r < whole_rows else np.int64(0), D):
            panels[to + c * PANEL] = inp[at + r * ld + c]
    for r in range(T, _whole(T)):
        to = r // PANEL * columns * PANEL + r % PANEL
        for c in range(D):
            panels[to + c * PANEL] = np.float32(0.0)


# ------------------------------------------------------------------------------------ products
# A query at i sees positions i - window < j <= i.

@serial
def _first_seen(i, window):
    return max(0, i + 1 - window)


@serial
def _first_column(row, window):
    """The first column of scores computed for a tile of queries from `row` on.

    A tile of keys as of ROWS columns that reaches into what they see must find numbers in all of them.
    """
    return max(0, row + 2 - window - ROWS) // PANEL * PANEL


@serial
def _rows_of_tiles(out, io, ldo, start, ist, lds, a, ia, rs, ks, b, ib, K, rows):
    """out = start + a b for a panel b and any number of rows; see `tile`."""
    for row in range(0, rows, ROWS):
        inlined_tile(out, io + row * ldo, ldo, start, ist + row * lds, lds, a, ia + row * rs, rs, ks, b, ib, K,
                     min(ROWS, rows - row), _PANEL, _register())


@serial
def _scores(score, ld, a, columns, b, D, T, q0, q1, window, seen):
    """score[i - q0, j] = a[i - q0] . b[j] where i sees j, and -inf where not.

    a      rows of `columns` numbers, the first D of which count; b: panels of the transpose
    seen   seen[T + PANEL + j - i]: 0 or -inf
    """
    for column in range(_first_column(q0, window), q1, PANEL):
        first = max(0, column - q0) // ROWS * ROWS
        stop = (column + PANEL + window + ROWS - 2 - q0 + ROWS - 1) // ROWS * ROWS
        _rows_of_tiles(score, first * ld + column, ld, seen, T + PANEL + column - q0 - first, _BACK, a, first * columns,
                       columns, _NEXT, b, column * columns, D, min(stop, q1 - q0) - first)


@serial
def _weighted(out, columns, weight, ld, b, height, q0, q1, window, zeros):
    """out[i - q0] = sum of weight[i - q0, j] b[j] over what i sees; b: panels of `height` rows."""
    for row in range(q0, q1, ROWS):  # its weights stay in the nearest cache for all columns
        rows, skip = min(ROWS, q1 - row), _first_seen(row, window)
        for column in range(0, columns, PANEL):
            inlined_tile(out, (row - q0) * columns + column, columns, zeros, _ZERO, _ZERO, weight,
                         (row - q0) * ld + skip, ld, _NEXT, b, column * height + skip * PANEL,
                         row + rows - skip, rows, _PANEL, _register())


@serial
def _gathered(out, columns, weight, ld, b, q0, q1, window, zeros):
    """out[j] (+)= sum of weight[i - q0, j] b[i - q0] over the queries that see j; b: panels of q1 - q0 rows.

    What j < q0 have got from earlier blocks is added to.
    """
    n = q1 - q0
    for row in range(_first_seen(q0, window) // ROWS * ROWS, q1, ROWS):
        rows, skip, stop = min(ROWS, q1 - row), max(0, row - q0), min(n, row + ROWS - 1 + window - q0)
        add = 1 if row < q0 else 0
        start = out if add else zeros
        for column in range(0, columns, PANEL):
            at = row * columns + column
            inlined_tile(out, at, columns, start, at * add, columns * add, weight, skip * ld + row, _NEXT, ld,
                         b, column * n + skip * PANEL, stop - skip, rows, _PANEL, _register())


# ------------------------------------------------------------------------------------ forward
@serial
def _ask_for_head(inp, at, C, D):
    """Ask for a head's query, key and value of one position."""
    for of_three in range(3):
        ask(inp, at + of_three * C, D)


@serial
def _exp_below(x):
    """e^x; 0 where float32 has no such number."""
    return np.float32(0.0) if x < _LOWEST else exp32(x)


@serial
def _exponentials(row):
    """row <- e^(row - its largest); returns (the largest, the sum)."""
    top = highest(row)
    total = np.float32(0.0)
    for j in range(row.size):
        e = _exp_below(row[j] - top)
        row[j] = e
        total += e
    return top, total


@serial
def _drop(row, numbers, threshold):
    """0 where a number is below the threshold."""
    for j in range(row.size):
        row[j] *= np.float32(0.0) if dropped(numbers[j], threshold) else np.float32(1.0)


@serial
def _forward_head(out, log_sums, inp, offset, next_head, C, D, T, scratch, seen, zeros, mask_row, numbers, words, key,
                  threshold, keep, scale, window):
    """One head of one sequence.

    inp, out     flat
    offset       of the head's first query in inp
    next_head    from there to that of the head that is next: its rows are asked for while these are computed with
    """
    columns, height = _whole(D), _whole(T)
    ld = _line_up(height)
    size, part = columns * height, columns * BLOCK_ROWS
    keys, values = scratch[:size], scratch[size:2 * size]
    queries, mixed = scratch[2 * size:2 * size + part], scratch[2 * size + part:2 * size + 2 * part]
    rest = scratch[2 * size + 2 * part:]
    factor, score = rest[:BLOCK_ROWS], rest[BLOCK_ROWS:]
    one = scale[1:]
    _take_transposed(keys, inp, offset + C, 3 * C, T, D)
    _take_panels(values, inp, offset + 2 * C, 3 * C, T, D, one)
    for q0 in range(0, T, BLOCK_ROWS):
        q1 = min(q0 + BLOCK_ROWS, T)
        _take(queries, _ZERO, columns, _PANEL, inp, offset + q0 * 3 * C, 3 * C, q1 - q0, D, scale)
        _scores(score, ld, queries, columns, keys, D, T, q0, q1, window, seen)
        for row in range(q0, q1, ROWS):
            first, last = _first_column(row, window), min(row + ROWS, q1)
            for i in range(row, last):
                seen_by_i = score[(i - q0) * ld + first:(i - q0) * ld + _whole(last)]
                _ask_for_head(inp, offset + next_head + i * 3 * C, C, D)
                top, total = _exponentials(seen_by_i)
                log_sums[i], factor[i - q0] = top + np.log(total), keep / total
                if threshold:
                    mask_numbers(numbers, words, mask_row + i, key)
                    _drop(seen_by_i, numbers[first:], threshold)
        _weighted(mixed, columns, score, ld, values, height, q0, q1, window, zeros)
        _give(out, q0 * C, C, mixed, _ZERO, columns, q1 - q0, D, factor, _NEXT)


@parallel
def _forward(part, thread, out, log_sums, inp, heads, window, scratch, numbers, words, seen, zeros, key, threshold,
             keep, scale, parts):
    B, T, C = out.shape
    D = C // heads
    flat = inp.reshape(-1)
    for task in range(B * heads * part // parts, B * heads * (part + 1) // parts):
        b, h = task // heads, task % heads
        next_head = D if h + 1 < heads else T * 3 * C - (heads - 1) * D
        _forward_head(out[b].reshape(-1)[h * D:], log_sums[b, h], flat, b * T * 3 * C + h * D, next_head, C, D, T,
                      scratch[thread], seen, zeros, task * T, numbers[thread], words[thread], key, threshold, keep,
                      scale, window)


# ------------------------------------------------------------------------------------ backward
@serial
def _gradient_row(prob, dprob, log_sum, delta):
    """prob <- probabilities, dprob <- gradient of the scaled scores; from scaled scores and out's gradient."""
    for j in range(prob.size):
        p = _exp_below(prob[j] - log_sum)
        prob[j] = p
        dprob[j] = p * (dprob[j] - delta)


@serial
def _dropped_gradient_row(prob, dprob, log_sum, delta, numbers, threshold, keep):
    """As `_gradient_row` with dropout; prob <- what the values were weighted with."""
    for j in range(prob.size):
        p = _exp_below(prob[j] - log_sum)
        factor = np.float32(0.0) if dropped(numbers[j], threshold) else keep
        prob[j] = p * factor
        dprob[j] = p * (dprob[j] * factor - delta)


@serial
def _backward_head(dinp, dout, out, log_sums, inp, offset, next_head, next_out, C, D, T, scratch, seen, zeros,
                   mask_row, numbers, words, key, threshold, keep, scale, window):
    """One head of one sequence; see `_forward_head`.

    dout, out    flat, from the head's first element; next_out: from there to the next head's
    dinp         like inp
    """
    columns, height = _whole(D), _whole(T)
    ld = _line_up(height)
    size, part = columns * height, columns * BLOCK_ROWS
    keys_t, values_t, keys = scratch[:size], scratch[size:2 * size], scratch[2 * size:3 * size]
    dkeys, dvalues = scratch[3 * size:4 * size], scratch[4 * size:5 * size]
    rest = scratch[5 * size:]
    queries, query_panels, dquery = rest[:part], rest[part:2 * part], rest[2 * part:3 * part]
    douts, dout_panels = rest[3 * part:4 * part], rest[4 * part:5 * part]
    rest = rest[5 * part:]
    prob, dprob = rest, rest[BLOCK_ROWS * ld:]
    one = scale[1:]
    _take_transposed(values_t, inp, offset + 2 * C, 3 * C, T, D)
    _take_transposed(keys_t, inp, offset + C, 3 * C, T, D)
    _take_panels(keys, inp, offset + C, 3 * C, T, D, one)
    for q0 in range(0, T, BLOCK_ROWS):
        q1 = min(q0 + BLOCK_ROWS, T)
        n = q1 - q0
        _take(queries, _ZERO, columns, _PANEL, inp, offset + q0 * 3 * C, 3 * C, n, D, scale)
        _take(query_panels, _ZERO, _PANEL, n * PANEL, queries, _ZERO, columns, n, D, one)
        _take(douts, _ZERO, columns, _PANEL, dout, q0 * C, C, n, D, one)
        _take(dout_panels, _ZERO, _PANEL, n * PANEL, douts, _ZERO, columns, n, D, one)
        _scores(prob, ld, queries, columns, keys_t, D, T, q0, q1, window, seen)
        _scores(dprob, ld, douts, columns, values_t, D, T, q0, q1, window, zeros)
        for row in range(q0, q1, ROWS):
            first, last = _first_column(row, window), min(row + ROWS, q1)
            for i in range(row, last):
                low, high = (i - q0) * ld + first, (i - q0) * ld + _whole(last)
                _ask_for_head(inp, offset + next_head + i * 3 * C, C, D)
                ask(dout, next_out + i * C, D)
                ask(out, next_out + i * C, D)
                _ask_for_head(dinp, offset + i * 3 * C, C, D)  # which will be written
                delta = dot(douts[(i - q0) * columns:(i - q0) * columns + D], out[i * C:i * C + D])
                if threshold:
                    mask_numbers(numbers, words, mask_row + i, key)
                    _dropped_gradient_row(prob[low:high], dprob[low:high], log_sums[i], delta, numbers[first:],
                                          threshold, keep)
                else:
                    _gradient_row(prob[low:high], dprob[low:high], log_sums[i], delta)
        _weighted(dquery, columns, dprob, ld, keys, height, q0, q1, window, zeros)
        _give(dinp, offset + q0 * 3 * C, 3 * C, dquery, _ZERO, columns, n, D, scale, _ZERO)
        _gathered(dkeys, columns, dprob, ld, query_panels, q0, q1, window, zeros)
        _gathered(dvalues, columns, prob, ld, dout_panels, q0, q1, window, zeros)
    _give(dinp, offset + C, 3 * C, dkeys, _ZERO, columns, T, D, one, _ZERO)
    _give(dinp, offset + 2 * C, 3 * C, dvalues, _ZERO, columns, T, D, one, _ZERO)


@parallel
def _backward(part, thread, dinp, dout, out, log_sums, inp, heads, window, scratch, numbers, words, seen, zeros, key,
              threshold, keep, scale, parts):
    B, T, C = out.shape
    D = C // heads
    flat, dflat = inp.reshape(-1), dinp.reshape(-1)
    for task in range(B * heads * part // parts, B * heads * (part + 1) // parts):
        b, h = task // heads, task % heads
        next_head = D if h + 1 < heads else T * 3 * C - (heads - 1) * D
        next_out = D if h + 1 < heads else T * C - (heads - 1) * D
        _backward_head(dflat, dout[b].reshape(-1)[h * D:], out[b].reshape(-1)[h * D:], log_sums[b, h], flat,
                       b * T * 3 * C + h * D, next_head, next_out, C, D, T, scratch[thread], seen, zeros, task * T,
                       numbers[thread], words[thread], key, threshold, keep, scale, window)


_NO_MASK = mask_arguments(DropoutKey(0, 0, 0, 0), 0.0)


def _scale(scale, D):
    return np.float32(1 / np.sqrt(D) if scale is None else scale)


@functools.lru_cache(maxsize=8)
def _seen(T, window):
    """(0 for what a position sees and -inf for what it does not, by distance as `_scores` wants it; zeros instead)"""
    distance = np.arange(-T - PANEL, 2 * PANEL + ROWS)
    seen = np.where((distance <= 0) & (distance > -window), np.float32(0), np.float32(-np.inf))
    return seen, np.zeros_like(seen)


def _arguments(shape, heads, rate, key, scale, window, matrices, blocks, scores):
    """What both drivers take from `window` on; scratch for so many T x D, BLOCK_ROWS x D, and BLOCK_ROWS x T."""
    B, T, width = shape
    D, window = width // (3 * heads), window or T
    parts = max(1, min(thread_count() * PIECES, B * heads))
    threads = threads_of(parts)
    columns, height = _whole.py_func(D), _whole.py_func(T)
    ld = _line_up.py_func(height)
    floats = (matrices * height * columns + BLOCK_ROWS * (blocks * columns + scores * ld + 1))
    mask = _NO_MASK if key is None or rate == 0 else mask_arguments(key, rate)
    return (np.int64(window), memory.for_threads(threads, floats),
            *mask_scratch(threads, T, PANEL), *_seen(T, window), *mask,
            np.array([_scale(scale, D), 1], np.float32), parts)


def attention_forward(inp, heads, rate=0.0, key=None, scale=None, window=0):
    """See `tinylm.ops.attention_forward`; float32.

    Caches    out and one number a query; probabilities are computed again in the backward pass
    """
    shapes.attention(inp, heads)
    inp = contiguous(inp)
    B, T, C = inp.shape[0], inp.shape[1], inp.shape[2] // 3
    out, log_sums = memory.empty((B, T, C)), memory.empty((B, heads, T))
    _forward(out, log_sums, inp, heads, *_arguments(inp.shape, heads, rate, key, scale, window, 2, 2, 1))
    return out, AttentionCache(inp, heads, out, log_sums, rate, key, scale, window)


def attention_backward(dout, cache):
    """See `tinylm.ops.attention_backward`."""
    inp, heads, out, log_sums, rate, key, scale, window = cache
    shapes.same(dout=dout, out=out)
    dinp = memory.empty(inp.shape)
    _backward(dinp, contiguous(dout), out, log_sums, inp, heads,
              *_arguments(inp.shape, heads, rate, key, scale, window, 5, 5, 2))
    return (dinp,)


@serial
def _divide(row, by):
    inverse = np.float32(1.0) / by
    for i in range(row.size):
        row[i] *= inverse


@serial
def _add_scaled(out, x, factor):
    for i in range(out.size):
        out[i] += factor * x[i]


@serial
def _ask_for(x, i, count):
    for j in range(0, count, LINE):
        prefetch(x, i + j)


@serial
def _times_scales(row, scales, first, apart):
    """row[j] *= scales[first + j apart]."""
    for j in range(row.size):
        row[j] *= scales[first + j * apart]


@serial
def extend_query(out, query, past_keys, past_values, at, ld, key_scales, value_scales, scales_at, scales_ld, seen, D,
                 score, scale):
    """out = softmax(scale query . keys) values for some heads side by side, D columns each, and `seen` positions.

    The rows of a position are read from end to end for all heads together: a head's part alone is too short for
    the processor to see a pattern in it.

    past_keys, past_values   flat; the heads' columns of the first position seen begin at `at`, `ld` from row to row
    key_scales, value_scales   what they are to be multiplied with where they are codes, flat likewise, else empty
    score                    room for `seen` numbers for each head
    """
    width = out.size
    heads = width // D
    for j in range(seen):
        row = at + j * ld
        _ask_for(past_keys, row + AHEAD * ld, width)
        for h in range(heads):
            low = row + h * D
            score[h * seen + j] = scale * dot(query[h * D:(h + 1) * D], past_keys[low:low + D])
    for h in range(heads):
        of_head = score[h * seen:(h + 1) * seen]
        if key_scales.size:
            _times_scales(of_head, key_scales, scales_at + h, scales_ld)
        _, total = _exponentials(of_head)
        _divide(of_head, total)
        if value_scales.size:
            _times_scales(of_head, value_scales, scales_at + h, scales_ld)
    out[:] = 0.0
    for j in range(seen):
        row = at + j * ld
        _ask_for(past_values, row + AHEAD * ld, width)
        for h in range(heads):
            low = row + h * D
            _add_scaled(out[h * D:(h + 1) * D], past_values[low:low + D], score[h * seen + j])


@parallel
def _extend(part, out, inp, past_keys, past_values, key_scales, value_scales, length, heads, window, score, scale,
            parts):
    B, T, C = out.shape
    D, positions = C // heads, past_keys.shape[1]
    keys, values = past_keys.reshape(-1), past_values.reshape(-1)
    first_head = heads * part // parts
    low, high = first_head * D, heads * (part + 1) // parts * D
    for row in range(B * T):
        b, t = row // T, row % T
        first = _first_seen(length + t, window)
        place = b * positions + first
        extend_query(out[b, t, low:high], inp[b, t, low:high], keys, values, place * C + low, C, key_scales,
                     value_scales, place * heads + first_head, heads, length + t + 1 - first, D, score[part], scale)


_NO_SCALES = np.zeros(0, np.float32)


def _apart(past):
    """(codes or numbers, scales as `extend_query` wants them)"""
    return (past.codes, past.scale.reshape(-1)) if isinstance(past, Int8Rows) else (past, _NO_SCALES)


def attention_extend(inp, past_keys, past_values, length, heads, scale=None, window=0):
    """See `tinylm.ops.attention_extend`; float32, past_keys and past_values in C order."""
    stop = check_extend(inp, past_keys, length, heads)
    inp = contiguous(inp)
    B, T, C = inp.shape[0], inp.shape[1], inp.shape[2] // 3
    keep(past_keys, inp[..., C:2 * C], length)
    keep(past_values, inp[..., 2 * C:], length)
    if length == 0 and T > 1:  # nothing came before
        if isinstance(past_keys, Int8Rows):
            inp = np.concatenate([inp[..., :C], kept(past_keys, stop), kept(past_values, stop)], -1)
        return attention_forward(inp, heads, scale=scale, window=window)[0]
    out = memory.empty((B, T, C))
    work = B * T * stop * C
    parts = max(1, min(thread_count(), heads, work // 100_000))
    (keys, key_scales), (values, value_scales) = _apart(past_keys), _apart(past_values)
    _extend(out, inp, keys, values, key_scales, value_scales, length, heads, np.int64(window or stop),
            memory.empty((parts, -(-heads // parts) * stop)), _scale(scale, C // heads), parts)
    return out
