"""Normalisation over the channels of each token, or of each head of each token."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes


class LayerNormCache(NamedTuple):
    inp: np.ndarray            # (..., C)
    weight: np.ndarray         # (C,)
    bias: np.ndarray | None    # (C,)
    mean: np.ndarray           # (..., 1)
    rstd: np.ndarray           # (..., 1)


def layernorm_forward(inp, weight, bias=None, eps=1e-5):
    """out = (inp - mean) rstd weight + bias, with rstd = 1 / sqrt(variance + eps), per token.

    Shapes    inp (..., C), weight (C,), bias (C,) or None -> out (..., C)
    Caches    mean and rstd; the normalised input is recomputed in the backward pass
    Raises    ShapeError
    Source    Ba, Kiros, Hinton 2016, arXiv:1607.06450, section 3
    """
    shapes.channels(inp, weight, bias)
    mean = inp.mean(-1, keepdims=True)                                              # (..., 1)
    rstd = 1.0 / np.sqrt(((inp - mean) ** 2).mean(-1, keepdims=True) + eps)         # (..., 1)
    out = (inp - mean) * rstd * weight                                              # (..., C)
    if bias is not None:
        out += bias
    return out, LayerNormCache(inp, weight, bias, mean, rstd)


def layernorm_backward(dout, cache, add_to=None, residual=None):
    """Return (dinp, dweight, dbias); dbias is None without a bias.

    add_to      (dweight, dbias) arrays the parameter gradients are added to; new ones if omitted
    residual    what inp's gradient gets from the stream that goes past the norm, (..., C); dinp is the sum of both
    Raises      ShapeError
    """
    inp, weight, bias, mean, rstd = cache
    norm = (inp - mean) * rstd                                                      # (..., C)
    dnorm = dout * weight                                                           # (..., C)
    # mean and rstd depend on every channel: take from dnorm its mean and its share along norm.
    dinp = rstd * (dnorm - dnorm.mean(-1, keepdims=True) - norm * (dnorm * norm).mean(-1, keepdims=True))
    over_rows = tuple(range(inp.ndim - 1))
    gradients = [(dout * norm).sum(over_rows), None if bias is None else dout.sum(over_rows)]
    for i, into in enumerate(add_to or ()):
        if into is not None:
            into += gradients[i]
            gradients[i] = into
    return _with(residual, dinp), *gradients


def _with(residual, dinp):
    if residual is None:
        return dinp
    shapes.same(residual=residual, dinp=dinp)
    return residual + dinp


def headnorm_forward(inp, heads, weight, bias, eps=1e-5, operand=False):
    """LayerNorm of each head of each token by itself, then weight and bias of every channel.

    The statistics run over the D channels of one head at one position.  Taken over time, as published code
    has it, they would carry the future into the past.

    operand   whether out will only enter `bitlinear_forward` with 8-bit activations: kernels may then return what
              that multiplies

    Shapes    inp (..., C), weight and bias (C,), C = heads D -> out (..., C)
    Caches    mean and rstd of each head
    Raises    ShapeError
    Source    Wu, He 2018, arXiv:1803.08494, eq. 7, with every token a sample of its own
    """
    shapes.channels(inp, weight, bias)
    if inp.shape[-1] % heads:
        raise shapes.ShapeError(f"inp is {inp.shape}: {heads} heads cannot share {inp.shape[-1]} channels")
    rows = inp.reshape(*inp.shape[:-1], heads, inp.shape[-1] // heads)              # (..., H, D)
    mean = rows.mean(-1, keepdims=True)                                             # (..., H, 1)
    rstd = 1.0 / np.sqrt(((rows - mean) ** 2).mean(-1, keepdims=True) + eps)
    norm = ((rows - mean) * rstd).reshape(inp.shape)                                # (..., C)
    return norm * weight + bias, LayerNormCache(inp, weight, bias, mean, rstd)


def headnorm_backward(dout, cache, add_to=None):
    """Return (dinp, dweight, dbias).

    add_to    (dweight, dbias) arrays the parameter gradients are added to; new ones if omitted
    """
    inp, weight, bias, mean, rstd = cache
    heads = mean.shape[-2]
    rows = inp.reshape(*inp.shape[:-1], heads, inp.shape[-1] // heads)              # (..., H, D)
    norm = (rows - mean) * rstd
    dnorm = (dout * weight).reshape(rows.shape)
    dinp = rstd * (dnorm - dnorm.mean(-1, keepdims=True) - norm * (dnorm * norm).mean(-1, keepdims=True))
    over_rows = tuple(range(inp.ndim - 1))
    dweight, dbias = (dout * norm.reshape(inp.shape)).sum(over_rows), dout.sum(over_rows)
    if add_to:
        add_to[0][...] += dweight
        add_to[1][...] += dbias
        dweight, dbias = add_to
    return dinp.reshape(inp.shape), dweight, dbias


class RMSNormCache(NamedTuple):
    inp: np.ndarray      # (..., C)
    weight: np.ndarray   # (C,)
    rrms: np.ndarray     # (..., 1): one over the root mean square


def rmsnorm_forward(inp, weight, eps=1e-5):
    """out = inp weight / sqrt(mean(inp^2) + eps), per token: a LayerNorm that takes no mean away.

    Shapes    inp (..., C), weight (C,) -> out (..., C)
    Caches    one over the root mean square
    Raises    ShapeError
    Source    Zhang, Sennrich 2019, arXiv:1910.07467, eq. 4
    """
    shapes.channels(inp, weight, None)
    rrms = 1.0 / np.sqrt((inp ** 2).mean(-1, keepdims=True) + eps)                  # (..., 1)
    return inp * rrms * weight, RMSNormCache(inp, weight, rrms)


def rmsnorm_backward(dout, cache, add_to=None, residual=None):
    """Return (dinp, dweight).

    add_to      (dweight,) array the gradient is added to; a new one if omitted
    residual    as for `layernorm_backward`
    Raises      ShapeError
    """
    inp, weight, rrms = cache
    norm = inp * rrms                                                               # (..., C)
    dnorm = dout * weight                                                           # (..., C)
    # The root mean square depends on every channel: take from dnorm its share along norm.
    dinp = rrms * (dnorm - norm * (dnorm * norm).mean(-1, keepdims=True))
    dweight = (dout * norm).sum(tuple(range(inp.ndim - 1)))
    if add_to:
        add_to[0][...] += dweight
        dweight = add_to[0]
    return _with(residual, dinp), dweight
