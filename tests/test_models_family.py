"""The models around Thunderbolt: Bolt, Nova and GPT-Neo's shape; their sizes, their streams, and planted mistakes."""
from __future__ import annotations

import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinylm import config, kernels, ops
from tinylm.audit import causality, floor, gradients, streaming, suite
from tinylm.audit.gradients import randomised
from tinylm.errors import UsageError
from tinylm.generate import packed
from tinylm.layers import Attention, Head, Linear, Pass, Residual, Tape
from tinylm.models import build, describe
from tinylm.ops.random import dropout_key
from tinylm.ops.shapes import ShapeError

BOLT = {"vocab": 7, "context": 12, "channels": 12, "layers": 2, "hidden": 20}
NOVA = {"vocab": 7, "context": 12, "channels": 12, "layers": 2, "heads": 3, "hidden": 20}
NEO = {"vocab": 7, "context": 12, "channels": 12, "layers": 2, "heads": 3, "activation": "gelu", "tied_head": True,
       "head_bias": False, "scaled_scores": False, "window": 3}
MEMBERS = {"bolt": ("bolt", BOLT | {"dropout": 0.2}), "bolt in float": ("bolt", BOLT | {"activation_bits": 0}),
           "nova": ("nova", NOVA | {"dropout": 0.2}), "neo": ("gpt", NEO)}
BOTH = pytest.mark.parametrize("f", [ops, kernels], ids=["ops", "kernels"])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=MEMBERS.values(), ids=MEMBERS)
def model(request):
    return build(*request.param)


def preset(name, **extra):
    options = dict(config.load_preset(name)["model"])
    return build(options.pop("family"), options | extra)


def tokens_of(model, rng, batch=2, length=None):
    shape = batch, length or model.config.context
    return [rng.integers(0, model.config.vocab, shape).astype(np.int32) for _ in range(2)]


def operations(f=ops, **replaced):
    return types.SimpleNamespace(**{n: getattr(f, n) for n in f.__all__} | replaced)


# ------------------------------------------------------------------------------------------ what they are made of
@pytest.mark.parametrize(("name", "total", "ternary"), [
    ("bolt", 4_364_736, 2_433_024), ("nova", 4_987_392, 0), ("tinystories-1m", 3_745_984, 0)])
def test_the_published_parameter_counts(name, total, ternary):
    assert describe.parameters(preset(name)) == {"total": total, "ternary": ternary, "float": total - ternary}


def test_the_counts_by_hand():
    V, C, L, F, K = 10_000, 192, 6, 512, 8
    assert V * C + L * (2 * C + 2 * C * C + K * C + C * C + 3 * C * F) + C == 4_364_736
    V, C, L, F = 4096, 256, 6, 512
    assert V * C + L * (2 * 2 * C + 4 * C * C + 3 * C * F) + 2 * C == 4_987_392
    V, P, C, L = 50_257, 2048, 64, 8
    ffn = 4 * C * C + 4 * C + 4 * C * C + C
    assert V * C + P * C + L * (2 * 2 * C + 3 * C * C + C * C + C + ffn) + 2 * C == 3_745_984


def test_only_matrices_and_filters_decay_and_only_bolts_maps_are_ternary():
    for name in ("bolt", "nova", "tinystories-1m"):
        for p in preset(name).parameters():
            assert p.decayed == (len(p.shape) > 1), p.name
            assert (p.kind == "ternary") == (name == "bolt" and len(p.shape) > 1
                                             and not p.name.startswith("embedding") and "filters" not in p.name)


def test_every_second_layer_of_gpt_neo_sees_a_window_and_none_divides_its_scores():
    layers = [layer for layer in preset("tinystories-1m").walk() if isinstance(layer, Attention)]
    assert [layer.window for layer in layers] == [0, 256] * 4
    assert all(layer._options["scale"] == 1.0 for layer in layers)
    assert not any(layer._options for layer in preset("gpt-run1").walk() if isinstance(layer, Attention))


@pytest.mark.parametrize(("family", "options", "says"), [
    ("bolt", BOLT | {"kernel": 0}, "kernel is 0"), ("bolt", BOLT | {"hidden": 0}, "hidden is 0"),
    ("bolt", BOLT | {"activation_bits": 4}, "activation_bits is 4"),
    ("bolt", BOLT | {"dropout": 1.0}, "dropout is 1.0"), ("bolt", BOLT | {"heads": 2}, "no option 'heads'"),
    ("nova", NOVA | {"heads": 5}, "multiple of heads"),
    ("nova", NOVA | {"heads": 4}, "even number"), ("nova", NOVA | {"base": 1.0}, "base is 1.0"),
    ("nova", NOVA | {"base": float("nan")}, "base is nan"), ("nova", NOVA | {"hidden": -1}, "hidden is -1"),
    ("gpt", NEO | {"window": -1}, "window is -1"), ("gpt", NEO | {"scaled_scores": 1}, "should be bool")])
