"""Matrix products of words: two numbers of 16 bits, or four bytes, to a word.

Two numbers are what `rounding` makes of a matrix, fixed-point or bfloat16; four bytes are ternary weights and 8-bit
activations.  A tile adds up in int32, exactly, and what a chunk of k gives becomes float32 once; bfloat16 it adds up in
float32.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ops.precision import CHUNK
from ..ops.ternary import LARGEST_CODE
from . import memory
from .activations import SUMS, square_sums, squared_relu_backward_in_place
from .fork import thread_count
from .jit import inlined, parallel, serial
from .quantize import bytes_for, quantize_row
from .recording import also, one
from .registers import ALONE, ask, ask_rows, ask_tile, get, put
from .rounding import (
    BYTE_STRIP,
    BYTE_SUMS,
    FIRST,
    NO_FACTOR,
    NO_FLOATS,
    NO_INTEGERS,
    OF_8,
    OF_16,
    PAIRS,
    RAISED,
    STRIP,
    BothWays,
    bytes_of_rows,
    bytes_turned,
    chunks_along,
    code_type,
    gradient_room,
    panels_of,
    room_for_columns,
    room_for_steps,
    round_panels,
    round_rows,
    round_strips,
    scratch_for,
    spread_words,
    strips_of,
    take_columns,
    take_row,
    turned,
    word_type,
)
from .rows import PLAIN, finish_rows, parts_for, threads_of
from .simd import (
    BYTES_TOGETHER,
    ROWS,
    WIDE,
    add,
    add_bytes,
    add_pairs,
    byte_sums,
    has_byte_dot,
    integers,
    load,
    load_integers,
    multiply,
    multiply_add,
    no_sums,
    raised_fours,
    spread,
    spread_integer,
    store_integers,
    take_bytes,
    to_float,
    wide,
)

BYTE_WORDS = BYTES_TOGETHER // 4
CHUNK_WORDS = CHUNK // 4
LEAST_PRODUCT = 1 << 21              # multiplications of a part, where there is more than one for each thread
PIECES = 8                           # parts of a product for each thread: there is nothing to copy for each of them
NEXT, ROWS_APART = np.int64(1), np.int64(ROWS)  # from row to row and from k to k in a strip
FAR = 1 << 24                        # bytes of b that stay in the third-level cache, beside other things
EVEN = 1.1                           # a thread may have so much more than its share, for what is saved elsewhere
_ZERO, _ONE, _HALF_WORD = np.float32(0), np.float32(1), np.int32(16)


@serial
def block_of(part, parts, columns, M, N):
    """(first, last + 1) of a part's tiles and of its columns, where M x N are cut into parts / columns x columns."""
    tiles, panels, rows = (M + ROWS - 1) // ROWS, (N + WIDE - 1) // WIDE, parts // columns
    r, c = part % rows, part // rows
    return (tiles * r // rows, tiles * (r + 1) // rows, panels * c // columns * WIDE,
            min(N, panels * (c + 1) // columns * WIDE))


# ----------------------------------------------------------------------------------------- two numbers of 16 bits
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
    """As `matmul._share`; row_steps (chunks, M or more), column_steps (chunks, N or more), or (chunks, 0): none."""
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
    first, last, left, right = block_of(part, parts, columns, M, N)
    _share_pairs(out, start, lds, css, a, row_steps, strips, b, column_steps, M, N, K, after, positive, first, last,
                 left, right)


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
    rows, columns = grid(M, N, K, PIECES, 2)
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
            _share_pairs(flat, start, FIRST, css, a[low * count:], row_steps[:, low:], False, b, column_steps, rows, N,
                         K, after, positive[low * N:], t, t + 1, FIRST, N)
            for n in range(t * ROWS, min(rows, t * ROWS + ROWS)):
                take_row(codes, code_steps, minus_sums, sums, tops, low + n, x[n], no_factor)
        take_columns(words, chunk * of_chunk, word_steps[chunk], scratch[thread], flat[:rows * N], OF_16, no_factor,
                     FIRST, rows, width, between)


def shared_evenly(M):
    """Whether each thread gets nearly as many chunks of M rows."""
    chunks, threads = chunks_along(M), thread_count()
    return -(-chunks // threads) * threads <= EVEN * chunks


def multiply_both(start, css, a, panels, column_steps, N, after, sums=NO_FLOATS, as_panels=False):
    """`round_both` of what `multiply_pairs` gives for a as `BothWays` (M, K), without that being written to memory."""
    M, K = a.shape
    codes, code_steps = memory.empty((M, -(-N // 2)), word_type()), room_for_steps(N, M)
    words, steps, places = room_for_columns(M, N, panels_of if as_panels else strips_of)
    parts = len(steps)
    _product_both(start, css, a.words.reshape(-1), a.steps, panels, column_steps, M, N, K, *after,
                  codes.view(code_type()), code_steps, NO_INTEGERS, sums, words, steps, NO_FACTOR, *places,
                  scratch_for(parts, N), memory.empty((threads_of(parts), CHUNK * N)), parts)
    return BothWays((M, N), None, codes, code_steps, words, steps)


def grid(M, N, K, pieces, size):
    """(rows, columns): how an M x K x N product is cut into parts.   size: bytes of a number

    Each thread's share is to be as equal as can be; then a share is cut, so that others may take some, into `pieces` at
    most: into rows, or where b comes from memory each time so that least is read.  That is the rows of a and the
    columns of b for each part.
    """
    tiles, panels, threads = -(-M // ROWS), -(-N // WIDE), thread_count()
    cuts = [(rows, threads // rows) for rows in range(threads, 0, -1) if threads % rows == 0]
    rows, columns = min(cuts, key=lambda cut: -(-tiles // cut[0]) * -(-panels // cut[1]))
    more = max(1, parts_for(M * N * K, LEAST_PRODUCT, pieces) // threads)
    if N * K * size <= FAR:
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
def _raise_four(words, x0, x1, x2, x3, by):
    """Words of codes + by, one of each row."""
    for c in range(words.size):
        low = np.int32(np.int32(x0[c]) + by | np.int32(np.int32(x1[c]) + by) << np.int32(8))
        high = np.int32(np.int32(x2[c]) + by | np.int32(np.int32(x3[c]) + by) << np.int32(8))
        words[c] = np.int32(low | np.int32(high << _HALF_WORD))


@parallel
def _raise_columns(part, thread, panels, codes, by, absent, scratch, parts):
    """Panels of codes + by for codes (K, N); absent (N,): codes of rows beyond K."""
    K, N = codes.shape
    count, row, flat = (K + 3) // 4, scratch[thread], codes.reshape(-1)
    row[N:] = 0
    low, high = count * part // parts, count * (part + 1) // parts
    whole = min(high, K // 4) if N % WIDE == 0 else low
    for panel in range((N // WIDE) * (whole > low)):
        for k in range(low, whole):
            at = 4 * k * N + panel * WIDE
            store_integers(panels, (panel * count + k) * WIDE,
                           raised_fours(flat, at, at + N, at + 2 * N, at + 3 * N, by))
    for k in range(whole, high):
        x0 = codes[4 * k]
        x1 = codes[4 * k + 1] if 4 * k + 1 < K else absent
        x2 = codes[4 * k + 2] if 4 * k + 2 < K else absent
        x3 = codes[4 * k + 3] if 4 * k + 3 < K else absent
        _raise_four(row[:N], x0, x1, x2, x3, by)
        spread_words(panels, k * WIDE, WIDE * count, row, N)


def ternary_panels(codes, transposed):
    """Panels of a ternary matrix b (K, N), or (N, K) if transposed, int8: words of codes + 1."""
    if transposed:
        N, K = codes.shape
        words = memory.empty((N, -(-K // 4)), np.int32)
        _raise_rows(words.view(np.uint8), codes, parts_for(codes.size))
        return turned(words, N, words.shape[1])
    return _raised(codes, np.int32(1))


def byte_panels(codes):
    """Panels of a matrix b (K, N), int8: words of codes + RAISED, for `multiply_byte_strips`."""
    return _raised(codes, RAISED)


def _raised(codes, by):
    (K, N), parts = codes.shape, parts_for(codes.size)
    across = -(-N // WIDE) * WIDE
    panels = memory.empty(across * -(-K // 4), np.int32)
    _raise_columns(panels, codes, by, np.full(N, -by, np.int8),
                   memory.for_threads(threads_of(parts), across, dtype=np.int32), parts)
    return panels


@inlined
def _add_up(totals, r, sums, fresh):
    """Lanes of row r of the totals, if there are any yet, + the sums."""
    return take_bytes(integers() if fresh else load_integers(totals, r * WIDE), sums)


@inlined
def _finish_bytes(out, at, begin, ist, total, minus, steps, scale, row, column, columns):
    """out = begin + (total + minus[row]) steps[row] scale, or scale[column ...], for the lanes of one row.

    The product is rounded before it is added, as if it were there by itself: a packed model does that.
    """
    exact = to_float(add(total, spread_integer(minus, row)))
    of_columns = spread(scale, 0, wide()) if scale.size == 1 else get(scale, column, wide(), columns)
    step = multiply(spread(steps, row, wide()), of_columns)
    put(out, at, add(get(begin, ist, wide(), columns), multiply(exact, step)), columns)


@inlined
def _tile_bytes(out, io, ldo, begin, ist, lds, a, ia, rs, ks, b, ib, words, minus, steps, scale, totals, row, column,
                rows, columns):
    """`matmul.tile` for words of four bytes; minus[row ...] and steps[row ...] are of its rows.

    minus    of the codes of each row of a, times what was added to b
    totals    (ROWS, WIDE) of what may be added up in BYTE_WORDS words, if there are more
    """
    last = rows - 1
    i0, i1, i2 = ia, ia + min(1, last) * rs, ia + min(2, last) * rs
    i3, i4, i5 = ia + min(3, last) * rs, ia + min(4, last) * rs, ia + min(5, last) * rs
    for low in range(0, max(words, 1), BYTE_WORDS):
        c0, c1, c2, c3, c4, c5 = byte_sums(), byte_sums(), byte_sums(), byte_sums(), byte_sums(), byte_sums()
        for k in range(low, min(low + BYTE_WORDS, words)):
            x, at = load_integers(b, ib + k * WIDE), k * ks
            c0 = add_bytes(c0, x, spread_integer(a, i0 + at))
            c1 = add_bytes(c1, x, spread_integer(a, i1 + at))
            c2 = add_bytes(c2, x, spread_integer(a, i2 + at))
            c3 = add_bytes(c3, x, spread_integer(a, i3 + at))
            c4 = add_bytes(c4, x, spread_integer(a, i4 + at))
            c5 = add_bytes(c5, x, spread_integer(a, i5 + at))
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
        _finish_bytes(out, io, begin, ist, t0, minus, steps, scale, row, column, columns)
        if rows > 1:
            _finish_bytes(out, io + ldo, begin, ist + lds, t1, minus, steps, scale, row + 1, column, columns)
        if rows > 2:
            _finish_bytes(out, io + 2 * ldo, begin, ist + 2 * lds, t2, minus, steps, scale, row + 2, column, columns)
        if rows > 3:
            _finish_bytes(out, io + 3 * ldo, begin, ist + 3 * lds, t3, minus, steps, scale, row + 3, column, columns)
        if rows > 4:
            _finish_bytes(out, io + 4 * ldo, begin, ist + 4 * lds, t4, minus, steps, scale, row + 4, column, columns)
        if rows > 5:
            _finish_bytes(out, io + 5 * ldo, begin, ist + 5 * lds, t5, minus, steps, scale, row + 5, column, columns)


@serial
def _share_bytes(out, start, lds, css, a, minus_sums, steps, scale, b, M, N, K, totals, first, last, left, right):
    """As `matmul._share`.   steps (M or more)"""
    count = (K + 3) // 4
    for t in range(first, last):
        row = t * ROWS
        for column in range(left, right, WIDE):
            at = row * N + column
            ask_tile(a, (row + ROWS) * count, count, count, ALONE, (column - left) // WIDE)
            ask_rows(out, at, N, ROWS)  # for what comes after the products
            if lds:
                ask_rows(start, at, N, ROWS)
            _tile_bytes(out, at, N, start, row * lds + column * css, lds, a, row * count, count, NEXT, b,
                        column * count, count, minus_sums, steps, scale, totals, row, column,
                        min(ROWS, M - row), min(WIDE, N - column))


@parallel
def _product_bytes(part, thread, out, start, lds, css, a, minus_sums, steps, scale, b, M, N, K, totals, columns,
                   parts):
    first, last, left, right = block_of(part, parts, columns, M, N)
    _share_bytes(out, start, lds, css, a, minus_sums, steps, scale, b, M, N, K, totals[thread], first, last, left,
                 right)


@inlined
def _go_on(found, begin, ist, columns, chunk, total, a, minus, steps, row):
    """What chunks before this one have left, or row `begin` with the first, + (total + a[minus]) steps[chunk, row]."""
    exact = to_float(add(take_bytes(integers(), total), spread_integer(a, minus)))
    return multiply_add(get(begin, ist, wide(), columns) if chunk == 0 else found, exact,
                        spread(steps[chunk], row, wide()))


@inlined
def _tile_byte_strips(out, io, ldo, begin, ist, lds, a, ia, between, b, ib, words, steps, row, rows, columns):
    """`matmul.tile` for a strip of bytes in each chunk of k, `between` words apart; steps[:, row ...] are of its rows.

    A chunk is added up in integers, and the chunks in registers, too.
    """
    f0, f1, f2, f3, f4, f5 = wide(), wide(), wide(), wide(), wide(), wide()
    last = rows - 1
    for chunk in range(steps.shape[0]):
        at, to = ia + chunk * between, ib + chunk * CHUNK_WORDS * WIDE
        c0, c1, c2, c3, c4, c5 = byte_sums(), byte_sums(), byte_sums(), byte_sums(), byte_sums(), byte_sums()
        for k in range(min(CHUNK_WORDS, words - chunk * CHUNK_WORDS)):
            x, ak = load_integers(b, to + k * WIDE), at + k * ROWS
            c0 = add_bytes(c0, x, spread_integer(a, ak))
            c1 = add_bytes(c1, x, spread_integer(a, ak + 1))
            c2 = add_bytes(c2, x, spread_integer(a, ak + 2))
            c3 = add_bytes(c3, x, spread_integer(a, ak + 3))
            c4 = add_bytes(c4, x, spread_integer(a, ak + 4))
            c5 = add_bytes(c5, x, spread_integer(a, ak + 5))
        im = at + BYTE_SUMS
        f0 = _go_on(f0, begin, ist, columns, chunk, c0, a, im, steps, row)
        f1 = _go_on(f1, begin, ist + min(1, last) * lds, columns, chunk, c1, a, im + 1, steps, row + 1)
        f2 = _go_on(f2, begin, ist + min(2, last) * lds, columns, chunk, c2, a, im + 2, steps, row + 2)
        f3 = _go_on(f3, begin, ist + min(3, last) * lds, columns, chunk, c3, a, im + 3, steps, row + 3)
        f4 = _go_on(f4, begin, ist + min(4, last) * lds, columns, chunk, c4, a, im + 4, steps, row + 4)
        f5 = _go_on(f5, begin, ist + min(5, last) * lds, columns, chunk, c5, a, im + 5, steps, row + 5)
    put(out, io, f0, columns)
    if rows > 1:
        put(out, io + ldo, f1, columns)
    if rows > 2:
        put(out, io + 2 * ldo, f2, columns)
    if rows > 3:
        put(out, io + 3 * ldo, f3, columns)
    if rows > 4:
        put(out, io + 4 * ldo, f4, columns)
    if rows > 5:
        put(out, io + 5 * ldo, f5, columns)


@parallel
def _product_byte_strips(part, out, start, lds, css, a, steps, b, M, N, K, columns, parts):
    """As `_product_bytes`, for a in strips.   steps (chunks, M or more)"""
    first, last, left, right = block_of(part, parts, columns, M, N)
    between, count = (M + ROWS - 1) // ROWS * BYTE_STRIP, (K + 3) // 4
    for column in range(left, right, WIDE):
        for t in range(first, last):
            row = t * ROWS
            at = row * N + column
            ask_rows(out, at, N, ROWS)  # for what comes after the products of the first chunk
            _tile_byte_strips(out, at, N, start, row * lds + column * css, lds, a, t * BYTE_STRIP, between, b,
                              column * count, count, steps, row, min(ROWS, M - row), min(WIDE, N - column))


_NO_START, _ONES, _UNSCALED = np.zeros(WIDE, np.float32), np.ones(ROWS, np.float32), np.ones(1, np.float32)
_NOTHING = _NO_START, 0, 0
MOST_IN_SUM = np.iinfo(SUMS).max // LARGEST_CODE  # codes whose sum fits into 16 bits, whatever they are


def _room_for_totals(parts):
    """See `_tile_bytes`."""
    return memory.for_threads(threads_of(parts), ROWS * WIDE + 16, dtype=np.int32)


def _start_of(start):
    """As `matmul._share` takes it, or nothing."""
    return _NOTHING if start is None else (start.reshape(-1), start.shape[1] if start.ndim > 1 else 0, 1)


def multiply_bytes(a, scale, panels, N, add_to=None, start=None):
    """out (M, N) = start + scale steps (a b): a as `Bytes`, b in `ternary_panels`, or both as in `multiply_narrow`.

    What is scaled is exact.

    scale     a number, or (N,)
    start     (M, N), or (N,) for all rows
    add_to    start, if it is where out is to be written, too
    """
    M, count = a.words.shape
    out, (rows, columns) = memory.empty((M, N)) if add_to is None else add_to, grid(M, N, 4 * count, PIECES, 1)
    parts = rows * columns
    _product_bytes(out.reshape(-1), *_start_of(add_to if start is None else start), a.words.reshape(-1), a.minus_sums,
                   a.steps.reshape(-1), scale if np.ndim(scale) else one(scale), panels, M, N, 4 * count,
                   _room_for_totals(parts), columns, parts)
    return out


@parallel
def _product_bytes_squared(part, thread, sums, codes, minus_sums, code_steps, a, a_minus_sums, a_steps, scale, b, M, N,
                           K, near, squares, totals, parts):
    """8-bit codes (M, N rounded up) of what a squared ReLU makes of the product of `_product_bytes`.

    sums       (M, N): see `multiply_bytes_squared`
    near       (threads, ROWS N or more) for the product's rows of one tile, without their steps
    squares    (threads, N or more) for one row
    """
    count, tiles = (K + 3) // 4, (M + ROWS - 1) // ROWS
    flat, row = near[thread, :ROWS * N], squares[thread, :N]
    x = flat.reshape(ROWS, N)
    for t in range(tiles * part // parts, tiles * (part + 1) // parts):
        low, rows = t * ROWS, min(ROWS, M - t * ROWS)
        _share_bytes(flat, _NO_START, FIRST, FIRST, a[low * count:], a_minus_sums[low:], _ONES, _UNSCALED, b, rows, N,
                     K, totals[thread], FIRST, NEXT, FIRST, N)
        for n in range(low, low + rows):
            ask(sums, (n + 1) * N, N)
            ask(codes, (n + 1) * codes.shape[1], codes.shape[1])
            square_sums(row, sums[n], x[n - low], a_steps[n] * scale[0])
            code_steps[n], minus_sums[n] = quantize_row(codes[n], row)


def multiply_bytes_squared(a, scale, panels, N):
    """(squares, sums) of the product p of `multiply_bytes`, which is not written to memory: a as `Bytes` (M, K).

    squares    max(p, 0)^2 as `Bytes` (M, N)
    sums       uint16 (M, N): max(p, 0) without its scale and steps; for K up to MOST_IN_SUM
    """
    M, count = a.words.shape
    squares, sums = bytes_for(M, N), memory.empty((M, N), SUMS)
    parts = min(-(-M // ROWS), parts_for(M * N * 4 * count, LEAST_PRODUCT, PIECES))
    threads = threads_of(parts)
    _product_bytes_squared(sums, *squares.filled, a.words.reshape(-1), a.minus_sums, a.steps.reshape(-1),
                           one(scale), panels, M, N, 4 * count,
                           memory.for_threads(threads, ROWS * N), memory.for_threads(threads, N),
                           _room_for_totals(parts), parts)
    return squares, sums


class Narrow(NamedTuple):
    """A matrix (N, K) to be multiplied transposed by `multiply_narrow`."""

    columns: int        # N
    panels: np.ndarray
    steps: np.ndarray   # (N,) of bytes, (chunks, N or more) of 16-bit words


def narrow(b):
    """`Narrow` of float32 b (N, K): of bytes where the processor multiplies any that it is given, as AVX2 does not."""
    N, K = b.shape
    return Narrow(N, *(bytes_turned(b) if K <= CHUNK and has_byte_dot() else round_panels(b, True, OF_8)))


def multiply_narrow(a, b, start=None):
    """out (M, N) = start + a b^T for float32 a (M, K) and `narrow` b, both rounded to 127 steps for each CHUNK along k.

    With words of either kind the bits are the same.

    start    (N,)
    """
    if b.steps.ndim == 1:
        return multiply_bytes(bytes_of_rows(a), b.steps, b.panels, b.columns, start=start)
    out = memory.empty((len(a), b.columns))
    multiply_pairs(out.reshape(-1), *_NOTHING, BothWays(a.shape, None, *round_rows(a, OF_8), None, None), False,
                   b.panels, b.steps, b.columns)
    if start is not None:
        also(np.add, out, start, out)
    return out


def multiply_byte_strips(a, panels, N, add_to=None, fresh=False):
    """out (M, N) = a^T b, added to an array if one is given: a (K, M) as `BothWays` in strips of bytes, b in
    `byte_panels`.   What a chunk of k gives is exact.

    fresh    whether what that array holds counts as 0: it is then only written
    """
    K, M = a.shape
    out, (rows, columns) = memory.empty((M, N)) if add_to is None else add_to, grid(M, N, K, PIECES, 1)
    if K:
        _product_byte_strips(out.reshape(-1), *_start_of(None if fresh else add_to), a.columns.view(np.int32),
                             a.column_steps, panels, M, N, K, columns, rows * columns)
    elif fresh or add_to is None:
        also(np.copyto, out, _ZERO)
    return out


@parallel
def _product_bytes_both(part, thread, a, a_minus_sums, a_steps, scale, b, M, N, K, inp, inp_scale, codes, code_steps,
                        minus_sums, sums, words, word_steps, most, factor, width, between, of_chunk, scratch, near,
                        totals, parts):
    """The product of `_product_bytes`, taken back through a squared ReLU of inp (M, N), of which nothing remains but
    what `_round_both` would make of it.

    inp_scale    for inp as sums, whose steps are factor; else empty
    near         (threads, CHUNK N) for the rows of a chunk
    """
    chunks, count = word_steps.shape[0], (K + 3) // 4
    flat, tops = near[thread], scratch[thread, 0, :N]
    x = flat.reshape(CHUNK, N)
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        low, rows = chunk * CHUNK, min(CHUNK, M - chunk * CHUNK)
        tops[:] = 0
        for t in range((rows + ROWS - 1) // ROWS):
            ask(inp, (low + t * ROWS) * N, min(ROWS, rows - t * ROWS) * N)  # for what comes after the product
            _share_bytes(flat, _NO_START, FIRST, FIRST, a[low * count:], a_minus_sums[low:], a_steps[low:], scale,
                         b, rows, N, K, totals[thread], t, t + 1, FIRST, N)
            for n in range(t * ROWS, min(rows, t * ROWS + ROWS)):
                step = factor[low + n] * inp_scale[0] if inp_scale.size else _ONE
                squared_relu_backward_in_place(x[n], inp[low + n], step)
                take_row(codes, code_steps, minus_sums, sums, tops, low + n, x[n], factor)
        take_columns(words, chunk * of_chunk, word_steps[chunk], scratch[thread], flat[:rows * N], most, factor, low,
                     rows, width, between)


def multiply_bytes_both(a, scale, panels, inp, inp_scale, factor):
    """`quantize_both` of what `multiply_bytes` gives for a as `Bytes`, taken back through a squared ReLU of inp (M, N),
    without either being written to memory.

    inp    float32, or the sums of `multiply_bytes_squared`, of which factor are the steps and inp_scale the scale
    """
    (M, N), count = inp.shape, a.words.shape[1]
    codes, (words, steps, places), most = bytes_for(M, N), *gradient_room(M, N)
    parts, inp_scale = len(steps), one(inp_scale) if inp.dtype == SUMS else NO_FACTOR
    _product_bytes_both(a.words.reshape(-1), a.minus_sums, a.steps.reshape(-1), one(scale), panels, M, N,
                        4 * count, inp, inp_scale, codes.codes, codes.steps.reshape(1, -1), codes.minus_sums,
                        NO_FLOATS, words, steps, most, factor, *places, scratch_for(parts, N),
                        memory.empty((threads_of(parts), CHUNK * N)), _room_for_totals(parts), parts)
    return codes, BothWays((M, N), None, None, None, words, steps)
