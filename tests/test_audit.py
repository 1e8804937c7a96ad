"""The audit is green for every preset, and red for a planted error of each kind it looks for."""
from __future__ import annotations

import re
import types

import numpy as np
import pytest
from leaks import PUBLISHED

from tinylm import config, kernels, models, ops
from tinylm.audit import causality, floor, followed, gradients, parity, streaming, suite, threads, unitcheck
from tinylm.audit.shrink import shrink
from tinylm.errors import CheckFailed
from tinylm.kernels.matmul import unpack
from tinylm.layers import Attention, Block, Head, LayerNorm, Parameters, Residual
from tinylm.layers.base import Replaced
from tinylm.ops.precision import LARGEST, PRECISIONS, autocast, precision, rounded
from tinylm.ops.random import dropout_key
from tinylm.text.tokenizer import char_tokenizer
from tinylm.units import Loss

SMALL = {"vocab": 7, "context": 8, "channels": 12, "layers": 2, "heads": 3}
RUN1 = SMALL | {"dropout": 0.2}
NANO = SMALL | {"activation": "gelu", "tied_head": True, "proj_bias": False, "ffn_bias": False,
                "norm_bias": False, "head_bias": False, "scaled_init": True}


BOLTS = [SMALL | {"activation_bits": bits} for bits in (8, 0)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=[RUN1, NANO], ids=["run1", "nano"])
def model(request):
    return models.build("gpt", request.param)


@pytest.fixture(params=BOLTS, ids=["8 bits", "float"])
def bolt(request):
    return models.build("thunderbolt", request.param)


def operations(**replaced):
    """tinylm.ops with some functions replaced."""
    found = Replaced(ops)
    vars(found).update(replaced)
    return found


def fast_operations(**replaced):
    """tinylm.kernels with some functions replaced."""
    return types.SimpleNamespace(**{n: getattr(kernels, n) for n in kernels.__all__} | replaced)


def tokens_of(model, rng, batch=2):
    return (rng.integers(0, model.config.vocab, (batch, model.config.context)).astype(np.int32) for _ in range(2))


# ------------------------------------------------------------------------------------------ all is well
@pytest.mark.parametrize("preset", config.preset_names())
def test_every_preset_passes_every_check(preset):
    options = dict(config.load_preset(preset)["model"])
    model = models.build(options.pop("family"), shrink(options))
    checks = list(suite.model_checks(model, kernels))
    assert suite.summary(checks)[0], [c for c in checks if not c.ok]
    assert {c.name.split(".")[0] for c in checks} == set(suite.GROUPS) - {"packing"}  # it takes two models


def test_shrinking_keeps_every_option():
    for preset in config.preset_names():
        options = dict(config.load_preset(preset)["model"])
        family = options.pop("family")
        small, full = shrink(options), models.build(family, {"vocab": 65} | options)
        reduced = models.build(family, small).config
        sizes = {"vocab", "context", "channels", "layers", "heads", "hidden", "window"}
        for field in set(full.config.__dataclass_fields__) - sizes:
            assert getattr(reduced, field) == getattr(full.config, field), (preset, field)
        assert getattr(reduced, "heads", 2) > 1
        assert reduced.layers > 1
        if getattr(full.config, "window", 0):
            assert 1 < reduced.window < reduced.context, "a window still hides something"
    ratio = shrink({"channels": 100, "heads": 4, "layers": 9, "context": 500, "hidden": 400})
    assert ratio["hidden"] == 4 * ratio["channels"]
    headless = shrink({"channels": 192, "layers": 6, "context": 256, "hidden": 512})
    assert "heads" not in headless
    assert headless["channels"] < 20


def test_nothing_checked_is_no_success():
    assert not suite.summary([])[0]


# ------------------------------------------------------------------------------------------ gradients
def test_layers_one_by_one(model, rng):
    x = rng.standard_normal((2, 5, 12))
    for layer in model.walk():
        if isinstance(layer, (Attention, Block, LayerNorm)) or layer.name.endswith("ffn"):
            gradients.layer(layer, {"inp": x}, rng, dropout=dropout_key(1, 1)).require()
        elif isinstance(layer, Residual):
            gradients.layer(layer, {"inp": x, "branch": x[::-1]}, rng, dropout=dropout_key(1, 1)).require()
    tokens = rng.integers(0, 7, (2, 5))
    tied = [model.embedding.tokens] if model.config.tied_head else []
    gradients.layer(model.head, {"inp": x, "targets": tokens}, rng, borrowed=tied).require()
    gradients.layer(model.embedding, {"tokens": tokens}, rng).require()


def plant(monkeypatch, name, wrong):
    monkeypatch.setattr(ops, name, wrong)
    if hasattr(ops.ternary, name):  # where others of its module find it
        monkeypatch.setattr(ops.ternary, name, wrong)


def attention_without_its_softmax_sum(dout, cache):
    inp, heads, prob, rate, key, _ = cache
    query, keys, value = ops.attention._split(inp, heads)
    B, T = inp.shape[:2]
    dout = dout.reshape(B, T, heads, -1).transpose(0, 2, 1, 3)
    mask = ops.attention._mask(prob, rate, key)
    dscore = prob * (dout @ value.swapaxes(-1, -2) * mask) / np.sqrt(query.shape[-1])
    parts = dscore @ keys, dscore.swapaxes(-1, -2) @ query, (prob * mask).swapaxes(-1, -2) @ dout
    return (np.concatenate([ops.attention._join(p) for p in parts], -1),)


def test_a_backward_pass_that_misses_a_term_is_named(monkeypatch, model, rng):
    tokens, targets = tokens_of(model, rng)
    assert gradients.model(model, tokens, targets, rng).ok
    plant(monkeypatch, "attention_backward", attention_without_its_softmax_sum)
    report = gradients.model(model, tokens, targets, rng)
    with pytest.raises(gradients.GradientMismatch, match=r"d\S+\[\d.*expected"):
        report.require()
    # Everything behind the last attention is untouched by its mistake, so that is the one to blame.
    assert report.culprit.name == "blocks.1.attention.qkv.weight"
    assert "blocks.1.attention.qkv.weight" in report.check().detail
    right = {t.name for t in report.tensors if t.ok}
    assert {"norm.weight", "blocks.1.ffn.down.weight", "blocks.1.attention.proj.weight"} <= right
    assert not {"blocks.1.attention.qkv.weight", "embedding.positions"} & right


