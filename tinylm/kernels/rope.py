"""Twins of `tinylm.ops.rope`."""
from __future__ import annotations

import functools

import numpy as np

from ..ops import shapes
from ..ops.rope import RopeCache
from ..ops.rope import angles as definition
from . import memory
from .jit import parallel, serial
from .recording import contiguous
from .rows import parts_for

_ONE, _MINUS_ONE = np.float32(1.0), np.float32(-1.0)


@serial
def _turn(out_low, out_high, low, high, cos, sin, sign):
    for i in range(cos.size):
        out_low[i] = low[i] * cos[i] - high[i] * (sign * sin[i])
        out_high[i] = low[i] * (sign * sin[i]) + high[i] * cos[i]


@serial
def _copy(out, inp):
    for i in range(out.size):
        out[i] = inp[i]


@parallel
def _turn_all(part, out, inp, heads, cos, sin, sign, parts):
    B, T, width = inp.shape
    C, half = width // 3, cos.shape[1]
    for n in range(B * T * part // parts, B * T * (part + 1) // parts):
        b, t = n // T, n % T
        for head in range(2 * heads):       # those of the queries, then those of the keys
            low, high, end = head * 2 * half, head * 2 * half + half, (head + 1) * 2 * half
            _turn(out[b, t, low:high], out[b, t, high:end], inp[b, t, low:high], inp[b, t, high:end],
                  cos[t], sin[t], sign)
        _copy(out[b, t, 2 * C:width], inp[b, t, 2 * C:width])


@functools.lru_cache(maxsize=4)
def _angles(steps, width, base, start):
    return definition(steps, width, base, start, np.float32)  # a training step wants the same ones in every layer


def _turned(inp, heads, base, start, sign):
    inp = contiguous(inp)
    out = memory.empty(inp.shape)
    cos, sin = _angles(inp.shape[1], inp.shape[2] // (3 * heads), base, start)
    _turn_all(out, inp, heads, cos, sin, sign, parts_for(inp.size))
    return out


def rope_forward(inp, heads, base=10000.0, start=0):
    """See `tinylm.ops.rope_forward`; float32."""
    shapes.rope(inp, heads)
    return _turned(inp, heads, base, start, _ONE), RopeCache(heads, base, start)


def rope_backward(dout, cache):
    """See `tinylm.ops.rope_backward`."""
    return (_turned(dout, *cache, _MINUS_ONE),)
