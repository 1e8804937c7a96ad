"""Thunderbolt: its published size, its gates, its tape, and reading without an end."""
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinylm import config, kernels, ops
from tinylm.audit.gradients import randomised
from tinylm.errors import UsageError
from tinylm.layers import HeadNorm, Parameters, Pass, Recurrence, Tape
from tinylm.models import build
from tinylm.ops.random import dropout_key

SMALL = {"vocab": 7, "context": 8, "channels": 12, "layers": 2, "heads": 3}


def preset(name="thunderbolt", **extra):
    options = dict(config.load_preset(name)["model"])
    return build(options.pop("family"), options | extra)


def tokens_for(model, batch=2, length=None, seed=0):
    shape = batch, length or model.config.context
    return [np.random.default_rng(seed + i).integers(0, model.config.vocab, shape).astype(np.int32) for i in range(2)]


# ------------------------------------------------------------------------------------------ what it is made of
def test_the_published_parameter_count():
    declared = preset().parameters()
    count = {kind: sum(p.size for p in declared if p.kind == kind) for kind in ("ternary", "float")}
    assert count == {"ternary": 26_542_080, "float": 3_208_704}
    assert sum(count.values()) == 29_750_784


def test_the_count_by_hand():
    V, C, L, F = 8192, 384, 18, 1152
    assert L * (4 * C * C + 2 * C * F) == 26_542_080
    norms, shifts, gate_bias, head_norm = 2 * 2 * C, 2 * C, C, 2 * C
    assert V * C + L * (norms + shifts + gate_bias + head_norm) + 2 * C == 3_208_704


def test_ternary_weights_take_two_bits_each():
    assert sum(p.size for p in preset().parameters() if p.kind == "ternary") / 4 == 6_635_520


@pytest.mark.parametrize("activation_bits", [0, 8])
def test_every_matrix_but_the_embedding_is_ternary(activation_bits):
    model = preset(activation_bits=activation_bits)
    assert [p.name for p in model.parameters() if len(p.shape) > 1 and p.kind == "float"] == ["embedding.tokens"]
    assert not [p for p in model.parameters() if p.kind == "ternary" and p.name.endswith("bias")]
    for p in model.parameters():
        assert p.decayed == (len(p.shape) > 1), p.name


def test_gates_forget_fast_at_first_and_remember_at_last():
    lower = [layer.lower for layer in preset().walk() if isinstance(layer, Recurrence)]
    np.testing.assert_allclose(lower, [0.9 * i / 17 for i in range(18)], rtol=1e-15)
    assert preset(layers=1).blocks[0].mixer.lower == 0
    assert preset(longest=0.5).blocks[-1].mixer.lower == 0.5


def test_the_lower_bound_is_kept_of_the_state():
    """With gates driven to 0, the last layer still keeps 0.9 of its state at each step, the first nothing."""
    model = build("thunderbolt", SMALL | {"gate_bias": -200.0})
    params = Parameters(model.parameters())
    params.initialise(0)
    for block, kept in zip(model.blocks, (0.0, 0.9)):
        name = block.mixer.name
        state = {name: np.ones((1, 12), np.float32)}
        block.mixer.forward(np.zeros((1, 1, 12), np.float32), Pass(kernels, params), state)
        np.testing.assert_allclose(state[name], kept, rtol=0, atol=1e-6)


def test_the_gate_bias_is_where_gates_start():
    model = build("thunderbolt", SMALL | {"gate_bias": 1.5})
    params = Parameters(model.parameters())
    params.initialise(0)
    assert (params["blocks.1.mixer.forget.bias"] == 1.5).all()
    assert (params["blocks.1.shift2.mix"] == 0).all(), "half of each token, half of the one before"


def test_heads_are_48_channels_of_one_token():
    norm = next(layer for layer in preset().walk() if isinstance(layer, HeadNorm))
    assert norm.weight.shape[0] / norm.heads == 48


# ------------------------------------------------------------------------------------------ forward, backward
@pytest.mark.parametrize("name", [n for n in config.preset_names() if n.startswith("thunderbolt-")])
def test_initial_loss_is_that_of_knowing_nothing(name):
    model = preset(name, vocab=65)
    params = Parameters(model.parameters())
    params.initialise(0)
    tokens = np.random.default_rng(0).integers(0, 65, (2, 33)).astype(np.int32)
    losses = model.forward(tokens[:, :-1], tokens[:, 1:], Pass(kernels, params))
    assert losses.shape == (64,)
    assert abs(losses.mean() - math.log(65)) < 0.15


@pytest.mark.parametrize("activation_bits", [0, 8])
@pytest.mark.parametrize("f", [ops, kernels], ids=["ops", "kernels"])
def test_the_tape_is_empty_after_backward(f, activation_bits):
    model = build("thunderbolt", SMALL | {"dropout": 0.2, "activation_bits": activation_bits})
    params, tape = randomised(model, np.random.default_rng(0), np.float32), Tape()
    grads = params.like()
    run = Pass(f, params, grads, tape, dropout_key(0, 0))
    losses = model.forward(*tokens_for(model), run)
    assert len(tape) > 0
    model.backward(np.full(losses.size, 1 / losses.size, np.float32), run)
    assert len(tape) == 0
    assert all(g.any() for _, g in grads.items()), "every parameter has a gradient"