def test_a_layer_that_overwrites_gradients_is_found(monkeypatch, model, rng):
    def overwrites(dout, cache, add_to=None, **through):
        found = ops.linear.linear_backward(dout, cache, **through)
        add_to[0][...] = found[1]
        return found

    plant(monkeypatch, "linear_backward", overwrites)
    report = gradients.model(model, *tokens_of(model, rng), rng)
    assert not report.ok
    assert report.culprit.name.startswith("blocks.1.ffn.down")


def test_a_tape_that_is_not_emptied_is_found(monkeypatch, model, rng):
    def forgets(self, dout, run):
        return dout

    norm = model.norm
    monkeypatch.setattr(norm, "backward", types.MethodType(forgets, norm))
    with pytest.raises((CheckFailed, RuntimeError), match="tape|went back"):
        gradients.model(model, *tokens_of(model, rng), rng)


def test_a_step_sweep_is_reported(rng):
    report = gradients.operation(ops.gelu_forward, ops.gelu_backward, {"inp": rng.standard_normal(9)}, rng)
    (tensor,) = report.tensors
    assert list(tensor.steps) == list(gradients.STEPS)
    assert tensor.steps[1e-5] < tensor.steps[1e-4], "a central difference gets better with a smaller step"
    assert "h=1e-05" in str(report)
    assert report.check().ok


def test_float32_is_refused(rng):
    with pytest.raises(TypeError, match="float64"):
        gradients.operation(ops.relu_forward, ops.relu_backward, {"inp": np.zeros(3, np.float32)}, rng)


def test_kinks_are_stepped_off(rng):
    """At exactly 0 ReLU has no derivative; beside it, it has."""
    report = gradients.operation(ops.relu_forward, ops.relu_backward, {"inp": np.zeros((3, 4))}, rng)
    assert report.ok


def test_a_function_that_is_all_kinks_is_not_passed(rng):
    def forward(inp):
        return np.abs(inp - np.round(inp, 4)), inp  # a kink every 1e-4, wherever one goes

    report = gradients.operation(forward, lambda d, inp: (d * np.sign(inp - np.round(inp, 4)),),
                                 {"inp": rng.standard_normal(50)}, rng)
    assert not report.ok
    assert "nothing was checked" in report.worst_tensor.cause


def test_a_forward_pass_that_is_not_finite_is_not_passed(rng):
    report = gradients.operation(lambda x: (x * np.inf, x), lambda d, c: (d,), {"inp": np.ones(3)}, rng)
    assert not report.ok
    assert "forward pass itself" in report.worst_tensor.cause


