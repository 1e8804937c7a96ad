"""exp and tanh as arithmetic that LLVM can vectorise; the library's are calls, one number at a time."""
from __future__ import annotations

import numpy as np

from .jit import serial, serial_in_order

_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)          # ln 2 in two parts: n * high is exact for the n there are
_LN2_LOW = np.float32(-2.12194440e-4)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
# From here on up to twice as much, float32 has no fractions: adding it rounds, and the last bits are the integer.
_ROUNDER = np.float32(1.5 * 2 ** 23)
# e^r = 1 + r + r^2 (c2 + c3 r + ... + c6 r^4), fitted to the least relative error on [-ln2/2, ln2/2]: 3e-9.
_C2, _C3, _C4 = np.float32(0.49999993447745544), np.float32(0.1666652063098451), np.float32(0.04166838805281338)
_C5, _C6 = np.float32(0.008368716966528723), np.float32(0.001381459859242257)
_EXPONENT, _ONE_BITS = np.int32(23), np.int32(0x3F800000)  # where a float32 has its exponent; the bits of 1.0
_ONE, _TWO = np.float32(1.0), np.float32(2.0)
_SIGN, _MAGNITUDE, _LEAST = np.int32(31), np.int32(0x7FFFFFFF), np.int32(-0x80000000)  # of a float32 as an integer


@serial
def _limited(x, lowest, highest):
    """x between the two; NaN stays NaN, as it fails both comparisons."""
    x = lowest if x < lowest else x
    return highest if x > highest else x


@serial_in_order
def _power(x):
    """e^x for x in [-87, 88].

    x = n ln 2 + r with |r| <= ln2/2; e^r is a polynomial and 2^n is written into the exponent bits.  The terms of
    the polynomial are paired, so that fewer of them wait for each other.
    """
    shifted = x * _LOG2E + _ROUNDER
    n = shifted - _ROUNDER
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    square = r * r
    p = (_C2 + _C3 * r + (_C4 + _C5 * r + _C6 * square) * square) * square + r + _ONE
    exponent = np.int32(np.float32(shifted).view(np.int32) << _EXPONENT)  # the rounder's own bits are shifted out
    return p * np.int32(exponent + _ONE_BITS).view(np.float32)


@serial
def exp32(x):
    """e^x for float32, relative error below 2e-7; x is first limited to [-87, 88].  NaN stays NaN."""
    return _power(_limited(x, _LOWEST, _HIGHEST))


@serial
def sigmoid32(x):
    """1 / (1 + e^-x), relative error below 4e-7 where x >= -87."""
    return _ONE / (_ONE + _power(-_limited(x, -_HIGHEST, -_LOWEST)))  # negated last: then no instruction does it


@serial
def tanh32(x):
    """tanh x = 1 - 2 / (e^(2x) + 1), absolute error below 3e-7."""
    return _ONE - _TWO / (exp32(_TWO * x) + _ONE)


@serial
def highest(x):
    """The maximum.  Numbers are compared as integers, which LLVM vectorises: of equal order where they are positive,
    and with all bits but the sign turned round where they are negative.  NaN is above all, or below."""
    bits, top = x.view(np.int32), _LEAST
    for i in range(x.size):
        top = max(top, np.int32(bits[i] ^ np.int32((bits[i] >> _SIGN) & _MAGNITUDE)))
    return np.int32(top ^ np.int32((top >> _SIGN) & _MAGNITUDE)).view(np.float32)
