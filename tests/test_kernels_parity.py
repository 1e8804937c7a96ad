"""Every kernel against its definition, and the same bits for any number of threads.

Three oracles in a row: loops (test_ops_definitions) -> definitions in float64 -> kernels in float32.
"""
from __future__ import annotations

import types

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinylm import kernels, ops
from tinylm.audit import parity, threads
from tinylm.errors import CheckFailed
from tinylm.kernels import vector_math
from tinylm.ops.shapes import ShapeError

SEED = st.integers(0, 2 ** 32 - 1)


@pytest.mark.parametrize("name", parity.OPERATIONS)
@settings(max_examples=40)
@given(data=st.data(), seed=SEED)
def test_kernels_compute_their_definitions(name, data, seed):
    sizes = {k: data.draw(st.sampled_from(v), label=k) for k, v in parity.OPERATIONS[name].sizes.items()}
    for difference in parity.compare(name, kernels, sizes, seed):
        assert difference.share <= 1, str(difference)


@pytest.mark.parametrize("name", parity.OPERATIONS)
@settings(max_examples=20)
@given(data=st.data(), seed=SEED)
def test_bounds_hold_for_any_correct_float32(name, data, seed):
    """The definitions themselves in float32 are a correct kernel: a bound they break is too tight."""
    sizes = {k: data.draw(st.sampled_from(v), label=k) for k, v in parity.OPERATIONS[name].sizes.items()}
    for difference in parity.compare(name, ops, sizes, seed):
        assert difference.share <= 1, str(difference)


@settings(max_examples=25)
@given(st.sampled_from(parity.EDGES), st.sampled_from(parity.EDGES), st.sampled_from(parity.EDGES),
       st.booleans(), st.booleans(), SEED)
