"""Weights of three values, activations of eight bits, and the linear map made of them."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .activations import squared_relu_backward, squared_relu_forward
from .matmul import matmul
from .precision import PRECISIONS, autocast, fixed_point, precision, round_fixed

SMALLEST_SCALE = 1e-5   # of weights: their mean magnitude is never taken to be less
LARGEST_CODE = 127      # of activations: symmetric, so that -128 never occurs
SMALLEST_TOP = 1e-36    # of activations: 127 over anything much smaller is no float32


class Ternary(NamedTuple):
    """A weight matrix as scale * codes."""

    codes: np.ndarray    # (M, K) int8 in -1, 0, 1
    scale: float


def ternarize(weight):
    """codes = clip(round(W / s), -1, 1) with s = max(mean |W|, 1e-5); halves are rounded to even.

    Shapes    weight (M, K) -> Ternary
    Source    Ma et al. 2024, arXiv:2402.17764, section 2 (absmean)
    """
    scale = weight.dtype.type(max(float(np.mean(np.abs(weight), dtype=np.float64)), SMALLEST_SCALE))
    return Ternary(np.clip(np.rint(weight / scale), -1, 1).astype(np.int8), scale)


def quantize_activations(inp):
    """(codes, scale): codes = round(inp / scale), scale = max |inp| / 127 of each token.

    A token of zeros gets scale 0 and codes 0; one whose numbers are all below SMALLEST_TOP codes 0, too.

    Shapes    inp (..., K) -> codes (..., K) of inp's dtype holding integers in -127 .. 127, scale (..., 1)
    Source    Ma et al. 2024, arXiv:2402.17764, section 2 (absmax, per token)
    """
    top = np.abs(inp).max(-1, keepdims=True)                                        # (..., 1)
    # Multiplying by the reciprocal, as kernels do: the codes must be the same to the bit.
    inverse = np.divide(LARGEST_CODE, top, out=np.zeros_like(top), where=top > SMALLEST_TOP)
    return np.rint(inp * inverse), top * (1 / inp.dtype.type(LARGEST_CODE))


class BitLinearCache(NamedTuple):
    inp: np.ndarray              # (..., K): activation codes, or the activations themselves
    inp_scale: np.ndarray | None  # (..., 1)
    ternary: Ternary


def bitlinear_forward(inp, ternary, activation_bits=0, residual=None):
    """out = inp W_q^T, W_q = scale * codes; with activation_bits 8, inp is quantised per token first.

    With 8 bits the product is one of integers below 2^24 in magnitude (for K up to 130,000), which float32
    holds exactly: no order of summation can change a bit of it.

    residual  (..., M): what out is added to, if anything
    Shapes    inp (..., K), ternary (M, K) -> out (..., M)
    Caches    what was multiplied
    Raises    ShapeError
    Source    Ma et al. 2024, arXiv:2402.17764, section 2
    """
    codes, scale = ternary
    shapes.linear(inp, codes, None)
    weight = codes.astype(inp.dtype)
    if activation_bits:
        values, inp_scale = quantize_activations(inp)
        out, cache = values @ weight.T * (inp_scale * scale), BitLinearCache(values, inp_scale, ternary)
    else:
        out = matmul(inp.reshape(-1, inp.shape[-1]), weight, transpose_b=True) * scale
        out, cache = out.reshape(*inp.shape[:-1], len(codes)), BitLinearCache(inp, None, ternary)
    if residual is None:
        return out, cache
    shapes.residual(residual, out.shape)
    return residual + out, cache


def bitlinear_backward(dout, cache, add_to=None, fresh=False):
    """Return (dinp, dweight): straight through both roundings, as if they were not there.

    dinp = dout W_q and dweight = dout^T inp_q: the gradient of the product of what was multiplied, handed on
    to what it was made from.  In int16 and with 8-bit activations dout is rounded to 8 bits a token, too, for dinp
    alone, whose product is then one of integers like the forward one.  In int8 dweight is, too: of dout, times the
    step of each token's activations, every channel is rounded to 8 bits for each CHUNK tokens.

    add_to    (dweight,) array the gradient is added to; a new one if omitted
    fresh     whether what that array holds counts as 0
    Source    Bengio et al. 2013, arXiv:1308.3432, section 4 (the straight-through estimator);
              Wortsman et al. 2023, arXiv:2304.13013, section 2 (8 bits for dinp, more for dweight);
              Xi et al. 2024, arXiv:2403.12422 (8 bits for both, with a step for each block)
    """
    values, inp_scale, (codes, scale) = cache
    rows, drows = values.reshape(-1, values.shape[-1]), dout.reshape(-1, dout.shape[-1])  # (N, K), (N, M)
    weight = codes.astype(dout.dtype)
    if inp_scale is not None and fixed_point():
        dcodes, dscale = quantize_activations(drows)
        dinp = dcodes @ weight * (dscale * scale)                                   # (N, K)
    else:
        dinp = matmul(drows, weight) * scale                                        # (N, K)
    if inp_scale is not None:
        drows, rows = drows * inp_scale.reshape(-1, 1), rows.astype(np.int8)        # codes stay integers
    if fresh:
        add_to[0][...] = 0
    exactly = inp_scale is not None and precision() == "int8"
    if exactly:
        drows = round_fixed(drows, 0, LARGEST_CODE)
    with autocast(PRECISIONS[0] if exactly else precision()):
        dweight = matmul(drows, rows, transpose_a=True, add_to=add_to[0] if add_to else None)
    return dinp.reshape(values.shape), dweight


class FeedForwardCache(NamedTuple):
    up: BitLinearCache
    hidden: np.ndarray   # (..., M): what the first map gives
    down: BitLinearCache


def feed_forward_forward(inp, up, down, activation_bits=0, residual=None):
    """out = bitlinear(squared_relu(bitlinear(inp, up)), down).

    up, down  Ternary (M, K) and (N, M)
    residual  (..., N): what out is added to, if anything
    Shapes    inp (..., K) -> out (..., N)
    Caches    what the three of them do
    Raises    ShapeError
    """
    linear, of_up = bitlinear_forward(inp, up, activation_bits)
    square, hidden = squared_relu_forward(linear)
    out, of_down = bitlinear_forward(square, down, activation_bits, residual)
    return out, FeedForwardCache(of_up, hidden, of_down)


def feed_forward_backward(dout, cache, add_to=None, fresh=False):
    """Return (dinp, dup, ddown): back through all three, one after the other.

    add_to, fresh   (dup, ddown) arrays the gradients are added to, and whether what they hold counts as 0
    Shapes          dout (..., N) -> dinp (..., K)
    """
    dsquare, ddown = bitlinear_backward(dout, cache.down, add_to and add_to[1:], fresh)
    (dlinear,) = squared_relu_backward(dsquare, cache.hidden)
    dinp, dup = bitlinear_backward(dlinear, cache.up, add_to and add_to[:1], fresh)
    return dinp, dup, ddown


def bitlinears_forward(inp, ternaries, activation_bits=0):
    """`bitlinear_forward` of one input with several weights: (outs, caches), one of each for a weight.

    Shapes    inp (..., K), ternaries (M, K) each -> outs (..., M) each
    """
    outs, caches = zip(*(bitlinear_forward(inp, ternary, activation_bits) for ternary in ternaries))
    return list(outs), list(caches)


def bitlinears_backward(douts, caches, add_to=None, fresh=False):
    """Return (dinp, dweights): what reaches an input that was used several times is the sum.

    add_to    a sequence of arrays that the gradients of the weights are added to
    fresh     whether what those arrays hold counts as 0
    """
    dinps, dweights = zip(*(bitlinear_backward(dout, cache, add_to and add_to[i:i + 1], fresh)
                            for i, (dout, cache) in enumerate(zip(douts, caches, strict=True))))
    return sum(dinps[1:], start=dinps[0]), list(dweights)
