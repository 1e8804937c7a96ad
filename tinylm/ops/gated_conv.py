"""A short look back by convolution: each channel has K weights of its own, for the last K tokens, and a gate."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes


def causal_conv(value, weight, before):
    """out_t = sum over k of weight_k value_{t - K + 1 + k}: the last weight is for the token itself.

    The sum goes from the oldest token to the newest, at every position, so a text may be cut anywhere
    without changing a bit.

    Shapes    value (B, T, C), weight (K, C), before (B, K - 1, C): the values before the first -> (B, T, C)
    """
    T, seen = value.shape[1], np.concatenate([before, value], axis=1)               # (B, K - 1 + T, C)
    out = weight[0] * seen[:, :T]
    for k in range(1, len(weight)):
        out += weight[k] * seen[:, k:k + T]
    return out


class GatedConvCache(NamedTuple):
    inp: np.ndarray      # (B, T, 2C)
    weight: np.ndarray   # (K, C)
    before: np.ndarray   # (B, K - 1, C)
    mixed: np.ndarray    # (B, T, C): the convolution


def gated_conv_forward(inp, weight, before=None):
    """out = sigmoid(gate) causal_conv(value), where inp is gate and value side by side.

    Shapes    inp (B, T, 2C), weight (K, C), before (B, K - 1, C): the values before the first, None for zeros
              -> out (B, T, C)
    Caches    the inputs and the convolution; the sigmoid is recomputed in the backward pass
    Raises    ShapeError
    Source    Dauphin et al. 2017, arXiv:1612.08083, section 2 (gated convolutions), with one filter a channel
    """
    shapes.gated_conv(inp, weight, before)
    C = weight.shape[1]
    gate, value = inp[..., :C], inp[..., C:]
    if before is None:
        before = np.zeros((len(inp), len(weight) - 1, C), inp.dtype)
    mixed = causal_conv(value, weight, before)                                      # (B, T, C)
    return mixed / (1 + np.exp(-gate)), GatedConvCache(inp, weight, before, mixed)


def gated_conv_backward(dout, cache, add_to=None):
    """Return (dinp, dweight); what came before the first token gets no gradient.

    add_to    (dweight,) array the gradient is added to; a new one if omitted
    """
    inp, weight, before, mixed = cache
    (K, C), T = weight.shape, inp.shape[1]
    gate, seen = inp[..., :C], np.concatenate([before, inp[..., C:]], axis=1)       # (B, T, C), (B, K - 1 + T, C)
    sigmoid = 1 / (1 + np.exp(-gate))
    dmixed = dout * sigmoid                                                         # (B, T, C)
    dseen = np.zeros_like(seen)
    for k in range(K):
        dseen[:, k:k + T] += weight[k] * dmixed         # mixed_t takes weight_k seen_{t + k}
    dweight = np.stack([(dmixed * seen[:, k:k + T]).sum((0, 1)) for k in range(K)])
    if add_to:
        add_to[0][...] += dweight
        dweight = add_to[0]
    dgate = dout * mixed * sigmoid * (1 - sigmoid)
    return np.concatenate([dgate, dseen[:, K - 1:]], axis=-1), dweight


def last_values(inp, weight, before=None):
    """What the next piece of a text needs of this one: its last K - 1 values, and older ones where it is short.

    Shapes    as `gated_conv_forward` -> (B, K - 1, C), a copy
    """
    K, C = weight.shape
    if before is None:
        before = np.zeros((len(inp), K - 1, C), inp.dtype)
    late = inp[:, max(0, inp.shape[1] - K + 1):, C:]
    return np.concatenate([before[:, late.shape[1]:], late], axis=1)
