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
from tinylm.ops.linear import LinearCache
from tinylm.ops.precision import CHUNK, autocast
from tinylm.ops.random import dropout_key, dropout_mask
from tinylm.ops.shapes import ShapeError

IN_TEST_PACKED = {"pack_ternary", "unpack_ternary", "packed_product", "packed_bitlinear", "decode_step", "pack_decode"}
IN_OTHER_FILES = {"gpt_step", "pack_gpt",                     # test_decode_gpt
                  "quantize_rows", "pack_int8", "int8_linear",  # test_int8
                  "draw_token", "likeliest"}                                      # test_generate_sampling
SIZE = st.integers(1, 5)
SEED = st.integers(0, 2 ** 32 - 1)
FEW = settings(max_examples=15)
TESTED_HERE = set()  # names in tinylm.ops that some loop below stands for
BY_DIFFERENCES = {"attention_backward", "gelu_backward", "layernorm_backward",  # in test_ops_gradients.py
                  "linear_cross_entropy_backward", "headnorm_backward", "recurrence_backward", "token_shift_backward",
                  "norm_shift_backward", "rmsnorm_backward", "swiglu_backward", "geglu_backward", "gated_conv_backward"}


def loops(*names):
    TESTED_HERE.update(names)
    return lambda test: test


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


@loops("matmul")
@FEW
@given(SIZE, SIZE, SIZE, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["", "add", "relu", "where"]),
       SEED)
def test_matmul(M, K, N, transpose_a, transpose_b, bias, last, seed):
    add = last == "add"
    rng = np.random.default_rng(seed)
    a, b, offset, into = (rng.standard_normal(s) for s in ((M, K), (K, N), (N,), (M, N)))
    want = np.zeros((M, N))
    for m in range(M):
        for n in range(N):
            want[m, n] = sum(a[m, k] * b[k, n] for k in range(K))
            want[m, n] += (offset[n] if bias else 0) + (into[m, n] if add else 0)
            want[m, n] = max(want[m, n], 0) if last == "relu" else want[m, n]
            want[m, n] = 0 if last == "where" and into[m, n] < 0 else want[m, n]
    got = ops.matmul(a.T if transpose_a else a, b.T if transpose_b else b, transpose_a=transpose_a,
                     transpose_b=transpose_b, bias=offset if bias else None, relu=last == "relu",
                     add_to=into if add else None, where=into > 0 if last == "where" else None)
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


@loops("headnorm_forward")
@FEW
@given(SIZE, SIZE, SIZE, SIZE, SEED)
def test_headnorm(B, T, H, D, seed):
    rng = np.random.default_rng(seed)
    inp, weight, bias = rng.standard_normal((B, T, H * D)) + 3, *rng.standard_normal((2, H * D))
    want = np.zeros((B, T, H * D))
    for b in range(B):
        for t in range(T):
            for h in range(H):
                head = [inp[b, t, h * D + d] for d in range(D)]
                mean = sum(head) / D
                variance = sum((x - mean) ** 2 for x in head) / D
                for d in range(D):
                    c = h * D + d
                    want[b, t, c] = (inp[b, t, c] - mean) / math.sqrt(variance + 1e-5) * weight[c] + bias[c]
    close(ops.headnorm_forward(inp, H, weight, bias)[0], want)


@loops("rmsnorm_forward")
@FEW
@given(SIZE, SIZE, SIZE, SEED)
def test_rmsnorm(B, T, C, seed):
    rng = np.random.default_rng(seed)
    inp, weight = rng.standard_normal((B, T, C)) + 3, rng.standard_normal(C)
    inp[-1, -1] = 0
    want = np.zeros((B, T, C))
    for b in range(B):
        for t in range(T):
            root = math.sqrt(sum(x * x for x in inp[b, t]) / C + 1e-5)
            for c in range(C):
                want[b, t, c] = inp[b, t, c] / root * weight[c]
    close(ops.rmsnorm_forward(inp, weight)[0], want)


@loops("squared_relu_forward", "squared_relu_backward")
def test_squared_relu():
    out, cache = ops.squared_relu_forward(np.array([-2.0, -0.0, 0.0, 3.0]))
    assert out.tolist() == [0, 0, 0, 9]
    assert ops.squared_relu_backward(np.array([5.0, 6.0, 7.0, 8.0]), cache)[0].tolist() == [0, 0, 0, 48]


