"""Twins of `tinylm.ops.glu`.

Row by row and not in one range of numbers: the compiler may round the last few of a range otherwise than the others,
and which ones those are must not depend on the threads, or on how many tokens are read at once.
"""
from __future__ import annotations

import numpy as np

from ..ops import shapes
from ..ops.glu import GLUCache
from . import memory
from .activations import gelu32, gelu_slope32
from .jit import parallel, serial
from .recording import contiguous
from .rows import parts_for
from .vector_math import sigmoid32

_ONE = np.float32(1.0)


@serial
def _swiglu_forward_row(out, gate, value):
    for i in range(out.size):
        out[i] = gate[i] * sigmoid32(gate[i]) * value[i]


@serial
def _swiglu_backward_row(dgate, dvalue, dout, gate, value):
    for i in range(dout.size):
        s = sigmoid32(gate[i])
        dgate[i] = dout[i] * value[i] * s * (_ONE + gate[i] * (_ONE - s))
        dvalue[i] = dout[i] * gate[i] * s


@serial
def _geglu_forward_row(out, gate, value):
    for i in range(out.size):
        out[i] = gelu32(gate[i]) * value[i]


@serial
def _geglu_backward_row(dgate, dvalue, dout, gate, value):
    for i in range(dout.size):
        dgate[i] = dout[i] * value[i] * gelu_slope32(gate[i])
        dvalue[i] = dout[i] * gelu32(gate[i])


@parallel
def _swiglu_forward(part, out, gate, value, parts):
    rows = gate.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _swiglu_forward_row(out[n], gate[n], value[n])


@parallel
def _swiglu_backward(part, dgate, dvalue, dout, gate, value, parts):
    rows = gate.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _swiglu_backward_row(dgate[n], dvalue[n], dout[n], gate[n], value[n])


@parallel
def _geglu_forward(part, out, gate, value, parts):
    rows = gate.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _geglu_forward_row(out[n], gate[n], value[n])


@parallel
def _geglu_backward(part, dgate, dvalue, dout, gate, value, parts):
    rows = gate.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _geglu_backward_row(dgate[n], dvalue[n], dout[n], gate[n], value[n])


def _forward(kernel, gate, value):
    shapes.same(gate=gate, value=value)
    gate, value = contiguous(gate), contiguous(value)
    out, rows = memory.empty(gate.shape), (-1, gate.shape[-1])
    kernel(out.reshape(rows), gate.reshape(rows), value.reshape(rows), parts_for(out.size))
    return out, GLUCache(gate, value)


def _backward(kernel, dout, cache):
    gate, value = cache
    shapes.same(dout=dout, gate=gate)
    dgate, dvalue, rows = memory.empty(gate.shape), memory.empty(gate.shape), (-1, gate.shape[-1])
    kernel(*(x.reshape(rows) for x in (dgate, dvalue, contiguous(dout), gate, value)),
           parts_for(gate.size))
    return dgate, dvalue


def swiglu_forward(gate, value):
    """See `tinylm.ops.swiglu_forward`; float32."""
    return _forward(_swiglu_forward, gate, value)


def swiglu_backward(dout, cache):
    """See `tinylm.ops.swiglu_backward`."""
    return _backward(_swiglu_backward, dout, cache)


def geglu_forward(gate, value):
    """See `tinylm.ops.geglu_forward`; float32."""
    return _forward(_geglu_forward, gate, value)


def geglu_backward(dout, cache):
    """See `tinylm.ops.geglu_backward`."""
    return _backward(_geglu_backward, dout, cache)
