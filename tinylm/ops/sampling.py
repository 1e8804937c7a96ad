"""From the scores of one position to a token, and to what the model thought of it."""
from __future__ import annotations

import numpy as np


def softmax(score):
    """prob[v] = exp(score[v]) / sum exp(score).   Shapes    (V,) -> (V,) float64"""
    power = np.exp(np.asarray(score, np.float64) - score.max())
    return power / power.sum()


def draw_token(logits, temperature, uniform):
    """The first token at which the running sum of exp(logits / temperature) exceeds `uniform` times the total.

    uniform   a number in [0, 1)
    Returns   -1 where a score is NaN or infinite, so that nothing can be drawn; -inf rules a token out
    Shapes    logits (V,)
    Source    Ackley, Hinton, Sejnowski 1985, Cognitive Science 9, section 2 (temperature)
    """
    score = np.asarray(logits, np.float64)
    if not np.isfinite(score.max()):  # the maximum is nan where any score is
        return -1
    with np.errstate(over="ignore"):  # hopeless tokens may become -inf: that is their limit
        reached = np.cumsum(np.exp((score - score.max()) / temperature))
    # uniform is at most 1 - 2**-53, so even rounded the product stays below the last sum.
    return int(np.searchsorted(reached, uniform * reached[-1], side="right"))


def likeliest(logits, token, count):
    """(probability of `token`, the `count` likeliest tokens, their probabilities), likeliest first, ties by id.

    Shapes    logits (V,) -> (float, (count,), (count,)); fewer where V is smaller
    """
    prob = softmax(logits)
    top = np.argsort(-logits, kind="stable")[:count]  # two scores may round to one probability
    return float(prob[token]), top, prob[top]
