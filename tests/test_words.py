"""Products of words: 16-bit fixed point, bfloat16, and ternary weights times bytes; exact where they promise to be."""
from __future__ import annotations

import platform
import re
import sys
import weakref

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_kernels_targets import FLAT, INDEX, _assembly

from tinylm import kernels, ops
from tinylm.config import PRECISIONS
from tinylm.kernels import activations, machine, rounding, rows, simd, words
from tinylm.kernels.matmul import Operand, in_pairs
from tinylm.ops.precision import CHUNK, FIXED_POINT, LARGEST, autocast, round_bfloat16, round_fixed
from tinylm.ops.shapes import ShapeError
from tinylm.ops.ternary import LARGEST_CODE, FeedForwardCache, Ternary

WORDS, BFLOATS, STEPS = numba.int32[::1], numba.uint32[::1], numba.float32[::1]
EDGES = st.sampled_from([1, 2, 3, 5, 15, 16, 17, 33, 97])
OF_PAIRS = pytest.mark.parametrize("chosen", ["int16", "bfloat16"])


@pytest.fixture
def bfloat_pairs(monkeypatch):
    """Products of bfloat16 are those of words on every processor, with instructions for them or without."""
    matmul = sys.modules["tinylm.kernels.matmul"]
    monkeypatch.setattr(matmul, "has_bfloat_pairs", lambda: True)
    monkeypatch.setattr(matmul, "has_tiles", lambda: False)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7]),
       st.sampled_from([0, 1]), st.sampled_from([LARGEST, LARGEST_CODE]))
def test_numbers_become_multiples_of_a_step_of_their_chunk(seed, size, axis, largest):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((size, size % 5 + 1)) * 10.0 ** rng.integers(-3, 4)).astype(np.float32)
    x = x if axis == 0 else np.ascontiguousarray(x.T)
    got = np.moveaxis(round_fixed(x, axis, largest), axis, 0)
    for k in range(0, size, CHUNK):
        part, found = np.moveaxis(x, axis, 0)[k:k + CHUNK].astype(float), got[k:k + CHUNK]
        step = np.abs(part).max(0) / largest
        codes = found / step
        assert np.abs(codes - np.rint(codes)).max() < 1e-3
        assert np.abs(codes).max() < largest + 1e-3
        assert np.all(np.abs(found - part) <= 0.501 * step), "float32 chooses, so nearly the nearest"


def test_a_chunk_that_is_not_finite_is_nan_and_no_other():
    x = np.ones((2 * CHUNK, 3), np.float32)
    x[5, 1], x[CHUNK + 5, 2] = np.inf, np.nan
    got = round_fixed(x, 0)
    assert np.isnan(got[:CHUNK, 1]).all() and np.isnan(got[CHUNK:, 2]).all()
    assert np.isfinite(got[CHUNK:, :2]).all() and np.isfinite(got[:CHUNK, ::2]).all()
    with autocast("int16"):
        for a, b, turn in ((x, np.ones((2 * CHUNK, 4), np.float32), {"transpose_a": True}),
                           (np.ascontiguousarray(x.T), np.ones((4, 2 * CHUNK), np.float32), {"transpose_b": True})):
            out = kernels.matmul(a, b, **turn)
            assert np.isnan(out[1:]).all() and np.isfinite(out[0]).all(), "a diverging run must show"


