"""The head norm as FlashLM v5 published it: the statistics of a head are taken over time as well as channels.

So every position is told something about all later ones.  tinylm has it here, to be caught, and nowhere else.
"""
from __future__ import annotations

import numpy as np

from tinylm.ops.layernorm import LayerNormCache

OVER = 1, 3  # of (B, T, H, D): GroupNorm of (B, C, T) with one group for each head


def _heads(x, heads):
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def headnorm_over_time_forward(inp, heads, weight, bias, eps=1e-5):
    rows = _heads(inp, heads)
    mean = rows.mean(OVER, keepdims=True)
    rstd = 1 / np.sqrt(((rows - mean) ** 2).mean(OVER, keepdims=True) + eps)
    return ((rows - mean) * rstd).reshape(inp.shape) * weight + bias, LayerNormCache(inp, weight, bias, mean, rstd)


def headnorm_over_time_backward(dout, cache, add_to=None):
    inp, weight, bias, mean, rstd = cache
    heads = mean.shape[2]
    norm, dnorm = (_heads(inp, heads) - mean) * rstd, _heads(dout * weight, heads)
    dinp = rstd * (dnorm - dnorm.mean(OVER, keepdims=True) - norm * (dnorm * norm).mean(OVER, keepdims=True))
    dweight, dbias = (dout * norm.reshape(inp.shape)).sum((0, 1)), dout.sum((0, 1))
    if add_to:
        add_to[0][...] += dweight
        add_to[1][...] += dbias
        dweight, dbias = add_to
    return dinp.reshape(inp.shape), dweight, dbias


PUBLISHED = {"headnorm_forward": headnorm_over_time_forward, "headnorm_backward": headnorm_over_time_backward}
