"""Choosing the next token: each filter against its definition, draws against their probabilities."""
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinylm import kernels, ops
from tinylm.errors import TinylmError, UsageError
from tinylm.generate import sampling
from tinylm.generate.sampling import Options, Uniforms, choose, distribution
from tinylm.kernels import vector_math
from tinylm.ops.random import generator
from tinylm.ops.sampling import softmax

# Rounded scores make ties common; wide ones make probabilities of zero.
SCORES = st.lists(st.one_of(st.integers(-4, 4).map(float), st.floats(-40, 40), st.just(-np.inf)),
                  min_size=1, max_size=30).filter(lambda xs: max(xs) > -np.inf).map(np.array)
OPTIONS = st.builds(Options, temperature=st.one_of(st.just(0.0), st.floats(1e-3, 1e3)), top_k=st.integers(0, 40),
                    top_p=st.floats(0, 1, exclude_min=True), min_p=st.floats(0, 1),
                    repetition_penalty=st.floats(0.01, 100))
UNIFORM = st.floats(0, 1, exclude_max=True)


def kept(score):
    return set(np.flatnonzero(score > -np.inf).tolist())


@given(SCORES, st.floats(0, 1, exclude_min=True))
def test_top_p_keeps_the_fewest_tokens_that_reach_p(score, p):
    prob = softmax(score)
    chosen = kept(sampling.top_p(score, p))
    # Naively, from the likeliest on, in exact sums of the same numbers.
    total, fewest = 0.0, 0
    ranked = sorted(prob.tolist(), reverse=True)
    while fewest < len(ranked) and total < p - 1e-12:
        fewest += 1
        total = math.fsum(ranked[:fewest])
    possible = sum(1 for x in score if x > -np.inf)
    # Where the sum only just reaches p, rounding may keep more: all whose own probability is lost in it.
    lost = sum(1 for x in prob if 0 < x < 1e-9)
    assert abs(len(chosen) - min(fewest, possible)) <= max(lost, 1) * (abs(total - p) < 1e-9 or len(chosen) == 1)
    assert math.fsum(prob[list(chosen)]) >= p - 1e-9
    assert not chosen or min(prob[list(chosen)]) >= max([prob[i] for i in set(range(len(prob))) - chosen], default=0)


def test_top_p_by_hand():
    score = np.log([0.1, 0.5, 0.15, 0.25])
    assert kept(sampling.top_p(score, 0.5)) == {1}
    assert kept(sampling.top_p(score, 0.51)) == {1, 3}
    assert kept(sampling.top_p(score, 0.75)) == {1, 3}
    assert kept(sampling.top_p(score, 0.76)) == {1, 2, 3}
    assert kept(sampling.top_p(score, 0.95)) == {0, 1, 2, 3}


@given(SCORES, st.integers(1, 40))
def test_top_k_keeps_the_k_highest_and_of_equal_ones_the_first(score, k):
    naive = sorted(range(len(score)), key=lambda i: (-score[i], i))[:k]
    assert kept(sampling.top_k(score, k)) == {i for i in naive if score[i] > -np.inf}


@given(SCORES, st.floats(0, 1))
def test_min_p_is_relative_to_the_likeliest(score, p):
    prob = softmax(score)
    assert kept(sampling.min_p(score, p)) == {
        i for i in range(len(score)) if prob[i] >= p * prob.max() and score[i] > -np.inf}


@given(SCORES, st.floats(1, 100), st.data())
def test_the_penalty_never_raises_a_score_and_leaves_others_alone(score, penalty, data):
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=len(score), max_size=len(score))))
    new = sampling.penalise(score, seen, penalty)
    assert np.all(new <= score)
    assert np.array_equal(new[~seen], score[~seen])


def test_the_penalty_by_hand():
    new = sampling.penalise(np.array([3.0, -3.0, 3.0, 0.0]), np.array([True, True, False, True]), 1.5)
    assert new.tolist() == [2.0, -4.5, 3.0, 0.0]


