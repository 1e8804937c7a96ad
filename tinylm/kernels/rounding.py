"""Matrices rounded to 16 bits, in the layouts in which `words` multiplies them.

A word is two numbers, fixed-point or bfloat16, that follow each other along the inner dimension k.  Words are laid out
as `matmul` lays out numbers: b in panels of WIDE columns, [panel][k][WIDE]; a as it stands where k runs along its
rows, else in strips of the ROWS rows of a tile, [chunk][tile][k][ROWS].  Fixed-point numbers are int32 words, with a
step for each chunk of k; bfloat16 are uint32, and have none.  A strip may be of bytes, too, four to a word, in an array
of int8.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ops.precision import CHUNK, LARGEST, SMALLEST, precision
from ..ops.ternary import LARGEST_CODE
from . import memory
from .fork import thread_count
from .jit import inlined, parallel, serial, serial_in_order
from .quantize import bytes_for, codes_of_row, largest, quantize_below, steps_of, to_code
from .registers import ask, get
from .rows import CHUNK_ROWS, add_row, parts_for, threads_of
from .simd import (
    ROWS,
    SHORT,
    WIDE,
    add,
    are_bfloats,
    bytes_together,
    eight,
    has_byte_dot,
    lanes,
    load,
    load_integers,
    multiply,
    nearest,
    prefetch,
    rounded_pairs,
    settle,
    short,
    spread,
    store_bfloats,
    store_integers,
    store_integers_past,
    transpose8,
    wide,
)

FOUR = 4 * ROWS                      # columns of four strips
EIGHT = 8                            # words that are copied, or turned, together: no fewer than ROWS
PAIRS = CHUNK // 2                   # words of a chunk
STRIP = PAIRS * ROWS + EIGHT         # words of a tile and a chunk, and room for what is written beyond them
BYTE_SUMS = CHUNK // 4 * ROWS        # where a strip of bytes has -RAISED times the sum of each row, after its words
BYTE_STRIP = BYTE_SUMS + EIGHT
RAISED = np.int32(128)               # what is added to the signed bytes that strips of bytes are multiplied with
TOGETHER = 512                       # columns that are rounded together, at most: longer pieces of rows come faster
AHEAD = 16                           # rows that are asked for before they are rounded
ALIGNED = memory.SMALL // 4          # words that begin at a cache line, if there are so many
FIRST, NO_FACTOR = np.int64(0), np.zeros(0, np.float32)
NO_INTEGERS, NO_FLOATS = np.zeros(0, np.int32), np.zeros((0, 0), np.float32)
_LEAST, _SIGN = np.float32(SMALLEST), np.int8(-128)
OF_16, OF_8 = np.float32(LARGEST), np.float32(LARGEST_CODE)  # the largest codes, of 16 and of 8 bits
_ZERO, _ONE, _NAN, _INFINITE = np.float32(0), np.float32(1), np.float32(np.nan), np.float32(np.inf)
_LOW, _HALF_WORD, _MAGNITUDE = np.int32(0xFFFF), np.int32(16), np.int32(0x7FFFFFFF)
_HIGH, _LAST, _BELOW_HALF, _QUIET = np.uint32(16), np.uint32(1), np.uint32(0x7FFF), np.uint32(0x40)  # of bfloat16


@inlined
def nearest_bfloat(x):
    """The upper half of the bfloat16 nearest to a float32, uint32; see `ops.precision.round_bfloat16`."""
    bits = np.float32(x).view(np.uint32)
    upper = np.uint32(bits >> _HIGH)
    nearest = np.uint32(np.uint32(bits + _BELOW_HALF + np.uint32(upper & _LAST)) >> _HIGH)
    return nearest if x == x else np.uint32(upper | _QUIET)


@serial
def _to_bfloats(codes, x):
    """Row x as bfloat16, and 0 beyond it."""
    whole = x.size // SHORT * SHORT
    for i in range(0, whole, SHORT):
        store_bfloats(codes, i, load(x, i, short()))
    for i in range(whole, x.size):
        codes[i] = np.uint16(nearest_bfloat(x[i]))
    for i in range(x.size, codes.size):
        codes[i] = np.uint16(0)


@serial
def _round_part(codes, x, inverse):
    for i in range(x.size):
        codes[i] = np.int16(to_code(x[i] * inverse))


@serial
def _round_row(codes, steps, n, x, most):
    """codes of a row x, up to `most`, and the step of each chunk in steps[:, n] if there are any; 0 beyond x."""
    if are_bfloats(codes):
        _to_bfloats(codes, x)
        return
    if x.size <= CHUNK and codes.size == x.size:  # as below, without the time that cutting takes
        inverse, steps[0, n] = steps_of(largest(x), most, _LEAST)
        _round_part(codes, x, inverse)
        return
    for chunk in range(steps.shape[0]):
        low, high = chunk * CHUNK, min((chunk + 1) * CHUNK, x.size)
        inverse, steps[chunk, n] = steps_of(largest(x[low:high]), most, _LEAST)
        _round_part(codes[low:high], x[low:high], inverse)
    for i in range(x.size, codes.size):
        codes[i] = np.int16(0)


@serial
def _as_bfloat(code):
    """int8 as bfloat16, which it fits into; the lower half of an int32."""
    return np.int32(np.float32(code).view(np.int32) >> _HALF_WORD)


@serial
def _widen_row(codes, x):
    """Integers x as they stand; codes beyond x are 0."""
    for i in range(x.size):
        codes[i] = _as_bfloat(x[i]) if are_bfloats(codes) else np.int16(x[i])
    for i in range(x.size, codes.size):
        codes[i] = np.int16(0)


@parallel
def _round_rows(part, codes, steps, x, most, parts):
    """codes, int16 or uint16 (N, K rounded up to be even), and steps (chunks, N or 0) of x (N, K)."""
    N = x.shape[0]
    for n in range(N * part // parts, N * (part + 1) // parts):
        _round_row(codes[n], steps, n, x[n], most)


@parallel
def _widen_rows(part, codes, x, parts):
    N = x.shape[0]
    for n in range(N * part // parts, N * (part + 1) // parts):
        _widen_row(codes[n], x[n])


@serial
def _raise_tops(tops, x):
    bits = x.view(np.int32)
    for c in range(tops.size):
        tops[c] = max(tops[c], np.int32(bits[c] & _MAGNITUDE))


@serial
def _pair_codes(words, x0, x1):
    for c in range(x0.size):
        low, high = np.int32(x0[c]), np.int32(x1[c])
        if are_bfloats(words):
            low, high = _as_bfloat(x0[c]), _as_bfloat(x1[c])
        words[c] = np.int32(np.int32(high << _HALF_WORD) | np.int32(low & _LOW))


@serial
def spread_words(panels, at, between, row, columns):
    """panels[at + panel between + c] = row[panel WIDE + c], for c < WIDE."""
    for panel in range((columns + WIDE - 1) // WIDE):
        store_integers(panels, at + panel * between, load_integers(row, panel * WIDE))


@serial
def _column_steps(steps, inverse, tops, most):
    """What numbers of each column are multiplied with, and the step of their codes if they have one; see `steps_of`."""
    if not steps.size:
        inverse[:tops.size] = _ONE
        return
    for c in range(tops.size):
        inverse[c], steps[c] = steps_of(np.int32(tops[c]).view(np.float32), most, _LEAST)


@inlined
def _times(numbers, factor, n):
    """Numbers of a row n, times its factor where there is one."""
    return multiply(numbers, spread(factor, n, numbers)) if factor.size else numbers


@inlined
def _write(words, at, past, pairs):
    if past:
        store_integers_past(words, at, pairs)
    else:
        store_integers(words, at, pairs)


@serial
def _panel_words(words, at, width, past, x, first, apart, rows, factor, n, inverse, column, columns, like):
    """Words of the codes of a panel, or strip, from words[at] on: two rows of x make a row of words.

    Rows are read where they stand, and words written one after the other.

    x, first, apart   flat; where the panel's first row begins, and from row to row
    factor, n         of the first row and those after it, or none
    inverse, column   what columns are multiplied with, from inverse[column] on
    columns           that are read; the others of `like`, beyond the edge of x, are taken for 0
    past              whether words are written past the caches
    """
    by = load(inverse, column, like)
    for k in range(0, rows, 2):
        row, low, high = first + k * apart, like, like
        prefetch(x, row + AHEAD * apart)
        prefetch(x, row + (AHEAD + 1) * apart)
        if columns == lanes(like) and k + 1 < rows:
            low = multiply(_times(load(x, row, like), factor, n + k), by)
            high = multiply(_times(load(x, row + apart, like), factor, n + k + 1), by)
        else:
            low = multiply(_times(get(x, row, like, columns), factor, n + k), by)
            if k + 1 < rows:
                high = multiply(_times(get(x, row + apart, like, columns), factor, n + k + 1), by)
        _write(words, at + k // 2 * width, past, rounded_pairs(words, low, high))


@inlined
def _strip_of_pair(words, at, x, row, apart, factor, n, by):
    store_integers(words, at, rounded_pairs(words, multiply(_times(load(x, row, by), factor, n), by),
                                            multiply(_times(load(x, row + apart, by), factor, n + 1), by)))


@serial
def _four_strips(words, at, between, x, first, apart, rows, factor, n, inverse, column):
    """As `_panel_words`, for strips side by side: they share cache lines of x.  rows: an even number"""
    by0, by1 = load(inverse, column, eight()), load(inverse, column + ROWS, eight())
    by2, by3 = load(inverse, column + 2 * ROWS, eight()), load(inverse, column + 3 * ROWS, eight())
    for k in range(0, rows, 2):
        row, to = first + k * apart, at + k // 2 * ROWS
        ask(x, row + AHEAD * apart, FOUR)
        ask(x, row + (AHEAD + 1) * apart, FOUR)
        _strip_of_pair(words, to, x, row, apart, factor, n + k, by0)
        _strip_of_pair(words, to + between, x, row + ROWS, apart, factor, n + k, by1)
        _strip_of_pair(words, to + 2 * between, x, row + 2 * ROWS, apart, factor, n + k, by2)
        _strip_of_pair(words, to + 3 * between, x, row + 3 * ROWS, apart, factor, n + k, by3)


@inlined
def _strip_of_four(words, at, x, row, apart, factor, n, by, sums):
    """Words of bytes of four rows of x; returns sums + those of the codes."""
    x0 = nearest(multiply(_times(load(x, row, by), factor, n), by))
    x1 = nearest(multiply(_times(load(x, row + apart, by), factor, n + 1), by))
    x2 = nearest(multiply(_times(load(x, row + 2 * apart, by), factor, n + 2), by))
    x3 = nearest(multiply(_times(load(x, row + 3 * apart, by), factor, n + 3), by))
    store_integers(words, at, bytes_together(x0, x1, x2, x3))
    return add(sums, add(add(x0, x1), add(x2, x3)))


@serial
def _put_sums(words, at, sums):
    """-RAISED times the sums of a strip's rows, where a product looks for them."""
    store_integers(words, at + BYTE_SUMS, sums)
    for r in range(EIGHT):
        words[at + BYTE_SUMS + r] *= -RAISED


