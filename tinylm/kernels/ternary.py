"""Twins of `tinylm.ops.ternary`."""
from __future__ import annotations

import math

import numpy as np

from ..config import PRECISIONS
from ..ops import shapes
from ..ops.precision import fixed_point, precision
from ..ops.ternary import LARGEST_CODE, SMALLEST_SCALE, BitLinearCache, FeedForwardCache, Ternary
from . import memory, sums
from .activations import SUMS, squared_relu_backward, squared_relu_backward_of_sums, squared_relu_forward
from .jit import parallel, serial
from .matmul import FEW_ROWS, both_ways, matmul, pack, pack_scaled, scale_rows
from .optimizer import CHUNK
from .quantize import LEAST_TOP, Quantized, bytes_for, quantize_row, steps_of
from .recording import also, contiguous, one
from .residual import add
from .rounding import a_chunk_for_each_thread, gradient_columns, quantize_both, strips_are_bytes
from .rows import clear, parts_for
from .simd import SHORT
from .words import (
    MOST_IN_SUM,
    byte_panels,
    multiply_byte_strips,
    multiply_bytes,
    multiply_bytes_both,
    multiply_bytes_squared,
    shared_evenly,
    ternary_panels,
)

_ZERO, _ONE, _TOP = np.float32(0.0), np.float32(1.0), np.float32(LARGEST_CODE)


@serial
def _sum_of_magnitudes(x):
    total = 0.0
    for i in range(x.size):
        total += np.float64(abs(x[i]))
    return total