@given(SCORES, OPTIONS, UNIFORM, st.data())
def test_something_is_always_left_and_drawn(score, options, uniform, data):
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=len(score), max_size=len(score))))
    prob = distribution(score, options, seen)
    assert prob.shape == score.shape
    assert math.isclose(math.fsum(prob), 1, abs_tol=1e-9)
    token = choose(score, options, uniform, seen)
    assert prob[token] > 0
    assert score[token] > -np.inf


@given(SCORES, st.integers(0, 40), st.floats(0, 1, exclude_min=True), st.floats(0, 1), UNIFORM)
def test_without_penalty_the_likeliest_survives_every_filter(score, k, p, least, uniform):
    prob = distribution(score, Options(1.0, k, p, least))
    assert prob[score.argmax()] == prob.max()


@given(SCORES, UNIFORM)
def test_temperature_zero_is_argmax_with_ties_to_the_lower_id(score, uniform):
    naive = min(i for i in range(len(score)) if score[i] == max(score))
    assert choose(score, Options(temperature=0), uniform) == naive


@given(SCORES, UNIFORM)
def test_a_falling_temperature_ends_at_the_maximum(score, uniform):
    for temperature in (1e-12, 1e-300, 5e-324):
        token = choose(score, Options(temperature=temperature), uniform)
        assert score[token] >= score.max() - 1e-9


def test_the_order_of_steps_is_the_documented_one():
    # top-k first makes top-p count what is left: 0.5/0.8 >= 0.6, while 0.5 alone is not.
    score = np.log([0.5, 0.3, 0.2])
    assert kept_tokens(score, Options(top_k=2, top_p=0.6)) == {0}
    assert kept_tokens(score, Options(top_p=0.6)) == {0, 1}
    # temperature before top-p: a hot distribution needs more tokens to reach p.
    assert kept_tokens(score, Options(top_p=0.5, temperature=100.0)) == {0, 1}
    assert kept_tokens(score, Options(top_p=0.5)) == {0}


def kept_tokens(score, options):
    return set(np.flatnonzero(distribution(score, options)).tolist())


@pytest.mark.parametrize("options", [Options(), Options(0.7, 5), Options(1.3, 0, 0.8), Options(1.0, 0, 1.0, 0.1)])
def test_draws_have_the_filtered_probabilities(options):
    score = generator(3, "test").normal(size=12) * 2
    prob = distribution(score, options)
    draws, n = Uniforms(seed=11, sample=4), 20_000
    counts = np.bincount([choose(score, options, draws[i]) for i in range(n)], minlength=12)
    assert counts[prob == 0].sum() == 0
    expected = n * prob[prob > 0]
    chi_square = ((counts[prob > 0] - expected) ** 2 / expected).sum()
    # Mean k - 1 and variance 2 (k - 1): six standard deviations, and the seed is fixed.
    freedom = len(expected) - 1
    assert chi_square < freedom + 6 * math.sqrt(2 * freedom) + 6


def test_draw_at_the_edges():
    prob = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    assert [sampling.draw(prob, u) for u in (0.0, 0.2499, 0.25, 0.5, np.nextafter(1, 0))] == [1, 1, 3, 3, 3]
    tenths = np.full(10, 0.1)  # the sum rounds below one
    assert sampling.draw(tenths, np.nextafter(1, 0)) == 9


@given(st.integers(0, 2**63), st.integers(0, 2**40), st.lists(st.integers(0, 2000), min_size=1, max_size=8))
def test_a_uniform_depends_on_seed_sample_and_place_alone(seed, sample, places):
    one, other = Uniforms(seed, sample), Uniforms(seed, sample)
    in_order = {i: one[i] for i in sorted(places)}
    assert {i: other[i] for i in places} == in_order
    assert all(0 <= u < 1 for u in in_order.values())
    for i, u in in_order.items():
        number, place = divmod(i, sampling.BLOCK)
        assert generator(seed, "sample", sample, number).random(sampling.BLOCK)[place] == u


