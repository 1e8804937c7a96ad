"""Solutions of lesson 3: one way among others."""
import numpy as np


def softmax_backward(dprob, prob):
    # Raising all scores of a row changes nothing, so the part of dprob that is common to a row must go:
    # it is the mean of dprob under prob itself.
    common = (dprob * prob).sum(axis=-1, keepdims=True)
    return prob * (dprob - common)


def attention_backward(dout, query, keys, value):
    T, D = query.shape
    score = query @ keys.T / np.sqrt(D)                       # (T, T)
    score = np.where(np.tri(T, dtype=bool), score, -np.inf)   # query t looks at keys 0 .. t
    exp = np.exp(score - score.max(axis=-1, keepdims=True))
    prob = exp / exp.sum(axis=-1, keepdims=True)

    dvalue = prob.T @ dout                                    # out = prob value
    dprob = dout @ value.T
    # Where prob is 0, behind the mask, dscore is 0 as well: the mask needs no line of its own.
    dscore = softmax_backward(dprob, prob) / np.sqrt(D)
    dquery = dscore @ keys                                    # score = query keys^T / sqrt(D)
    dkeys = dscore.T @ query
    return dquery, dkeys, dvalue


def leaks(mixer, inp):
    T = len(inp)
    found = np.zeros(T, bool)
    before = np.array(mixer(inp))
    for cut in range(1, T):
        # Everything from the cut on becomes something else, by another amount in each place: a mixer that
        # only looks at a mean, or at a difference, must not be deceived.
        swapped = inp.copy()
        swapped[cut:] = 3 * np.cos(np.arange(inp[cut:].size) + cut).reshape(inp[cut:].shape) - inp[cut:]
        moved = np.abs(mixer(swapped) - before).max(axis=1)
        # Only row cut - 1 has all of what was changed behind it, and nothing of it in front.
        found[cut - 1] = moved[cut - 1] > 1e-12
    return found