@pytest.mark.parametrize("turn", [(False, True), (False, False), (True, False), (True, True)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_codes_do_not_overflow(turn, sign):
    """Every code the largest there is, for more than two chunks: any bit more and int32 would wrap around."""
    K = 2 * CHUNK + 1
    a = np.ones((K, 7) if turn[0] else (7, K), np.float32)
    b = np.full((5, K) if turn[1] else (K, 5), sign, np.float32)
    with autocast("int16"):
        out = kernels.matmul(a, b, transpose_a=turn[0], transpose_b=turn[1])
    np.testing.assert_allclose(out, sign * K, rtol=1e-6)


@given(st.integers(0, 2**32 - 1), EDGES, st.sampled_from([1, 4, 127, 128, 129, 384, 1151]), EDGES,
       st.sampled_from(["random", "ones", "minus"]), st.sampled_from(["random", "top", "bottom", "turns"]))
def test_products_of_bytes_are_exact(seed, N, K, M, weights, tokens):
    """The sums of 16 bits on the way are as large as they can get where all weights are 1 and all codes +-127."""
    rng = np.random.default_rng(seed)
    codes = {"random": rng.integers(-1, 2, (M, K)), "ones": np.ones((M, K)), "minus": -np.ones((M, K))}[weights]
    inp = {"random": rng.standard_normal((N, K)), "top": np.ones((N, K)), "bottom": -np.ones((N, K)),
           "turns": np.resize([1.0, -1.0], (N, K))}[tokens].astype(np.float32)
    ternary = ops.ternary.Ternary(codes.astype(np.int8), np.float32(0.37))
    want, _ = ops.bitlinear_forward(inp, ternary, 8)
    got, _ = kernels.bitlinear_forward(inp, ternary, 8)
    np.testing.assert_array_equal(got, want)
    assert not np.signbit(got[want == 0]).any()


@OF_PAIRS
@given(st.integers(0, 2**32 - 1), EDGES, st.sampled_from([1, 33, 600]), EDGES, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bits_do_not_depend_on_the_number_of_threads(chosen, bfloat_pairs, seed, M, K, N, turned):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((K, M) if turned else (M, K)), rng.standard_normal((N, K))
    a, b, before = a.astype(np.float32), b.astype(np.float32), numba.get_num_threads()
    ternary, found = kernels.ternarize(b), []
    try:
        for count in {1, before}:
            numba.set_num_threads(count)
            with autocast(chosen):
                found.append((kernels.matmul(a, b, transpose_a=turned, transpose_b=True),
                              kernels.bitlinear_forward(b, ternary, 8)[0]))
    finally:
        numba.set_num_threads(before)
    for other in found[1:]:
        for x, y in zip(found[0], other):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("tile", "arguments", "instruction"), [
    (words._tile_pairs, (FLAT, INDEX, INDEX, FLAT, INDEX, INDEX, WORDS, INDEX, INDEX, INDEX, WORDS, INDEX, INDEX,
                            STEPS, INDEX, STEPS, INDEX, INDEX, INDEX), r"vpmaddwd|vpdpwssd"),
    (words._tile_bytes, (FLAT, INDEX, INDEX, FLAT, INDEX, INDEX, WORDS, INDEX, INDEX, INDEX, WORDS, INDEX, INDEX, WORDS,
                         STEPS, STEPS, WORDS, INDEX, INDEX, INDEX, INDEX), r"vpmaddubsw|vpdpbusd")],
    ids=["pairs", "bytes"])
@pytest.mark.skipif("avx2" not in simd.target_features() or platform.machine().lower() not in ("x86_64", "amd64"),
                    reason="needs AVX2")
def test_tiles_are_products_of_integers_on_whole_registers(tile, arguments, instruction):
    lanes = 16 if "avx512bw" in simd.target_features() else 8
    code = _assembly(tile, *arguments)
    assert len(re.findall(rf"\b(?:{instruction})\b.*%[yz]mm", code)) >= simd.ROWS * simd.WIDE // lanes


@pytest.mark.skipif(not simd.has_bfloat_pairs(), reason="needs AVX-512 BF16")
def test_tiles_of_bfloat16_stay_in_registers():
    code = _assembly(words._tile_pairs, FLAT, INDEX, INDEX, FLAT, INDEX, INDEX, BFLOATS, INDEX, INDEX, INDEX,
                     BFLOATS, INDEX, INDEX, STEPS, INDEX, STEPS, INDEX, INDEX, INDEX)
    found = [n for n, line in enumerate(code.splitlines()) if re.search(r"\bvdpbf16ps\b.*%zmm", line)]
    loop = "\n".join(code.splitlines()[found[0]:found[-1] + 1])
    assert len(found) >= simd.ROWS * simd.WIDE // 16
    assert not re.search(r"[xyz]mm\d+, -?\d*\(%r[sb]p\)|\(%r[sb]p\), %[xyz]mm", loop), "a register was spilled"
    code = _assembly(rounding._panel_words, BFLOATS, INDEX, INDEX, numba.boolean, FLAT, INDEX, INDEX, INDEX, FLAT,
                     INDEX, FLAT, INDEX, INDEX, simd.Vector(simd.WIDE))
    assert re.search(r"\bvcvtne2ps2bf16\b.*%zmm", code)


@pytest.mark.skipif("avx2" not in simd.target_features() or platform.machine().lower() not in ("x86_64", "amd64"),
                    reason="needs AVX2")
def test_the_peak_of_products_multiplies_as_often_as_it_adds():
    """Products that LLVM finds twice in the loop are computed once, and a peak that nothing can reach comes out."""
    code = _assembly(machine._spin_words, WORDS, INDEX, WORDS, INDEX)
    multiplied, added = (len(re.findall(rf"\b{name}\b.*%[yz]mm", code)) for name in ("vpmaddwd", "vpaddd"))
    if not multiplied:
        pytest.skip("this processor multiplies and adds in one instruction")
    sums_at_the_end = simd.ROWS * simd.WIDE // 8
    assert multiplied >= added - sums_at_the_end


@OF_PAIRS
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7]),
       st.sampled_from([1, 5, 6, 7, 33, CHUNK + 3]), st.booleans())
