"""Learning rates and plans."""
from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm.config import Recipe, Warmup
from tinylm.train.schedule import REPLAN_AT, Plan, learning_rate, warmup_steps

recipes = st.builds(lambda schedule, lr, share: Recipe(steps=1, schedule=schedule, lr=lr, min_lr=lr * share),
                    st.sampled_from(["constant", "cosine"]), st.floats(1e-6, 1), st.floats(0, 1))


@st.composite
def plans(draw):
    """A plan that was made again a few times, each time at or after the step of the time before."""
    plan, step = Plan.of(draw(st.integers(1, 400)), draw(st.integers(0, 100))), 0
    for _ in range(draw(st.integers(0, 4))):
        step = draw(st.integers(step, plan.end))
        plan = plan.again(step, draw(st.integers(step, step + 400)), draw(st.none() | st.floats(0, 1)))
    return plan


@given(recipes, plans())
def test_rates_rise_in_the_warmup_then_never_again_and_stay_within_bounds(recipe, plan):
    rates = [learning_rate(recipe, plan, s) for s in range(1, plan.end + 1)]
    w = min(plan.warmup, len(rates))
    assert all(0 < r <= recipe.lr * (1 + 1e-12) for r in rates) or recipe.min_lr == 0
    assert all(b > a for a, b in zip(rates[:w], rates[1:w]))
    tail = rates[w:]
    assert all(b <= a for a, b in zip(tail, tail[1:])) and all(r >= recipe.min_lr * (1 - 1e-12) for r in tail)
    if tail:
        assert tail[0] == pytest.approx(recipe.lr) or plan.fraction(plan.warmup) == 1
    if recipe.schedule == "constant":
        assert set(tail) <= {recipe.lr}


@given(plans())
def test_the_fraction_grows_from_0_to_1(plan):
    done = [plan.fraction(s) for s in range(plan.end + 1)]
    assert done[-1] == plan.fraction(plan.end + 5) == 1
    after = done[plan.warmup:]  # before, a new plan may put it right
    assert all(a <= b for a, b in zip(after, after[1:])) and all(0 <= d <= 1 for d in done)


@given(recipes, plans(), st.data())
def test_planning_again_changes_nothing_before_it_and_does_not_jump(recipe, plan, data):
    step = data.draw(st.integers(plan.points[-1].step, plan.end))
    again = plan.again(step, step + data.draw(st.integers(0, 300)))
    assert [learning_rate(recipe, plan, s) for s in range(1, step + 1)] == \
        [learning_rate(recipe, again, s) for s in range(1, step + 1)]
    assert again.fraction(step) == plan.fraction(step) or again.end == step


@given(plans())
def test_a_plan_survives_json_to_the_bit(plan):
    import json
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan and [again.fraction(s) for s in range(plan.end)] == [plan.fraction(s) for s in range(plan.end)]


@pytest.mark.parametrize("bad", [{"points": [], "warmup": 0}, {"points": [[5, 0.0, 4]], "warmup": 0},
                                 {"points": [[0, 2.0, 4]], "warmup": 0}])
def test_a_plan_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match="no sense"):
        Plan.from_json(bad)


def test_the_cosine_in_figures():
    recipe = Recipe(steps=1, lr=1.0, min_lr=0.1)
    plan = Plan.of(104, 4)
    assert [learning_rate(recipe, plan, s) for s in range(1, 6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert learning_rate(recipe, plan, 5 + 50) == pytest.approx(0.55)
    assert learning_rate(recipe, plan, 5 + 25) == pytest.approx(0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2)


def test_a_budget_is_planned_again_once_for_each_mark():
    plan = Plan.of(1000, 0)
    assert [s for s in range(1, 1001) if plan.due(s)] == [round(1000 * f) for f in REPLAN_AT]
    assert not any(Plan.of(1, 0).due(s) for s in (1, 2))


def test_warmup_in_steps_tokens_and_seconds():
    recipe = Recipe(steps=1)
    for length, steps in ((Warmup(7, "steps"), 7), (Warmup(1001, "tokens"), 11), (Warmup(3, "s"), 6)):
        assert warmup_steps(dataclasses.replace(recipe, warmup=length), 100, 0.5) == steps
