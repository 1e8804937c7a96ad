"""The gated linear recurrence: what attention is replaced by, with a memory that does not grow.

Three definitions of one scan.  The loop says what it is; the other two show that it can be cut up, which is
what makes it parallel (associative) and what makes it small (chunked).
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes


def scan_loop(forget, value, state):
    """h_t = f_t h_{t-1} + (1 - f_t) v_t, one step after the other.

    Shapes    forget, value (B, T, C), state (B, C): h before the first step -> (B, T, C)
    """
    out = np.empty_like(value)
    for t in range(value.shape[1]):
        state = forget[:, t] * state + (1 - forget[:, t]) * value[:, t]             # (B, C)
        out[:, t] = state
    return out


def scan_associative(forget, value, state):
    """The same by doubling: after round r, position t has taken in the 2^r steps that end with it.

    A step is the map h -> a h + b.  Two maps in a row are one map again, (a2 a1, a2 b1 + b2), and that
    combination is associative, so the steps may be combined in any grouping.

    Shapes    as scan_loop
    Source    Hillis, Steele 1986; Blelloch 1990, section 1.4.1 (first-order recurrences)
    """
    a, b = forget, (1 - forget) * value                                             # (B, T, C)
    span = 1
    while span < value.shape[1]:
        a_before = np.concatenate([np.ones_like(a[:, :span]), a[:, :-span]], axis=1)
        b_before = np.concatenate([np.zeros_like(b[:, :span]), b[:, :-span]], axis=1)
        a, b = a * a_before, a * b_before + b
        span *= 2
    return a * state[:, None] + b


def scan_chunked(forget, value, state, chunk=16):
    """The same in chunks: only the state is handed from one to the next.

    Shapes    as scan_loop; any chunk >= 1, and T need not be a multiple of it
    """
    out = []
    for start in range(0, value.shape[1], chunk):
        part = scan_associative(forget[:, start:start + chunk], value[:, start:start + chunk], state)
        state = part[:, -1]
        out.append(part)
    return np.concatenate(out, axis=1) if out else np.empty_like(value)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


class RecurrenceCache(NamedTuple):
    forget: np.ndarray       # (B, T, C) before bias and sigmoid
    value: np.ndarray        # (B, T, C)
    output: np.ndarray       # (B, T, C) before the sigmoid
    bias: np.ndarray         # (C,)
    lower: float
    state: np.ndarray        # (B, C)
    hidden: np.ndarray       # (B, T, C)


def recurrence_forward(forget, value, output, bias, state=None, lower=0.0):
    """out_t = sigmoid(output_t) h_t, with h_t = f_t h_{t-1} + (1 - f_t) v_t and a gate that cannot forget all.

    f = lower + (1 - lower) sigmoid(forget + bias)

    Shapes    forget, value, output (B, T, C): what the three projections gave; bias (C,); state (B, C) or
              None for zeros -> out (B, T, C)
    Caches    the inputs and h; the sigmoids are computed again in the backward pass
    Raises    ShapeError
    Source    Qin et al. 2024, arXiv:2404.07904, section 3 (HGRN2); the lower bound: 2311.04823, section 3.2
    """
    shapes.same(forget=forget, value=value, output=output)
    shapes.channels(forget, bias, None)
    if state is None:
        state = np.zeros_like(value[:, 0])
    gate = lower + (1 - lower) * _sigmoid(forget + bias)                            # (B, T, C)
    hidden = scan_loop(gate, value, state)                                          # (B, T, C)
    return _sigmoid(output) * hidden, RecurrenceCache(forget, value, output, bias, lower, state, hidden)


def recurrence_backward(dout, cache, add_to=None, overwrite=False):
    """Return (dforget, dvalue, doutput, dbias): the same recurrence, run backwards.

    g_t = o_t dout_t + f_{t+1} g_{t+1}: what the loss feels through h_t, now and later.

    add_to    (dbias,) array the gradient is added to; a new one if omitted
    overwrite whether forget, value and output of the cache are no longer needed: kernels may write the gradients there
    """
    forget, value, output, bias, lower, state, hidden = cache
    sigmoid, out_gate = _sigmoid(forget + bias), _sigmoid(output)
    gate = lower + (1 - lower) * sigmoid                                            # (B, T, C)
    before = np.concatenate([state[:, None], hidden[:, :-1]], axis=1)               # h_{t-1}
    dhidden, later = np.empty_like(dout), np.zeros_like(state)
    for t in reversed(range(dout.shape[1])):
        dhidden[:, t] = out_gate[:, t] * dout[:, t] + later                         # (B, C)
        later = gate[:, t] * dhidden[:, t]
    dgate = dhidden * (before - value)              # h = f before + (1 - f) v
    dvalue = dhidden * (1 - gate)
    dforget = dgate * (1 - lower) * sigmoid * (1 - sigmoid)
    doutput = dout * hidden * out_gate * (1 - out_gate)
    dbias = dforget.sum((0, 1))
    if add_to:
        add_to[0][...] += dbias
        dbias = add_to[0]
    return dforget, dvalue, doutput, dbias
