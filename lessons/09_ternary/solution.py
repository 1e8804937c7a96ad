"""Solutions of lesson 9: one way among others."""
import numpy as np


def ternarize(weight):
    # The lower limit only matters for a matrix of zeros, which would be divided by zero.
    scale = max(float(np.abs(weight).mean()), 1e-5)
    codes = np.clip(np.round(weight / scale), -1, 1)
    return codes.astype(np.int8), scale


def quantize_activations(inp):
    scale = np.abs(inp).max(axis=1, keepdims=True) / 127
    # A token of zeros is divided by one instead of by its scale, and stays zero.
    codes = np.round(inp / np.where(scale > 0, scale, 1))
    return codes.astype(np.int8), scale


def bitlinear_backward(dout, inp, weight):
    codes, scale = ternarize(weight)
    inp_codes, inp_scale = quantize_activations(inp)
    # What was multiplied decides, not what it was rounded from.
    dinp = dout @ (codes * scale)
    dweight = dout.T @ (inp_codes * inp_scale)
    return dinp, dweight
