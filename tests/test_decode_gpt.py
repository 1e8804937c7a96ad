"""One token of each of several texts through a GPT in one call: the bits of its layers, for any options and threads."""
from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinylm import kernels, ops
from tinylm.audit import streaming, suite
from tinylm.audit.gradients import randomised
from tinylm.errors import UsageError
from tinylm.kernels import together
from tinylm.layers import Parameters, Pass
from tinylm.models import build
from tinylm.ops.attention import Int8Rows, keep, kept
from tinylm.ops.precision import autocast
from tinylm.ops.shapes import ShapeError

BOTH = pytest.mark.parametrize("f", [ops, kernels], ids=["definitions", "kernels"])
SHAPE = {"vocab": 29, "context": 12, "channels": 36, "layers": 3, "heads": 3, "window": 4}
FLAGS = ("qkv_bias", "proj_bias", "ffn_bias", "norm_bias", "head_bias", "tied_head", "scaled_scores")


def unfused(layer, inp, out):
    """An observer: whoever looks on gets the layers one by one."""


@st.composite
def shapes(draw):
    """Heads of one number and more, channels and vocabularies beside and between the widths of registers."""
    heads = draw(st.integers(1, 5))
    return {"vocab": draw(st.sampled_from([1, 2, 15, 28, 33, 65, 110])), "context": draw(st.integers(1, 20)),
            "channels": heads * draw(st.sampled_from([1, 2, 3, 7, 8, 11, 16, 32])), "layers": draw(st.integers(1, 3)),
            "heads": heads, "hidden": draw(st.sampled_from([0, 1, 5, 16, 47, 130])),
            "activation": draw(st.sampled_from(["relu", "gelu"])), "window": draw(st.sampled_from([0, 1, 2, 5, 100])),
            **{flag: draw(st.booleans()) for flag in FLAGS}}


def made(shape, seed=0, batch=2, dtype=np.float32):
    model, rng = build("gpt", shape), np.random.default_rng(seed)
    params = randomised(model, rng, dtype)
    return model, params, rng.integers(0, shape["vocab"], (batch, shape["context"])).astype(np.int32)


def read(model, params, f, tokens, pieces, bits=32, observe=None):
    """(scores of all positions, the state) where the texts are read in such pieces."""
    run = Pass(f, params, observe=observe)
    state, at, found = model.start(len(tokens), dtype=params.flat.dtype, bits=bits), 0, []
    for size in pieces:
        found.append(model.extend(tokens[:, at:at + size], state, run))
        at += size
    return np.concatenate(found, 1), state


def assert_equal_states(got, want):
    assert got.length == want.length
    np.testing.assert_array_equal(got.cache, want.cache)
    if want.scales is not None:
        np.testing.assert_array_equal(got.scales, want.scales)


