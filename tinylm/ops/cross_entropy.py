"""The loss: how surprised the model is by the token that really came."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .linear import LinearCache, linear_backward, linear_forward
from .precision import PRECISIONS, autocast, precision, round_fixed, rounded
from .ternary import LARGEST_CODE


class CrossEntropyCache(NamedTuple):
    prob: np.ndarray      # (N, V)
    targets: np.ndarray   # (N,)


def cross_entropy_forward(logits, targets):
    """losses[n] = -ln softmax(logits[n])[targets[n]], in nats.

    Shapes    logits (N, V), targets (N,) integers -> losses (N,)
    Caches    the probabilities
    Raises    IndexError for a target outside the vocabulary
    """
    shapes.tokens(targets, logits.shape[-1], "targets")
    shifted = logits - logits.max(-1, keepdims=True)                                # (N, V)
    log_sum = np.log(np.exp(shifted).sum(-1))                                       # (N,)
    losses = log_sum - shifted[np.arange(len(targets)), targets]                    # (N,)
    return losses, CrossEntropyCache(np.exp(shifted - log_sum[:, None]), targets)


def cross_entropy_backward(dlosses, cache):
    """Return (dlogits,): (prob - one_hot(target)) times the upstream gradient of each row."""
    prob, targets = cache
    dlogits = prob.copy()
    dlogits[np.arange(len(targets)), targets] -= 1                                  # (N, V)
    return (dlogits * dlosses[:, None],)


class LinearCrossEntropyCache(NamedTuple):
    linear: NamedTuple
    cross_entropy: NamedTuple


def linear_cross_entropy_forward(inp, weight, bias, targets):
    """losses = cross_entropy(linear(inp, weight, bias), targets), in nats.

    One operation, so that a kernel can go through it in blocks of rows and never hold all logits.  In int8 the logits
    are of 8 bits a number; back it goes as in int16.

    Shapes    inp (N, C), weight (V, C), bias (V,) or None, targets (N,) -> losses (N,)
    Source    Dettmers et al. 2022, arXiv:2208.07339, section 2.1 (a step for each row of both)
    """
    multiplied = operands(inp, weight)
    with autocast(PRECISIONS[0]):
        logits, _ = linear_forward(*multiplied, bias)                               # (N, V)
    losses, cross_entropy = cross_entropy_forward(logits, targets)
    return losses, LinearCrossEntropyCache(LinearCache(inp, weight, bias), cross_entropy)


def operands(inp, weight):
    """What the product of the logits multiplies, of inp (N, C) and weight (V, C), at the present precision."""
    if precision() == "int8":
        return round_fixed(inp, 1, LARGEST_CODE), round_fixed(weight, 1, LARGEST_CODE)
    return rounded(inp, 1), rounded(weight, 1)


def linear_cross_entropy_backward(dlosses, cache, add_to=None):
    """Return (dinp, dweight, dbias).

    add_to    (dweight, dbias) arrays the parameter gradients are added to; new ones if omitted
    """
    (dlogits,) = cross_entropy_backward(dlosses, cache.cross_entropy)
    return linear_backward(dlogits, cache.linear, add_to)


def linear_cross_entropy(inp, weight, bias, targets, dlosses, add_to=None):
    """Return (losses, dinp, dweight, dbias): forward and backward in one go, for upstream gradients known before.

    One operation, so that a kernel computes each block of logits once and not again on its way back.

    Shapes    as `linear_cross_entropy_forward`; dlosses (N,)
    add_to    (dweight, dbias) arrays the parameter gradients are added to; new ones if omitted
    """
    losses, cache = linear_cross_entropy_forward(inp, weight, bias, targets)
    return losses, *linear_cross_entropy_backward(dlosses, cache, add_to)