def test_codes_are_computed_once_in_a_pass():
    model = build("thunderbolt", SMALL)
    params = randomised(model, np.random.default_rng(0), np.float32)
    made = {}
    model.logits(tokens_for(model)[0], Pass(kernels, params, made=made))
    before = {n: v for n, v in made.items() if n.startswith("blocks")}
    assert before.keys() == {p.name for p in model.parameters() if p.kind == "ternary"}
    model.logits(tokens_for(model)[0], Pass(kernels, params, made=made))
    assert all(made[n] is v for n, v in before.items())


@pytest.mark.parametrize("weights", ["ternary", "all"])
def test_all_zero_weights_and_tokens_are_finite(weights):
    for bits in (0, 8):
        model = build("thunderbolt", SMALL | {"activation_bits": bits})
        params, grads = randomised(model, np.random.default_rng(0), np.float32), None
        for p in model.parameters():
            if weights == "all" or p.kind == "ternary":
                params[p.name][...] = 0
        grads = params.like()
        run = Pass(kernels, params, grads, Tape())
        losses = model.forward(*tokens_for(model), run)
        model.backward(np.ones(losses.size, np.float32), run)
        assert np.isfinite(losses).all()
        assert np.isfinite(grads.flat).all()


# ------------------------------------------------------------------------------------------ streaming
@settings(max_examples=25)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 3))
def test_streaming_gives_the_bits_of_the_whole(pieces, batch, seed):
    """Far beyond the context: a state has no limit."""
    model = build("thunderbolt", SMALL)
    params = randomised(model, np.random.default_rng(seed), np.float32)
    tokens, _ = tokens_for(model, batch, sum(pieces), seed)
    run, state, at = Pass(kernels, params), model.start(batch), 0
    whole = model.logits(tokens, run)
    for size in pieces:
        out = model.extend(tokens[:, at:at + size], state, run)
        assert np.array_equal(out, whole[:, at:at + size])
        at += size
        assert state.length == at


@pytest.mark.parametrize("f", [ops, kernels], ids=["ops", "kernels"])
def test_streaming_in_float_gives_the_scores_of_the_whole(f):
    model = build("thunderbolt", SMALL | {"activation_bits": 0})
    dtype = np.float64 if f is ops else np.float32
    params = randomised(model, np.random.default_rng(1), dtype)
    tokens, _ = tokens_for(model, 2, 50)
    run, state = Pass(f, params), model.start(2)
    whole = model.logits(tokens, run)
    got = np.concatenate([model.extend(tokens[:, t:t + 1], state, run) for t in range(50)], 1)
    np.testing.assert_allclose(got, whole, rtol=0, atol=1e-12 if f is ops else 5e-5)


def test_a_state_does_not_grow():
    model = build("thunderbolt", SMALL)
    params = randomised(model, np.random.default_rng(0), np.float32)
    state, run, sizes = model.start(1), Pass(kernels, params), set()
    for t in range(100):
        model.extend(np.array([[t % 7]], np.int32), state, run)
        sizes.add(sum(x.nbytes for x in state.memory.values()))
        assert all(x.base is None or x.base.nbytes <= x.nbytes for x in state.memory.values()), "no view keeps a text"
    assert sizes == {2 * 3 * 12 * 4}  # per layer: the token before two shifts, and the recurrent state


def test_two_texts_do_not_share_a_state():
    model = build("thunderbolt", SMALL)
    params = randomised(model, np.random.default_rng(0), np.float32)
    run, (tokens, others) = Pass(kernels, params), tokens_for(model, 1)
    alone = model.start(1)
    want = [model.extend(tokens[:, t:t + 1], alone, run) for t in range(8)]
    one, two = model.start(1), model.start(1)
    for t in range(8):
        assert np.array_equal(model.extend(tokens[:, t:t + 1], one, run), want[t])
        model.extend(others[:, t:t + 1], two, run)


# ------------------------------------------------------------------------------------------ configurations
@pytest.mark.parametrize(("change", "says"), [
    ({"heads": 5}, "multiple of heads"), ({"vocab": 0}, "vocab is 0"), ({"layers": -1}, "layers is -1"),
    ({"activation_bits": 4}, "activation_bits is 4"), ({"longest": 1.0}, "longest is 1.0"),
    ({"longest": -0.1}, "longest is -0.1"), ({"longest": float("nan")}, "longest is nan"),
    ({"dropout": 1.0}, "dropout is 1.0"), ({"hidden": -4}, "hidden is -4"),
    ({"chanels": 12}, "did you mean 'channels'"), ({"activation_bits": True}, "activation_bits should be int")])
def test_configurations_that_make_no_sense(change, says):
    with pytest.raises(UsageError, match=says):
        build("thunderbolt", SMALL | change)
