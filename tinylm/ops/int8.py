"""A weight matrix with eight bits a weight: for the head of an exported model, which is read whole for every token."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .ternary import quantize_activations


class Int8Weight(NamedTuple):
    """A matrix as scale[n] codes[n] in each row."""

    codes: np.ndarray    # (M, K) int8 in -127 .. 127
    scale: np.ndarray    # (M,)


def quantize_rows(weight):
    """codes = round(W / scale), scale = max |W| / 127 of each row.

    Shapes    weight (M, K) -> Int8Weight
    Source    Dettmers et al. 2022, arXiv:2208.07339, section 2.1 (absmax), each row by itself
    """
    codes, scale = quantize_activations(weight)
    return Int8Weight(codes.astype(np.int8), scale[:, 0])


def dequantize_rows(weight):
    """scale[n] codes[n].   Shapes    Int8Weight -> (M, K)"""
    return weight.codes * weight.scale[:, None]


def pack_int8(weight):
    """What `int8_linear` takes; kernels copy it into the order in which they read it."""
    return weight


def int8_linear(inp, weight):
    """out = inp_q W_q^T: the input is rounded to 8 bits a token, the product is exact in integers.

    Shapes    inp (..., K), weight: `pack_int8` of an Int8Weight (M, K) -> out (..., M)
    Raises    ShapeError
    """
    codes, scale = weight
    shapes.linear(inp, codes, None)
    values, inp_scale = quantize_activations(inp)
    product = values.astype(np.int32) @ codes.T.astype(np.int32)
    return product.astype(inp.dtype) * (inp_scale * scale)
