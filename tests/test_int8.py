"""A head with eight bits a weight: rounding, exact products, and every target's path."""
from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm import kernels, ops
from tinylm.kernels import simd
from tinylm.ops.int8 import Int8Weight, dequantize_rows
from tinylm.ops.shapes import ShapeError

ROWS = st.sampled_from([1, 15, 16, 63, 64, 65, 130])
COLUMNS = st.sampled_from([1, 3, 4, 5, 16, 33, 384])
SEED = st.integers(0, 2**32 - 1)
BOTH = pytest.mark.parametrize("f", [ops, kernels], ids=["definitions", "kernels"])


@BOTH
@given(rows=ROWS, columns=COLUMNS, seed=SEED)
def test_rounding_moves_a_weight_by_half_a_step_at_most(f, rows, columns, seed):
    weight = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    weight[0] = 0
    found = f.quantize_rows(weight)
    assert found.codes.dtype == np.int8 and np.abs(found.codes).max() <= 127
    assert (np.abs(dequantize_rows(found) - weight) <= 0.5001 * found.scale[:, None]).all()
    assert (found.codes[0] == 0).all()


@BOTH
@given(rows=ROWS, columns=COLUMNS, seed=SEED)
def test_products_are_exact(f, rows, columns, seed):
    """Inputs that are codes already, with scale 1: what comes out are the integers."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(-127, 128, (rows, columns)).astype(np.int8)
    inp = rng.integers(-127, 128, (2, 3, columns)).astype(np.float32)
    inp[..., 0] = 127
    out = f.int8_linear(inp, f.pack_int8(Int8Weight(codes, np.ones(rows, np.float32))))
    np.testing.assert_allclose(out, inp.astype(int) @ codes.T.astype(int), rtol=2e-7)


@given(rows=ROWS, columns=COLUMNS, seed=SEED)
def test_the_kernel_has_the_bits_of_the_definition(rows, columns, seed):
    """Three factors make a score: in another order they would round to another float32."""
    rng = np.random.default_rng(seed)
    weight = ops.quantize_rows(rng.standard_normal((rows, columns)).astype(np.float32))
    inp = rng.standard_normal((3, columns)).astype(np.float32)
    np.testing.assert_array_equal(kernels.int8_linear(inp, kernels.pack_int8(weight)), ops.int8_linear(inp, weight))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("code", [-127, 127])
def test_the_largest_sums_fit(sign, code):
    codes, inp = np.full((64, 8192), code, np.int8), np.full((1, 8192), 127 * sign, np.float32)
    out = kernels.int8_linear(inp, kernels.pack_int8(Int8Weight(codes, np.ones(64, np.float32))))
    np.testing.assert_allclose(out, sign * 127 * code * 8192, rtol=2e-7)


@BOTH
def test_what_does_not_fit_is_named(f):
    weight = f.pack_int8(f.quantize_rows(np.ones((3, 4), np.float32)))
    with pytest.raises(ShapeError, match="5"):
        f.int8_linear(np.zeros((2, 5), np.float32), weight)


SCRIPT = """
import numpy as np
from tinylm import kernels, ops
from tinylm.kernels import simd
rng = np.random.default_rng(0)
for rows, columns in (1, 1), (65, 33), (130, 384):
    weight = ops.quantize_rows(rng.standard_normal((rows, columns)).astype(np.float32))
    inp = rng.standard_normal((3, columns)).astype(np.float32)
    assert np.array_equal(kernels.int8_linear(inp, kernels.pack_int8(weight)), ops.int8_linear(inp, weight))
from tinylm.kernels import int8
assert int8.int8_product is (int8._product_avx2 if simd.has_byte_pairs() else int8._product_portable)
print("byte dot:", simd.has_byte_dot())
"""


@pytest.mark.parametrize("environment", [
    {"NUMBA_CPU_NAME": "generic"}, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}])
def test_targets_without_the_instruction_compute_the_same(environment, tmp_path):
    if "NUMBA_CPU_FEATURES" in environment and "avx2" not in simd.target_features():
        pytest.skip("this machine could not run it")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True,
                          env={**os.environ, **environment, "TINYLM_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "byte dot: False" in done.stdout
