"""With how many bits matrix products multiply: all others keep float32.

bfloat16 is a float32 without its last 16 bits: the same range, 8 bits of precision instead of 24.  Both operands of a
product are rounded to it; what they give is added up in float32, and weights, moments and activations stay float32.
"""
from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from ..config import PRECISIONS
from ..errors import UsageError

_chosen = ContextVar("precision of matrix products", default=PRECISIONS[0])


@contextmanager
def autocast(precision: str):
    """Within the block, matrix products round their operands to `precision`.

    Attention, which does its own products in small tiles, does not; nor do threads started within the block, nor
    a packed model that reads one token at a time.

    Raises    UsageError for a precision there is not
    Source    Kalamkar et al. 2019, arXiv:1905.12322, section 3 (bfloat16 operands, float32 sums and weights)
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: there are {' and '.join(PRECISIONS)}")
    before = _chosen.set(precision)
    try:
        yield
    finally:
        _chosen.reset(before)


def rounds_products() -> bool:
    """Whether operands are to be rounded to bfloat16."""
    return _chosen.get() == "bfloat16"


def round_bfloat16(x):
    """The nearest bfloat16, of two equally near the even one, in the type of x.  NaN stays NaN."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    nearest = (bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000).view(np.float32)
    return np.where(np.isnan(x), x, nearest).astype(np.asarray(x).dtype)
