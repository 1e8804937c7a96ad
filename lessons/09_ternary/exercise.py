"""Exercises of lesson 9: three values for a weight.

Write the functions below and run `make check-9`.  NumPy is all you need.  Rounding goes to the nearest whole number,
and a half to the even one, as NumPy does it (0.5 becomes 0, 1.5 becomes 2).
"""
import numpy as np


def ternarize(weight):
    """Weights of three values: codes and one scale for the whole matrix.

        scale = mean of |weight| over all weights, but at least 1e-5
        codes = round(weight / scale), cut to -1, 0, 1

    weight   (M, K) floats
    returns  codes (M, K) of an integer type, and scale, a float
    """
    raise NotImplementedError("TODO: exercise 9.1")


def quantize_activations(inp):
    """Activations of eight bits: for each token codes and a scale of its own.

        scale[n] = max over k of |inp[n, k]| / 127
        codes[n, k] = round(inp[n, k] / scale[n]);   0 where the scale is 0

    inp      (N, K) floats, a row for each token
    returns  codes (N, K) of an integer type, and scale (N, 1) floats
    """
    raise NotImplementedError("TODO: exercise 9.2")


def bitlinear_backward(dout, inp, weight):
    """Straight through both roundings.

    The forward pass was out = inp_q weight_q^T with inp_q = codes * scale of `quantize_activations(inp)` and
    weight_q = codes * scale of `ternarize(weight)`.  The gradients of that product with respect to inp_q and weight_q
    are handed on to inp and weight as they are, as if there had been no rounding and no scale to compute.

    dout     (N, M)
    inp      (N, K), before it was quantised
    weight   (M, K), before it was ternarised
    returns  dinp (N, K), dweight (M, K)
    """
    raise NotImplementedError("TODO: exercise 9.3")