CAUSES = {
    "it is zero": lambda g: 0 * g,
    "the sign": lambda g: -g,
    "constant factor of 0.25 = 1/4, and 4": lambda g: g / 4,
    "constant factor of 2 (counted twice?)": lambda g: 2 * g,
    "transposed: K and M": lambda g: g.swapaxes(1, 2),
    "shifted by one along T": lambda g: np.roll(g, 1, 0),
    "reversed along K": lambda g: g[:, ::-1],
    "wrong only at the last place of T": lambda g: np.concatenate([g[:-1], g[-1:] + 1]),
    "wrong only at the first place of K": lambda g: np.concatenate([g[:, :1] ** 2, g[:, 1:]], 1),
    "the same amount all along M": lambda g: g + g.mean(2, keepdims=True),
    "zero where it should not be": lambda g: np.where(np.add.outer(np.arange(3), np.add.outer(
        np.arange(4), np.arange(4))) % 2, g, 0),
    "not finite in 1 of 48": lambda g: np.where(g == g.max(), np.nan, g),
    "transposed shape": lambda g: g.T,
    "differs from one row along M": lambda g: g * (1 + np.arange(12).reshape(3, 4, 1)),
    "direction agrees to a cosine": lambda g: np.sin(g) + g ** 2,
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_likely_cause_is_named(cause, rng):
    def forward(inp):
        return np.sin(inp), inp

    def backward(dout, inp):
        return (CAUSES[cause](dout * np.cos(inp)),)

    report = gradients.operation(forward, backward, {"inp": rng.standard_normal((3, 4, 4))}, rng,
                                 axes={"inp": "TKM"})
    assert cause in report.worst_tensor.cause, report.worst_tensor.cause


def test_a_mask_that_is_not_applied_going_back_is_named(rng):
    key = dropout_key(0, 0)
    report = gradients.operation(ops.dropout_forward, lambda d, c: (2 * d,), {"inp": rng.standard_normal((4, 9))},
                                 rng, options={"rate": 0.5, "key": key})
    assert "mask" in report.worst_tensor.cause


def test_an_input_without_influence_has_no_gradient(rng):
    report = gradients.operation(lambda x, y: (np.sin(x), x), lambda d, x: (d * np.cos(x), d),
                                 {"x": rng.standard_normal(4), "y": rng.standard_normal(4)}, rng)
    assert report.worst_tensor.name == "y"
    assert "should be zero" in report.worst_tensor.cause


def test_large_tensors_are_explained_too(rng):
    report = gradients.operation(lambda x: (np.sin(x), x), lambda d, x: (-d * np.cos(x),),
                                 {"x": rng.standard_normal(6000)}, rng)
    worst = report.worst_tensor
    assert "sign" in worst.cause
    assert worst.examined == gradients.EXAMINED
    assert 0 <= worst.index[0] < 6000


# ---------------------------------------------------------------------- gradients of the ternary model
def test_ternary_and_recurrent_layers_one_by_one(bolt, rng):
    x = rng.standard_normal((2, 5, 12))
    tried = set()
    for layer in bolt.walk():
        if layer is not bolt and not isinstance(layer, (Residual, Head)) and layer.name.startswith("blocks"):
            width = layer.weight.shape[-1] if type(layer).__name__ == "BitLinear" else 12
            inp = rng.standard_normal((2, 5, width)) if width != 12 else x
            gradients.layer(layer, {"inp": inp}, rng, dropout=dropout_key(1, 1)).require()
            tried.add(type(layer).__name__)
    assert tried == {"RecurrentBlock", "Recurrence", "TernaryFeedForward", "BitLinear", "TokenShift", "HeadNorm",
                     "LayerNorm"}


def wrong(name, change):
    """The backward pass `name` with its gradients changed before they are added."""
    good = getattr(ops, name)

    def backward(dout, cache, add_to=None, fresh=False):
        found = change(good(dout, cache), dout, cache)
        into = add_to or ()
        for given, g in zip(into, found[len(found) - len(into):]):
            given[...] = g + (0 if fresh else given)
        return (*found[:len(found) - len(into)], *into)
    return name, backward


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# What is wrong, and a parameter whose gradient it spoils.
MODEL_MUTANTS = {
    "ternary dinp is zero": (wrong("bitlinear_backward", lambda g, d, c: (0 * g[0], g[1])), "embedding.tokens"),
    "ternary dinp without its scale": (wrong("bitlinear_backward", lambda g, d, c: (
        g[0] / c.ternary.scale, g[1])), "blocks.0.ffn.up.weight"),
    "ternary dweight has the wrong sign": (wrong("bitlinear_backward", lambda g, d, c: (g[0], -g[1])),
                                           "blocks.1.mixer.value.weight"),
    "dweight stopped at the codes that are 0": (wrong("bitlinear_backward", lambda g, d, c: (
        g[0], g[1] * (c.ternary.codes != 0))), "blocks.0.ffn.down.weight"),
    "nothing flows back in time": (wrong("recurrence_backward", lambda g, d, c: (
        *(np.concatenate([ops.recurrence.recurrence_backward(
            np.where(np.arange(d.shape[1])[:, None] == t, d, 0), c)[i][:, t:t + 1] for t in range(d.shape[1])], 1)
          for i in range(3)), g[3])), "blocks.1.mixer.value.weight"),
    "lower bound twice": (wrong("recurrence_backward", lambda g, d, c: (
        g[0] * (1 - c.lower), *g[1:])), "blocks.1.mixer.forget.weight"),
    "dbias of the first text": (wrong("recurrence_backward", lambda g, d, c: (*g[:3], g[0][0].sum(0))),
                                "blocks.0.mixer.forget.bias"),
    "output gate's gradient is lost": (wrong("recurrence_backward", lambda g, d, c: (
        *g[:2], 0 * g[2], g[3])), "blocks.1.mixer.output.weight"),
    "shift not reversed": (wrong("token_shift_backward", lambda g, d, c: (
        d * sigmoid(c.mix) + np.pad(d[:, :-1], ((0, 0), (1, 0), (0, 0))) * (1 - sigmoid(c.mix)), g[1])),
        "blocks.1.norm1.weight"),
    "dmix without its slope": (wrong("token_shift_backward", lambda g, d, c: (
        g[0], g[1] / (sigmoid(c.mix) * sigmoid(-c.mix)))), "blocks.0.shift2.mix"),
    "head norm's mean is a constant": (wrong("headnorm_backward", lambda g, d, c: (
        g[0] + np.repeat(c.rstd * (d * c.weight).reshape(*c.mean.shape[:-1], -1).mean(-1, keepdims=True),
                         g[0].shape[-1] // c.mean.shape[-2], -1).reshape(g[0].shape), *g[1:])),
        "blocks.1.mixer.value.weight"),
    "head norm's dbias is its dweight": (wrong("headnorm_backward", lambda g, d, c: (g[0], g[1], g[1])),
                                         "blocks.1.mixer.norm.bias"),
    "the 2 of the square": (wrong("squared_relu_backward", lambda g, d, c: (g[0] / 2,)), "blocks.1.ffn.up.weight"),
}


@pytest.mark.parametrize("mutant", MODEL_MUTANTS)
def test_a_wrong_backward_pass_of_the_ternary_model_is_found(monkeypatch, mutant, bolt, rng):
    (name, backward), culprit = MODEL_MUTANTS[mutant]
    plant(monkeypatch, name, backward)
    report = gradients.model(bolt, *tokens_of(bolt, rng), rng)
    assert not report.ok
    wrong_ones = {t.name for t in report.tensors if not t.ok}
    assert culprit in wrong_ones, wrong_ones
    assert "norm.weight" not in wrong_ones, "what the mistake comes after is right"


def test_a_forward_pass_that_rounds_otherwise_is_found(monkeypatch, bolt, rng):
    """The surrogate goes through the point: a forward pass that is not made of its codes cannot hide behind it."""
    good = ops.bitlinear_forward

    def leaves_out_the_last(inp, ternary, activation_bits=0):
        out, cache = good(inp, ternary, activation_bits)
        return out + 1e-6 * inp[..., -1:], cache

    plant(monkeypatch, "bitlinear_forward", leaves_out_the_last)
    with pytest.raises(CheckFailed, match="codes and scales"):
        gradients.model(bolt, *tokens_of(bolt, rng), rng)


# ------------------------------------------------------------------------------------------ causality
def attention_without_mask(inp, heads, rate=0.0, key=None):
    query, keys, value = ops.attention._split(inp, heads)
    prob = ops.attention._softmax(query @ keys.swapaxes(-1, -2) / np.sqrt(query.shape[-1]).astype(inp.dtype))
    return ops.attention._join(prob @ value), ops.attention.AttentionCache(inp, heads, prob, rate, key)


def norm_over_time(inp, weight, bias=None, eps=1e-5):
    out, cache = ops.layernorm_forward(inp, weight, bias, eps)
    return (out - out.mean(1, keepdims=True)) if inp.ndim == 3 else out, cache


LEAKS = {
    "attention without mask": (operations(attention_forward=attention_without_mask), "blocks.0.attention"),
    "norm over time": (operations(layernorm_forward=norm_over_time), "blocks.0.norm1"),
    "embedding one token ahead": (operations(embedding_forward=lambda tokens, *rest: ops.embedding_forward(
        np.roll(tokens, -1, 1), *rest)), "embedding"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_the_first_layer_that_leaks_is_named(leak, model, rng):
    f, layer = LEAKS[leak]
    for dtype in (np.float64, np.float32):
        params = gradients.randomised(model, rng, dtype)
        assert causality.suffix_swap(model, params, ops, rng).ok
        check = causality.suffix_swap(model, params, f, rng)
        assert not check.ok
        assert check.detail.startswith(f"{layer} leaks")
        with pytest.raises(CheckFailed, match=layer):
            check.require()


def test_a_leak_in_the_second_block_only(model, rng):
    calls = []

    def leaks_late(inp, heads, rate=0.0, key=None):
        calls.append(1)
        return (attention_without_mask if len(calls) % 2 == 0 else ops.attention_forward)(inp, heads, rate, key)

    f = operations(attention_forward=leaks_late)
    check = causality.suffix_swap(model, gradients.randomised(model, rng), f, rng)
    assert check.detail.startswith("blocks.1.attention leaks")


def test_a_leak_between_layers_is_named(monkeypatch, model, rng):
    block = model.blocks[1]
    good = block.forward

    def forward(inp, run):
        out = good(inp, run)
        return run.seen(block, inp, out + 1e-6 * out[:, ::-1])

    monkeypatch.setattr(block, "forward", forward)
    check = causality.suffix_swap(model, gradients.randomised(model, rng), ops, rng)
    assert check.detail.startswith("blocks.1 leaks")


def test_a_leak_in_the_backward_pass_is_named(model, rng):
    def leaks(dout, cache):
        (dinp,) = ops.attention_backward(dout, cache)
        return (dinp + 1e-9 * dinp[:, ::-1],)

    params = gradients.randomised(model, rng)
    check = causality.backward(model, params, operations(attention_backward=leaks), rng)
    assert check.detail.startswith("blocks.0.attention leaks")


@pytest.mark.parametrize("f", [ops, kernels], ids=["ops", "kernels"])
def test_the_published_head_norm_is_found_by_its_suffix(f, bolt, rng):
    dtype, replaced = (np.float64, operations) if f is ops else (np.float32, fast_operations)
    params = gradients.randomised(bolt, rng, dtype)
    assert causality.suffix_swap(bolt, params, f, rng).ok
    assert causality.backward(bolt, params, f, rng).ok
    check = causality.suffix_swap(bolt, params, replaced(**PUBLISHED), rng)
    assert check.detail.startswith("blocks.0.mixer.norm leaks")
    check = causality.backward(bolt, params, replaced(**PUBLISHED), rng)
    assert check.detail.startswith("blocks.0.mixer.norm leaks")


@pytest.mark.slow
def test_the_published_head_norm_is_found_by_training(bolt):
    assert floor.random_tokens(bolt, kernels).ok
    check = floor.random_tokens(bolt, fast_operations(**PUBLISHED))
    assert not check.ok
    assert check.worst > 5, "far below, not just below"
    assert "the model sees what it predicts" in check.detail


def test_the_published_head_norm_has_a_right_gradient(monkeypatch, bolt, rng):
    """Its leak is no mistake of its backward pass: gradients alone do not find it."""
    for name, function in PUBLISHED.items():
        plant(monkeypatch, name, function)
    assert gradients.model(bolt, *tokens_of(bolt, rng), rng).ok


BOLT_LEAKS = {
    "shift from the token after": ("token_shift_forward", lambda good: lambda inp, mix, before=None: (
        good(inp[:, ::-1], mix)[0][:, ::-1], good(inp, mix, before)[1]), "blocks.0.shift1"),
    "one scale for all tokens": ("bitlinear_forward", lambda good: lambda inp, ternary, bits=0: (
        good(inp, ternary, bits)[0] * (1 + np.abs(inp).max((1, 2), keepdims=True)), good(inp, ternary, bits)[1]),
        "blocks.0.mixer.forget"),
    "scan from both sides": ("recurrence_forward", lambda good: lambda f, v, o, *rest: (
        good(f, v, o, *rest)[0] + 1e-3 * good(f[:, ::-1], v[:, ::-1], o[:, ::-1], *rest)[0][:, ::-1],
        good(f, v, o, *rest)[1]), "blocks.0.mixer"),
}


@pytest.mark.parametrize("leak", BOLT_LEAKS)
def test_leaks_of_the_new_layers_are_named(leak, bolt, rng):
    name, make, layer = BOLT_LEAKS[leak]
    params = gradients.randomised(bolt, rng)
    check = causality.suffix_swap(bolt, params, operations(**{name: make(getattr(ops, name))}), rng)
    assert check.detail.startswith(f"{layer} leaks") or check.detail.startswith(f"{layer}.norm leaks"), check.detail


def test_the_backward_pass_is_tried_of_every_layer_with_one_input(bolt, rng):
    detail = causality.backward(bolt, gradients.randomised(bolt, rng), ops, rng).detail
    # two norms, two shifts, mixer with four maps and a norm, ffn with two maps, the block; twice, and the last norm
    assert detail.startswith("29 layers"), detail


def test_a_token_shift_that_is_not_reversed_is_found(bolt, rng):
    def unreversed(dout, cache, add_to=None):
        dinp, dmix = ops.token_shift_backward(dout[:, ::-1], cache, add_to)
        return dinp[:, ::-1], dmix

    check = causality.backward(bolt, gradients.randomised(bolt, rng), operations(token_shift_backward=unreversed), rng)
    assert check.detail.startswith("blocks.0.shift1 leaks")


@pytest.mark.slow
@pytest.mark.parametrize("family", models.FAMILIES)
def test_the_floor_holds_for_every_family(family):
    options = next(dict(o) for p in config.preset_names()
                   if (o := config.load_preset(p)["model"])["family"] == family)
    del options["family"]
    check = floor.random_tokens(models.build(family, shrink(options)), kernels, steps=150)
    assert check.ok, check.detail


def test_the_floor_of_attention_without_mask():
    model = models.build("gpt", SMALL)
    f = fast_operations(attention_forward=attention_without_mask, attention_backward=ops.attention_backward)
    assert not floor.random_tokens(model, f).ok


def test_a_floor_that_cannot_be_measured_is_not_passed(bolt):
    assert not floor.random_tokens(models.build("thunderbolt", SMALL | {"vocab": 1}), kernels).ok

    def nan(dout, cache, add_to=None):
        found = kernels.headnorm_backward(dout, cache, add_to)
        found[1][:] = np.nan
        return found

    check = floor.random_tokens(bolt, fast_operations(headnorm_backward=nan))
    assert not check.ok
    assert "step 1" in check.detail


def test_a_text_of_one_token_is_not_passed(rng):
    model = models.build("gpt", SMALL | {"context": 1})
    assert not causality.suffix_swap(model, gradients.randomised(model, rng), ops, rng).ok


def test_uniform_tokens_cannot_be_predicted(rng):
    model = models.build("gpt", SMALL)
    params = gradients.randomised(model, rng)
    assert causality.uniform_tokens(model, params, ops, rng).ok

    def peeks(inp, weight, bias, targets):
        losses, cache = ops.linear_cross_entropy_forward(inp, weight, bias, targets)
        return np.minimum(losses, 1.0), cache

    assert not causality.uniform_tokens(model, params, operations(linear_cross_entropy_forward=peeks), rng).ok


# ------------------------------------------------------------------------------------------ streaming
def written_at_the_wrong_place(inp, past_keys, past_values, length, heads):
    return ops.attention_extend(inp, past_keys, past_values, max(0, length - 1), heads)


def forgets_the_first(inp, past_keys, past_values, length, heads):
    past_keys[:, 0] = 0
    return ops.attention_extend(inp, past_keys, past_values, length, heads)


@pytest.mark.parametrize("wrong", [written_at_the_wrong_place, forgets_the_first])
def test_a_cache_used_wrongly_is_found(wrong, model, rng):
    for dtype in (np.float64, np.float32):
        params = gradients.randomised(model, rng, dtype)
        assert streaming.streaming(model, params, ops, rng).ok
        check = streaming.streaming(model, params, operations(attention_extend=wrong), rng)
        assert not check.ok
        assert "position" in check.detail


def test_a_position_that_does_not_move_on_is_found(model, rng):
    def always_from_zero(tokens, token_weight, position_weight, start=0):
        return ops.embedding_forward(tokens, token_weight, position_weight, 0)

    params = gradients.randomised(model, rng)
    check = streaming.streaming(model, params, operations(embedding_forward=always_from_zero), rng)
    assert "position 1 " in check.detail
    assert "pieces of 1 " in check.detail


def forgets_its_state(forget, value, output, bias, state=None, lower=0.0):
    return ops.recurrence_forward(forget, value, output, bias, None, lower)


def forgets_the_token_before(inp, mix, before=None):
    return ops.token_shift_forward(inp, mix, None)


@pytest.mark.parametrize(("name", "wrong"), [("recurrence_forward", forgets_its_state),
                                             ("token_shift_forward", forgets_the_token_before)])
def test_a_state_that_is_lost_is_found(name, wrong, bolt, rng):
    for dtype in (np.float64, np.float32):
        params = gradients.randomised(bolt, rng, dtype)
        assert streaming.streaming(bolt, params, ops, rng).ok
        check = streaming.streaming(bolt, params, operations(**{name: wrong}), rng)
        assert not check.ok
        assert check.detail.startswith("position 1 ")


def test_one_bit_is_found_with_8_bit_activations(rng):
    def one_bit(inp, heads, weight, bias, eps=1e-5):
        out, cache = kernels.headnorm_forward(inp, heads, weight, bias, eps)
        if inp.shape[1] == 1:
            out.flat[0] = np.nextafter(out.flat[0], np.float32(9))
        return out, cache

    for bits in (8, 0):
        model = models.build("thunderbolt", SMALL | {"activation_bits": bits})
        params = gradients.randomised(model, rng, np.float32)
        assert streaming.streaming(model, params, kernels, rng, row_by_row=True).ok

        def last_norm(inp, weight, bias=None, eps=1e-5, norm=params["norm.weight"]):
            out, cache = kernels.layernorm_forward(inp, weight, bias, eps)
            if inp.shape[1] == 1 and weight is norm:
                out.flat[0] = np.nextafter(out.flat[0], np.float32(9))
            return out, cache

        check = streaming.streaming(model, params, fast_operations(layernorm_forward=last_norm), rng, row_by_row=True)
        assert check.ok == (bits == 0), "in float, one bit is rounding"
        assert bits == 0 or "to the bit" in check.detail


def test_scores_are_the_same_to_the_bit_with_kernels(rng):
    """One more row in the head's product must not change a bit of the others."""
    def another_order(inp, weight, bias=None):
        out, cache = kernels.linear_forward(inp, weight, bias)
        return (out * np.float32(1 + 2e-7) if inp.shape[1] == 1 else out), cache

    model = models.build("thunderbolt", SMALL)
    params = gradients.randomised(model, rng, np.float32)
    f = fast_operations(linear_forward=another_order)
    assert streaming.streaming(model, params, f, rng).ok, "within rounding"
    check = streaming.streaming(model, params, f, rng, row_by_row=True)
    assert not check.ok
    assert "every bit" in check.detail


# ------------------------------------------------------------------------------------------ threads, kernels
def test_threads_and_kernels_of_the_ternary_model(bolt, rng):
    assert threads.model(bolt, kernels, rng).ok
    assert suite.model_parity(bolt, kernels, rng).ok


def other_codes(inp, ternary, activation_bits=0):
    if not activation_bits:
        return kernels.bitlinear_forward(inp * np.float32(1.002), ternary)
    values, scale = kernels.quantize_activations(inp)
    values = np.floor(values * np.float32(0.9999))
    out = kernels.matmul(values.reshape(-1, inp.shape[-1]), ternary.codes, transpose_b=True)
    out = out.reshape(*inp.shape[:-1], -1) * (scale * ternary.scale)
    return out, ops.ternary.BitLinearCache(values, scale, ternary)


PARITY_MUTANTS = {
    "codes rounded down": {"bitlinear_forward": other_codes},
    "weights cut instead of rounded": {"ternarize": lambda w: ops.ternary.Ternary(
        np.clip(w / kernels.ternarize(w).scale, -1, 1).astype(np.int8), kernels.ternarize(w).scale)},
    "state of the other text": {"recurrence_forward": lambda f, v, o, b, state=None, lower=0.0:
                                kernels.recurrence_forward(f, v, o, b, v[:, 0], lower)},
}


@pytest.mark.parametrize("mutant", PARITY_MUTANTS)
def test_a_ternary_model_of_other_kernels_is_found(mutant, bolt, rng):
    assert not suite.model_parity(bolt, fast_operations(**PARITY_MUTANTS[mutant]), rng).ok


def test_a_model_whose_result_depends_on_threads_is_found(model, rng):
    import numba

    def depends(grad_out, cache, add_to=None, **through):
        found = kernels.linear_backward(grad_out, cache, add_to, **through)
        found[1][0, 0] += np.float32(1e-6) * numba.get_num_threads() * np.abs(found[1]).max()
        return found

    fast = types.SimpleNamespace(**{n: getattr(kernels, n) for n in kernels.__all__} | {"linear_backward": depends})
    assert threads.model(model, kernels, rng).ok
    check = threads.model(model, fast, rng)
    assert not check.ok
    assert "weight changes" in check.detail


def test_whole_models_agree_and_a_wrong_kernel_does_not(model, rng):
    def wrong(dout, cache, add_to=None, residual=None):
        found = kernels.layernorm_backward(dout, cache, add_to, residual)
        found[0][0, -1] = 0
        return found

    fast = types.SimpleNamespace(**{n: getattr(kernels, n) for n in kernels.__all__} | {"layernorm_backward": wrong})
    assert suite.model_parity(model, kernels, rng).ok
    assert not suite.model_parity(model, fast, rng).ok


# ------------------------------------------------------------------------------------------ other precisions
LOWER = PRECISIONS[1:]
OF_DENSE = tuple(name for name in LOWER if name != "int8")  # what a model without ternary maps is checked at


def only_at(chosen, wrong, good):
    """An operation that is wrong at one precision."""
    return lambda *args, **options: (wrong if precision() == chosen else good)(*args, **options)


def one_step(x, axis=None):
    """x as whole multiples of a step, one for a row (axis -1) or for all; of the mean, which every number moves."""
    step = np.maximum(np.abs(x).mean(axis, keepdims=True), np.float32(1e-30)) * np.float32(4 / LARGEST)
    return np.rint(x / step) * step


def test_each_precision_has_its_checks_and_leaves_the_callers_alone(model):
    checks = {}
    for check in suite.model_checks(model, kernels, ["causality", "kernels", "threads"]):
        assert precision() == "float32", "between checks the caller's precision holds"
        checks[check.name] = check
    for name in ("causality.kernels", "causality.backward.kernels", "kernels.model", "threads.model"):
        assert [f"{name}.{p}" in checks for p in ("bfloat16", "int16")] == [True, True]
        assert name in checks
    assert suite.summary(checks.values())[0], [c for c in checks.values() if not c.ok]
    assert "to the bit" in checks["causality.kernels.int16"].detail


@pytest.mark.parametrize(("family", "options", "there"), [
    ("gpt", {}, False), ("thunderbolt", {"activation_bits": 0}, False), ("thunderbolt", {}, True)])
def test_int8_is_checked_where_there_are_ternary_maps_of_8_bits(family, options, there):
    model = models.build(family, SMALL | options)
    names = {check.name for check in suite.model_checks(model, kernels, ["kernels"])}
    assert ("kernels.model.int8" in names) == there == ("int8" in model.precisions)


def test_each_precision_is_really_used(model):
    """If these checks ran in float32, all they say would be about float32."""
    seen = set()

    def watched(*args):
        seen.add(precision())
        return kernels.linear_forward(*args)

    list(suite.model_checks(model, fast_operations(linear_forward=watched), ["causality"]))
    assert seen == set(PRECISIONS) - {"int8"}


@pytest.mark.parametrize("chosen", OF_DENSE)
def test_a_step_shared_by_all_tokens_is_a_leak(chosen, model):
    """The future moves the step, and with it the codes of the past."""
    shared = only_at(chosen, lambda inp, *rest: kernels.linear_forward(one_step(inp), *rest), kernels.linear_forward)
    checks = {c.name: c for c in suite.model_checks(model, fast_operations(linear_forward=shared), ["causality"])}
    assert [name for name, check in checks.items() if not check.ok] == [f"causality.kernels.{chosen}"]
    assert checks[f"causality.kernels.{chosen}"].detail.startswith("blocks.0.attention.qkv leaks")
    own = only_at(chosen, lambda inp, *rest: kernels.linear_forward(one_step(inp, -1), *rest), kernels.linear_forward)
    checks = suite.model_checks(model, fast_operations(linear_forward=own), ["causality"])
    assert all(check.ok for check in checks), "a step for each token tells nothing of the others"


@pytest.mark.parametrize("chosen", LOWER)
def test_a_step_shared_by_all_tokens_is_a_leak_of_ternary_layers(chosen, rng):
    model = models.build("thunderbolt", SMALL | {"activation_bits": 0})

    def shared(inp, ternary, bits=0):
        return kernels.bitlinear_forward(one_step(inp), ternary, bits)

    def shared_by_three(inp, ternaries, bits=0):
        return kernels.bitlinears_forward(one_step(inp), ternaries, bits)

    params = gradients.randomised(model, rng, np.float32)
    for name, wrong, layer in (("bitlinear_forward", shared, "blocks.0.mixer.proj"),
                               ("bitlinears_forward", shared_by_three, "blocks.0.mixer.forget")):
        f = fast_operations(**{name: only_at(chosen, wrong, getattr(kernels, name))})
        with autocast(chosen):
            assert causality.suffix_swap(model, params, kernels, rng, exact=True).ok
            check = causality.suffix_swap(model, params, f, rng, exact=True)
        assert check.detail.startswith(f"{layer} leaks"), check.detail


@pytest.mark.parametrize("chosen", LOWER)
def test_a_single_bit_of_the_past_is_a_leak(chosen, model, rng):
    """Below what rounding may move in float32: further on, it decides between two codes."""
    def moves_a_bit(inp, *rest):
        out, cache = kernels.layernorm_forward(inp, *rest)
        odd = inp.view(np.int32)[:, -1].sum(-1, keepdims=True) % 2 == 1
        out[:, 0] = np.where(odd, np.nextafter(out[:, 0], np.float32(9)), out[:, 0])
        return out, cache

    params, f = gradients.randomised(model, rng, np.float32), fast_operations(layernorm_forward=moves_a_bit)
    with autocast(chosen):
        check = causality.suffix_swap(model, params, f, rng, exact=True)
    assert re.match(r"blocks\.\d\.norm\d leaks", check.detail), check.detail
    assert causality.suffix_swap(model, params, f, rng).ok, "in float32 it counts as rounding"


@pytest.mark.parametrize("chosen", OF_DENSE)
def test_a_rounding_error_handed_on_to_the_next_token_is_a_leak(chosen, model):
    def diffuses(dout, cache, add_to=None, **through):
        lost = dout - one_step(dout, -1)
        dout = dout + np.pad(lost[:, :-1], ((0, 0), (1, 0), (0, 0)))
        return kernels.linear_backward(dout, cache, add_to, **through)

    f = fast_operations(linear_backward=only_at(chosen, diffuses, kernels.linear_backward))
    checks = [c for c in suite.model_checks(model, f, ["causality"]) if not c.ok]
    assert [c.name for c in checks] == [f"causality.backward.kernels.{chosen}"]
    assert checks[0].detail.startswith("blocks.0.attention.qkv leaks")


def rows_of(x):
    return x.reshape(-1, x.shape[-1])


def columns_up_to(rows):
    """A weight gradient that leaves out the chunks after the first."""
    def backward(dout, cache, add_to=None, **through):
        dinp, *_ = kernels.linear_backward(dout, cache, **through)
        early = dout.copy()
        rows_of(early)[rows:] = 0
        kernels.linear_backward(early, cache, add_to, **through)
        return dinp, *add_to
    return backward


def step_of_another_row(dout, cache, add_to=None, **through):
    dinp, *rest = kernels.linear_backward(dout, cache, add_to, **through)
    dinp[0, 1] *= np.abs(dout[0, 0]).max() / np.abs(dout[0, 1]).max()
    return dinp, *rest


def one_code_off(inp, weight, bias=None):
    inp = inp.copy()
    inp[-1, -1, 0] += np.abs(inp[-1, -1]).max() / LARGEST
    return kernels.linear_forward(inp, weight, bias)


def not_rounded(inp, weight, bias=None):
    with autocast("float32"):
        return kernels.linear_forward(inp, weight.array, bias)


def head_not_rounded(dlosses, cache, add_to=None):
    with autocast("float32"):
        return kernels.linear_cross_entropy_backward(dlosses, cache, add_to)


ROUNDED_MUTANTS = {
    "only the first 512 rows": ("linear_backward", columns_up_to(512), r"d\S+weight\["),
    "the step of the row before": ("linear_backward", step_of_another_row, "the gradient entering blocks.1.ffn.up"),
    "one code of one token": ("linear_forward", one_code_off, "the input of"),
    "not rounded": ("linear_forward", not_rounded, "the input of blocks.0.attention.proj"),
    "a head that goes back unrounded": ("linear_cross_entropy_backward", head_not_rounded, "the gradient leaving"),
}


@pytest.mark.parametrize("chosen", OF_DENSE)
@pytest.mark.parametrize("mutant", ROUNDED_MUTANTS)
def test_a_kernel_that_is_wrong_at_one_precision_is_found_there(mutant, chosen, model):
    name, wrong, says = ROUNDED_MUTANTS[mutant]
    f = fast_operations(**{name: only_at(chosen, wrong, getattr(kernels, name))})
    failed = [c for c in suite.model_checks(model, f, ["kernels"]) if not c.ok]
    assert [c.name for c in failed] == [f"kernels.model.{chosen}"]
    assert re.match(says, failed[0].detail), failed[0].detail


def without_scale(douts, caches, add_to=None):
    dinp, dweights = kernels.bitlinears_backward(douts, caches, add_to)
    return dinp / np.float32(caches[0].ternary.scale), dweights


def gradient_in_6_bits(dout, cache, add_to=None):
    step = np.abs(dout).max(-1, keepdims=True) / 31
    _, dweight = kernels.bitlinear_backward(dout, cache, add_to)
    return kernels.bitlinear_backward(np.rint(dout / step) * step, cache)[0], dweight


def dweight_without_steps(dout, cache, add_to=None):
    if cache.inp_scale is not None:
        cache = cache._replace(inp_scale=np.full_like(cache.inp_scale, cache.inp_scale.mean()))
    else:
        dout = one_step(dout) * np.float32(1.001)
    return kernels.bitlinear_backward(dout, cache, add_to)


def logits_of_floats(inp, weight, bias, targets):
    with autocast("float32"):
        return kernels.linear_cross_entropy_forward(inp, unpack(weight), bias, targets)


BOLT_ROUNDED_MUTANTS = {
    "logits that are not rounded": ("linear_cross_entropy_forward", logits_of_floats),
    "the scale of three maps": ("bitlinears_backward", without_scale),
    "6 bits instead of 8 or more": ("bitlinear_backward", gradient_in_6_bits),
    "the mean step for every token": ("bitlinear_backward", dweight_without_steps),
}


@pytest.mark.parametrize("chosen", LOWER)
@pytest.mark.parametrize("mutant", BOLT_ROUNDED_MUTANTS)
def test_a_ternary_kernel_that_is_wrong_at_one_precision_is_found_there(mutant, chosen, bolt):
    if chosen not in bolt.precisions:
        pytest.skip("of 8-bit activations alone")
    name, wrong = BOLT_ROUNDED_MUTANTS[mutant]
    f = fast_operations(**{name: only_at(chosen, wrong, getattr(kernels, name))})
    failed = [c.name for c in suite.model_checks(bolt, f, ["kernels"]) if not c.ok]
    assert failed == [f"kernels.model.{chosen}"]


def shifted_from_the_token_after(*inputs, good=kernels.norm_shift_forward):
    out, caches = good(*inputs)
    return np.roll(out, -1, 1), caches


def without_the_second_half(dout, cache, add_to, good=kernels.feed_forward_backward):
    dinp, dup, ddown = good(dout, cache, add_to=add_to)
    dup[len(dup) // 2:] = 0
    return dinp, dup, ddown


def of_all_that_is_hidden(*inputs, good=kernels.feed_forward_forward, **residual):
    out, cache = good(*inputs, **residual)
    return out, cache._replace(hidden=np.maximum(cache.hidden, 1))  # as if none of it had been below 0


def other_statistics(*inputs, operand=False, good=kernels.headnorm_forward):
    out, cache = good(*inputs, operand=operand)
    return out, cache._replace(rstd=cache.rstd * np.float32(1.001)) if operand else cache


@pytest.mark.parametrize(("name", "wrong", "bits"), [
    ("norm_shift_forward", shifted_from_the_token_after, 0), ("headnorm_forward", other_statistics, 8),
    ("feed_forward_backward", without_the_second_half, 8), ("feed_forward_forward", of_all_that_is_hidden, 8)])
def test_what_works_only_where_nobody_looks_is_tied_to_what_checks_see(name, wrong, bits, monkeypatch):
    model = models.build("thunderbolt", SMALL | {"activation_bits": bits})
    assert all(c.ok for c in suite.model_checks(model, kernels, ["kernels"]))
    monkeypatch.setattr(kernels, name, wrong)
    failed = {c.name for c in suite.model_checks(model, kernels, ["kernels"]) if not c.ok}
    assert failed == {"kernels.observed", *(f"kernels.observed.{precision}" for precision in model.precisions[1:])}


@pytest.mark.parametrize("chosen", PRECISIONS)
@pytest.mark.parametrize("seed", range(8))
def test_kernels_agree_with_definitions_whatever_the_weights(chosen, seed, model, bolt):
    """Numbers beside the middle between two codes must not fail it, and they are there among so many seeds."""
    for subject in (model, bolt):
        with autocast(chosen):
            check = followed.check(subject, kernels, np.random.default_rng(seed))
        assert check.ok, check.detail


@pytest.mark.parametrize("chosen", PRECISIONS)
@pytest.mark.parametrize("axis", [0, 1])
def test_what_rounding_may_change_is_bounded_and_no_more(chosen, axis, rng):
    x = rng.standard_normal((600, 40))
    off = 1e-6 * np.abs(x) + 1e-7
    with autocast(chosen):
        bound, kept = parity.rounding_error(x, off, axis), rounded(x, axis)
        changed = np.zeros_like(x)
        for _ in range(30):
            other = x + off * rng.choice([-1.0, 1.0], x.shape)
            changed = np.maximum(changed, np.abs(rounded(other, axis) - kept))
    assert (changed <= bound + 1e-12).all()
    if chosen != "float32":
        assert (changed > 1e-4).any(), "some are decided by the last bit"
        assert (bound > 1e-4).mean() < 0.02, "and few are given a whole step"


@pytest.mark.parametrize("chosen", OF_DENSE)
def test_threads_at_one_precision(chosen, model):
    import numba

    def depends(dout, cache, add_to=None, **through):
        found = kernels.linear_backward(dout, cache, add_to, **through)
        found[1][0, 0] += np.float32(1e-6) * numba.get_num_threads() * np.abs(found[1]).max()
        return found

    f = fast_operations(linear_backward=only_at(chosen, depends, kernels.linear_backward))
    failed = [c.name for c in suite.model_checks(model, f, ["threads"]) if not c.ok]
    assert failed == [f"threads.model.{chosen}"]


# ------------------------------------------------------------------------------------------ units
class Characters:
    """A tokenizer of characters; `wrong` is added to the bytes of each non-ASCII one."""

    def __init__(self, texts, wrong=0):
        self.alphabet = sorted(set("".join(texts)))
        self.token_chars = np.ones(len(self.alphabet), int)
        self.token_bytes = np.array([len(c.encode()) + wrong * (not c.isascii()) for c in self.alphabet])

    def encode(self, text):
        return np.array([self.alphabet.index(c) for c in text])


def test_bytes_are_counted_and_a_wrong_count_is_found():
    texts = unitcheck.TEXTS
    assert unitcheck.bytes_counted(Characters(texts), texts).ok
    check = unitcheck.bytes_counted(Characters(texts, wrong=-1), texts)
    assert not check.ok
    assert "bytes" in check.detail
    assert not unitcheck.bytes_counted(Characters(texts), []).ok, "no text is no success"


def test_a_loss_in_other_units_is_found(model, rng):
    assert unitcheck.uniform(model, ops, rng).ok

    def in_bits(inp, weight, bias, targets):
        losses, cache = ops.linear_cross_entropy_forward(inp, weight, bias, targets)
        return losses / np.log(2), cache

    check = unitcheck.uniform(model, operations(linear_cross_entropy_forward=in_bits), rng)
    assert not check.ok
    assert "nats per token" in check.detail


@pytest.mark.parametrize(("name", "wrong"), [
    ("bits_per_byte", property(lambda self: self.nats / self.bytes)),
    ("bits_per_char", property(lambda self: self.nats / self.bytes / np.log(2))),
    ("nats_per_token", property(lambda self: self.nats / self.chars)),
    ("__add__", lambda self, other: Loss(self.nats + other.nats, self.tokens + other.tokens, self.bytes,
                                         self.chars + other.chars, self.tokenizer)),
    ("to_json", lambda self: {"nats": self.nats, "tokens": self.tokens, "bytes": self.chars, "chars": self.chars,
                              "tokenizer": self.tokenizer}),
])
def test_a_wrong_unit_is_found(monkeypatch, name, wrong, rng):
    assert unitcheck.invariants(rng).ok
    monkeypatch.setattr(Loss, name, wrong)
    assert not unitcheck.invariants(rng).ok


def test_trained_weights_are_checked_forward_only(model, rng):
    params = Parameters(model.parameters())
    params.initialise(0)
    checks = list(suite.weight_checks(model, params, char_tokenizer("abé日🙂\n", True), kernels))
    assert [c.name for c in checks] == ["weights.causality", "weights.uniform", "weights.streaming",
                                        "weights.bytes"]
    assert all(c.ok for c in checks)
