"""Products with ternary matrices without a multiplication: sums of three numbers are made once and looked up.

A column of codes adds, subtracts or leaves out each number of a row.  Of three numbers that gives one of 27 sums.  All
of them are made for each three of a row, for SHORT rows (tokens) at a time; an output then adds up one sum for each
three of its codes: one addition for what would be three multiplications and additions.  The result is that of float32
additions in another order than the definition's.

Source    the idea is that of T-MAC (Wei et al. 2024, arXiv:2407.00088), there for 8-bit numbers and in registers
"""
from __future__ import annotations

import numpy as np

from . import memory
from .jit import parallel, serial
from .recording import also, one
from .rows import parts_for, threads_of
from .simd import SHORT, add, index, load, short, store, subtract, transpose8

TOGETHER = 3                     # numbers of a sum
SUMS = 3 ** TOGETHER
GROUPS = 16                      # sums of so many threes stay in the nearest cache: 27 KiB
DEPTH = TOGETHER * GROUPS        # numbers of a row that are done at a time
OUTPUTS = 4                      # that are added up side by side, so that an addition need not wait for the last
EIGHT = 8                        # numbers that are turned together
LEAST_LOOKUPS = 1 << 16          # of a part, where there is more than one for each thread


def _up(n, step):
    return -(-n // step) * step


# --------------------------------------------------------------------------------------------------- where sums are
@serial
def _place_column(places, codes, low, k, transposed):
    """Where the sums for rows low ... of column k of the codes begin; codes beyond the last are 0."""
    M, K = codes.shape[1 if transposed else 0], codes.shape[0 if transposed else 1]
    for g in range(places.size):
        place = 0
        for m in range(low + TOGETHER * g, low + TOGETHER * (g + 1)):
            code = 0
            if m < M and k < K:
                code = np.int64(codes[k, m] if transposed else codes[m, k])
            place = 3 * place + 1 + code
        places[g] = np.uint16((g * SUMS + place) * SHORT)


@parallel
def _place(part, places, codes, transposed, parts):
    """places (blocks of DEPTH rows, columns and some more, GROUPS) for codes (M, K), or (K, M) if transposed."""
    blocks, columns = places.shape[0], places.shape[1]
    for task in range(blocks * columns * part // parts, blocks * columns * (part + 1) // parts):
        block, k = task // columns, task % columns
        _place_column(places[block, k], codes, block * DEPTH, k, transposed)


def places_of(codes, transposed=False):
    """Where a product with int8 codes (M, K), or (K, M) if transposed, finds its sums: uint16 (blocks, K rounded up,
    GROUPS).
    """
    M, K = codes.shape[::-1] if transposed else codes.shape
    places = memory.empty((-(-M // DEPTH), _up(K, EIGHT), GROUPS), np.uint16)
    _place(places, codes, transposed, parts_for(codes.size))
    return places


# ------------------------------------------------------------------------------------------------------- the product
@serial
def _turn(turned, x, first, low, M):
    """turned[k SHORT + r] = x[first + r M + low + k] for k < DEPTH and r < SHORT; 0 where low + k is beyond M."""
    whole = min(DEPTH, M - low) // EIGHT * EIGHT
    for k in range(0, whole, EIGHT):
        for r in range(0, SHORT, EIGHT):
            transpose8(turned, k * SHORT + r, SHORT, x, first + r * M + low + k, M)
    for k in range(whole, DEPTH):
        for r in range(SHORT):
            turned[k * SHORT + r] = x[first + r * M + low + k] if low + k < M else np.float32(0)


@serial
def _three(sums, at, pair, last):
    store(sums, at, subtract(pair, last))
    store(sums, at + SHORT, pair)
    store(sums, at + 2 * SHORT, add(pair, last))


@serial
def _make(sums, turned):
    """All sums of each three of DEPTH numbers: [three][sum][SHORT]."""
    for g in range(GROUPS):
        at, source = g * SUMS * SHORT, g * TOGETHER * SHORT
        x, y = load(turned, source, short()), load(turned, source + SHORT, short())
        z, step = load(turned, source + 2 * SHORT, short()), 3 * SHORT
        nothing, both, difference = short(), add(x, y), subtract(x, y)
        _three(sums, at, subtract(nothing, both), z)
        _three(sums, at + step, subtract(nothing, x), z)
        _three(sums, at + 2 * step, subtract(nothing, difference), z)
        _three(sums, at + 3 * step, subtract(nothing, y), z)
        _three(sums, at + 4 * step, nothing, z)
        _three(sums, at + 5 * step, y, z)
        _three(sums, at + 6 * step, difference, z)
        _three(sums, at + 7 * step, x, z)
        _three(sums, at + 8 * step, both, z)


@serial
def _look_up(totals, sums, places, columns, groups, fresh):
    """totals[k SHORT ...] += the sums at places[k groups ...]; `fresh`: there are no totals yet.

    groups    GROUPS, which the compiler must not know: it would do all of one output before the next
    """
    for k in range(0, columns, OUTPUTS):
        c0, c1, c2, c3 = short(), short(), short(), short()
        if not fresh:
            c0, c1 = load(totals, k * SHORT, short()), load(totals, (k + 1) * SHORT, short())
            c2, c3 = load(totals, (k + 2) * SHORT, short()), load(totals, (k + 3) * SHORT, short())
        for g in range(k * groups, (k + 1) * groups):
            c0 = add(c0, load(sums, index(places, g), short()))
            c1 = add(c1, load(sums, index(places, g + groups), short()))
            c2 = add(c2, load(sums, index(places, g + 2 * groups), short()))
            c3 = add(c3, load(sums, index(places, g + 3 * groups), short()))
        store(totals, k * SHORT, c0)
        store(totals, (k + 1) * SHORT, c1)
        store(totals, (k + 2) * SHORT, c2)
        store(totals, (k + 3) * SHORT, c3)


@serial
def _finish_row(out, total, scale, fresh):
    for k in range(out.size):
        out[k] = total[k] * scale if fresh else out[k] + total[k] * scale


@parallel
def _product(part, thread, out, fresh, x, places, scale, edge, sums, turned, totals, rows, parts):
    """out (N, K) = scale (x codes), or += that unless `fresh`, for flat x (N, M).

    edge     float32 (SHORT M): the last rows, and zeros
    sums, turned, totals, rows    scratch of each thread
    """
    N, K = out.shape
    M, columns = edge.size // SHORT, places.shape[1]
    tiles = (N + SHORT - 1) // SHORT
    for tile in range(tiles * part // parts, tiles * (part + 1) // parts):
        low = tile * SHORT
        source, first = (x, low * M) if low + SHORT <= N else (edge, 0)
        for block in range(places.shape[0]):
            _turn(turned[thread], source, first, block * DEPTH, M)
            _make(sums[thread], turned[thread])
            _look_up(totals[thread], sums[thread], places[block].reshape(-1), columns, places.shape[2], block == 0)
        for k in range(0, columns, EIGHT):
            for r in range(0, SHORT, EIGHT):
                transpose8(rows[thread], r * columns + k, columns, totals[thread], k * SHORT + r, SHORT)
        for n in range(low, min(low + SHORT, N)):
            at = (n - low) * columns
            _finish_row(out[n], rows[thread, at:at + K], scale[0], fresh)


def multiply(x, places, scale, K, add_to=None):
    """out (N, K) = scale (x codes) for x (N, M) and the `places_of` codes (M, K), added to an array if one is given."""
    N, M = x.shape
    out, columns = memory.empty((N, K)) if add_to is None else add_to, places.shape[1]
    tiles = -(-N // SHORT)
    parts = min(tiles, parts_for(tiles * places.size, LEAST_LOOKUPS))
    threads, edge = threads_of(parts), memory.empty(SHORT * M)
    if N % SHORT:
        last = x[N // SHORT * SHORT:].reshape(-1)
        also(np.copyto, edge[:last.size], last)
        also(np.copyto, edge[last.size:], np.float32(0))
    _product(out, add_to is None, x.reshape(-1), places, one(scale), edge,
             *(memory.for_threads(threads, size * SHORT) for size in (GROUPS * SUMS, DEPTH, columns, columns)), parts)
    return out