@loops("relu_forward", "relu_backward")
def test_relu():
    out, cache = ops.relu_forward(np.array([-2.0, -0.0, 0.0, 3.0]))
    assert out.tolist() == [0, 0, 0, 3]
    assert ops.relu_backward(np.array([5.0, 6.0, 7.0, 8.0]), cache)[0].tolist() == [0, 0, 0, 8]


@loops("linear_relu")
def test_linear_relu():
    inp, weight, bias = np.array([[1.0, 2.0]]), np.array([[1.0, -1.0], [3.0, 1.0], [2.0, -1.0]]), np.array([0.5, 1, 0])
    out, cache = ops.linear_relu(inp, weight, bias)
    assert out.tolist() == [[0, 6, 0]]  # of -0.5, 6 and 0
    assert cache.positive.tolist() == out.tolist()
    _, second = ops.linear_forward(out, np.array([[5.0, 7.0, 9.0]]))
    dlinear, ddown, _ = ops.linear_backward(np.array([[2.0]]), second, positive=cache.positive)
    assert dlinear.tolist() == [[0, 14, 0]] and ddown.tolist() == [[0, 12, 0]]


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


@loops("swiglu_forward", "geglu_forward")
@FEW
@given(SIZE, SIZE, SEED)
def test_gated_units(N, F, seed):
    gate, value = np.random.default_rng(seed).normal(0, 3, (2, N, F))
    gelu, _ = ops.gelu_forward(gate)
    for n in range(N):
        for i in range(F):
            x = gate[n, i]
            close(ops.swiglu_forward(gate, value)[0][n, i], x / (1 + math.exp(-x)) * value[n, i])
            close(ops.geglu_forward(gate, value)[0][n, i], gelu[n, i] * value[n, i])


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


def test_embedding_without_positions():
    rng = np.random.default_rng(0)
    tokens, weight, dout = rng.integers(0, 4, (2, 5)), rng.standard_normal((4, 3)), rng.standard_normal((2, 5, 3))
    out, cache = ops.embedding_forward(tokens, weight, None, 10 ** 6)
    assert np.array_equal(out, weight[tokens])
    dweight, dpositions = ops.embedding_backward(dout, cache)
    assert dpositions is None
    close(dweight, [sum((dout[b, t] for b in range(2) for t in range(5) if tokens[b, t] == v), np.zeros(3))
                    for v in range(4)])


@loops("pack")
def test_packing_changes_nothing():
    weight = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(ops.matmul(np.eye(3), ops.pack(weight), transpose_b=True), weight.T)


def half_even(x):
    """Python's round: halves go to the even neighbour."""
    return float(round(x))


@loops("ternarize")
@FEW
@given(SIZE, SIZE, st.sampled_from([1.0, 1e-3, 1e-7, 0.0]), SEED)
def test_ternarize(M, K, size, seed):
    weight = size * np.random.default_rng(seed).standard_normal((M, K))
    scale = max(sum(abs(w) for w in weight.flat) / (M * K), 1e-5)
    codes, got = ops.ternarize(weight)
    close(got, scale)
    assert codes.dtype == np.int8
    assert codes.tolist() == [[max(-1, min(1, half_even(w / scale))) for w in row] for row in weight]


def test_halves_of_weights_go_to_the_even_code():
    # mean |W| = 1: 0.5 rounds to 0, 1.5 to 2, which is clipped to 1
    codes, scale = ops.ternarize(np.array([[0.5, -0.5, 1.5, -1.5]]))
    assert scale == 1
    assert codes.tolist() == [[0, 0, 1, -1]]


@loops("quantize_activations")
@FEW
@given(SIZE, SIZE, st.sampled_from([1.0, 1e-3, 1e-30]), SEED)
def test_quantize_activations(N, K, size, seed):
    inp = size * np.random.default_rng(seed).standard_normal((N, K))
    inp[0] = 0
    codes, scale = ops.quantize_activations(inp)
    for n in range(N):
        top = max(abs(x) for x in inp[n])
        close(scale[n, 0] / size, top / 127 / size)
        assert codes[n].tolist() == [half_even(x * (127 / top)) if top else 0 for x in inp[n]]
    assert np.abs(codes).max() <= 127
    assert (np.abs(codes * scale - inp) <= 0.5000001 * scale).all()


