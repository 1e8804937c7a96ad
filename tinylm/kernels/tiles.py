"""Matrix products of bfloat16 in tiles, for processors that have them: operands packed, sums in float32.

Both operands are copied into strips of 32 rows (of b: columns) in the order in which tiles read them, rounded to
bfloat16 on the way: [strip][K/32][2][16][16] words of two numbers that follow each other along k.  A strip of a holds
its rows, one of b holds k in its rows: whichever of the two the source does not have is a transposition of a tile.
Elsewhere `words` multiplies bfloat16, or the operands are rounded and the float32 kernel multiplies them.
"""
from __future__ import annotations

import numpy as np

from . import memory
from .fork import thread_count
from .jit import parallel, serial
from .recording import contiguous
from .rounding import nearest_bfloat
from .rows import parts_for
from .simd import (
    TILE,
    TILE_SHAPES,
    TILE_WORDS,
    clear_tiles,
    half,
    has_tiles,
    load,
    load_block,
    load_some,
    multiply_add,
    multiply_tiles,
    round_across,
    round_along,
    spread,
    store_block,
    store_some,
    store_words,
    tiles_begin,
    tiles_end,
    transpose_tile,
)

has_tiles()  # asks the system for them: machine code from the cache does not

STRIP = 2 * TILE             # rows of a, or columns of b, in a strip; also numbers along k in a tile
STEP_WORDS = 2 * TILE_WORDS  # words of a strip for 32 numbers along k
K_STEPS = 16                 # after so many the block is put away: the strips of 512 numbers stay in the caches
STRIPS_IN_BLOCK = 8          # strips of a that are taken through all strips of b before the next ones


@serial
def _pack_strip(out, at, x, first, along, across, K, rows, turned):
    """One strip from x[first + r across + k along], for r < rows and k < K; the rest is 0.

    turned    whether a tile's rows are k, as for b
    """
    for k in range(0, K, STRIP):
        for low in range(0, STRIP, TILE):
            here = first + low * across + k * along
            if along == 1:
                for r in range(TILE):
                    count = K - k if low + r < rows else 0
                    store_words(out, at + r * TILE, round_along(x, here + r * across, count))
            else:
                for word in range(TILE):
                    count = min(TILE, rows - low) if k + 2 * word < K else 0
                    store_words(out, at + word * TILE, round_across(
                        x, here + 2 * word * along, here + (2 * word + 1) * along, count, K - k - 2 * word - 1))
            if (along == 1) == turned:
                transpose_tile(out, at, out, at)
            at += TILE_WORDS


