"""With how many bits matrix products multiply: all others keep float32.

bfloat16 is a float32 without its last 16 bits: the same range, 8 bits of precision instead of 24.  In int16 up
to CHUNK numbers that follow each other along the inner dimension are whole multiples, 2,047 at most, of a step of
their own.  Both operands of a product are rounded; what they give is added up in float32 (int16: exactly, within a
chunk), and weights, moments and activations stay float32.  int8 is int16 but for ternary maps of 8-bit activations
(see `ternary.bitlinear_backward`) and the logits of a loss (`cross_entropy.operands`), where multiples are 127 at most.
"""
from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from ..config import PRECISIONS
from ..errors import UsageError

FIXED_POINT = "int16", "int8"
CHUNK = 512          # numbers along the inner dimension that share a step in int16 and int8
SMALLEST = 1e-30     # a chunk whose numbers are all smaller is rounded to 0
LARGEST = 2047       # CHUNK products of two such codes are below 2^31
_chosen = ContextVar("precision of matrix products", default=PRECISIONS[0])


@contextmanager
def autocast(precision: str):
    """Within the block, matrix products round their operands to `precision`.

    Attention, which does its own products in small tiles, does not; nor do threads started within the block, nor
    a packed model that reads one token at a time.

    Raises    UsageError for a precision there is not
    Source    Kalamkar et al. 2019, arXiv:1905.12322, section 3 (bfloat16 operands, float32 sums and weights);
              Das et al. 2018, arXiv:1802.00930, sections 3 and 4 (16-bit integers with shared exponents, 32-bit sums)
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: there are {', '.join(PRECISIONS)}")
    before = _chosen.set(precision)
    try:
        yield
    finally:
        _chosen.reset(before)


def precision() -> str:
    """What products multiply at present."""
    return _chosen.get()


def fixed_point() -> bool:
    """Whether they multiply whole multiples of a step."""
    return precision() in FIXED_POINT


def rounded(x, axis):
    """x as the present precision has it, where `axis` is the inner dimension of the product."""
    if fixed_point():
        return round_fixed(x, axis)
    return round_bfloat16(x) if precision() == "bfloat16" else x


def round_bfloat16(x):
    """The nearest bfloat16, of two equally near the even one, in the type of x.  NaN stays NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    nearest = (bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000).view(np.float32)
    return np.where(np.isnan(x), x, nearest).astype(np.asarray(x).dtype)


def round_fixed(x, axis, largest=LARGEST):
    """The nearest whole multiple of a step, max |x| / largest of each CHUNK numbers along the axis, in the type of x.

    Numbers that are not finite make NaN of their whole chunk.  int8 is exact as it stands.
    """
    if x.dtype == np.int8:
        return x
    x, out = np.moveaxis(x, axis, -1), np.empty(np.moveaxis(x, axis, -1).shape, x.dtype)
    for k in range(0, x.shape[-1], CHUNK):
        part = x[..., k:k + CHUNK].astype(np.float32)
        top = np.abs(part).max(-1, keepdims=True)
        # Multiplied by the reciprocal, in float32, as kernels do: the codes must be the same.
        inverse = np.divide(np.float32(largest), top, out=np.zeros_like(top), where=top > SMALLEST)
        finite, step = np.isfinite(top), top * np.float32(1 / largest)
        codes = np.rint(np.where(finite, part, 0) * inverse).astype(x.dtype)
        out[..., k:k + CHUNK] = codes * np.where(finite, step, np.nan).astype(x.dtype)
    return np.moveaxis(out, -1, axis)
