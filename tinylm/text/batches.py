"""Batches: windows of a token stream, with the targets one token further on."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinylm.errors import DataMissing, UsageError
from tinylm.ops.random import generator


def batch(tokens: np.ndarray, seed: int, step: int, batch_size: int, context: int,
          micro: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """B random windows: targets[b, t] = inputs[b, t+1], a pure function of (seed, step, micro).

    tokens  (n,) of any integer type; n > T
    micro   counts the batches accumulated within one step
    Every window start 0 … n−T−1 is equally likely and drawn with replacement, as in nanoGPT.

    Shapes  inputs, targets (B, T) int32
    Raises  DataMissing where n ≤ T; UsageError for sizes below one or a negative step
    """
    _check("the training text", tokens, context, batch_size)
    if step < 0 or micro < 0:
        raise UsageError(f"step {step}, micro {micro}: neither may be negative")
    starts = generator(seed, "batch", step, micro).integers(0, len(tokens) - context, size=batch_size)
    rows = np.asarray(tokens[starts[:, None] + np.arange(context + 1)])          # (B, T+1)
    return rows[:, :-1].astype(np.int32), rows[:, 1:].astype(np.int32)


def windows(tokens: np.ndarray, context: int, limit: int | None = None,
            batch_size: int = 32) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Windows side by side, for evaluation: every token but the first is a target exactly once.

    limit  at most so many targets, from the start of the stream: a fixed smaller validation set

    Shapes  inputs, targets (≤ B, T) int32; the shorter last window comes alone, as (1, < T)
    Raises  DataMissing where the stream is not longer than the context; UsageError for sizes below one
    """
    _check("the text to evaluate on", tokens, context, batch_size)
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: at least 1 token is needed")
    targets = len(tokens) - 1 if limit is None else min(limit, len(tokens) - 1)
    return _windows(tokens, context, targets, batch_size)


def _windows(tokens, context, targets, batch_size):
    whole = targets // context
    for first in range(0, whole, batch_size):
        rows = min(batch_size, whole - first)
        piece = np.asarray(tokens[first * context:(first + rows) * context + 1]).astype(np.int32)
        yield piece[:-1].reshape(rows, context), piece[1:].reshape(rows, context)
    if targets % context:
        piece = np.asarray(tokens[whole * context:targets + 1]).astype(np.int32)
        yield piece[None, :-1], piece[None, 1:]


def _check(what: str, tokens: np.ndarray, context: int, batch_size: int) -> None:
    if batch_size < 1 or context < 1:
        raise UsageError(f"batch size {batch_size}, context {context}: both must be at least 1")
    if len(tokens) <= context:
        raise DataMissing(f"{what} has {len(tokens)} tokens, too few for a context of {context}: "
                          "use a longer text or a smaller context")
