"""Losses that carry their units."""
from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm.units import Loss, Sums, UnlikeLosses

SIZES = st.integers(1, 10 ** 9)
LOSSES = st.builds(Loss, st.floats(0, 1e12), SIZES, SIZES, SIZES, st.sampled_from(["a", "b"]))


def test_a_fair_coin():
    """Four tosses, each one token, one byte and one character: one bit each, perplexity two."""
    loss = Loss(4 * math.log(2), 4, 4, 4, "coin")
    assert loss.nats_per_token == pytest.approx(math.log(2))
    assert loss.bits_per_byte == loss.bits_per_char == pytest.approx(1)
    assert loss.perplexity_per_token == pytest.approx(2)


def test_each_unit_divides_by_its_own_count():
    loss = Loss(120 * math.log(2), 10, 60, 30, "x")
    assert loss.nats_per_token == pytest.approx(12 * math.log(2))
    assert loss.bits_per_byte == pytest.approx(2)
    assert loss.bits_per_char == pytest.approx(4)
    assert loss.perplexity_per_token == pytest.approx(2 ** 12)


@given(LOSSES, LOSSES)
def test_pieces_add_up(one, other):
    if one.tokenizer != other.tokenizer:
        with pytest.raises(UnlikeLosses, match="differ"):
            _ = one + other
        return
    both = one + other
    assert both.nats == one.nats + other.nats
    assert (both.tokens, both.bytes, both.chars) == (
        one.tokens + other.tokens, one.bytes + other.bytes, one.chars + other.chars)
    low, high = sorted((one.bits_per_byte, other.bits_per_byte))
    assert low * (1 - 1e-12) <= both.bits_per_byte <= high * (1 + 1e-12)


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=9), min_size=1, max_size=6))
def test_windows_add_up_to_the_whole_text(windows):
    token_bytes, token_chars = np.array([1, 2, 3, 4, 0]), np.array([1, 1, 2, 1, 0])  # the last: end-of-text
    total = Sums()
    for i, targets in enumerate(windows):
        total += Sums.of(np.array([targets], np.int32), token_bytes, token_chars, float(i))
    flat = [t for targets in windows for t in targets]
    assert total == (sum(range(len(windows))), len(flat), sum([1, 2, 3, 4, 0][t] for t in flat),
                     sum([1, 1, 2, 1, 0][t] for t in flat))
    if set(flat) == {4}:
        with pytest.raises(ValueError, match="bytes is 0"):
            total.loss("a")
    else:
        assert total.loss("a").sums == total


@given(LOSSES, LOSSES)
def test_only_like_losses_are_ranked(one, other):
    if one.tokenizer == other.tokenizer:
        assert (one < other) == (one.nats_per_token < other.nats_per_token)
    else:
        with pytest.raises(UnlikeLosses, match="bits_per_byte"):
            _ = one < other


@given(LOSSES)
def test_json_loses_nothing(loss):
    assert Loss.from_json(json.loads(json.dumps(loss.to_json()))) == loss
    assert set(loss.to_json()) >= {"nats_per_token", "bits_per_byte", "bits_per_char", "perplexity_per_token",
                                   "tokens", "bytes", "chars", "tokenizer"}


@given(LOSSES)
def test_it_prints_its_units(loss):
    text = str(loss)
    for unit in ("nats/token", "bits/byte", "perplexity", f"per token of {loss.tokenizer}"):
        assert unit in text


@pytest.mark.parametrize("field", ["tokens", "bytes", "chars"])
@pytest.mark.parametrize("count", [0, -1])
def test_a_loss_of_nothing_is_refused(field, count):
    with pytest.raises(ValueError, match=field):
        Loss(**{"nats": 1.0, "tokens": 1, "bytes": 1, "chars": 1, "tokenizer": "a", field: count})


def test_numbers_without_units_are_not_compared():
    loss = Loss(1.0, 1, 1, 1, "a")
    with pytest.raises(TypeError):
        _ = loss < 1.5
    with pytest.raises(TypeError):
        _ = loss + 1.5


def test_a_huge_loss_still_has_a_perplexity():
    assert math.isfinite(Loss(1e9, 1, 1, 1, "a").perplexity_per_token)
