"""Losses that carry their units.

A bare number such as "loss 1.36" cannot be compared with anything: per token or per character, in
nats or bits, with which tokenizer, on which text?  A `Loss` keeps the sums it was made of, so every
unit can be derived exactly, two of them can be added, and unlike ones refuse to be ranked.  `Sums` is
what it grows from, window by window.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


class UnlikeLosses(TypeError):
    """Two losses were compared that are not on one scale."""


class Sums(NamedTuple):
    """The sums of a `Loss` while they grow: they may be of nothing yet."""

    nats: float = 0.0
    tokens: int = 0
    bytes: int = 0
    chars: int = 0

    @classmethod
    def of(cls, targets, token_bytes, token_chars, nats: float = 0.0) -> Sums:
        """Of the targets of a window, an integer array, and the text each token stands for, (V,) arrays."""
        return cls(nats, targets.size, int(token_bytes[targets].sum()), int(token_chars[targets].sum()))

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(one + more for one, more in zip(self, other, strict=True)))

    def loss(self, tokenizer: str) -> Loss:
        """Raises ValueError where the tokens stand for no text"""
        return Loss(*self, tokenizer)


@dataclass(frozen=True)
class Loss:
    """Total negative log-likelihood of a text, and the sizes of that text.

    nats       sum of -ln p over all predicted tokens
    tokens     how many tokens were predicted
    bytes      UTF-8 bytes of the raw text these tokens stand for
    chars      characters (code points) of that raw text
    tokenizer  digest of the tokenizer the tokens belong to
    """

    nats: float
    tokens: int
    bytes: int
    chars: int
    tokenizer: str

    def __post_init__(self):
        for field in ("tokens", "bytes", "chars"):
            if getattr(self, field) <= 0:
                raise ValueError(f"a loss needs a text: {field} is {getattr(self, field)}")

    @property
    def sums(self) -> Sums:
        return Sums(self.nats, self.tokens, self.bytes, self.chars)

    @property
    def nats_per_token(self) -> float:
        """The training loss."""
        return self.nats / self.tokens

    @property
    def bits_per_byte(self) -> float:
        """Comparable between any two models on the same text, whatever their tokenizers."""
        return self.nats / self.bytes / math.log(2)

    @property
    def bits_per_char(self) -> float:
        return self.nats / self.chars / math.log(2)

    @property
    def perplexity_per_token(self) -> float:
        """exp(nats per token); means nothing without the tokenizer."""
        return math.exp(min(self.nats_per_token, 700.0))

    def __add__(self, other: Loss) -> Loss:
        """The loss of two pieces of text together."""
        if not isinstance(other, Loss):
            return NotImplemented
        if other.tokenizer != self.tokenizer:
            raise UnlikeLosses(f"tokenizers differ: {self.tokenizer} and {other.tokenizer}")
        return (self.sums + other.sums).loss(self.tokenizer)

    def __lt__(self, other: Loss) -> bool:
        """Ranks by nats per token, and only within one tokenizer; across, compare bits_per_byte."""
        if not isinstance(other, Loss):
            return NotImplemented
        if other.tokenizer != self.tokenizer:
            raise UnlikeLosses("losses per token of different tokenizers cannot be ranked "
                               f"({self.tokenizer} and {other.tokenizer}): compare bits_per_byte")
        return self.nats_per_token < other.nats_per_token

    def __str__(self) -> str:
        return (f"{self.nats_per_token:.4f} nats/token · {self.bits_per_byte:.4f} bits/byte · "
                f"perplexity {self.perplexity_per_token:.3f} per token of {self.tokenizer}")

    def to_json(self) -> dict:
        """The Loss object of every `--json` answer."""
        return {"nats_per_token": self.nats_per_token, "bits_per_byte": self.bits_per_byte,
                "bits_per_char": self.bits_per_char,
                "perplexity_per_token": self.perplexity_per_token,
                "nats": self.nats, "tokens": self.tokens, "bytes": self.bytes, "chars": self.chars,
                "tokenizer": self.tokenizer}

    @classmethod
    def from_json(cls, data: dict) -> Loss:
        return cls(data["nats"], data["tokens"], data["bytes"], data["chars"], data["tokenizer"])
