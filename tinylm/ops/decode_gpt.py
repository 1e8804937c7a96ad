"""One token of each of several texts through a GPT: what is called again and again when it writes."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .activations import gelu_forward, relu_forward
from .attention import Int8Rows, attention_extend
from .embedding import embedding_forward
from .layernorm import layernorm_forward
from .linear import linear_forward


class GPTBlock(NamedTuple):
    """What one block has; a bias is None where there is none."""

    norm1: tuple             # weight (C,) and bias
    qkv: tuple               # weight (3C, C) and bias
    proj: tuple              # weight (C, C) and bias
    norm2: tuple             # weight (C,) and bias
    up: tuple                # weight (F, C) and bias
    down: tuple              # weight (C, F) and bias
    window: int              # how many positions one sees, its own included; 0 for all


class GPTWeights(NamedTuple):
    """A GPT of L blocks, C channels, V tokens."""

    tokens: np.ndarray       # (V, C)
    positions: np.ndarray    # (P, C)
    blocks: tuple            # L of them
    norm: tuple              # weight (C,) and bias
    head: tuple              # weight (V, C) and bias
    heads: int
    activation: str          # "relu" or "gelu"
    scale: float | None      # of attention scores; None for 1/sqrt(D)
    eps: float


def pack_gpt(weights):
    """What `gpt_step` takes; kernels copy it into the order in which they read it.   Shapes    GPTWeights"""
    return weights


def check_gpt(tokens, weights, past, scales, length):
    """Raises    ShapeError, or IndexError for a token outside the vocabulary"""
    if tokens.ndim != 1:
        raise shapes.ShapeError(f"tokens are {tokens.shape}: one of each text is read, (B,)")
    vocab = len(weights.tokens)
    if tokens.dtype.kind not in "iu" or not all(0 <= token < vocab for token in tokens.tolist()):  # quick
        shapes.tokens(tokens, vocab)
    wanted = len(weights.blocks), 2, len(tokens), weights.tokens.shape[1]
    if past.ndim != 5 or past.shape[:3] + past.shape[4:] != wanted:
        raise shapes.ShapeError(f"past is {past.shape}; the model's keys and values of {len(tokens)} texts are "
                                f"({', '.join(map(str, wanted[:3]))}, P, {wanted[3]})")
    if (scales is None) != (past.dtype != np.int8):
        raise shapes.ShapeError(f"past is {past.dtype}, and scales are there for int8 only")
    if scales is not None and scales.shape != (*past.shape[:4], weights.heads):
        raise shapes.ShapeError(f"past is {past.shape}, so scales should be {(*past.shape[:4], weights.heads)}, "
                                f"not {scales.shape}")
    if not 0 <= length < past.shape[3]:
        raise shapes.ShapeError(f"the cache holds {past.shape[3]} positions, {length + 1} are needed")
    if length >= len(weights.positions):
        raise shapes.ShapeError(f"position {length} was asked for, there are {len(weights.positions)}")


def gpt_step(tokens, weights, past, scales, length):
    """Scores of the tokens after `tokens`, which stand at position `length` of their texts.

    past and scales are changed in place: keys and values of the new position are kept there.

    Shapes    tokens (B,) integers, weights: `pack_gpt` of GPTWeights, past (L, 2, B, P, C): keys and values of each
              block, length of P positions of them; scales None, or (L, 2, B, P, H) where past is int8: see
              `ops.attention.Int8Rows` -> (B, V)
    Raises    ShapeError, IndexError
    Source    `tinylm.models.GPT`, with T = 1
    """
    check_gpt(tokens, weights, past, scales, length)
    w = weights
    out, _ = embedding_forward(tokens[:, None], w.tokens, w.positions, length)      # (B, 1, C)
    activation = gelu_forward if w.activation == "gelu" else relu_forward
    for layer, block in enumerate(w.blocks):
        kept = past[layer] if scales is None else [Int8Rows(past[layer, i], scales[layer, i]) for i in range(2)]
        qkv, _ = linear_forward(layernorm_forward(out, *block.norm1, w.eps)[0], *block.qkv)
        mixed = attention_extend(qkv, *kept, length, w.heads, w.scale, block.window)
        out = out + linear_forward(mixed, *block.proj)[0]                           # (B, 1, C)
        hidden, _ = activation(linear_forward(layernorm_forward(out, *block.norm2, w.eps)[0], *block.up)[0])
        out = out + linear_forward(hidden, *block.down)[0]                          # (B, 1, C)
    out, _ = layernorm_forward(out, *w.norm, w.eps)
    return linear_forward(out, *w.head)[0][:, 0]
