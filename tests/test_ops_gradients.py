"""Every backward pass is the derivative of its forward pass.   pytest -m gradient

Central differences in float64 with a random upstream gradient, over drawn shapes and seeds; then, for
every operation, wrong backward passes of the kind people write, each of which must be rejected.
"""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm import ops
from tinylm.audit import gradients
from tinylm.errors import CheckFailed
from tinylm.ops.random import dropout_key, dropout_mask

pytestmark = pytest.mark.gradient

SEED = st.integers(0, 2 ** 32 - 1)
SIZE = st.integers(1, 5)
RATE = st.sampled_from([0.1, 0.5, 0.8])
KEY = dropout_key(11, 3).at(2)


# Per operation: sizes to draw, and the inputs and options they make.
def _linear(rng, N, K, M, bias):
    return {"inp": rng.standard_normal((N, K)), "weight": rng.standard_normal((M, K)),
            "bias": rng.standard_normal(M) if bias else None}, {}


def _layernorm(rng, B, T, C, bias):
    # A spread of at least 1: where a row's variance is near eps the curve is too sharp to difference.
    inp = rng.standard_normal((B, T, C)) + 2 * np.arange(C)
    return {"inp": rng.permuted(inp, axis=-1), "weight": rng.standard_normal(C),
            "bias": rng.standard_normal(C) if bias else None}, {}


def _elements(rng, B, T, C):
    return {"inp": 2 * rng.standard_normal((B, T, C))}, {}


def _embedding(rng, B, T, V, C, start, positions=True):
    return {"tokens": rng.integers(0, V, (B, T)), "token_weight": rng.standard_normal((V, C)),
            "position_weight": rng.standard_normal((start + T + 1, C)) if positions else None}, {"start": start}


def _attention(rng, B, T, H, D, rate, scale=None, window=0):
    return ({"inp": rng.standard_normal((B, T, 3 * H * D))},
            {"heads": H, "rate": rate, "key": KEY if rate else None, "scale": scale, "window": window})


def _rmsnorm(rng, B, T, C):
    inputs, _ = _layernorm(rng, B, T, C, False)
    return {"inp": inputs["inp"] + 1, "weight": inputs["weight"]}, {}


def _glu(rng, B, T, C):
    return {"gate": 2 * rng.standard_normal((B, T, C)), "value": rng.standard_normal((B, T, C))}, {}


def _gated_conv(rng, B, T, C, taps, before):
    return ({"inp": rng.standard_normal((B, T, 2 * C)), "weight": rng.standard_normal((taps, C))},
            {"before": rng.standard_normal((B, taps - 1, C)) if before else None})


def _rope(rng, B, T, H, pairs, start):
    return {"inp": rng.standard_normal((B, T, 6 * H * pairs))}, {"heads": H, "start": start}


def _dropout(rng, B, T, C, rate):
    return {"inp": rng.standard_normal((B, T, C))}, {"rate": rate, "key": KEY}


def _residual(rng, B, T, C, rate):
    return ({"inp": rng.standard_normal((B, T, C)), "branch": rng.standard_normal((B, T, C))},
            {"rate": rate, "key": KEY if rate else None})


def _cross_entropy(rng, N, V):
    return {"logits": 2 * rng.standard_normal((N, V)), "targets": rng.integers(0, V, N)}, {}


def _bitlinear(rng, N, K, M, bits, weights, tokens):
    weight = np.zeros((M, K)) if weights == "zero" else rng.standard_normal((M, K))
    inp = np.zeros((N, K)) if tokens == "all zero" else 2 * rng.standard_normal((N, K))
    inp[-1:] *= tokens != "the last zero"
    return {"inp": inp, "weight": weight}, {"activation_bits": bits}


def _recurrence(rng, B, T, C, state, lower, gates):
    inputs = {n: 2 * rng.standard_normal((B, T, C)) for n in ("forget", "value", "output")}
    return (inputs | {"bias": rng.standard_normal(C) + gates},
            {"state": rng.standard_normal((B, C)) if state else None, "lower": lower})


def _token_shift(rng, B, T, C, before):
    return ({"inp": rng.standard_normal((B, T, C)), "mix": rng.standard_normal(C)},
            {"before": rng.standard_normal((B, C)) if before else None})


def _norm_shift(rng, B, T, C, bias, before):
    inputs, _ = _layernorm(rng, B, T, C, bias)
    return inputs | {"mix": rng.standard_normal(C)}, {"before": rng.standard_normal((B, C)) if before else None}


def _headnorm(rng, B, T, H, D):
    inputs, _ = _layernorm(rng, B, T * H, D, False)
    return {"inp": inputs["inp"].reshape(B, T, H * D), "heads": np.array(H), "weight": rng.standard_normal(H * D),
            "bias": rng.standard_normal(H * D)}, {}


def _linear_cross_entropy(rng, N, C, V, bias):
    return {"inp": rng.standard_normal((N, C)), "weight": rng.standard_normal((V, C)),
            "bias": rng.standard_normal(V) if bias else None, "targets": rng.integers(0, V, N)}, {}