def test_halves_of_activations_go_to_the_even_code():
    codes, scale = ops.quantize_activations(np.array([[127.0, 0.5, 1.5, -2.5, -127.0]]))
    close(scale, [[1.0]])
    assert codes.tolist() == [[127, 0, 2, -2, -127]]


@loops("bitlinear_forward", "bitlinear_backward")
@FEW
@given(SIZE, SIZE, SIZE, st.sampled_from([0, 8]), SEED)
def test_bitlinear(N, K, M, bits, seed):
    rng = np.random.default_rng(seed)
    inp, weight, dout = rng.standard_normal((N, K)), rng.standard_normal((M, K)), rng.standard_normal((N, M))
    scale = sum(abs(w) for w in weight.flat) / (M * K)
    rounded = [[scale * max(-1, min(1, half_even(w / scale))) for w in row] for row in weight]
    values = inp.tolist()
    if bits:
        tops = [max(abs(x) for x in row) / 127 for row in inp]
        values = [[top * half_even(x / top) for x in row] for top, row in zip(tops, inp)]
    out, cache = ops.bitlinear_forward(inp, ops.ternarize(weight), bits)
    close(out, linear_loop(np.array(values), np.array(rounded), None))
    dinp, dweight = ops.bitlinear_backward(dout, cache)
    close(dinp, [[sum(dout[n, m] * rounded[m][k] for m in range(M)) for k in range(K)] for n in range(N)])
    close(dweight, [[sum(dout[n, m] * values[n][k] for n in range(N)) for k in range(K)] for m in range(M)])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@FEW
@given(SIZE, SIZE, SIZE, SEED)
def test_in_int16_the_gradient_of_a_quantised_input_is_made_of_8_bits(N, K, M, seed):
    rng = np.random.default_rng(seed)
    inp, weight, dout = rng.standard_normal((N, K)), rng.standard_normal((M, K)), rng.standard_normal((N, M))
    ternary = ops.ternarize(weight)
    with autocast("int16"):
        dinp, _ = ops.bitlinear_backward(dout, ops.bitlinear_forward(inp, ternary, 8)[1])
        whole, _ = ops.bitlinear_backward(dout, ops.bitlinear_forward(inp, ternary, 0)[1])
    tops = [max(abs(x) for x in row) / 127 for row in dout]
    rounded = [[top * half_even(x / top) for x in row] for top, row in zip(tops, dout)]
    close(dinp, [[ternary.scale * sum(rounded[n][m] * ternary.codes[m, k] for m in range(M)) for k in range(K)]
                 for n in range(N)])
    np.testing.assert_allclose(whole, dout @ ternary.codes * ternary.scale, atol=2e-3 * M * np.abs(dout).max())


