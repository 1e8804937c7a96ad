"""One token through a packed Thunderbolt: what is called again and again when text is written."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .activations import squared_relu_forward
from .int8 import Int8Weight, int8_linear
from .layernorm import headnorm_forward, layernorm_forward
from .linear import linear_forward
from .packed import packed_bitlinear, packed_shape
from .recurrence import recurrence_forward
from .token_shift import token_shift_forward

MATRICES = 6                 # ternary ones in a block: forget, value, output, proj, up, down
BEFORE1, BEFORE2, HIDDEN = range(3)  # what a block remembers of the token before


class DecodeWeights(NamedTuple):
    """A Thunderbolt of L blocks, C channels, F hidden, V tokens, with 8-bit activations."""

    embedding: np.ndarray    # (V, C)
    norms: np.ndarray        # (L, 2, 2, C): before mixer and feed-forward; weight and bias
    mixes: np.ndarray        # (L, 2, C): of the two token shifts
    gate_bias: np.ndarray    # (L, C)
    head_norm: np.ndarray    # (L, 2, C): weight and bias
    lower: np.ndarray        # (L,): least share of the state that is kept
    packed: np.ndarray       # uint8, flat: the MATRICES of each block, one after the other
    scales: np.ndarray       # (L, MATRICES)
    last_norm: np.ndarray    # (2, C)
    head: object             # (V, C), as `pack` or `pack_int8` made it
    heads: int
    hidden: int              # F
    eps: float


def matrix_shapes(weights):
    """(rows, columns) of a block's MATRICES, in their order."""
    C, F = weights.embedding.shape[1], weights.hidden
    return [(C, C)] * 4 + [(F, C), (C, F)]


def check_decode(token, weights, state):
    """Raises ShapeError, or IndexError for a token outside the vocabulary."""
    if not (isinstance(token, (int, np.integer)) and 0 <= token < len(weights.embedding)):
        shapes.tokens(np.asarray(token), len(weights.embedding))
    L, C = weights.gate_bias.shape
    if state.shape != (L, 3, C):
        raise shapes.ShapeError(f"state is {state.shape}, the model's is {(L, 3, C)}")


def pack_decode(weights):
    """What `decode_step` takes; kernels copy it into the order in which they read it.   Shapes    DecodeWeights"""
    return weights


def decode_step(token, weights, state):
    """Scores of the token after `token`; `state` moves on by one.

    Shapes    token: an integer, weights: `pack_decode` of DecodeWeights, state (L, 3, C) -> (V,); of the state, which
              is changed in place, BEFORE1, BEFORE2 are what the token shifts saw last, HIDDEN is the recurrence's h
    Raises    ShapeError, IndexError
    Source    `tinylm.models.Thunderbolt`, with B = T = 1
    """
    check_decode(token, weights, state)
    w, at = weights, 0
    out = w.embedding[token][None, None]                                            # (1, 1, C)
    for layer in range(len(w.gate_bias)):
        matrices = []
        for shape in matrix_shapes(w):
            size = int(np.prod(packed_shape(*shape)))
            matrices.append(w.packed[at:at + size].reshape(packed_shape(*shape)))
            at += size

        def linear(inp, number, layer=layer, matrices=matrices):
            return packed_bitlinear(inp, matrices[number], w.scales[layer, number], matrix_shapes(w)[number][0])

        def shifted(inp, which, layer=layer):
            normed, _ = layernorm_forward(inp, *w.norms[layer, which], w.eps)
            mixed, _ = token_shift_forward(normed, w.mixes[layer, which], state[layer, which][None])
            state[layer, which] = normed[0, 0]
            return mixed

        mixed = shifted(out, BEFORE1)
        mixed, cache = recurrence_forward(*(linear(mixed, number) for number in range(3)), w.gate_bias[layer],
                                          state[layer, HIDDEN][None], w.lower[layer])
        state[layer, HIDDEN] = cache.hidden[0, 0]
        out = out + linear(headnorm_forward(mixed, w.heads, *w.head_norm[layer], w.eps)[0], 3)
        hidden, _ = squared_relu_forward(linear(shifted(out, BEFORE2), 4))
        out = out + linear(hidden, 5)
    out, _ = layernorm_forward(out, *w.last_norm, w.eps)
    if isinstance(w.head, Int8Weight):
        return int8_linear(out, w.head)[0, 0]
    return linear_forward(out, w.head)[0][0, 0]
