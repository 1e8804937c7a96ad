"""The character GPT: a decoder of pre-norm blocks with learned positions.

Sources: the model trained twice by Eamon2009/Transformer-language-model (separate q, k, v without
bias, ReLU, untied head), nanoGPT's (tied head, GELU, no biases), and GPT-Neo (scores as they are, every
second layer with a window); `GPTConfig` covers them.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import UsageError
from ..layers import Attention, Block, Embedding, FeedForward, Head, LayerNorm, Residual
from ..layers.basic import NORM_EPS
from ..ops.decode_gpt import GPTBlock, GPTWeights
from .base import Attending, at_least, checked_heads, checked_rate


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
    scaled_scores  divide attention scores by sqrt(D)
    window         how many positions one sees in the second, fourth, ... layer, its own included; 0 for all
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
    scaled_scores: bool = True
    window: int = 0

    def __post_init__(self):
        at_least(self, 1, "vocab", "context", "channels", "layers", "heads")
        checked_heads(self.channels, self.heads)
        at_least(self, 0, "hidden", why="0 (4 x channels) or more")
        at_least(self, 0, "window", why="0 (no window) or more")
        if self.activation not in ("relu", "gelu"):
            raise UsageError(f"unknown activation {self.activation!r} (there are: gelu, relu)")
        checked_rate(self.dropout)


class GPT(Attending):
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
                      rate=c.dropout, site=3 * i, std=c.init_std, proj_std=out_std,
                      scale=None if c.scaled_scores else 1.0, window=c.window if i % 2 else 0),
            Residual(f"blocks.{i}.residual1", c.dropout, site=3 * i + 1),
            LayerNorm(f"blocks.{i}.norm2", c.channels, c.norm_bias),
            FeedForward(f"blocks.{i}.ffn", c.channels, c.hidden or 4 * c.channels, activation=c.activation,
                        bias=c.ffn_bias, std=c.init_std, down_std=out_std),
            Residual(f"blocks.{i}.residual2", c.dropout, site=3 * i + 2),
        ) for i in range(c.layers)]
        self.norm = LayerNorm("norm", c.channels, c.norm_bias)
        self.head = Head("head", c.channels, c.vocab, c.head_bias, c.init_std,
                         tied_to=self.embedding.tokens if c.tied_head else None)

    def extend(self, tokens, state, run):
        """As every model that attends; a single token goes through `gpt_step`."""
        if not run.plain:
            return super().extend(tokens, state, run)
        if self.name not in run.made:
            run.made[self.name] = packed = run.f.pack_gpt(self.decode_weights(run.p))
            maps = [layer for b in self.blocks for layer in (b.mixer.proj, b.ffn.up, b.ffn.down)] + [self.head]
            run.made.update(zip((layer.weight.name for layer in maps), packed.maps))  # prompts read the same memory
        if tokens.shape[1] != 1:
            return super().extend(tokens, state, run)
        scores = run.f.gpt_step(tokens[:, 0], run.made[self.name], state.cache, state.scales, state.length)
        state.length += 1
        return scores[:, None]                                                      # (B, 1, V)

    def decode_weights(self, p) -> GPTWeights:
        """What `pack_gpt` takes."""
        def of(layer):
            return p[layer.weight.name], p[layer.bias.name] if layer.bias else None

        c = self.config
        return GPTWeights(
            p[self.embedding.tokens.name], p[self.embedding.positions.name],
            tuple(GPTBlock(of(b.norm1), of(b.mixer.qkv), of(b.mixer.proj), of(b.norm2), of(b.ffn.up), of(b.ffn.down),
                           b.mixer.window) for b in self.blocks),
            of(self.norm), of(self.head), c.heads, c.activation, None if c.scaled_scores else 1.0, NORM_EPS)
