"""Nova: a transformer with rotary positions and gated feed-forward layers.

Source: FlashLM v5.2, Nova-Ignition (github.com/changcheng967/FlashLM).  There the GELU is exact (here its tanh form),
embeddings are dropped out too, and one matrix holds gate and up, which multiplies the same numbers.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from ..layers import Attention, Block, Embedding, GatedFeedForward, Head, LayerNorm, Linear, Residual
from .base import Attending, at_least, checked_heads, checked_rate


@dataclass(frozen=True)
class NovaConfig:
    """The shape of a Nova.

    vocab, context, channels, layers, heads    V, T, C, L, H; heads have an even number of channels
    hidden    width F of the feed-forward layer
    base      of the angles: pair i of a head turns by base^(-2 i / D) a position
    dropout   rate on attention weights and on the feed-forward branch before it is added
    """

    vocab: int
    context: int
    channels: int
    layers: int
    heads: int
    hidden: int
    base: float = 10000.0
    dropout: float = 0.0
    init_std: float = 0.02

    def __post_init__(self):
        at_least(self, 1, "vocab", "context", "channels", "layers", "heads", "hidden")
        checked_heads(self.channels, self.heads)
        if self.channels // self.heads % 2:
            raise UsageError(f"{self.heads} heads of {self.channels // self.heads} channels: "
                             "rotations take channels in pairs, so a head needs an even number")
        if not self.base > 1:
            raise UsageError(f"base is {self.base}: it must be above 1")
        checked_rate(self.dropout)


class Nova(Attending):
    """tokens -> embedding -> blocks -> norm -> head (tied)."""

    family = "nova"

    def __init__(self, config: NovaConfig):
        self.name, self.config, c = "nova", config, config
        self.embedding = Embedding("embedding", c.vocab, 0, c.channels, c.init_std)
        self.blocks = [Block(
            f"blocks.{i}",
            LayerNorm(f"blocks.{i}.norm1", c.channels),
            Attention(f"blocks.{i}.attention", c.channels, c.heads, qkv_bias=False, proj_bias=False, rate=c.dropout,
                      site=3 * i, std=c.init_std, proj_std=c.init_std, rotary=c.base),
            Residual(f"blocks.{i}.residual1", 0.0, site=3 * i + 1),
            LayerNorm(f"blocks.{i}.norm2", c.channels),
            GatedFeedForward(f"blocks.{i}.ffn",
                             Linear(f"blocks.{i}.ffn.gate", c.channels, c.hidden, False, c.init_std),
                             Linear(f"blocks.{i}.ffn.up", c.channels, c.hidden, False, c.init_std),
                             Linear(f"blocks.{i}.ffn.down", c.hidden, c.channels, False, c.init_std),
                             activation="geglu"),
            Residual(f"blocks.{i}.residual2", c.dropout, site=3 * i + 2),
        ) for i in range(c.layers)]
        self.norm = LayerNorm("norm", c.channels)
        self.head = Head("head", c.channels, c.vocab, bias=False, tied_to=self.embedding.tokens)
