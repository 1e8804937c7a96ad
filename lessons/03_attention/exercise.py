"""Exercises of lesson 3: attention, and the future it must not see.

Write the functions below and run `make check-3`.  NumPy is all you need.  Each function raises
NotImplementedError until you have written it: replace that line with your own.
"""
import numpy as np


def softmax_backward(dprob, prob):
    """Backward of prob = softmax(score) along the last axis.

    dprob    any shape (..., T): slope of L with respect to each probability
    prob     the same shape: what the forward pass gave; some may be exactly 0
    returns  dscore, the same shape
    """
    raise NotImplementedError("TODO: exercise 3.1")


def attention_backward(dout, query, keys, value):
    """Backward of one head of masked attention:

        score[t, s] = query[t] . keys[s] / sqrt(D)   for s <= t, else minus infinity
        prob        = softmax(score), row by row
        out         = prob value

    dout     (T, D)
    query, keys, value   (T, D) each; nothing is cached, so compute prob again first
    returns  (dquery, dkeys, dvalue), each (T, D)
    """
    raise NotImplementedError("TODO: exercise 3.2")


def leaks(mixer, inp):
    """Which outputs of a mixer depend on later inputs?  Find out from outside.

    A mixer is a function (T, C) -> (T, C), with the same answer each time.  You cannot look into it; you can
    call it with any finite numbers.  Its output at t may depend on inp[0], ..., inp[t] in any way.  If it also
    depends on inp[s] for some s > t, then it leaks at t.  Rounding errors up to 1e-12 are no leak.

    mixer    the function
    inp      (T, C) random numbers to begin with
    returns  (T,) truth values: entry t is True where the mixer leaks at t
    """
    raise NotImplementedError("TODO: exercise 3.3")
