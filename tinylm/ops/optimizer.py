"""The optimizer step over one flat buffer that holds every parameter."""
from __future__ import annotations

import math

import numpy as np

from .shapes import same


def global_norm(grad):
    """sqrt(sum(grad^2)), summed in float64; not finite if any element is not.

    Shapes    grad (P,) -> float
    """
    return math.sqrt(float(np.sum(np.square(grad, dtype=np.float64))))


def clip_scale(norm, limit):
    """What to multiply gradients with so that their norm is at most `limit` (0: no limit)."""
    return limit / norm if limit and norm > limit else 1.0


def adamw_step(param, grad, first, second, *, step, lr, beta1=0.9, beta2=0.999, eps=1e-8,
               weight_decay=0.0, decayed=0, scale=1.0):
    """One AdamW step, in place on param, first and second.

    g = scale grad;  first <- b1 first + (1-b1) g;  second <- b2 second + (1-b2) g^2;
    param <- param (1 - lr wd) - lr (first / (1-b1^t)) / (sqrt(second / (1-b2^t)) + eps)

    Shapes    param, grad, first, second (P,); step t counts from 1
    decayed   the first `decayed` elements get weight decay, the others do not
    scale     1/accumulated batches times the clipping factor
    Raises    ShapeError
    Source    Loshchilov, Hutter 2017, arXiv:1711.05101, algorithm 2
    """
    same(param=param, grad=grad, first=first, second=second)
    grad = grad * scale
    first += (1 - beta1) * (grad - first)
    second += (1 - beta2) * (grad * grad - second)
    param[:decayed] *= 1 - lr * weight_decay
    param -= lr / (1 - beta1 ** step) * first / (np.sqrt(second / (1 - beta2 ** step)) + eps)
