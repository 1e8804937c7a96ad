"""Thunderbolt: a recurrence in the place of attention, three values in the place of weights.

Source: FlashLM v5 (github.com/changcheng967/FlashLM).  Its head norm took statistics over time and so read the
future; here every token and head is normalised by itself, which is causal and can be streamed.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from ..layers import (
    Embedding,
    Head,
    LayerNorm,
    Recurrence,
    RecurrentBlock,
    Residual,
    TernaryFeedForward,
    TokenShift,
)
from .base import Remembering, at_least, checked_bits, checked_heads, checked_rate


@dataclass(frozen=True)
class ThunderboltConfig:
    """The shape of a Thunderbolt.

    vocab, context, channels, layers, heads    V, T (in training; streaming has no limit), C, L, H
    hidden            width F of the feed-forward layer; 0 means 3 C
    activation_bits   8: inputs of ternary layers are rounded to 8 bits a token; 0: they stay float
    longest           the gate's lower bound in the last layer; the first has 0, those between in proportion
    gate_bias         what the forget gates start from, before their sigmoid
    dropout           rate on both branches before they are added
    """

    vocab: int
    context: int
    channels: int
    layers: int
    heads: int
    hidden: int = 0
    activation_bits: int = 8
    longest: float = 0.9
    gate_bias: float = 0.0
    dropout: float = 0.0
    init_std: float = 0.02

    def __post_init__(self):
        at_least(self, 1, "vocab", "context", "channels", "layers", "heads")
        checked_heads(self.channels, self.heads)
        checked_bits(self.activation_bits)
        at_least(self, 0, "hidden", why="0 (3 x channels) or more")
        if not 0 <= self.longest < 1:
            raise UsageError(f"longest is {self.longest}: it must be at least 0 and below 1")
        checked_rate(self.dropout)


class Thunderbolt(Remembering):
    """tokens -> embedding -> blocks -> norm -> head (tied)."""

    family = "thunderbolt"

    def __init__(self, config: ThunderboltConfig):
        self.name, self.config, c = "thunderbolt", config, config
        bits = c.activation_bits
        self.embedding = Embedding("embedding", c.vocab, 0, c.channels, c.init_std)
        self.blocks = [RecurrentBlock(
            f"blocks.{i}",
            LayerNorm(f"blocks.{i}.norm1", c.channels),
            TokenShift(f"blocks.{i}.shift1", c.channels),
            Recurrence(f"blocks.{i}.mixer", c.channels, c.heads, lower=c.longest * i / max(1, c.layers - 1),
                       gate_bias=c.gate_bias, activation_bits=bits),
            Residual(f"blocks.{i}.residual1", c.dropout, site=2 * i),
            LayerNorm(f"blocks.{i}.norm2", c.channels),
            TokenShift(f"blocks.{i}.shift2", c.channels),
            TernaryFeedForward(f"blocks.{i}.ffn", c.channels, c.hidden or 3 * c.channels, bits),
            Residual(f"blocks.{i}.residual2", c.dropout, site=2 * i + 1),
        ) for i in range(c.layers)]
        self.norm = LayerNorm("norm", c.channels)
        self.head = Head("head", c.channels, c.vocab, bias=False, tied_to=self.embedding.tokens)
