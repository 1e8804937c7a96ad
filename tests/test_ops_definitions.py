"""Every definition against loops: one number at a time, with no arrays to hide a mistake in.

The loops use Python floats and the mathematics of the docstrings, nothing from tinylm but the
dropout mask, which has its own tests.
"""
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinylm import ops
from tinylm.audit import parity
from tinylm.ops.random import dropout_key, dropout_mask
from tinylm.ops.shapes import ShapeError

SIZE = st.integers(1, 5)
SEED = st.integers(0, 2 ** 32 - 1)
FEW = settings(max_examples=15)
TESTED_HERE = set()  # names in tinylm.ops that some loop below stands for
BY_DIFFERENCES = {"attention_backward", "gelu_backward", "layernorm_backward",  # in test_ops_gradients.py
                  "linear_cross_entropy_backward"}


def loops(*names):
    TESTED_HERE.update(names)
    return lambda test: test


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


@loops("matmul")
@FEW
@given(SIZE, SIZE, SIZE, st.booleans(), st.booleans(), st.booleans(), st.booleans(), SEED)
def test_matmul(M, K, N, transpose_a, transpose_b, bias, add, seed):
    rng = np.random.default_rng(seed)
    a, b, offset, into = (rng.standard_normal(s) for s in ((M, K), (K, N), (N,), (M, N)))
    want = np.zeros((M, N))
    for m in range(M):
        for n in range(N):
            want[m, n] = sum(a[m, k] * b[k, n] for k in range(K))
            want[m, n] += (offset[n] if bias else 0) + (into[m, n] if add else 0)
    got = ops.matmul(a.T if transpose_a else a, b.T if transpose_b else b, transpose_a=transpose_a,
                     transpose_b=transpose_b, bias=offset if bias else None, add_to=into if add else None)
    close(got, want)
    assert (got is into) == add


def linear_loop(inp, weight, bias):
    N, K = inp.shape
    M = len(weight)
    return np.array([[sum(inp[n, k] * weight[m, k] for k in range(K)) + (0 if bias is None else bias[m])
                      for m in range(M)] for n in range(N)]).reshape(N, M)


@loops("linear_forward", "linear_backward")
@FEW
@given(SIZE, SIZE, SIZE, st.booleans(), SEED)
def test_linear(N, K, M, with_bias, seed):
    rng = np.random.default_rng(seed)
    inp, weight, dout = rng.standard_normal((N, K)), rng.standard_normal((M, K)), rng.standard_normal((N, M))
    bias = rng.standard_normal(M) if with_bias else None
    out, cache = ops.linear_forward(inp, weight, bias)
    close(out, linear_loop(inp, weight, bias))
    dinp, dweight, dbias = np.zeros((N, K)), np.zeros((M, K)), np.zeros(M)
    for n in range(N):
        for m in range(M):
            dbias[m] += dout[n, m]
            for k in range(K):
                dinp[n, k] += dout[n, m] * weight[m, k]
                dweight[m, k] += dout[n, m] * inp[n, k]
    got = ops.linear_backward(dout, cache)
    close(got[0], dinp)
    close(got[1], dweight)
    assert (got[2] is None) == (bias is None)
    if with_bias:
        close(got[2], dbias)


@loops("layernorm_forward")
@FEW
@given(SIZE, SIZE, SIZE, st.booleans(), SEED)
def test_layernorm(B, T, C, with_bias, seed):
    rng = np.random.default_rng(seed)
    inp, weight = rng.standard_normal((B, T, C)) + 3, rng.standard_normal(C)
    bias = rng.standard_normal(C) if with_bias else None
    want = np.zeros((B, T, C))
    for b in range(B):
        for t in range(T):
            mean = sum(inp[b, t]) / C
            variance = sum((x - mean) ** 2 for x in inp[b, t]) / C
            for c in range(C):
                want[b, t, c] = (inp[b, t, c] - mean) / math.sqrt(variance + 1e-5) * weight[c]
                want[b, t, c] += bias[c] if with_bias else 0
    close(ops.layernorm_forward(inp, weight, bias)[0], want)


@loops("relu_forward", "relu_backward")
def test_relu():
    out, cache = ops.relu_forward(np.array([-2.0, -0.0, 0.0, 3.0]))
    assert out.tolist() == [0, 0, 0, 3]
    assert ops.relu_backward(np.array([5.0, 6.0, 7.0, 8.0]), cache)[0].tolist() == [0, 0, 0, 8]


@loops("gelu_forward")
@FEW
@given(SIZE, SEED)
def test_gelu(n, seed):
    inp = np.random.default_rng(seed).normal(0, 3, n)
    close(ops.gelu_forward(inp)[0], [x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
                                     for x in inp])


def test_gelu_is_close_to_the_exact_one():
    inp = np.linspace(-6, 6, 200)
    exact = [x / 2 * (1 + math.erf(x / math.sqrt(2))) for x in inp]
    assert np.abs(ops.gelu_forward(inp)[0] - exact).max() < 5e-4  # how good the tanh form is said to be


