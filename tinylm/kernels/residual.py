"""Dropout masks from counters, and twins of `tinylm.ops.residual`."""
from __future__ import annotations

import numba
import numpy as np
from numba import prange

from ..ops import shapes
from ..ops.random import PHILOX_MULTIPLIERS, PHILOX_ROUNDS, PHILOX_WEYL, dropout_scale
from . import memory
from .jit import parallel, serial
from .matmul import contiguous
from .rows import parts_for

_M0, _M1 = np.uint64(PHILOX_MULTIPLIERS[0]), np.uint64(PHILOX_MULTIPLIERS[1])
_W0, _W1 = np.uint64(PHILOX_WEYL[0]), np.uint64(PHILOX_WEYL[1])
_LOW, _SHIFT, _HALF, _HALF_SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(0xFFFF), np.uint64(16)


@serial
def _words(block, row, step, site, key0, key1):
    """The four words of `tinylm.ops.random.philox`, each in a uint64."""
    c0, c1, c2, c3, k0, k1 = block, row, step, site, key0, key1
    for _ in range(PHILOX_ROUNDS):
        product0, product1 = c0 * _M0, c2 * _M1
        c0, c1 = (product1 >> _SHIFT) ^ c1 ^ k0, product1 & _LOW
        c2, c3 = (product0 >> _SHIFT) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@serial
def _fill(s0, s1, s2, s3, s4, s5, s6, s7, row, key):
    """Eight streams of 16-bit numbers, one for each half of each word."""
    key0, key1, step, site = key[0], key[1], key[2], key[3]
    for j in range(s0.size):
        w0, w1, w2, w3 = _words(np.uint64(j), row, step, site, key0, key1)
        s0[j], s1[j], s2[j], s3[j] = w0 & _HALF, w1 & _HALF, w2 & _HALF, w3 & _HALF
        s4[j], s5[j] = w0 >> _HALF_SHIFT, w1 >> _HALF_SHIFT
        s6[j], s7[j] = w2 >> _HALF_SHIFT, w3 >> _HALF_SHIFT


@serial
def mask_numbers(numbers, row, key):
    """The 16-bit numbers of one row of `tinylm.ops.random.dropout_mask`.

    numbers   uint16, its size a multiple of 8: the columns of the row, rounded up
    """
    n = numbers.size // 8
    _fill(numbers[:n], numbers[n:2 * n], numbers[2 * n:3 * n], numbers[3 * n:4 * n], numbers[4 * n:5 * n],
          numbers[5 * n:6 * n], numbers[6 * n:7 * n], numbers[7 * n:], np.uint64(row), key)


@serial
def drop(row, numbers, threshold, scale):
    """Multiply a row with its mask, in place."""
    for i in range(row.size):
        row[i] = np.float32(0.0) if numbers[i] < threshold else row[i] * scale


@serial
def _masked_row(out, inp, branch, numbers, threshold, scale):
    for i in range(out.size):
        out[i] = inp[i] + (np.float32(0.0) if numbers[i] < threshold else branch[i] * scale)


@serial
def _dropped_row(out, branch, numbers, threshold, scale):
    for i in range(out.size):
        out[i] = np.float32(0.0) if numbers[i] < threshold else branch[i] * scale


@serial
def _sum(out, x, y):
    for i in range(out.size):
        out[i] = x[i] + y[i]


@parallel
def _residual(out, inp, branch, parts):
    for part in prange(parts):
        low, high = out.size * part // parts, out.size * (part + 1) // parts
        _sum(out[low:high], inp[low:high], branch[low:high])


@parallel
def _residual_dropout(out, inp, branch, scratch, key, threshold, scale):
    """An empty inp is none: then only the dropped branch is written."""
    rows, parts = out.shape[0], scratch.shape[0]
    for part in prange(parts):
        for n in range(rows * part // parts, rows * (part + 1) // parts):
            mask_numbers(scratch[part], n, key)
            if inp.size:
                _masked_row(out[n], inp[n], branch[n], scratch[part], threshold, scale)
            else:
                _dropped_row(out[n], branch[n], scratch[part], threshold, scale)


def mask_arguments(key, rate):
    """(key, threshold, scale) in the types the kernels want; the key's four words as an array."""
    threshold, scale = dropout_scale(rate)
    return np.array(key, np.uint64), np.int64(threshold), np.float32(scale)


_NO_ROWS = np.zeros((0, 0), np.float32)


def _drop(inp, branch, rate, key):
    branch = contiguous(branch)
    columns = branch.shape[-1]
    rows = branch.reshape(-1, columns)
    out = memory.empty(branch.shape)
    parts = parts_for(branch.size, numba.get_num_threads())
    scratch = memory.empty((parts, -(-columns // 8) * 8), np.uint16)
    _residual_dropout(out.reshape(rows.shape), _NO_ROWS if inp is None else contiguous(inp).reshape(rows.shape),
                      rows, scratch, *mask_arguments(key, rate))
    return out


def dropout_forward(inp, rate, key):
    """See `tinylm.ops.dropout_forward`; float32."""
    return _drop(None, inp, rate, key), (rate, key)


def dropout_backward(dout, cache):
    """See `tinylm.ops.dropout_backward`."""
    return (_drop(None, dout, *cache),)


def add(x, y):
    """x + y of one shape, with the kernels' threads and memory."""
    x, y = contiguous(x), contiguous(y)
    out = memory.empty(x.shape)
    _residual(out.reshape(-1), x.reshape(-1), y.reshape(-1), parts_for(out.size, numba.get_num_threads()))
    return out


def residual_forward(inp, branch, rate=0.0, key=None):
    """See `tinylm.ops.residual_forward`; float32."""
    shapes.same(inp=inp, branch=branch)
    if key is None or rate == 0:
        return add(inp, branch), None
    return _drop(inp, branch, rate, key), (rate, key)


def residual_backward(dout, cache):
    """See `tinylm.ops.residual_backward`."""
    return dout, dout if cache is None else dropout_backward(dout, cache)[0]
