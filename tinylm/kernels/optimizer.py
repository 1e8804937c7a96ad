"""Twins of `tinylm.ops.optimizer`: one pass over the flat buffers."""
from __future__ import annotations

import math

import numpy as np

from ..ops import shapes
from ..ops.optimizer import clip_scale
from . import memory
from .jit import parallel, serial
from .rows import parts_for

CHUNK = 4096  # elements summed by one thread; never depends on how many threads there are


@serial
def _sum_of_squares(x):
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@parallel
def _chunk_sums(part, partial, x, parts):
    for chunk in range(partial.size * part // parts, partial.size * (part + 1) // parts):
        partial[chunk] = _sum_of_squares(x[chunk * CHUNK:(chunk + 1) * CHUNK])


def global_norm(grad):
    """See `tinylm.ops.global_norm`."""
    partial = memory.empty(max(1, -(-grad.size // CHUNK)), np.float64)
    partial[-1] = 0.0
    _chunk_sums(partial, grad, min(partial.size, parts_for(grad.size)))
    return math.sqrt(float(partial.sum()))


@serial
def _adamw_range(param, grad, first, second, keep, rate, rest1, rest2, eps, correction, scale):
    for i in range(param.size):
        g = grad[i] * scale
        m = first[i] + rest1 * (g - first[i])
        v = second[i] + rest2 * (g * g - second[i])
        first[i], second[i] = m, v
        param[i] = param[i] * keep - rate * m / (np.sqrt(v * correction) + eps)


@parallel
def _adamw(part, param, grad, first, second, decayed, keep, rate, rest1, rest2, eps, correction, scale, parts):
    size = param.size
    low, high = size * part // parts, size * (part + 1) // parts
    middle = min(max(low, decayed), high)  # the parameters before it are decayed
    _adamw_range(param[low:middle], grad[low:middle], first[low:middle], second[low:middle],
                 keep, rate, rest1, rest2, eps, correction, scale)
    _adamw_range(param[middle:high], grad[middle:high], first[middle:high], second[middle:high],
                 np.float32(1.0), rate, rest1, rest2, eps, correction, scale)


def adamw_step(param, grad, first, second, *, step, lr, beta1=0.9, beta2=0.999, eps=1e-8,
               weight_decay=0.0, decayed=0, scale=1.0):
    """See `tinylm.ops.adamw_step`; float32, in place."""
    shapes.same(param=param, grad=grad, first=first, second=second)
    f = np.float32
    _adamw(param, grad, first, second, decayed, f(1 - lr * weight_decay), f(lr / (1 - beta1 ** step)),
           f(1 - beta1), f(1 - beta2), f(eps), f(1 / (1 - beta2 ** step)), f(scale), parts_for(param.size))


__all__ = ["adamw_step", "clip_scale", "global_norm"]
