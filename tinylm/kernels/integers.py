"""Matrix products of integers: 16-bit fixed-point numbers, and ternary weights times 8-bit activations.

A word is two numbers of 16 bits, or four bytes, that follow each other along the inner dimension k.  Words are laid out
as `matmul` lays out numbers: b in panels of WIDE columns, [panel][k][WIDE]; a as it stands where k runs along its
rows, else in strips of the ROWS rows of a tile, [chunk][tile][k][ROWS].  A tile adds up in int32, exactly, and what a
chunk of k gives becomes float32 once.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ops.precision import CHUNK, LARGEST, SMALLEST, precision
from . import memory
from .fork import thread_count
from .jit import inlined, parallel, serial, serial_in_order
from .quantize import bytes_for, largest, quantize_below, to_code
from .recording import also
from .registers import ALONE, ask, ask_rows, ask_tile, get, put
from .rows import CHUNK_ROWS, PLAIN, add_row, finish_rows, parts_for, threads_of
from .simd import (
    BYTES_TOGETHER,
    ROWS,
    SHORT,
    WIDE,
    add,
    add_bytes,
    add_pairs,
    are_bfloats,
    byte_sums,
    eight,
    integers,
    lanes,
    load,
    load_integers,
    multiply,
    multiply_add,
    no_sums,
    prefetch,
    rounded_pairs,
    settle,
    short,
    spread,
    spread_integer,
    store_bfloats,
    store_integers,
    store_integers_past,
    take_bytes,
    to_float,
    transpose8,
    wide,
)

FOUR = 4 * ROWS                      # columns of four strips
EIGHT = 8                            # words that are copied, or turned, together: no fewer than ROWS
PAIRS = CHUNK // 2                   # words of a chunk
STRIP = PAIRS * ROWS + EIGHT         # words of a tile and a chunk, and room for what is written beyond them
TOGETHER = 512                       # columns that are rounded together, at most: longer pieces of rows come faster
BYTE_WORDS = BYTES_TOGETHER // 4
AHEAD = 16                           # rows that are asked for before they are rounded
LEAST_PRODUCT = 1 << 21              # multiplications of a part, where there is more than one for each thread
PIECES = 8                           # parts of a product for each thread: there is nothing to copy for each of them
_TOP, _LEAST, _STEP = np.float32(LARGEST), np.float32(SMALLEST), np.float32(1 / LARGEST)
_ZERO, _ONE, _NAN, _INFINITE = np.float32(0), np.float32(1), np.float32(np.nan), np.float32(np.inf)
_LOW, _HALF_WORD, _MAGNITUDE = np.int32(0xFFFF), np.int32(16), np.int32(0x7FFFFFFF)
_HIGH, _LAST, _BELOW_HALF, _QUIET = np.uint32(16), np.uint32(1), np.uint32(0x7FFF), np.uint32(0x40)  # of bfloat16
NEXT, ROWS_APART = np.int64(1), np.int64(ROWS)  # from row to row and from k to k in a strip
FAR = 1 << 23                        # numbers of b that stay in the third-level cache
ALIGNED = memory.SMALL // 4          # words that begin at a cache line, if there are so many
EVEN = 1.1                           # a thread may have so much more than its share, for what is saved elsewhere
_FIRST, _NO_FACTOR = np.int64(0), np.zeros(0, np.float32)


# ----------------------------------------------------------------------------------------- rounding to 16 bits
@serial
def _steps(top):
    """(what numbers are multiplied with to become codes, the step of the codes); see `ops.precision.round_int16`."""
    if not top < _INFINITE:
        return _ZERO, _NAN
    return _TOP / top if top > _LEAST else _ZERO, top * _STEP


@serial
def _to_bfloats(codes, x):
    """Row x as bfloat16, and 0 beyond it; see `ops.precision.round_bfloat16`."""
    whole = x.size // SHORT * SHORT
    for i in range(0, whole, SHORT):
        store_bfloats(codes, i, load(x, i, short()))
    bits = x.view(np.uint32)
    for i in range(whole, x.size):
        upper = np.uint32(bits[i] >> _HIGH)
        nearest = np.uint32(np.uint32(bits[i] + _BELOW_HALF + np.uint32(upper & _LAST)) >> _HIGH)
        codes[i] = np.uint16(nearest if x[i] == x[i] else np.uint32(upper | _QUIET))
    for i in range(x.size, codes.size):
        codes[i] = np.uint16(0)


@serial
def _round_part(codes, x, inverse):
    for i in range(x.size):
        codes[i] = np.int16(to_code(x[i] * inverse))


@serial
def _round_row(codes, steps, n, x):
    """codes of a row x, and the step of each chunk in steps[:, n] if there are any; codes beyond x are 0."""
    if are_bfloats(codes):
        _to_bfloats(codes, x)
        return
    if x.size <= CHUNK and codes.size == x.size:  # as below, without the time that cutting takes
        inverse, steps[0, n] = _steps(largest(x))
        _round_part(codes, x, inverse)
        return
    for chunk in range(steps.shape[0]):
        low, high = chunk * CHUNK, min((chunk + 1) * CHUNK, x.size)
        inverse, steps[chunk, n] = _steps(largest(x[low:high]))
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
def _round_rows(part, codes, steps, x, parts):
    """codes int16 (N, K rounded up to be even) and steps (chunks, N) of x (N, K)."""
    N = x.shape[0]
    for n in range(N * part // parts, N * (part + 1) // parts):
        _round_row(codes[n], steps, n, x[n])


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
def _spread_words(panels, at, between, row, columns):
    """panels[at + panel between + c] = row[panel WIDE + c], for c < WIDE."""
    for panel in range((columns + WIDE - 1) // WIDE):
        store_integers(panels, at + panel * between, load_integers(row, panel * WIDE))


@serial
def _column_steps(steps, inverse, tops):
    """What numbers of each column are multiplied with, and the step of their codes if they have one; see `_steps`."""
    if not steps.size:
        inverse[:tops.size] = _ONE
        return
    for c in range(tops.size):
        inverse[c], steps[c] = _steps(np.int32(tops[c]).view(np.float32))


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


@serial
def _columns_words(words, at, width, between, past, x, first, apart, rows, factor, n, inverse, columns):
    """`_panel_words` of all panels, or strips, of so many columns."""
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
def _round_columns(part, thread, words, steps, x, N, K, width, together, between, of_chunk, scratch, parts):
    """Words of the columns of float32 x (K, N), flat, in panels or strips of `width` columns.

    steps     (chunks, columns of all panels), or (chunks, 0)
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
        _column_steps(steps[chunk, first:min(first + columns, stepped)], inverse, tops[:columns])
        inverse[columns:] = _ZERO
        if first + columns == N:
            steps[chunk, N:] = _ZERO
        _columns_words(words, chunk * of_chunk + panel * between, width, between, False, x, low * N + first, N,
                       high - low, _NO_FACTOR, low, inverse, columns)


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
        _spread_words(panels, chunk * of_chunk + pair % PAIRS * WIDE, between, row, N)


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
def _take_row(codes, row_steps, minus_sums, sums, tops, n, x, factor):
    """Codes and step of row n of a matrix, x; tops are raised to |factor[n] x|, and x is added to its chunk's sum.

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
            _round_row(codes[n], row_steps, n, x)
        else:
            of_row, row_steps[0, n] = _steps(top)
            _round_part(codes[n], x, of_row)
    if sums.size:
        add_row(sums[n // CHUNK_ROWS], x)


@serial
def _take_columns(words, at, steps, scratch, x, factor, n, rows, width, between):
    """Words, from `at` on, and steps of the columns of some rows of factor x.

    x          those rows, flat, the first of which is number n of the factor
    scratch    int32 (2, columns of all panels or strips and EIGHT more); the first: tops, see `_take_row`
    """
    M = x.size // rows
    inverse = scratch[1].view(np.float32)
    _column_steps(steps[:M], inverse, scratch[0, :M])
    inverse[M:], steps[M:] = _ZERO, _ZERO
    # Panels are not multiplied before the backward pass.
    _columns_words(words, at, width, between, width == WIDE and words.size >= ALIGNED, x, _FIRST, M, rows, factor, n,
                   inverse, M)
    settle()


@parallel
def _round_both(part, thread, codes, row_steps, minus_sums, sums, words, column_steps, x, factor, width, between,
                of_chunk, scratch, parts):
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
            _take_row(codes, row_steps, minus_sums, sums, tops, n, x[n], factor)
        _take_columns(words, chunk * of_chunk, column_steps[chunk], scratch[thread], flat[low * M:high * M], factor,
                      low, high - low, width, between)


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
def _round_turned(part, thread, panels, steps, x, scratch, parts):
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
            _round_row(codes[r], steps, first + r, x[first + r])
        _turn(panels, first * count, rows, _FIRST, min(WIDE, N - first), count)
    if part == parts - 1:
        steps[:, N:] = _ZERO


def _turned(words, N, count):
    """Panels of a matrix whose N columns are the rows of words (N, count)."""
    panels = memory.empty(-(-N // WIDE) * WIDE * count, words.dtype)
    _turn_all(panels, words.reshape(-1), N, count, parts_for(words.size))
    return panels


def _chunks(K):
    return -(-K // CHUNK)


def _words():
    """The type of words of two numbers, at the present precision."""
    return np.uint32 if precision() == "bfloat16" else np.int32


def _codes():
    """The type of one of the two."""
    return np.uint16 if precision() == "bfloat16" else np.int16


def _room_for_steps(K, count):
    """(chunks, count) of the inner dimension K; bfloat16 has no steps, but as many chunks."""
    return memory.empty((_chunks(K), 0 if precision() == "bfloat16" else count))


def round_rows(x):
    """(words (N, K/2), steps (chunks, N)) of float32 x (N, K)."""
    N, K = x.shape
    words, steps = memory.empty((N, -(-K // 2)), _words()), _room_for_steps(K, N)
    _round_rows(words.view(_codes()), steps, x, parts_for(x.size))
    return words, steps


_NO_INTEGERS, _NO_FLOATS = np.zeros(0, np.int32), np.zeros((0, 0), np.float32)


def _columns(x, layout):
    K, N = x.shape
    width, between, of_chunk, size = layout(K, N)
    panels, threads = -(-N // width), thread_count()
    across, words = panels * width, memory.empty(size, _words())
    together = -(-panels // max(-(-N // TOGETHER), -(-threads // _chunks(K)) if K else 1))
    steps, tasks = _room_for_steps(K, across), _chunks(K) * -(-across // (together * width))
    parts = min(tasks, parts_for(x.size))
    _round_columns(words, steps, x.reshape(-1), N, K, width, together, between, of_chunk,
                   memory.empty((threads_of(parts), 2, together * width + EIGHT), np.int32), parts)
    return words, steps


def _paired(b):
    """`_columns` of integers b (K, N), in panels: they need no steps."""
    K, N = b.shape
    _, between, of_chunk, size = _panels_of(K, N)
    panels, across, parts = memory.empty(size, _words()), -(-N // WIDE) * WIDE, parts_for(b.size)
    _pair_columns(panels, b.reshape(-1), N, K, between, of_chunk, np.zeros(N, np.int8),
                  memory.empty((threads_of(parts), across), _words()), parts)
    return panels, _room_for_steps(K, 0)


def round_strips(x):
    """(strips, steps (chunks, columns of all tiles)) of x (K, M): what a transposed a is multiplied as."""
    return _columns(x, _strips_of)


class BothWays(NamedTuple):
    """A matrix x (N, M) for two products: its rows as an a, and its columns, each row times a factor, as another."""

    shape: tuple[int, int]    # (N, M)
    array: np.ndarray | None  # x itself; none where it was rounded while it was made
    words: np.ndarray | None  # (N, M/2), or none where rows are multiplied in bytes
    steps: np.ndarray | None  # (chunks of M, N)
    columns: np.ndarray       # flat: strips for a transposed a, panels for b as it stands
    column_steps: np.ndarray  # (chunks of N, columns of all strips or panels)


def a_chunk_for_each_thread(x):
    """Whether columns of x (N, M) are enough for threads that share its rows: there is a step for CHUNK of them."""
    return len(x) > CHUNK * (thread_count() - 1)


def _strips_of(K, M):
    """(width, words from strip to strip, from chunk to chunk, in all) of a (K, M)."""
    tiles = -(-M // ROWS)
    return ROWS, STRIP, tiles * STRIP, _chunks(K) * tiles * STRIP


def _panels_of(K, N):
    """(width, words from panel to panel, from chunk to chunk, in all) of b (K, N)."""
    count = -(-K // 2)
    return WIDE, WIDE * count, WIDE * PAIRS, -(-N // WIDE) * WIDE * count


def _room(N, M, layout):
    """(words, steps, (width of a panel or strip, words from one to the next, from chunk to chunk)) for columns of
    (N, M)
    """
    width, between, of_chunk, size = layout(N, M)
    steps = _room_for_steps(N, -(-M // width) * width)
    return memory.empty(size, _words()), steps, (width, between, of_chunk)


def _scratch(parts, columns):
    """Room for what `_take_columns` knows of so many columns."""
    return memory.empty((threads_of(parts), 2, -(-columns // WIDE) * WIDE + EIGHT), np.int32)


def _round(codes, row_steps, minus_sums, x, factor, sums=_NO_FLOATS, layout=_strips_of):
    """Fills codes, row_steps, minus_sums and sums from x (N, M); returns (words, steps) of factor x's columns."""
    N, M = x.shape
    words, steps, places = _room(N, M, layout)
    parts = min(len(steps), parts_for(x.size))
    factor = _NO_FACTOR if factor is None else factor
    _round_both(codes, row_steps, minus_sums, sums, words, steps, x, factor, *places, _scratch(parts, M), parts)
    return words, steps