# ------------------------------------------------------------------------------------------ the same numbers
@settings(max_examples=60)
@given(shapes(), st.integers(1, 8), st.sampled_from([32, 8]), st.integers(0, 99), st.booleans())
@example(SHAPE | {"context": 1}, 1, 32, 0, False)
@example(SHAPE | {"channels": 128, "heads": 4, "vocab": 130, "context": 40}, 7, 8, 0, True)
def test_a_token_has_the_bits_of_the_layers(shape, batch, bits, seed, prompt):
    """Up to the last position of the cache, also where a prompt was read before."""
    model, params, tokens = made(shape, seed, batch)
    length = shape["context"]
    pieces = [length // 2] * (prompt and length > 1) + [1] * (length - (length // 2 if prompt else 0))
    got, state = read(model, params, kernels, tokens, pieces, bits)
    want, other = read(model, params, kernels, tokens, pieces, bits, unfused)
    np.testing.assert_array_equal(got, want)
    assert_equal_states(state, other)


@pytest.mark.parametrize("bits", [32, 8])
@pytest.mark.parametrize("changes", [{}, {"channels": 130, "heads": 5, "vocab": 110, "hidden": 200},
                                     {"heads": 1, "channels": 7, "hidden": 5, "vocab": 2}])
def test_a_token_has_the_same_bits_for_any_number_of_threads(changes, bits, monkeypatch):
    """Here threads must meet, however small the model and busy the machine; three have heads of unequal number."""
    model, params, tokens = made(SHAPE | changes, batch=2)
    monkeypatch.setattr(together, "SHARED_BYTES", 0)
    found = {}
    for parts in {1, 2, 3, numba.get_num_threads()}:
        monkeypatch.setattr(together.Pace, "parts", lambda self, threads, parts=parts: min(parts, threads))
        for _ in range(5):  # races are shy
            got, state = read(model, params, kernels, tokens, [1] * 12, bits)
            want, other = found.setdefault("one", (got, state))
            np.testing.assert_array_equal(got, want)
            assert_equal_states(state, other)


@settings(max_examples=40)
@given(shapes(), st.integers(1, 3), st.integers(0, 99))
def test_the_definition_gives_the_scores_of_the_whole_text(shape, batch, seed):
    """In float64, so that positions, windows, scales and the past are right."""
    model, params, tokens = made(shape, seed, batch, np.float64)
    want, state = model.logits(tokens, Pass(ops, params)), model.start(batch, dtype=np.float64)
    weights = ops.pack_gpt(model.decode_weights(params))
    for t in range(shape["context"]):
        got = ops.gpt_step(tokens[:, t], weights, state.cache, state.scales, t)
        np.testing.assert_allclose(got, want[:, t], rtol=0, atol=1e-12 * max(1, np.abs(want).max()))


@settings(max_examples=40)
@given(shapes(), st.integers(1, 3), st.integers(0, 99))
def test_the_kernel_computes_its_definition(shape, batch, seed):
    model, params, tokens = made(shape, seed, batch)
    exact = Parameters(model.parameters(), np.float64)
    exact.flat[:] = params.flat
    slow, state = ops.pack_gpt(model.decode_weights(exact)), model.start(batch, dtype=np.float64)
    fast, other = kernels.pack_gpt(model.decode_weights(params)), model.start(batch)
    for t in range(shape["context"]):
        want = ops.gpt_step(tokens[:, t], slow, state.cache, None, t)
        got = kernels.gpt_step(tokens[:, t], fast, other.cache, None, t)
        assert got.dtype == np.float32
        assert np.abs(got - want).max() <= streaming.rounding(model, want.astype(np.float32))


def test_texts_side_by_side_are_those_read_alone():
    model, params, tokens = made(SHAPE, batch=7)
    together_, _ = read(model, params, kernels, tokens, [1] * 12)
    for row, of_row in enumerate(together_):
        np.testing.assert_array_equal(of_row, read(model, params, kernels, tokens[row:row + 1], [1] * 12)[0][0])


def test_the_audit_reads_token_by_token_as_it_is_written(monkeypatch):
    """The check of streaming compares what `gpt_step` computes, not only the layers."""
    model, params, _ = made(SHAPE)
    rng = np.random.default_rng(0)
    assert streaming.streaming(model, params, kernels, rng, row_by_row=True).ok
    step = kernels.gpt_step
    for wrong in (lambda tokens, weights, past, scales, length: step(tokens, weights, past, scales, max(0, length - 1)),
                  lambda tokens, weights, *rest: step(tokens, weights._replace(windows=0 * weights.windows), *rest)):
        monkeypatch.setattr(kernels, "gpt_step", wrong)
        assert not streaming.streaming(model, params, kernels, rng, row_by_row=True).ok
    monkeypatch.undo()
    checks = list(suite.model_checks(model, kernels, only=("streaming",)))
    assert all(check.ok for check in checks) and len(checks) == 2


# ------------------------------------------------------------------------------------------ where it is used
class Counted:
    def __init__(self, monkeypatch):
        self.packed, self.steps = 0, 0
        pack, step = kernels.pack_gpt, kernels.gpt_step
        monkeypatch.setattr(kernels, "pack_gpt", lambda *a: self._packs(pack, a))
        monkeypatch.setattr(kernels, "gpt_step", lambda *a: self._steps(step, a))

    def _packs(self, pack, arguments):
        self.packed += 1
        return pack(*arguments)

    def _steps(self, step, arguments):
        self.steps += 1
        return step(*arguments)


def test_weights_are_packed_once_for_a_reader_and_windows_reread_in_one_piece(monkeypatch):
    from tinylm.generate.stream import Reader

    model, params, _ = made(SHAPE)
    counted, reader = Counted(monkeypatch), Reader(model, params, kernels, 1)
    reader.read(np.zeros((1, 5), np.int32))
    for token in range(40):
        reader.read(np.full((1, 1), token % 29, np.int32))
    assert counted.packed == 1
    # Seven tokens fill the window; then each seventh is read together with the five before it.
    assert counted.steps == 40 - len(range(7, 40, 7))
    assert reader.state.length == 6 + (40 - 1 - 7) % 7


def test_whoever_looks_on_or_rounds_gets_the_layers(monkeypatch):
    model, params, tokens = made(SHAPE)
    exact, counted, seen = randomised(model, np.random.default_rng(0), np.float64), Counted(monkeypatch), []
    one = tokens[:, :1]
    model.extend(one, model.start(2), Pass(kernels, params, observe=lambda layer, inp, out: seen.append(layer.name)))
    assert {"embedding", "blocks.0.attention.qkv", "blocks.2.ffn", "norm", "head"} <= set(seen)
    model.extend(one, model.start(2), Pass(ops, params))
    model.extend(one, model.start(2, dtype=np.float64), Pass(ops, exact))
    with autocast("bfloat16"):
        model.extend(one, model.start(2), Pass(kernels, params))
    assert (counted.packed, counted.steps) == (0, 0)
    nova = build("nova", {"vocab": 29, "context": 12, "channels": 24, "layers": 1, "heads": 2, "hidden": 20})
    nova.extend(one, nova.start(2), Pass(kernels, randomised(nova, np.random.default_rng(0), np.float32)))
    model.extend(one, model.start(2), Pass(kernels, params))
    assert (counted.packed, counted.steps) == (1, 1)


def test_weights_packed_at_another_precision_are_those_of_float32():
    model, params, tokens = made(SHAPE)
    weights = model.decode_weights(params)
    with autocast("bfloat16"):
        rounded = kernels.pack_gpt(weights)
    np.testing.assert_array_equal(rounded.panels, kernels.pack_gpt(weights).panels)


def test_a_nan_is_not_lost():
    model, params, tokens = made(SHAPE)
    params["blocks.1.attention.qkv.weight"][40, 3] = np.nan
    for bits in (32, 8):
        assert np.isnan(read(model, params, kernels, tokens, [1], bits)[0]).all()


def test_texts_that_are_written_at_once_do_not_write_into_each_other():
    from concurrent.futures import ThreadPoolExecutor

    model, params, tokens = made(SHAPE, batch=4)
    run = Pass(kernels, params)
    model.extend(tokens[:1, :1], model.start(1), run)  # packed now

    def text(row):
        state = model.start(1)
        return [model.extend(tokens[row:row + 1, t:t + 1], state, run) for t in range(12)]

    want = [text(row) for row in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            np.testing.assert_array_equal(list(pool.map(text, range(4))), want)


# ------------------------------------------------------------------------------------------ a cache of bytes
@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 2, 7, 16]), st.integers(0, 99),
       st.sampled_from([1e-20, 1.0, 1e20]))