def test_rounding_both_ways_at_once_gives_what_each_way_gives(chosen, seed, N, M, scaled):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((N, M)) * 10.0 ** rng.integers(-3, 4, (N, 1))).astype(np.float32)
    factor = rng.uniform(0, 3, N).astype(np.float32) if scaled else None
    with autocast(chosen):
        both = rounding.round_both(x, factor)
        of_rows, steps = rounding.round_rows(x)
        strips, strip_steps = rounding.round_strips(x if factor is None else x * factor[:, None])
    np.testing.assert_array_equal(both.words, of_rows)
    np.testing.assert_array_equal(both.steps, steps)
    np.testing.assert_array_equal(both.column_steps, strip_steps)
    tiles = -(-M // rounding.ROWS)
    for chunk in range(-(-N // CHUNK)):  # what lies beyond the rows of a strip is not defined
        pairs = (min(CHUNK, N - chunk * CHUNK) + 1) // 2 * rounding.ROWS
        for tile in range(tiles):
            at = (chunk * tiles + tile) * rounding.STRIP
            np.testing.assert_array_equal(both.columns[at:at + pairs], strips[at:at + pairs])


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, CHUNK, CHUNK + 1]),
       st.sampled_from([1, 5, 6, 7, 33, CHUNK + 3]))
def test_bytes_and_columns_at_once_are_what_each_way_gives(seed, N, M):
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((N, M)) * 10.0 ** rng.integers(-3, 4, (N, 1))).astype(np.float32)
    factor = rng.uniform(0, 3, N).astype(np.float32)
    codes, columns = rounding.quantize_both(x, factor)
    values, steps = ops.quantize_activations(x)
    of_bytes = codes.words.view(np.int8)
    np.testing.assert_array_equal(of_bytes[:, :M], values)
    assert not of_bytes[:, M:].any()
    np.testing.assert_array_equal(codes.steps, steps[:, 0])
    np.testing.assert_array_equal(codes.minus_sums, -values.sum(1))
    both = rounding.round_both(x, factor)
    np.testing.assert_array_equal(columns.column_steps, both.column_steps)
    for chunk in range(-(-N // CHUNK)):
        pairs, tiles = (min(CHUNK, N - chunk * CHUNK) + 1) // 2 * rounding.ROWS, -(-M // rounding.ROWS)
        for at in range(chunk * tiles * rounding.STRIP, (chunk + 1) * tiles * rounding.STRIP, rounding.STRIP):
            np.testing.assert_array_equal(columns.columns[at:at + pairs], both.columns[at:at + pairs])


@pytest.mark.parametrize("started", [False, True])
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 1), (2, 3), (3, 65), (1, 130)]),
       st.sampled_from([1, 2, 5, 12, 48]))
def test_codes_made_on_the_way_are_those_made_afterwards(started, seed, texts, D):
    """Parts begin within a text, whose token before another part normalises."""
    rng, C = np.random.default_rng(seed), 8 * D
    x, before = (rng.standard_normal(shape).astype(np.float32) for shape in ((*texts, C), (texts[0], C)))
    weight, bias, mix = (rng.standard_normal(C).astype(np.float32) for _ in range(3))
    ternary, before = kernels.ternarize(rng.standard_normal((7, C)).astype(np.float32)), before if started else None
    normed, norm = kernels.layernorm_forward(x, weight, bias)
    shifted, _ = kernels.token_shift_forward(normed, mix, before)
    for parts in {1, 2, texts[0] * texts[1]}:  # which begin at any token
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules["tinylm.kernels.token_shift"], "parts_for", lambda elements, parts=parts: parts)
            out, cache = kernels.norm_shift_forward(x, weight, bias, mix, before)
        np.testing.assert_array_equal(out, shifted)
        for got, want in zip((cache.last, cache.norm.mean, cache.norm.rstd), (normed[:, -1], norm.mean, norm.rstd)):
            np.testing.assert_array_equal(got, want)
    for plain, operand in (
            (shifted, kernels.norm_shift_forward(x, weight, bias, mix, before, operand=True)[0]),
            (kernels.squared_relu_forward(x)[0], kernels.squared_relu_forward(x, operand=True)[0]),
            (kernels.headnorm_forward(x, 8, weight, bias)[0],
             kernels.headnorm_forward(x, 8, weight, bias, operand=True)[0])):
        assert operand.shape == plain.shape
        (want, kept), (got, also_kept) = (kernels.bitlinear_forward(inp, ternary, 8) for inp in (plain, operand))
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(also_kept.inp, kept.inp)
        np.testing.assert_array_equal(also_kept.inp_scale, kept.inp_scale)


@given(st.integers(0, 2**32 - 1), EDGES, EDGES)
def test_ternary_panels_are_the_same_however_the_matrix_is_stored(seed, K, N):
    codes = np.random.default_rng(seed).integers(-1, 2, (K, N)).astype(np.int8)
    np.testing.assert_array_equal(words.ternary_panels(codes, False),
                                  words.ternary_panels(np.ascontiguousarray(codes.T), True))


