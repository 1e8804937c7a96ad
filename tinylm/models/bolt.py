"""Bolt: a short gated convolution in the place of attention, ternary weights, gated feed-forward layers.

Source: FlashLM v4 (github.com/changcheng967/FlashLM).  There activations stay float (`activation_bits` 0 here), weights
are scaled by their mean magnitude without a least value, and the norm's epsilon is 1e-6.
"""
from __future__ import annotations

from dataclasses import dataclass

from ..layers import BitLinear, Block, Embedding, GatedConv, GatedFeedForward, Head, Residual, RMSNorm
from .base import Remembering, at_least, checked_bits, checked_rate


@dataclass(frozen=True)
class BoltConfig:
    """The shape of a Bolt.

    vocab, context, channels, layers    V, T (in training; streaming has no limit), C, L
    hidden            width F of the feed-forward layer
    kernel            how many tokens a convolution sees; L layers together see (kernel - 1) L + 1
    activation_bits   8: inputs of ternary layers are rounded to 8 bits a token; 0: they stay float
    dropout           rate on both branches before they are added
    """

    vocab: int
    context: int
    channels: int
    layers: int
    hidden: int
    kernel: int = 8
    activation_bits: int = 8
    dropout: float = 0.0
    init_std: float = 0.02

    def __post_init__(self):
        at_least(self, 1, "vocab", "context", "channels", "layers", "hidden", "kernel")
        checked_bits(self.activation_bits)
        checked_rate(self.dropout)


class Bolt(Remembering):
    """tokens -> embedding -> blocks -> norm -> head (tied)."""

    family = "bolt"

    def __init__(self, config: BoltConfig):
        self.name, self.config, c = "bolt", config, config
        bits = c.activation_bits
        self.embedding = Embedding("embedding", c.vocab, 0, c.channels, c.init_std)
        self.blocks = [Block(
            f"blocks.{i}",
            RMSNorm(f"blocks.{i}.norm1", c.channels),
            GatedConv(f"blocks.{i}.mixer", c.channels, c.kernel, bits),
            Residual(f"blocks.{i}.residual1", c.dropout, site=2 * i),
            RMSNorm(f"blocks.{i}.norm2", c.channels),
            GatedFeedForward(f"blocks.{i}.ffn",
                             BitLinear(f"blocks.{i}.ffn.gate", c.channels, c.hidden, bits),
                             BitLinear(f"blocks.{i}.ffn.up", c.channels, c.hidden, bits),
                             BitLinear(f"blocks.{i}.ffn.down", c.hidden, c.channels, bits), activation="swiglu"),
            Residual(f"blocks.{i}.residual2", c.dropout, site=2 * i + 1),
        ) for i in range(c.layers)]
        self.norm = RMSNorm("norm", c.channels)
        self.head = Head("head", c.channels, c.vocab, bias=False, tied_to=self.embedding.tokens)