@example(6 * 4 + 1, 16 * 3 + 5, 2, False, True, 0)
def test_products_of_strided_and_read_only_arrays(M, N, K, sliced, turned, seed):
    """What a caller may hand in without copying: every other column, a transposed view, a memory map."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((M, 2 * K)).astype(np.float32)
    a = a[:, ::2] if sliced else np.ascontiguousarray(a[:, :K])
    b = rng.standard_normal((N, K)).astype(np.float32)
    b = np.asfortranarray(b) if turned else b
    b.flags.writeable = False
    got = kernels.matmul(a, b, transpose_b=True)
    bound = parity.gamma(K + 1) * (np.abs(a).astype(float) @ np.abs(b).T.astype(float))
    assert (np.abs(got - a.astype(float) @ b.T.astype(float)) <= bound + 1e-40).all()


def test_a_bias_of_any_layout_is_added_and_one_of_the_wrong_size_refused():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 8)).astype(np.float32), rng.standard_normal((8, 70)).astype(np.float32)
    bias = rng.standard_normal(140)[::2]
    np.testing.assert_allclose(kernels.matmul(a, b, bias=bias), a @ b + bias, rtol=1e-4, atol=1e-5)
    with pytest.raises(ShapeError, match="bias"):
        kernels.matmul(a, b, bias=bias[:69])


@pytest.mark.parametrize("name", parity.OPERATIONS)
def test_results_do_not_depend_on_the_number_of_threads(name):
    operation = parity.OPERATIONS[name]
    for sizes in threads.large(name):
        case = operation.draw(np.random.default_rng(0), **sizes)
        check = threads.same_bits(lambda c=case: operation.run(kernels, c), f"{name} {sizes}", repeats=5).require()
        assert numba.config.NUMBA_NUM_THREADS < 4 or "1, 2, 4 threads" in check.detail


@pytest.mark.parametrize("name", parity.OPERATIONS)
def test_large_inputs_that_are_shared_out_to_threads(name):
    for sizes in threads.large(name):
        for difference in parity.compare(name, kernels, sizes, 0):
            assert difference.share <= 1, str(difference)


def test_extending_by_many_positions_is_extending_by_one_each():
    rng = np.random.default_rng(0)
    inp = rng.standard_normal((2, 9, 3 * 50)).astype(np.float32)
    outs = []
    for pieces in ([9], [1] * 9, [4, 5]):
        keys, values = (np.zeros((2, 9, 50), np.float32) for _ in range(2))
        out, at = [], 0
        for size in pieces:
            out.append(kernels.attention_extend(inp[:, at:at + size], keys, values, at, 2))
            at += size
        outs.append(np.concatenate(out, 1))
    whole = kernels.attention_forward(inp, 2)[0]
    for out in outs:
        np.testing.assert_allclose(out, whole, rtol=0, atol=2e-6)


@numba.njit
def _exps_and_sigmoids(powers, sigmoids, x):
    for i in range(x.size):
        powers[i], sigmoids[i] = vector_math.exp32(x[i]), vector_math.sigmoid32(x[i])


def test_exp_and_sigmoid_are_as_exact_as_they_say():
    x = np.concatenate([np.linspace(-87, 88, 300_001), np.linspace(-1, 1, 100_001)]).astype(np.float32)
    powers, sigmoids, exact = np.empty_like(x), np.empty_like(x), x.astype(np.float64)
    _exps_and_sigmoids(powers, sigmoids, x)
    assert np.abs(powers / np.exp(exact) - 1).max() < 2e-7
    assert np.abs(sigmoids * (1 + np.exp(-exact)) - 1).max() < 4e-7
    ends = np.array([np.nan, -np.inf, -1e4, 1e4, np.inf], np.float32)
    _exps_and_sigmoids(powers[:5], sigmoids[:5], ends)
    np.testing.assert_allclose(powers[:5], np.exp([np.nan, -87, -87, 88, 88]), rtol=2e-7)
    np.testing.assert_allclose(sigmoids[:5], [np.nan, 0, 0, 1, 1], rtol=0, atol=1e-37)


@pytest.mark.parametrize("name", ["linear", "layernorm", "gelu", "cross_entropy", "linear_cross_entropy",
                                  "loss_and_gradient"])
def test_a_nan_is_not_lost(name):
    """The guard of the trainer looks for numbers that are not finite: kernels must hand them on."""
    operation = parity.OPERATIONS[name]
    case = operation.draw(np.random.default_rng(0), **{k: threads.LARGE.get(k, 65) for k in operation.sizes})
    first = "logits" if name == "cross_entropy" else "inp"
    case[first] = case[first].copy()
    case[first].flat[-1] = np.nan
    out = operation.run(kernels, case)["out"]
    assert np.isnan(out).any()
    assert not np.isnan(out.reshape(len(out), -1)[0]).any(), "but only where it is"


# ------------------------------------------------------------------------- kernels with a mistake in them
def broken(**replaced):
    """The definitions as kernels, some functions replaced."""
    module = types.SimpleNamespace(**{n: getattr(ops, n) for n in ops.__all__})
    for name, function in replaced.items():
        setattr(module, name, function)
    return module


def _last_column_of_a_block_lost(a, b, **options):
    out = ops.matmul(a, b, **options)
    if out.shape[1] > 16:
        out[:, 16] = 0
    return out


def _last_row_lost(dout, cache, add_to=None, residual=None):
    dout = dout.copy()
    dout.reshape(-1, dout.shape[-1])[-1:] = 0
    return ops.layernorm_backward(dout, cache, add_to, residual)


def _residual_lost(dout, cache, add_to=None, residual=None):
    return ops.layernorm_backward(dout, cache, add_to)


def _overwrites(dout, cache, add_to=None):
    found = ops.linear_backward(dout, cache)
    for into, g in zip(add_to or (), found[1:]):
        if into is not None:
            into[...] = g
    return (found[0], *(add_to or found[1:]))


def _another_mask(inp, rate, key):
    return ops.dropout_forward(inp, rate, key.at(key.site + 1))


def _writes_one_place_too_far(inp, past_keys, past_values, length, heads, *shape):
    numbers = getattr(past_keys, "codes", past_keys)
    if length + inp.shape[1] < numbers.shape[1]:
        numbers[:, length + inp.shape[1]] = 0
    return ops.attention_extend(inp, past_keys, past_values, length, heads, *shape)


def _no_mask(inp, heads, rate=0.0, key=None, *shape):
    out, cache = ops.attention_forward(inp, heads, rate, key, *shape)
    return out + np.float32(1e-4) * inp[:, -1:, :out.shape[-1]], cache


def _scribbles(inp):
    out, cache = ops.relu_forward(inp)
    inp *= 0
    return out, cache


def _seen_from_the_next_row(inp):
    codes, scale = ops.quantize_activations(inp)
    return codes, np.roll(scale, 1, -2)


def _halves_away_from_zero(weight):
    scale = ops.ternarize(weight).scale
    return ops.ternary.Ternary(np.clip(np.trunc(weight / scale + np.copysign(np.float32(0.5), weight)), -1, 1)
                               .astype(np.int8), scale)


def _one_off(inp, ternary, activation_bits=0, residual=None):
    out, cache = ops.bitlinear_forward(inp, ternary, activation_bits, residual)
    if activation_bits and out.size:
        out.flat[-1] = np.nextafter(out.flat[-1], np.float32(np.inf))
    return out, cache


def _lower_once(forget, value, output, bias, state=None, lower=0.0):
    out, cache = ops.recurrence_forward(forget, value, output, bias, state, lower)
    return out, cache._replace(lower=cache.lower * 0.99)


def _no_state(forget, value, output, bias, state=None, lower=0.0):
    return ops.recurrence_forward(forget, value, output, bias, None, lower)


def _dbias_of_64_channels(dout, cache, add_to=None, overwrite=False):
    found = ops.recurrence_backward(dout, cache, add_to, overwrite)
    found[3][64:] *= 0.999
    return found


def _shift_at_the_end_of_a_text(dout, cache, add_to=None):
    dinp, dmix = ops.token_shift_backward(dout, cache, add_to)
    if len(dinp) > 1:   # the next row of memory is the first of the next text
        dinp[:-1, -1] += dout[1:, 0] * (1 - ops.token_shift._share(cache.mix))
    return dinp, dmix


def _heads_together(inp, heads, weight, bias, eps=1e-5):
    return ops.headnorm_forward(inp, 1, weight, bias, eps)


def _wrong_field(packed, inp, rows):
    return ops.packed_product(np.roll(packed, 1, -1), inp, rows)


def _one_ahead(inp, weight, before=None):
    C = weight.shape[1]
    late = np.concatenate([inp[:, 1:], inp[:, -1:]], 1)
    return ops.gated_conv_forward(np.concatenate([inp[..., :C], late[..., C:]], -1), weight, before)


def _nothing_carried(inp, weight, before=None):
    return ops.gated_conv_forward(inp, weight, None)


def _into_the_text_before(dout, cache, add_to=None):
    dinp, dweight = ops.gated_conv_backward(dout, cache, add_to)
    if len(dinp) > 1 and len(cache.weight) > 1:   # the row after the last is the first of the next text
        dinp[:-1, -1, cache.weight.shape[1]:] += cache.weight[-2] * dout[1:, 0]
    return dinp, dweight


def _neighbours(inp, heads, base=10000.0, start=0):
    B, T, width = inp.shape
    half = width // (6 * heads)
    pairs = inp.reshape(B, T, 3 * heads, half, 2).swapaxes(-1, -2).reshape(inp.shape)
    out, cache = ops.rope_forward(pairs, heads, base, start)
    return out.reshape(B, T, 3 * heads, 2, half).swapaxes(-1, -2).reshape(inp.shape), cache


def _window_one_wider(inp, heads, rate=0.0, key=None, scale=None, window=0):
    return ops.attention_forward(inp, heads, rate, key, scale, window and window + 1)


def _without_its_share(dout, cache, add_to=None, residual=None):
    _, dweight = ops.rmsnorm_backward(dout, cache, add_to)
    return cache.rrms * dout * cache.weight + (0 if residual is None else residual), dweight


def _in_place(dout, cache):
    dout *= cache > 0  # where the residual stream and its branch share one gradient, this spoils the other
    return (dout,)


def _of_the_last_alone(douts, caches, add_to=None, fresh=False):
    _, dweights = ops.bitlinears_backward(douts, caches, add_to, fresh)
    return ops.bitlinear_backward(douts[-1], caches[-1])[0], dweights


def _added_all_the_same(dout, cache, add_to=None, fresh=False):
    return ops.bitlinear_backward(dout, cache, add_to)


def _residual_twice(inp, ternary, activation_bits=0, residual=None):
    return ops.bitlinear_forward(inp, ternary, activation_bits, None if residual is None else residual * 2)


def _gates_changed_first(dout, cache, add_to=None, overwrite=False):
    if overwrite:
        cache.value[...] = 0
    return ops.recurrence_backward(dout, cache, add_to)


def _past_both_lost(dout, cache, add_to=None, residual=None):
    dinp, *rest = ops.norm_shift_backward(dout, cache, add_to)
    if residual is not None:
        residual[...] = dinp
        dinp = residual
    return dinp, *rest


BROKEN = {
    "a column at a block's edge": broken(matmul=_last_column_of_a_block_lost),
    "the last row": broken(layernorm_backward=_last_row_lost),
    "what came past the norm": broken(layernorm_backward=_residual_lost),
    "add_to overwrites": broken(linear_backward=_overwrites),
    "another dropout mask": broken(dropout_forward=_another_mask),
    "the cache one place too far": broken(attention_extend=_writes_one_place_too_far),
    "attention sees a little of the end": broken(attention_forward=_no_mask),
    "norm of all but the last": broken(global_norm=lambda g: ops.global_norm(g[:-1])),
    "a changed input": broken(relu_forward=_scribbles),
    "a changed upstream gradient": broken(relu_backward=_in_place),
    "float64 answers": broken(gelu_forward=lambda x: (ops.gelu_forward(x)[0].astype(np.float64), x)),
    "scales of the next token": broken(quantize_activations=_seen_from_the_next_row),
    "halves away from zero": broken(ternarize=_halves_away_from_zero),
    "one bit of an integer product": broken(bitlinear_forward=_one_off),
    "a gradient added to what is fresh": broken(bitlinear_backward=_added_all_the_same),
    "a residual that is added twice": broken(bitlinear_forward=_residual_twice),
    "gates overwritten too early": broken(recurrence_backward=_gates_changed_first),
    "what came past norm and shift": broken(norm_shift_backward=_past_both_lost),
    "dinp of one weight of several": broken(bitlinears_backward=_of_the_last_alone),
    "a lower bound a little low going back": broken(recurrence_forward=_lower_once),
    "a state that is not taken in": broken(recurrence_forward=_no_state),
    "dbias beyond a block of channels": broken(recurrence_backward=_dbias_of_64_channels),
    "the shift runs into the next text": broken(token_shift_backward=_shift_at_the_end_of_a_text),
    "one norm for all heads": broken(headnorm_forward=_heads_together),
    "bytes of a block in another order": broken(packed_product=_wrong_field),
    "a convolution one ahead": broken(gated_conv_forward=_one_ahead),
    "a convolution that starts anew": broken(gated_conv_forward=_nothing_carried),
    "a convolution into the text before": broken(gated_conv_backward=_into_the_text_before),
    "rotations of neighbours": broken(rope_forward=_neighbours),
    "rotations forth instead of back": broken(rope_backward=lambda d, c: (ops.rope_forward(d, *c)[0],)),
    "rotations from position 0": broken(rope_forward=lambda inp, heads, base=10000.0, start=0: ops.rope_forward(
        inp, heads, base, 0)),
    "gate and value exchanged": broken(swiglu_forward=lambda gate, value: ops.swiglu_forward(value, gate)),
    "dgate and dvalue exchanged": broken(geglu_backward=lambda d, c: ops.geglu_backward(d, c)[::-1]),
    "RMSNorm's mean over channels": broken(rmsnorm_backward=_without_its_share),
    "a window one wider": broken(attention_forward=_window_one_wider),
    "the usual scale": broken(attention_forward=lambda inp, heads, rate=0.0, key=None, scale=None, window=0:
                              ops.attention_forward(inp, heads, rate, key, None, window)),
    "the square of relu without its 2": broken(squared_relu_backward=ops.relu_backward),
    "decay of all": broken(adamw_step=lambda *a, decayed=0, **k: ops.adamw_step(*a, decayed=len(a[0]), **k)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_kernel_with_a_mistake_is_found(name):
    check = parity.check(BROKEN[name], draws=12)
    assert not check.ok
    assert check.worst > 1
    with pytest.raises(CheckFailed):
        check.require()


def test_a_sum_that_depends_on_the_threads_is_found():
    @numba.njit(parallel=True, fastmath={"reassoc"})
    def total(x):
        s = np.float32(0.0)
        for i in numba.prange(x.size):
            s += x[i]
        return s

    x = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)
    check = threads.same_bits(lambda: {"sum": np.array(total(x))}, "sum by thread")
    assert not check.ok
    assert "sum" in check.detail
