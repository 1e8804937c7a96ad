"""Exercises of lesson 6: writing text.

Write the functions below and run `make check-6`.  NumPy is all you need.  Each function raises
NotImplementedError until you have written it: replace that line with your own.
"""
import numpy as np


def nucleus(prob, p):
    """Which tokens top-p keeps: the fewest whose probabilities together reach p.

    Tokens are taken from the likeliest on, of two equally likely ones the lower number first, until the sum of
    their probabilities is at least p.  One token is always kept.

    prob     (V,) float64, a probability distribution
    p        above 0 and below 1
    returns  (V,) bool: True where a token is kept
    """
    raise NotImplementedError("TODO: exercise 6.1")


def choose(logits, temperature, p, uniform):
    """The next token.

    At temperature 0: the token with the highest score, of equal ones the lowest number.  Else:
        prob    = softmax(logits / temperature)
        kept    = prob where nucleus(prob, p) keeps it, 0 elsewhere
        token   = the first, in the order of numbers, at which the running sum of kept exceeds
                  uniform times the sum of kept

    logits       (V,) float64
    temperature  0 or more, possibly tiny
    p            above 0 and below 1
    uniform      a random number, at least 0 and below 1
    returns      the token, an integer
    """
    raise NotImplementedError("TODO: exercise 6.2")


def read_one(query, key, value, keys, values, length):
    """One head of attention reads one more token, with a cache of what came before.

    keys[:length] and values[:length] hold the keys and values of the tokens read so far; what stands behind
    them is left over from another text and means nothing.  Put the new key and value behind them, then

        out = sum over s <= length of softmax(query . keys[s] / sqrt(D)) values[s]

    query, key, value   (D,), of the new token
    keys, values        (P, D), P > length; changed in place, and only where the new token belongs
    length              how many tokens have been read before, 0 or more
    returns             out, (D,)
    """
    raise NotImplementedError("TODO: exercise 6.3")
