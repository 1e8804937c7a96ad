"""Gated linear units: one projection says how much of the other passes."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .activations import gelu_backward, gelu_forward


class GLUCache(NamedTuple):
    gate: np.ndarray    # (..., F)
    value: np.ndarray   # (..., F)


def swiglu_forward(gate, value):
    """out = gate sigmoid(gate) value.

    Shapes    gate, value (..., F) -> out (..., F)
    Caches    the inputs; the sigmoid is recomputed in the backward pass
    Raises    ShapeError
    Source    Shazeer 2020, arXiv:2002.05202, eq. 6
    """
    shapes.same(gate=gate, value=value)
    return gate / (1 + np.exp(-gate)) * value, GLUCache(gate, value)


def swiglu_backward(dout, cache):
    """Return (dgate, dvalue)."""
    gate, value = cache
    sigmoid = 1 / (1 + np.exp(-gate))
    return dout * value * sigmoid * (1 + gate * (1 - sigmoid)), dout * gate * sigmoid


def geglu_forward(gate, value):
    """out = gelu(gate) value, with the tanh form of `gelu_forward`.

    Shapes    gate, value (..., F) -> out (..., F)
    Caches    the inputs; the tanh is recomputed in the backward pass
    Raises    ShapeError
    Source    Shazeer 2020, arXiv:2002.05202, eq. 6
    """
    shapes.same(gate=gate, value=value)
    return gelu_forward(gate)[0] * value, GLUCache(gate, value)


def geglu_backward(dout, cache):
    """Return (dgate, dvalue)."""
    gate, value = cache
    return gelu_backward(dout * value, gate)[0], dout * gelu_forward(gate)[0]