@serial
def _four_strips_of_bytes(words, at, x, first, apart, rows, factor, n, inverse, column):
    """As `_four_strips`, for bytes.   rows: a multiple of 4"""
    by0, by1 = load(inverse, column, eight()), load(inverse, column + ROWS, eight())
    by2, by3 = load(inverse, column + 2 * ROWS, eight()), load(inverse, column + 3 * ROWS, eight())
    s0, s1, s2, s3 = nearest(eight()), nearest(eight()), nearest(eight()), nearest(eight())
    for k in range(0, rows, 4):
        row, to = first + k * apart, at + k // 4 * ROWS
        for ahead in range(AHEAD, AHEAD + 4):
            ask(x, row + ahead * apart, FOUR)
        s0 = _strip_of_four(words, to, x, row, apart, factor, n + k, by0, s0)
        s1 = _strip_of_four(words, to + BYTE_STRIP, x, row + ROWS, apart, factor, n + k, by1, s1)
        s2 = _strip_of_four(words, to + 2 * BYTE_STRIP, x, row + 2 * ROWS, apart, factor, n + k, by2, s2)
        s3 = _strip_of_four(words, to + 3 * BYTE_STRIP, x, row + 3 * ROWS, apart, factor, n + k, by3, s3)
    _put_sums(words, at, s0)
    _put_sums(words, at + BYTE_STRIP, s1)
    _put_sums(words, at + 2 * BYTE_STRIP, s2)
    _put_sums(words, at + 3 * BYTE_STRIP, s3)


