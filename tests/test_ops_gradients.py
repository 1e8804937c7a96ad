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


def _embedding(rng, B, T, V, C, start):
    return {"tokens": rng.integers(0, V, (B, T)), "token_weight": rng.standard_normal((V, C)),
            "position_weight": rng.standard_normal((start + T + 1, C))}, {"start": start}


def _attention(rng, B, T, H, D, rate):
    return ({"inp": rng.standard_normal((B, T, 3 * H * D))},
            {"heads": H, "rate": rate, "key": KEY if rate else None})


def _dropout(rng, B, T, C, rate):
    return {"inp": rng.standard_normal((B, T, C))}, {"rate": rate, "key": KEY}


def _residual(rng, B, T, C, rate):
    return ({"inp": rng.standard_normal((B, T, C)), "branch": rng.standard_normal((B, T, C))},
            {"rate": rate, "key": KEY if rate else None})


def _cross_entropy(rng, N, V):
    return {"logits": 2 * rng.standard_normal((N, V)), "targets": rng.integers(0, V, N)}, {}


def _linear_cross_entropy(rng, N, C, V, bias):
    return {"inp": rng.standard_normal((N, C)), "weight": rng.standard_normal((V, C)),
            "bias": rng.standard_normal(V) if bias else None, "targets": rng.integers(0, V, N)}, {}


THREE = {"B": SIZE, "T": SIZE, "C": SIZE}
OPERATIONS = {
    "linear": (_linear, {"N": SIZE, "K": SIZE, "M": SIZE, "bias": st.booleans()}),
    "layernorm": (_layernorm, THREE | {"C": st.integers(2, 6), "bias": st.booleans()}),
    "relu": (_elements, THREE),
    "gelu": (_elements, THREE),
    "embedding": (_embedding, THREE | {"V": SIZE, "start": st.integers(0, 2)}),
    "attention": (_attention, {"B": st.integers(1, 2), "T": SIZE, "H": st.integers(1, 3), "D": st.integers(1, 3),
                               "rate": st.sampled_from([0.0, 0.2, 0.5])}),
    "dropout": (_dropout, THREE | {"rate": RATE}),
    "residual": (_residual, THREE | {"rate": st.just(0.0) | RATE}),
    "cross_entropy": (_cross_entropy, {"N": SIZE, "V": SIZE}),
    "linear_cross_entropy": (_linear_cross_entropy, {"N": SIZE, "C": SIZE, "V": SIZE, "bias": st.booleans()}),
}


def pair(name):
    return getattr(ops, name + "_forward"), getattr(ops, name + "_backward")


def test_every_operation_with_a_backward_pass_is_here():
    assert set(OPERATIONS) == {n.removesuffix("_backward") for n in ops.__all__ if n.endswith("_backward")}


@pytest.mark.parametrize("name", OPERATIONS)
@given(data=st.data(), seed=SEED)
def test_gradients(name, data, seed):
    make, sizes = OPERATIONS[name]
    drawn = {k: data.draw(s, label=k) for k, s in sizes.items()}
    rng = np.random.default_rng(seed)
    inputs, options = make(rng, **drawn)
    gradients.operation(*pair(name), inputs, rng, options=options).require()


@pytest.mark.parametrize("name", ["linear", "layernorm", "embedding", "linear_cross_entropy"])
@given(data=st.data(), seed=SEED)
def test_add_to_adds_to_what_is_there(name, data, seed):
    make, sizes = OPERATIONS[name]
    rng = np.random.default_rng(seed)
    inputs, options = make(rng, **{k: data.draw(s, label=k) for k, s in sizes.items()})
    forward, backward = pair(name)
    out, cache = forward(*inputs.values(), **options)
    dout = rng.standard_normal(out.shape)
    plain = backward(dout, cache)[-2:]
    before = [None if g is None else rng.standard_normal(g.shape) for g in plain]
    into = tuple(None if g is None else g.copy() for g in before)
    returned = backward(dout, cache, add_to=into)[-2:]
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
        return lambda d, c: (*good(d, c)[:2], change(d, c, good(d, c)[2]))
    return make


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
        inp, heads, prob, rate, key = cache
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
        "batch averaged": first(lambda d, c, g: g.mean(0, keepdims=True) + 0 * g),
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
    forward, good = pair(operation)
    assert gradients.operation(forward, good, inputs, rng, options=options).ok
    wrong = (COMMON | own)[name](good)
    report = gradients.operation(forward, wrong, inputs, rng, options=options)
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
