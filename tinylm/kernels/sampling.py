"""Twins of `tinylm.ops.sampling`: a pass or two over the scores, in blocks whose sums and maxima are kept."""
from __future__ import annotations

import numpy as np

from . import memory
from .jit import serial
from .matmul import contiguous
from .vector_math import exp32

HOPELESS = np.float32(1e-30)  # times as likely as the likeliest: taken for 0, which `exp32` does not reach
_ZERO = np.float32(0.0)
BLOCK = 64  # scores whose sum, and whose maximum, is looked at before they are


@serial
def _highest(x):
    top = x[0]
    for i in range(x.size):
        top = max(top, x[i])
    return top


@serial
def _powers(out, x, top, factor):
    """out = exp((x - top) factor); returns the sum."""
    total = _ZERO
    for i in range(x.size):
        power = exp32((x[i] - top) * factor)
        out[i] = _ZERO if power < HOPELESS else power  # NaN stays
        total += out[i]
    return total


@serial
def _block_sums(sums, powers, logits, factor):
    """Returns (the highest score, the sum of all powers in float64); the latter is NaN where a score is NaN or inf."""
    top, total = _highest(logits), 0.0
    for block in range(sums.size):
        low, high = block * BLOCK, min((block + 1) * BLOCK, logits.size)
        sums[block] = _powers(powers[low:high], logits[low:high], top, factor)
        total += np.float64(sums[block])
    return top, total


@serial
def _draw(powers, sums, logits, factor, uniform):
    top, total = _block_sums(sums, powers, logits, factor)
    if not np.isfinite(top) or not np.isfinite(total):
        return -1
    goal, reached, block = uniform * total, 0.0, 0
    while block < sums.size - 1 and reached + np.float64(sums[block]) <= goal:
        reached += np.float64(sums[block])
        block += 1
    last = block * BLOCK  # of those that can be drawn: rounding may leave the goal just beyond the block
    for i in range(block * BLOCK, min((block + 1) * BLOCK, powers.size)):
        if powers[i] > 0:
            last = i
            reached += np.float64(powers[i])
            if reached > goal:
                return i
    return last


@serial
def _insert(ids, scores, have, i, score):
    """Put one score in its place among the `have` best; returns how many there are now."""
    at = have
    while at > 0 and score > scores[at - 1]:
        if at < ids.size:
            ids[at], scores[at] = ids[at - 1], scores[at - 1]
        at -= 1
    if at < ids.size:
        ids[at], scores[at] = i, score
    return min(have + 1, ids.size)


@serial
def _likeliest(ids, scores, powers, sums, logits, token):
    """Returns the probability of the token; scores become probabilities."""
    top, total = _block_sums(sums, powers, logits, np.float32(1.0))
    have = 0
    for low in range(0, logits.size, BLOCK):
        high = min(low + BLOCK, logits.size)
        if have < ids.size or _highest(logits[low:high]) > scores[have - 1]:
            for i in range(low, high):
                if have < ids.size or logits[i] > scores[have - 1]:
                    have = _insert(ids, scores, have, i, logits[i])
    for i in range(have):
        scores[i] = np.float64(powers[ids[i]]) / total
    return np.float64(powers[token]) / total


def _scratch(logits):
    return memory.empty(logits.size), memory.empty(-(-logits.size // BLOCK))


def draw_token(logits, temperature, uniform):
    """See `tinylm.ops.draw_token`; powers in float32, 0 below HOPELESS, sums in float64."""
    logits = contiguous(logits)
    powers, sums = _scratch(logits)
    # Below this, a difference of 1e-30 between two scores already decides: it stays a finite number.
    return int(_draw(powers, sums, logits, np.float32(1 / max(temperature, 1e-30)), float(uniform)))


def likeliest(logits, token, count):
    """See `tinylm.ops.likeliest`; powers in float32."""
    logits = contiguous(logits)
    ids, scores = np.empty(min(count, logits.size), np.int64), np.empty(min(count, logits.size))
    prob = _likeliest(ids, scores, *_scratch(logits), logits, int(token))
    return float(prob), ids, scores
