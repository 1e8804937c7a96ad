"""The linear map, with or without a bias, and one with a ReLU behind it."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .activations import relu_forward
from .matmul import matmul


class LinearCache(NamedTuple):
    inp: np.ndarray            # (..., K)
    weight: np.ndarray         # (M, K)
    bias: np.ndarray | None    # (M,)


def linear_forward(inp, weight, bias=None):
    """out = inp weight^T + bias.

    Shapes    inp (..., K), weight (M, K), bias (M,) or None -> out (..., M)
    Caches    references to the inputs; nothing is computed for the backward pass
    Raises    ShapeError
    """
    shapes.linear(inp, weight, bias)
    rows = inp.reshape(-1, inp.shape[-1])                                           # (N, K)
    out = matmul(rows, weight, transpose_b=True, bias=bias)                         # (N, M)
    return out.reshape(*inp.shape[:-1], len(weight)), LinearCache(inp, weight, bias)


def linear_backward(dout, cache, add_to=None, positive=None, operand=False):
    """Return (dinp, dweight, dbias); dbias is None without a bias.

    add_to      (dweight, dbias) arrays the parameter gradients are added to; new ones if omitted
    positive    (..., K), from `linear_relu` where inp came from there: dinp goes on through its ReLU, and is
                the gradient of what was before it
    operand     whether dinp will only enter `linear_backward`: kernels may then return what that multiplies
    """
    inp, weight, bias = cache
    rows, drows = inp.reshape(-1, inp.shape[-1]), dout.reshape(-1, dout.shape[-1])  # (N, K), (N, M)
    dweight, dbias = add_to or (None, None)
    where = None if positive is None else positive.reshape(rows.shape) > 0
    dinp = matmul(drows, weight, where=where).reshape(inp.shape)                    # (N, M) (M, K)
    dweight = matmul(drows, rows, transpose_a=True, add_to=dweight)                 # (M, N) (N, K)
    if bias is None:
        return dinp, dweight, None
    if dbias is None:
        return dinp, dweight, drows.sum(0)
    dbias += drows.sum(0)                                                           # (M,)
    return dinp, dweight, dbias


class LinearReluCache(NamedTuple):
    linear: LinearCache
    positive: np.ndarray       # (..., M): above 0 where out is


def linear_relu(inp, weight, bias=None, operand=False):
    """out = max(inp weight^T + bias, 0): `linear_forward` and `relu_forward` in one.

    There is a way back in one, too: `linear_backward` of the map that out enters goes on through the ReLU if it is
    given cache.positive, and then comes `linear_backward` of cache.linear.

    operand   whether out will only enter `linear_forward`: kernels may then return what that multiplies

    Shapes    inp (..., K), weight (M, K), bias (M,) or None -> out (..., M)
    Caches    as `linear_forward`, and out, which says where it is positive
    Raises    ShapeError
    """
    out, linear = linear_forward(inp, weight, bias)
    out, positive = relu_forward(out)
    return out, LinearReluCache(linear, positive)