@parallel
def _pack(part, out, x, along, across, K, rows, turned, parts):
    strips = (rows + STRIP - 1) // STRIP
    size = (K + STRIP - 1) // STRIP * STEP_WORDS
    for strip in range(strips * part // parts, strips * (part + 1) // parts):
        _pack_strip(out, strip * size, x, strip * STRIP * across, along, across, K, rows - strip * STRIP, turned)


def pack_strips(x, rows, K, along_rows, turned):
    """The strips of a matrix of `rows` rows, or columns where it is b (`turned`), and inner dimension K.

    along_rows    whether numbers that follow each other along k lie next to each other in x, which is flat
    """
    strips = -(-rows // STRIP)
    out = memory.empty(strips * -(-K // STRIP) * STEP_WORDS, np.int32)
    _pack(out, x, 1 if along_rows else rows, K if along_rows else 1, K, rows, turned,
          max(1, min(strips, parts_for(rows * K))))
    return out


@serial
def _edge_in(block, begin, at, step, css, rows, columns):
    for r in range(rows):
        for c in range(columns):
            block[r * STRIP + c] = begin[at + r * step + c * css]


@serial
def _edge_out(out, at, N, block, rows, columns):
    for r in range(rows):
        for c in range(columns):
            out[at + r * N + c] = block[r * STRIP + c]


@serial
def _scaled_out(out, at, N, begin, ist, step, css, block, scale, row, each, rows, columns):
    """out = begin + block scale; css 0: begin is 0.  HALF is a strip's width wherever there are tiles."""
    for r in range(rows):
        start = half() if css == 0 else load_some(begin, ist + r * step, half(), columns)
        factor = spread(scale, (row + r) * each, half())
        store_some(out, at + r * N, multiply_add(start, load(block, r * STRIP, half()), factor), columns)


@serial
def _block(out, at, N, begin, ist, step, css, a, ia, b, ib, steps, rows, columns, scale, row, scratch):
    """One block of out: begin + the product of a strip of a and one of b, over `steps` tiles along k.

    scale    one number for each row of out, for all of them, or none
    """
    whole = rows == STRIP and columns == STRIP
    if css == 0 or scale.size:
        clear_tiles()
    elif whole:
        load_block(begin, ist, step)
    else:
        _edge_in(scratch, begin, ist, step, css, rows, columns)
        load_block(scratch, 0, STRIP)
    for k in range(steps):
        multiply_tiles(a, ia + k * STEP_WORDS, b, ib + k * STEP_WORDS)
    if scale.size:
        store_block(scratch, 0, STRIP)
        _scaled_out(out, at, N, begin, ist, step, css, scratch, scale, row, 1 if scale.size > 1 else 0, rows, columns)
    elif whole:
        store_block(out, at, N)
    else:
        store_block(scratch, 0, STRIP)
        _edge_out(out, at, N, scratch, rows, columns)


@serial
def _share(out, start, lds, css, a, b, M, N, K, scale, shapes, scratch, first, last):
    """Blocks number first .. last-1; a block's number counts strips of a within a block of them, then strips of b."""
    tiles_begin(shapes)
    steps = (K + STRIP - 1) // STRIP
    strips, across = (M + STRIP - 1) // STRIP, (N + STRIP - 1) // STRIP
    together = max(steps, 1) if scale.size else K_STEPS  # what is scaled must be whole
    for k in range(0, max(steps, 1), together):
        number = 0
        for group in range(0, strips, STRIPS_IN_BLOCK):
            here = min(STRIPS_IN_BLOCK, strips - group)
            for column in range(across):
                for s in range(max(0, first - number), min(here, last - number)):
                    row, left = (group + s) * STRIP, column * STRIP
                    at = row * N + left
                    begin, ist, step, direction = start, row * lds + left * css, lds, css
                    if k > 0:  # go on from what the numbers before this k have left
                        begin, ist, step, direction = out, at, N, 1
                    _block(out, at, N, begin, ist, step, direction, a, ((group + s) * steps + k) * STEP_WORDS,
                           b, (column * steps + k) * STEP_WORDS, min(together, steps - k),
                           min(STRIP, M - row), min(STRIP, N - left), scale, row, scratch)
                number += here
    tiles_end()


@parallel
def _product(part, out, start, lds, css, a, b, M, N, K, scale, shapes, scratch, blocks, parts):
    _share(out, start, lds, css, a, b, M, N, K, scale, shapes, scratch[part],
           blocks * part // parts, blocks * (part + 1) // parts)


_UNSCALED = np.zeros(0, np.float32)


def multiply_strips(out, start, lds, css, a, b, M, N, K, row_scale=None):
    """out = start + row_scale (a b) for packed a and b; see `matmul._share` for start."""
    blocks = -(-M // STRIP) * -(-N // STRIP)
    parts = max(1, min(blocks, thread_count()))
    scale = _UNSCALED if row_scale is None else contiguous(row_scale.reshape(-1))
    scratch = memory.empty((parts, STRIP * STRIP))
    _product(out, start, lds, css, a, b, M, N, K, scale, TILE_SHAPES, scratch, blocks, parts)


@serial
def _round_range(out, x):
    for i in range(x.size):
        out[i] = np.uint32(nearest_bfloat(x[i]) << np.uint32(16)).view(np.float32)


@parallel
def _round(part, out, x, parts):
    low, high = x.size * part // parts, x.size * (part + 1) // parts
    _round_range(out[low:high], x[low:high])


def rounded(x):
    """Twin of `tinylm.ops.precision.round_bfloat16`; float32."""
    out = memory.empty(x.shape)
    _round(out.reshape(-1), x.reshape(-1), parts_for(x.size))
    return out
