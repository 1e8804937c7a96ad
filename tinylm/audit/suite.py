"""The checks in the order in which the command line runs them.

GROUPS names them; each yields one `Check` after another, so that a caller can show them as they come.
"""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from types import ModuleType

import numpy as np

from .. import ops
from ..layers import Layer, Parameters, Pass
from ..layers.base import Replaced
from ..ops.precision import autocast
from ..ops.random import dropout_key, generator
from . import causality, floor, followed, gradients, packing, parity, streaming, threads, unitcheck
from .result import Check

GROUPS = {
    "gradients": "backward passes against central differences in float64",
    "causality": "no position sees a later one, layer by layer, at every precision",
    "streaming": "reading in pieces gives the scores of the whole text",
    "kernels": "kernels compute their definitions, whole models at every precision",
    "threads": "the same bits for any number of threads, at every precision",
    "units": "losses and byte counts are what their units say",
    "packing": "packed weights give the scores of the training forward",
}
ON_DEMAND = {"floor": "trained on random tokens, no model falls below ln V"}


def model_checks(model: Layer, kernels: ModuleType, only: Collection[str] = GROUPS, seed: int = 0) -> Iterator[Check]:
    """Everything that is asked of one (small) model."""
    rng = generator(seed, "audit")
    exact, fast = gradients.randomised(model, rng), gradients.randomised(model, rng, np.float32)
    tokens, targets = (rng.integers(0, model.config.vocab, (2, model.config.context)).astype(np.int32)
                       for _ in range(2))
    if "gradients" in only:
        yield gradients.model(model, tokens, targets, rng, dropout=dropout_key(seed, 1)).check()
    if "causality" in only:
        yield causality.suffix_swap(model, exact, ops, rng)
        yield _named("causality.kernels", causality.suffix_swap(model, fast, kernels, rng))
        yield _named("causality.backward", causality.backward(model, exact, ops, rng))
        yield _named("causality.backward.kernels", causality.backward(model, fast, kernels, rng))
        yield _named("causality.uniform", causality.uniform_tokens(model, fast, kernels, rng))
        yield from _lower(model, "causality.kernels", seed, lambda own: causality.suffix_swap(
            model, fast, kernels, own, exact=True))
        yield from _lower(model, "causality.backward.kernels", seed, lambda own: causality.backward(
            model, fast, kernels, own))
    if "streaming" in only:
        yield streaming.streaming(model, exact, ops, rng)
        yield _named("streaming.kernels", streaming.streaming(model, fast, kernels, rng, row_by_row=True))
    if "kernels" in only:
        right = True
        for check in _whole_models(model, kernels, rng, seed):
            right = right and check.ok
            yield check
        # Wrong or replaced operations need not take what others hand on.
        if right and Pass(kernels, fast).alone:
            yield _named("kernels.observed", observed(model, kernels, rng))
            yield from _lower(model, "kernels.observed", seed, lambda own: observed(model, kernels, own))
    if "threads" in only:
        yield _named("threads.model", threads.model(model, kernels, rng))
        yield from _lower(model, "threads.model", seed, lambda own: threads.model(
            model, kernels, own, batch=followed.batch(model)))
    if "units" in only:
        yield _named("units.uniform", unitcheck.uniform(model, kernels, rng))
    if "floor" in only:
        yield floor.random_tokens(model, kernels, seed)


def _whole_models(model: Layer, kernels: ModuleType, rng: np.random.Generator, seed: int) -> Iterator[Check]:
    yield model_parity(model, kernels, rng)
    yield from _lower(model, "kernels.model", seed, lambda own: followed.check(model, kernels, own))


def _lower(model: Layer, name: str, seed: int, ask: Callable[[np.random.Generator], Check]) -> Iterator[Check]:
    """One check at each precision of the model below float32, each with a generator of its own.

    It is yielded at the caller's precision: what happens between two checks is none of ours.
    """
    for precision in model.precisions[1:]:
        with autocast(precision):
            found = ask(generator(seed, f"audit {name} {precision}"))
        yield _named(f"{name}.{precision}", found)


def shared_checks(kernels: ModuleType, tokenizer_for: Callable[[Iterable[str]], unitcheck.Tokenizer],
                  only: Collection[str] = GROUPS, seed: int = 0) -> Iterator[Check]:
    """What does not depend on the model.

    tokenizer_for   makes a tokenizer for the characters of some texts
    """
    if "kernels" in only:
        yield parity.check(kernels, seed)
    if "threads" in only:
        yield threads.kernels(kernels)
    if "units" in only:
        yield _named("units.loss", unitcheck.invariants(generator(seed, "audit units")))
        yield _named("units.bytes", unitcheck.bytes_counted(tokenizer_for(unitcheck.TEXTS), unitcheck.TEXTS))


def weight_checks(model: Layer, params: Parameters, tokenizer: unitcheck.Tokenizer, kernels: ModuleType,
                  only: Collection[str] = GROUPS, seed: int = 0) -> Iterator[Check]:
    """What can be asked of trained weights: they may be full-size, so this is forward only."""
    rng = generator(seed, "audit weights")
    if "causality" in only:
        yield _named("weights.causality", causality.suffix_swap(model, params, kernels, rng))
        yield _named("weights.uniform", causality.uniform_tokens(model, params, kernels, rng))
    if "streaming" in only:
        yield _named("weights.streaming", streaming.streaming(model, params, kernels, rng, repeats=1, row_by_row=True))
    if "units" in only:
        yield _named("weights.bytes", unitcheck.bytes_counted(tokenizer, [unitcheck.own_text(tokenizer)]))


