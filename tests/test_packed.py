"""Ternary weights at two bits: the layout, exact products, and the same bits as the unpacked layer."""
from __future__ import annotations

import os
import subprocess
import sys
import time

import numba
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinylm import kernels, ops
from tinylm.audit import threads
from tinylm.kernels import packed as kernel
from tinylm.kernels import simd, together
from tinylm.ops.packed import CodeError, packed_shape
from tinylm.ops.precision import autocast
from tinylm.ops.shapes import ShapeError
from tinylm.ops.ternary import Ternary

ROWS = st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 100])
COLUMNS = st.sampled_from([1, 3, 4, 15, 16, 17, 31, 32, 33, 48, 100, 384])
SEED = st.integers(0, 2**32 - 1)
BOTH = pytest.mark.parametrize("f", [ops, kernels], ids=["definitions", "kernels"])


def drawn(seed, rows, columns, tokens=3):
    rng = np.random.default_rng(seed)
    return rng.integers(-1, 2, (rows, columns), np.int8), rng.integers(-127, 128, (tokens, columns), np.int8)


@given(ROWS, COLUMNS, SEED)
def test_the_layout_is_the_one_described(rows, columns, seed):
    """Field by field, as the module says; what is only padding is a weight of 0."""
    codes, _ = drawn(seed, rows, columns)
    packed = ops.pack_ternary(codes)
    assert packed.shape == packed_shape(rows, columns) == (-(-rows // 32), -(-columns // 16), 2, 16, 4)
    rng = np.random.default_rng(seed)
    for row, column in zip(rng.integers(0, 32 * packed.shape[0], 50), rng.integers(0, 16 * packed.shape[1], 50)):
        byte = packed[row // 32, column // 16, row // 16 % 2, row % 16, column % 4]
        want = codes[row, column] if row < rows and column < columns else 0
        assert int(byte) >> 2 * (column % 16 // 4) & 3 == 1 + want


@given(ROWS, COLUMNS, SEED)
def test_unpacking_undoes_packing(rows, columns, seed):
    codes, _ = drawn(seed, rows, columns)
    back = ops.unpack_ternary(ops.pack_ternary(codes), codes.shape)
    assert back.dtype == np.int8
    np.testing.assert_array_equal(back, codes)


def test_four_codes_take_a_byte():
    assert ops.pack_ternary(np.zeros((384, 1152), np.int8)).nbytes == 384 * 1152 // 4


@BOTH
@given(rows=ROWS, columns=COLUMNS, seed=SEED)
def test_products_are_exact(f, rows, columns, seed):
    codes, inp = drawn(seed, rows, columns)
    got = f.packed_product(f.pack_ternary(codes), inp, rows)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, inp.astype(np.int64) @ codes.T.astype(np.int64))


@pytest.mark.parametrize("f", [ops, kernels], ids=["definitions", "kernels"])
@pytest.mark.parametrize("columns", [1, 16, 17, 48, 128, 144, 1152, 500_000])  # 128: as many as 16 bits hold
@pytest.mark.parametrize("code", [-1, 0, 1])
def test_products_at_the_ends_of_the_range(f, columns, code):
    codes = np.full((33 if columns < 2000 else 1, columns), code, np.int8)
    for ends in ([127], [-127], [127, -127], [-128]):
        inp = np.resize(np.array(ends, np.int8), columns)
        got = f.packed_product(f.pack_ternary(codes), inp, len(codes))
        np.testing.assert_array_equal(got, np.full(len(codes), code * int(inp.sum(dtype=np.int64))))


@pytest.mark.parametrize("product", [kernel._product_portable, kernel.product_rows])
@pytest.mark.parametrize(("rows", "columns"), [(32, 16), (96, 48), (64, 384), (32, 400)])
def test_both_kernels_are_exact(product, rows, columns):
    """The portable one too, also where the target has a byte product."""
    codes, inp = drawn(5, rows, columns, 1)
    out = np.zeros(rows, np.int32)
    product(out, kernel.words_of(ops.pack_ternary(codes)), inp[0].view(np.int32),
            -inp.sum(1, dtype=np.int32), 0, rows // 32)
    np.testing.assert_array_equal(out, codes.astype(np.int32) @ inp[0].astype(np.int32))


@BOTH
@given(rows=ROWS, columns=COLUMNS, seed=SEED, size=st.sampled_from([1e-30, 1e-3, 1.0, 1e20]))
@example(rows=33, columns=17, seed=0, size=0.0)
def test_a_packed_layer_gives_the_bits_of_the_layer(f, rows, columns, seed, size):
    codes, _ = drawn(seed, rows, columns)
    rng = np.random.default_rng(seed)
    inp = (size * rng.standard_normal((2, 3, columns))).astype(np.float32)
    scale = np.float32(rng.uniform(1e-5, 2))
    want, _ = f.bitlinear_forward(inp, Ternary(codes, scale), 8)
    got = f.packed_bitlinear(inp, f.pack_ternary(codes), scale, rows)
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


def test_products_do_not_depend_on_the_number_of_threads():
    codes, inp = drawn(1, 640, 384, 40)
    packed, floats = kernels.pack_ternary(codes), inp.astype(np.float32)
    threads.same_bits(lambda: {"product": kernels.packed_product(packed, inp, 640),
                               "one": kernels.packed_product(packed, inp[:1], 640),
                               "layer": kernels.packed_bitlinear(floats, packed, 0.5, 640)}, "packed").require()


def test_a_code_outside_the_layout_is_refused():
    packed = ops.pack_ternary(np.zeros((32, 16), np.int8))
    for field in range(4):
        bad = packed.copy()
        bad[0, 0, 1, 7, 2] |= 3 << 2 * field
        with pytest.raises(CodeError, match="field of 3"):
            ops.unpack_ternary(bad, (32, 16))
    for wrong in (2, -2):
        with pytest.raises(CodeError, match="-1, 0 and 1"):
            ops.pack_ternary(np.full((2, 2), wrong, np.int8))


@BOTH
def test_shapes_that_do_not_fit_are_named(f):
    packed = f.pack_ternary(np.zeros((32, 16), np.int8))
    with pytest.raises(ShapeError, match="packed should be"):
        f.packed_product(packed, np.zeros((1, 17), np.int8), 32)
    with pytest.raises(ShapeError, match="packed should be"):
        f.packed_product(packed, np.zeros((1, 16), np.int8), 33)
    with pytest.raises(ShapeError, match="float32"):
        f.packed_product(packed, np.zeros((1, 16), np.float32), 32)
    with pytest.raises(ShapeError, match="packed should be"):
        f.packed_bitlinear(np.zeros((1, 33), np.float32), packed, 1.0, 32)
    with pytest.raises(ShapeError, match="should be uint8"):
        f.unpack_ternary(packed, (33, 16))


SCRIPT = """
import numpy as np
from tinylm import kernels
from tinylm.kernels import packed, simd
rng = np.random.default_rng(0)
for columns in 70, 300:
    codes, inp = rng.integers(-1, 2, (50, columns), np.int8), rng.integers(-127, 128, (4, columns), np.int8)
    codes[:3], inp[:2] = [[-1], [0], [1]], [[-127], [127]]
    got = kernels.packed_product(kernels.pack_ternary(codes), inp, 50)
    assert np.array_equal(got, inp.astype(int) @ codes.T.astype(int))
assert packed.product_rows is (packed._product_avx2 if simd.has_byte_pairs() else packed._product_portable)
for name, has in ("_product_vnni", simd.has_byte_dot()), ("_product_avx2", simd.has_byte_pairs()):
    from numba.core.errors import TypingError
    try:
        getattr(packed, name)(np.zeros(32, np.int32), np.zeros(128, np.int32), np.zeros(4, np.int32),
                              np.zeros(1, np.int32), 0, 1)
    except TypingError as error:
        assert not has and "numba's target lacks AVX" in str(error)
    else:
        assert has, "an instruction was compiled that the target lacks"
print("byte dot:", simd.has_byte_dot())
"""


@pytest.mark.parametrize("environment", [
    {"NUMBA_CPU_NAME": "generic"},
    {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},
    {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+avx512f,+avx512bw,+avx512vl"}])
def test_targets_without_the_instruction_use_another_or_the_portable_twin(environment, tmp_path):
    if os.uname().machine != "x86_64" and environment["NUMBA_CPU_NAME"] != "generic":
        pytest.skip("names a processor of another family")
    if "avx2" in environment.get("NUMBA_CPU_FEATURES", "") and "avx2" not in simd.target_features():
        pytest.skip("this machine could not run it")
    if "avx512f" in environment.get("NUMBA_CPU_FEATURES", "") and "avx512f" not in simd.target_features():
        pytest.skip("this machine could not run it")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True,
                          env={**os.environ, **environment, "TINYLM_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "byte dot: False" in done.stdout


# -- one token through a whole model ----------------------------------------------------------------

def decode_weights(seed, f, head_bits=32, **changes):
    from tinylm import models
    from tinylm.generate import packed
    from tinylm.layers import Parameters, Pass

    shape = {"vocab": 43, "context": 8, "channels": 40, "layers": 3, "heads": 4, "hidden": 70} | changes
    model = models.build("thunderbolt", shape)
    params = Parameters(model.parameters())
    params.initialise(seed)
    params.flat += 0.1 * np.random.default_rng(seed).standard_normal(params.flat.size).astype(np.float32)
    inference, floats = packed.pack(model, params, head_bits)
    return model, params, (inference, floats), inference.decode_weights(Pass(f, floats))


@pytest.mark.parametrize("head_bits", [32, 8])
@pytest.mark.parametrize("changes", [{}, {"channels": 64, "heads": 2, "hidden": 192, "vocab": 300},
                                     {"layers": 1, "heads": 1, "channels": 7, "hidden": 5, "vocab": 2}])
def test_a_decoded_token_has_the_bits_of_the_forward_pass(changes, head_bits, monkeypatch):
    """For one thread and for several that meet: here they must, however small the model and busy the machine."""
    from tinylm.generate.packed import reference

    model, params, _, weights = decode_weights(1, kernels, head_bits, **changes)
    tokens = np.random.default_rng(3).integers(0, model.config.vocab, (1, 30)).astype(np.int32)
    want = model.logits(tokens, reference(model, params, head_bits))[0]
    monkeypatch.setattr(together, "SHARED_BYTES", 0)
    for parts in {1, numba.get_num_threads()}:
        monkeypatch.setattr(together.Pace, "parts", lambda self, threads, parts=parts: parts)
        state = np.zeros((model.config.layers, 3, model.config.channels), np.float32)
        for token, scores in zip(tokens[0], want):
            np.testing.assert_array_equal(kernels.decode_step(token, weights, state), scores)


def test_texts_that_are_written_at_once_do_not_write_into_each_other():
    """Scratch is kept from token to token, and kernels let go of Python's lock."""
    from concurrent.futures import ThreadPoolExecutor

    *_, weights = decode_weights(1, kernels, vocab=300, channels=128, hidden=384)

    def text(first):
        state = np.zeros((3, 3, 128), np.float32)
        return [kernels.decode_step((first + i) % 300, weights, state) for i in range(60)]

    want = [text(first) for first in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            np.testing.assert_array_equal(list(pool.map(text, range(4))), want)
    assert 1 <= len(weights.spare[1, 1]) <= 4


@BOTH
def test_a_state_of_another_layout_moves_on_too(f):
    *_, weights = decode_weights(1, f)
    state = np.zeros((3, 3, 40), np.float32)
    turned = np.zeros((3, 3, 80), np.float32)[:, :, ::2]
    for token in 3, 4:
        np.testing.assert_array_equal(f.decode_step(token, weights, turned), f.decode_step(token, weights, state))
    np.testing.assert_array_equal(turned, state)


def test_a_head_packed_for_bfloat16_is_packed_again():
    *_, weights = decode_weights(1, kernels)
    definition = weights.weights
    with autocast("bfloat16"):
        rounded = kernels.pack_decode(definition._replace(head=kernels.pack(definition.head.array)))
    want, got = (kernels.decode_step(3, w, np.zeros((3, 3, 40), np.float32)) for w in (weights, rounded))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["OMP_DYNAMIC", "OMP_THREAD_LIMIT"])
def test_threads_that_may_be_too_few_do_not_wait_for_each_other(name, monkeypatch):
    together.run_together.cache_clear()
    monkeypatch.setenv(name, "true" if name == "OMP_DYNAMIC" else "2")
    assert not together.run_together(1)
    together.run_together.cache_clear()


@pytest.mark.skipif(numba.get_num_threads() < 2, reason="one processor")
@pytest.mark.skipif(any(name in os.environ for name in together._FEWER), reason="there may be fewer")
def test_a_thread_that_comes_late_is_waited_for():
    """The first could do both parts before it wakes up, and decoding would have one thread for good."""
    try:
        for _ in range(20):
            time.sleep(0.01)
            together.run_together.cache_clear()
            assert together.run_together(2) or numba.threading_layer() == "tbb"
    finally:
        together.run_together.cache_clear()


@pytest.mark.parametrize(("seconds", "better"), [(1.0, 4), (3.0, 1)])
def test_more_threads_are_kept_where_they_are_faster(seconds, better):
    pace, chosen = together.Pace(), []
    for _ in range(together.TRIAL_EVERY):
        chosen.append(pace.parts(4))
        pace.took(chosen[-1], seconds if chosen[-1] == 4 else 2.0)
    assert set(chosen[:together.TRIAL]) == {1, 4}
    assert set(chosen[together.TRIAL:]) == {better}


def test_a_trial_that_goes_badly_is_broken_off():
    pace, chosen = together.Pace(), []
    for _ in range(together.TRIAL_EVERY + 2):
        chosen.append(pace.parts(2))
        pace.took(chosen[-1], 100.0 if chosen[-1] == 2 else 1.0)
    assert chosen[:together.TRIAL].count(2) == 2  # the first, whose time may be that of compiling, and one more
    assert chosen[together.TRIAL:] == [1] * (together.TRIAL_EVERY - together.TRIAL) + [1, 2]


def test_the_decoding_kernel_computes_its_definition():
    """In float64 the definition may round an activation to the next code where the kernel does not: a step of
    1/127 of one input.  From equal states, few of the scores may feel more than rounding."""
    _, _, _, weights = decode_weights(2, kernels)
    *_, slow = decode_weights(2, ops)
    state = np.random.default_rng(0).standard_normal((3, 3, 40)).astype(np.float32)
    other = state.copy()
    for token in range(10):
        got, want = kernels.decode_step(token, weights, state), ops.decode_step(token, slow, other)
        np.testing.assert_allclose(got, want, atol=0.02 * np.abs(want).max())
        np.testing.assert_allclose(state, other, atol=0.02 * np.abs(other).max())
        state[...] = other


@BOTH
def test_decoding_names_what_does_not_fit(f):
    *_, weights = decode_weights(0, f)
    with pytest.raises(IndexError, match="vocabulary"):
        f.decode_step(43, weights, np.zeros((3, 3, 40), np.float32))
    with pytest.raises(ShapeError, match="state"):
        f.decode_step(0, weights, np.zeros((3, 2, 40), np.float32))


@pytest.mark.parametrize("head_bits", [32, 8])
def test_weights_are_packed_once_for_all_texts(head_bits, monkeypatch):
    from tinylm.layers import Pass

    _, _, (inference, floats), _ = decode_weights(0, kernels, head_bits)
    packed, pack = [], kernels.pack_decode
    monkeypatch.setattr(kernels, "pack_decode", lambda weights: packed.append(pack(weights)) or packed[-1])
    token, scores = np.ones((1, 1), np.int32), []
    for _ in range(2):
        scores.append(inference.extend(token, inference.start(1), Pass(kernels, floats)))
    np.testing.assert_array_equal(*scores)
    assert len(packed) == 1
    other = floats.like()  # another set of parameters: what was packed is not for them
    other.flat[:] = 2 * floats.flat
    assert (inference.extend(token, inference.start(1), Pass(kernels, other)) != scores[0]).any()
    assert len(packed) == 2


def test_tokens_read_one_by_one_and_together_score_the_same(monkeypatch):
    from tinylm.generate import packed
    from tinylm.layers import Pass

    _, _, (inference, floats), _ = decode_weights(0, kernels, 8)
    tokens, found = np.arange(12, dtype=np.int32)[None], []
    for few in (0, 16):
        monkeypatch.setattr(packed, "FEW", few)
        state = inference.start(1)
        found.append(inference.extend(tokens, state, Pass(kernels, floats)))
        assert state.length == 12 and (state.rows is not None) == (few == 16)
    np.testing.assert_array_equal(*found)


def test_streaming_takes_constant_memory():
    import tracemalloc

    from tinylm.layers import Pass

    _, _, (inference, floats), _ = decode_weights(0, kernels)
    run, state, token = Pass(kernels, floats), inference.start(1), np.zeros((1, 1), np.int32)

    def read(count):
        for _ in range(count):
            inference.extend(token, state, run)

    read(50)
    tracemalloc.start()
    read(200)
    before = tracemalloc.get_traced_memory()[0]
    read(5000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2000
    assert state.length == 5250


def test_bench_decodes_from_packed_weights(capsys, tmp_path, monkeypatch):
    import json

    from tinylm.cli.main import main

    monkeypatch.setenv("TINYLM_CACHE_DIR", str(tmp_path))
    for preset, packed in (("thunderbolt-tiny", True), ("gpt-tiny", False)):
        assert main(["bench", "decode", "--preset", preset, "--seconds", "0.1", "--json"]) == 0
        (result,) = json.loads(capsys.readouterr().out)["results"]
        assert result["packed"] is packed
        assert result["tokens_per_second"] > 0