def test_what_is_kept_is_off_by_half_a_step_of_its_head(batch, heads, D, seed, size):
    rng = np.random.default_rng(seed)
    new = (size * rng.standard_normal((batch, 3, heads * D))).astype(np.float32)
    new[0, 0, :D] = 0
    past = Int8Rows(np.full((batch, 8, heads * D), 99, np.int8), np.full((batch, 8, heads), 9, np.float32))
    keep(past, new, 2)
    per_head = new.reshape(batch, 3, heads, D)
    step = np.abs(per_head).max(-1, keepdims=True) / 127
    got = kept(past, 5)[:, 2:].reshape(per_head.shape)
    assert got.dtype == np.float32
    assert (np.abs(got - per_head) <= step * (0.5 + 1e-4)).all()
    np.testing.assert_allclose(past.scale[:, 2:5], step[..., 0], rtol=1e-6)
    assert (past.codes[:, :2] == 99).all() and (past.codes[:, 5:] == 99).all() and (past.scale[:, 5:] == 9).all()


@BOTH
def test_a_cache_of_bytes_takes_a_quarter_and_changes_little(f):
    model, params, tokens = made(SHAPE | {"channels": 96, "heads": 3})
    (want, full), (got, state) = (read(model, params, f, tokens, [1] * 12, bits) for bits in (32, 8))
    assert state.cache.dtype == np.int8 and 4 * state.cache.nbytes == full.cache.nbytes
    assert 8 * state.scales.nbytes == state.cache.nbytes  # four bytes for each head of 32
    gap = np.abs(got - want).max() / np.abs(want).max()
    assert 1e-5 < gap < 0.02


@BOTH
@settings(max_examples=25)
@given(pieces=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 9),
       family=st.sampled_from(["gpt", "nova"]))
def test_the_prompt_read_at_once_is_the_prompt_read_token_by_token(f, pieces, seed, family):
    """With bytes, too: the first token already sees what was rounded, not what it was before.

    Rounding may decide between two codes, so with bytes the numbers of both ways are compared by the step of a code.
    """
    length = sum(pieces)
    shape = SHAPE | {"context": length} if family == "gpt" else {
        "vocab": 29, "context": length, "channels": 24, "layers": 2, "heads": 3, "hidden": 20}
    model, rng = build(family, shape), np.random.default_rng(seed)
    params = randomised(model, rng, np.float32)
    tokens = rng.integers(0, 29, (2, length)).astype(np.int32)
    for bits in (32, 8):
        want, other = read(model, params, f, tokens, [1] * length, bits)
        got, state = read(model, params, f, tokens, pieces, bits)
        rounding = streaming.rounding(model, want)
        share = np.mean(np.abs(got - want) > rounding)
        assert share == 0 if bits == 32 else share < 0.5, "a code may differ, and what follows from it"
        assert np.abs(got - want).max() <= (rounding if bits == 32 else 0.02 * np.abs(want).max())
        assert bits == 32 or np.mean(state.cache != other.cache) < 0.02


