"""Tokens and positions become vectors."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes


class EmbeddingCache(NamedTuple):
    tokens: np.ndarray           # (B, T)
    token_weight: np.ndarray     # (V, C)
    position_weight: np.ndarray | None  # (P, C)
    start: int


def embedding_forward(tokens, token_weight, position_weight=None, start=0):
    """out[b, t] = token_weight[tokens[b, t]] + position_weight[start + t].

    Shapes    tokens (B, T) integers, token_weight (V, C), position_weight (P, C) or None: no positions
              -> out (B, T, C)
    Raises    IndexError for a token outside the vocabulary, ShapeError for more positions than P
    """
    shapes.tokens(tokens, len(token_weight))
    steps = tokens.shape[1]
    if position_weight is None:
        return token_weight[tokens], EmbeddingCache(tokens, token_weight, None, start)
    if start + steps > len(position_weight):
        raise shapes.ShapeError(f"positions {start} to {start + steps - 1} were asked for, "
                                f"there are {len(position_weight)}")
    out = token_weight[tokens] + position_weight[start:start + steps]               # (B, T, C)
    return out, EmbeddingCache(tokens, token_weight, position_weight, start)


def embedding_backward(dout, cache, add_to=None):
    """Return (dtoken_weight, dposition_weight); tokens are integers and have no gradient.

    Without positions their gradient is None.

    add_to    arrays these gradients are added to; new ones if omitted
    """
    tokens, token_weight, position_weight, start = cache
    if add_to is None:
        add_to = np.zeros_like(token_weight), None if position_weight is None else np.zeros_like(position_weight)
    dtoken_weight, dposition_weight = add_to
    np.add.at(dtoken_weight, tokens, dout)          # a token that occurs twice collects both
    if position_weight is not None:
        dposition_weight[start:start + tokens.shape[1]] += dout.sum(0)              # (T, C)
    return dtoken_weight, dposition_weight
