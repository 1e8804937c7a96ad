"""Does reading a text in pieces give the same scores as reading it at once?"""
from __future__ import annotations

import math
from types import ModuleType

import numpy as np

from ..layers import Layer, Parameters, Pass
from .result import Check

TINY = float(np.finfo(np.float64).tiny)  # what two equal numbers may differ by


def streaming(model: Layer, params: Parameters, f: ModuleType, rng: np.random.Generator, *,
              batch: int = 2, repeats: int = 3, row_by_row: bool = False) -> Check:
    """`start` and `extend` over pieces of random sizes against `logits` of the whole text.

    Always tried: all at once, token by token, and `repeats` random cuts.  Scores may differ by rounding.
    Of a model that declares itself `exact`, what enters the head must be the same to the bit.

    row_by_row   whether f computes a row of a product the same way whatever the other rows, as kernels do and
                 BLAS does not; the scores of an exact model, too, must then be the same to the bit
    """
    length = model.config.context
    tokens = rng.integers(0, model.config.vocab, (batch, length)).astype(np.int32)
    entered = []
    watched = Pass(f, params, observe=lambda layer, inp, out: entered.append(inp) if layer is model.head else None)
    # Who looks on gets layer after layer, and not what several do in one call when text is written.
    run = watched if model.exact else Pass(f, params)
    whole = model.logits(tokens, run)
    whole_entered = entered[0] if model.exact else None
    tolerance = TINY if model.exact and row_by_row else rounding(model, whole)
    worst = 0.0
    for sizes in [[length], [1] * length] + [_pieces(length, rng) for _ in range(repeats)]:
        state, at = model.start(batch, length, params.flat.dtype), 0
        for size in sizes:
            entered.clear()
            out = model.extend(tokens[:, at:at + size], state, run)
            if model.exact and not np.array_equal(entered[0], whole_entered[:, at:at + size]):
                same = (entered[0] == whole_entered[:, at:at + size]).all((0, 2))
                return Check("streaming", False, math.inf, (
                    f"position {at + int((~same).argmax())} is not the same to the bit when read in pieces of "
                    f"{_show(sizes)}, though the model promises it"))
            gap = np.abs(out - whole[:, at:at + size])
            gap = np.where(np.isnan(gap), np.inf, gap).max((0, 2))
            worst = max(worst, float(gap.max()) / tolerance)
            if worst > 1:
                where = at + int((gap > tolerance).argmax())
                return Check("streaming", False, worst, (
                    f"position {where} differs by {gap.max():.3g} when read in pieces of {_show(sizes)} "
                    f"({'every bit should be the same' if tolerance == TINY else f'{tolerance:.2g} is rounding'})"))
            at += size
        if state.length != length:
            return Check("streaming", False, math.inf,
                         f"after {length} tokens the state counts {state.length}")
    how = ", to the bit" if tolerance == TINY else ""
    return Check("streaming", True, worst,
                 f"{2 + repeats} ways of cutting {length} tokens give the scores of the whole text{how}")


def rounding(model: Layer, out: np.ndarray, rows: int = 0) -> float:
    """How far two orders of summation may drift apart on the way to `out`.

    One rounding for each term of each sum on the path: the widths of all matrices, one after another,
    the positions attention adds up, and the `rows` of gradients, times the size of the result.
    """
    widths = sum(p.shape[-1] for p in model.parameters() if len(p.shape) > 1)
    terms = widths + model.config.layers * model.config.context + rows
    return terms * float(np.finfo(out.dtype).eps) * float(np.abs(out).max())


def _pieces(length, rng):
    sizes = []
    while sum(sizes) < length:
        sizes.append(int(min(rng.integers(1, max(2, length // 2) + 1), length - sum(sizes))))
    return sizes


def _show(sizes):
    return "1" if set(sizes) == {1} else ", ".join(map(str, sizes))
