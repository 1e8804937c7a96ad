"""Twins of `tinylm.ops.packed`: one stream of packed weights, 32 rows at a time.

With AVX-512 VNNI a register is a block of 16 rows: each row is a lane, so nothing is ever added across lanes.
The weights are the unsigned side of the byte product: sum(w x) = sum((w + 1) x) - sum(x), and -sum(x), the same
for all rows, is what the sums start from.  With AVX2 a register is half a block and products are first added up in
16 bits.  Elsewhere the same layout is read with shifts.
"""
from __future__ import annotations

import numpy as np

from ..ops.packed import check_product, pack_ternary, unpack_ternary
from . import memory
from .jit import parallel, serial, serial_in_order
from .quantize import quantize_row
from .recording import contiguous
from .rows import parts_for
from .simd import (
    add_field_pairs,
    add_fields,
    field_dot0,
    field_dot1,
    field_dot2,
    field_dot3,
    field_pairs0,
    field_pairs1,
    has_byte_dot,
    has_byte_pairs,
    load_eight,
    load_words,
    no_pairs,
    no_words,
    prefetch,
    spread_eight,
    spread_word,
    store_eight,
    store_words,
    upper_fields,
)

__all__ = ["pack_ternary", "packed_bitlinear", "packed_product", "unpack_ternary"]  # packing is done once

# Words that are asked for before they are needed, beyond the end of one matrix into the next: few where the third-level
# cache holds the weights, as measured on a Zen 5 with VNNI, more where they come from memory.
AHEAD = 64 if has_byte_dot() else 1024
# Words of input between two additions to 32 bits.  A word brings one pair to the sums of field 1 or 3, of at most
# 4 x 2 (127 + 127) = 2032, or -2048 for inputs of -128; the sums have pairs from half of the words: 16 x 2032 = 32,512
# and 16 x -2048 = -32,768 fit into 16 bits.
PAIR_WORDS = 32
_TWO_BITS = np.int32(3)


@serial
def _product_vnni(out, packed, inp, start, first, last):
    """out[32 first: 32 last] = codes . inp for groups of 32 rows; start[0] = -sum(inp).

    All arrays are words; eight sums at a time hide how long a product takes.
    """
    words = inp.size
    i = first * words * 8
    for group in range(first, last):
        a0, a1, a2, a3 = spread_word(start, 0), no_words(), no_words(), no_words()
        b0, b1, b2, b3 = spread_word(start, 0), no_words(), no_words(), no_words()
        for k in range(0, words, 4):
            x0, x1, x2, x3 = (spread_word(inp, k), spread_word(inp, k + 1), spread_word(inp, k + 2),
                              spread_word(inp, k + 3))
            prefetch(packed, i + AHEAD)
            prefetch(packed, i + AHEAD + 16)
            w = load_words(packed, i)
            a0, a1, a2, a3 = field_dot0(a0, w, x0), field_dot1(a1, w, x1), field_dot2(a2, w, x2), field_dot3(a3, w, x3)
            w = load_words(packed, i + 16)
            b0, b1, b2, b3 = field_dot0(b0, w, x0), field_dot1(b1, w, x1), field_dot2(b2, w, x2), field_dot3(b3, w, x3)
            i += 32
        store_words(out, group * 32, add_fields(a0, a1, a2, a3))
        store_words(out, group * 32 + 16, add_fields(b0, b1, b2, b3))


@serial
def _add_pairs(out, at, packed, i, inp, first, last):
    """out[at: at + 32] += codes . inp[first: last], at most PAIR_WORDS words; i is where their weights begin.

    The eight sums, what is spread and what is masked are as many registers as there are.
    """
    a0, a1, a2, a3 = no_pairs(), no_pairs(), no_pairs(), no_pairs()  # of fields 0 and 2, for eight rows each
    b0, b1, b2, b3 = no_pairs(), no_pairs(), no_pairs(), no_pairs()  # 4 x those of fields 1 and 3
    for k in range(first, last, 4):
        x0, x1, x2, x3 = (spread_eight(inp, k), spread_eight(inp, k + 1), spread_eight(inp, k + 2),
                          spread_eight(inp, k + 3))
        prefetch(packed, i + AHEAD)
        prefetch(packed, i + AHEAD + 16)
        w = load_eight(packed, i)
        u = upper_fields(w)
        a0, b0 = field_pairs0(a0, w, x0), field_pairs1(b0, w, x1)
        a0, b0 = field_pairs0(a0, u, x2), field_pairs1(b0, u, x3)
        w = load_eight(packed, i + 8)
        u = upper_fields(w)
        a1, b1 = field_pairs0(a1, w, x0), field_pairs1(b1, w, x1)
        a1, b1 = field_pairs0(a1, u, x2), field_pairs1(b1, u, x3)
        w = load_eight(packed, i + 16)
        u = upper_fields(w)
        a2, b2 = field_pairs0(a2, w, x0), field_pairs1(b2, w, x1)
        a2, b2 = field_pairs0(a2, u, x2), field_pairs1(b2, u, x3)
        w = load_eight(packed, i + 24)
        u = upper_fields(w)
        a3, b3 = field_pairs0(a3, w, x0), field_pairs1(b3, w, x1)
        a3, b3 = field_pairs0(a3, u, x2), field_pairs1(b3, u, x3)
        i += 32
    store_eight(out, at, add_field_pairs(load_eight(out, at), a0, b0))
    store_eight(out, at + 8, add_field_pairs(load_eight(out, at + 8), a1, b1))
    store_eight(out, at + 16, add_field_pairs(load_eight(out, at + 16), a2, b2))
    store_eight(out, at + 24, add_field_pairs(load_eight(out, at + 24), a3, b3))


