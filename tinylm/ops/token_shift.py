"""Each channel looks a little at the token before."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .layernorm import LayerNormCache, layernorm_backward, layernorm_forward


class TokenShiftCache(NamedTuple):
    inp: np.ndarray     # (B, T, C)
    mix: np.ndarray     # (C,)
    before: np.ndarray  # (B, C)


def _share(mix):
    return 1 / (1 + np.exp(-mix))


def _shifted(inp, before):
    return np.concatenate([before[:, None], inp[:, :-1]], axis=1)                   # x_{t-1}


def token_shift_forward(inp, mix, before=None):
    """out_t = x_t s + x_{t-1} (1 - s), s = sigmoid(mix) for each channel.

    Shapes    inp (B, T, C), mix (C,), before (B, C): x_{-1}, None for zeros -> out (B, T, C)
    Caches    references to the inputs
    Raises    ShapeError
    Source    Peng et al. 2023, arXiv:2305.13048, section 3.1 (with a learned share, as FlashLM has it)
    """
    shapes.channels(inp, mix, None)
    if before is None:
        before = np.zeros_like(inp[:, 0])
    share = _share(mix)
    return inp * share + _shifted(inp, before) * (1 - share), TokenShiftCache(inp, mix, before)


def token_shift_backward(dout, cache, add_to=None):
    """Return (dinp, dmix).

    add_to    (dmix,) array the gradient is added to; a new one if omitted
    """
    inp, mix, before = cache
    share = _share(mix)
    dinp = dout * share
    dinp[:, :-1] += dout[:, 1:] * (1 - share)       # x_t is the token before of t + 1
    dmix = (dout * (inp - _shifted(inp, before))).sum((0, 1)) * share * (1 - share)
    if add_to:
        add_to[0][...] += dmix
        dmix = add_to[0]
    return dinp, dmix


class NormShiftCache(NamedTuple):
    norm: LayerNormCache
    mix: np.ndarray     # (C,)
    before: np.ndarray  # (B, C)
    last: np.ndarray    # (B, C): what came out of the norm for the last token


def norm_shift_forward(inp, weight, bias, mix, before=None, eps=1e-5, operand=False):
    """out = shift(norm(inp)): `layernorm_forward` and `token_shift_forward` in one.

    before    (B, C): what came out of the norm for x_{-1}, None for zeros
    operand   whether out will only enter `bitlinear_forward` with 8-bit activations: kernels may then return what
              that multiplies

    Shapes    inp (B, T, C), weight, mix (C,), bias (C,) or None -> out (B, T, C)
    Caches    inp and its statistics; what comes out of the norm is computed again in the backward pass
    Raises    ShapeError
    """
    normed, norm = layernorm_forward(inp, weight, bias, eps)
    out, shift = token_shift_forward(normed, mix, before)
    return out, NormShiftCache(norm, mix, shift.before, normed[:, -1].copy())


def norm_shift_backward(dout, cache, add_to=None, residual=None):
    """Return (dinp, dweight, dbias, dmix): `token_shift_backward` and `layernorm_backward` in one.

    add_to    (dweight, dbias, dmix) arrays the gradients are added to; new ones if omitted
    residual  (B, T, C) array dinp is added to, which is then what is returned: what came past both
    """
    (inp, weight, bias, mean, rstd), mix, before, _ = cache
    normed = (inp - mean) * rstd * weight + (0 if bias is None else bias)           # (B, T, C)
    dnormed, dmix = token_shift_backward(dout, TokenShiftCache(normed, mix, before), add_to and add_to[2:])
    dinp, dweight, dbias = layernorm_backward(dnormed, cache.norm, add_to and add_to[:2])
    if residual is not None:
        shapes.same(residual=residual, inp=inp)
        residual += dinp
        dinp = residual
    return dinp, dweight, dbias, dmix
