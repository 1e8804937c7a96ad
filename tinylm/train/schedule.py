"""The learning rate of every step, and the plan of how many steps there will be.

The rate is a function of the fraction of the training that is done, and the fraction a function of
the step and the `Plan`.  For a number of steps the plan has one point.  For a time budget the number
of steps follows from measured speed, so it is planned again a few times as the speed becomes better
known; every plan is kept in the checkpoint that is written in the same moment.  So the rates used
are determined by what is saved, and a clock never enters them in any other way.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from ..config import Recipe

# Fractions of the training at which a time budget is planned again.
REPLAN_AT = (0.02, 0.1, 0.3, 0.6, 0.9, 0.97)


class Point(NamedTuple):
    """From this step on: the fraction done at `step`, and the step at which it will be 1."""

    step: int
    fraction: float
    end: int


@dataclass(frozen=True)
class Plan:
    """How the steps share the training.

    points   in order of steps; between two the fraction grows evenly
    warmup   steps of rising learning rate
    """

    points: tuple[Point, ...]
    warmup: int

    @classmethod
    def of(cls, steps: int, warmup: int) -> Plan:
        """A plan for a known number of steps."""
        return cls((Point(0, 0.0, steps),), warmup)

    @property
    def end(self) -> int:
        """The last step."""
        return self.points[-1].end

    def fraction(self, step: int) -> float:
        """How much of the training is done after `step` steps, 0 to 1."""
        start, done, end = next((p for p in reversed(self.points) if p.step <= step), self.points[0])
        if step >= end:
            return 1.0
        return done + (1 - done) * ((step - start) / (end - start))

    def again(self, step: int, end: int, fraction: float | None = None) -> Plan:
        """The same up to `step`, and from there evenly to another end.

        The fraction does not jump, so the learning rate does not.  Only during the warm-up, whose
        rates do not depend on it, is `fraction` taken instead: a first plan may have been far off.

        Raises    ValueError for an end before that step
        """
        if end < step:
            raise ValueError(f"the end, step {end}, is before step {step}")
        if fraction is None or step >= self.warmup:
            fraction = self.fraction(step)
        return Plan((*self.points, Point(step, fraction, end)), self.warmup)

    def due(self, step: int) -> bool:
        """Whether a time budget is to be planned again after this step."""
        before, now = self.fraction(step - 1), self.fraction(step)
        return any(before < mark <= now < 1 for mark in REPLAN_AT)

    def to_json(self) -> dict:
        return {"points": [list(p) for p in self.points], "warmup": self.warmup}

    @classmethod
    def from_json(cls, data: dict) -> Plan:
        """Raises    KeyError, TypeError or ValueError for what `to_json` did not write"""
        points = tuple(Point(int(s), float(f), int(e)) for s, f, e in data["points"])
        if not points or any(p.end < p.step or not 0 <= p.fraction <= 1 for p in points):
            raise ValueError("the plan makes no sense")
        return cls(points, int(data["warmup"]))


def warmup_steps(recipe: Recipe, tokens_per_step: int, seconds_per_step: float | None) -> int:
    """The warm-up in steps; one in seconds needs the measured speed."""
    amount, unit = recipe.warmup
    if unit == "steps":
        return int(amount)
    return math.ceil(amount / (tokens_per_step if unit == "tokens" else seconds_per_step))


def learning_rate(recipe: Recipe, plan: Plan, step: int) -> float:
    """The rate of step 1, 2, …

    With i = step - 1 and w warm-up steps:  lr (i + 1) / (w + 1) for i < w; then constant, or
    min_lr + (lr - min_lr) (1 + cos(pi x)) / 2, where x goes from 0 at i = w to 1 at the end.  So no
    step has the rate 0.

    Source    Loshchilov, Hutter 2016, arXiv:1608.03983, eq. 5; indices as in nanoGPT's get_lr
    """
    i, w = step - 1, plan.warmup
    if i < w:
        return recipe.lr * (i + 1) / (w + 1)
    if recipe.schedule == "constant":
        return recipe.lr
    start = plan.fraction(w)
    x = 1.0 if start >= 1 else (plan.fraction(i) - start) / (1 - start)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * x)) / 2
