"""Rows of numbers as integers and a step: what both training and decoding multiply."""
from __future__ import annotations

import numpy as np

from ..ops.ternary import LARGEST_CODE
from .jit import serial

_ZERO, _ONE, _TOP = np.float32(0.0), np.float32(1.0), np.float32(LARGEST_CODE)
_MAGNITUDE = np.int32(0x7FFFFFFF)  # all bits of a float32 but its sign


@serial
def largest(inp):
    """max |inp|; NaN where there is one."""
    # Magnitudes are compared as integers, which orders them alike and can be vectorised.
    bits, top = inp.view(np.int32), np.int32(0)
    for i in range(inp.size):
        top = max(top, np.int32(bits[i] & _MAGNITUDE))
    return np.int32(top).view(np.float32)


@serial
def quantize_row(codes, inp):
    """Writes the 8-bit codes of one token, 0 beyond its size; returns (their scale, -their sum).

    The codes of `tinylm.ops.quantize_activations`.
    """
    top = largest(inp)
    inverse = _TOP / top if top > _ZERO else _ZERO
    total = np.int32(0)
    for i in range(inp.size):
        code = np.int8(np.rint(inp[i] * inverse))
        codes[i] = code
        total += np.int32(code)
    for i in range(inp.size, codes.size):
        codes[i] = np.int8(0)
    return top * (_ONE / _TOP), -total
