"""Twins of `tinylm.ops.activations`."""
from __future__ import annotations

import numpy as np

from ..ops import activations as definition
from ..ops import shapes
from . import memory
from .jit import parallel, serial, serial_exact
from .quantize import quantize_row, quantized_for, to_code
from .recording import contiguous, one
from .rows import parts_for, threads_of
from .vector_math import tanh32

_SCALE, _CUBIC = np.float32(definition.GELU_SCALE), np.float32(definition.GELU_CUBIC)
SUMS = np.dtype(np.uint16)  # what `square_sums` leaves
_HALF, _ONE, _TWO, _THREE = np.float32(0.5), np.float32(1.0), np.float32(2.0), np.float32(3.0)


@serial
def _relu_forward_range(out, inp):
    for i in range(inp.size):
        # Written so that NaN passes through, as in NumPy: a spike must not be hidden.
        out[i] = np.float32(0.0) if inp[i] < np.float32(0.0) else inp[i]


@serial
def _relu_backward_range(dinp, dout, cache):
    for i in range(dout.size):
        dinp[i] = dout[i] if cache[i] > np.float32(0.0) else np.float32(0.0)


@serial
def _squared_relu_forward_range(out, inp):
    for i in range(inp.size):
        x = np.float32(0.0) if inp[i] < np.float32(0.0) else inp[i]
        out[i] = x * x


@serial_exact
def square_sums(squares, sums, inp, step):
    """max(inp step, 0)^2 for integers inp as float32, and max(inp, 0) itself, of 16 bits."""
    for i in range(inp.size):
        positive = np.float32(0.0) if inp[i] < np.float32(0.0) else inp[i]
        sums[i] = np.uint16(to_code(positive))
        x = positive * step
        squares[i] = x * x


@serial_exact
def _through_squared_relu(dout, inp, step):
    x = np.float32(inp) * step
    return dout * _TWO * x if x > np.float32(0.0) else np.float32(0.0)


@serial_exact
def _squared_relu_backward_range(dinp, dout, inp, step):
    """For an input of inp step: inp float32, or the sums of `square_sums`."""
    for i in range(dout.size):
        dinp[i] = _through_squared_relu(dout[i], inp[i], step)


@serial_exact
def squared_relu_backward_in_place(dout, inp, step):
    """As above; what writes over what it reads has to say so, or it is done number by number."""
    for i in range(dout.size):
        dout[i] = _through_squared_relu(dout[i], inp[i], step)


@serial
def gelu32(x):
    return _HALF * x * (_ONE + tanh32(_SCALE * (x + _CUBIC * x * x * x)))


@serial
def gelu_slope32(x):
    tanh = tanh32(_SCALE * (x + _CUBIC * x * x * x))
    dinner = _SCALE * (_ONE + _THREE * _CUBIC * x * x)
    return _HALF * (_ONE + tanh) + _HALF * x * (_ONE - tanh * tanh) * dinner


@serial
def _gelu_forward_range(out, inp):
    for i in range(inp.size):
        out[i] = gelu32(inp[i])


@serial
def _gelu_backward_range(dinp, dout, inp):
    for i in range(dout.size):
        dinp[i] = dout[i] * gelu_slope32(inp[i])


@parallel
def _relu_forward(part, out, inp, parts):
    low, high = inp.size * part // parts, inp.size * (part + 1) // parts
    _relu_forward_range(out[low:high], inp[low:high])


@parallel
def _relu_backward(part, dinp, dout, cache, parts):
    low, high = dout.size * part // parts, dout.size * (part + 1) // parts
    _relu_backward_range(dinp[low:high], dout[low:high], cache[low:high])


@parallel
def _squared_relu_forward(part, out, inp, parts):
    low, high = inp.size * part // parts, inp.size * (part + 1) // parts
    _squared_relu_forward_range(out[low:high], inp[low:high])


@parallel
def _squared_relu_codes(part, thread, codes, minus_sums, steps, inp, scratch, parts):
    """8-bit codes (N, K rounded up) of what comes of inp (N, K).   scratch: (threads, K or more)"""
    rows, row = inp.shape[0], scratch[thread, :inp.shape[1]]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _squared_relu_forward_range(row, inp[n])
        steps[n], minus_sums[n] = quantize_row(codes[n], row)


@parallel
def _squared_relu_backward(part, dinp, dout, cache, parts):
    low, high = dout.size * part // parts, dout.size * (part + 1) // parts
    _squared_relu_backward_range(dinp[low:high], dout[low:high], cache[low:high], _ONE)


@parallel
def _through_sums(part, dinp, dout, sums, steps, scale, parts):
    rows = dout.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _squared_relu_backward_range(dinp[n], dout[n], sums[n], steps[n] * scale[0])


@parallel
def _gelu_forward(part, out, inp, parts):
    low, high = inp.size * part // parts, inp.size * (part + 1) // parts
    _gelu_forward_range(out[low:high], inp[low:high])


@parallel
def _gelu_backward(part, dinp, dout, inp, parts):
    low, high = dout.size * part // parts, dout.size * (part + 1) // parts
    _gelu_backward_range(dinp[low:high], dout[low:high], inp[low:high])


def _forward(kernel, inp):
    inp = contiguous(inp)
    out = memory.empty(inp.shape)
    kernel(out.reshape(-1), inp.reshape(-1), parts_for(inp.size))
    return out, inp


def _backward(kernel, dout, cache):
    shapes.same(dout=dout, cache=cache)
    dout, dinp = contiguous(dout), memory.empty(dout.shape)
    kernel(dinp.reshape(-1), dout.reshape(-1), cache.reshape(-1), parts_for(dout.size))
    return (dinp,)


def relu_forward(inp):
    """See `tinylm.ops.relu_forward`; float32."""
    out, _ = _forward(_relu_forward, inp)
    return out, out


def relu_backward(dout, cache):
    """See `tinylm.ops.relu_backward`."""
    return _backward(_relu_backward, dout, cache)


def gelu_forward(inp):
    """See `tinylm.ops.gelu_forward`; float32."""
    return _forward(_gelu_forward, inp)


def gelu_backward(dout, cache):
    """See `tinylm.ops.gelu_backward`."""
    return _backward(_gelu_backward, dout, cache)


def squared_relu_forward(inp, operand=False):
    """See `tinylm.ops.squared_relu_forward`; float32, or `Quantized` where out is an operand."""
    if not operand:
        return _forward(_squared_relu_forward, inp)
    inp, out = contiguous(inp), quantized_for(inp.shape)
    parts = parts_for(inp.size)
    _squared_relu_codes(*out.rows.filled, inp.reshape(-1, inp.shape[-1]),
                        memory.for_threads(threads_of(parts), inp.shape[-1]), parts)
    return out, inp


def squared_relu_backward(dout, cache):
    """See `tinylm.ops.squared_relu_backward`."""
    return _backward(_squared_relu_backward, dout, cache)


def squared_relu_backward_of_sums(dout, sums, steps, scale):
    """dinp for an input of sums steps scale, of which the sums below 0 are 0: (N, M) all but steps (N,)."""
    dinp = memory.empty(dout.shape)
    _through_sums(dinp, contiguous(dout), sums, steps, one(scale), parts_for(dout.size))
    return dinp
