"""What becomes of ternary weights while they are trained: flips, zeros, scale; and gradients by kind.

A ternary weight learns only where its code changes.  Flips that die out early mean a learning rate
that is too low (or a run that is done), flips that stay high one that is too high.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType

import numpy as np

from ..layers import Parameters

DIGITS = 4  # significant ones; more would be noise, and a line has three numbers for each layer


class TernaryQuality:
    """Watches the codes of a model's ternary parameters from one log line to the next.

    codes    the codes at the last line, int8, by parameter: one byte a ternary parameter
    """

    def __init__(self, params: Parameters, f: ModuleType):
        self._params, self._f = params, f
        self._names = [p.name for p in params.declaration if p.kind == "ternary"]
        self.codes: dict[str, np.ndarray] = {}

    def __bool__(self) -> bool:
        """Whether there is anything to watch."""
        return bool(self._names)

    def begin(self, codes: Mapping[str, np.ndarray] | None = None) -> None:
        """Count flips from the codes the parameters have now, or from those of an earlier session."""
        self.codes = {name: codes[name] if codes and name in codes else self._f.ternarize(self._params[name]).codes
                      for name in self._names}

    def measure(self, steps: int) -> dict:
        """The entry "ternary" of a log line, and a new beginning for the next one.

            steps    optimizer steps since the last line
            flips    share of codes that are not what they were then
            zeros    share of codes that are 0
            layers   {name: {flips, zeros, scale}} of each ternary parameter, scale = mean |weight|
        """
        layers, flips, zeros, size = {}, 0, 0, 0
        for name in self._names:
            codes, scale = self._f.ternarize(self._params[name])
            flipped = int(np.count_nonzero(codes != self.codes[name]))
            none = codes.size - int(np.count_nonzero(codes))
            layers[name.removesuffix(".weight")] = {
                "flips": _short(flipped / codes.size), "zeros": _short(none / codes.size), "scale": _short(scale)}
            flips, zeros, size = flips + flipped, zeros + none, size + codes.size
            self.codes[name] = codes
        return {"steps": steps, "flips": flips / size, "zeros": zeros / size, "layers": layers}


def gradient_norms(grads: Parameters, f: ModuleType, batches: int) -> dict[str, float]:
    """2-norms of the mean gradient by kind of parameter: {"ternary": …, "float": …}.

    batches    how many gradients are summed up in grads
    """
    squares: dict[str, float] = {}
    for p in grads.declaration:
        squares[p.kind] = squares.get(p.kind, 0.0) + f.global_norm(grads[p.name].reshape(-1)) ** 2
    return {kind: math.sqrt(total) / batches for kind, total in squares.items()}


def _short(value) -> float:
    return float(f"{float(value):.{DIGITS}g}")