def test_configurations_that_make_no_sense(family, options, says):
    with pytest.raises(UsageError, match=says):
        build(family, options)


# ------------------------------------------------------------------------------------------ forward, backward
@BOTH
def test_the_tape_is_empty_after_backward(f, model, rng):
    params, tape = randomised(model, rng, np.float32), Tape()
    grads = params.like()
    run = Pass(f, params, grads, tape, dropout_key(0, 0))
    losses = model.forward(*tokens_of(model, rng), run)
    assert len(tape) > 0
    model.backward(np.full(losses.size, 1 / losses.size, np.float32), run)
    assert len(tape) == 0
    assert all(g.any() for _, g in grads.items()), "every parameter has a gradient"


@BOTH
@pytest.mark.parametrize("length", [1, 2, 7])
def test_texts_shorter_than_the_filter_and_weights_of_zero(f, model, length, rng):
    for weights in ("drawn", "zero"):
        params = randomised(model, rng, np.float32)
        params.flat[...] *= weights == "drawn"
        grads = params.like()
        run = Pass(f, params, grads, Tape())
        losses = model.forward(*tokens_of(model, rng, 3, length), run)
        model.backward(np.ones(losses.size, np.float32), run)
        assert losses.shape == (3 * length,)
        assert np.isfinite(losses).all()
        assert np.isfinite(grads.flat).all()


def test_no_two_places_share_a_mask(model):
    sites = [layer.site for layer in model.walk() if hasattr(layer, "site")]
    assert len(set(sites)) == len(sites) >= 4


def test_layers_one_by_one(model, rng):
    tried = set()
    for layer in model.walk():
        if layer is model or isinstance(layer, (Residual, Head)) or not layer.name.startswith("blocks"):
            continue
        width = layer.weight.shape[-1] if isinstance(layer, Linear) or type(layer).__name__ == "BitLinear" else 12
        inp = rng.standard_normal((2, 5, width))
        gradients.layer(layer, {"inp": inp}, rng, dropout=dropout_key(1, 1)).require()
        tried.add(type(layer).__name__)
    assert tried == {"bolt": {"Block", "RMSNorm", "GatedConv", "BitLinear", "GatedFeedForward"},
                     "nova": {"Block", "LayerNorm", "Attention", "Linear", "GatedFeedForward"},
                     "gpt": {"Block", "LayerNorm", "Attention", "Linear", "FeedForward"}}[model.family]


# ------------------------------------------------------------------------------------------ streaming
@settings(max_examples=25)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 3))
def test_bolt_streams_to_the_bit_far_beyond_its_context(pieces, batch, seed):
    rng = np.random.default_rng(seed)
    model = build("bolt", BOLT | {"channels": 36, "hidden": 50})    # no multiple of a vector
    params = randomised(model, rng, np.float32)
    tokens, _ = tokens_of(model, rng, batch, sum(pieces))
    run, state, at = Pass(kernels, params), model.start(batch), 0
    whole = model.logits(tokens, run)
    for size in pieces:
        out = model.extend(tokens[:, at:at + size], state, run)
        assert np.array_equal(out, whole[:, at:at + size])
        at += size
        assert state.length == at
    assert state.capacity is None
    assert {x.shape for x in state.memory.values()} == {(batch, 7, 36)}
    assert all(x.base is None for x in state.memory.values()), "no view keeps a text"


@BOTH
@settings(max_examples=15)
@given(pieces=st.lists(st.integers(1, 7), min_size=1, max_size=6), seed=st.integers(0, 3),
       options=st.sampled_from([("nova", NOVA), ("gpt", NEO), ("gpt", NEO | {"window": 1}),
                                ("bolt", BOLT | {"activation_bits": 0}), ("bolt", BOLT | {"kernel": 1})]))
def test_streaming_gives_the_scores_of_the_whole(f, pieces, seed, options):
    family, shape = options
    rng, dtype = np.random.default_rng(seed), np.float64 if f is ops else np.float32
    model = build(family, shape | {"context": 42})
    params = randomised(model, rng, dtype)
    tokens, _ = tokens_of(model, rng, 2, sum(pieces))
    run, state, at = Pass(f, params), model.start(2, sum(pieces), dtype), 0
    whole = model.logits(tokens, run)
    for size in pieces:
        out = model.extend(tokens[:, at:at + size], state, run)
        np.testing.assert_allclose(out, whole[:, at:at + size], rtol=0, atol=1e-11 if f is ops else 5e-5)
        at += size


