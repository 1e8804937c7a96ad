"""Twins of `tinylm.ops.sampling`: two passes over the scores, in blocks whose sums and maxima are kept."""
from __future__ import annotations

import numpy as np

from . import memory
from .jit import serial
from .recording import contiguous
from .vector_math import exp32, highest

HOPELESS = np.float32(1e-30)  # times as likely as the likeliest: taken for 0, which `exp32` does not reach
_ZERO = np.float32(0.0)
BLOCK = 64  # scores whose sum, and whose maximum, is looked at before they are


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
def _span(block, size):
    """(first, last + 1) score of a block."""
    return block * BLOCK, min((block + 1) * BLOCK, size)


@serial
def _block_sums(sums, tops, powers, logits, factor):
    """Sums of powers and highest scores of all blocks.  Returns (the highest score, the sum of all powers in float64);
    the latter is NaN where a score is NaN or inf.  Scratch: powers (BLOCK,)."""
    for block in range(sums.size):
        low, high = _span(block, logits.size)
        tops[block] = highest(logits[low:high])
    top, total = highest(tops), 0.0
    for block in range(sums.size):
        low, high = _span(block, logits.size)
        sums[block] = _powers(powers[:high - low], logits[low:high], top, factor)
        total += np.float64(sums[block])
    return top, total


@serial
def _draw(powers, sums, tops, logits, factor, uniform):
    top, total = _block_sums(sums, tops, powers, logits, factor)
    if not np.isfinite(top) or not np.isfinite(total):
        return -1
    goal, reached, block = uniform * total, 0.0, 0
    while block < sums.size - 1 and reached + np.float64(sums[block]) <= goal:
        reached += np.float64(sums[block])
        block += 1
    low, high = _span(block, logits.size)
    _powers(powers[:high - low], logits[low:high], top, factor)  # again: they are not kept
    last = low  # of those that can be drawn: rounding may leave the goal just beyond the block
    for i in range(high - low):
        if powers[i] > 0:
            last = low + i
            reached += np.float64(powers[i])
            if reached > goal:
                return last
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
def _probability(score, top, total):
    """As `_powers` and their sum have it."""
    power = exp32(score - top)
    return 0.0 if power < HOPELESS else np.float64(power) / total


@serial
def _likeliest(ids, scores, powers, sums, tops, logits, token):
    """Returns the probability of the token; scores become probabilities."""
    top, total = _block_sums(sums, tops, powers, logits, np.float32(1.0))
    have = 0
    for block in range(tops.size):
        if have < ids.size or tops[block] > scores[have - 1]:
            low, high = _span(block, logits.size)
            for i in range(low, high):
                if have < ids.size or logits[i] > scores[have - 1]:
                    have = _insert(ids, scores, have, i, logits[i])
    for i in range(have):
        scores[i] = _probability(logits[ids[i]], top, total)
    return _probability(logits[token], top, total)


def _scratch(logits):
    """(powers of a block, sums, highest scores)"""
    blocks = -(-logits.size // BLOCK)
    floats = memory.empty(BLOCK + 2 * blocks)
    return floats[:BLOCK], floats[BLOCK:BLOCK + blocks], floats[BLOCK + blocks:]


def draw_token(logits, temperature, uniform):
    """See `tinylm.ops.draw_token`; powers in float32, 0 below HOPELESS, sums in float64."""
    logits = contiguous(logits)
    # Below this, a difference of 1e-30 between two scores already decides: it stays a finite number.
    factor = np.float32(1 / max(temperature, 1e-30))
    return int(_draw(*_scratch(logits), logits, factor, float(uniform)))


def likeliest(logits, token, count):
    """See `tinylm.ops.likeliest`; powers in float32."""
    logits = contiguous(logits)
    ids, scores = np.empty(min(count, logits.size), np.int64), np.empty(min(count, logits.size))
    prob = _likeliest(ids, scores, *_scratch(logits), logits, int(token))
    return float(prob), ids, scores