@loops("embedding_forward", "embedding_backward")
@FEW
@given(SIZE, SIZE, SIZE, SIZE, st.integers(0, 3), SEED)
def test_embedding(B, T, V, C, start, seed):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, V, (B, T))
    token_weight, position_weight = rng.standard_normal((V, C)), rng.standard_normal((start + T + 1, C))
    dout = rng.standard_normal((B, T, C))
    out, cache = ops.embedding_forward(tokens, token_weight, position_weight, start)
    dtokens, dpositions = np.zeros((V, C)), np.zeros((start + T + 1, C))
    for b in range(B):
        for t in range(T):
            for c in range(C):
                assert out[b, t, c] == token_weight[tokens[b, t], c] + position_weight[start + t, c]
                dtokens[tokens[b, t], c] += dout[b, t, c]
                dpositions[start + t, c] += dout[b, t, c]
    got = ops.embedding_backward(dout, cache)
    close(got[0], dtokens)
    close(got[1], dpositions)


def attention_loop(query, keys, values, first, mask):
    """One head: query i stands at position first + i and sees positions 0 .. first + i."""
    D = query.shape[1]
    out = np.zeros_like(query)
    for i in range(len(query)):
        seen = range(first + i + 1)
        scores = [sum(query[i, d] * keys[j, d] for d in range(D)) / math.sqrt(D) for j in seen]
        total = sum(math.exp(s) for s in scores)
        for j in seen:
            for d in range(D):
                out[i, d] += math.exp(scores[j]) / total * mask[i, j] * values[j, d]
    return out


@loops("attention_forward")
@FEW
@given(st.integers(1, 2), SIZE, st.integers(1, 3), SIZE, st.sampled_from([0.0, 0.3]), SEED)
def test_attention(B, T, H, D, rate, seed):
    rng = np.random.default_rng(seed)
    inp, key = rng.standard_normal((B, T, 3 * H * D)), dropout_key(seed, 2).at(1)
    mask = dropout_mask((B, H, T, T), rate, key) if rate else np.ones((B, H, T, T))
    out, _ = ops.attention_forward(inp, H, rate, key)
    for b in range(B):
        for h in range(H):
            query, keys, values = (inp[b, :, (part * H + h) * D:(part * H + h + 1) * D] for part in range(3))
            close(out[b, :, h * D:(h + 1) * D], attention_loop(query, keys, values, 0, mask[b, h]))


@loops("attention_extend")
@FEW
@given(st.integers(1, 2), SIZE, st.integers(0, 4), st.integers(0, 2), st.integers(1, 3), SIZE, SEED)
def test_attention_extend(B, T, length, spare, H, D, seed):
    rng = np.random.default_rng(seed)
    inp = rng.standard_normal((B, T, 3 * H * D))
    keys, values = (rng.standard_normal((B, length + T + spare, H * D)) for _ in range(2))
    kept = keys.copy(), values.copy()
    out = ops.attention_extend(inp, keys, values, length, H)
    for cache, before, part in ((keys, kept[0], 1), (values, kept[1], 2)):
        for p in range(cache.shape[1]):
            new = length <= p < length + T
            want = inp[:, p - length, part * H * D:(part + 1) * H * D] if new else before[:, p]
            assert (cache[:, p] == want).all(), f"position {p}"
    for b in range(B):
        for h in range(H):
            channels = slice(h * D, (h + 1) * D)
            close(out[b, :, channels], attention_loop(inp[b, :, channels], keys[b, :, channels],
                                                      values[b, :, channels], length, np.ones((T, length + T))))


@loops("dropout_forward", "dropout_backward", "residual_forward", "residual_backward")
@FEW
@given(SIZE, SIZE, st.sampled_from([0.1, 0.5, 0.9]), SEED)
def test_dropout_and_residual(N, C, rate, seed):
    rng = np.random.default_rng(seed)
    inp, branch, dout = (rng.standard_normal((N, C)) for _ in range(3))
    key = dropout_key(seed, 1)
    mask = dropout_mask((N, C), rate, key)
    out, cache = ops.dropout_forward(branch, rate, key)
    (dinp,) = ops.dropout_backward(dout, cache)
    summed, rcache = ops.residual_forward(inp, branch, rate, key)
    dresidual, dbranch = ops.residual_backward(dout, rcache)
    for n in range(N):
        for c in range(C):
            assert out[n, c] == branch[n, c] * mask[n, c]
            assert summed[n, c] == inp[n, c] + branch[n, c] * mask[n, c]
            assert dinp[n, c] == dbranch[n, c] == dout[n, c] * mask[n, c]
            assert dresidual[n, c] == dout[n, c]
    for plain in (ops.residual_forward(inp, branch, rate, None), ops.residual_forward(inp, branch, 0.0, key)):
        assert np.array_equal(plain[0], inp + branch)
        assert all(np.array_equal(d, dout) for d in ops.residual_backward(dout, plain[1]))