@given(st.integers(0, 2**32 - 1), EDGES, EDGES)
def test_words_of_bfloat16_are_the_nearest_of_each_number(seed, N, K):
    """By rows in registers of LLVM's choice, by columns in ours; NaN and infinity too."""
    rng = np.random.default_rng(seed)
    ends = np.array([0, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)  # exact, and around the middle between two
    upper = rng.integers(0x80, 0x7F80, (N, K), np.uint32) | rng.choice(np.uint32([0, 0x8000]), (N, K))
    x = (upper << 16 | rng.choice(ends, (N, K))).view(np.float32)  # no denormal numbers, which may become zeros
    x[rng.random((N, K)) < 0.05] = np.nan
    with autocast("bfloat16"):
        of_rows, panels = rounding.round_rows(x)[0], rounding.round_panels(x, True)[0]
        strips = rounding.round_strips(x)[0]
    assert of_rows.dtype == panels.dtype == strips.dtype == np.uint32
    want = np.pad(round_bfloat16(x), ((0, 0), (0, K % 2)))

    def numbers(of):
        return (of.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(numbers(of_rows), want)
    for n in range(N):
        panel, lane = divmod(n, rounding.WIDE)
        column = panels.reshape(-1, of_rows.shape[1], rounding.WIDE)[panel, :, lane]
        np.testing.assert_array_equal(numbers(np.ascontiguousarray(column)), want[n])
    want = np.pad(round_bfloat16(x), ((0, N % 2), (0, 0)))
    for k in range(K):
        tile, row = divmod(k, rounding.ROWS)
        strip = strips[tile * rounding.STRIP:][row:(N + 1) // 2 * rounding.ROWS:rounding.ROWS]
        np.testing.assert_array_equal(numbers(np.ascontiguousarray(strip)), want[:, k])


@given(st.sampled_from([1, 60, 400]), st.sampled_from([1, 65, 64 * 6, 64 * 18]), st.sampled_from([4, 2000]),
       st.sampled_from([1, 2, 8, 12]), st.sampled_from([1, 2, 4]))
def test_a_product_is_cut_into_parts_of_whole_tiles_and_as_many_as_were_asked_for(M, N, K, pieces, size):
    near, before = words.grid(M, N, K, pieces, size), words.FAR
    try:
        words.FAR = 0
        rows_, columns = words.grid(M, N, K, pieces, size)
    finally:
        words.FAR = before
    assert rows_ * columns == near[0] * near[1]
    assert columns == near[1] or -(-N // words.WIDE) % columns == 0
    assert rows_ * N + columns * M <= near[0] * N + near[1] * M, "no more is read"


@pytest.mark.parametrize("chosen", PRECISIONS)
@pytest.mark.parametrize("turned", [False, True])
def test_how_a_product_is_cut_changes_no_bit(chosen, turned, bfloat_pairs, monkeypatch):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((520, 300), (300, 64 * 6)))
    a, ternary = np.ascontiguousarray(a.T) if turned else a, kernels.ternarize(np.ascontiguousarray(b.T))
    inp = rng.standard_normal((520, 300)).astype(np.float32)
    found = []
    for far in words.FAR, 0:
        monkeypatch.setattr(words, "FAR", far)
        with autocast(chosen):
            found.append((kernels.matmul(a, b, transpose_a=turned), kernels.bitlinear_forward(inp, ternary, 8)[0]))
    for x, y in zip(*found):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("chosen", PRECISIONS[1:])
@pytest.mark.parametrize("bits", [0, 8])
def test_the_backward_pass_rounds_both_ways_as_its_definition(chosen, bfloat_pairs, bits):
    """More rows than one chunk for each thread, so that the two roundings are one."""
    rng = np.random.default_rng(bits)
    N, K, M = CHUNK * numba.get_num_threads() + 5, 33, 17
    inp, dout, weight, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((N, K), (N, M), (M, K), M))
    ternary = ops.ternarize(weight)
    with autocast(chosen):
        want, found = ([*f.bitlinear_backward(dout, f.bitlinear_forward(inp, ternary, bits)[1]),
                        *f.linear_backward(dout, f.linear_forward(inp, weight, bias)[1])]
                       for f in (ops, kernels))
    for x, y in zip(want, found, strict=True):
        np.testing.assert_allclose(y, x, rtol=2e-5, atol=2e-5 * np.abs(x).max())
    if bits and chosen in FIXED_POINT:
        np.testing.assert_array_equal(found[0], want[0], "what 8 bits are multiplied to is exact")


BOTH_BYTES = pytest.mark.skipif(not simd.has_byte_dot(), reason="strips of bytes are for VNNI")
ROWS_OF_BYTES = [1, 4, 6, 7, CHUNK - 1, CHUNK, CHUNK + 2, 2 * CHUNK + 7]


@BOTH_BYTES
@pytest.mark.parametrize("at_once", [True, False])
@given(st.integers(0, 2**32 - 1), st.sampled_from(ROWS_OF_BYTES), st.sampled_from([1, 6, 7, 24, 32, 33, 45, 97]))
def test_strips_of_bytes_are_the_codes_of_each_column_and_their_sum(at_once, seed, N, M):
    """Whether columns are rounded beside rows, or alone as where threads have no chunk each."""
    rng = np.random.default_rng(seed)
    x, factor = rng.standard_normal((N, M)).astype(np.float32), rng.uniform(0.1, 9, N).astype(np.float32)
    x[:, rng.random(M) < 0.1] = 0
    scaled = x * factor[:, None]
    with autocast("int8"):
        both = rounding.quantize_both(x, factor)[1] if at_once else rounding.gradient_columns(scaled)
    want, tiles = round_fixed(scaled, 0, LARGEST_CODE), -(-M // rounding.ROWS)
    words_ = both.columns.view(np.int32).reshape(-1, tiles, rounding.BYTE_STRIP)
    for chunk, low in enumerate(range(0, N, CHUNK)):
        count = min(CHUNK, N - low)
        for m in range(M):
            strip, row = words_[chunk, m // rounding.ROWS], m % rounding.ROWS
            codes = np.ascontiguousarray(strip[row:-(-count // 4) * rounding.ROWS:rounding.ROWS]).view(np.int8)
            np.testing.assert_allclose(codes[:count] * both.column_steps[chunk, m], want[low:low + count, m], rtol=1e-6)
            assert not codes[count:].any()
            assert strip[rounding.BYTE_SUMS + row] == -128 * codes.sum(dtype=np.int32)


@BOTH_BYTES
@given(st.integers(0, 2**32 - 1), st.sampled_from(ROWS_OF_BYTES), st.sampled_from([1, 63, 64, 65, 128, 200]))
def test_panels_of_bytes_are_codes_and_128(seed, K, N):
    codes = np.random.default_rng(seed).integers(-127, 128, (K, N)).astype(np.int8)
    panels = words.byte_panels(codes).view(np.uint8).reshape(-1, -(-K // 4), words.WIDE, 4)
    found = panels.transpose(1, 3, 0, 2).reshape(-1, panels.shape[0] * words.WIDE)
    np.testing.assert_array_equal(found[:K, :N], codes.astype(np.int16) + 128)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_bytes_do_not_overflow(sign):
    N = 2 * CHUNK + 5
    inp, dout = np.ones((N, 70), np.float32), np.full((N, 13), sign, np.float32)
    with autocast("int8"):
        _, cache = kernels.bitlinear_forward(inp, kernels.ternarize(np.ones((13, 70), np.float32)), 8)
        _, dweight = kernels.bitlinear_backward(dout, cache)
    np.testing.assert_allclose(dweight, sign * N, rtol=1e-6)


@pytest.mark.parametrize("N", [7, CHUNK * numba.get_num_threads() + 5])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_gradients_of_8_bits(N, bad):
    """In its own channel alone; a run that diverges must not go on unnoticed."""
    inp, dout = np.ones((N, 20), np.float32), np.ones((N, 13), np.float32)
    dout[-1, 5] = bad
    with autocast("int8"):
        _, cache = kernels.bitlinear_forward(inp, kernels.ternarize(np.ones((13, 20), np.float32)), 8)
        _, dweight = kernels.bitlinear_backward(dout, cache)
    assert np.isnan(dweight[5]).all() and np.isfinite(np.delete(dweight, 5, 0)).all()


def test_over_no_rows_a_gradient_of_8_bits_is_0_or_what_it_was():
    inp, weight, into = np.ones((0, 5), np.float32), np.ones((3, 5), np.float32), np.full((3, 5), 7, np.float32)
    with autocast("int8"):
        _, cache = kernels.bitlinear_forward(inp, kernels.ternarize(weight), 8)
        assert not kernels.bitlinear_backward(np.ones((0, 3), np.float32), cache)[1].any()
        kernels.bitlinear_backward(np.ones((0, 3), np.float32), cache, (into,))
    assert (into == 7).all()


@pytest.mark.parametrize("size", [1, 5, 16_385, 100_003])
def test_clearing_leaves_nothing(size):
    x = np.ones(size + 1, np.float32)
    rows.clear(x[:size])
    assert not x[:size].any() and x[size] == 1


@BOTH_BYTES
@pytest.mark.parametrize("N", [3, CHUNK * numba.get_num_threads() + 5])
def test_gradients_of_8_bits_have_the_same_bits_without_products_of_bytes(N, monkeypatch):
    """Other processors multiply the same codes as words of two."""
    rng, found = np.random.default_rng(0), []
    inp, dout, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((N, 70), (N, 45), (45, 70)))
    with autocast("int8"):
        for has in True, False:
            monkeypatch.setattr(rounding, "has_byte_dot", lambda has=has: has)
            _, cache = kernels.bitlinear_forward(inp, kernels.ternarize(weight), 8)
            into = (np.ones_like(weight),)
            found.append((*kernels.bitlinear_backward(dout, cache), kernels.bitlinear_backward(dout, cache, into)[1]))
    for x, y in zip(*found):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("chosen", PRECISIONS)
@pytest.mark.parametrize("N", [5, CHUNK - 3, 2 * CHUNK, numba.get_num_threads() * CHUNK - 3])
@given(K=st.sampled_from([1, 8, 70, 130]), M=st.sampled_from([1, 16, 45, 200]), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=6)
def test_a_feed_forward_at_once_is_one_map_after_the_other(chosen, N, K, M, seed):
    rng, called = np.random.default_rng(seed), []
    inp, dout, up, down = (rng.standard_normal(shape).astype(np.float32)
                           for shape in ((N, K), (N, K), (M, K), (K, M)))
    up, down, ternary = ops.ternarize(up), ops.ternarize(down), sys.modules["tinylm.kernels.ternary"]
    at_once = ternary.multiply_bytes_both
    with autocast(chosen), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ternary, "multiply_bytes_both", lambda *a: called.append(1) or at_once(*a))
        linear, of_up = kernels.bitlinear_forward(inp, up, 8)
        square, hidden = kernels.squared_relu_forward(linear)
        out, of_down = kernels.bitlinear_forward(square, down, 8, inp)
        dsquare, ddown = kernels.bitlinear_backward(dout, of_down)
        dinp, dup = kernels.bitlinear_backward(kernels.squared_relu_backward(dsquare, hidden)[0], of_up)
        into = [np.zeros_like(dup), np.zeros_like(ddown)]
        found, cache = kernels.feed_forward_forward(inp, up, down, 8, inp)
        np.testing.assert_array_equal(found, out)
        for x, y in zip(cache.down[:2], of_down[:2], strict=True):
            np.testing.assert_array_equal(x, y)
        floats = FeedForwardCache(of_up, hidden, of_down)
        for found in (kernels.feed_forward_backward(dout, cache), kernels.feed_forward_backward(dout, floats),
                      kernels.feed_forward_backward(dout, cache, add_to=into)):
            for x, y in zip(found, (dinp, dup, ddown), strict=True):
                np.testing.assert_array_equal(x, y)
    assert bool(called) == (chosen in FIXED_POINT and words.shared_evenly(N) and
                            rounding.a_chunk_for_each_thread(inp))


@pytest.mark.parametrize(("K", "kind"), [(words.MOST_IN_SUM, activations.SUMS), (words.MOST_IN_SUM + 1, np.float32)])
def test_the_largest_sum_is_remembered_whole(K, kind):
    rng, N, M = np.random.default_rng(0), 9, 3
    inp = np.ones((N, K), np.float32)
    inp[1], inp[2] = 0, rng.standard_normal(K)
    up, down = Ternary(np.ones((M, K), np.int8), 0.5), ops.ternarize(rng.standard_normal((K, M)).astype(np.float32))
    up.codes[1] = -1
    linear, _ = kernels.bitlinear_forward(inp, up, 8)
    dout = rng.standard_normal((N, K)).astype(np.float32)
    _, cache = kernels.feed_forward_forward(inp, up, down, 8)
    assert cache.hidden.dtype == kind
    found = kernels.feed_forward_backward(dout, cache)
    for x, y in zip(found, kernels.feed_forward_backward(dout, cache._replace(hidden=linear)), strict=True):
        np.testing.assert_array_equal(x, y)
    if kind == activations.SUMS:
        assert cache.hidden[0].tolist() == [K * LARGEST_CODE, 0, K * LARGEST_CODE]


def narrow_product(x, y, bias, in_bytes):
    with autocast("int8"), pytest.MonkeyPatch.context() as patch:
        if not in_bytes:
            patch.setattr(words, "has_byte_dot", lambda: False)
        packed = words.narrow(y)
        assert (packed.steps.ndim == 1) == (in_bytes and simd.has_byte_dot() and x.shape[1] <= CHUNK)
        return words.multiply_narrow(x, packed, bias)


@given(st.integers(0, 2**32 - 1), EDGES, st.sampled_from([1, 3, 4, 70, CHUNK - 1, CHUNK]), EDGES, st.booleans())
def test_products_of_8_bits_are_exact_whatever_words_they_are_of(seed, N, K, V, with_bias):
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal((n, K)).astype(np.float32) for n in (N, V))
    x[0], y[-1, 0] = rng.choice([-1, 0, 1]), 100  # all at an end, or nothing
    bias = rng.standard_normal(V).astype(np.float32) if with_bias else None
    (codes_x, step_x), (codes_y, step_y) = (ops.quantize_activations(rows) for rows in (x, y))
    exact = codes_x.astype(np.float64) @ codes_y.T.astype(np.float64)
    want = exact.astype(np.float32) * (step_x * step_y.T)
    want = want if bias is None else want + bias
    for in_bytes in (True, False):
        np.testing.assert_array_equal(narrow_product(x, y, bias, in_bytes), want)


@given(st.integers(0, 2**32 - 1), st.sampled_from([CHUNK + 1, 2 * CHUNK + 7]))
def test_each_chunk_of_a_product_of_8_bits_has_its_step(seed, K):
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal((n, K)).astype(np.float32) for n in (5, 20))
    x[:, :CHUNK] *= 1000
    want = round_fixed(x, 1, LARGEST_CODE).astype(float) @ round_fixed(y, 1, LARGEST_CODE).T.astype(float)
    np.testing.assert_allclose(narrow_product(x, y, None, True), want, rtol=1e-6, atol=1e-6 * np.abs(want).max())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("in_bytes", [True, False])
def test_what_is_not_finite_makes_no_number_of_8_bits(bad, in_bytes):
    x, y = np.ones((7, 40), np.float32), np.ones((20, 40), np.float32)
    x[3, 5], y[17, 39] = bad, bad
    got = narrow_product(x, y, None, in_bytes)
    assert np.isnan(got[3]).all() and np.isnan(got[:, 17]).all()
    assert np.isfinite(np.delete(np.delete(got, 3, 0), 17, 1)).all()


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [-np.inf], [np.inf, np.inf], [np.inf, -np.inf, np.nan]])
@pytest.mark.parametrize(("N", "K"), [(3, 8), (9, 8), (9, words.MOST_IN_SUM + 1)])
def test_a_token_that_is_not_finite_stays_so_through_ternary_maps(bad, N, K):
    inp = np.random.default_rng(0).standard_normal((N, K)).astype(np.float32)
    inp[2, 3:3 + len(bad)] = bad
    up = ops.ternarize(np.random.default_rng(1).standard_normal((8, K)).astype(np.float32))
    down = ops.ternarize(np.random.default_rng(2).standard_normal((K, 8)).astype(np.float32))
    for out, _ in kernels.bitlinear_forward(inp, up, 8), kernels.feed_forward_forward(inp, up, down, 8):
        assert not np.isfinite(out[2]).any() and np.isfinite(np.delete(out, 2, 0)).all()


def test_a_token_of_next_to_nothing_has_codes_of_0():
    inp = np.full((9, 8), 1e-37, np.float32)
    for f in kernels, ops:
        codes, scale = f.quantize_activations(inp)
        assert not codes.any() and np.isfinite(scale).all()
    up, down = (ops.ternarize(np.random.default_rng(i).standard_normal((8, 8)).astype(np.float32)) for i in range(2))
    out, cache = kernels.feed_forward_forward(inp, up, down, 8)
    assert not out.any() and not cache.hidden.any()


@OF_PAIRS
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7]),
       st.sampled_from([1, 15, 16, 17, 33, CHUNK, CHUNK + 3, CHUNK + 4]))