THREE = {"B": SIZE, "T": SIZE, "C": SIZE}
OPERATIONS = {
    "linear": (_linear, {"N": SIZE, "K": SIZE, "M": SIZE, "bias": st.booleans()}),
    "layernorm": (_layernorm, THREE | {"C": st.integers(2, 6), "bias": st.booleans()}),
    "relu": (_elements, THREE),
    "squared_relu": (_elements, THREE),
    "gelu": (_elements, THREE),
    "embedding": (_embedding, THREE | {"V": SIZE, "start": st.integers(0, 2), "positions": st.booleans()}),
    "bitlinear": (_bitlinear, {"N": SIZE, "K": SIZE, "M": SIZE, "bits": st.sampled_from([0, 8]),
                               "weights": st.sampled_from(["normal", "zero"]),
                               "tokens": st.sampled_from(["normal", "the last zero", "all zero"])}),
    "recurrence": (_recurrence, {"B": st.integers(1, 2), "T": st.integers(1, 9) | st.sampled_from([63, 64, 65]),
                                 "C": SIZE, "state": st.booleans(), "lower": st.sampled_from([0.0, 0.45, 0.9]),
                                 "gates": st.sampled_from([0.0, -60.0, 60.0])}),
    "token_shift": (_token_shift, THREE | {"before": st.booleans()}),
    "norm_shift": (_norm_shift, {"B": SIZE, "T": SIZE, "C": st.integers(2, 5), "bias": st.booleans(),
                                 "before": st.booleans()}),
    "headnorm": (_headnorm, {"B": SIZE, "T": SIZE, "H": st.integers(1, 3), "D": st.integers(2, 5)}),
    "attention": (_attention, {"B": st.integers(1, 2), "T": SIZE, "H": st.integers(1, 3), "D": st.integers(1, 3),
                               "rate": st.sampled_from([0.0, 0.2, 0.5]), "scale": st.sampled_from([None, 1.0]),
                               "window": st.integers(0, 6)}),
    "rmsnorm": (_rmsnorm, THREE),
    "swiglu": (_glu, THREE),
    "geglu": (_glu, THREE),
    "gated_conv": (_gated_conv, THREE | {"T": st.integers(1, 9), "taps": st.sampled_from([1, 2, 3, 8]),
                                         "before": st.booleans()}),
    "rope": (_rope, {"B": st.integers(1, 2), "T": SIZE, "H": st.integers(1, 2), "pairs": st.integers(1, 3),
                     "start": st.sampled_from([0, 1, 300])}),
    "dropout": (_dropout, THREE | {"rate": RATE}),
    "residual": (_residual, THREE | {"rate": st.just(0.0) | RATE}),
    "cross_entropy": (_cross_entropy, {"N": SIZE, "V": SIZE}),
    "linear_cross_entropy": (_linear_cross_entropy, {"N": SIZE, "C": SIZE, "V": SIZE, "bias": st.booleans()}),
}


THROUGH_ROUNDINGS = {"bitlinear"}


def pair(name):
    forward = gradients.bitlinear if name in THROUGH_ROUNDINGS else getattr(ops, name + "_forward")
    return forward, getattr(ops, name + "_backward")


def check(name, backward, inputs, rng, options):
    return gradients.operation(pair(name)[0], backward, inputs, rng, options=options,
                               through_roundings=name in THROUGH_ROUNDINGS)


def test_every_operation_with_a_backward_pass_is_here():
    made_of_others = {"bitlinears", "feed_forward"}
    assert {*OPERATIONS, *made_of_others} == {n.removesuffix("_backward") for n in ops.__all__
                                              if n.endswith("_backward")}


@pytest.mark.parametrize("name", OPERATIONS)
@given(data=st.data(), seed=SEED)
def test_gradients(name, data, seed):
    make, sizes = OPERATIONS[name]
    drawn = {k: data.draw(s, label=k) for k, s in sizes.items()}
    rng = np.random.default_rng(seed)
    inputs, options = make(rng, **drawn)
    check(name, pair(name)[1], inputs, rng, options).require()


def _two_maps(backward=ops.linear_backward):
    """down(relu(up inp)), and back through the ReLU where the product for the gradient of its output is made."""
    def forward(inp, up, up_bias, down):
        hidden, first = ops.linear_relu(inp, up, up_bias)
        out, second = ops.linear_forward(hidden, down)
        return out, (first, second)

    def back(dout, cache):
        first, second = cache
        dlinear, ddown, _ = backward(dout, second, positive=first.positive)
        return (*ops.linear_backward(dlinear, first.linear), ddown)
    return forward, back


def _whole_numbers(rng, N=3, K=4, M=5):
    """And halves for the bias, so that no sum is near 0, where the curve has a corner."""
    inp, up, down = (rng.integers(-3, 4, shape).astype(np.float64) for shape in ((N, K), (M, K), (2, M)))
    return {"inp": inp, "up": up, "up_bias": rng.integers(-3, 3, M) + 0.5, "down": down}


@given(SIZE, SIZE, SIZE, SEED)
def test_a_relu_between_two_maps(N, K, M, seed):
    rng = np.random.default_rng(seed)
    gradients.operation(*_two_maps(), _whole_numbers(rng, N, K, M), rng).require()