def round_both(x, factor=None, sums=_NO_FLOATS, panels=False):
    """The `round_rows` of x and the `round_strips` of factor x, or with `panels` its `round_panels`, as `BothWays`,
    for float32 x (N, M) and factor (N,).  sums: see `rows.sums_of_chunks`
    """
    N, M = x.shape
    words, steps = memory.empty((N, -(-M // 2)), _words()), _room_for_steps(M, N)
    columns = _round(words.view(_codes()), steps, _NO_INTEGERS, x, factor, sums, _panels_of if panels else _strips_of)
    return BothWays(x.shape, x, words, steps, *columns)


def quantize_both(x, factor):
    """(x as `Bytes`, the columns of factor x as `BothWays` without rows), for float32 x (N, M) and factor (N,)."""
    codes = bytes_for(*x.shape)
    columns = _round(codes.codes, codes.steps.reshape(1, -1), codes.minus_sums, x, factor)
    return codes, BothWays(x.shape, x, None, None, *columns)


def round_panels(b, transposed):
    """(panels, steps (chunks, columns of all panels)) of b (K, N), or (N, K) if transposed; float32 or int8.

    Codes of int8 are exact as they stand: their step is 1.
    """
    if not transposed:
        K, N = b.shape
        panels, steps = _columns(b, _panels_of) if b.dtype != np.int8 else _paired(b)
    else:
        N, K = b.shape
        count, across = -(-K // 2), -(-N // WIDE) * WIDE
        if b.dtype == np.int8:
            words, steps = memory.empty((N, count), _words()), _room_for_steps(K, 0)
            _widen_rows(words.view(_codes()), b, parts_for(b.size))
            panels = _turned(words, N, count)
        else:
            panels, steps = memory.empty(across * count, _words()), _room_for_steps(K, across)
            parts = min(max(1, across // WIDE), parts_for(b.size))
            _round_turned(panels, steps, b, memory.empty((threads_of(parts), WIDE, 2 * count), _codes()), parts)
    return panels, steps


# ------------------------------------------------------------------------------------------------- products
@inlined
def _finish(out, at, begin, ist, total, row_step, r, column_step, c, columns):
    """out = begin + total row_step column_step, for the lanes of one row; without steps where there are none."""
    begun, found = get(begin, ist, wide(), columns), to_float(total)
    if not row_step.size:
        put(out, at, add(begun, found), columns)
        return
    step = spread(row_step, r, wide())
    if column_step.size:
        step = multiply(step, load(column_step, c, wide()))
    put(out, at, multiply_add(begun, found, step), columns)


@inlined
def _tile_pairs(out, io, ldo, begin, ist, lds, a, ia, rs, ks, b, ib, words, row_step, r, column_step, c, rows, columns):
    """`matmul.tile` for words of two numbers; row_step[r ...] and column_step[c ...] are theirs."""
    last = rows - 1
    i0, i1, i2 = ia, ia + min(1, last) * rs, ia + min(2, last) * rs
    i3, i4, i5 = ia + min(3, last) * rs, ia + min(4, last) * rs, ia + min(5, last) * rs
    c0, c1, c2, c3, c4, c5 = no_sums(b), no_sums(b), no_sums(b), no_sums(b), no_sums(b), no_sums(b)
    for k in range(words):
        x, at = load_integers(b, ib + k * WIDE), k * ks
        c0 = add_pairs(c0, spread_integer(a, i0 + at), x)
        c1 = add_pairs(c1, spread_integer(a, i1 + at), x)
        c2 = add_pairs(c2, spread_integer(a, i2 + at), x)
        c3 = add_pairs(c3, spread_integer(a, i3 + at), x)
        c4 = add_pairs(c4, spread_integer(a, i4 + at), x)
        c5 = add_pairs(c5, spread_integer(a, i5 + at), x)
    _finish(out, io, begin, ist, c0, row_step, r, column_step, c, columns)
    if rows > 1:
        _finish(out, io + ldo, begin, ist + lds, c1, row_step, r + 1, column_step, c, columns)
    if rows > 2:
        _finish(out, io + 2 * ldo, begin, ist + 2 * lds, c2, row_step, r + 2, column_step, c, columns)
    if rows > 3:
        _finish(out, io + 3 * ldo, begin, ist + 3 * lds, c3, row_step, r + 3, column_step, c, columns)
    if rows > 4:
        _finish(out, io + 4 * ldo, begin, ist + 4 * lds, c4, row_step, r + 4, column_step, c, columns)
    if rows > 5:
        _finish(out, io + 5 * ldo, begin, ist + 5 * lds, c5, row_step, r + 5, column_step, c, columns)


@serial
def _share_pairs(out, start, lds, css, a, row_steps, strips, b, column_steps, M, N, K, after, positive, first, last,
                 left, right):
    """As `matmul._share`; row_steps (chunks, M or more), column_steps (chunks, N or more)."""
    tiles, count = (M + ROWS - 1) // ROWS, (K + 1) // 2
    for chunk in range(row_steps.shape[0]):
        words = (min(CHUNK, K - chunk * CHUNK) + 1) // 2
        for t in range(first, last):
            row = t * ROWS
            ia, rs, ks = row * count + chunk * PAIRS, count, NEXT
            if strips:
                ia, rs, ks = (chunk * tiles + t) * STRIP, NEXT, ROWS_APART
            for column in range(left, right, WIDE):
                at = row * N + column
                ib = column * count + chunk * PAIRS * WIDE
                if not strips:
                    ask_tile(a, ia + ROWS * rs, rs, words, ALONE, (column - left) // WIDE)
                if column + WIDE < right:
                    ask_rows(out, at + WIDE, N, ROWS)
                begin, ist, step = start, row * lds + column * css, lds
                if chunk > 0:  # go on from what the chunks before this one have left
                    begin, ist, step = out, at, N
                _tile_pairs(out, at, N, begin, ist, step, a, ia, rs, ks, b, ib, words, row_steps[chunk], row,
                            column_steps[chunk], column, min(ROWS, M - row), min(WIDE, N - column))
            if after and chunk + 1 == row_steps.shape[0]:
                finish_rows(out, positive, after, row * N + left, N, min(ROWS, M - row), right - left)


@parallel
def _product_pairs(part, out, start, lds, css, a, row_steps, strips, b, column_steps, M, N, K, after, positive, columns,
                   parts):
    tiles, panels = (M + ROWS - 1) // ROWS, (N + WIDE - 1) // WIDE
    rows = parts // columns
    r, c = part % rows, part // rows
    _share_pairs(out, start, lds, css, a, row_steps, strips, b, column_steps, M, N, K, after, positive,
                 tiles * r // rows, tiles * (r + 1) // rows,
                 panels * c // columns * WIDE, min(N, panels * (c + 1) // columns * WIDE))


def multiply_pairs(out, start, lds, css, a, transpose_a, panels, column_steps, N, row_scale=None,
                   after=PLAIN):
    """out = start + row_scale (a b) for a (M, K), or (K, M), and b in panels; see `matmul._share` for start.

    a        float32, or `BothWays`
    after    see `rows.finish_rows`
    """
    K, M = a.shape if transpose_a else a.shape[::-1]
    if isinstance(a, BothWays):
        words, steps = (a.columns, a.column_steps) if transpose_a else (a.words, a.steps)
    else:
        words, steps = round_strips(a) if transpose_a else round_rows(a)
    if row_scale is not None:
        unscaled, steps = steps, memory.empty((len(steps), max(M, steps.shape[1])))
        also(np.multiply, unscaled[:, :M] if unscaled.size else _ONE, row_scale.reshape(-1), steps[:, :M])
        also(np.copyto, steps[:, M:], _ZERO)
    rows, columns = grid(M, N, K, PIECES)
    _product_pairs(out, start, lds, css, words.reshape(-1), steps, transpose_a, panels, column_steps, M, N, K, *after,
                   columns, rows * columns)


@parallel
def _product_both(part, thread, start, css, a, row_steps, b, column_steps, M, N, K, after, positive, codes,
                  code_steps, minus_sums, sums, words, word_steps, no_factor, width, between, of_chunk, scratch, near,
                  parts):
    """The product of `_product_pairs`, of which nothing remains but what `_round_both` would make of it.

    near    (threads, CHUNK N) for the rows of a chunk
    """
    chunks, count = word_steps.shape[0], (K + 1) // 2
    flat, tops = near[thread], scratch[thread, 0, :N]
    x = flat.reshape(CHUNK, N)
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        low, rows = chunk * CHUNK, min(CHUNK, M - chunk * CHUNK)
        tops[:] = 0
        for t in range((rows + ROWS - 1) // ROWS):
            _share_pairs(flat, start, _FIRST, css, a[low * count:], row_steps[:, low:], False, b, column_steps, rows, N,
                         K, after, positive[low * N:], t, t + 1, _FIRST, N)
            for n in range(t * ROWS, min(rows, t * ROWS + ROWS)):
                _take_row(codes, code_steps, minus_sums, sums, tops, low + n, x[n], no_factor)
        _take_columns(words, chunk * of_chunk, word_steps[chunk], scratch[thread], flat[:rows * N], no_factor, _FIRST,
                      rows, width, between)


def shared_evenly(M):
    """Whether each thread gets nearly as many chunks of M rows."""
    chunks, threads = _chunks(M), thread_count()
    return -(-chunks // threads) * threads <= EVEN * chunks


def multiply_both(start, css, a, panels, column_steps, N, after, sums=_NO_FLOATS, as_panels=False):
    """`round_both` of what `multiply_pairs` gives for a as `BothWays` (M, K), without that being written to memory."""
    M, K = a.shape
    codes, code_steps = memory.empty((M, -(-N // 2)), _words()), _room_for_steps(N, M)
    words, steps, places = _room(M, N, _panels_of if as_panels else _strips_of)
    parts = len(steps)
    _product_both(start, css, a.words.reshape(-1), a.steps, panels, column_steps, M, N, K, *after, codes.view(_codes()),
                  code_steps, _NO_INTEGERS, sums, words, steps, _NO_FACTOR, *places, _scratch(parts, N),
                  memory.empty((threads_of(parts), CHUNK * N)), parts)
    return BothWays((M, N), None, codes, code_steps, words, steps)


def grid(M, N, K, pieces):
    """(rows, columns): how an M x K x N product is cut into parts.

    Each thread's share is to be as equal as can be; then a share is cut, so that others may take some, into `pieces` at
    most: into rows, or where b comes from memory each time so that least is read.  That is the rows of a and the
    columns of b for each part.
    """
    tiles, panels, threads = -(-M // ROWS), -(-N // WIDE), thread_count()
    cuts = [(rows, threads // rows) for rows in range(threads, 0, -1) if threads % rows == 0]
    rows, columns = min(cuts, key=lambda cut: -(-tiles // cut[0]) * -(-panels // cut[1]))
    more = max(1, parts_for(M * N * K, LEAST_PRODUCT, pieces) // threads)
    if N * K <= FAR:
        return rows * more, columns
    cuts = [(rows * more // c, columns * c) for c in range(1, more + 1)
            if more % c == 0 and (c == 1 or panels % (columns * c) == 0)]
    return min(cuts, key=lambda cut: cut[0] * N + cut[1] * M)


# -------------------------------------------------------------------------------- ternary weights, 8-bit activations
@serial
def _raise_row(out, codes):
    """codes + 1 as bytes: 0 .. 2; 0 beyond the codes."""
    for i in range(codes.size):
        out[i] = np.uint8(codes[i] + np.int8(1))
    for i in range(codes.size, out.size):
        out[i] = np.uint8(0)


@parallel
def _raise_rows(part, out, codes, parts):
    M = codes.shape[0]
    for m in range(M * part // parts, M * (part + 1) // parts):
        _raise_row(out[m], codes[m])


@serial
def _raise_four(words, x0, x1, x2, x3):
    """Words of codes + 1, one of each row."""
    one = np.int32(1)
    for c in range(words.size):
        low = np.int32(np.int32(x0[c]) + one | np.int32(np.int32(x1[c]) + one) << np.int32(8))
        high = np.int32(np.int32(x2[c]) + one | np.int32(np.int32(x3[c]) + one) << np.int32(8))
        words[c] = np.int32(low | np.int32(high << _HALF_WORD))


@parallel
def _raise_columns(part, thread, panels, codes, absent, scratch, parts):
    """Panels of codes + 1 for codes (K, N); absent (N,): codes of rows beyond K."""
    K, N = codes.shape
    count, row = (K + 3) // 4, scratch[thread]
    row[N:] = 0
    for k in range(count * part // parts, count * (part + 1) // parts):
        x0 = codes[4 * k]
        x1 = codes[4 * k + 1] if 4 * k + 1 < K else absent
        x2 = codes[4 * k + 2] if 4 * k + 2 < K else absent
        x3 = codes[4 * k + 3] if 4 * k + 3 < K else absent
        _raise_four(row[:N], x0, x1, x2, x3)
        _spread_words(panels, k * WIDE, WIDE * count, row, N)


def ternary_panels(codes, transposed):
    """Panels of a ternary matrix b (K, N), or (N, K) if transposed, int8: words of codes + 1."""
    parts = parts_for(codes.size)
    if transposed:
        N, K = codes.shape
        words = memory.empty((N, -(-K // 4)), np.int32)
        _raise_rows(words.view(np.uint8), codes, parts)
        return _turned(words, N, words.shape[1])
    K, N = codes.shape
    across = -(-N // WIDE) * WIDE
    panels = memory.empty(across * -(-K // 4), np.int32)
    _raise_columns(panels, codes, np.full(N, -1, np.int8), memory.empty((threads_of(parts), across), np.int32),
                   parts)
    return panels


@inlined
def _add_up(totals, r, sums, fresh):
    """Lanes of row r of the totals, if there are any yet, + the sums."""
    return take_bytes(integers() if fresh else load_integers(totals, r * WIDE), sums)


@inlined
def _finish_bytes(out, at, begin, ist, total, minus_sums, steps, scale, row, columns):
    """out = begin + (total - the sum of a's codes) steps[row] scale, for the lanes of one row."""
    exact = to_float(add(total, spread_integer(minus_sums, row)))
    step = multiply(spread(steps, row, wide()), spread(scale, 0, wide()))
    put(out, at, multiply_add(get(begin, ist, wide(), columns), exact, step), columns)


@inlined
def _tile_bytes(out, io, ldo, begin, ist, lds, a, ia, rs, b, ib, words, minus_sums, steps, scale, totals, row, rows,
                columns):
    """`matmul.tile` for words of four bytes; minus_sums[row ...] and steps[row ...] are of its rows.

    totals    (ROWS, WIDE) of what may be added up in BYTE_WORDS words, if there are more
    """
    last = rows - 1
    i0, i1, i2 = ia, ia + min(1, last) * rs, ia + min(2, last) * rs
    i3, i4, i5 = ia + min(3, last) * rs, ia + min(4, last) * rs, ia + min(5, last) * rs
    for low in range(0, words, BYTE_WORDS):
        c0, c1, c2, c3, c4, c5 = byte_sums(), byte_sums(), byte_sums(), byte_sums(), byte_sums(), byte_sums()
        for k in range(low, min(low + BYTE_WORDS, words)):
            x = load_integers(b, ib + k * WIDE)
            c0 = add_bytes(c0, x, spread_integer(a, i0 + k))
            c1 = add_bytes(c1, x, spread_integer(a, i1 + k))
            c2 = add_bytes(c2, x, spread_integer(a, i2 + k))
            c3 = add_bytes(c3, x, spread_integer(a, i3 + k))
            c4 = add_bytes(c4, x, spread_integer(a, i4 + k))
            c5 = add_bytes(c5, x, spread_integer(a, i5 + k))
        fresh = low == 0
        t0, t1, t2 = _add_up(totals, 0, c0, fresh), _add_up(totals, 1, c1, fresh), _add_up(totals, 2, c2, fresh)
        t3, t4, t5 = _add_up(totals, 3, c3, fresh), _add_up(totals, 4, c4, fresh), _add_up(totals, 5, c5, fresh)
        if low + BYTE_WORDS < words:
            store_integers(totals, 0, t0)
            store_integers(totals, WIDE, t1)
            store_integers(totals, 2 * WIDE, t2)
            store_integers(totals, 3 * WIDE, t3)
            store_integers(totals, 4 * WIDE, t4)
            store_integers(totals, 5 * WIDE, t5)
            continue
        _finish_bytes(out, io, begin, ist, t0, minus_sums, steps, scale, row, columns)
        if rows > 1:
            _finish_bytes(out, io + ldo, begin, ist + lds, t1, minus_sums, steps, scale, row + 1, columns)
        if rows > 2:
            _finish_bytes(out, io + 2 * ldo, begin, ist + 2 * lds, t2, minus_sums, steps, scale, row + 2, columns)
        if rows > 3:
            _finish_bytes(out, io + 3 * ldo, begin, ist + 3 * lds, t3, minus_sums, steps, scale, row + 3, columns)
        if rows > 4:
            _finish_bytes(out, io + 4 * ldo, begin, ist + 4 * lds, t4, minus_sums, steps, scale, row + 4, columns)
        if rows > 5:
            _finish_bytes(out, io + 5 * ldo, begin, ist + 5 * lds, t5, minus_sums, steps, scale, row + 5, columns)


@serial
def _share_bytes(out, start, lds, css, a, minus_sums, steps, scale, b, M, N, words, totals, first, last, left, right):
    for t in range(first, last):
        row = t * ROWS
        for column in range(left, right, WIDE):
            at = row * N + column
            ask_tile(a, (row + ROWS) * words, words, words, ALONE, (column - left) // WIDE)
            ask_rows(out, at, N, ROWS)  # for what comes after the products
            _tile_bytes(out, at, N, start, row * lds + column * css, lds, a, row * words, words, b, column * words,
                        words, minus_sums, steps, scale, totals, row, min(ROWS, M - row), min(WIDE, N - column))


@parallel
def _product_bytes(part, thread, out, start, lds, css, a, minus_sums, steps, scale, b, M, N, words, totals, columns,
                   parts):
    tiles, panels = (M + ROWS - 1) // ROWS, (N + WIDE - 1) // WIDE
    rows = parts // columns
    r, c = part % rows, part // rows
    _share_bytes(out, start, lds, css, a, minus_sums, steps, scale, b, M, N, words, totals[thread],
                 tiles * r // rows, tiles * (r + 1) // rows,
                 panels * c // columns * WIDE, min(N, panels * (c + 1) // columns * WIDE))


_NOTHING = np.zeros(WIDE, np.float32), 0, 0


def multiply_bytes(a, scale, panels, N, add_to=None):
    """out (M, N) = scale steps (a b), added to an array if one is given: a as `Bytes`, b in `ternary_panels`.

    What is scaled is exact.
    """
    M, count = a.words.shape
    out, (rows, columns) = memory.empty((M, N)) if add_to is None else add_to, grid(M, N, 4 * count, PIECES)
    flat = out.reshape(-1)
    # Panels hold weights + 1: the sums of a are taken away again.
    _product_bytes(flat, *(_NOTHING if add_to is None else (flat, N, 1)), a.words.reshape(-1), a.minus_sums,
                   a.steps, np.asarray(scale, np.float32).reshape(1), panels, M, N, count,
                   memory.empty((threads_of(rows * columns), ROWS * WIDE + 16), np.int32), columns, rows * columns)
    return out
