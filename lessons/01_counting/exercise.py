"""Exercises of lesson 1: counting letters.

Write the functions below and run `make check-1`.  NumPy is all you need.  Each function raises
NotImplementedError until you have written it: replace that line with your own.
"""
import numpy as np


def smoothed(counts, alpha):
    """Probabilities of the next symbol, from counts of pairs.

        prob[i, j] = (counts[i, j] + alpha) / (sum over k of counts[i, k] + alpha V)

    counts   (V, V) integers: counts[i, j] is how often symbol j came right after symbol i
    alpha    a number above 0, pretended to have been seen of each pair
    returns  (V, V) float64, each row a probability distribution
    """
    raise NotImplementedError("TODO: exercise 1.1")


def bits_per_byte(prob, tokens, sizes):
    """The loss of a text in bits per byte: all bits of surprise, divided by all bytes predicted.

    Token t + 1 is predicted from token t, so the first token is not predicted: neither its surprise nor its
    bytes count.  The surprise of a symbol that was given probability p is -log2 p bits.

    prob     (V, V): prob[i, j] is the probability of symbol j right after symbol i
    tokens   (n,) integers, n >= 2
    sizes    (V,) integers: how many bytes each symbol stands for
    returns  a number
    """
    raise NotImplementedError("TODO: exercise 1.2")