def test_a_model_says_whether_it_is_exact():
    exact = {("bolt", 8): True, ("bolt", 0): False, ("thunderbolt", 8): True, ("thunderbolt", 0): False}
    for (family, bits), wanted in exact.items():
        shape = BOLT if family == "bolt" else NOVA
        assert build(family, shape | {"activation_bits": bits}).exact is wanted
    assert not build("nova", NOVA).exact
    assert not build("gpt", NEO).exact


def test_a_window_hides_what_is_older():
    """The second layer's attention sees three positions; the change of an older one cannot reach it."""
    model = build("gpt", NEO)
    params, rng = randomised(model, np.random.default_rng(0), np.float32), np.random.default_rng(1)
    attention, inp = model.blocks[1].mixer, rng.standard_normal((1, 12, 12)).astype(np.float32)
    changed = inp.copy()
    changed[:, 4] += 1
    for f in (ops, kernels):
        moved = (attention.forward(inp, Pass(f, params)) != attention.forward(changed, Pass(f, params))).any((0, 2))
        assert np.flatnonzero(moved).tolist() == [4, 5, 6]
        moved = (model.blocks[0].mixer.forward(inp, Pass(f, params))
                 != model.blocks[0].mixer.forward(changed, Pass(f, params))).any((0, 2))
        assert np.flatnonzero(moved).tolist() == list(range(4, 12))


def test_nova_has_no_room_beyond_its_context(rng):
    model = build("nova", NOVA)
    params, state = randomised(model, rng, np.float32), model.start(1)
    assert state.capacity == 12
    model.extend(np.zeros((1, 12), np.int32), state, Pass(kernels, params))
    with pytest.raises(ShapeError, match="12 positions, 13"):
        model.extend(np.zeros((1, 1), np.int32), state, Pass(kernels, params))


@pytest.mark.parametrize("bits", [8, 0])
def test_bolt_packed_gives_the_bits_of_bolt(bits, rng):
    model = build("bolt", BOLT | {"channels": 36, "hidden": 50, "activation_bits": bits})
    params = randomised(model, rng, np.float32)
    inference, floats = packed.pack(model, params)
    assert floats.count() == params.count("float")
    tokens, targets = tokens_of(model, rng, 1, 30)
    run, plain = Pass(kernels, floats), Pass(kernels, params)
    want = model.logits(tokens, plain)
    assert np.array_equal(inference.logits(tokens, run), want)
    assert np.array_equal(inference.forward(tokens, targets, run), model.forward(tokens, targets, plain))
    state, before = inference.start(1), model.start(1)
    for t in range(30):
        got = inference.extend(tokens[:, t:t + 1], state, run)
        assert np.array_equal(got, model.extend(tokens[:, t:t + 1], before, plain))
        assert bits == 0 or np.array_equal(got[:, 0], want[:, t])
    assert state.length == 30
    assert inference.exact is model.exact


# ------------------------------------------------------------------------------------------ planted mistakes
def wrong(name, change):
    """The backward pass `name` with its gradients changed before they are added."""
    good = getattr(ops, name)

    def backward(dout, cache, add_to=None, **residual):
        found = change(good(dout, cache), dout, cache)
        if residual.get("residual") is not None:
            found = residual["residual"] + found[0], *found[1:]
        into = add_to or ()
        for given_, g in zip(into, found[len(found) - len(into):]):
            given_ += g
        return (*found[:len(found) - len(into)], *into)
    return backward


def without_the_mean(g, dout, c):
    return c.rrms * dout * c.weight, g[1]