def test_panels_and_sums_taken_on_the_way_are_what_each_gives(chosen, seed, N, M):
    x = np.random.default_rng(seed).standard_normal((N, M)).astype(np.float32)
    sums, want = np.full((2, rows.chunks_of(N), M), np.nan, np.float32)  # what was in memory must not matter
    with autocast(chosen):
        both = rounding.round_both(x, sums=sums, panels=True)
        of_rows, steps = rounding.round_rows(x)
        panels, column_steps = rounding.round_panels(x, False)
    rows.sums_of_chunks(want, x, 1)
    np.testing.assert_array_equal(sums, want)
    np.testing.assert_array_equal(both.words, of_rows)
    np.testing.assert_array_equal(both.steps, steps)
    np.testing.assert_array_equal(both.column_steps, column_steps)
    np.testing.assert_array_equal(both.columns, panels)


@OF_PAIRS
def test_a_linear_map_keeps_no_float32_input_in_16_bits_and_says_so_elsewhere(chosen, bfloat_pairs):
    N = CHUNK * numba.get_num_threads() + 5
    inp, weight = np.ones((N, 6), np.float32), np.ones((4, 6), np.float32)
    with autocast(chosen):
        out, cache = kernels.linear_forward(inp, weight)
        kept = weakref.ref(inp)
        del inp
        assert kept() is None
    with pytest.raises(RuntimeError, match=f"rounded for a product at {chosen}"):
        kernels.linear_backward(out, cache)


