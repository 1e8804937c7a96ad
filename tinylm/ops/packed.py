"""Ternary weights at two bits each, and their exact product with 8-bit activations.

Layout R16K16.  A block is 16 rows x 16 columns of the matrix in 64 bytes.  Row r of a block owns four bytes,
and bits 2f and 2f + 1 of byte t hold w + 1 for column 4f + t.  Two blocks, 32 rows, stand side by side, so that
a product reads its weights as one stream.  Rows and columns that are only padding hold w = 0.

    packed[i, j, g, r, t] >> 2f & 3  =  1 + codes[32 i + 16 g + r, 16 j + 4 f + t]
"""
from __future__ import annotations

import numpy as np

from . import shapes
from .ternary import quantize_activations

LAYOUT = "R16K16"
BLOCK = 16                  # rows and columns of a block
GROUP = 2 * BLOCK           # rows that are read together
FIELDS = BYTES = 4          # codes in a byte, bytes in a row of a block
_SHIFTS = np.arange(0, 2 * FIELDS, 2, dtype=np.uint8)


class CodeError(ValueError):
    """A field of packed weights holds 3, which stands for no weight."""


def packed_shape(rows, columns):
    """Shape of the packed form of a (rows, columns) matrix; its bytes are a quarter of the padded matrix."""
    return -(-rows // GROUP), -(-columns // BLOCK), 2, BLOCK, BYTES


def pack_ternary(codes):
    """Four codes a byte, in the layout above.

    Shapes    codes (M, K) of -1, 0, 1 -> (M/32, K/16, 2, 16, 4) uint8, both quotients rounded up
    Raises    CodeError for any other code
    """
    if codes.size and (codes.min() < -1 or codes.max() > 1):
        raise CodeError(f"codes run from {codes.min()} to {codes.max()}: ternary ones are -1, 0 and 1")
    groups, blocks = packed_shape(*codes.shape)[:2]
    padded = np.ones((groups * GROUP, blocks * BLOCK), np.uint8)                    # a weight of 0 is stored as 1
    padded[:codes.shape[0], :codes.shape[1]] = codes + 1
    fields = padded.reshape(groups, 2, BLOCK, blocks, FIELDS, BYTES) << _SHIFTS[:, None]
    return np.ascontiguousarray(np.bitwise_or.reduce(fields, axis=4).transpose(0, 3, 1, 2, 4))


def unpack_ternary(packed, shape):
    """The codes that were packed.

    Shapes    packed (M/32, K/16, 2, 16, 4) uint8, shape (M, K) -> codes (M, K) int8
    Raises    ShapeError, CodeError for a field that holds 3
    """
    check_packed(packed, shape)
    rows, columns = shape
    groups, blocks = packed.shape[:2]
    fields = packed[..., None, :] >> _SHIFTS[:, None] & 3                           # (M/32, K/16, 2, 16, field, byte)
    matrix = fields.transpose(0, 2, 3, 1, 4, 5).reshape(groups * GROUP, blocks * BLOCK)
    return matrix[:rows, :columns].astype(np.int8) - np.int8(1)


def check_packed(packed, shape):
    """Raises ShapeError where `packed` cannot be a matrix of that shape, CodeError where a field holds 3."""
    if packed.shape != packed_shape(*shape) or packed.dtype != np.uint8:
        raise shapes.ShapeError(f"packed weights of {shape} should be uint8 {packed_shape(*shape)}, "
                                f"not {packed.dtype} {packed.shape}")
    if np.any(packed & packed >> 1 & 0x55):
        raise CodeError("packed weights hold a field of 3, which stands for no weight")


def check_product(packed, inp, rows):
    """Raises ShapeError where `packed_product` has no answer."""
    want = packed_shape(rows, inp.shape[-1])
    if packed.shape != want or inp.dtype != np.int8:
        raise shapes.ShapeError(f"inp is {inp.dtype} {inp.shape}; for {rows} rows of as many columns packed should be "
                                f"{want}, not {packed.shape}")


def packed_product(packed, inp, rows):
    """out[n] = sum over k of codes[n, k] inp[k]: exact in integers, additions and subtractions only.

    A sum stays below 2^31 for K up to 500,000 in the kernel, which adds up four times as much on the way.

    Shapes    packed (M/32, K/16, 2, 16, 4), inp (..., K) int8, rows = M -> out (..., M) int32
    Raises    ShapeError
    """
    check_product(packed, inp, rows)
    codes = unpack_ternary(packed, (rows, inp.shape[-1]))
    return inp.astype(np.int32) @ codes.T.astype(np.int32)


def packed_bitlinear(inp, packed, scale, rows):
    """`bitlinear_forward` with 8-bit activations, from packed weights: the same bits.

    Shapes    inp (..., K), packed (M/32, K/16, 2, 16, 4), rows = M -> out (..., M)
    Raises    ShapeError
    """
    values, inp_scale = quantize_activations(inp)
    product = packed_product(packed, values.astype(np.int8), rows)
    return product.astype(inp.dtype) * (inp_scale * scale)
