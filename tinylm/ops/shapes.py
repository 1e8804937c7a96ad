"""Shape checks with names in the message, shared by the definitions and by the kernels' callers.

>>> linear(np.zeros((4, 128, 96)), np.zeros((512, 128)), None)
ShapeError: inp is (4, 128, 96), but weight (512, 128) wants 128 in its last place
"""
from __future__ import annotations

import numpy as np


class ShapeError(ValueError):
    """Arrays that do not fit together."""


def same(**arrays: np.ndarray) -> None:
    """All arrays have one shape.  Raises ShapeError that names them."""
    shapes = {name: a.shape for name, a in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ShapeError("these should have one shape: " + ", ".join(f"{n} {s}" for n, s in shapes.items()))


def residual(residual: np.ndarray, wanted: tuple[int, ...]) -> None:
    """What a result of the wanted shape is added to.  Raises ShapeError."""
    if residual.shape != wanted:
        raise ShapeError(f"residual is {residual.shape}, but what is added to it {wanted}")


def linear(inp: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> None:
    """inp (..., K), weight (M, K), bias (M,) or None.  Raises ShapeError."""
    if weight.ndim != 2 or inp.shape[-1] != weight.shape[1]:
        raise ShapeError(f"inp is {inp.shape}, but weight {weight.shape} wants "
                         f"{weight.shape[-1]} in its last place")
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ShapeError(f"weight is {weight.shape}, so bias should be ({weight.shape[0]},), not {bias.shape}")


def channels(inp: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> None:
    """inp (..., C), weight (C,), bias (C,) or None.  Raises ShapeError."""
    for name, array in (("weight", weight), ("bias", bias)):
        if array is not None and array.shape != inp.shape[-1:]:
            raise ShapeError(f"inp is {inp.shape}, so {name} should be ({inp.shape[-1]},), not {array.shape}")


def tokens(ids: np.ndarray, vocab: int, name: str = "tokens") -> None:
    """Integers in 0 .. vocab-1.  Raises ShapeError, or IndexError for a token outside."""
    if ids.dtype.kind not in "iu":
        raise ShapeError(f"{name} should be integers, not {ids.dtype}")
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= vocab):
        raise IndexError(f"{name} run from {ids.min()} to {ids.max()}, the vocabulary from 0 to {vocab - 1}")


def attention(inp: np.ndarray, heads: int) -> None:
    """inp (B, T, 3C) with C a multiple of heads.  Raises ShapeError."""
    if inp.ndim != 3 or inp.shape[2] % (3 * heads):
        raise ShapeError(f"inp is {inp.shape}; attention with {heads} heads wants (B, T, 3C), "
                         f"C a multiple of {heads}")


def rope(inp: np.ndarray, heads: int) -> None:
    """As `attention`, with heads of even size.  Raises ShapeError."""
    attention(inp, heads)
    if inp.shape[2] // (3 * heads) % 2:
        raise ShapeError(f"inp is {inp.shape}: its heads have {inp.shape[2] // (3 * heads)} channels, "
                         "and rotations take them in pairs")


def gated_conv(inp: np.ndarray, weight: np.ndarray, before: np.ndarray | None) -> None:
    """inp (B, T, 2C), weight (K, C), before (B, K - 1, C) or None.  Raises ShapeError."""
    if inp.ndim != 3 or weight.ndim != 2 or not len(weight) or inp.shape[2] != 2 * weight.shape[1]:
        raise ShapeError(f"inp is {inp.shape} and weight {weight.shape}; "
                         "a gated convolution wants (B, T, 2C) and (K, C)")
    wanted = inp.shape[0], len(weight) - 1, weight.shape[1]
    if before is not None and before.shape != wanted:
        raise ShapeError(f"before should be {wanted}, not {before.shape}")