@parallel
def _magnitudes(part, partial, x, parts):
    for chunk in range(partial.size * part // parts, partial.size * (part + 1) // parts):
        partial[chunk] = _sum_of_magnitudes(x[chunk * CHUNK:(chunk + 1) * CHUNK])


@serial
def _codes_range(codes, weight, scale):
    for i in range(codes.size):
        # Divided, not multiplied by the inverse: the definition's roundings, to the last half.
        codes[i] = np.int8(max(-_ONE, min(_ONE, np.rint(weight[i] / scale))))


@serial
def _mean(partial, size):
    """The scale for sums of magnitudes of `size` weights."""
    total = 0.0
    for i in range(partial.size):
        total += partial[i]
    return np.float32(max(total / max(1, size), SMALLEST_SCALE))


@parallel
def _codes(part, codes, scale, weight, partial, parts):
    """Codes and scale of weights with these sums of magnitudes; each part finds the scale for itself."""
    low, high = codes.size * part // parts, codes.size * (part + 1) // parts
    own = _mean(partial, codes.size)
    if part == 0:
        scale[0] = own
    _codes_range(codes[low:high], weight[low:high], own)


def ternarize(weight):
    """See `tinylm.ops.ternarize`; float32.  The scale is an array without dimensions."""
    weight = contiguous(weight)
    flat = weight.reshape(-1)
    partial, scale = memory.empty(max(1, -(-flat.size // CHUNK)), np.float64), memory.empty(1)
    _magnitudes(partial, flat, min(partial.size, parts_for(flat.size)))
    codes = memory.empty(weight.shape, np.int8)
    _codes(codes.reshape(-1), scale, flat, partial, parts_for(flat.size))
    return Ternary(codes, scale.reshape(()))


@serial
def _quantize_row(values, inp):
    """Writes the codes of one token; returns their scale."""
    top = _ZERO
    for i in range(inp.size):
        top = max(top, abs(inp[i]))
    inverse, step = steps_of(top, _TOP, LEAST_TOP)
    for i in range(inp.size):
        values[i] = np.rint(inp[i] * inverse)
    return step


@parallel
def _quantize(part, values, scale, inp, parts):
    rows = inp.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        scale[n] = _quantize_row(values[n], inp[n])


def quantize_activations(inp):
    """See `tinylm.ops.quantize_activations`; float32."""
    inp = contiguous(inp)
    rows = inp.reshape(-1, inp.shape[-1])
    values, scale = memory.empty(inp.shape), memory.empty((*inp.shape[:-1], 1))
    _quantize(values.reshape(rows.shape), scale.reshape(-1), rows, parts_for(inp.size))
    return values, scale


@parallel
def _codes_rows(part, codes, minus_sums, scale, inp, parts):
    """8-bit codes (N, K rounded up) of inp (N, K)."""
    rows = inp.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        scale[n], minus_sums[n] = quantize_row(codes[n], inp[n])


@serial
def _dot_codes(x, y):
    """sum(x y) of two rows of codes, exact."""
    total = np.int32(0)
    for i in range(x.size):
        total = np.int32(total + np.int32(x[i]) * np.int32(y[i]))
    return total


@parallel
def _few_tokens(part, out, values, steps, codes, parts):
    """out = steps (values . codes) for the few tokens of streaming, reading the weights as they stand."""
    M, K = codes.shape
    for m in range(M * part // parts, M * (part + 1) // parts):
        for n in range(out.shape[0]):
            out[n, m] = np.float32(_dot_codes(values[n, :K], codes[m])) * steps[n]


def _quantized(rows):
    """8-bit codes of rows (N, K), as `Bytes`."""
    found = bytes_for(*rows.shape)
    _codes_rows(*found.filled, rows, parts_for(rows.size))
    return found


def _quantized_both(rows, factor):
    """(`_quantized` rows (N, K), factor rows to be multiplied as the transposed a) for factor (N,)."""
    if a_chunk_for_each_thread(rows):
        return quantize_both(rows, factor)
    scaled = scale_rows(memory.empty(rows.shape), rows, factor.reshape(-1, 1))
    return _quantized(rows), gradient_columns(scaled) if precision() == "int8" else scaled


def bitlinears_forward(inp, ternaries, activation_bits=0):
    """See `tinylm.ops.bitlinears_forward`; float32.

    For activation_bits 8 the products are of bytes: exact, and the same at every precision.  Codes are int8, and inp
    may be `Quantized`.
    """
    return _forward(inp, ternaries, activation_bits, [None] * len(ternaries))


def _forward(inp, ternaries, activation_bits, residuals):
    """`bitlinears_forward`, each product added to its residual (N, M) if that is not None."""
    for codes, _ in ternaries:
        shapes.linear(inp, codes, None)
    K = inp.shape[-1]
    if activation_bits:
        rows = inp.rows if isinstance(inp, Quantized) else _quantized(contiguous(inp).reshape(-1, K))
        outs = [_product_of_bytes(rows, ternary, residual)
                for ternary, residual in zip(ternaries, residuals, strict=True)]
        caches = [_remembered(rows, inp.shape, ternary) for ternary in ternaries]
    else:
        inp = contiguous(inp)
        outs = [_added(_product(inp.reshape(-1, K), ternary, True), residual)
                for ternary, residual in zip(ternaries, residuals, strict=True)]
        caches = [BitLinearCache(inp, None, ternary) for ternary in ternaries]
    return [out.reshape(*inp.shape[:-1], out.shape[-1]) for out in outs], caches


def _remembered(rows, shape, ternary):
    """The cache of a product of rows as `Bytes`, which were an array of that shape."""
    return BitLinearCache(rows.codes[:, :shape[-1]].reshape(shape), rows.steps.reshape(*shape[:-1], 1), ternary)


def _product(rows, ternary, transposed, add_to=None):
    """out (N, K) = scale (rows codes) for rows (N, M) and codes (M, K), or (K, M) if transposed, at any precision;
    added to an array if one is given.
    """
    codes, scale = ternary
    if precision() == PRECISIONS[0] and len(rows) >= SHORT:
        columns = codes.shape[0 if transposed else 1]
        return sums.multiply(rows, sums.places_of(codes, transposed), scale, columns, add_to)
    return matmul(rows, codes, transpose_b=transposed, row_scale=one(scale).reshape(1, 1), add_to=add_to)


def _added(out, residual):
    return out if residual is None else add(residual, out)


def _product_of_bytes(quantized, ternary, residual):
    codes, scale = ternary
    N = len(quantized.words)
    if N > FEW_ROWS:
        return multiply_bytes(quantized, scale, ternary_panels(codes, True), len(codes), start=residual)
    out, steps = memory.empty((N, len(codes))), memory.empty(N)
    also(np.multiply, quantized.steps, scale, steps)
    _few_tokens(out, quantized.codes, steps, codes, parts_for(codes.size))
    return _added(out, residual)


def _packed_inputs(values, factor):
    """The rows a ternary map has multiplied, as weight gradients multiply them as b.

    values    (N, K): float32, or codes and factor (N,), the steps of the rows
    """
    if factor is None:
        return pack(values, transpose_b=False)
    if strips_are_bytes():
        return byte_panels(values)
    # In float32 codes are scaled while they are packed, else rows of dout.
    return pack_scaled(values, contiguous(factor)) if precision() == PRECISIONS[0] else pack(values, transpose_b=False)


def _weight_gradient(dcolumns, inputs, factor, K, add_to, fresh):
    """What comes of `_packed_inputs` and of dout, rounded and scaled as far as need be."""
    if factor is not None and strips_are_bytes():
        return multiply_byte_strips(dcolumns, inputs, K, add_to, fresh)
    if fresh:
        clear(add_to.reshape(-1))
    return matmul(dcolumns, inputs, transpose_a=True, add_to=add_to)


def _multiplied(cache):
    """(values (N, K), their factor (N,) or None, shape of the input) of what a ternary map has multiplied."""
    inp, inp_scale, _ = cache
    values = contiguous(inp.reshape(-1, inp.shape[-1]), inp.dtype)
    return values, None if inp_scale is None else inp_scale.reshape(-1), inp.shape


def bitlinears_backward(douts, caches, add_to=None, fresh=False):
    """See `tinylm.ops.bitlinears_backward`.  Adds to the arrays of add_to."""
    values, factor, shape = _multiplied(caches[0])
    exact, inputs, dinp, dweights = precision() == PRECISIONS[0], _packed_inputs(values, factor), None, []
    for i, (dout, (_, _, (codes, scale))) in enumerate(zip(douts, caches, strict=True)):
        drows = contiguous(dout).reshape(-1, dout.shape[-1])
        if factor is not None and fixed_point():
            as_rows, as_columns = _quantized_both(drows, factor)
            dinp = multiply_bytes(as_rows, scale, ternary_panels(codes, False), codes.shape[1], dinp)
        elif exact:
            as_columns, dinp = drows, _product(drows, (codes, scale), False, dinp)
        else:
            as_rows, as_columns = both_ways(drows, factor)
            dinp = matmul(as_rows, codes, row_scale=one(scale).reshape(1, 1), add_to=dinp)
        dweights.append(_weight_gradient(as_columns, inputs, factor, values.shape[1], add_to[i] if add_to else None,
                                         fresh))
    return dinp.reshape(shape), dweights


def feed_forward_forward(inp, up, down, activation_bits=0, residual=None):
    """See `tinylm.ops.feed_forward_forward`; float32.

    For activation_bits 8 the first product is rounded while it is made, and of it is remembered, where that fits into
    16 bits, the sum of codes that is behind each number, or 0 for those below 0.
    """
    if not activation_bits or inp.shape[-1] > MOST_IN_SUM or math.prod(inp.shape[:-1]) <= FEW_ROWS:
        linear, of_up = bitlinear_forward(inp, up, activation_bits)
        square, hidden = squared_relu_forward(linear, operand=activation_bits == 8)
        out, of_down = bitlinear_forward(square, down, activation_bits, residual)
        return out, FeedForwardCache(of_up, hidden, of_down)
    shapes.linear(inp, up.codes, None)
    shape = *inp.shape[:-1], len(up.codes)
    rows = inp.rows if isinstance(inp, Quantized) else _quantized(contiguous(inp).reshape(-1, inp.shape[-1]))
    squares, hidden = multiply_bytes_squared(rows, up.scale, ternary_panels(up.codes, True), len(up.codes))
    out, of_down = bitlinear_forward(Quantized(shape, squares), down, activation_bits, residual)
    return out, FeedForwardCache(_remembered(rows, inp.shape, up), hidden.reshape(shape), of_down)


def feed_forward_backward(dout, cache, add_to=None, fresh=False):
    """See `tinylm.ops.feed_forward_backward`.  Adds to the arrays of add_to.

    In 8 bits what reaches the squared ReLU, and what leaves it, is rounded while it is made.
    """
    up, hidden, down = cache
    values, factor, _ = _multiplied(down)
    inp, inp_factor, shape = _multiplied(up)
    drows, hidden = contiguous(dout).reshape(-1, dout.shape[-1]), hidden.reshape(-1, hidden.shape[-1])
    if factor is None or inp_factor is None or not (
            fixed_point() and a_chunk_for_each_thread(drows) and shared_evenly(len(drows))):
        dsquare, ddown = bitlinear_backward(drows, down, add_to and add_to[1:], fresh)
        dsquare = dsquare.reshape(hidden.shape)
        if hidden.dtype == SUMS:
            dlinear = squared_relu_backward_of_sums(dsquare, hidden, inp_factor, up.ternary.scale)
        else:
            (dlinear,) = squared_relu_backward(dsquare, hidden)
        dinp, dup = bitlinear_backward(dlinear, up, add_to and add_to[:1], fresh)
        return dinp.reshape(shape), dup, ddown
    into = add_to or (None, None)
    as_rows, as_columns = quantize_both(drows, factor)
    ddown = _weight_gradient(as_columns, _packed_inputs(values, factor), factor, values.shape[1], into[1],
                             fresh)
    as_rows, as_columns = multiply_bytes_both(as_rows, down.ternary.scale, ternary_panels(down.ternary.codes, False),
                                              hidden, up.ternary.scale, inp_factor)
    dinp = multiply_bytes(as_rows, up.ternary.scale, ternary_panels(up.ternary.codes, False), inp.shape[1])
    dup = _weight_gradient(as_columns, _packed_inputs(inp, inp_factor), inp_factor, inp.shape[1], into[0],
                           fresh)
    return dinp.reshape(shape), dup, ddown


def bitlinear_forward(inp, ternary, activation_bits=0, residual=None):
    """See `tinylm.ops.bitlinear_forward`; float32."""
    if residual is not None:
        shapes.residual(residual, (*inp.shape[:-1], len(ternary.codes)))
        residual = contiguous(residual).reshape(-1, residual.shape[-1])
    (out,), (cache,) = _forward(inp, (ternary,), activation_bits, (residual,))
    return out, cache


def bitlinear_backward(dout, cache, add_to=None, fresh=False):
    """See `tinylm.ops.bitlinear_backward`.  Adds to the array of add_to."""
    dinp, (dweight,) = bitlinears_backward((dout,), (cache,), add_to, fresh)
    return dinp, dweight