@serial
def _product_avx2(out, packed, inp, start, first, last):
    """The same with half as many lanes, and sums of 16 bits that are added to those of 32 before they are full."""
    words = inp.size
    for group in range(first, last):
        at = group * 32
        for lane in range(at, at + 32, 8):
            store_eight(out, lane, spread_eight(start, 0))
        for k in range(0, words, PAIR_WORDS):
            _add_pairs(out, at, packed, (group * words + k) * 8, inp, k, min(k + PAIR_WORDS, words))


@serial
def _add_column(out, packed, shift, x):
    """out[lane] += (the field at `shift` of packed[lane]) x."""
    for lane in range(out.size):
        out[lane] += ((packed[lane] >> shift) & _TWO_BITS) * x


@serial
def _product_portable(out, packed, inp, start, first, last):
    """The same, with shifts and masks."""
    bytes_ = inp.view(np.int8)
    i = first * inp.size * 8
    for group in range(first, last):
        out[group * 32:group * 32 + 32] = start[0]
        for k in range(0, bytes_.size, 16):
            for half in range(group * 32, group * 32 + 32, 16):
                for column in range(16):
                    x = np.int32(bytes_[k + column])
                    shift = np.int32(8 * (column % 4) + 2 * (column // 4))
                    _add_column(out[half:half + 16], packed[i:i + 16], shift, x)
                i += 16


product_rows = _product_vnni if has_byte_dot() else _product_avx2 if has_byte_pairs() else _product_portable


@serial_in_order  # a compiler that may regroup the three factors finds other bits, now and then
def scale_sums(out, sums, inp_scale, scale):
    """out = sums (inp_scale scale); the sums are exact as float32 below 2^24."""
    factor = inp_scale * scale
    for i in range(out.size):
        out[i] = np.float32(sums[i]) * factor


@serial
def bitlinear_row(out, inp, packed, factor, codes, sums, start):
    """out = codes . round(inp / scale) scale factor: one token through a packed layer.

    Scratch: codes int8 (K rounded up to 16), sums int32 (M rounded up to 32), start int32 (1,).
    """
    scale, start[0] = quantize_row(codes, inp)
    product_rows(sums, packed, codes.view(np.int32), start, 0, sums.size // 32)
    scale_sums(out, sums, scale, factor)


@parallel
def _bitlinear(part, out, inp, packed, factor, codes, sums, start, parts):
    rows = out.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        bitlinear_row(out[n], inp[n], packed, factor, codes[part], sums[part], start[part])


@parallel
def _product(part, out, packed, inp, start, parts):
    """out (N, M rounded up), inp words (N, K/4 rounded up), start (N, 1)."""
    rows, groups = out.shape[0], out.shape[1] // 32
    for n in range(rows):
        product_rows(out[n], packed, inp[n], start[n], groups * part // parts, groups * (part + 1) // parts)


def words_of(packed):
    """Packed weights as flat words on a 64-byte boundary, so that no vector load splits a cache line."""
    if packed.ctypes.data % 64 == 0 and packed.flags.c_contiguous and packed.flags.writeable:
        return packed.reshape(-1).view(np.int32)
    aligned = memory.empty(packed.size, np.uint8)
    aligned[:] = packed.reshape(-1)
    return aligned.view(np.int32)


def packed_product(packed, inp, rows):
    """See `tinylm.ops.packed_product`."""
    check_product(packed, inp, rows)
    tokens = inp.reshape(-1, inp.shape[-1])
    groups, blocks = packed.shape[:2]
    padded = memory.empty((len(tokens), 16 * blocks), np.int8)
    padded[:, :tokens.shape[1]], padded[:, tokens.shape[1]:] = tokens, 0
    out = memory.empty((len(tokens), 32 * groups), np.int32)
    start = -padded.sum(1, dtype=np.int32, keepdims=True)
    _product(out, words_of(packed), padded.view(np.int32), start,
             max(1, min(groups, parts_for(len(tokens) * packed.size))))
    return np.ascontiguousarray(out[:, :rows]).reshape(*inp.shape[:-1], rows)


def packed_bitlinear(inp, packed, scale, rows):
    """See `tinylm.ops.packed_bitlinear`; float32, equal to `bitlinear_forward` to the bit."""
    check_product(packed, np.empty(inp.shape, np.int8), rows)
    inp = contiguous(inp)
    tokens = inp.reshape(-1, inp.shape[-1])
    groups, blocks = packed.shape[:2]
    parts = max(1, min(len(tokens), parts_for(len(tokens) * packed.size)))
    out = memory.empty((*inp.shape[:-1], rows))
    _bitlinear(out.reshape(len(tokens), rows), tokens, words_of(packed), np.float32(scale),
               memory.empty((parts, 16 * blocks), np.int8), memory.empty((parts, 32 * groups), np.int32),
               memory.empty((parts, 1), np.int32), parts)
    return out
