"""Twins of `tinylm.ops.recurrence`: one pass in time, a vector of channels at a time, gates fused in."""
from __future__ import annotations

import math

import numpy as np

from ..ops import shapes
from ..ops.recurrence import RecurrenceCache
from . import memory
from .fork import thread_count
from .jit import parallel, serial_apart
from .recording import also, contiguous
from .registers import ask
from .rows import PIECES, add_in_order
from .vector_math import sigmoid32

CHANNELS = 64  # a task has a multiple of them, so that the same numbers are left over for the end of a vector
AHEAD = 4      # tokens whose gates are asked for before they are needed
_ONE = np.float32(1.0)


@serial_apart
def _forward_step(out, hidden, before, forget, value, output, bias, lower):
    for i in range(out.size):
        gate = lower + (_ONE - lower) * sigmoid32(forget[i] + bias[i])
        h = gate * before[i] + (_ONE - gate) * value[i]
        hidden[i] = h
        out[i] = sigmoid32(output[i]) * h


@parallel
def _forward(part, out, hidden, forget, value, output, bias, state, lower, width, parts):
    B, T, C = out.shape
    blocks = (C + width - 1) // width
    for task in range(B * blocks * part // parts, B * blocks * (part + 1) // parts):
        b, low = task // blocks, task % blocks * width
        high = min(low + width, C)
        for t in range(T):
            before = state[b, low:high] if t == 0 else hidden[b, t - 1, low:high]
            _forward_step(out[b, t, low:high], hidden[b, t, low:high], before, forget[b, t, low:high],
                          value[b, t, low:high], output[b, t, low:high], bias[low:high], lower)


@serial_apart
def _backward_step(forget, value, output, later, dbias, dout, hidden, before, bias, lower):
    """One step back in time, gradients written over what they are of: memory that is in the cache by then.

    later    what the loss feels through h of the step after, times its gate
    """
    for i in range(dout.size):
        s, o = sigmoid32(forget[i] + bias[i]), sigmoid32(output[i])
        gate = lower + (_ONE - lower) * s
        dhidden = o * dout[i] + later[i]
        later[i] = gate * dhidden
        d = dhidden * (before[i] - value[i]) * (_ONE - lower) * s * (_ONE - s)
        forget[i], value[i], output[i] = d, dhidden * (_ONE - gate), dout[i] * hidden[i] * o * (_ONE - o)
        dbias[i] += d


@parallel
def _backward(part, forget, value, output, dbias, later, dout, hidden, bias, state, lower, width, parts):
    """forget, value and output become their gradients.  later and dbias: (B, C); each task has its own part of them."""
    B, T, C = dout.shape
    gates = forget.reshape(-1), value.reshape(-1), output.reshape(-1)
    blocks = (C + width - 1) // width
    for task in range(B * blocks * part // parts, B * blocks * (part + 1) // parts):
        b, low = task // blocks, task % blocks * width
        high = min(low + width, C)
        later[b, low:high], dbias[b, low:high] = 0, 0
        for back in range(T):
            t = T - 1 - back
            for gate in gates:  # written before the pass turned round, and no longer in the caches
                ask(gate, (b * T + t - AHEAD) * C + low, high - low)
            before = state[b, low:high] if t == 0 else hidden[b, t - 1, low:high]
            _backward_step(forget[b, t, low:high], value[b, t, low:high], output[b, t, low:high], later[b, low:high],
                           dbias[b, low:high], dout[b, t, low:high], hidden[b, t, low:high], before, bias[low:high],
                           lower)


def _tasks(B, C):
    """(channels that a task takes through time, parts): all of a text's, unless threads would have unequal work."""
    pieces, threads = -(-C // CHANNELS), thread_count()
    blocks = min(pieces, threads // math.gcd(B, threads))
    width = -(-pieces // blocks) * CHANNELS
    return width, min(threads * PIECES, B * -(-C // width))


def recurrence_forward(forget, value, output, bias, state=None, lower=0.0):
    """See `tinylm.ops.recurrence_forward`; float32.

    Caches    the inputs and h, as the definition does; the bias is not yet in `forget`
    """
    shapes.same(forget=forget, value=value, output=output)
    shapes.channels(forget, bias, None)
    forget, value, output = contiguous(forget), contiguous(value), contiguous(output)
    B, T, C = value.shape
    if state is None:
        state = np.zeros((B, C), np.float32)
    out, hidden = memory.empty(value.shape), memory.empty(value.shape)
    _forward(out, hidden, forget, value, output, bias, contiguous(state), np.float32(lower), *_tasks(B, C))
    return out, RecurrenceCache(forget, value, output, bias, np.float32(lower), state, hidden)


def _copy(x):
    copy = memory.empty(x.shape)
    also(np.copyto, copy, x)
    return copy


def recurrence_backward(dout, cache, add_to=None, overwrite=False):
    """See `tinylm.ops.recurrence_backward`.  Adds to the array of add_to."""
    forget, value, output, bias, lower, state, hidden = cache
    dout = contiguous(dout)
    shapes.same(dout=dout, value=value)
    B, T, C = dout.shape
    gates = (forget, value, output) if overwrite else (_copy(forget), _copy(value), _copy(output))
    partial = memory.empty((B, C))
    _backward(*gates, partial, memory.empty((B, C)), dout, hidden, bias, contiguous(state), lower, *_tasks(B, C))
    dbias = add_to[0] if add_to else np.zeros(C, np.float32)
    add_in_order(dbias, partial)
    return *gates, dbias