def packed_checks(packed: Layer, params: Parameters, trained: Layer, trained_params: Parameters, kernels: ModuleType,
                  only: Collection[str] = GROUPS, seed: int = 0) -> Iterator[Check]:
    """What is asked of a packed model and the same one as training has it."""
    if "packing" in only:
        yield packing.packing(packed, params, trained, trained_params, kernels, generator(seed, "audit packing"))


def model_parity(model: Layer, kernels: ModuleType, rng: np.random.Generator) -> Check:
    """Losses and all gradients of a whole model: kernels against definitions, dropout included.

    Beside a half, rounding decides between two activation codes.  The definitions go on with the kernels' choice,
    where it is within rounding of their own quotient.
    """
    fast = gradients.randomised(model, rng, np.float32)
    exact = Parameters(model.parameters(), np.float64)
    exact.flat[...] = fast.flat
    shape = 3, model.config.context
    tokens, targets = (rng.integers(0, model.config.vocab, shape).astype(np.int32) for _ in range(2))
    dlosses = rng.standard_normal(tokens.size).astype(np.float32)
    found, chosen = [], _CodesOf(kernels)
    for f, params in ((chosen, fast), (_WithCodes(chosen), exact)):
        found.append(gradients.of_model(model, f, params, tokens, targets, dlosses))
    got, want = found
    worst = 0.0
    slack = ops.ternary.LARGEST_CODE * streaming.rounding(model, np.ones(1, np.float32))
    for number, distance in enumerate(f.distances, 1):
        if not distance <= 0.5 + slack:
            return Check("kernels.model", False, (distance - 0.5) / slack,
                         f"activation codes of ternary product {number} lie {distance:.3g} from what they round")
    for name, array in want.items():
        tolerance = streaming.rounding(model, array.astype(np.float32)) + 1e-30
        gap = np.abs(got[name].astype(np.float64) - array)
        share = float(np.where(np.isnan(gap), np.inf, gap).max()) / tolerance
        worst = max(worst, share)
        if share > 1:
            at = ", ".join(str(int(i)) for i in np.unravel_index(int(gap.argmax()), gap.shape))
            return Check("kernels.model", False, share,
                         f"{name}[{at}] differs by {gap.max():.3g} between kernels and definitions")
    return Check("kernels.model", True, worst, f"losses and {len(want) - 1} gradients agree with the definitions")


def observed(model: Layer, kernels: ModuleType, rng: np.random.Generator) -> Check:
    """Whether losses and gradients are the same bits when somebody looks on.

    Where nobody does, an operation may hand on what the next one multiplies, and several may be one.  The other checks
    look, or replace operations: this one ties what training runs to what they see.
    """
    params = gradients.randomised(model, rng, np.float32)
    shape = followed.batch(model), model.config.context
    tokens, targets = (rng.integers(0, model.config.vocab, shape).astype(np.int32) for _ in range(2))
    dlosses, seen = rng.standard_normal(tokens.size).astype(np.float32), []
    alone, watched = (gradients.of_model(model, kernels, params, tokens, targets, dlosses, observe)
                      for observe in (None, lambda layer, inp, out: seen.append(layer)))
    for name, array in watched.items():
        if not np.array_equal(alone[name], array):
            return Check("kernels.observed", False, np.inf, f"{name} has other bits when somebody looks on")
    return Check("kernels.observed", True, 0.0, f"losses and {len(watched) - 1} gradients have the same bits, whether "
                                                f"{len(seen)} layers are looked at or not")


class _CodesOf(Replaced):
    """The kernels, keeping the activation codes of every ternary product."""

    def __init__(self, kernels):
        super().__init__(kernels)
        self.codes = []

    def bitlinear_forward(self, inp, ternary, activation_bits=0):
        out, cache = self._operations.bitlinear_forward(inp, ternary, activation_bits)
        self.codes.append(cache.inp)
        return out, cache


class _WithCodes(Replaced):
    """The definitions in float64, with codes chosen in float32; distances: the farthest of each from what it rounds."""

    def __init__(self, chosen):
        super().__init__(ops)
        self._codes, self.distances = iter(chosen.codes), []

    def ternarize(self, weight):
        codes, scale = ops.ternarize(weight.astype(np.float32))
        return ops.ternary.Ternary(codes, float(scale))

    def bitlinear_forward(self, inp, ternary, activation_bits=0):
        codes = next(self._codes).astype(inp.dtype)
        if not activation_bits:
            return ops.bitlinear_forward(inp, ternary)
        _, scale = ops.quantize_activations(inp)
        quotient = np.divide(inp, scale, out=np.zeros_like(inp), where=scale > 0)
        self.distances.append(float(np.abs(codes - quotient).max(initial=0)))
        out, _ = ops.bitlinear_forward(codes, ternary)
        return out * scale, ops.ternary.BitLinearCache(codes, scale, ternary)


def _named(name: str, check: Check) -> Check:
    return dataclasses.replace(check, name=name)


def summary(checks: Collection[Check]) -> tuple[bool, float]:
    """(all hold, the worst share of a tolerance).  Nothing checked is not a success."""
    return bool(checks) and all(c.ok for c in checks), max((c.worst for c in checks), default=math.inf)
