"""Tape, parameters and passes; the layers' gradients are in test_audit.py."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm import kernels, ops
from tinylm.layers import (
    BitLinear,
    Block,
    Head,
    HeadNorm,
    Linear,
    Parameter,
    Parameters,
    Pass,
    Recurrence,
    Residual,
    Tape,
    TokenShift,
)
from tinylm.layers.parameters import ALIGNMENT
from tinylm.models import build
from tinylm.ops.random import dropout_key, dropout_mask

DECLARATIONS = st.lists(st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.booleans(),
                                  st.sampled_from([("normal", 0.5), ("constant", 2.0)]),
                                  st.sampled_from(["float", "ternary"])), min_size=1, max_size=8).map(
    lambda rows: [Parameter(f"p{i}", tuple(s), d, init, kind) for i, (s, d, init, kind) in enumerate(rows)])


# ------------------------------------------------------------------------------------------ parameters
@given(DECLARATIONS, st.sampled_from([np.float32, np.float64]))
def test_parameters_are_views_that_do_not_overlap(declaration, dtype):
    params = Parameters(declaration, dtype)
    for i, (_, view) in enumerate(params.items()):
        view[...] = i + 1
    for i, (name, view) in enumerate(params.items()):
        assert np.shares_memory(view, params.flat)
        assert (view == i + 1).all(), name
        assert view.shape == declaration[i].shape
        assert view.dtype == dtype
    used = sum(p.size for p in declaration)
    assert (params.flat != 0).sum() == used == params.count()
    assert params.count("float") + params.count("ternary") == used


@given(DECLARATIONS, st.sampled_from(["float", "ternary"]))
def test_pieces_leave_out_one_kind_and_nothing_else(declaration, kind):
    params = Parameters(declaration)
    params.flat[:] = 1
    pieces = params.pieces(kind)
    for piece in pieces:
        piece[:] = 0
    for p in declaration:
        assert (params[p.name] == (p.kind == kind)).all(), p
    assert len(pieces) <= 1 + sum(p.kind == kind for p in declaration)


@given(DECLARATIONS)
def test_every_tensor_starts_on_a_cache_line(declaration):
    params = Parameters(declaration)
    assert all(view.ctypes.data % 64 == 0 for _, view in params.items())
    assert params.flat.size % ALIGNMENT == 0


@given(DECLARATIONS)
def test_one_index_separates_what_decays(declaration):
    params = Parameters(declaration)
    params.flat[:params.decayed] = -1
    for p in declaration:
        assert (params[p.name] == -1).all() == p.decayed
        assert (params[p.name] == 0).all() != p.decayed


@given(DECLARATIONS, st.integers(0, 99))
def test_initial_values_depend_on_seed_and_name_alone(declaration, seed):
    params, alone = Parameters(declaration), Parameters(declaration[-1:])
    params.initialise(seed)
    alone.initialise(seed)
    name = declaration[-1].name
    assert np.array_equal(params[name], alone[name])
    like = params.like()
    assert not like.flat.any()
    assert like.decayed == params.decayed
    assert not np.shares_memory(like.flat, params.flat)


def test_initial_values_have_the_declared_spread():
    wide = (200, 300), True, ("normal", 0.02)
    params = Parameters([Parameter("w", *wide), Parameter("b", (7,), False, ("constant", 1.0)),
                         Parameter("v", *wide)])
    params.initialise(1)
    assert abs(params["w"].std() / 0.02 - 1) < 0.02
    assert abs(params["w"].mean()) < 0.02 / 50
    assert (params["b"] == 1).all()
    assert abs(np.corrcoef(params["w"].ravel(), params["v"].ravel())[0, 1]) < 0.03


def test_names_are_unique_and_initialisers_known():
    with pytest.raises(ValueError, match="twice.*w"):
        Parameters([Parameter("w", (1,), True, ("normal", 1.0))] * 2)
    with pytest.raises(ValueError, match="w: unknown"):
        Parameters([Parameter("w", (1,), True, ("uniform", 1.0))]).initialise(0)


def test_membership_and_order():
    params = Parameters([Parameter("bias", (2,), False, ("constant", 0.0)),
                         Parameter("weight", (2,), True, ("constant", 0.0))])
    assert "bias" in params
    assert "other" not in params
    assert [name for name, _ in params.items()] == ["bias", "weight"], "declared order, whatever the layout"


# ------------------------------------------------------------------------------------------ tape and pass
def test_a_tape_gives_back_last_in_first_out():
    tape = Tape()
    tape.push("a", 1)
    tape.push("b", 2)
    assert len(tape) == 2
    assert tape.pop("b") == 2
    assert tape.pop("a") == 1
    assert len(tape) == 0


def test_a_tape_notices_the_wrong_order():
    tape = Tape()
    tape.push("norm", 1)
    tape.push("linear", 2)
    with pytest.raises(RuntimeError, match="norm went back where linear is the last"):
        tape.pop("norm")


def test_an_empty_tape_gives_nothing():
    with pytest.raises(IndexError):
        Tape().pop("a")


def test_without_a_tape_nothing_is_remembered():
    layer = Linear("l", 3, 2)
    params = Parameters(layer.parameters())
    params.initialise(0)
    inp, tape = np.ones((1, 3), np.float32), Tape()
    want = layer.forward(inp, Pass(ops, params, tape=tape))
    assert len(tape) == 1
    np.testing.assert_array_equal(layer.forward(inp, Pass(ops, params)), want)
    assert len(tape) == 1


@pytest.mark.parametrize("f", [ops, kernels], ids=["numpy", "numba"])
def test_a_head_that_knows_its_dlosses_goes_back_at_once_with_the_same_gradient(f):
    rng = np.random.default_rng(0)
    head = Head("head", 5, 11)
    params = Parameters(head.parameters())
    params.flat[:] = rng.standard_normal(params.flat.size)
    inp, dlosses = rng.standard_normal((2, 3, 5)).astype(np.float32), rng.standard_normal(6).astype(np.float32)
    targets, found = rng.integers(0, 11, (2, 3)), []
    for promised in (None, dlosses):
        run = Pass(f, params, g=params.like(), tape=Tape(), dlosses=promised)
        losses = head.forward(inp, targets, run).copy()
        found.append((losses, head.backward(dlosses, run), run.g.flat))
    for apart, at_once in zip(*found):
        assert apart.shape == at_once.shape
        np.testing.assert_allclose(at_once, apart, rtol=1e-5, atol=1e-6)


def test_a_head_is_to_get_the_dlosses_it_was_promised():
    head = Head("head", 2, 3)
    params, dlosses = Parameters(head.parameters()), np.ones(1)
    run = Pass(ops, params, g=params.like(), tape=Tape(), dlosses=dlosses)
    head.forward(np.ones((1, 1, 2)), np.zeros((1, 1), int), run)
    with pytest.raises(RuntimeError, match="head went back with other dlosses"):
        head.backward(2 * dlosses, run)


def test_observers_see_every_layer_inside_out():
    model = build("gpt", {"vocab": 5, "context": 4, "channels": 6, "layers": 1, "heads": 2})
    params = Parameters(model.parameters())
    params.initialise(0)
    seen = []
    model.logits(np.zeros((1, 3), np.int32), Pass(ops, params, observe=lambda layer, inp, out: seen.append(
        (layer.name, inp.shape, out.shape))))
    names = [n for n, _, _ in seen]
    assert set(names) == {layer.name for layer in model.walk()} - {"gpt"}
    assert len(names) == len(set(names))
    for outer in model.walk():
        for inner in outer.children():
            if outer is not model:
                assert names.index(inner.name) < names.index(outer.name)
    assert ("blocks.0.ffn.up", (1, 3, 6), (1, 3, 24)) in seen


# ------------------------------------------------------------------------------------------ layers
def test_gradients_are_added():
    layer = Linear("l", 3, 2)
    params = Parameters(layer.parameters(), np.float64)
    params.initialise(0)
    grads = params.like()
    x, d = np.random.default_rng(0).standard_normal((2, 4, 3)), np.ones((4, 2))
    for inp in x:
        run = Pass(ops, params, grads, Tape())
        layer.forward(inp, run)
        layer.backward(d, run)
    np.testing.assert_allclose(grads["l.weight"], d.T @ x.sum(0))
    np.testing.assert_allclose(grads["l.bias"], 2 * d.sum(0))


def test_a_layer_without_bias_declares_none():
    assert [p.name for p in Linear("l", 3, 2, bias=False).parameters()] == ["l.weight"]


def test_only_matrices_decay():
    model = build("gpt", {"vocab": 5, "context": 4, "channels": 6, "layers": 1, "heads": 2})
    for p in model.parameters():
        assert p.decayed == (len(p.shape) > 1), p.name


def test_each_residual_draws_its_own_mask():
    key, x = dropout_key(0, 1), np.zeros((2, 3, 8))
    for site in (1, 4):
        layer = Residual("r", 0.5, site)
        out = layer.forward(x, x + 1, Pass(ops, None, dropout=key))
        assert np.array_equal(out, dropout_mask(x.shape, 0.5, key.at(site)))
    assert np.array_equal(Residual("r", 0.5, 1).forward(x, x + 1, Pass(ops, None)), x + 1)


@pytest.mark.parametrize("key", [None, dropout_key(0, 1)])
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_branch_adds_its_residual_itself_only_where_nothing_is_dropped(rate, key):
    inp, of_branch = np.random.default_rng(0).standard_normal((2, 2, 3, 8)).astype(np.float32)
    layer, asked = Residual("r", rate, 1), []

    def branch(residual=None):
        asked.append(residual)
        return of_branch if residual is None else residual + of_branch

    params = Parameters([Parameter("p", (1,), True, ("constant", 1.0))])
    watched, alone = (Pass(kernels, params, tape=Tape(), dropout=key, observe=observe)
                      for observe in (lambda *_: None, None))
    out = layer.forward_of(inp, branch, watched)
    assert np.array_equal(layer.forward_of(inp, branch, alone), out)
    assert asked[0] is None and (asked[1] is inp) == (rate == 0 or key is None)
    for one, other in zip(layer.backward(inp, alone), layer.backward(inp, watched), strict=True):
        assert np.array_equal(one, other)


def test_no_two_places_of_a_model_share_a_mask():
    model = build("gpt", {"vocab": 5, "context": 4, "channels": 6, "layers": 3, "heads": 2, "dropout": 0.1})
    sites = [layer.site for layer in model.walk() if hasattr(layer, "site")]
    assert len(sites) == 9
    assert len(set(sites)) == 9


def test_multiplies_are_those_of_the_matrix_products():
    model = build("gpt", {"vocab": 5, "context": 4, "channels": 6, "layers": 1, "heads": 2})
    count = {layer.name: layer.multiplies(4) for layer in model.walk()}
    assert count["blocks.0.attention.qkv"] == 6 * 18
    assert count["blocks.0.ffn.up"] == count["blocks.0.ffn.down"] == 6 * 24
    assert count["head"] == 6 * 5
    # position t sees t + 1 positions: 1 + 2 + 3 + 4 of them for 4 tokens, C for each product
    assert count["blocks.0.attention"] == 2 * 6 * (1 + 2 + 3 + 4) / 4
    assert not any(isinstance(layer, Block) and layer.multiplies(4) for layer in model.walk())


# ------------------------------------------------------------------------------------------ ternary and recurrent
def ready(layer, seed=0):
    params = Parameters(layer.parameters(), np.float64)
    params.initialise(seed)
    return params


@pytest.mark.parametrize("bits", [0, 8])
def test_a_ternary_map_multiplies_by_codes_and_one_scale(bits):
    layer = BitLinear("l", 6, 5, bits)
    params = ready(layer)
    assert [(p.name, p.shape, p.kind, p.decayed) for p in layer.parameters()] == [("l.weight", (5, 6), "ternary", True)]
    inp = np.random.default_rng(0).integers(-127, 128, (2, 3, 6)).astype(float)
    inp[..., 0] = 127   # so 8 bits lose nothing
    codes, scale = ops.ternarize(params["l.weight"])
    out = layer.forward(inp, Pass(ops, params))
    np.testing.assert_allclose(out, inp @ codes.T * scale, rtol=1e-12)


def test_eight_bits_round_and_float_does_not():
    params = ready(BitLinear("l", 6, 5, 0))
    inp = np.random.default_rng(0).standard_normal((4, 6))
    exact, rounded = (BitLinear("l", 6, 5, bits).forward(inp, Pass(ops, params)) for bits in (0, 8))
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(exact, rounded, atol=0.1)


def test_ternary_gradients_are_added():
    layer = BitLinear("l", 3, 2, 0)
    params, grads = ready(layer), ready(layer).like()
    grads.flat[:] = 1
    x, d = np.random.default_rng(0).standard_normal((4, 3)), np.ones((4, 2))
    run = Pass(ops, params, grads, Tape())
    layer.forward(x, run)
    layer.backward(d, run)
    np.testing.assert_allclose(grads["l.weight"], 1 + d.T @ x)


def test_kaiming_normal_by_what_goes_out():
    (weight,) = BitLinear("l", 300, 200, 8).parameters()
    assert weight.init == ("normal", pytest.approx((2 / 200) ** 0.5))


@pytest.mark.parametrize("make", [lambda: TokenShift("s", 6), lambda: Recurrence(
    "s", 6, 2, lower=0.3, gate_bias=0.5, activation_bits=8)], ids=["token shift", "recurrence"])
@pytest.mark.parametrize("cut", range(1, 7))
def test_a_layer_that_looks_back_may_be_cut_anywhere(make, cut):
    layer = make()
    params, state = ready(layer), {}
    inp = np.random.default_rng(0).standard_normal((2, 7, 6))
    whole = layer.forward(inp, Pass(ops, params))
    pieces = [layer.forward(part, Pass(ops, params), state) for part in (inp[:, :cut], inp[:, cut:])]
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, rtol=0, atol=1e-14)
    assert not np.allclose(layer.forward(inp[:, cut:], Pass(ops, params)), whole[:, cut:]), "what came before matters"


def test_without_a_state_nothing_is_kept():
    layer = TokenShift("s", 2)
    params, inp = ready(layer), np.ones((1, 3, 2))
    first = layer.forward(inp, Pass(ops, params))
    assert np.array_equal(layer.forward(inp, Pass(ops, params)), first)
    assert first[0].tolist() == [[0.5, 0.5], [1.0, 1.0], [1.0, 1.0]], "half itself, half the one before"


def test_a_state_is_no_view_of_what_was_read():
    layer, state = TokenShift("s", 2), {}
    inp = np.ones((1, 3, 2))
    layer.forward(inp, Pass(ops, ready(layer)), state)
    inp[:] = 7
    assert state["s"].tolist() == [[1.0, 1.0]]


def test_a_head_norm_knows_its_head_and_its_token_only():
    layer = HeadNorm("n", 8, 2)
    params, rng = ready(layer), np.random.default_rng(0)
    inp = rng.standard_normal((2, 5, 8))
    changed = inp.copy()
    changed[1, 3, 4:] = rng.standard_normal(4)
    moved = layer.forward(inp, Pass(ops, params)) != layer.forward(changed, Pass(ops, params))
    assert moved[1, 3, 4:].all()
    assert moved.sum() == 4