def _relu_within(inp, weight, bias, down, dout):
    hidden, cache = kernels.linear_relu(inp, weight, bias)
    out, second = kernels.linear_forward(hidden, down)
    dlinear, *ddown = kernels.linear_backward(dout, second, positive=cache.positive)
    return hidden, out, *kernels.linear_backward(dlinear, cache.linear), *ddown


def _relu_between_operands(inp, weight, bias, down, dout):
    hidden, cache = kernels.linear_relu(inp, weight, bias, operand=True)
    out, second = kernels.linear_forward(hidden, down)
    dlinear, *ddown = kernels.linear_backward(dout, second, positive=cache.positive, operand=True)
    if in_pairs() and len(inp) == numba.get_num_threads() * CHUNK - 3:
        assert isinstance(hidden, Operand) and isinstance(dlinear, Operand)
        assert hidden.shape == dlinear.shape == (len(inp), len(weight))
    return out, *kernels.linear_backward(dlinear, cache.linear), *ddown


def _relu_apart(inp, weight, bias, down, dout):
    linear, first = kernels.linear_forward(inp, weight, bias)
    hidden, cache = kernels.relu_forward(linear)
    out, second = kernels.linear_forward(hidden, down)
    dhidden, *ddown = kernels.linear_backward(dout, second)
    return hidden, out, *kernels.linear_backward(*kernels.relu_backward(dhidden, cache), first), *ddown


