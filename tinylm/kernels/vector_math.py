"""exp and tanh as arithmetic that LLVM can vectorise; the library's are calls, one number at a time."""
from __future__ import annotations

import numpy as np

from .jit import serial, serial_in_order

_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)          # ln 2 in two parts: n * high is exact for the n there are
_LN2_LOW = np.float32(-2.12194440e-4)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
# Taylor coefficients 1/6! .. 1/2!: on [-ln2/2, ln2/2] the remainder is below float32 rounding.
_C6, _C5, _C4 = np.float32(1 / 720), np.float32(1 / 120), np.float32(1 / 24)
_C3, _C2, _ONE = np.float32(1 / 6), np.float32(0.5), np.float32(1.0)
_TWO, _HALF = np.float32(2.0), np.float32(0.5)


@serial_in_order
def exp32(x):
    """e^x for float32, relative error below 2e-7; x is first limited to [-87, 88].  NaN stays NaN.

    x = n ln 2 + r with |r| <= ln2/2; e^r is a polynomial and 2^n is written into the exponent bits.
    """
    limited = min(max(x, _LOWEST), _HIGHEST) if x == x else x
    n = np.floor(limited * _LOG2E + _HALF)
    r = limited - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_C6 * r + _C5) * r + _C4) * r + _C3) * r + _C2) * r * r + r + _ONE
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@serial
def tanh32(x):
    """tanh x = 1 - 2 / (e^(2x) + 1), absolute error below 3e-7."""
    return _ONE - _TWO / (exp32(_TWO * x) + _ONE)
