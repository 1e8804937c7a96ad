"""Exercises of lesson 2: gradients by hand.

Write the functions below and run `make check-2`.  NumPy is all you need.  Each function raises
NotImplementedError until you have written it: replace that line with your own.

The loss is some number L.  `dx` is the slope of L with respect to each element of x, so it has x's shape.
A backward function gets the slope with respect to what its forward function returned, and gives the slopes
with respect to what it was given.  It must work for any upstream slope, not only for ones.
"""
import numpy as np


def cross_entropy_backward(dlosses, logits, targets):
    """Backward of losses[n] = -ln(softmax(logits[n])[targets[n]]).

    dlosses  (N,): slope of L with respect to each loss
    logits   (N, V): any finite numbers, 1000 too
    targets  (N,) integers in 0 .. V-1
    returns  dlogits (N, V)
    """
    raise NotImplementedError("TODO: exercise 2.1")


def linear_backward(dout, inp, weight):
    """Backward of out = inp weight^T + bias: out[n, m] = sum over k of inp[n, k] weight[m, k], plus bias[m].

    dout     (N, M)
    inp      (N, K)
    weight   (M, K)
    returns  (dinp, dweight, dbias), shapes (N, K), (M, K), (M,)
    """
    raise NotImplementedError("TODO: exercise 2.2")


def embedding_backward(dout, tokens, V):
    """Backward of out[n] = weight[tokens[n]]: row n of the output is a copy of row tokens[n] of the weight.

    dout     (N, C)
    tokens   (N,) integers in 0 .. V-1, which may repeat
    V        number of rows of the weight
    returns  dweight (V, C)
    """
    raise NotImplementedError("TODO: exercise 2.3")
