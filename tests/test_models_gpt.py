"""The character GPT: published sizes, its tape, streaming, and configurations that make no sense."""
from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinylm import config, kernels, ops
from tinylm.audit.gradients import randomised
from tinylm.errors import UsageError
from tinylm.layers import Parameters, Pass, Tape
from tinylm.models import build
from tinylm.ops.random import dropout_key
from tinylm.ops.shapes import ShapeError

SMALL = {"vocab": 7, "context": 8, "channels": 12, "layers": 2, "heads": 3}


def preset(name, **extra):
    options = dict(config.load_preset(name)["model"])
    return build(options.pop("family"), options | extra)


def tokens_for(model, batch=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, model.config.vocab, (batch, model.config.context)).astype(np.int32) for _ in range(2)]


@pytest.mark.parametrize(("name", "extra", "count"), [
    ("gpt-run1", {}, 815_388),
    ("gpt-run2", {}, 10_823_534),
    ("gpt-run3", {}, 1_998_110),
    ("gpt-shakespeare", {"vocab": 65}, 795_904 + 64 * 128),  # nanoGPT prints 0.80M: it leaves positions out
])
def test_published_parameter_counts(name, extra, count):
    model = preset(name, **extra)
    assert sum(p.size for p in model.parameters()) == count


def test_the_count_by_hand():
    V, T, C, L = 28, 128, 128, 4
    block = 2 * 2 * C + 3 * C * C + (C * C + C) + (4 * C * C + 4 * C) + (4 * C * C + C)
    assert V * C + T * C + L * block + 2 * C + V * C + V == 815_388


def test_a_tied_head_has_no_weight_of_its_own():
    names = [p.name for p in build("gpt", SMALL | {"tied_head": True, "head_bias": False}).parameters()]
    assert not [n for n in names if n.startswith("head")]


def test_initial_loss_is_that_of_knowing_nothing():
    for name in config.preset_names():
        model = preset(name, vocab=65)
        params = Parameters(model.parameters())
        params.initialise(0)
        tokens = np.random.default_rng(0).integers(0, 65, (2, 33)).astype(np.int32)
        losses = model.forward(tokens[:, :-1], tokens[:, 1:], Pass(ops, params))
        assert losses.shape == (64,)
        assert abs(losses.mean() - math.log(65)) < 0.15, name


def test_scaled_init_is_smaller_on_the_way_into_the_stream():
    plain, scaled = (build("gpt", SMALL | {"scaled_init": s}) for s in (False, True))
    for p, q in zip(plain.parameters(), scaled.parameters()):
        into_stream = p.name.endswith(("proj.weight", "down.weight"))
        assert q.init[1] == pytest.approx(p.init[1] / (2 if into_stream else 1))  # sqrt(2 L) = 2


@pytest.mark.parametrize("f", [ops, kernels], ids=["ops", "kernels"])
def test_the_tape_is_empty_after_backward(f):
    model = build("gpt", SMALL | {"dropout": 0.2})
    params, tape = randomised(model, np.random.default_rng(0), np.float32), Tape()
    grads = params.like()
    run = Pass(f, params, grads, tape, dropout_key(0, 0))
    losses = model.forward(*tokens_for(model), run)
    assert len(tape) > 0
    model.backward(np.full(losses.size, 1 / losses.size, np.float32), run)
    assert len(tape) == 0
    assert all(g.any() for _, g in grads.items()), "every parameter has a gradient"


def test_a_backward_pass_in_the_wrong_order_is_noticed():
    model = build("gpt", SMALL)
    params = randomised(model, np.random.default_rng(0))
    run = Pass(ops, params, params.like(), Tape())
    losses = model.forward(*tokens_for(model), run)
    model.blocks.reverse()
    with pytest.raises(RuntimeError, match=r"blocks\.0\S* went back where blocks\.1\S* is the last"):
        model.backward(np.ones(losses.size), run)


def test_a_layer_left_out_going_back_is_noticed():
    model = build("gpt", SMALL)
    params = randomised(model, np.random.default_rng(0))
    run = Pass(ops, params, params.like(), Tape())
    losses = model.forward(*tokens_for(model), run)
    model.norm.backward = lambda dout, run: dout
    with pytest.raises(RuntimeError, match="is the last"):
        model.backward(np.ones(losses.size), run)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.sampled_from([ops, kernels]), st.integers(1, 3))
