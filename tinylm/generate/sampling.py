"""From scores to the next token.

The steps, in the order in which Hugging Face's `transformers` applies them too:

    repetition penalty -> temperature -> top-k -> top-p -> min-p -> draw

Every filter is a pure function (V,) -> (V,) of float64: scores with -inf for what is ruled out.  None
rules out the likeliest token, so something is always left to draw from.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .. import ops
from ..errors import TinylmError, UsageError
from ..ops.random import generator
from ..ops.sampling import softmax

_NOT_FINITE = "the model's scores are not finite: its parameters are damaged"
BLOCK = 256  # uniform numbers made at once; changing it changes every sampled text


@dataclass(frozen=True)
class Options:
    """How the next token is chosen.

    temperature         divides the scores; 0 takes the likeliest token
    top_k               keep the k likeliest tokens; 0 keeps all
    top_p               keep the fewest tokens whose probability reaches p; 1 keeps all
    min_p               keep tokens at least p times as likely as the likeliest; 0 keeps all
    repetition_penalty  weakens tokens that occurred before; 1 weakens none

    Raises    UsageError for a number that makes no sense, named as on the command line
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self):
        for name, good, wanted in (
                ("temperature", self.temperature >= 0, "0 (always the likeliest token) or more"),
                ("top_k", isinstance(self.top_k, int) and self.top_k >= 0, "a whole number; 0 keeps all"),
                ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
                ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
                ("repetition_penalty", 0.01 <= self.repetition_penalty <= 100, "from 0.01 to 100")):
            value = getattr(self, name)
            if not (good and math.isfinite(value)):
                raise UsageError(f"--{name.replace('_', '-')} {value}: it must be {wanted}")


    @cached_property
    def plain(self) -> bool:
        """Whether a draw at this temperature is all that is asked for."""
        return self == Options(temperature=self.temperature)


class Uniforms:
    """Numbers in [0, 1): number i of sample s is a pure function of (seed, "sample", s, i).

    Made BLOCK at a time, since setting up a counter-based generator costs more than a small draw.
    """

    def __init__(self, seed: int, sample: int = 0):
        self.seed, self.sample = seed, sample
        self._number, self._block = -1, np.empty(0)

    def __getitem__(self, i: int) -> float:
        number, place = divmod(i, BLOCK)
        if number != self._number:
            self._block = generator(self.seed, "sample", self.sample, number).random(BLOCK)
            self._number = number
        return float(self._block[place])


def choose(logits: np.ndarray, options: Options, uniform: float, seen: np.ndarray | None = None, f=ops) -> int:
    """The next token: a draw from `distribution(logits, options, seen)`.

    uniform   a number in [0, 1) that decides, see `Uniforms`; not used at temperature 0
    f         the operations: a draw without filters is one of them
    Shapes    logits (V,), seen (V,) bool
    Raises    TinylmError for scores that are not finite
    """
    if options.plain and options.temperature > 0:
        token = f.draw_token(logits, options.temperature, uniform)
        if token < 0:
            raise TinylmError(_NOT_FINITE)
        return token
    prob = distribution(logits, options, seen)
    return int(prob.argmax()) if options.temperature == 0 else draw(prob, uniform)


def distribution(logits: np.ndarray, options: Options, seen: np.ndarray | None = None) -> np.ndarray:
    """Probabilities of the next token after all steps; they sum to one.

    At temperature 0 all of it is on the highest score, on the lower token id of two equal ones.

    seen      which tokens occurred before, for the repetition penalty
    Shapes    logits (V,), seen (V,) bool -> (V,) float64
    Raises    TinylmError for scores that are not finite
    """
    score = np.asarray(logits, np.float64)
    if not np.isfinite(score.max()):  # the maximum is nan where any score is
        raise TinylmError(_NOT_FINITE)
    if seen is not None and options.repetition_penalty != 1:
        score = penalise(score, seen, options.repetition_penalty)
    if options.temperature == 0:
        prob = np.zeros_like(score)
        prob[score.argmax()] = 1
        return prob
    score = temper(score, options.temperature)
    if options.top_k:
        score = top_k(score, options.top_k)
    if options.top_p < 1:
        score = top_p(score, options.top_p)
    if options.min_p > 0:
        score = min_p(score, options.min_p)
    return softmax(score)


def penalise(score: np.ndarray, seen: np.ndarray, penalty: float) -> np.ndarray:
    """Weaken what occurred before: score / penalty where it is positive, score * penalty where not.

    Source    Keskar et al. 2019 (CTRL), arXiv:1909.05858, section 4.1, which divides every score.
              That would strengthen negative ones; multiplying those is what the field does since.
    """
    return np.where(seen, np.where(score > 0, score / penalty, score * penalty), score)


def temper(score: np.ndarray, temperature: float) -> np.ndarray:
    """(score - max) / temperature.  The shift changes no probability, and keeps a tiny temperature
    from turning the highest score into infinity.

    Source    Ackley, Hinton, Sejnowski 1985, Cognitive Science 9, section 2
    """
    with np.errstate(over="ignore"):  # hopeless tokens may become -inf: that is their limit
        return (score - score.max()) / temperature


def top_k(score: np.ndarray, k: int) -> np.ndarray:
    """Keep the k highest scores; of equal ones those with the lower id.

    Source    Fan, Lewis, Dauphin 2018, arXiv:1805.04833, section 5.4
    """
    return _keep(score, _ranking(score)[:k])


def top_p(score: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest tokens whose probability reaches p, likeliest first.

    Source    Holtzman et al. 2019 (nucleus sampling), arXiv:1904.09751, section 3.1
    """
    order = _ranking(score)
    reached = np.cumsum(softmax(score)[order])
    return _keep(score, order[:np.searchsorted(reached, p) + 1])


def min_p(score: np.ndarray, p: float) -> np.ndarray:
    """Keep tokens with prob >= p * max prob.

    Source    Nguyen et al. 2024, arXiv:2407.01082, section 3
    """
    prob = softmax(score)
    return np.where(prob >= p * prob.max(), score, -np.inf)


def draw(prob: np.ndarray, uniform: float) -> int:
    """The first token at which the running sum of probabilities exceeds `uniform` times their total."""
    reached = np.cumsum(prob)
    # uniform is at most 1 - 2**-53, so even rounded the product stays below the last sum.
    return int(np.searchsorted(reached, uniform * reached[-1], side="right"))


def _ranking(score: np.ndarray) -> np.ndarray:
    """Token ids from the highest score to the lowest, equal ones by id."""
    return np.argsort(-score, kind="stable")


def _keep(score: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    kept = np.full_like(score, -np.inf)
    kept[tokens] = score[tokens]
    return kept
