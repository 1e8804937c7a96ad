"""Do packed weights give the scores of the training forward pass?"""
from __future__ import annotations

import math
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ..layers import Layer, Parameters, Pass
from .result import Check

TEXTS, TOKENS = 2, 64  # what scores are compared on: so many texts, so long at most


class Parity(NamedTuple):
    """Scores of two models side by side.

    largest   the largest difference; infinite where one is not a number
    scores    how many were compared
    where     the first place where they differ, in words, or None
    """

    largest: float
    scores: int
    where: str | None


def texts(model: Layer, rng: np.random.Generator) -> np.ndarray:
    """What scores are compared on.   Shapes    (TEXTS, at most TOKENS) int32"""
    return rng.integers(0, model.config.vocab, (TEXTS, min(TOKENS, model.config.context))).astype(np.int32)


def parity(model: Layer, mine: Pass, other: Layer, its: Pass, rng: np.random.Generator) -> Parity:
    """Two forms of one model on the same texts: whole, token by token, and one text token by token.

    mine, its   a pass of each, with its parameters

    One text alone is how text is written, and may take another way through a packed model.  Streaming is compared
    with streaming: what it differs by in both forms is the `streaming` check's business.
    """
    tokens = texts(model, rng)
    length = tokens.shape[1]
    largest, scores, where = 0.0, 0, None

    def compare(got, want, place):
        nonlocal largest, scores, where
        gap = np.abs(got - want)
        gap = float(np.where(np.isnan(gap), np.inf, gap).max())
        largest, scores = max(largest, gap), scores + want.size
        if gap and where is None:
            where = place

    compare(model.logits(tokens, mine), other.logits(tokens, its), "of whole texts")
    for some in (tokens, tokens[:1]):
        read, other_read = model.start(len(some), length), other.start(len(some), length)
        for t in range(length):
            piece = np.ascontiguousarray(some[:, t:t + 1])
            compare(model.extend(piece, read, mine), other.extend(piece, other_read, its),
                    f"at position {t} of {len(some)} text{'s' * (len(some) > 1)} read token by token")
    return Parity(largest, scores, where)


def packing(model: Layer, params: Parameters, trained: Layer, trained_params: Parameters, f: ModuleType,
            rng: np.random.Generator) -> Check:
    """The scores of a packed model, to the bit those of `trained`, which multiplies as training does."""
    found = parity(model, Pass(f, params), trained, Pass(f, trained_params), rng)
    if found.where is not None:
        return Check("packing", False, math.inf, (
            f"the packed model's scores {found.where} differ from the training forward's by up to {found.largest:.3g}"))
    return Check("packing", True, 0.0, f"{found.scores:,} scores are those of the training forward, to the bit")
