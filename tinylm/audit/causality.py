"""Does any position see what comes after it?

Change every token from position t on: nothing a causal model computes for the positions before t may
move.  This is asked of every layer (through `Pass.observe`), and the first layer whose input stood
still while its output moved is the leak.  The same question is put to the backward pass: gradients
that enter at positions up to t may reach no later position.
"""
from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from ..layers import Layer, Parameters, Pass, Tape
from .result import Check

ROUNDINGS = 64  # what a prefix may move when shapes differ inside a matrix product; a leak moves far more


def suffix_swap(model: Layer, params: Parameters, f: ModuleType, rng: np.random.Generator, *,
                length: int | None = None, batch: int = 2, cuts: Sequence[int] | None = None,
                exact: bool = False) -> Check:
    """Swap the tokens from position t on, for several t; outputs before t must not move.

    length  tokens to read, default the model's context
    cuts    the positions t, default the ends, the middle and a random one
    exact   no bit may move: where numbers are rounded to codes, a move within rounding ends as a whole step further on
    The detail says whether the prefix kept every bit or moved within rounding.
    """
    length = length or model.config.context
    if cuts is None:
        cuts = {1, length // 2, length - 1, int(rng.integers(1, max(length, 2)))}
    cuts = sorted(t for t in cuts if 0 < t < length)
    vocab = model.config.vocab
    if not cuts or vocab < 2:
        return Check("causality", False, math.inf, (
            f"nothing to swap with {vocab} different tokens and a text of {length}: nothing was checked"))
    tokens = rng.integers(0, vocab, (batch, length)).astype(np.int32)
    before, worst, bits = _watch(model, params, f, tokens), 0.0, True
    for t in cuts:
        swapped = tokens.copy()
        # Every token of the suffix becomes another one, none stays by chance.
        swapped[:, t:] = (tokens[:, t:] + rng.integers(1, vocab, (batch, length - t))) % vocab
        after = _watch(model, params, f, swapped)
        for (layer, inp, out), (_, inp2, out2) in zip(before, after):
            moved, tolerance = _moved(out, out2, t, exact)
            if moved > tolerance and not _stood(inp, inp2, t, exact):
                continue  # what comes in has leaked already, further up
            worst, bits = max(worst, moved / tolerance), bits and moved == 0
            if moved > tolerance:
                return Check("causality", False, moved / tolerance, (
                    f"{layer.name} leaks: with other tokens from position {t} on, its output before {t} "
                    f"moves by {moved:.3g}"))
    how = "to the bit" if bits else "within rounding"
    return Check("causality", True, worst,
                 f"{len(before)} layers unmoved {how} at cuts {', '.join(map(str, cuts))}")


def _watch(model, params, f, tokens):
    """Every layer's name, input and output for these tokens, in the order in which they finish."""
    seen = []
    logits = model.logits(tokens, Pass(f, params, observe=lambda layer, inp, out: seen.append(
        (layer, inp.copy(), out.copy()))))
    return [*seen, (model, tokens, logits)]


def _stood(inp, inp2, t, exact):
    if inp.dtype.kind in "iu":
        return np.array_equal(inp[:, :t], inp2[:, :t])
    moved, tolerance = _moved(inp, inp2, t, exact)
    return moved <= tolerance


def _moved(x, y, t, exact):
    """(largest change before position t, what rounding may change there)."""
    x, y = x[:, :t], y[:, :t]
    roundings = 0 if exact else ROUNDINGS
    tolerance = roundings * float(np.finfo(x.dtype).eps) * float(np.abs(x).max(initial=0)) + 1e-300
    gap = np.abs(x - y)
    return float(np.where(np.isnan(gap), np.inf, gap).max(initial=0)), tolerance


def backward(model: Layer, params: Parameters, f: ModuleType, rng: np.random.Generator, *,
             length: int | None = None, batch: int = 2) -> Check:
    """d out[t] / d inp[later than t] must be zero, exactly, in every layer (B, T, .) -> (B, T, .).

    Each layer is run alone on the input it meets inside the model, innermost layers first.
    """
    length = length or model.config.context
    tokens = rng.integers(0, model.config.vocab, (batch, length)).astype(np.int32)
    tried = 0
    for layer, inp, _ in _watch(model, params, f, tokens):
        if not _takes_one_input(layer):
            continue  # an embedding reads tokens, a head wants targets, a residual has two inputs
        run = Pass(f, params, params.like(), Tape())
        out = layer.forward(inp, run)
        t = length // 2
        dout = rng.standard_normal(out.shape).astype(out.dtype)
        dout[:, t:] = 0
        dinp = layer.backward(dout, run)
        tried += 1
        leak = float(np.nan_to_num(np.abs(dinp[:, t:]), nan=np.inf).max(initial=0))
        if leak:
            return Check("causality backward", False, math.inf, (
                f"{layer.name} leaks: a gradient that enters before position {t} comes out after it "
                f"({leak:.3g})"))
    if not tried:
        return Check("causality backward", False, math.inf,
                     f"{model.name} has no layer that could be tried alone")
    return Check("causality backward", True, 0.0, f"{tried} layers: no gradient reaches a later position")


def _takes_one_input(layer):
    first, second, *others = inspect.signature(layer.forward).parameters.values()
    return (first.name, second.name) == ("inp", "run") and all(
        p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in others)


def uniform_tokens(model: Layer, params: Parameters, f: ModuleType, rng: np.random.Generator, *,
                   tokens: int = 2000) -> Check:
    """Nothing can predict uniform random tokens better than ln V nats; what does has seen them.

    The mean loss may fall below ln V by five standard errors, by chance.
    """
    context, vocab = model.config.context, model.config.vocab
    rows = max(2, -(-tokens // context))
    text = rng.integers(0, vocab, (rows, context + 1)).astype(np.int32)
    return not_below_chance("uniform tokens", model.forward(text[:, :-1], text[:, 1:], Pass(f, params)), vocab)


def not_below_chance(name: str, losses: np.ndarray, vocab: int) -> Check:
    """The losses of uniform random tokens against ln V, five standard errors of their mean allowed."""
    if not np.isfinite(losses).all():
        return Check(name, False, math.inf, "the loss of random tokens is not finite")
    eps, losses = float(np.finfo(losses.dtype).eps), losses.astype(np.float64)
    error = float(losses.std()) / math.sqrt(losses.size)
    below = math.log(vocab) - float(losses.mean())
    tolerance = 5 * error + ROUNDINGS * eps * math.log(max(vocab, 2))
    return Check(name, below <= tolerance, max(0.0, below / tolerance), (
        f"{losses.mean():.4f} nats on {losses.size} random tokens, ln V = {math.log(vocab):.4f}"
        + ("" if below <= tolerance else ": the model sees what it predicts")))
