"""Ternary products by looking sums up, against products of integers, which float32 holds exactly."""
from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinylm import kernels, ops
from tinylm.kernels import simd, sums
from tinylm.ops.ternary import Ternary

SIZES = {"N": [1, simd.SHORT - 1, simd.SHORT, simd.SHORT + 1, 3 * simd.SHORT + 5],
         "M": [1, 2, 3, 7, sums.DEPTH - 1, sums.DEPTH, sums.DEPTH + 1, 2 * sums.DEPTH + 8],
         "K": [1, 4, 7, 8, 9, 21]}


@given(**{name: st.sampled_from(sizes) for name, sizes in SIZES.items()}, transposed=st.booleans(),
       added=st.booleans(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_products_are_those_of_integers(N, M, K, transposed, added, seed):
    rng = np.random.default_rng(seed)
    x, codes = rng.integers(-50, 51, (N, M)).astype(np.float32), rng.integers(-1, 2, (M, K)).astype(np.int8)
    before = rng.integers(-50, 51, (N, K)).astype(np.float32)
    places = sums.places_of(np.ascontiguousarray(codes.T) if transposed else codes, transposed)
    into = before.copy() if added else None
    out = sums.multiply(x, places, np.float32(0.5), K, into)
    assert not added or out is into
    np.testing.assert_array_equal(out, 0.5 * (x @ codes) + (before if added else 0))


def test_each_of_the_27_sums_is_found():
    codes = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, 27).astype(np.int8)
    x = np.tile(np.float32([[1, 10, 100]]), (simd.SHORT, 1))
    np.testing.assert_array_equal(sums.multiply(x, sums.places_of(codes), 1, 27), x @ codes)


@pytest.mark.parametrize("threads", [1, numba.get_num_threads()])
def test_sums_are_the_same_for_any_number_of_threads(threads):
    rng = np.random.default_rng(0)
    x, codes = rng.standard_normal((1000, 100), np.float32), rng.integers(-1, 2, (100, 90)).astype(np.int8)
    alone = [sums.multiply(x[n:n + simd.SHORT], sums.places_of(codes), 0.3, 90) for n in range(0, 1000, simd.SHORT)]
    numba.set_num_threads(threads)
    try:
        together = sums.multiply(x, sums.places_of(codes), 0.3, 90)
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_a_spike_stays_one_where_a_code_takes_part():
    x, ternary = np.ones((simd.SHORT, 5), np.float32), Ternary(np.int8([[1, 0, -1, 0, 1], [0, 0, 1, 1, 0]]), 1.0)
    x[2, 0], x[3, 2] = np.inf, np.nan
    out, _ = kernels.bitlinear_forward(x, ternary)
    assert out[2, 0] == np.inf and np.isnan(out[3]).all() and np.isfinite(out[4]).all()


def test_float32_layers_look_sums_up_both_ways(monkeypatch):
    asked, real = [], sums.multiply
    monkeypatch.setattr(sums, "multiply", lambda *args: asked.append(args[0].shape) or real(*args))
    x, ternary = np.ones((simd.SHORT, 5), np.float32), ops.ternarize(np.ones((4, 5), np.float32))
    out, cache = kernels.bitlinear_forward(x, ternary)
    kernels.bitlinear_backward(out, cache)
    assert asked == [x.shape, out.shape]