def test_other_seeds_samples_and_places_give_other_numbers():
    numbers = [Uniforms(seed, sample)[i] for seed in (0, 1) for sample in (0, 1) for i in (0, 1, 255, 256, 257)]
    assert len(set(numbers)) == len(numbers)


NOT_NUMBERS = st.sampled_from([math.nan, math.inf, -math.inf, -1.0, -1e-9, 1e308])


@given(st.sampled_from(["temperature", "top_k", "top_p", "min_p", "repetition_penalty"]),
       st.one_of(NOT_NUMBERS, st.floats(), st.integers()))
def test_absurd_options_are_refused_in_one_line_or_work(name, value):
    try:
        options = Options(**{name: value})
    except UsageError as error:
        assert str(error).startswith(f"--{name.replace('_', '-')} {value}: it must be ")
        assert "\n" not in str(error)
    else:
        assert choose(np.array([1.0, 3.0, -2.0]), options, 0.5, np.array([True, False, True])) in (0, 1, 2)


@pytest.mark.parametrize("bad", [{"temperature": -0.1}, {"temperature": math.nan}, {"top_k": -1}, {"top_p": 0.0},
                                 {"top_p": 1.01}, {"min_p": 1.5}, {"repetition_penalty": 0.0}])
def test_each_option_has_its_limits(bad):
    with pytest.raises(UsageError):
        Options(**bad)


@pytest.mark.parametrize("bad", [[math.nan, 1.0], [math.inf, 1.0], [-math.inf, -math.inf]])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_not_finite_are_an_error(bad, temperature):
    with pytest.raises(TinylmError, match="not finite"):
        choose(np.array(bad), Options(temperature=temperature), 0.5)


@pytest.mark.parametrize("f", [ops, kernels], ids=["definitions", "kernels"])
@given(score=SCORES, uniform=UNIFORM, temperature=st.sampled_from([0.3, 1.0, 2.5]), count=st.integers(1, 8))
@example(score=np.array([-2.220446049250313e-16, 0.0, 2.0]), uniform=0.0, temperature=0.3, count=2)
def test_a_plain_draw_is_the_one_from_the_distribution(f, score, uniform, temperature, count):
    """`uniform` lies in the drawn token's share of [0, 1), up to the rounding of a float32."""
    score = score.astype(np.float32)
    options = Options(temperature=temperature)
    token = choose(score, options, uniform, f=f)
    reached = np.cumsum(distribution(score, options))
    assert (reached[token - 1] if token else 0) - 1e-5 <= uniform <= reached[token] + 1e-5
    prob, tokens, probs = f.likeliest(score, token, count)
    want = softmax(score)
    assert math.isclose(prob, want[token], rel_tol=1e-5, abs_tol=1e-30)
    naive = sorted(range(len(score)), key=lambda i: (-score[i], i))[:count]
    assert tokens.tolist() == naive
    np.testing.assert_allclose(probs, want[naive], rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("f", [ops, kernels], ids=["definitions", "kernels"])
@pytest.mark.parametrize("size", [1, 5, 64, 65, 1000])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_draw_from_scores_that_are_not_finite(f, size, bad):
    for at in (0, size // 2, size - 1):
        score = np.zeros(size, np.float32)
        score[at] = bad
        assert f.draw_token(score, 0.8, 0.5) == -1


@pytest.mark.parametrize("f", [ops, kernels], ids=["definitions", "kernels"])
def test_what_is_ruled_out_is_never_drawn(f):
    score = np.full(200, -np.inf, np.float32)
    score[[70, 150]] = 1.0
    assert {f.draw_token(score, 1.0, u) for u in np.linspace(0, 1 - 2**-53, 101)} == {70, 150}


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=True), min_size=1, max_size=70))
def test_the_highest_score_is_found_among_integers(scores):
    scores = np.array(scores, np.float32)
    assert vector_math.highest(scores) == scores.max()
    scores[len(scores) // 2] = np.nan
    assert np.isnan(vector_math.highest(scores))
