"""The character GPT: a decoder of pre-norm blocks with learned positions.

Sources: the model trained twice by Eamon2009/Transformer-language-model (separate q, k, v without
bias, ReLU, untied head), and nanoGPT's (tied head, GELU, no biases); `GPTConfig` covers both.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..layers import Attention, Block, Embedding, FeedForward, Head, LayerNorm, Residual
from .base import LanguageModel


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT.

    vocab, context, channels, layers, heads    V, T, C, L, H
    hidden         width F of the feed-forward layer; 0 means 4 C
    activation     "relu" or "gelu" (the tanh form)
    qkv_bias, proj_bias, ffn_bias, norm_bias, head_bias    which linear maps and norms have a bias
    tied_head      the head's weight is the token embedding
    dropout        rate on attention weights and on both branches before they are added
    scaled_init    divide the init of the maps into the residual stream by sqrt(2 L), as GPT-2 does
    """

    vocab: int
    context: int
    channels: int
    layers: int
    heads: int
    hidden: int = 0
    activation: str = "relu"
    qkv_bias: bool = False
    proj_bias: bool = True
    ffn_bias: bool = True
    norm_bias: bool = True
    head_bias: bool = True
    tied_head: bool = False
    dropout: float = 0.0
    scaled_init: bool = False
    init_std: float = 0.02

    def __post_init__(self):
        for field in ("vocab", "context", "channels", "layers", "heads"):
            if getattr(self, field) < 1:
                raise UsageError(f"{field} is {getattr(self, field)}: it must be at least 1")
        if self.channels % self.heads:
            raise UsageError(f"{self.channels} channels cannot be shared by {self.heads} heads: "
                             "channels must be a multiple of heads")
        if self.hidden < 0:
            raise UsageError(f"hidden is {self.hidden}: it must be 0 (4 x channels) or more")
        if self.activation not in ("relu", "gelu"):
            raise UsageError(f"unknown activation {self.activation!r} (there are: gelu, relu)")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}: it must be at least 0 and below 1")


@dataclass
class GPTState:
    """What has been read so far: keys and values of every block, (B, P, C) each, and their number."""

    past: list[tuple[np.ndarray, np.ndarray]]
    length: int = 0

    @property
    def capacity(self) -> int:
        return self.past[0][0].shape[1]


class GPT(LanguageModel):
    """tokens -> embedding -> blocks -> norm -> head."""

    family = "gpt"

    def __init__(self, config: GPTConfig):
        self.name, self.config, c = "gpt", config, config
        out_std = c.init_std / math.sqrt(2 * c.layers) if c.scaled_init else c.init_std
        self.embedding = Embedding("embedding", c.vocab, c.context, c.channels, c.init_std)
        self.blocks = [Block(
            f"blocks.{i}",
            LayerNorm(f"blocks.{i}.norm1", c.channels, c.norm_bias),
            Attention(f"blocks.{i}.attention", c.channels, c.heads, qkv_bias=c.qkv_bias, proj_bias=c.proj_bias,
                      rate=c.dropout, site=3 * i, std=c.init_std, proj_std=out_std),
            Residual(f"blocks.{i}.residual1", c.dropout, site=3 * i + 1),
            LayerNorm(f"blocks.{i}.norm2", c.channels, c.norm_bias),
            FeedForward(f"blocks.{i}.ffn", c.channels, c.hidden or 4 * c.channels, activation=c.activation,
                        bias=c.ffn_bias, std=c.init_std, down_std=out_std),
            Residual(f"blocks.{i}.residual2", c.dropout, site=3 * i + 2),
        ) for i in range(c.layers)]
        self.norm = LayerNorm("norm", c.channels, c.norm_bias)
        self.head = Head("head", c.channels, c.vocab, c.head_bias, c.init_std,
                         tied_to=self.embedding.tokens if c.tied_head else None)

    def start(self, batch: int, capacity: int | None = None, dtype=np.float32) -> GPTState:
        """An empty state for reading `batch` texts of up to `capacity` (default: context) tokens."""
        capacity = min(capacity or self.config.context, self.config.context)
        shape = batch, capacity, self.config.channels
        return GPTState([(np.zeros(shape, dtype), np.zeros(shape, dtype)) for _ in self.blocks])

    def extend(self, tokens, state: GPTState, run):
        """Read more tokens: the same scores as `logits` of the whole text, for the new positions.

        Shapes    tokens (B, T) -> (B, T, V); state.length grows by T
        Raises    ShapeError when the state has no room
        """
        out = self.embedding.forward(tokens, run, state.length)
        for block, past in zip(self.blocks, state.past):
            out = block.extend(out, past, state.length, run)
        state.length += tokens.shape[1]
        return self.head.logits(self.norm.forward(out, run), run)