@pytest.mark.parametrize("wrong", [
    lambda dout, cache, positive: ops.linear_backward(dout, cache),
    lambda dout, cache, positive: ops.linear_backward(dout, cache, positive=positive[::-1]),
    lambda dout, cache, positive: ops.linear_backward(dout, cache, positive=positive + 1),
])
def test_a_relu_between_two_maps_that_goes_back_wrongly(wrong):
    rng = np.random.default_rng(0)
    assert not gradients.operation(*_two_maps(wrong), _whole_numbers(rng), rng).ok


@pytest.mark.parametrize("name", ["linear", "layernorm", "embedding", "linear_cross_entropy", "headnorm", "bitlinear",
                                  "recurrence", "token_shift", "norm_shift", "rmsnorm", "gated_conv"])
@given(data=st.data(), seed=SEED)
def test_add_to_adds_to_what_is_there(name, data, seed):
    make, sizes = OPERATIONS[name]
    rng = np.random.default_rng(seed)
    inputs, options = make(rng, **{k: data.draw(s, label=k) for k, s in sizes.items()})
    forward, backward = pair(name)
    out, cache = (forward(ops) if name in THROUGH_ROUNDINGS else forward)(*inputs.values(), **options)
    one = "bitlinear", "recurrence", "token_shift", "rmsnorm", "gated_conv"
    dout, n = rng.standard_normal(out.shape), 1 if name in one else 3 if name == "norm_shift" else 2
    plain = backward(dout, cache)[-n:]
    before = [None if g is None else rng.standard_normal(g.shape) for g in plain]
    into = tuple(None if g is None else g.copy() for g in before)
    returned = backward(dout, cache, add_to=into)[-n:]
    for given_, got, start, alone in zip(into, returned, before, plain):
        assert got is given_
        if got is not None:
            np.testing.assert_allclose(got, start + alone, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------------------ mutants
# A shape at which every wrong answer below differs from the right one, and the wrong answers by name.
def first(change):
    """Changes the first gradient and leaves the others."""
    def make(good):
        return lambda dout, cache: (change(dout, cache, good(dout, cache)[0]), *good(dout, cache)[1:])
    return make


def second(change):
    def make(good):
        def wrong(dout, cache):
            one, two, *rest = good(dout, cache)
            return one, change(dout, cache, two), *rest
        return wrong
    return make


def third(change):
    def make(good):
        return lambda d, c: (*good(d, c)[:2], change(d, c, good(d, c)[2]), *good(d, c)[3:])
    return make


def fourth(change):
    return lambda good: lambda d, c: (*good(d, c)[:3], change(d, c, good(d, c)[3]))


def whole(wrong):
    return lambda good: wrong


def nan_at_the_end(d, c, g):
    g = g.copy()
    g.flat[-1] = np.nan
    return g


def last_step_lost(d, c, g):
    g = g.copy()
    g[:, -1] = 0
    return g


def _softmax_sum_over_queries(good):
    def wrong(dout, cache):
        # the sum of the softmax's backward pass taken over axis -2, the queries
        inp, heads, prob, rate, key, _ = cache
        query, keys, value = ops.attention._split(inp, heads)
        B, T = inp.shape[:2]
        d = dout.reshape(B, T, heads, -1).transpose(0, 2, 1, 3)
        dprob = d @ value.swapaxes(-1, -2) * ops.attention._mask(prob, rate, key)
        dscore = prob * (dprob - (dprob * prob).sum(-2, keepdims=True)) / np.sqrt(query.shape[-1])
        dqkv = good(dout, cache)[0].copy()
        C = inp.shape[2] // 3
        dqkv[..., :C] = ops.attention._join(dscore @ keys)
        return (dqkv,)
    return wrong


def _parts(change):
    """Changes the query, key and value parts of attention's gradient."""
    return first(lambda d, c, g: np.concatenate(change(*np.split(g, 3, -1)), -1))


def _row_of_targets_forgotten(d, c):
    return (c.prob * d[:, None],)


COMMON = {
    "zero": first(lambda d, c, g: np.zeros_like(g)),
    "sign": first(lambda d, c, g: -g),
    "twice": first(lambda d, c, g: 2 * g),
    "a part in a thousand too large": first(lambda d, c, g: 1.001 * g),
    "NaN in the last element": first(nan_at_the_end),
    "upstream ignored": lambda good: lambda d, c: good(np.ones_like(d), c),
    "upstream reversed": lambda good: lambda d, c: good(d[::-1], c),
}
MUTANTS = {
    "linear": ({"N": 3, "K": 4, "M": 4, "bias": True}, {
        "weight transposed": first(lambda d, c, g: d @ c.weight.T),
        "dweight transposed": second(lambda d, c, g: g.T),
        "dweight a mean over rows": second(lambda d, c, g: g / len(d)),
        "dweight from the first row only": second(lambda d, c, g: np.outer(d[0], c.inp[0])),
        "dweight without the last row": second(lambda d, c, g: d[:-1].T @ c.inp[:-1]),
        "dbias a mean": third(lambda d, c, g: d.mean(0)),
        "dbias over the wrong axis": third(lambda d, c, g: np.resize(d.sum(1), g.shape)),
        "dbias missing": third(lambda d, c, g: None),
    }),
    "layernorm": ({"B": 2, "T": 3, "C": 4, "bias": True}, {
        "mean taken as constant": first(lambda d, c, g: c.rstd * (
            d * c.weight - (c.inp - c.mean) * c.rstd
            * (d * c.weight * (c.inp - c.mean) * c.rstd).mean(-1, keepdims=True))),
        "variance taken as constant": first(lambda d, c, g: c.rstd * (
            d * c.weight - (d * c.weight).mean(-1, keepdims=True))),
        "both taken as constant": first(lambda d, c, g: c.rstd * d * c.weight),
        "rstd forgotten": first(lambda d, c, g: g / c.rstd),
        "rstd squared": first(lambda d, c, g: g * c.rstd),
        "weight forgotten": lambda good: lambda d, c: good(d, c._replace(weight=np.ones_like(c.weight))),
        "means over time": first(lambda d, c, g: c.rstd * (d * c.weight - (d * c.weight).mean(1, keepdims=True))),
        "dweight not normalised": second(lambda d, c, g: (d * c.inp).sum((0, 1))),
        "dweight averaged over the batch": second(lambda d, c, g: g / len(d)),
        "dweight of the last step only": second(lambda d, c, g: (d * (c.inp - c.mean) * c.rstd)[:, -1].sum(0)),
        "dbias is dweight": third(lambda d, c, g: (d * (c.inp - c.mean) * c.rstd).sum((0, 1))),
    }),
    "relu": ({"B": 2, "T": 3, "C": 4}, {
        "mask forgotten": first(lambda d, c, g: d),
        "mask reversed": first(lambda d, c, g: d * (c <= 0)),
        "slope is the value": first(lambda d, c, g: d * c),
        "leaky": first(lambda d, c, g: np.where(c > 0, d, 0.01 * d)),
    }),
    "gelu": ({"B": 2, "T": 3, "C": 4}, {
        "product rule forgotten": first(lambda d, c, g: d * 0.5 * (1 + np.tanh(
            0.7978845608 * (c + 0.044715 * c ** 3)))),
        "cubic term forgotten": first(lambda d, c, g: d * (
            0.5 * (1 + np.tanh(0.7978845608 * (c + 0.044715 * c ** 3)))
            + 0.5 * c * 0.7978845608 * (1 - np.tanh(0.7978845608 * (c + 0.044715 * c ** 3)) ** 2))),
        "cubic slope without its 3": first(lambda d, c, g: d * (
            0.5 * (1 + np.tanh(0.7978845608 * (c + 0.044715 * c ** 3)))
            + 0.5 * c * 0.7978845608 * (1 + 0.044715 * c ** 2)
            * (1 - np.tanh(0.7978845608 * (c + 0.044715 * c ** 3)) ** 2))),
        "that of relu": first(lambda d, c, g: d * (c > 0)),
    }),
    "embedding": ({"B": 3, "T": 4, "V": 3, "C": 2, "start": 2}, {
        "a repeated token counts once": whole(lambda d, c: (
            _assigned(c.token_weight, c.tokens, d), ops.embedding_backward(d, c)[1])),
        "positions from 0": second(lambda d, c, g: np.roll(g, -2, 0)),
        "positions a mean over the batch": second(lambda d, c, g: g / len(d)),
        "positions of the first text only": second(lambda d, c, g: _placed(g, c.start, d[0])),
        "last position lost": second(lambda d, c, g: np.concatenate([g[:5], 0 * g[5:]])),
    }),
    "squared_relu": ({"B": 2, "T": 3, "C": 4}, {
        "mask forgotten": first(lambda d, c, g: 2 * d * c),
        "the 2 forgotten": first(lambda d, c, g: g / 2),
        "that of relu": first(lambda d, c, g: d * (c > 0)),
        "slope is the output": first(lambda d, c, g: d * np.maximum(c, 0) ** 2),
    }),
    "bitlinear": ({"N": 3, "K": 4, "M": 4, "bits": 8, "weights": "normal", "tokens": "normal"}, {
        "weight's scale forgotten": first(lambda d, c, g: g / c.ternary.scale),
        "weight's scale in dweight": second(lambda d, c, g: g * c.ternary.scale),
        "activation scale forgotten": second(lambda d, c, g: g / 100),
        "activation scale of the first token": second(lambda d, c, g: d.T @ (c.inp * c.inp_scale[0])),
        "codes transposed": first(lambda d, c, g: d @ c.ternary.codes.T * c.ternary.scale),
        "dweight transposed": second(lambda d, c, g: g.T),
        "dweight stopped where the code is 0": second(lambda d, c, g: g * (c.ternary.codes != 0)),
        "dweight a mean over rows": second(lambda d, c, g: g / len(d)),
        "dweight without the last row": second(lambda d, c, g: d[:-1].T @ (c.inp * c.inp_scale)[:-1]),
        "dinp stopped where activations round to the top": first(lambda d, c, g: g * (np.abs(c.inp) < 127)),
        "dinp scaled as its input": first(lambda d, c, g: g * c.inp_scale),
        "derivative of rounding": first(lambda d, c, g: g * (np.abs(c.inp) < 0.5)),
    }),
    "recurrence": ({"B": 2, "T": 5, "C": 3, "state": True, "lower": 0.45, "gates": 0.0}, {
        "nothing flows back in time": whole(lambda d, c: _recurrence_by_hand(d, c, carry=0.0)),
        "the gate of this step carries to the step before, not this": whole(
            lambda d, c: _recurrence_by_hand(d, c, shift=1)),
        "lower bound forgotten in dforget": first(lambda d, c, g: g / (1 - c.lower)),
        "lower bound twice in dforget": first(lambda d, c, g: g * (1 - c.lower)),
        "lower bound forgotten in the gate": lambda good: lambda d, c: good(d, c._replace(lower=0.0)),
        "state ignored": lambda good: lambda d, c: good(d, c._replace(state=0 * c.state)),
        "bias ignored": lambda good: lambda d, c: good(d, c._replace(bias=0 * c.bias)),
        "value forgotten in dforget": lambda good: lambda d, c: (good(d, c._replace(value=0 * c.value))[0],
                                                                 *good(d, c)[1:]),
        "h of this step for that before": lambda good: lambda d, c: good(d, c._replace(
            hidden=np.concatenate([c.hidden[:, 1:], c.hidden[:, -1:]], 1), state=c.hidden[:, 0])),
        "dvalue without 1 - gate": second(lambda d, c, g: g / (1 - _gate(c))),
        "dvalue times the gate": second(lambda d, c, g: g / (1 - _gate(c)) * _gate(c)),
        "doutput without its slope": third(lambda d, c, g: d * c.hidden),
        "doutput with all of later": third(lambda d, c, g: np.flip(np.cumsum(np.flip(g, 1), 1), 1)),
        "output gate forgotten": lambda good: lambda d, c: (*good(d, c._replace(output=0 * c.output + 40))[:2],
                                                            *good(d, c)[2:]),
        "not reversed": lambda good: lambda d, c: good(d[:, ::-1], c),
        "first step lost": first(lambda d, c, g: np.concatenate([0 * g[:, :1], g[:, 1:]], 1)),
        "dbias of the first text": fourth(lambda d, c, g: ops.recurrence_backward(d, c)[0][0].sum(0)),
        "dbias of the last step": fourth(lambda d, c, g: ops.recurrence_backward(d, c)[0][:, -1].sum(0)),
        "dbias a mean over time": fourth(lambda d, c, g: g / d.shape[1]),
        "dbias missing": fourth(lambda d, c, g: None),
    }),
    "norm_shift": ({"B": 2, "T": 4, "C": 3, "bias": True, "before": True}, {
        "the shift of what enters the norm": fourth(lambda d, c, g: ops.token_shift_backward(
            d, ops.token_shift.TokenShiftCache(c.norm.inp, c.mix, c.before))[1]),
        "without the bias": fourth(lambda d, c, g: ops.norm_shift_backward(
            d, c._replace(norm=c.norm._replace(bias=0 * c.norm.bias)))[3]),
        "the shift left out": lambda good: lambda d, c: (*ops.layernorm_backward(d, c.norm), good(d, c)[3]),
        "what came before ignored": lambda good: lambda d, c: good(d, c._replace(before=0 * c.before)),
    }),
    "token_shift": ({"B": 2, "T": 4, "C": 3, "before": True}, {
        "shift not reversed": first(lambda d, c, g: d * _share(c) + ops.token_shift._shifted(
            d, 0 * d[:, 0]) * (1 - _share(c))),
        "nothing from the token after": first(lambda d, c, g: d * _share(c)),
        "all from the token after": first(lambda d, c, g: g + np.pad(d[:, 1:], ((0, 0), (0, 1), (0, 0))) * _share(c)),
        "wrapped around": first(lambda d, c, g: d * _share(c) + np.roll(d, -1, 1) * (1 - _share(c))),
        "shares exchanged": first(lambda d, c, g: d * (1 - _share(c)) + np.pad(
            d[:, 1:], ((0, 0), (0, 1), (0, 0))) * _share(c)),
        "dmix without its slope": second(lambda d, c, g: g / (_share(c) * (1 - _share(c)))),
        "dmix without the token before": second(lambda d, c, g: (d * c.inp).sum((0, 1)) * _share(c) * (1 - _share(c))),
        "what came before ignored": lambda good: lambda d, c: good(d, c._replace(before=0 * c.before)),
        "dmix of the first text": second(lambda d, c, g: (d * (c.inp - ops.token_shift._shifted(c.inp, c.before)))[0]
                                         .sum(0) * _share(c) * (1 - _share(c))),
    }),
    "headnorm": ({"B": 2, "T": 3, "H": 2, "D": 4}, {
        "statistics of all heads together": first(lambda d, c, g: ops.layernorm_backward(
            d, ops.layernorm_forward(c.inp, c.weight)[1])[0]),
        "mean taken as constant": first(lambda d, c, g: _headwise(d, c, mean=0)),
        "variance taken as constant": first(lambda d, c, g: _headwise(d, c, share=0)),
        "weight forgotten": lambda good: lambda d, c: good(d, c._replace(weight=np.ones_like(c.weight))),
        "rstd of the first head": lambda good: lambda d, c: good(d, c._replace(rstd=0 * c.rstd + c.rstd[:, :, :1])),
        "dweight not normalised": second(lambda d, c, g: (d * c.inp).sum((0, 1))),
        "dweight summed over heads": second(lambda d, c, g: np.tile(g.reshape(2, 4).sum(0), 2)),
        "dweight averaged over the batch": second(lambda d, c, g: g / len(d)),
        "dbias is dweight": third(lambda d, c, g: ops.headnorm_backward(d, c)[1]),
        "dbias summed over heads": third(lambda d, c, g: np.tile(g.reshape(2, 4).sum(0), 2)),
    }),
    "attention": ({"B": 2, "T": 4, "H": 2, "D": 3, "rate": 0.5}, {
        "no 1/sqrt(D)": _parts(lambda q, k, v: (q * np.sqrt(3), k * np.sqrt(3), v)),
        "1/sqrt(D) once too often": _parts(lambda q, k, v: (q / np.sqrt(3), k / np.sqrt(3), v)),
        "query and key exchanged": _parts(lambda q, k, v: (k, q, v)),
        "value and key exchanged": _parts(lambda q, k, v: (q, v, k)),
        "key forgotten": _parts(lambda q, k, v: (q, 0 * k, v)),
        "value only": _parts(lambda q, k, v: (0 * q, 0 * k, v)),
        "heads exchanged": first(lambda d, c, g: g.reshape(2, 4, 3, 2, 3)[:, :, :, ::-1].reshape(g.shape)),
        "dropout not applied going back": lambda good: lambda d, c: good(d, c._replace(key=None)),
        "softmax summed over queries": _softmax_sum_over_queries,
        "last time step lost": first(last_step_lost),
        "another scale": lambda good: lambda d, c: good(d, c._replace(scale=1.0)),
        "batch averaged": first(lambda d, c, g: g.mean(0, keepdims=True) + 0 * g),
    }),
    "rmsnorm": ({"B": 2, "T": 3, "C": 4}, {
        "root mean square taken as constant": first(lambda d, c, g: c.rrms * d * c.weight),
        "mean over channels a sum": first(lambda d, c, g: c.rrms * (d * c.weight - c.inp * c.rrms * (
            d * c.weight * c.inp * c.rrms).sum(-1, keepdims=True))),
        "share not along the norm": first(lambda d, c, g: c.rrms * (d * c.weight - (
            d * c.weight * c.inp * c.rrms).mean(-1, keepdims=True))),
        "weight forgotten in the share": first(lambda d, c, g: c.rrms * (d * c.weight - c.inp * c.rrms * (
            d * c.inp * c.rrms).mean(-1, keepdims=True))),
        "that of LayerNorm": first(lambda d, c, g: ops.layernorm_backward(
            d, ops.layernorm_forward(c.inp, c.weight)[1])[0]),
        "rrms forgotten": first(lambda d, c, g: g / c.rrms),
        "mean over time": first(lambda d, c, g: c.rrms * (d * c.weight - c.inp * c.rrms * (
            d * c.weight * c.inp * c.rrms).mean(1, keepdims=True))),
        "dweight not normalised": second(lambda d, c, g: (d * c.inp).sum((0, 1))),
        "dweight averaged over the batch": second(lambda d, c, g: g / len(d)),
        "dweight of the last step only": second(lambda d, c, g: (d * c.inp * c.rrms)[:, -1].sum(0)),
    }),
    "swiglu": ({"B": 2, "T": 3, "C": 4}, {
        "halves exchanged": lambda good: lambda d, c: good(d, c)[::-1],
        "inputs exchanged": lambda good: lambda d, c: good(d, type(c)(c.value, c.gate)),
        "the gate taken as sigmoid": first(lambda d, c, g: d * c.value * _sigmoid(c.gate) * _sigmoid(-c.gate)),
        "slope without its product": first(lambda d, c, g: d * c.value * _sigmoid(c.gate)),
        "value forgotten in dgate": first(lambda d, c, g: g / c.value),
        "gate forgotten in dvalue": second(lambda d, c, g: d),
        "dvalue gated by the sigmoid": second(lambda d, c, g: d * _sigmoid(c.gate)),
    }),
    "geglu": ({"B": 2, "T": 3, "C": 4}, {
        "halves exchanged": lambda good: lambda d, c: good(d, c)[::-1],
        "inputs exchanged": lambda good: lambda d, c: good(d, type(c)(c.value, c.gate)),
        "that of swiglu": lambda good: ops.swiglu_backward,
        "value forgotten in dgate": first(lambda d, c, g: g / c.value),
        "slope not multiplied": first(lambda d, c, g: d * c.value),
        "gate forgotten in dvalue": second(lambda d, c, g: d),
        "dvalue by the gate before its gelu": second(lambda d, c, g: d * c.gate),
    }),
    "gated_conv": ({"B": 2, "T": 6, "C": 3, "taps": 3, "before": True}, {
        "halves exchanged": first(lambda d, c, g: np.concatenate([g[..., 3:], g[..., :3]], -1)),
        "filter reversed": lambda good: lambda d, c: (good(d, c._replace(weight=c.weight[::-1]))[0], good(d, c)[1]),
        "filter not turned round going back": first(lambda d, c, g: np.concatenate([
            g[..., :3], ops.gated_conv.causal_conv(d * _sigmoid(c.inp[..., :3]), c.weight, 0 * c.before)], -1)),
        "one place late": first(lambda d, c, g: np.concatenate([
            g[..., :3], np.pad(g[:, 1:, 3:], ((0, 0), (0, 1), (0, 0)))], -1)),
        "only the token itself": first(lambda d, c, g: np.concatenate([
            g[..., :3], d * _sigmoid(c.inp[..., :3]) * c.weight[-1]], -1)),
        "gate without its slope": first(lambda d, c, g: np.concatenate([d * c.mixed, g[..., 3:]], -1)),
        "gate forgotten in dvalue": first(lambda d, c, g: np.concatenate([g[..., :3], ops.gated_conv_backward(
            d / _sigmoid(c.inp[..., :3]), c)[0][..., 3:]], -1)),
        "what came before ignored in dweight": lambda good: lambda d, c: good(d, c._replace(before=0 * c.before)),
        "dweight reversed": second(lambda d, c, g: g[::-1]),
        "dweight shifted by one": second(lambda d, c, g: np.roll(g, 1, 0)),
        "dweight of the first text": second(lambda d, c, g: ops.gated_conv_backward(
            d[:1], type(c)(c.inp[:1], c.weight, c.before[:1], c.mixed[:1]))[1]),
        "dweight summed over channels": second(lambda d, c, g: g.sum(1, keepdims=True) + 0 * g),
        "dweight a mean over time": second(lambda d, c, g: g / d.shape[1]),
    }),
    "rope": ({"B": 2, "T": 4, "H": 2, "pairs": 2, "start": 1}, {
        "turned on instead of back": whole(lambda d, c: (ops.rope_forward(d, *c)[0],)),
        "not turned": whole(lambda d, c: (d,)),
        "neighbours as pairs": whole(lambda d, c: (_halves_from_neighbours(ops.rope_backward(
            _neighbours_from_halves(d), c)[0]),)),
        "from position 0": lambda good: lambda d, c: good(d, c._replace(start=0)),
        "another base": lambda good: lambda d, c: good(d, c._replace(base=5000.0)),
        "values turned too": first(lambda d, c, g: np.concatenate([g[..., :16], ops.rope_backward(
            np.roll(d, 16, -1), c)[0][..., :8]], -1)),
        "keys not turned": first(lambda d, c, g: np.concatenate([g[..., :8], d[..., 8:16], g[..., 16:]], -1)),
        "heads of another size": lambda good: lambda d, c: good(d, c._replace(heads=1)),
    }),
    "dropout": ({"B": 2, "T": 3, "C": 8, "rate": 0.5}, {
        "mask not applied": whole(lambda d, c: (d,)),
        "not scaled": first(lambda d, c, g: g / 2),
        "another mask": whole(lambda d, c: (d * dropout_mask(d.shape, c[0], c[1].at(9)),)),
        "the mask of the other elements": whole(lambda d, c: (2 * d - d * dropout_mask(d.shape, *c),)),
    }),
    "residual": ({"B": 2, "T": 3, "C": 8, "rate": 0.5}, {
        "branch without dropout": second(lambda d, c, g: d),
        "the stream dropped too": first(lambda d, c, g: d * dropout_mask(d.shape, *c)),
        "branch forgotten": second(lambda d, c, g: 0 * g),
        "branch not scaled": second(lambda d, c, g: g / 2),
    }),
    "cross_entropy": ({"N": 3, "V": 5}, {
        "target forgotten": whole(_row_of_targets_forgotten),
        "averaged over rows": first(lambda d, c, g: g / len(d)),
        "the next row's upstream": lambda good: lambda d, c: good(np.roll(d, 1), c),
        "one target for all": lambda good: lambda d, c: good(d, c._replace(targets=0 * c.targets)),
        "prob(1 - prob)": first(lambda d, c, g: c.prob * (1 - c.prob) * d[:, None]),
    }),
    "linear_cross_entropy": ({"N": 3, "C": 4, "V": 4, "bias": True}, {
        "dweight a mean over rows": second(lambda d, c, g: g / len(d)),
        "dweight transposed": second(lambda d, c, g: g.T),
        "dbias twice": third(lambda d, c, g: 2 * g),
        "dinp without the targets": first(lambda d, c, g: (c.cross_entropy.prob * d[:, None]) @ c.linear.weight),
        "last block of rows lost": lambda good: lambda d, c: good(np.where(np.arange(len(d)) < 2, d, 0), c),
    }),
}


def _assigned(weight, tokens, dout):
    dweight = np.zeros_like(weight)
    dweight[tokens] = dout  # not np.add.at
    return dweight


def _share(c):
    return 1 / (1 + np.exp(-c.mix))


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _neighbours_from_halves(x):
    """Channel i and i + 2 of each head of 4 side by side."""
    return x.reshape(*x.shape[:-1], -1, 2, 2).swapaxes(-1, -2).reshape(x.shape)


_halves_from_neighbours = _neighbours_from_halves  # its own inverse


def _gate(c):
    return c.lower + (1 - c.lower) / (1 + np.exp(-c.forget - c.bias))


def _recurrence_by_hand(dout, c, carry=1.0, shift=0):
    """The backward recurrence with mistakes: what is carried is scaled, or gated by another step's gate."""
    gate, output = _gate(c), 1 / (1 + np.exp(-c.output))
    before = np.concatenate([c.state[:, None], c.hidden[:, :-1]], 1)
    dhidden, later = np.empty_like(dout), np.zeros_like(c.state)
    for t in reversed(range(dout.shape[1])):
        dhidden[:, t] = output[:, t] * dout[:, t] + carry * later
        later = gate[:, max(0, t - shift)] * dhidden[:, t]
    sigmoid = (gate - c.lower) / (1 - c.lower)
    dforget = dhidden * (before - c.value) * (1 - c.lower) * sigmoid * (1 - sigmoid)
    return dforget, dhidden * (1 - gate), dout * c.hidden * output * (1 - output), dforget.sum((0, 1))


def _headwise(dout, c, mean=1, share=1):
    rows = c.inp.reshape(*c.mean.shape[:-1], -1)
    norm, dnorm = (rows - c.mean) * c.rstd, (dout * c.weight).reshape(rows.shape)
    return (c.rstd * (dnorm - mean * dnorm.mean(-1, keepdims=True)
                      - share * norm * (dnorm * norm).mean(-1, keepdims=True))).reshape(c.inp.shape)


def _placed(like, start, rows):
    placed = np.zeros_like(like)
    placed[start:start + len(rows)] = rows
    return placed


ALL_MUTANTS = [(op, name) for op in OPERATIONS for name in (*COMMON, *MUTANTS[op][1])]


@pytest.mark.parametrize(("operation", "name"), ALL_MUTANTS, ids=lambda x: x.replace(" ", "-"))
def test_a_wrong_backward_pass_is_rejected(operation, name):
    sizes, own = MUTANTS[operation]
    rng = np.random.default_rng(5)
    inputs, options = OPERATIONS[operation][0](rng, **sizes)
    good = pair(operation)[1]
    assert check(operation, good, inputs, rng, options).ok
    wrong = (COMMON | own)[name](good)
    report = check(operation, wrong, inputs, rng, options)
    assert not report.ok, f"{operation}: {name} survived"
    assert report.worst_tensor.cause


def test_all_ones_upstream_is_blind_where_a_random_one_sees():
    """Rows of LayerNorm's output have a constant sum, so under all ones its gradient vanishes."""
    def zero(dout, cache):
        return np.zeros_like(cache.inp), *ops.layernorm_backward(dout, cache)[1:]

    rng = np.random.default_rng(0)
    inputs = {"inp": rng.standard_normal((2, 3, 5)), "weight": np.ones(5), "bias": None}
    assert gradients.operation(ops.layernorm_forward, zero, inputs, rng, dout=np.ones((2, 3, 5))).ok
    assert not gradients.operation(ops.layernorm_forward, zero, inputs, rng).ok


def test_the_mistakes_made_by_hand_are_made_of_the_right_pass():
    """Without its mistake each rewritten backward pass is right; otherwise it would be rejected for nothing."""
    rng = np.random.default_rng(1)
    inputs, options = _recurrence(rng, 2, 5, 3, True, 0.45, 0.0)
    check("recurrence", _recurrence_by_hand, inputs, rng, options).require()
    inputs, options = _headnorm(rng, 2, 3, 2, 4)
    check("headnorm", lambda d, c: (_headwise(d, c), *ops.headnorm_backward(d, c)[1:]), inputs, rng, options).require()


@pytest.mark.parametrize("bits", [0, 8])
def test_a_forward_pass_that_is_not_its_codes_and_scales_is_refused(bits):
    """The surrogate stands for the forward pass only where it goes through the same point."""
    def without_scale(f):
        good = gradients.bitlinear(f)
        return lambda *args, **options: (lambda out, cache: (
            out * (1 if isinstance(f, gradients._Frozen) else 1 + 1e-6), cache))(*good(*args, **options))

    rng = np.random.default_rng(2)
    inputs, options = _bitlinear(rng, 3, 4, 4, bits, "normal", "normal")
    with pytest.raises(CheckFailed, match="codes and scales"):
        gradients.operation(without_scale, ops.bitlinear_backward, inputs, rng, options=options, through_roundings=True)


def test_differences_of_the_rounded_function_itself_say_nothing():
    """Why there is a surrogate: rounded, the map is a staircase, and its slope along most directions is 0."""
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((4, 4))
    forward = gradients.bitlinear(ops)
    step = 1e-6 * rng.standard_normal((3, 4))
    inp = rng.standard_normal((3, 4))
    codes = [ops.quantize_activations(x)[0] for x in (inp, inp + step)]
    assert np.array_equal(*codes)
    report = gradients.operation(lambda x: forward(x, weight, 8), lambda d, c: ops.bitlinear_backward(d, c)[:1],
                                 {"inp": inp}, rng)
    assert not report.ok
