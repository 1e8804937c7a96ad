"""Rotary positions: queries and keys are turned by their position, so that products know the distance."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes


class RopeCache(NamedTuple):
    heads: int
    base: float
    start: int


def angles(steps, width, base, start, dtype):
    """(cos, sin) of position start + t times base^(-2 i / width), for t < steps and i < width / 2.

    Computed in float64 whatever the dtype: a large position has few digits left for its angle.

    Shapes    -> (T, D/2) each
    """
    turns = np.arange(start, start + steps)[:, None] * float(base) ** (-np.arange(0, width, 2) / width)
    return np.cos(turns).astype(dtype), np.sin(turns).astype(dtype)


def rope_forward(inp, heads, base=10000.0, start=0):
    """Turn channel i and channel i + D/2 of each query and key by their position's angle; values stay.

    (x_i, x_{i + D/2}) -> (x_i cos - x_{i + D/2} sin, x_i sin + x_{i + D/2} cos)

    Shapes    inp (B, T, 3C): query, key and value side by side, each `heads` heads of D, at positions
              start, start + 1, ... -> out (B, T, 3C)
    Caches    the options: the angles are computed again
    Raises    ShapeError, for an odd D too
    Source    Su et al. 2021, arXiv:2104.09864, eq. 34, with the halves of a head as pairs
    """
    shapes.rope(inp, heads)
    return _turned(inp, heads, base, start, 1), RopeCache(heads, base, start)


def rope_backward(dout, cache):
    """Return (dinp,): turned back."""
    return (_turned(dout, *cache, -1),)


def _turned(inp, heads, base, start, sign):
    B, T, width = inp.shape
    D = width // (3 * heads)
    cos, sin = angles(T, D, base, start, inp.dtype)
    cos, sin = cos[:, None, None], sign * sin[:, None, None]                        # (T, 1, 1, D/2)
    out = inp.copy()
    low, high = np.split(inp.reshape(B, T, 3, heads, D)[:, :, :2], 2, axis=-1)      # (B, T, 2, H, D/2) each
    out.reshape(B, T, 3, heads, D)[:, :, :2] = np.concatenate(
        [low * cos - high * sin, low * sin + high * cos], axis=-1)
    return out