@inlined
def _codes_at(x, row, factor, n, by, columns, rows):
    """Codes of the first columns of row n of the factor, if there is one among `rows`."""
    if rows > 0:
        return nearest(multiply(_times(get(x, row, by, columns), factor, n), by))
    return nearest(eight())


@serial
def _strip_of_bytes(words, at, x, first, apart, rows, factor, n, inverse, column, columns):
    """As `_panel_words`, for a strip of bytes at the edge of x."""
    by, sums = load(inverse, column, eight()), nearest(eight())
    for k in range(0, rows, 4):
        row, left = first + k * apart, rows - k
        x0 = _codes_at(x, row, factor, n + k, by, columns, left)
        x1 = _codes_at(x, row + apart, factor, n + k + 1, by, columns, left - 1)
        x2 = _codes_at(x, row + 2 * apart, factor, n + k + 2, by, columns, left - 2)
        x3 = _codes_at(x, row + 3 * apart, factor, n + k + 3, by, columns, left - 3)
        store_integers(words, at + k // 4 * ROWS, bytes_together(x0, x1, x2, x3))
        sums = add(sums, add(add(x0, x1), add(x2, x3)))
    _put_sums(words, at, sums)


@serial
def _columns_bytes(words, at, x, first, apart, rows, factor, n, inverse, columns):
    """`_strip_of_bytes` of all strips of so many columns."""
    left = 0
    while left + FOUR + EIGHT <= columns and rows % 4 == 0:
        _four_strips_of_bytes(words, at, x, first + left, apart, rows, factor, n, inverse, left)
        left += FOUR
        at += 4 * BYTE_STRIP
    while left < columns:
        _strip_of_bytes(words, at, x, first + left, apart, rows, factor, n, inverse, left, min(EIGHT, columns - left))
        left += ROWS
        at += BYTE_STRIP


@serial
def _columns_words(words, at, width, between, past, x, first, apart, rows, factor, n, inverse, columns):
    """`_panel_words` of all panels, or strips, of so many columns."""
    if words.itemsize == 1:
        _columns_bytes(words.view(np.int32), at, x, first, apart, rows, factor, n, inverse, columns)
        return
    left = 0
    if width == ROWS:  # eight are written where a strip has six; what is too much is written over by the next row
        while left + FOUR + EIGHT <= columns and rows % 2 == 0:
            _four_strips(words, at, between, x, first + left, apart, rows, factor, n, inverse, left)
            left += FOUR
            at += 4 * between
    while left < columns:
        if width == ROWS:
            _panel_words(words, at, width, False, x, first + left, apart, rows, factor, n, inverse, left,
                         min(EIGHT, columns - left), eight())
        else:
            _panel_words(words, at, width, past, x, first + left, apart, rows, factor, n, inverse, left,
                         min(WIDE, columns - left), wide())
        left += width
        at += between


@parallel
def _round_columns(part, thread, words, steps, x, N, K, most, width, together, between, of_chunk, scratch, parts):
    """Words of the columns of float32 x (K, N), flat, in panels or strips of `width` columns.

    steps     (chunks, columns of all panels), or (chunks, 0)
    most      of the codes
    between   words from panel to panel, of_chunk from chunk to chunk
    scratch   int32 (threads, 2, columns that are rounded together and EIGHT more)
    """
    panels, chunks = (N + width - 1) // width, (K + CHUNK - 1) // CHUNK
    groups, stepped = (panels + together - 1) // together, steps.shape[1]
    tops, inverse = scratch[thread, 0], scratch[thread, 1].view(np.float32)
    for task in range(chunks * groups * part // parts, chunks * groups * (part + 1) // parts):
        chunk, panel = task // groups, task % groups * together
        low, high = chunk * CHUNK, min((chunk + 1) * CHUNK, K)
        first = panel * width
        columns = min(together * width, N - first)
        if stepped:
            tops[:columns] = 0
            for k in range(low, high):
                _raise_tops(tops[:columns], x[k * N + first:k * N + first + columns])
        _column_steps(steps[chunk, first:min(first + columns, stepped)], inverse, tops[:columns], most)
        inverse[columns:] = _ZERO
        if first + columns == N:
            steps[chunk, N:] = _ZERO
        _columns_words(words, chunk * of_chunk + panel * between, width, between, False, x, low * N + first, N,
                       high - low, NO_FACTOR, low, inverse, columns)


@parallel
def _pair_columns(part, thread, panels, x, N, K, between, of_chunk, zeros, scratch, parts):
    """As `_round_columns`, for panels of integers x as they stand.   scratch: int32 (threads, columns of all panels)"""
    row = scratch[thread]
    row[N:] = 0
    count = (K + 1) // 2
    for pair in range(count * part // parts, count * (part + 1) // parts):
        chunk, k = pair // PAIRS, 2 * pair
        x1 = x[(k + 1) * N:(k + 2) * N] if k + 1 < K else zeros
        _pair_codes(row[:N], x[k * N:(k + 1) * N], x1)
        spread_words(panels, chunk * of_chunk + pair % PAIRS * WIDE, between, row, N)


@serial_in_order
def _raise_both_tops(tops, x, factor):
    """Raise tops to |factor x|; returns max |x|, as `largest` does."""
    bits, top = x.view(np.int32), np.int32(0)
    for c in range(tops.size):
        top = max(top, np.int32(bits[c] & _MAGNITUDE))
        tops[c] = max(tops[c], np.int32(np.float32(x[c] * factor).view(np.int32) & _MAGNITUDE))
    return np.int32(top).view(np.float32)


@serial
def _raise_row_tops(tops, x):
    """`_raise_both_tops` for a factor of 1."""
    bits, top = x.view(np.int32), np.int32(0)
    for c in range(tops.size):
        size = np.int32(bits[c] & _MAGNITUDE)
        top, tops[c] = max(top, size), max(tops[c], size)
    return np.int32(top).view(np.float32)


@inlined
def take_row(codes, row_steps, minus_sums, sums, tops, n, x, factor):
    """Codes and step of row n of a matrix, x; tops are raised to |factor[n] x|, and x is added to its chunk's sum.
    bfloat16 needs no tops, and has no step.

    factor    of all rows, or none
    """
    if sums.size and n % CHUNK_ROWS == 0:
        sums[n // CHUNK_ROWS] = _ZERO
    if are_bfloats(codes):
        _to_bfloats(codes[n], x)
    else:
        top = _raise_both_tops(tops, x, factor[n]) if factor.size else _raise_row_tops(tops, x)
        if codes.itemsize == 1:
            row_steps[0, n], minus_sums[n] = quantize_below(codes[n], x, top)
        elif x.size > CHUNK or codes.shape[1] > x.size:
            _round_row(codes[n], row_steps, n, x, OF_16)
        else:
            of_row, row_steps[0, n] = steps_of(top, OF_16, _LEAST)
            _round_part(codes[n], x, of_row)
    if sums.size:
        add_row(sums[n // CHUNK_ROWS], x)


@serial
def take_columns(words, at, steps, scratch, x, most, factor, n, rows, width, between):
    """Words, from `at` on, and steps of the columns of some rows of factor x.

    x          those rows, flat, the first of which is number n of the factor
    most       of the codes
    scratch    int32 (2, columns of all panels or strips and EIGHT more); the first: tops, see `take_row`
    """
    M = x.size // rows
    inverse = scratch[1].view(np.float32)
    _column_steps(steps[:M], inverse, scratch[0, :M], most)
    inverse[M:], steps[M:] = _ZERO, _ZERO
    # Panels are not multiplied before the backward pass.
    _columns_words(words, at, width, between, width == WIDE and words.size >= ALIGNED, x, FIRST, M, rows, factor, n,
                   inverse, M)
    settle()


@parallel
def _round_both(part, thread, codes, row_steps, minus_sums, sums, words, column_steps, x, most, factor, width,
                between, of_chunk, scratch, parts):
    """Codes of the rows of x (N, M), as `_round_rows`, and words of the columns of factor x, as `_round_columns`.

    A chunk of rows is read twice, not four times as by those two.  Codes of 8 bits have one step a row, and
    minus_sums (N,) then are what their sums are, negated.  sums: (chunks of CHUNK_ROWS, M) for what
    `rows.sums_of_chunks` writes, or none.
    """
    N, M = x.shape
    chunks, flat, tops = column_steps.shape[0], x.reshape(-1), scratch[thread, 0, :M]
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        low, high = chunk * CHUNK, min((chunk + 1) * CHUNK, N)
        tops[:] = 0
        for n in range(low, high):
            take_row(codes, row_steps, minus_sums, sums, tops, n, x[n], factor)
        take_columns(words, chunk * of_chunk, column_steps[chunk], scratch[thread], flat[low * M:high * M], most,
                     factor, low, high - low, width, between)


@serial
def _turn(panels, at, words, first, rows, count):
    """panels[at + k WIDE + r] = words[first + r count + k] for r < rows and k < count; 0 for other r < WIDE."""
    whole_rows, whole = rows // EIGHT * EIGHT, count // EIGHT * EIGHT
    for r in range(0, whole_rows, EIGHT):
        for k in range(0, whole, EIGHT):
            transpose8(panels, at + k * WIDE + r, WIDE, words, first + r * count + k, count)
    for k in range(count):
        for r in range(whole_rows if k < whole else np.int64(0), rows):
            panels[at + k * WIDE + r] = words[first + r * count + k]
        for r in range(rows, WIDE):
            panels[at + k * WIDE + r] = 0


@parallel
def _turn_all(part, panels, words, N, count, parts):
    whole = (N + WIDE - 1) // WIDE
    for panel in range(whole * part // parts, whole * (part + 1) // parts):
        _turn(panels, panel * WIDE * count, words, panel * WIDE * count, min(WIDE, N - panel * WIDE), count)


@parallel
def _round_turned(part, thread, panels, steps, x, most, scratch, parts):
    """Panels, and steps if there are any, of a matrix whose N columns are the rows of x (N, K).

    scratch    (threads, WIDE, K and one more if that is odd): codes of a panel as they come, row by row
    """
    N, K = x.shape
    count, codes = (K + 1) // 2, scratch[thread]
    rows = codes.reshape(-1).view(np.int32)
    whole = (N + WIDE - 1) // WIDE
    for panel in range(whole * part // parts, whole * (part + 1) // parts):
        first = panel * WIDE
        for r in range(min(WIDE, N - first)):
            _round_row(codes[r], steps, first + r, x[first + r], most)
        _turn(panels, first * count, rows, FIRST, min(WIDE, N - first), count)
    if part == parts - 1:
        steps[:, N:] = _ZERO


@parallel
def _round_bytes(part, codes, minus_sums, steps, x, parts):
    """8-bit codes (N, K rounded up) of x (N, K); minus_sums: of the codes, times RAISED."""
    N = x.shape[0]
    for n in range(N * part // parts, N * (part + 1) // parts):
        inverse, steps[n] = steps_of(largest(x[n]), OF_8, _LEAST)
        minus_sums[n] = np.int32(-RAISED * codes_of_row(codes[n], x[n], inverse))


@serial
def _raise_codes(codes):
    """codes + RAISED, as bytes without a sign: the highest bit turns over."""
    for i in range(codes.size):
        codes[i] = np.int8(codes[i] ^ _SIGN)


@parallel
def _round_turned_bytes(part, thread, panels, steps, x, scratch, parts):
    """As `_round_turned`, of 8-bit codes + RAISED.   scratch    int8 (threads, WIDE, K rounded up to 4)"""
    N, K = x.shape
    count, codes = (K + 3) // 4, scratch[thread]
    flat = codes.reshape(-1)
    for panel in range((N + WIDE - 1) // WIDE * part // parts, (N + WIDE - 1) // WIDE * (part + 1) // parts):
        first = panel * WIDE
        for r in range(min(WIDE, N - first)):
            inverse, steps[first + r] = steps_of(largest(x[first + r]), OF_8, _LEAST)
            codes_of_row(codes[r], x[first + r], inverse)
        _raise_codes(flat)
        _turn(panels, first * count, flat.view(np.int32), FIRST, min(WIDE, N - first), count)


def bytes_of_rows(x):
    """Float32 x (N, K), K up to CHUNK, as `Bytes` to be multiplied with `bytes_turned`: minus_sums are times RAISED."""
    found = bytes_for(*x.shape)
    _round_bytes(*found.filled, x, parts_for(x.size))
    return found


def bytes_turned(x):
    """(panels, steps (N,)) of a matrix whose N columns are the rows of float32 x (N, K), K up to CHUNK: 8-bit codes +
    RAISED.
    """
    N, K = x.shape
    count, steps = -(-K // 4), memory.empty(N)
    panels, parts = memory.empty(-(-N // WIDE) * WIDE * count, np.int32), min(-(-N // WIDE), parts_for(x.size))
    _round_turned_bytes(panels, steps, x, memory.empty((threads_of(parts), WIDE, 4 * count), np.int8), parts)
    return panels, steps


def turned(words, N, count):
    """Panels of a matrix whose N columns are the rows of words (N, count)."""
    panels = memory.empty(-(-N // WIDE) * WIDE * count, words.dtype)
    _turn_all(panels, words.reshape(-1), N, count, parts_for(words.size))
    return panels


def chunks_along(K):
    return -(-K // CHUNK)


def word_type():
    """The type of words of two numbers, at the present precision."""
    return np.uint32 if precision() == "bfloat16" else np.int32


def code_type():
    """The type of one of the two."""
    return np.uint16 if precision() == "bfloat16" else np.int16


def room_for_steps(K, count):
    """(chunks, count) of the inner dimension K; bfloat16 has no steps, but as many chunks."""
    return memory.empty((chunks_along(K), 0 if precision() == "bfloat16" else count))


def round_rows(x, most=OF_16):
    """(words (N, K/2), steps (chunks, N)) of float32 x (N, K), with codes of `most` at most."""
    N, K = x.shape
    words, steps = memory.empty((N, -(-K // 2)), word_type()), room_for_steps(K, N)
    _round_rows(words.view(code_type()), steps, x, most, parts_for(x.size))
    return words, steps


def _columns(x, layout, most=OF_16):
    K, N = x.shape
    width, between, of_chunk, size = layout(K, N)
    panels, threads = -(-N // width), thread_count()
    across, words = panels * width, _room(size, layout)
    together = -(-panels // max(-(-N // TOGETHER), -(-threads // chunks_along(K)) if K else 1))
    steps, tasks = room_for_steps(K, across), chunks_along(K) * -(-across // (together * width))
    parts = min(tasks, parts_for(x.size))
    _round_columns(words, steps, x.reshape(-1), N, K, most, width, together, between, of_chunk,
                   memory.for_threads(threads_of(parts), 2, together * width + EIGHT, dtype=np.int32), parts)
    return words, steps


def _paired(b):
    """`_columns` of integers b (K, N), in panels: they need no steps."""
    K, N = b.shape
    _, between, of_chunk, size = panels_of(K, N)
    panels, across, parts = memory.empty(size, word_type()), -(-N // WIDE) * WIDE, parts_for(b.size)
    _pair_columns(panels, b.reshape(-1), N, K, between, of_chunk, np.zeros(N, np.int8),
                  memory.for_threads(threads_of(parts), across, dtype=word_type()), parts)
    return panels, room_for_steps(K, 0)


def round_strips(x):
    """(strips, steps (chunks, columns of all tiles)) of x (K, M): what a transposed a is multiplied as."""
    return _columns(x, strips_of)


class BothWays(NamedTuple):
    """A matrix x (N, M) for two products: its rows as an a, and its columns, each row times a factor, as another."""

    shape: tuple[int, int]    # (N, M)
    array: np.ndarray | None  # x itself; none where it was rounded while it was made
    words: np.ndarray | None  # (N, M/2), or none where rows are multiplied in bytes
    steps: np.ndarray | None  # (chunks of M, N), or (chunks of M, 0) in bfloat16
    columns: np.ndarray       # flat: strips for a transposed a (int8: of bytes), panels for b as it stands
    column_steps: np.ndarray  # (chunks of N, columns of all strips or panels), or none as well


def a_chunk_for_each_thread(x):
    """Whether columns of x (N, M) are enough for threads that share its rows: there is a step for CHUNK of them."""
    return len(x) > CHUNK * (thread_count() - 1)


def strips_of(K, M):
    """(width, words from strip to strip, from chunk to chunk, in all) of a (K, M)."""
    tiles = -(-M // ROWS)
    return ROWS, STRIP, tiles * STRIP, chunks_along(K) * tiles * STRIP


def byte_strips_of(K, M):
    """`strips_of`, four bytes to a word."""
    tiles = -(-M // ROWS)
    return ROWS, BYTE_STRIP, tiles * BYTE_STRIP, chunks_along(K) * tiles * BYTE_STRIP


def panels_of(K, N):
    """(width, words from panel to panel, from chunk to chunk, in all) of b (K, N)."""
    count = -(-K // 2)
    return WIDE, WIDE * count, WIDE * PAIRS, -(-N // WIDE) * WIDE * count


def _room(size, layout):
    """Room for so many words."""
    return memory.empty(4 * size, np.int8) if layout is byte_strips_of else memory.empty(size, word_type())


def room_for_columns(N, M, layout):
    """(words, steps, (width of a panel or strip, words from one to the next, from chunk to chunk)) for columns of
    (N, M)
    """
    width, between, of_chunk, size = layout(N, M)
    steps = room_for_steps(N, -(-M // width) * width)
    return _room(size, layout), steps, (width, between, of_chunk)


def scratch_for(parts, columns):
    """Room for what `take_columns` knows of so many columns."""
    return memory.for_threads(threads_of(parts), 2, -(-columns // WIDE) * WIDE + EIGHT, dtype=np.int32)


def _round(codes, row_steps, minus_sums, x, factor, sums=NO_FLOATS, layout=strips_of, most=OF_16):
    """Fills codes, row_steps, minus_sums and sums from x (N, M); returns (words, steps) of factor x's columns."""
    N, M = x.shape
    words, steps, places = room_for_columns(N, M, layout)
    parts = min(len(steps), parts_for(x.size))
    factor = NO_FACTOR if factor is None else factor
    _round_both(codes, row_steps, minus_sums, sums, words, steps, x, most, factor, *places, scratch_for(parts, M),
                parts)
    return words, steps


def round_both(x, factor=None, sums=NO_FLOATS, panels=False):
    """The `round_rows` of x and the `round_strips` of factor x, or with `panels` its `round_panels`, as `BothWays`,
    for float32 x (N, M) and factor (N,).  sums: see `rows.sums_of_chunks`
    """
    N, M = x.shape
    words, steps = memory.empty((N, -(-M // 2)), word_type()), room_for_steps(M, N)
    columns = _round(words.view(code_type()), steps, NO_INTEGERS, x, factor, sums, panels_of if panels else strips_of)
    return BothWays(x.shape, x, words, steps, *columns)


def quantize_both(x, factor):
    """(x as `Bytes`, the columns of factor x as `BothWays` without rows), for float32 x (N, M) and factor (N,)."""
    codes = bytes_for(*x.shape)
    columns = _round(codes.codes, codes.steps.reshape(1, -1), codes.minus_sums, x, factor, NO_FLOATS, *_of_gradient())
    return codes, BothWays(x.shape, x, None, None, *columns)


def gradient_columns(x):
    """The columns of x as `BothWays` without rows, as `quantize_both` gives them."""
    return BothWays(x.shape, x, None, None, *_columns(x, *_of_gradient()))


def gradient_room(N, M):
    """(`room_for_columns` of `quantize_both` for (N, M), its largest code)"""
    layout, most = _of_gradient()
    return room_for_columns(N, M, layout), most


def strips_are_bytes():
    """Whether `quantize_both` makes strips of bytes: codes of 8 bits go into products of 16, too."""
    return precision() == "int8" and has_byte_dot()


def _of_gradient():
    """(layout, largest code) of the columns of what reaches a ternary map whose input had 8 bits."""
    return byte_strips_of if strips_are_bytes() else strips_of, OF_8 if precision() == "int8" else OF_16


def round_panels(b, transposed, most=OF_16):
    """(panels, steps (chunks, columns of all panels)) of b (K, N), or (N, K) if transposed; float32 or int8.

    most    of the codes of float32

    Codes of int8 are exact as they stand: they need no steps, and there are none.
    """
    if not transposed:
        K, N = b.shape
        panels, steps = _columns(b, panels_of, most) if b.dtype != np.int8 else _paired(b)
    else:
        N, K = b.shape
        count, across = -(-K // 2), -(-N // WIDE) * WIDE
        if b.dtype == np.int8:
            words, steps = memory.empty((N, count), word_type()), room_for_steps(K, 0)
            _widen_rows(words.view(code_type()), b, parts_for(b.size))
            panels = turned(words, N, count)
        else:
            panels, steps = memory.empty(across * count, word_type()), room_for_steps(K, across)
            parts = min(max(1, across // WIDE), parts_for(b.size))
            scratch = memory.empty((threads_of(parts), WIDE, 2 * count), code_type())
            _round_turned(panels, steps, b, most, scratch, parts)
    return panels, steps
