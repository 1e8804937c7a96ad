"""Twins of `tinylm.ops.cross_entropy`; the one fused with the head never holds all logits."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ops import shapes
from ..ops.cross_entropy import CrossEntropyCache
from ..ops.precision import precision
from . import memory
from .jit import parallel, serial
from .matmul import matmul, pack, unpack
from .recording import also, contiguous
from .rows import add_column_sums, parts_for
from .vector_math import exp32, highest
from .words import multiply_narrow, narrow

BLOCK_LOGITS = 4 << 20  # logits that exist at a time: 16 MB


@serial
def _log_sum_exp(row):
    top, total = highest(row), np.float32(0.0)
    for i in range(row.size):
        total += exp32(row[i] - top)
    return top + np.log(total)


@serial
def _prob_row(prob, logits, log_sum, scale):
    for i in range(logits.size):
        prob[i] = exp32(logits[i] - log_sum) * scale


@serial
def _exp_row(row):
    """row = e^(row - its largest); returns (the largest, the sum of the new row)."""
    top, total = highest(row), np.float32(0.0)
    for i in range(row.size):
        row[i] = exp32(row[i] - top)
        total += row[i]
    return top, total


@serial
def _scale(row, factor):
    for i in range(row.size):
        row[i] *= factor


@parallel
def _losses(part, losses, log_sums, logits, targets, parts):
    rows = logits.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        log_sums[n] = _log_sum_exp(logits[n])
        losses[n] = log_sums[n] - logits[n, targets[n]]


@parallel
def _gradients(part, dlogits, logits, log_sums, targets, dlosses, parts):
    """dlogits = (softmax(logits) - one_hot(target)) dloss; may be the array of logits itself."""
    rows = logits.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _prob_row(dlogits[n], logits[n], log_sums[n], dlosses[n])
        dlogits[n, targets[n]] -= dlosses[n]


@parallel
def _losses_and_gradients(part, losses, logits, targets, dlosses, parts):
    """Writes the losses, and their gradients in the place of the logits, a row at a time while it is in the cache."""
    rows = logits.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        of_target = logits[n, targets[n]]
        top, total = _exp_row(logits[n])
        losses[n] = top + np.log(total) - of_target
        _scale(logits[n], dlosses[n] / total)
        logits[n, targets[n]] -= dlosses[n]


@parallel
def _probabilities(part, prob, logits, log_sums, parts):
    rows = logits.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _prob_row(prob[n], logits[n], log_sums[n], np.float32(1.0))


def cross_entropy_forward(logits, targets):
    """See `tinylm.ops.cross_entropy_forward`; float32."""
    shapes.tokens(targets, logits.shape[-1], "targets")
    logits, targets = contiguous(logits), contiguous(targets, np.int32)
    losses, log_sums, prob = memory.empty(len(targets)), memory.empty(len(targets)), memory.empty(logits.shape)
    parts = parts_for(logits.size)
    _losses(losses, log_sums, logits, targets, parts)
    _probabilities(prob, logits, log_sums, parts)
    return losses, CrossEntropyCache(prob, targets)


def cross_entropy_backward(dlosses, cache):
    """See `tinylm.ops.cross_entropy_backward`."""
    prob, targets = cache
    dlogits = prob * contiguous(dlosses)[:, None]
    dlogits[np.arange(len(targets)), targets] -= dlosses
    return (dlogits,)


class LinearCrossEntropyCache(NamedTuple):
    inp: np.ndarray            # (N, C)
    weight: np.ndarray         # (V, C)
    bias: np.ndarray | None    # (V,)
    targets: np.ndarray        # (N,)
    log_sums: np.ndarray       # (N,): ln of the sum of exp of each row's logits


def _blocks(rows, vocab):
    """Slices of rows whose logits fit BLOCK_LOGITS; their size depends on the vocabulary alone."""
    size = max(1, BLOCK_LOGITS // vocab)
    return [slice(at, min(at + size, rows)) for at in range(0, rows, size)]


def linear_cross_entropy_forward(inp, weight, bias, targets):
    """See `tinylm.ops.linear_cross_entropy_forward`; float32, in blocks of rows.

    Caches    one number a row; the logits are computed again in the backward pass
    """
    inp, array, targets = _checked(inp, weight, bias, targets)
    losses, log_sums, logits_of = memory.empty(len(inp)), memory.empty(len(inp)), _logits(weight, bias)
    for block in _blocks(len(inp), len(array)):
        logits = logits_of(inp[block])
        _losses(losses[block], log_sums[block], logits, targets[block],
                parts_for(logits.size))
    return losses, LinearCrossEntropyCache(inp, array, bias, targets, log_sums)


def linear_cross_entropy_backward(dlosses, cache, add_to=None):
    """See `tinylm.ops.linear_cross_entropy_backward`.  Adds to the arrays of add_to."""
    inp, weight, bias, targets, log_sums = cache
    dlosses = contiguous(dlosses)

    def gradients(logits, block):
        _gradients(logits, logits, log_sums[block], targets[block], dlosses[block],
                   parts_for(logits.size))

    return _backward(gradients, inp, weight, bias, add_to)


def linear_cross_entropy(inp, weight, bias, targets, dlosses, add_to=None):
    """See `tinylm.ops.linear_cross_entropy`; float32, in blocks of rows.  Adds to the arrays of add_to."""
    inp, _, targets = _checked(inp, weight, bias, targets)
    losses, dlosses = memory.empty(len(inp)), contiguous(dlosses)
    shapes.same(dlosses=dlosses, losses=losses)

    def gradients(logits, block):
        _losses_and_gradients(losses[block], logits, targets[block], dlosses[block],
                              parts_for(logits.size))

    return losses, *_backward(gradients, inp, weight, bias, add_to)


def _checked(inp, weight, bias, targets):
    """(inp, the array of weight, targets) as kernels want them; the weight may be packed."""
    array = unpack(weight)
    shapes.linear(inp, array, bias)
    shapes.tokens(targets, len(array), "targets")
    return contiguous(inp), array, contiguous(targets, np.int32)


def _logits(weight, bias):
    """What makes the logits of rows of inp."""
    if precision() != "int8":
        return lambda rows: matmul(rows, weight, transpose_b=True, bias=bias)
    narrowed, bias = narrow(contiguous(unpack(weight))), None if bias is None else contiguous(bias)
    return lambda rows: multiply_narrow(rows, narrowed, bias)


def _backward(gradients, inp, weight, bias, add_to):
    """(dinp, dweight, dbias), where gradients(logits, block) puts dlogits in the place of a block of logits."""
    array = unpack(weight)
    dweight, dbias = add_to or (np.zeros_like(array), None if bias is None else np.zeros_like(bias))
    dinp, blocks = None, _blocks(len(inp), len(array))
    if len(blocks) != 1:
        dinp = memory.empty(inp.shape)
    if len(blocks) > 1:  # packed once for all of them
        weight = pack(weight) if weight is array and precision() != "int8" else weight
        array = pack(array, transpose_b=False)
    logits_of = _logits(weight, bias)
    for block in blocks:
        logits = logits_of(inp[block])
        gradients(logits, block)
        product = matmul(logits, array)
        if dinp is None:
            dinp = product
        else:
            also(np.copyto, dinp[block], product)
        matmul(logits, inp[block], transpose_a=True, add_to=dweight)
        if bias is not None:
            add_column_sums(dbias, logits)
    return dinp, dweight, dbias
