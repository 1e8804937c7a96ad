"""Twins of `tinylm.ops.int8`: 64 rows at a time, each a lane of one of four registers, or eight with AVX2.

The weights are stored as w + 128, the unsigned side of the byte product: sum(w x) = sum((w + 128) x) - 128 sum(x),
and the last term, the same for all rows, is what the sums start from.  With AVX2, where sums of two such products
would not fit, they are stored as they are.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ops import shapes
from ..ops.int8 import Int8Weight
from ..ops.int8 import quantize_rows as _define_rows
from . import memory
from .jit import parallel, serial, serial_in_order
from .packed import AHEAD, quantize_row
from .recording import contiguous
from .rows import parts_for
from .simd import (
    byte_dot,
    has_byte_dot,
    has_byte_pairs,
    load_eight,
    load_words,
    prefetch,
    signed_byte_dot,
    spread_eight,
    spread_word,
    store_eight,
    store_words,
)

LANES, WORD = 16, 4     # rows in a register; bytes, so columns, in a lane
BLOCK_ROWS = 4 * LANES  # rows read together
_PAIRS = has_byte_pairs() and not has_byte_dot()
_OFFSET = 0 if _PAIRS else 128  # stored with the weights


class PackedInt8(NamedTuple):
    """An Int8Weight in the order in which its product reads it: [M/64][K/4][4][16][4], all quotients rounded up."""

    array: Int8Weight
    words: np.ndarray    # flat int32
    scale: np.ndarray    # (M rounded up to 64,); 0 beyond M


def quantize_rows(weight):
    """See `tinylm.ops.quantize_rows`; float32."""
    return _define_rows(contiguous(weight))  # done once: the definition is fast enough


def pack_int8(weight):
    """See `tinylm.ops.pack_int8`."""
    M, K = weight.codes.shape
    blocks, words = -(-M // BLOCK_ROWS), -(-K // WORD)
    padded = np.zeros((blocks * BLOCK_ROWS, words * WORD), np.uint8)
    padded[:M, :K] = weight.codes.view(np.uint8) + np.uint8(_OFFSET)
    scale = np.zeros(len(padded), np.float32)
    scale[:M] = weight.scale
    out = memory.empty(padded.size, np.uint8)
    lanes = padded.reshape(blocks, 4, LANES, words, WORD)
    out.reshape(blocks, words, 4, LANES, WORD)[...] = lanes.transpose(0, 3, 1, 2, 4)
    return PackedInt8(weight, out.view(np.int32), scale)


@serial
def _product_vnni(out, weight, inp, start, first, last):
    """out[64 first: 64 last] = (codes + 128) . inp + start[0]; all arrays are words."""
    i = first * inp.size * BLOCK_ROWS
    for block in range(first, last):
        a, b, c, d = spread_word(start, 0), spread_word(start, 0), spread_word(start, 0), spread_word(start, 0)
        for k in range(inp.size):
            x = spread_word(inp, k)
            a = byte_dot(a, load_words(weight, i), x)
            b = byte_dot(b, load_words(weight, i + 16), x)
            c = byte_dot(c, load_words(weight, i + 32), x)
            d = byte_dot(d, load_words(weight, i + 48), x)
            i += BLOCK_ROWS
        at = block * BLOCK_ROWS
        store_words(out, at, a)
        store_words(out, at + 16, b)
        store_words(out, at + 32, c)
        store_words(out, at + 48, d)


@serial
def _product_avx2(out, weight, inp, start, first, last):
    """out[64 first: 64 last] = codes . inp + start[0]; all arrays are words."""
    i = first * inp.size * BLOCK_ROWS
    for block in range(first, last):
        a, b, c, d = spread_eight(start, 0), spread_eight(start, 0), spread_eight(start, 0), spread_eight(start, 0)
        e, f, g, h = spread_eight(start, 0), spread_eight(start, 0), spread_eight(start, 0), spread_eight(start, 0)
        for k in range(inp.size):
            x = spread_eight(inp, k)
            for line in range(0, BLOCK_ROWS, LANES):
                prefetch(weight, i + AHEAD + line)
            a = signed_byte_dot(a, load_eight(weight, i), x)
            b = signed_byte_dot(b, load_eight(weight, i + 8), x)
            c = signed_byte_dot(c, load_eight(weight, i + 16), x)
            d = signed_byte_dot(d, load_eight(weight, i + 24), x)
            e = signed_byte_dot(e, load_eight(weight, i + 32), x)
            f = signed_byte_dot(f, load_eight(weight, i + 40), x)
            g = signed_byte_dot(g, load_eight(weight, i + 48), x)
            h = signed_byte_dot(h, load_eight(weight, i + 56), x)
            i += BLOCK_ROWS
        at = block * BLOCK_ROWS
        store_eight(out, at, a)
        store_eight(out, at + 8, b)
        store_eight(out, at + 16, c)
        store_eight(out, at + 24, d)
        store_eight(out, at + 32, e)
        store_eight(out, at + 40, f)
        store_eight(out, at + 48, g)
        store_eight(out, at + 56, h)


@serial
def _add_column(out, weight, x):
    """out[row] += weight[4 row] x."""
    for row in range(out.size):
        out[row] += np.int32(weight[4 * row]) * x


@serial
def _product_portable(out, weight, inp, start, first, last):
    """The same, byte by byte."""
    bytes_, codes = inp.view(np.int8), weight.view(np.uint8)
    for block in range(first, last):
        rows = out[block * BLOCK_ROWS:(block + 1) * BLOCK_ROWS]
        rows[:] = start[0]
        for k in range(bytes_.size):
            at = (block * inp.size + k // WORD) * BLOCK_ROWS * WORD + k % WORD
            _add_column(rows, codes[at:at + BLOCK_ROWS * WORD - k % WORD], np.int32(bytes_[k]))


int8_product = _product_vnni if has_byte_dot() else _product_avx2 if _PAIRS else _product_portable


@serial_in_order  # as in `packed.scale_sums`
def _scale_sums(out, sums, inp_scale, scale):
    for n in range(out.size):
        out[n] = np.float32(sums[n]) * (inp_scale * scale[n])


@serial
def int8_rows(out, codes, minus_sum, inp_scale, weight, scale, sums, start, first, last):
    """out[64 first: 64 last] = inp_q . W_q for one token that has been quantised; beyond out.size nothing is
    written.  Scratch: sums int32 (M rounded up to 64), start int32 (1,)."""
    start[0] = minus_sum * np.int32(_OFFSET)
    int8_product(sums, weight, codes.view(np.int32), start, first, last)
    low, high = first * BLOCK_ROWS, min(last * BLOCK_ROWS, out.size)
    _scale_sums(out[low:high], sums[low:high], inp_scale, scale[low:high])


@parallel
def _linear(part, out, inp, weight, scale, codes, sums, start, parts):
    rows = out.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        inp_scale, minus_sum = quantize_row(codes[part], inp[n])
        int8_rows(out[n], codes[part], minus_sum, inp_scale, weight, scale, sums[part], start[part],
                  0, sums.shape[1] // BLOCK_ROWS)


def int8_linear(inp, weight):
    """See `tinylm.ops.int8_linear`; float32."""
    shapes.linear(inp, weight.array.codes, None)
    inp, (M, K) = contiguous(inp), weight.array.codes.shape
    rows = inp.reshape(-1, K)
    parts = max(1, min(len(rows), parts_for(len(rows) * weight.words.size)))
    out = memory.empty((*inp.shape[:-1], M))
    _linear(out.reshape(len(rows), M), rows, weight.words, weight.scale,
            memory.empty((parts, -(-K // WORD) * WORD), np.int8), memory.empty((parts, weight.scale.size), np.int32),
            memory.empty((parts, 1), np.int32), parts)
    return out
