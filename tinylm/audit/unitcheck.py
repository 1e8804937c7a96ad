"""Are losses what their units say?

What does not know anything must score log2 V bits per token, a text must have as many bytes as it has,
and no way of cutting a text or counting its tokens may change its bits per byte.
"""
from __future__ import annotations

import math
from collections.abc import Iterable
from types import ModuleType
from typing import Protocol

import numpy as np

from ..layers import Layer, Pass
from ..units import Loss
from .gradients import randomised
from .result import Check

TEXTS = ("once upon a time", "one\ntwo\n\nthree", "café naïve — “quoted”", "日本語 и кириллица", "🙂 ok")


class Tokenizer(Protocol):
    """What the byte count needs to know of a tokenizer."""

    token_bytes: np.ndarray
    token_chars: np.ndarray

    def encode(self, text: str) -> np.ndarray: ...

    def raw_bytes(self, token: int) -> bytes: ...


def uniform(model: Layer, f: ModuleType, rng: np.random.Generator) -> Check:
    """A model whose head is zero predicts every token alike: ln V nats, log2 V bits, perplexity V."""
    vocab, context = model.config.vocab, model.config.context
    params = randomised(model, rng, np.float32)
    for layer in model.walk():
        if layer.name == "head":
            for parameter in (layer.weight, layer.bias):
                if parameter is not None:
                    params[parameter.name][...] = 0
    tokens, targets = (rng.integers(0, vocab, (3, context)).astype(np.int32) for _ in range(2))
    losses = model.forward(tokens, targets, Pass(f, params)).astype(np.float64)
    loss = Loss(float(losses.sum()), losses.size, losses.size, losses.size, "uniform")
    tolerance = 16 * float(np.finfo(np.float32).eps)
    for unit, got, want in (("nats per token", loss.nats_per_token, math.log(vocab)),
                            ("bits per byte of one-byte tokens", loss.bits_per_byte, math.log2(vocab)),
                            ("bits per character of one-character tokens", loss.bits_per_char, math.log2(vocab)),
                            ("perplexity per token", loss.perplexity_per_token, vocab)):
        share = abs(got - want) / (tolerance * max(want, 1))
        if not share <= 1:
            return Check("units", False, share,
                         f"a uniform predictor has {got:.6g} {unit}, it should be {want:.6g}")
    worst = float(np.abs(losses - math.log(vocab)).max()) / (tolerance * max(math.log(vocab), 1))
    return Check("units", worst <= 1, worst, (
        f"a uniform predictor over {vocab} tokens has {math.log2(vocab):.4f} bits/token" if worst <= 1 else
        f"a uniform predictor loses ln V at each token; one is off by {worst:.3g} tolerances"))


def invariants(rng: np.random.Generator, repeats: int = 50) -> Check:
    """Loss: pieces add up to the whole, tokens do not change bits per byte, JSON loses nothing."""
    worst = 0.0
    for _ in range(repeats):
        nats, tokens = rng.uniform(0, 8, 20), rng.integers(1, 100, 20)
        chars = tokens * rng.integers(1, 4, 20)
        size = chars * rng.integers(1, 5, 20)
        parts = [Loss(float(n * t), int(t), int(b), int(c), "a")
                 for n, t, b, c in zip(nats, tokens, size, chars)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        sum_nats, sum_bytes, sum_chars = math.fsum(p.nats for p in parts), int(size.sum()), int(chars.sum())
        recounted = Loss(sum_nats, 3 * int(tokens.sum()), sum_bytes, sum_chars, "b")
        restored = Loss.from_json(total.to_json())
        for rule, got, want in (
                ("bits/byte = nats / bytes / ln 2", total.bits_per_byte, sum_nats / sum_bytes / math.log(2)),
                ("bits/char = nats / chars / ln 2", total.bits_per_char, sum_nats / sum_chars / math.log(2)),
                ("nats/token = nats / tokens", total.nats_per_token, sum_nats / int(tokens.sum())),
                ("bits/byte does not depend on the tokens", recounted.bits_per_byte, total.bits_per_byte),
                ("a Loss survives JSON", restored.bits_per_byte, total.bits_per_byte)):
            share = abs(got - want) / (1e-12 * want)
            worst = max(worst, share)
            if not share <= 1:
                return Check("units", False, share, f"{rule}: {got:.6g} is not {want:.6g}")
    return Check("units", True, worst, f"sums, bits per byte and JSON agree on {repeats} made-up losses")


def own_text(tokenizer: Tokenizer) -> str:
    """A text with every symbol of a tokenizer that is text by itself (a part of a character is not)."""
    pieces = []
    for token in range(len(tokenizer.token_bytes)):
        try:
            pieces.append(tokenizer.raw_bytes(token).decode())
        except UnicodeDecodeError:
            continue
    return "".join(pieces)


def bytes_counted(tokenizer: Tokenizer, texts: Iterable[str]) -> Check:
    """token_bytes and token_chars of an encoded text add up to the text's own bytes and characters."""
    total = 0
    for text in texts:
        tokens = tokenizer.encode(text)
        for unit, table, want in (("bytes", tokenizer.token_bytes, len(text.encode())),
                                  ("characters", tokenizer.token_chars, len(text))):
            got = int(np.asarray(table)[tokens].sum())
            if got != want:
                return Check("units", False, math.inf, f"the tokens of {text[:40]!r} count {got} {unit}, "
                                                       f"the text has {want}")
        total += len(text.encode())
    if not total:
        return Check("units", False, math.inf, "no text was given to count")
    return Check("units", True, 0.0, f"{total} bytes counted exactly")