@pytest.mark.parametrize("chosen", PRECISIONS)
@pytest.mark.parametrize("N", [1, 3, 70, 2 * CHUNK + 5, numba.get_num_threads() * CHUNK - 3])
@given(K=st.sampled_from([1, 8, 70, CHUNK + 30]), M=st.sampled_from([1, 16, 45, 130, CHUNK + 9]), biased=st.booleans(),
       seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_relu_between_two_products_is_that_of_the_first(chosen, bfloat_pairs, N, K, M, biased, seed):
    rng = np.random.default_rng(seed)
    inp, weight, down, dout = (rng.integers(-2, 3, shape).astype(np.float32)
                               for shape in ((N, K), (M, K), (K, M), (N, K)))
    inp[-1, 0] = rng.choice(np.float32([1, np.nan]))
    bias = rng.integers(-2, 3, M).astype(np.float32) if biased else None
    with autocast(chosen):
        apart, within, between = (f(inp, weight, bias, down, dout)
                                  for f in (_relu_apart, _relu_within, _relu_between_operands))
    for got, want in zip((*within, *between), (*apart, *apart[1:]), strict=True):
        assert (got is None) == (want is None)
        assert got is None or np.array_equal(got, want, equal_nan=True)


@pytest.mark.parametrize("marks", [np.ones((1, 2), np.bool_), np.ones((2, 3), np.float32),
                                   np.ones((2, 6), np.bool_)[:, ::2]])
@pytest.mark.parametrize("name", ["where", "relu"])
def test_marks_that_are_no_bool_for_each_number_are_refused(name, marks):
    with pytest.raises(ShapeError, match="marks are"):
        kernels.matmul(np.ones((2, 4), np.float32), np.ones((4, 3), np.float32), **{name: marks})


def test_what_is_not_finite_does_not_come_back_through_a_relu():
    a, where = np.float32([[np.inf, np.nan, 1]]).T, np.array([[True, False], [True, False], [False, True]])
    for f in (ops, kernels):
        out = f.matmul(a, np.ones((1, 2), np.float32), where=where)
        assert np.array_equal(out, [[np.inf, 0], [np.nan, 0], [0, 1]], equal_nan=True)


def test_of_a_relu_a_byte_a_number_is_kept():
    inp = np.float32([[-2], [-0.0], [0], [2], [np.nan]])
    out, cache = kernels.linear_relu(inp, np.ones((2, 1), np.float32))
    assert cache.positive.dtype == np.bool_
    assert np.array_equal(cache.positive, [[False] * 2] * 3 + [[True] * 2, [False] * 2])
    assert np.array_equal(out, [[0] * 2] * 3 + [[2] * 2, [np.nan] * 2], equal_nan=True)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("chosen", PRECISIONS)
def test_a_bias_has_a_gradient_and_no_bias_has_none_whatever_there_is_to_add_to(biased, chosen):
    N, M, K = CHUNK * numba.get_num_threads() + 5, 3, 4
    dout, untouched = np.ones((N, M), np.float32), np.full(M, 7, np.float32)
    bias, given = (np.zeros(M, np.float32), None) if biased else (None, untouched)
    with autocast(chosen):
        _, cache = kernels.linear_forward(np.ones((N, K), np.float32), np.ones((M, K), np.float32), bias)
        dbias = kernels.linear_backward(dout, cache, (np.zeros((M, K), np.float32), given))[2]
    assert dbias.tolist() == [N] * M if biased else dbias is None
    assert (untouched == 7).all()


@pytest.mark.skipif("avx2" not in simd.target_features() or "avx512f" in simd.target_features(),
                    reason="on registers of AVX2")
def test_panels_that_are_kept_go_past_the_caches():
    code = _assembly(rounding._write, numba.int32[::1], INDEX, numba.boolean, simd.Integers(32, simd.WIDE))
    assert re.search(r"\bvmovnt(ps|dq)\b.*%ymm", code)