@FEW
@given(SIZE, SIZE, SEED, st.sampled_from([1, 4, CHUNK, CHUNK + 3]))
def test_in_int8_the_gradient_of_a_weight_is_made_of_8_bits(K, M, seed, N):
    """Each channel of dout, times the step of each token's codes, has a step of its own for each CHUNK tokens."""
    rng = np.random.default_rng(seed)
    inp, weight, dout = rng.standard_normal((N, K)), rng.standard_normal((M, K)), rng.standard_normal((N, M))
    into, ternary = np.ones((M, K)), ops.ternarize(weight)
    with autocast("int16"):
        want, _ = ops.bitlinear_backward(dout, ops.bitlinear_forward(inp, ternary, 8)[1])
    with autocast("int8"):
        _, cache = ops.bitlinear_forward(inp, ternary, 8)
        dinp, dweight = ops.bitlinear_backward(dout, cache)
        added = ops.bitlinear_backward(dout, cache, add_to=(into,))[1]
        whole = ops.bitlinear_backward(dout, ops.bitlinear_forward(inp, ternary, 0)[1])[1]
    close(dinp, want)
    scaled = (dout * cache.inp_scale).astype(np.float32)
    expected = np.zeros((M, K))
    for low in range(0, N, CHUNK):
        part, codes = scaled[low:low + CHUNK], cache.inp[low:low + CHUNK]
        for m in range(M):
            top = max(abs(x) for x in part[:, m])  # float32 decides between two codes, as it does in kernels
            for x, token in zip(part[:, m], codes):
                expected[m] += float(top) / 127 * half_even(float(x * (np.float32(127) / top))) * token
    np.testing.assert_allclose(dweight, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(into, 1 + dweight)
    assert added is into
    np.testing.assert_allclose(whole, dout.T @ inp, atol=2e-3 * N * np.abs(dout).max() * np.abs(inp).max())


@loops("feed_forward_forward", "feed_forward_backward")
@FEW
@given(SIZE, SIZE, SIZE, SEED)
def test_two_maps_and_a_squared_relu(N, K, M, seed):
    rng = np.random.default_rng(seed)
    inp, dout = rng.standard_normal((2, N, K))
    up, down = ops.ternarize(rng.standard_normal((M, K))), ops.ternarize(rng.standard_normal((K, M)))
    out, cache = ops.feed_forward_forward(inp, up, down)
    more, _ = ops.feed_forward_forward(inp, up, down, residual=dout)
    into = [np.ones((M, K)), np.ones((K, M))]
    found = ops.feed_forward_backward(dout, cache)
    added = ops.feed_forward_backward(dout, cache, add_to=into)
    weight_up, weight_down = up.codes * up.scale, down.codes * down.scale
    linear = inp @ weight_up.T
    square = np.where(linear > 0, linear ** 2, 0)
    close(out, square @ weight_down.T)
    close(more, dout + square @ weight_down.T)
    dlinear = dout @ weight_down * 2 * np.where(linear > 0, linear, 0)
    dup, ddown = dlinear.T @ inp, dout.T @ square
    for got, want in zip(found, (dlinear @ weight_up, dup, ddown), strict=True):
        close(got, want)
    for got, want in zip(added, (dlinear @ weight_up, 1 + dup, 1 + ddown), strict=True):
        close(got, want)
    assert added[1] is into[0] and added[2] is into[1]


@loops("bitlinears_forward", "bitlinears_backward")
@given(seed=SEED, bits=st.sampled_from([0, 8]), widths=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_several_weights_of_one_input_are_each_of_them_and_the_input_gets_their_sum(seed, bits, widths):
    rng = np.random.default_rng(seed)
    inp, ternaries = rng.standard_normal((2, 3, 5)), [ops.ternarize(rng.standard_normal((M, 5))) for M in widths]
    outs, caches = ops.bitlinears_forward(inp, ternaries, bits)
    douts, sums = [rng.standard_normal(out.shape) for out in outs], np.zeros(inp.shape)
    into = [np.ones(ternary.codes.shape) for ternary in ternaries]
    dinp, dweights = ops.bitlinears_backward(douts, caches)
    again, returned = ops.bitlinears_backward(douts, caches, add_to=into)
    for i, (ternary, dout) in enumerate(zip(ternaries, douts, strict=True)):
        out, cache = ops.bitlinear_forward(inp, ternary, bits)
        one, dweight = ops.bitlinear_backward(dout, cache)
        np.testing.assert_array_equal(outs[i], out)
        np.testing.assert_array_equal(dweights[i], dweight)
        np.testing.assert_allclose(into[i], 1 + dweight, rtol=1e-12)
        assert returned[i] is into[i]
        sums += one
    np.testing.assert_allclose(dinp, sums, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(again, dinp)


@loops("recurrence_forward")
@FEW
@given(SIZE, st.integers(1, 9), SIZE, st.booleans(), st.sampled_from([0.0, 0.9]), SEED)
def test_recurrence(B, T, C, with_state, lower, seed):
    rng = np.random.default_rng(seed)
    forget, value, output = rng.standard_normal((3, B, T, C))
    bias, state = rng.standard_normal(C), rng.standard_normal((B, C)) if with_state else None
    out, cache = ops.recurrence_forward(forget, value, output, bias, state, lower)
    for b in range(B):
        for c in range(C):
            h = state[b, c] if with_state else 0.0
            for t in range(T):
                f = lower + (1 - lower) * sigmoid(forget[b, t, c] + bias[c])
                h = f * h + (1 - f) * value[b, t, c]
                close(out[b, t, c], sigmoid(output[b, t, c]) * h)
                close(cache.hidden[b, t, c], h)


SCANS = {"loop": ops.recurrence.scan_loop, "associative": ops.recurrence.scan_associative,
         "chunked": ops.recurrence.scan_chunked}
LENGTH = st.integers(1, 40) | st.sampled_from([0, 63, 64, 65])


def draw_scan(rng, B, T, C, gates):
    forget = {"between": rng.uniform(size=(B, T, C)), "shut": np.zeros((B, T, C)), "open": np.ones((B, T, C)),
              "either": rng.integers(0, 2, (B, T, C)).astype(float)}[gates]
    return forget, rng.standard_normal((B, T, C)), rng.standard_normal((B, C))


GATES = st.sampled_from(["between", "shut", "open", "either"])


@given(st.integers(1, 2), LENGTH, st.integers(1, 3), GATES, st.integers(1, 70), SEED)
def test_three_scans_are_one(B, T, C, gates, chunk, seed):
    forget, value, state = draw_scan(np.random.default_rng(seed), B, T, C, gates)
    want = np.zeros((B, T, C))
    for b in range(B):
        for c in range(C):
            h = state[b, c]
            for t in range(T):
                h = forget[b, t, c] * h + (1 - forget[b, t, c]) * value[b, t, c]
                want[b, t, c] = h
    for name, scan in SCANS.items():
        out = scan(forget, value, state, chunk) if name == "chunked" else scan(forget, value, state)
        assert out.shape == want.shape, name
        np.testing.assert_allclose(out, want, rtol=1e-12, atol=1e-12, err_msg=name)


@given(LENGTH, st.lists(st.integers(0, 70), max_size=4), GATES, st.sampled_from(sorted(SCANS)), SEED)
def test_a_scan_may_be_cut_anywhere(T, cuts, gates, name, seed):
    forget, value, state = draw_scan(np.random.default_rng(seed), 2, T, 3, gates)
    whole, pieces = SCANS["loop"](forget, value, state), []
    edges = sorted({0, T, *(min(c, T) for c in cuts)})
    for low, high in zip(edges, edges[1:]):
        pieces.append(SCANS[name](forget[:, low:high], value[:, low:high], state))
        state = pieces[-1][:, -1]
    if pieces:
        np.testing.assert_allclose(np.concatenate(pieces, 1), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SCANS)
def test_gates_at_their_ends(name):
    _, value, state = draw_scan(np.random.default_rng(0), 2, 9, 3, "shut")
    assert np.array_equal(SCANS[name](np.zeros_like(value), value, state), value), "a shut gate keeps nothing"
    kept = SCANS[name](np.ones_like(value), value, state)
    assert np.array_equal(kept, np.broadcast_to(state[:, None], value.shape)), "an open one lets nothing in"


@loops("token_shift_forward")
@FEW
@given(SIZE, SIZE, SIZE, st.booleans(), SEED)
def test_token_shift(B, T, C, with_before, seed):
    rng = np.random.default_rng(seed)
    inp, mix = rng.standard_normal((B, T, C)), rng.standard_normal(C)
    before = rng.standard_normal((B, C)) if with_before else None
    out, _ = ops.token_shift_forward(inp, mix, before)
    for b in range(B):
        for c in range(C):
            last = before[b, c] if with_before else 0.0
            for t in range(T):
                close(out[b, t, c], inp[b, t, c] * sigmoid(mix[c]) + last * (1 - sigmoid(mix[c])))
                last = inp[b, t, c]


@loops("norm_shift_forward")
@FEW
@given(SIZE, SIZE, SIZE, st.booleans(), st.booleans(), SEED)
def test_norm_shift(B, T, C, biased, with_before, seed):
    """The shift looks at what came out of the norm, the token before the first one included."""
    rng = np.random.default_rng(seed)
    inp, weight, bias, mix = (rng.standard_normal(shape) for shape in ((B, T, C), C, C, C))
    before = rng.standard_normal((B, C)) if with_before else None
    out, (norm, _, _, last_norm) = ops.norm_shift_forward(inp, weight, bias if biased else None, mix, before)
    share = np.array([sigmoid(m) for m in mix])
    for b in range(B):
        last = before[b] if with_before else np.zeros(C)
        for t in range(T):
            mean = sum(inp[b, t]) / C
            rstd = 1 / np.sqrt(sum((inp[b, t] - mean) ** 2) / C + 1e-5)
            normed = (inp[b, t] - mean) * rstd * weight + (bias if biased else 0)
            close(out[b, t], normed * share + last * (1 - share))
            close((norm.mean[b, t, 0], norm.rstd[b, t, 0]), (mean, rstd))
            last = normed
        close(last_norm[b], last)


@loops("gated_conv_forward")
@FEW
@given(SIZE, st.integers(1, 9), SIZE, st.integers(1, 8), st.booleans(), SEED)
def test_gated_conv(B, T, C, K, with_before, seed):
    rng = np.random.default_rng(seed)
    inp, weight = rng.standard_normal((B, T, 2 * C)), rng.standard_normal((K, C))
    before = rng.standard_normal((B, K - 1, C)) if with_before else None
    out, _ = ops.gated_conv_forward(inp, weight, before)
    for b in range(B):
        for t in range(T):
            for c in range(C):
                mixed = 0.0
                for back in range(K):       # the last weight is that of the token itself
                    if t >= back:
                        mixed += weight[K - 1 - back, c] * inp[b, t - back, C + c]
                    elif with_before:
                        mixed += weight[K - 1 - back, c] * before[b, K - 1 + t - back, c]
                close(out[b, t, c], sigmoid(inp[b, t, c]) * mixed)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 8), SEED)
def test_a_convolution_may_be_cut_anywhere_to_the_bit(pieces, K, seed):
    rng = np.random.default_rng(seed)
    inp, weight = rng.standard_normal((2, sum(pieces), 6)), rng.standard_normal((K, 3))
    whole, before, at = ops.gated_conv_forward(inp, weight)[0], None, 0
    for size in pieces:
        part = inp[:, at:at + size]
        assert np.array_equal(ops.gated_conv_forward(part, weight, before)[0], whole[:, at:at + size])
        before, at = ops.gated_conv.last_values(part, weight, before), at + size
        assert before.shape == (2, K - 1, 3)


def rotated(vector, position, base):
    """Channels i and i + D/2 as the two coordinates of a point, turned about the origin."""
    D, out = len(vector), list(vector)
    for i in range(D // 2):
        angle = position * base ** (-2 * i / D)
        x, y = vector[i], vector[i + D // 2]
        out[i] = x * math.cos(angle) - y * math.sin(angle)
        out[i + D // 2] = x * math.sin(angle) + y * math.cos(angle)
    return out


@loops("rope_forward", "rope_backward")
@FEW
@given(st.integers(1, 2), SIZE, st.integers(1, 3), st.integers(1, 3), st.sampled_from([10000.0, 3.0]),
       st.sampled_from([0, 1, 700]), SEED)
def test_rope(B, T, H, pairs, base, start, seed):
    rng = np.random.default_rng(seed)
    D = 2 * pairs
    inp, dout = rng.standard_normal((2, B, T, 3 * H * D))
    out, cache = ops.rope_forward(inp, H, base, start)
    (dinp,) = ops.rope_backward(dout, cache)
    for b in range(B):
        for t in range(T):
            for head in range(3 * H):
                channels = slice(head * D, (head + 1) * D)
                turn = start + t if head < 2 * H else 0     # values stay
                close(out[b, t, channels], rotated(inp[b, t, channels], turn, base))
                close(dinp[b, t, channels], rotated(dout[b, t, channels], -turn, base))


def test_products_of_turned_queries_and_keys_know_the_distance_only():
    rng = np.random.default_rng(0)
    query, key = rng.standard_normal((2, 6))

    def score(at, before):
        qkv = np.concatenate([query, key, key])[None, None]
        (q,), (k,) = (ops.rope_forward(qkv, 1, start=s)[0][0] for s in (at, at - before))
        return q[:6] @ k[6:12]

    close(score(7, 3), score(70, 3))
    assert abs(score(7, 3) - score(7, 4)) > 1e-3


def attention_loop(query, keys, values, first, mask, scale=None, window=0):
    """One head: query i stands at position first + i and sees positions up to first + i, the last `window` of them."""
    D = query.shape[1]
    out = np.zeros_like(query)
    for i in range(len(query)):
        seen = range(max(0, first + i + 1 - window) if window else 0, first + i + 1)
        scores = {j: sum(query[i, d] * keys[j, d] for d in range(D)) * (scale or 1 / math.sqrt(D)) for j in seen}
        total = sum(math.exp(s) for s in scores.values())
        for j in seen:
            for d in range(D):
                out[i, d] += math.exp(scores[j]) / total * mask[i, j] * values[j, d]
    return out


SHAPES = st.sampled_from([None, 1.0, 0.3]), st.sampled_from([0, 1, 2, 4, 9])


@loops("attention_forward")
@FEW
@given(st.integers(1, 2), SIZE, st.integers(1, 3), SIZE, st.sampled_from([0.0, 0.3]), *SHAPES, SEED)
def test_attention(B, T, H, D, rate, scale, window, seed):
    rng = np.random.default_rng(seed)
    inp, key = rng.standard_normal((B, T, 3 * H * D)), dropout_key(seed, 2).at(1)
    mask = dropout_mask((B, H, T, T), rate, key) if rate else np.ones((B, H, T, T))
    out, _ = ops.attention_forward(inp, H, rate, key, scale, window)
    for b in range(B):
        for h in range(H):
            query, keys, values = (inp[b, :, (part * H + h) * D:(part * H + h + 1) * D] for part in range(3))
            close(out[b, :, h * D:(h + 1) * D], attention_loop(query, keys, values, 0, mask[b, h], scale,
                                                                   window))


@loops("attention_extend")
@FEW
@given(st.integers(1, 2), SIZE, st.integers(0, 4), st.integers(0, 2), st.integers(1, 3), SIZE, *SHAPES, SEED)
def test_attention_extend(B, T, length, spare, H, D, scale, window, seed):
    rng = np.random.default_rng(seed)
    inp = rng.standard_normal((B, T, 3 * H * D))
    keys, values = (rng.standard_normal((B, length + T + spare, H * D)) for _ in range(2))
    kept = keys.copy(), values.copy()
    out = ops.attention_extend(inp, keys, values, length, H, scale, window)
    for cache, before, part in ((keys, kept[0], 1), (values, kept[1], 2)):
        for p in range(cache.shape[1]):
            new = length <= p < length + T
            want = inp[:, p - length, part * H * D:(part + 1) * H * D] if new else before[:, p]
            assert (cache[:, p] == want).all(), f"position {p}"
    for b in range(B):
        for h in range(H):
            channels = slice(h * D, (h + 1) * D)
            close(out[b, :, channels], attention_loop(inp[b, :, channels], keys[b, :, channels],
                                                      values[b, :, channels], length, np.ones((T, length + T)),
                                                      scale, window))


@loops("dropout_forward", "dropout_backward", "residual_forward", "residual_backward", "add")
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
        assert np.array_equal(ops.add(inp, branch), inp + branch)
        assert all(np.array_equal(d, dout) for d in ops.residual_backward(dout, plain[1]))


@loops("cross_entropy_forward", "cross_entropy_backward", "linear_cross_entropy_forward", "linear_cross_entropy")
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
    found, dinp, dweight, dbias = ops.linear_cross_entropy(inp, weight, bias, targets, dlosses)
    close(found, losses)
    for n in range(N):
        for c in range(C):
            close(dinp[n, c], sum(dlogits[n, v] * weight[v, c] for v in range(V)))
    for v in range(V):
        for c in range(C):
            close(dweight[v, c], sum(dlogits[n, v] * inp[n, c] for n in range(N)))
        assert (dbias is None) == (not with_bias)
        if with_bias:
            close(dbias[v], sum(dlogits[n, v] for n in range(N)))


@FEW
@given(SIZE, SIZE, SIZE, st.booleans(), SEED)
def test_logits_of_int8_are_products_of_8_bits(N, C, V, with_bias, seed):
    rng = np.random.default_rng(seed)
    inp, weight = rng.standard_normal((N, C)), rng.standard_normal((V, C))
    bias = rng.standard_normal(V) if with_bias else None
    targets, dlosses = rng.integers(0, V, N), rng.standard_normal(N)

    def of_8_bits(rows):
        steps = [max(abs(x) for x in row) / 127 for row in rows]
        return np.array([[step * round(x / step) for x in row] for row, step in zip(rows, steps, strict=True)])

    want, cache = ops.cross_entropy_forward(linear_loop(of_8_bits(inp), of_8_bits(weight), bias), targets)
    (dlogits,) = ops.cross_entropy_backward(dlosses, cache)
    with autocast("int8"):
        found = ops.linear_cross_entropy(inp, weight, bias, targets, dlosses)
    with autocast("int16"):  # back it goes as if nothing had been rounded to 8 bits
        back = ops.linear_backward(dlogits, LinearCache(inp, weight, bias))
    np.testing.assert_allclose(found[0], want, rtol=1e-5, atol=1e-6)
    for x, y in zip(found[1:], back, strict=True):
        assert (x is None) == (y is None)
        if x is not None:  # a number between two codes may get the other one
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-3 * np.abs(y).max() + 1e-6)


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
    assert set(ops.__all__) == TESTED_HERE | BY_DIFFERENCES | IN_TEST_PACKED | IN_OTHER_FILES
    # Whole models in one call are compared as such: to the bit, with logits (test_packed) and layers (test_decode_gpt).
    assert set(ops.__all__) == parity.covered() | {"decode_step", "pack_decode", "gpt_step", "pack_gpt"}


@pytest.mark.parametrize("call", [
    lambda: ops.linear_forward(np.zeros((4, 128, 96)), np.zeros((512, 128))),
    lambda: ops.linear_forward(np.zeros((4, 96)), np.zeros((5, 96)), np.zeros(4)),
    lambda: ops.layernorm_forward(np.zeros((2, 5)), np.zeros(4)),
    lambda: ops.layernorm_forward(np.zeros((2, 5)), np.zeros(5), np.zeros(1)),
    lambda: ops.attention_forward(np.zeros((2, 3, 10)), 2),
    lambda: ops.attention_forward(np.zeros((3, 12)), 2),
    lambda: ops.attention_extend(np.zeros((1, 3, 12)), np.zeros((1, 4, 4)), np.zeros((1, 4, 4)), 2, 2),
    lambda: ops.residual_forward(np.zeros((2, 3)), np.zeros((1, 3))),
    lambda: ops.headnorm_forward(np.zeros((2, 3, 10)), 3, np.zeros(10), np.zeros(10)),
    lambda: ops.headnorm_forward(np.zeros((2, 3, 10)), 2, np.zeros(9), np.zeros(10)),
    lambda: ops.bitlinear_forward(np.zeros((2, 4)), ops.ternarize(np.zeros((3, 5)))),
    lambda: ops.recurrence_forward(np.zeros((1, 2, 3)), np.zeros((1, 2, 3)), np.zeros((1, 3, 3)), np.zeros(3)),
    lambda: ops.recurrence_forward(*np.zeros((3, 1, 2, 3)), np.zeros(4)),
    lambda: ops.token_shift_forward(np.zeros((1, 2, 3)), np.zeros(2)),
    lambda: ops.rmsnorm_forward(np.zeros((2, 5)), np.zeros(4)),
    lambda: ops.swiglu_forward(np.zeros((2, 5)), np.zeros((2, 4))),
    lambda: ops.geglu_forward(np.zeros((2, 5)), np.zeros((1, 5))),
    lambda: ops.gated_conv_forward(np.zeros((1, 2, 7)), np.zeros((8, 3))),
    lambda: ops.gated_conv_forward(np.zeros((1, 2, 6)), np.zeros((8, 3)), np.zeros((1, 8, 3))),
    lambda: ops.gated_conv_forward(np.zeros((1, 2, 6)), np.zeros((0, 3))),
    lambda: ops.rope_forward(np.zeros((1, 2, 18)), 2),
    lambda: ops.rope_forward(np.zeros((1, 2, 16)), 2),
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
