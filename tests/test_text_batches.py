"""Batches are windows of the stream, fixed by (seed, step); evaluation covers every target once."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm.errors import DataMissing, UsageError
from tinylm.text.batches import batch, windows

STREAMS = st.integers(2, 300).map(lambda n: np.arange(n, dtype=np.uint16))


@given(STREAMS, st.integers(0, 2**70), st.integers(0, 10**9), st.integers(1, 9), st.integers(1, 40),
       st.integers(0, 5))
def test_a_batch_is_windows_of_the_stream(tokens, seed, step, batch_size, context, micro):
    if len(tokens) <= context:
        with pytest.raises(DataMissing, match=f"{len(tokens)} tokens.*{context}"):
            batch(tokens, seed, step, batch_size, context, micro)
        return
    inputs, targets = batch(tokens, seed, step, batch_size, context, micro)
    assert inputs.shape == targets.shape == (batch_size, context)
    assert inputs.dtype == targets.dtype == np.int32
    # The stream counts upwards, so consecutive tokens differ by one.
    np.testing.assert_array_equal(targets, inputs + 1)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    assert targets.max() < len(tokens)
    assert inputs.flags.c_contiguous and targets.flags.c_contiguous


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 7))
def test_a_batch_is_a_pure_function_of_seed_step_and_micro(seed, step, micro):
    tokens = np.arange(50_000, dtype=np.uint16)
    first = batch(tokens, seed, step, 8, 16, micro)
    np.random.default_rng(1).random(10)  # other randomness in between changes nothing
    batch(tokens, seed, step + 5, 8, 16, micro)
    np.testing.assert_array_equal(batch(tokens, seed, step, 8, 16, micro), first)
    for other in ((seed + 1, step, micro), (seed, step + 1, micro), (seed, step, micro + 1)):
        assert not np.array_equal(batch(tokens, *other[:2], 8, 16, other[2])[0], first[0])


def test_every_window_start_is_possible_and_about_equally_likely():
    tokens = np.arange(12)  # context 4: starts 0 … 7
    starts = np.concatenate([batch(tokens, 0, step, 100, 4)[0][:, 0] for step in range(80)])
    counts = np.bincount(starts, minlength=8)
    assert len(counts) == 8  # 8 + 4 would be the last target: start 7 is possible, 8 is not
    assert np.all(np.abs(counts - 1000) < 5 * np.sqrt(1000))


@given(STREAMS, st.integers(1, 50), st.none() | st.integers(1, 400), st.integers(1, 7))
def test_windows_cover_every_target_exactly_once_in_order(tokens, context, limit, batch_size):
    if len(tokens) <= context:
        with pytest.raises(DataMissing):
            windows(tokens, context, limit, batch_size)
        return
    batches = list(windows(tokens, context, limit, batch_size))
    covered = np.concatenate([targets.reshape(-1) for _, targets in batches])
    count = len(tokens) - 1 if limit is None else min(limit, len(tokens) - 1)
    np.testing.assert_array_equal(covered, tokens[1:count + 1])
    for number, (inputs, targets) in enumerate(batches):
        assert inputs.dtype == targets.dtype == np.int32
        np.testing.assert_array_equal(targets, inputs + 1)
        assert 1 <= len(inputs) <= batch_size
        if inputs.shape[1] != context:  # a shorter window comes alone and last
            assert len(inputs) == 1 and number == len(batches) - 1
    assert sum(targets.size for _, targets in batches) == count


def test_the_complaint_about_length_comes_at_once():
    with pytest.raises(DataMissing, match="64 tokens, too few for a context of 64"):
        windows(np.zeros(64, np.uint16), 64)  # not only when the first window is asked for


@pytest.mark.parametrize("sizes", [{"batch_size": 0}, {"batch_size": -3}, {"context": 0}, {"step": -1},
                                   {"micro": -1}])
def test_absurd_sizes(sizes):
    with pytest.raises(UsageError):
        batch(np.arange(100), **({"seed": 0, "step": 0, "batch_size": 2, "context": 4} | sizes))
    for name in {"batch_size", "context"} & set(sizes):
        with pytest.raises(UsageError):
            windows(np.arange(100), **({"context": 4} | {name: sizes[name]}))
    with pytest.raises(UsageError):
        windows(np.arange(100), 4, limit=0)


def test_ids_above_the_signed_16_bit_range_survive():
    tokens = np.array([65535, 40000, 32768, 1], dtype="<u2")
    inputs, targets = batch(tokens, 0, 0, 1, 3)
    assert inputs.tolist() == [[65535, 40000, 32768]] and targets.tolist() == [[40000, 32768, 1]]