def test_streaming_gives_the_scores_of_the_whole(pieces, f, batch):
    model = build("gpt", SMALL | {"context": 40, "activation": "gelu"})
    dtype = np.float64 if f is ops else np.float32
    params = randomised(model, np.random.default_rng(1), dtype)
    tokens = np.random.default_rng(2).integers(0, 7, (batch, sum(pieces))).astype(np.int32)
    run, state, at = Pass(f, params), model.start(batch, sum(pieces), dtype), 0
    whole = model.logits(tokens, run)
    for size in pieces:
        out = model.extend(tokens[:, at:at + size], state, run)
        np.testing.assert_allclose(out, whole[:, at:at + size], rtol=0, atol=1e-12 if f is ops else 2e-5)
        at += size
        assert state.length == at


def test_a_state_has_room_for_so_much():
    model = build("gpt", SMALL)
    params = randomised(model, np.random.default_rng(0), np.float32)
    state = model.start(1, 4)
    assert state.capacity == 4
    assert model.start(1, 1000).capacity == 8, "never more than the context"
    model.extend(np.zeros((1, 3), np.int32), state, Pass(ops, params))
    with pytest.raises(ShapeError, match="4 positions, 5"):
        model.extend(np.zeros((1, 2), np.int32), state, Pass(ops, params))


def test_logits_and_losses_belong_together():
    model = build("gpt", SMALL)
    params = randomised(model, np.random.default_rng(0))
    tokens, targets = tokens_for(model)
    losses = model.forward(tokens, targets, Pass(ops, params))
    logits = model.logits(tokens, Pass(ops, params))
    prob = np.exp(logits - logits.max(-1, keepdims=True))
    prob /= prob.sum(-1, keepdims=True)
    picked = np.take_along_axis(prob, targets[..., None].astype(int), -1).reshape(-1)
    np.testing.assert_allclose(losses, -np.log(picked), rtol=1e-12)


def test_dropout_depends_on_the_key_alone():
    model = build("gpt", SMALL | {"dropout": 0.3})
    params = randomised(model, np.random.default_rng(0))
    losses = {step: model.forward(*tokens_for(model), Pass(ops, params, dropout=dropout_key(5, step)))
              for step in (1, 2)}
    again = model.forward(*tokens_for(model), Pass(ops, params, dropout=dropout_key(5, 1)))
    assert np.array_equal(losses[1], again)
    assert not np.allclose(losses[1], losses[2])
    assert not np.allclose(losses[1], model.forward(*tokens_for(model), Pass(ops, params)))


@pytest.mark.parametrize(("change", "says"), [
    ({"heads": 5}, "multiple of heads"), ({"vocab": 0}, "vocab is 0"), ({"layers": -1}, "layers is -1"),
    ({"context": 0}, "context is 0"), ({"activation": "swish"}, "swish"), ({"dropout": 1.0}, "dropout is 1.0"),
    ({"dropout": -0.1}, "dropout is -0.1"), ({"dropout": float("nan")}, "dropout is nan"),
    ({"hidden": -4}, "hidden is -4"),
    ({"channels": "12"}, "channels should be int"), ({"tied_head": 1}, "tied_head should be bool"),
    ({"layers": True}, "layers should be int"), ({"chanels": 12}, "did you mean 'channels'")])
def test_configurations_that_make_no_sense(change, says):
    with pytest.raises(UsageError, match=says):
        build("gpt", SMALL | change)


def test_what_is_missing_is_named():
    with pytest.raises(UsageError, match="heads, vocab|vocab, heads|needs vocab, heads"):
        build("gpt", {k: v for k, v in SMALL.items() if k not in ("vocab", "heads")})
    with pytest.raises(UsageError, match="gtp.*gpt"):
        build("gtp", SMALL)


def test_a_config_is_its_options():
    model = build("gpt", SMALL)
    assert build("gpt", dataclasses.asdict(model.config)).config == model.config
