"""What stands between the two linear maps of a feed-forward layer."""
from __future__ import annotations

import numpy as np

GELU_SCALE = 0.7978845608028654  # sqrt(2 / pi)
GELU_CUBIC = 0.044715


def relu_forward(inp):
    """out = max(inp, 0).   Shapes: any.   Caches out, which says where inp was positive."""
    out = np.maximum(inp, 0)
    return out, out


def relu_backward(dout, cache):
    """Return (dinp,); at exactly 0 the gradient is 0."""
    return (dout * (cache > 0),)


def squared_relu_forward(inp, operand=False):
    """out = max(inp, 0)^2.   Shapes: any.   Caches inp.

    operand   whether out will only enter `bitlinear_forward` with 8-bit activations: kernels may then return what
              that multiplies

    Source    So et al. 2021, arXiv:2109.08668, section 4 (Primer)
    """
    return np.maximum(inp, 0) ** 2, inp


def squared_relu_backward(dout, cache):
    """Return (dinp,)."""
    return (dout * 2 * np.maximum(cache, 0),)


def gelu_forward(inp):
    """out = inp/2 (1 + tanh(sqrt(2/pi) (inp + 0.044715 inp^3))).

    Shapes    any
    Caches    inp; the tanh is recomputed in the backward pass
    Source    Hendrycks, Gimpel 2016, arXiv:1606.08415, section 2 (the tanh approximation)
    """
    return 0.5 * inp * (1 + np.tanh(GELU_SCALE * (inp + GELU_CUBIC * inp ** 3))), inp


def gelu_backward(dout, cache):
    """Return (dinp,)."""
    inp = cache
    tanh = np.tanh(GELU_SCALE * (inp + GELU_CUBIC * inp ** 3))
    dinner = GELU_SCALE * (1 + 3 * GELU_CUBIC * inp ** 2)
    return (dout * (0.5 * (1 + tanh) + 0.5 * inp * (1 - tanh ** 2) * dinner),)
