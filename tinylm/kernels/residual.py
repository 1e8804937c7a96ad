"""Dropout masks from counters, and twins of `tinylm.ops.residual`."""
from __future__ import annotations

import numpy as np

from ..ops import shapes
from ..ops.random import PHILOX_MULTIPLIERS, PHILOX_ROUNDS, PHILOX_WEYL, dropout_scale
from . import memory, recording
from .jit import inlined, parallel, serial
from .recording import contiguous
from .rows import parts_for, threads_of

_M0, _M1 = np.uint64(PHILOX_MULTIPLIERS[0]), np.uint64(PHILOX_MULTIPLIERS[1])
_W0, _W1 = np.uint64(PHILOX_WEYL[0]), np.uint64(PHILOX_WEYL[1])
_LOW, _SHIFT, _HALF_SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint32(16)


@inlined
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
def _fill(w0, w1, w2, w3, row, key):
    """The words of a row's counters, one stream for each of the four: more streams LLVM would not vectorise."""
    key0, key1, step, site = key[0] & _LOW, key[1] & _LOW, key[2] & _LOW, key[3] & _LOW  # known to have 32 bits
    for j in range(w0.size):
        v0, v1, v2, v3 = _words(np.uint64(j) & _LOW, row & _LOW, step, site, key0, key1)
        w0[j], w1[j], w2[j], w3[j] = np.uint32(v0), np.uint32(v1), np.uint32(v2), np.uint32(v3)


@serial
def _split(low, high, words):
    for i in range(words.size):
        low[i], high[i] = np.uint16(words[i]), np.uint16(words[i] >> _HALF_SHIFT)


@serial
def mask_numbers(numbers, words, row, key):
    """The 16-bit numbers of one row of `tinylm.ops.random.dropout_mask`.

    numbers   uint16, at least the columns of the row, rounded up to a multiple of 8
    words     uint32, half of that: scratch, and how many there are
    """
    half, n = words.size, words.size // 4
    _fill(words[:n], words[n:2 * n], words[2 * n:3 * n], words[3 * n:], np.uint64(row), key)
    _split(numbers[:half], numbers[half:2 * half], words)


def mask_scratch(threads, columns, spare=0):
    """(numbers, words) for `mask_numbers`, a row for each thread; `spare` more numbers may be read, not written."""
    blocks = -(-columns // 8)
    size = threads * 4 * blocks  # not longer: a row's length counts
    return (memory.for_threads(threads, 8 * blocks + spare, dtype=np.uint16),
            memory.for_threads(1, size, dtype=np.uint32)[0, :size].reshape(threads, 4 * blocks))


@serial
def dropped(number, threshold):
    """Compared as 32 bits, like the numbers it decides about: 64 would halve the speed of a loop."""
    return np.int32(number) < np.int32(threshold)


@serial
def _masked_row(out, inp, branch, numbers, threshold, scale):
    for i in range(out.size):
        out[i] = inp[i] + branch[i] * (np.float32(0.0) if dropped(numbers[i], threshold) else scale)


@serial
def _dropped_row(out, branch, numbers, threshold, scale):
    for i in range(out.size):
        out[i] = branch[i] * (np.float32(0.0) if dropped(numbers[i], threshold) else scale)


@serial
def _sum(out, x, y):
    for i in range(out.size):
        out[i] = x[i] + y[i]


@parallel
def _residual(part, out, inp, branch, parts):
    low, high = out.size * part // parts, out.size * (part + 1) // parts
    _sum(out[low:high], inp[low:high], branch[low:high])


@parallel
def _residual_dropout(part, thread, out, inp, branch, numbers, words, key, threshold, scale, parts):
    """An empty inp is none: then only the dropped branch is written."""
    rows = out.shape[0]
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        mask_numbers(numbers[thread], words[thread], n, key)
        if inp.size:
            _masked_row(out[n], inp[n], branch[n], numbers[thread], threshold, scale)
        else:
            _dropped_row(out[n], branch[n], numbers[thread], threshold, scale)


def mask_arguments(key, rate):
    """(key, threshold, scale) in the types the kernels want; the key's four words as an array."""
    threshold, scale = dropout_scale(rate)
    words, taken = np.array(key, np.uint64), recording.current()
    if taken is not None:
        taken.note_key(words, key.site)
    return words, np.int64(threshold), np.float32(scale)


_NO_ROWS = np.zeros((0, 0), np.float32)


def _drop(inp, branch, rate, key):
    branch = contiguous(branch)
    columns = branch.shape[-1]
    rows = branch.reshape(-1, columns)
    out = memory.empty(branch.shape)
    parts = parts_for(branch.size)
    _residual_dropout(out.reshape(rows.shape), _NO_ROWS if inp is None else contiguous(inp).reshape(rows.shape),
                      rows, *mask_scratch(threads_of(parts), columns), *mask_arguments(key, rate), parts)
    return out


def dropout_forward(inp, rate, key):
    """See `tinylm.ops.dropout_forward`; float32."""
    return _drop(None, inp, rate, key), (rate, key)


def dropout_backward(dout, cache):
    """See `tinylm.ops.dropout_backward`."""
    return (_drop(None, dout, *cache),)


def add(x, y):
    """See `tinylm.ops.add`; float32."""
    shapes.same(x=x, y=y)
    x, y = contiguous(x), contiguous(y)
    out = memory.empty(x.shape)
    _residual(out.reshape(-1), x.reshape(-1), y.reshape(-1), parts_for(out.size))
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
