"""Rows of numbers as integers and a step: what both training and decoding multiply."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ops.ternary import LARGEST_CODE, SMALLEST_TOP
from . import memory
from .jit import serial, serial_exact

_ZERO, _ONE, _TOP = np.float32(0.0), np.float32(1.0), np.float32(LARGEST_CODE)
LEAST_TOP, _NAN, _INFINITE = np.float32(SMALLEST_TOP), np.float32(np.nan), np.float32(np.inf)
_MAGNITUDE = np.int32(0x7FFFFFFF)  # all bits of a float32 but its sign
_INTEGERS = np.float32(3 << 22)    # adding a small integer to it adds that to its bits, too
_INTEGER_BITS = _INTEGERS.view(np.int32)


class Bytes(NamedTuple):
    """Rows (N, K) as codes of 8 bits, which products of bytes multiply."""

    words: np.ndarray       # (N, K/4): four codes each, 0 beyond K
    minus_sums: np.ndarray  # (N,): of the codes
    steps: np.ndarray       # (N,)

    @property
    def codes(self):
        """int8 (N, K rounded up to 4)."""
        return self.words.view(np.int8)

    @property
    def filled(self):
        """What kernels fill: (codes, minus_sums, steps)."""
        return self.codes, self.minus_sums, self.steps


def bytes_for(N, K):
    """Room for the `Bytes` of rows (N, K)."""
    return Bytes(memory.empty((N, -(-K // 4)), np.int32), memory.empty(N, np.int32), memory.empty(N))


class Quantized(NamedTuple):
    """An array of which nothing is known but the 8-bit codes that ternary maps multiply: rounded while it was made."""

    shape: tuple[int, ...]  # (..., K)
    rows: Bytes


def quantized_for(shape):
    """Room for a `Quantized`."""
    *before, K = shape
    return Quantized(tuple(shape), bytes_for(int(np.prod(before)), K))


@serial
def largest(inp):
    """max |inp|; NaN where there is one."""
    # Magnitudes are compared as integers, which orders them alike and can be vectorised.
    bits, top = inp.view(np.int32), np.int32(0)
    for i in range(inp.size):
        top = max(top, np.int32(bits[i] & _MAGNITUDE))
    return np.int32(top).view(np.float32)


@serial_exact
def to_code(x):
    """The integer nearest to x, int32, for |x| < 2^22; halves go to the even one.

    LLVM does not vectorise a conversion to integers; here they are the last bits of a sum too large for fractions,
    which is rounded like any other.
    """
    return np.int32(np.float32(x + _INTEGERS).view(np.int32) - _INTEGER_BITS)


@serial
def _round_row(codes, inp, inverse):
    total = np.int32(0)
    for i in range(inp.size):
        code = to_code(inp[i] * inverse)
        codes[i] = np.int8(code)
        total = np.int32(total + code)
    return total


@serial
def codes_of_row(codes, inp, inverse):
    """codes = round(inp inverse), and 0 beyond; returns their sum."""
    total = _round_row(codes[:inp.size], inp, inverse)
    for i in range(inp.size, codes.size):
        codes[i] = np.int8(0)
    return total


@serial_exact
def steps_of(top, most, least):
    """(what numbers are multiplied with to become codes of `most` at most, the step of the codes); see
    `ops.precision.round_fixed`.  As written: else 1 / most would be rounded where `most` is a constant, and only there.

    top, least    the largest magnitude; what it has to exceed, or codes are 0
    """
    if not top < _INFINITE:
        return _ZERO, _NAN
    return most / top if top > least else _ZERO, top * (_ONE / most)


@serial
def quantize_row(codes, inp):
    """Writes the 8-bit codes of one token, 0 beyond its size; returns (their scale, -their sum).

    The codes of `tinylm.ops.quantize_activations`.
    """
    return quantize_below(codes, inp, largest(inp))


@serial
def quantize_below(codes, inp, top):
    """As `quantize_row`, where `largest` has been asked."""
    inverse, step = steps_of(top, _TOP, LEAST_TOP)
    return step, -codes_of_row(codes, inp, inverse)
