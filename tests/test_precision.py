"""bfloat16 in matrix products: what is rounded, what stays exact, and training with it."""
from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm import kernels, ops
from tinylm.errors import UsageError
from tinylm.kernels import simd, tiles
from tinylm.ops.precision import autocast, precision, round_bfloat16

BOTH = pytest.mark.parametrize("f", [ops, kernels], ids=["definitions", "kernels"])
FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(FLOATS, min_size=1, max_size=40))
def test_rounding_takes_the_nearest_and_of_two_the_even(values):
    x = np.array(values, np.float32)
    got = round_bfloat16(x)
    np.testing.assert_array_equal(tiles.rounded(x), got)
    bits = x.view(np.uint32)
    below = (bits & 0xFFFF0000).view(np.float32)
    above = ((bits & 0xFFFF0000) + 0x10000).view(np.float32)
    with np.errstate(invalid="ignore"):  # above infinity there are signalling NaNs
        neighbours = zip(x.astype(float), below.astype(float), above.astype(float), got.astype(float))
    for value, low, high, found in neighbours:
        if np.isnan(value):
            assert np.isnan(found)
        elif np.isfinite(high) and np.isfinite(low):
            assert found in (low, high)
            assert abs(found - value) == min(abs(low - value), abs(high - value))
            if abs(low - value) == abs(high - value):
                assert np.float32(found).view(np.uint32) >> 16 & 1 == 0


@BOTH
@pytest.mark.parametrize("turned", [False, True])
def test_both_operands_are_rounded_and_sums_are_not(f, turned):
    """1 + 2^-9 rounds to 1; 300 times 2^-9 would be lost in a sum of bfloat16, which stops growing at 2."""
    a, b = np.full((1, 300), 1 + 2**-9, np.float32), np.full((300, 1), 2**-9, np.float32)
    with autocast("bfloat16"):
        out = f.matmul(a, b) if not turned else f.matmul(np.ascontiguousarray(b.T), a, transpose_b=True)
        assert precision() == "bfloat16"
    assert precision() == "float32"
    np.testing.assert_allclose(out, [[300 * 2**-9]], rtol=1e-6)
    assert f.matmul(a, b)[0, 0] > out[0, 0]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 31, 33, 600]), st.sampled_from([1, 33, 70]))
def test_products_of_codes_stay_exact(seed, K, M):
    """Activation codes up to 127 and ternary weights are bfloat16 already: not one bit may change."""
    rng = np.random.default_rng(seed)
    ternary = kernels.ternarize(rng.standard_normal((M, K)).astype(np.float32))
    inp = rng.standard_normal((2, 5, K)).astype(np.float32)
    want, _ = kernels.bitlinear_forward(inp, ternary, 8)
    with autocast("bfloat16"):
        got, _ = kernels.bitlinear_forward(inp, ternary, 8)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("lacking", [[], ["has_tiles"], ["has_tiles", "has_bfloat_pairs"]])
def test_what_was_packed_for_one_precision_serves_the_other(lacking, monkeypatch):
    for name in lacking:
        monkeypatch.setattr(sys.modules["tinylm.kernels.matmul"], name, lambda: False)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 50)).astype(np.float32), rng.standard_normal((60, 50)).astype(np.float32)
    packed = kernels.pack(b)
    with autocast("bfloat16"):
        want, other = kernels.matmul(a, b, transpose_b=True), kernels.pack(b)
        np.testing.assert_array_equal(kernels.matmul(a, packed, transpose_b=True), want)
    want = kernels.matmul(a, b, transpose_b=True)
    np.testing.assert_array_equal(kernels.matmul(a, other, transpose_b=True), want)


@pytest.mark.parametrize("how", ["plain", "bias", "added", "scaled"])
@pytest.mark.parametrize("turned", [False, True])
def test_long_sums_are_put_away_and_taken_up_again(how, turned):
    """Past 512 numbers along k a product goes on from what it has stored; whole numbers this small are exact."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((70, 1101), (1101, 75)))
    bias = np.arange(75, dtype=np.float32)
    options = {"plain": {}, "bias": {"bias": bias}, "added": {"add_to": np.full((70, 75), 3, np.float32)},
               "scaled": {"row_scale": np.full((70, 1), 2, np.float32)}}[how]
    want = a @ b * (2 if how == "scaled" else 1) + {"bias": bias, "added": 3}.get(how, 0)
    with autocast("bfloat16"):
        got = kernels.matmul(np.ascontiguousarray(a.T) if turned else a, b, transpose_a=turned, **options)
    np.testing.assert_array_equal(got, want)


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="float16"), autocast("float16"):
        pass


@pytest.mark.skipif(not simd.has_tiles(), reason="this processor has no tiles")
def test_tiles_and_rounded_float32_products_agree():
    script = """
import numpy as np, sys
from tinylm import kernels
from tinylm.kernels import simd
from tinylm.ops.precision import autocast
rng = np.random.default_rng(0)
a, b = rng.integers(-8, 9, (70, 90)).astype(np.float32), rng.integers(-8, 9, (90, 50)).astype(np.float32)
with autocast("bfloat16"):
    out = kernels.matmul(a, b)
assert np.array_equal(out, a @ b)
print(simd.has_tiles())
"""
    for environment, tiled in ({}, "True"), ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, "False"):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                              env={**os.environ, **environment})
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == tiled


@pytest.mark.skipif(not simd.has_tiles(), reason="this processor has no tiles")
def test_the_product_is_made_of_tile_instructions():
    with autocast("bfloat16"):
        kernels.matmul(np.ones((33, 33), np.float32), np.ones((33, 33), np.float32))
    for function, wanted in ((tiles._share, "tdpbf16ps"), (tiles._pack_strip, "vcvtne2ps2bf16")):
        code = "".join(function.inspect_asm().values())
        if not code.strip():  # taken from the cache, which keeps no assembly
            code = _assembly_in_a_fresh_process(function.py_func.__name__)
        assert wanted in code


def _assembly_in_a_fresh_process(name):
    script = f"""
import numpy as np, tempfile, os
os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp()
from tinylm import kernels
from tinylm.kernels import tiles
from tinylm.ops.precision import autocast
with autocast("bfloat16"):
    kernels.matmul(np.ones((33, 33), np.float32), np.ones((33, 33), np.float32))
print("".join(tiles.{name}.inspect_asm().values()))
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