@BOTH
def test_old_positions_are_read_from_the_bytes(f):
    """Forgetting a scale, or reading the float that went in, would pass a comparison of a model with itself."""
    rng = np.random.default_rng(0)
    inp = rng.standard_normal((2, 7, 3 * 12)).astype(np.float32)
    past = [Int8Rows(np.zeros((2, 7, 12), np.int8), np.zeros((2, 7, 3), np.float32)) for _ in range(2)]
    whole = f.attention_extend(inp, *past, 0, 3)
    rounded = np.concatenate([inp[..., :12], kept(past[0], 7), kept(past[1], 7)], -1)
    np.testing.assert_allclose(whole, f.attention_forward(rounded, 3)[0], rtol=0, atol=1e-6)
    one = f.attention_extend(inp[:, 6:], *past, 6, 3)
    np.testing.assert_allclose(one[:, 0], whole[:, 6], rtol=0, atol=1e-6)
    assert np.abs(whole - f.attention_forward(inp, 3)[0]).max() > 1e-4


# ------------------------------------------------------------------------------------------ what does not fit
@BOTH
def test_what_does_not_fit_is_named(f):
    model, params, tokens = made(SHAPE)
    weights, state, eight = f.pack_gpt(model.decode_weights(params)), model.start(2), model.start(2, bits=8)
    two = tokens[:, 0]
    for error, match, arguments in (
            (ShapeError, r"one of each text", (tokens[:, :2], weights, state.cache, None, 0)),
            (IndexError, "vocabulary", (two + 29, weights, state.cache, None, 0)),
            (ShapeError, "integers", (two + 0.5, weights, state.cache, None, 0)),
            (ShapeError, r"3 texts", (np.zeros(3, np.int32), weights, state.cache, None, 0)),
            (ShapeError, r"past is", (two, weights, state.cache[:2], None, 0)),
            (ShapeError, r"12 positions, 13", (two, weights, state.cache, None, 12)),
            (ShapeError, r"int8 only", (two, weights, eight.cache, None, 0)),
            (ShapeError, r"int8 only", (two, weights, state.cache, eight.scales, 0)),
            (ShapeError, r"scales should be", (two, weights, eight.cache, eight.scales[..., :2], 0))):
        with pytest.raises(error, match=match):
            f.gpt_step(*arguments)
    with pytest.raises(UsageError, match="a cache of 5 bits: there are those of 8 and 32"):
        model.start(2, bits=5)
    long = np.zeros((3, 2, 2, 13, 36), np.float32)
    with pytest.raises(ShapeError, match="position 12 was asked for, there are 12"):
        f.gpt_step(two, weights, long, None, 12)


# ------------------------------------------------------------------------------------------ other processors
SCRIPT = """
import numpy as np
from tinylm import kernels, models
from tinylm.audit.gradients import randomised
from tinylm.errors import UsageError
from tinylm.kernels import simd
from tinylm.layers import Parameters, Pass
for heads, channels in (3, 36), (1, 7), (4, 128):
    model = models.build("gpt", dict(vocab=29, context=9, channels=channels, layers=2, heads=heads, window=4))
    params = randomised(model, np.random.default_rng(0), np.float32)
    tokens = np.arange(18, dtype=np.int32).reshape(2, 9)
    want = model.logits(tokens, Pass(kernels, params))
    for bits in 32, 8:
        state, run = model.start(2, bits=bits), Pass(kernels, params)
        got = np.concatenate([model.extend(tokens[:, t:t + 1], state, run) for t in range(9)], 1)
        assert np.abs(got - want).max() < (1e-5 if bits == 32 else 0.05) * np.abs(want).max(), (heads, bits)
print("wide:", simd.WIDE)
"""


@pytest.mark.slow
def test_a_processor_without_vector_instructions_of_its_own_gives_the_same(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "",
                               "NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "wide: 8" in done.stdout or os.uname().machine != "x86_64"


@pytest.mark.parametrize("tied", [False, True])
def test_prompts_and_tokens_read_the_same_memory(tied):
    """All maps but the queries', keys' and values', which lie head by head where single tokens are read."""
    model, params, tokens = made(SHAPE | {"tied_head": tied})
    run, before = Pass(kernels, params), Pass(kernels, params)
    model.extend(tokens[:, :1], model.start(2), run)
    want = model.logits(tokens, before)
    packed = run.made["gpt"]
    assert len(packed.maps) == 3 * 3 + 1
    names = before.made.keys() - {f"blocks.{i}.attention.qkv.weight" for i in range(3)}
    assert run.made.keys() == names | {"gpt"}
    for name in names:
        assert np.shares_memory(run.made[name].panels, packed.panels)
        np.testing.assert_array_equal(run.made[name].panels, before.made[name].panels)
    np.testing.assert_array_equal(model.logits(tokens, run), want)