@loops("cross_entropy_forward", "cross_entropy_backward", "linear_cross_entropy_forward")
@FEW
@given(SIZE, SIZE, SIZE, st.booleans(), SEED)
def test_cross_entropy(N, C, V, with_bias, seed):
    rng = np.random.default_rng(seed)
    inp, weight = rng.standard_normal((N, C)), rng.standard_normal((V, C))
    bias = rng.standard_normal(V) if with_bias else None
    targets, dlosses = rng.integers(0, V, N), rng.standard_normal(N)
    logits = linear_loop(inp, weight, bias)
    losses, dlogits = [], np.zeros((N, V))
    for n in range(N):
        prob = [math.exp(x) for x in logits[n]]
        prob = [p / sum(prob) for p in prob]
        losses.append(-math.log(prob[targets[n]]))
        for v in range(V):
            dlogits[n, v] = dlosses[n] * (prob[v] - (v == targets[n]))
    got, cache = ops.cross_entropy_forward(logits, targets)
    close(got, losses)
    close(ops.cross_entropy_backward(dlosses, cache)[0], dlogits)
    close(ops.linear_cross_entropy_forward(inp, weight, bias, targets)[0], losses)


def test_cross_entropy_of_huge_logits_is_finite():
    losses, cache = ops.cross_entropy_forward(np.array([[1e4, 0.0], [-1e4, 1e4]]), np.array([1, 1]))
    assert losses.tolist() == [1e4, 0.0]
    assert np.isfinite(ops.cross_entropy_backward(np.ones(2), cache)[0]).all()


@loops("adamw_step")
@FEW
@given(SIZE, st.integers(0, 5), st.integers(1, 4), SEED)
def test_adamw(P, decayed, steps, seed):
    rng = np.random.default_rng(seed)
    decayed = min(decayed, P)
    lr, beta1, beta2, eps, decay, scale = 0.1, 0.8, 0.95, 1e-6, 0.2, 0.5
    got = rng.standard_normal(P)
    want, m, v = got.tolist(), [0.0] * P, [0.0] * P
    first, second = np.zeros(P), np.zeros(P)
    for step in range(1, steps + 1):
        grad = rng.standard_normal(P)
        for i in range(P):
            g = grad[i] * scale
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            if i < decayed:
                want[i] -= lr * decay * want[i]
            want[i] -= lr * (m[i] / (1 - beta1 ** step)) / (math.sqrt(v[i] / (1 - beta2 ** step)) + eps)
        ops.adamw_step(got, grad, first, second, step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps,
                       weight_decay=decay, decayed=decayed, scale=scale)
    close(got, want)
    close(first, m)
    close(second, v)


@loops("global_norm", "clip_scale")
@FEW
@given(st.integers(0, 9), SEED)
def test_norm_and_clipping(P, seed):
    grad = np.random.default_rng(seed).standard_normal(P)
    norm = ops.global_norm(grad)
    close(norm, math.sqrt(math.fsum(x * x for x in grad)))
    assert ops.clip_scale(norm, 0) == 1.0
    assert ops.clip_scale(norm, norm + 1) == 1.0
    if norm > 0:
        close(norm * ops.clip_scale(norm, norm / 3), norm / 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_norm_of_what_is_not_finite_is_not_finite(bad):
    assert not math.isfinite(ops.global_norm(np.array([1.0, bad, 2.0])))


def test_every_definition_has_a_test_and_a_place_in_the_parity_check():
    assert set(ops.__all__) == TESTED_HERE | BY_DIFFERENCES
    assert set(ops.__all__) == {n for operation in parity.OPERATIONS.values() for n in operation.covers}


@pytest.mark.parametrize("call", [
    lambda: ops.linear_forward(np.zeros((4, 128, 96)), np.zeros((512, 128))),
    lambda: ops.linear_forward(np.zeros((4, 96)), np.zeros((5, 96)), np.zeros(4)),
    lambda: ops.layernorm_forward(np.zeros((2, 5)), np.zeros(4)),
    lambda: ops.layernorm_forward(np.zeros((2, 5)), np.zeros(5), np.zeros(1)),
    lambda: ops.attention_forward(np.zeros((2, 3, 10)), 2),
    lambda: ops.attention_forward(np.zeros((3, 12)), 2),
    lambda: ops.attention_extend(np.zeros((1, 3, 12)), np.zeros((1, 4, 4)), np.zeros((1, 4, 4)), 2, 2),
    lambda: ops.residual_forward(np.zeros((2, 3)), np.zeros((1, 3))),
    lambda: ops.adamw_step(np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(2), step=1, lr=0.1),
    lambda: ops.embedding_forward(np.zeros((1, 4), int), np.zeros((3, 2)), np.zeros((5, 2)), 2),
    lambda: ops.embedding_forward(np.zeros((1, 4)), np.zeros((3, 2)), np.zeros((5, 2))),
])
def test_arrays_that_do_not_fit_are_refused_by_name(call):
    with pytest.raises(ShapeError, match=r"\d"):
        call()


@pytest.mark.parametrize("token", [-1, 3])
def test_tokens_outside_the_vocabulary_are_refused(token):
    with pytest.raises(IndexError, match="vocabulary"):
        ops.embedding_forward(np.array([[0, token]]), np.zeros((3, 2)), np.zeros((5, 2)))
    with pytest.raises(IndexError, match="targets"):
        ops.cross_entropy_forward(np.zeros((2, 3)), np.array([0, token]))