GOOD = {name: getattr(ops, name + "_backward") for name in ("gated_conv", "attention")}  # before any is replaced
MISTAKES = {
    "RMSNorm's mean over channels is missing": ("bolt", BOLT, "rmsnorm_backward", wrong(
        "rmsnorm_backward", without_the_mean), "blocks.1.ffn.down.weight"),
    "halves of SwiGLU exchanged": ("bolt", BOLT, "swiglu_backward", wrong("swiglu_backward", lambda g, d, c: g[::-1]),
                                   "blocks.1.ffn.up.weight"),
    "halves of the mixer exchanged": ("bolt", BOLT, "gated_conv_backward", wrong(
        "gated_conv_backward", lambda g, d, c: (np.roll(g[0], g[0].shape[-1] // 2, -1), g[1])),
        "blocks.1.mixer.up.weight"),
    "filters reversed going back": ("bolt", BOLT, "gated_conv_backward", wrong("gated_conv_backward", lambda g, d, c: (
        GOOD["gated_conv"](d, c._replace(weight=c.weight[::-1]))[0], g[1])), "blocks.1.mixer.up.weight"),
    "dfilters reversed": ("bolt", BOLT, "gated_conv_backward", wrong("gated_conv_backward", lambda g, d, c: (
        g[0], g[1][::-1])), "blocks.0.mixer.filters"),
    "rotation not turned back": ("nova", NOVA, "rope_backward", lambda d, c: (ops.rope_forward(d, *c)[0],),
                                 "blocks.1.attention.qkv.weight"),
    "rotation forgotten going back": ("nova", NOVA, "rope_backward", lambda d, c: (d,),
                                      "blocks.0.attention.qkv.weight"),
    "halves of GeGLU exchanged": ("nova", NOVA, "geglu_backward", wrong("geglu_backward", lambda g, d, c: g[::-1]),
                                  "blocks.1.ffn.up.weight"),
    "scores divided going back": ("gpt", NEO, "attention_backward", lambda d, c: GOOD["attention"](
        d, c._replace(scale=None)), "blocks.1.attention.qkv.weight"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_backward_pass_is_found(monkeypatch, mistake, rng):
    family, options, name, backward, culprit = MISTAKES[mistake]
    model = build(family, options)
    tokens, targets = tokens_of(model, rng)
    assert gradients.model(model, tokens, targets, rng).ok
    monkeypatch.setattr(ops, name, backward)
    report = gradients.model(model, tokens, targets, rng)
    wrong_ones = {t.name for t in report.tensors if not t.ok}
    assert culprit in wrong_ones, wrong_ones
    assert not {t for t in wrong_ones if t.startswith("norm.")}, "what the mistake comes after is right"


def one_ahead(inp, weight, before=None):
    C = weight.shape[1]
    ahead = np.concatenate([inp[:, 1:], inp[:, -1:]], 1)
    return ops.gated_conv_forward(np.concatenate([inp[..., :C], ahead[..., C:]], -1), weight, before)


def one_ahead_backward(dout, cache, add_to=None):
    dinp, dweight = ops.gated_conv_backward(dout, cache, add_to)
    dinp[:, 1:, cache.weight.shape[1]:] = dinp[:, :-1, cache.weight.shape[1]:].copy()
    return dinp, dweight


def norm_over_time(inp, weight, eps=1e-5):
    out, cache = ops.rmsnorm_forward(inp, weight, eps)
    return out / (1 + np.abs(out).mean(1, keepdims=True)), cache


LEAKS = {
    "a convolution that looks one ahead": ("bolt", BOLT, {"gated_conv_forward": one_ahead}, "blocks.0.mixer"),
    "a norm over time": ("bolt", BOLT, {"rmsnorm_forward": norm_over_time}, "blocks.0.norm1"),
    "a gate of the whole text": ("bolt", BOLT, {"swiglu_forward": lambda gate, value: ops.swiglu_forward(
        gate - gate.mean(1, keepdims=True), value)}, "blocks.0.ffn"),
    "angles that count from the end": ("nova", NOVA, {"rope_forward": lambda inp, heads, base=10000.0, start=0: (
        ops.rope_forward(inp, heads, base, start)[0] + 1e-6 * inp[:, ::-1], None)}, "blocks.0.attention"),
    "a window round the token": ("gpt", NEO, {"attention_forward": lambda inp, heads, *rest, window=0, **more: (
        ops.attention_forward(np.roll(inp, -1, 1) if window else inp, heads, *rest, window=window, **more))},
        "blocks.1.attention"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_named(leak, rng):
    family, options, replaced, layer = LEAKS[leak]
    model = build(family, options)
    params = randomised(model, rng)
    assert causality.suffix_swap(model, params, ops, rng).ok
    check = causality.suffix_swap(model, params, operations(**replaced), rng)
    assert check.detail.startswith(f"{layer} leaks"), check.detail


def test_a_backward_pass_that_looks_ahead_is_named(rng):
    model = build("bolt", BOLT)
    check = causality.backward(model, randomised(model, rng), operations(gated_conv_backward=one_ahead_backward), rng)
    assert check.detail.startswith("blocks.0.mixer leaks")


@pytest.mark.slow
def test_a_convolution_that_looks_ahead_is_found_by_training():
    """The short look ahead is enough: the next token is the target."""
    model = build("bolt", BOLT)
    f = operations(kernels, gated_conv_forward=one_ahead, gated_conv_backward=one_ahead_backward)
    check = floor.random_tokens(model, f)
    assert not check.ok
    assert "the model sees what it predicts" in check.detail


def test_a_rotation_of_neighbours_is_another_model(rng):
    """It is causal, has a right gradient and streams: only the definition says which pairs turn."""
    def neighbours(inp, heads, base=10000.0, start=0):
        pairs = inp.reshape(*inp.shape[:2], 3 * heads, -1, 2).swapaxes(-1, -2).reshape(inp.shape)
        out, cache = kernels.rope_forward(pairs, heads, base, start)
        return out.reshape(*inp.shape[:2], 3 * heads, 2, -1).swapaxes(-1, -2).reshape(inp.shape), cache

    model = build("nova", NOVA | {"channels": 24})
    assert suite.model_parity(model, kernels, rng).ok
    assert not suite.model_parity(model, operations(kernels, rope_forward=neighbours), rng).ok


FORGETFUL = {
    "a convolution that starts anew": ("bolt", BOLT, {"gated_conv_forward": lambda inp, weight, before=None: (
        ops.gated_conv_forward(inp, weight, None))}),
    "a memory in the wrong order": ("bolt", BOLT, {"gated_conv_forward": lambda inp, weight, before=None: (
        ops.gated_conv_forward(inp, weight, None if before is None else before[:, ::-1]))}),
    "angles that start anew": ("nova", NOVA, {"rope_forward": lambda inp, heads, base=10000.0, start=0: (
        ops.rope_forward(inp, heads, base, 0))}),
    "a window that streaming does not have": ("gpt", NEO, {"attention_extend": lambda *args, window=0, **more: (
        ops.attention_extend(*args, **more))}),
    "the usual scale when streaming": ("gpt", NEO, {"attention_extend": lambda *args, scale=None, **more: (
        ops.attention_extend(*args, **more))}),
}


@pytest.mark.parametrize("mistake", FORGETFUL)
def test_a_stream_that_forgets_is_found(mistake, rng):
    family, options, replaced = FORGETFUL[mistake]
    model = build(family, options)
    for dtype in (np.float64, np.float32):
        params = randomised(model, rng, dtype)
        assert streaming.streaming(model, params, ops, rng).ok
        check = streaming.streaming(model, params, operations(**replaced), rng)
        assert not check.ok
        assert "position" in check.detail


def test_one_bit_of_a_convolution_is_found(rng):
    def another_order(inp, weight, before=None):
        out, cache = kernels.gated_conv_forward(inp, weight, before)
        return (out * np.float32(1 + 2e-7) if inp.shape[1] == 1 else out), cache

    for bits in (8, 0):
        model = build("bolt", BOLT | {"activation_bits": bits})
        params = randomised(model, rng, np.float32)
        assert streaming.streaming(model, params, kernels, rng, row_by_row=True).ok
        f = operations(kernels, gated_conv_forward=another_order)
        check = streaming.streaming(model, params, f, rng, row_by_row=True)
        assert check.ok == (bits == 0), "in float, one bit is rounding"


# ------------------------------------------------------------------------------------------ counting
def test_axes_have_names():
    for family, options in (("bolt", BOLT), ("nova", NOVA)):
        model = build(family, options | {"vocab": 31})
        params = randomised(model, np.random.default_rng(0), np.float32)
        axes = {x.name: x.out_axes[-1] for x in describe.trace(model, params, kernels, 1, 3)}
        assert axes["blocks.0.ffn.gate"] == axes["blocks.0.ffn.up"] == "F"
        assert axes["blocks.1.mixer.up" if family == "bolt" else "blocks.1.attention.qkv"] == (
            "2C" if family == "bolt" else "3C")


def test_what_a_token_costs():
    T, C, F, K = 12, 12, 20, 8
    costs = describe.costs(build("bolt", BOLT), T)
    assert costs["ternary products"]["multiplications"] == 0
    assert costs["convolutions"]["multiplications"] == 2 * K * C
    assert costs["gates"]["multiplications"] == 2 * C
    assert costs["activations"] == {"multiplications": 2 * 2 * F, "additions": 2 * F, "functions": 2 * 2 * F, "read": 0}
    costs = describe.costs(build("nova", NOVA), T)
    assert costs["rotations"]["multiplications"] == 2 * 4 * C
    assert costs["products"]["multiplications"] == 2 * (4 * C * C + 3 * C * F)
    seen = sum(min(t + 1, 3) for t in range(T)) / T, sum(t + 1 for t in range(T)) / T
    assert describe.multiplies(build("gpt", NEO), T)["attention"] == pytest.approx(
        2 * 4 * C * C + 2 * C * sum(seen))
