"""`tinylm info` and `tinylm trace`: counts against formulas, memory against the allocator."""
from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinylm.ops as ops
from tinylm import config, models
from tinylm.cli.main import main
from tinylm.layers import Parameters, Pass
from tinylm.models import describe
from tinylm.text.dataset import prepare


def ask(capsys, *args):
    """(exit code, stdout, stderr)"""
    code = main([str(a) for a in args])
    out, err = capsys.readouterr()
    return code, out, err


def answer(capsys, *args):
    code, out, err = ask(capsys, *args, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture(autouse=True)
def no_prepared_data(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def gpt(**changes):
    shape = {"vocab": 11, "context": 16, "channels": 12, "layers": 3, "heads": 2} | changes
    return models.build("gpt", shape)


SHAPES = st.fixed_dictionaries({
    "vocab": st.integers(2, 40), "context": st.integers(1, 12), "channels": st.integers(1, 4).map(lambda n: 4 * n),
    "layers": st.integers(1, 3), "heads": st.sampled_from([1, 2, 4]), "hidden": st.sampled_from([0, 5, 12, 48]),
    "activation": st.sampled_from(["relu", "gelu"]), "tied_head": st.booleans(), "head_bias": st.booleans(),
    "qkv_bias": st.booleans(), "norm_bias": st.booleans(), "ffn_bias": st.booleans()})


@pytest.mark.parametrize("preset, total", [("gpt-run1", 815_388), ("gpt-run2", 10_823_534), ("gpt-run3", 1_998_110)])
def test_the_published_models_have_the_published_sizes(capsys, preset, total):
    found = answer(capsys, "info", preset, "--backend", "numpy", "--batch-size", 1)
    assert found["parameters"] == {"total": total, "ternary": 0, "float": total}
    assert sum(c["parameters"] for c in found["components"]) == total
    assert found["bytes"]["weights"] == found["bytes"]["packed"] == found["bytes"]["gradients"] == 4 * total
    assert found["bytes"]["optimizer"] == 8 * total


@given(SHAPES)
def test_multiplications_by_formula(shape):
    model, T, C, L = gpt(**shape), shape["context"], shape["channels"], shape["layers"]
    F = shape["hidden"] or 4 * C
    found = describe.multiplies(model, T)
    positions = sum(t + 1 for t in range(T)) / T  # what a token sees, on average
    assert found["attention"] == pytest.approx(L * (4 * C * C + 2 * C * positions))
    assert found["ffn"] == L * 2 * C * F
    assert found["head"] == C * shape["vocab"]
    assert found["total"] == pytest.approx(found["attention"] + found["ffn"] + found["head"])
    assert describe.flops(model, T) == {"forward": 2 * found["total"], "backward": 4 * found["total"]}


@given(SHAPES)
def test_components_add_up_and_name_every_layer(shape):
    model = gpt(**shape)
    found = {c.name: c for c in describe.components(model, 4)}
    assert list(found) == ["embedding", "norm", "attention", "residual", "ffn", "head"]
    assert sum(c.parameters for c in found.values()) == Parameters(model.parameters()).count()
    assert (found["norm"].layers, found["attention"].layers) == (2 * shape["layers"] + 1, shape["layers"])


@pytest.mark.parametrize("changes", [{}, {"activation": "gelu", "tied_head": True, "norm_bias": False},
                                     {"hidden": 20, "heads": 4}])
def test_activations_are_what_the_allocator_keeps(changes):
    """The oracle is tracemalloc: memory that is still there after the forward pass."""
    # NumPy recycles blocks below 1 kB without telling tracemalloc: 17 x 16 float32 are more.
    model, batch, context = gpt(channels=32, **changes), 17, 16
    params, tape = Parameters(model.parameters()), describe.Tape()
    params.initialise(0)
    tokens = np.zeros((batch, context), np.int32)
    model.forward(tokens, tokens, Pass(f=ops, p=params, tape=describe.Tape()))  # whatever is kept for good
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    # What the caller owns counts too: tokens and targets are on the tape.
    inputs, targets = tokens.copy(), tokens.copy()
    model.forward(inputs, targets, Pass(f=ops, p=params, tape=tape))
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    said = describe.memory(model, ops, batch, context)["activations"]
    # Python objects (tuples, array headers) are counted by the allocator alone: some hundred bytes each.
    assert said <= kept <= said + 1000 * len(tape)
    assert said > 20 * 1000 * len(tape) / 2


@given(st.integers(1, 4), st.integers(1, 12))
def test_activations_grow_with_the_batch_as_said(batch, context):
    assert describe.memory(gpt(), ops, batch, context)["activations"] == \
        describe.activations(gpt(), ops, batch, context)


@given(st.integers(1, 300), st.integers(1, 64), st.integers(1, 64))
def test_a_batch_is_cut_into_equal_parts_that_stay_in_cache(batch, context, most):
    """As many texts as `most` allows, at least half of it where they are cut: few tokens multiply slowly."""
    model = gpt()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(describe, "AT_ONCE", most * context * model.config.channels)
        texts = describe.texts_at_once(model, batch, context)
    fits = [n for n in range(1, batch + 1) if batch % n == 0 and most < 2 * n <= 2 * most]
    assert texts == max(fits, default=batch)


def test_a_text_longer_than_a_part_goes_alone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(describe, "AT_ONCE", 10)
        assert describe.texts_at_once(gpt(), 6, 16) == 1
        assert describe.memory(gpt(), ops, 6, 16)["activations"] == describe.activations(gpt(), ops, 1, 16)


def test_buffers_are_counted_once_and_whole():
    params = Parameters(gpt().parameters())
    buffer = np.zeros(100, np.float32)
    assert describe.kept_bytes([(buffer[:10], [buffer[50:].reshape(5, 10)]), None, 3], params) == 400
    assert describe.kept_bytes([params.flat[:7], buffer, buffer.copy()], params) == 800


def test_ternary_parameters_are_counted_and_packed():
    import dataclasses

    model = gpt()
    qkv = model.blocks[0].mixer.qkv
    qkv.weight = dataclasses.replace(qkv.weight, kind="ternary")
    codes, total = 3 * 12 * 12, Parameters(model.parameters()).count()
    assert describe.parameters(model) == {"total": total, "ternary": codes, "float": total - codes}
    assert describe.memory(model, ops, 1, 4)["packed"] == 64 * 16 / 4 + 4 + 4 * (total - codes)  # 36 x 12, padded
    assert {c.name: c.ternary for c in describe.components(model, 4)}["attention"] == codes


def test_the_vocabulary_is_given_assumed_or_that_of_prepared_data(capsys, tmp_path):
    assumed = answer(capsys, "info", "gpt-shakespeare", "--backend", "numpy")
    assert assumed["config"]["vocab"] == 65
    assert "assumed" in assumed["vocab_from"]
    given_one = answer(capsys, "info", "gpt-shakespeare", "--vocab", 300, "--backend", "numpy")
    assert given_one["config"]["vocab"] == 300
    assert given_one["parameters"]["total"] - assumed["parameters"]["total"] == (300 - 65) * 128  # tied: once
    text = tmp_path / "stories"  # stands for the corpus: prepared data goes by its name
    text.write_text("abc abd\n" * 60)
    prepare(str(text))
    prepare(str(text), vocab=260)  # a preset without a vocabulary takes characters, and so does training
    assert answer(capsys, "info", "gpt-tiny", "--backend", "numpy")["config"]["vocab"] == 6


def test_trace_names_every_shape(capsys):
    found = answer(capsys, "trace", "gpt-shakespeare", "--batch-size", 2, "--context", 5, "--backend", "numpy")
    layers = {x["name"]: x for x in found["layers"]}
    assert [x["depth"] for x in found["layers"][:6]] == [0, 1, 1, 2, 2, 3]
    assert layers["gpt"]["out"] == [2, 5, 65]
    assert layers["gpt"]["out_axes"] == ["B", "T", "V"]
    assert layers["embedding"]["inp_axes"] == ["B", "T"]
    assert layers["blocks.2.attention.qkv"]["out"] == [2, 5, 384]
    assert layers["blocks.2.attention.qkv"]["out_axes"] == ["B", "T", "3C"]
    assert layers["blocks.0.ffn.up"]["out_axes"] == layers["blocks.0.ffn.down"]["inp_axes"] == ["B", "T", "F"]
    assert layers["head"]["out_axes"] == ["B", "T", "V"]
    assert layers["gpt"]["parameters"] == 804_096
    top = [x for x in found["layers"] if x["depth"] == 1]
    assert sum(x["flops"] for x in top) == layers["gpt"]["flops"]
    assert sum(x["seconds"] for x in top) <= layers["gpt"]["seconds"]
    assert all(x["seconds"] > 0 for x in found["layers"])


def test_maps_that_are_done_together_have_shapes_and_no_time_of_their_own(capsys):
    found = answer(capsys, "trace", "thunderbolt-tiny", "--batch-size", 1, "--context", 3)["layers"]
    alone = {x["name"].rpartition(".")[2] for x in found if x["seconds"] is None}
    assert alone == {"forget", "value", "output"}
    assert all(x["out_axes"] == ["B", "T", "C"] for x in found if x["seconds"] is None)


def test_axes_keep_their_names_where_sizes_agree():
    model = gpt(vocab=12, hidden=36)  # V = C and F = 3 C
    params = Parameters(model.parameters())
    params.initialise(0)
    axes = {x.name: (x.inp_axes[-1], x.out_axes[-1]) for x in describe.trace(model, params, ops, 2, 12)}
    assert axes["head"] == ("C", "V")
    assert axes["blocks.0.attention.qkv"] == ("C", "3C")
    assert axes["blocks.0.ffn.up"] == ("C", "F")
    assert axes["blocks.0.ffn.down"] == ("F", "C")


def test_trace_leaves_the_model_as_it_was():
    model = gpt()
    params = Parameters(model.parameters())
    params.initialise(0)
    describe.trace(model, params, ops, 1, 4)
    assert not any("forward" in vars(layer) or "logits" in vars(layer) for layer in model.walk())


def test_trace_tells_equal_blocks_once(capsys):
    _, short, _ = ask(capsys, "trace", "gpt-shakespeare", "--backend", "numpy", "--context", 4)
    _, full, _ = ask(capsys, "trace", "gpt-shakespeare", "--backend", "numpy", "--context", 4, "--all")
    assert "blocks.1 … 3" in short
    assert "blocks.2 " not in short
    assert "blocks.2 " in full
    assert len(full.splitlines()) == len(short.splitlines()) + 3 * 11 - 1  # three blocks of eleven rows became one row
    assert max(map(len, (short + full).splitlines())) <= 80


@pytest.mark.parametrize("name", config.preset_names())
def test_every_preset_is_described_within_80_columns(capsys, name):
    for command in (("info", name, "--batch-size", 1), ("trace", name, "--context", 2)):
        code, out, _ = ask(capsys, *command, "--backend", "numpy")
        assert code == 0
        assert max(map(len, out.splitlines())) <= 80
        assert "\x1b" not in out


@pytest.mark.parametrize("args, code, says", [
    (("info", "gpt-run9"), 2, "gpt-run1"), (("trace", "gpt-run9"), 2, "gpt-run1"),
    (("info", "gpt-run1", "--vocab", 0), 2, "--vocab"), (("info", "gpt-run1", "--batch-size", -1), 2, "--batch-size"),
    (("trace", "gpt-run1", "--context", 129), 2, "128"), (("info",), 2, "PRESET|RUN")])
def test_bad_input_is_one_line(capsys, args, code, says):
    got, out, err = ask(capsys, *args)
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err


def test_a_reader_that_leaves_is_no_error():
    """As in `tinylm info gpt-run1 | head -1`."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([sys.executable, "-m", "tinylm", "info", "gpt-run1"], stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    assert (done.returncode, b"rror" in done.stderr) == (0, False), done.stderr


# -- what a token costs at inference ----------------------------------------------------------------

def thunderbolt(**changes):
    shape = {"vocab": 50, "context": 8, "channels": 24, "layers": 3, "heads": 4, "hidden": 40} | changes
    return models.build("thunderbolt", shape)


class Counted:
    """A number that counts what is done with it."""

    counts = None

    def __init__(self, value):
        self.value = float(value)

    def _binary(self, other, kind, value):
        Counted.counts[kind] += 1
        return Counted(value)

    def __mul__(self, other):
        return self._binary(other, "multiplications", self.value * getattr(other, "value", other))

    def __add__(self, other):
        return self._binary(other, "additions", self.value + getattr(other, "value", other))

    def __sub__(self, other):
        return self._binary(other, "additions", self.value - getattr(other, "value", other))

    def __truediv__(self, other):
        return self._binary(other, "functions", self.value / getattr(other, "value", other))

    def sqrt(self):
        return self._binary(None, "functions", self.value ** 0.5)

    __rmul__, __radd__ = __mul__, __add__

    def __rsub__(self, other):
        return self._binary(other, "additions", other - self.value)

    def __rtruediv__(self, other):
        return self._binary(other, "functions", other / self.value)


def counted(go, *sizes):
    """Operations of go(*lists of such sizes), by kind."""
    Counted.counts = dict.fromkeys(("multiplications", "additions", "functions"), 0)
    rng = np.random.default_rng(0)
    go(*([Counted(x) for x in rng.uniform(0.1, 1, size)] for size in sizes))
    return Counted.counts


def summed(values):
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def by_hand_norm(inp, weight, bias):
    mean = summed(inp) / len(inp)
    centred = [x - mean for x in inp]
    rstd = 1 / ((summed([x * x for x in centred]) / len(inp)) + 1e-5).sqrt()
    return [x * rstd * w + b for x, w, b in zip(centred, weight, bias)]


def cost(layer, kind, context=8):
    return {k: v for k, v in layer.costs(context)[kind]._asdict().items() if k != "read"}


def test_costs_are_those_of_the_formulas_done_by_hand():
    model = thunderbolt()
    block, C, heads = model.blocks[1], 24, 4
    assert cost(block.norm1, "norms") == counted(by_hand_norm, C, C, C)
    one = counted(by_hand_norm, C // heads, C // heads, C // heads)
    assert cost(block.mixer.norm, "norms") == {k: heads * v for k, v in one.items()}
    assert cost(block.shift1, "token shifts") == counted(
        lambda x, before, share, rest: [a * s + b * r for a, b, s, r in zip(x, before, share, rest)], C, C, C, C)

    def sigmoid(x):
        Counted.counts["functions"] += 1  # the exponential
        return 1 / (1 + x)

    def scan(forget, value, output, bias, before):
        for f, v, o, b, h in zip(forget, value, output, bias, before):
            gate = 0.3 + 0.7 * sigmoid(f + b)
            sigmoid(o) * (gate * h + (1 - gate) * v)

    assert cost(block.mixer, "gates and scan") == counted(scan, C, C, C, C, C)
    assert cost(block.ffn, "activations") == counted(lambda x: [a * a for a in x], 40)


def test_ternary_products_only_add():
    def layer(inp, codes):
        """One output: all codes 1 or -1, the first at no cost but its sign."""
        total = inp[0]
        for x, code in zip(inp[1:], [1, -1] * len(codes)):
            total = total + x if code > 0 else total - x

    up = thunderbolt().blocks[0].ffn.up
    M, K = up.weight.shape
    assert cost(up, "ternary products") == {k: M * v for k, v in counted(layer, K, K).items()}
    assert up.costs(8)["ternary products"].read == 64 * 32 // 4  # (40, 24) padded to whole blocks
    assert cost(up, "scales") == {"multiplications": M + K + 2, "additions": 0, "functions": 1}
    plain = thunderbolt(activation_bits=0).blocks[0].ffn.up
    assert cost(plain, "scales") == {"multiplications": M, "additions": 0, "functions": 0}


def test_what_remains_to_multiply_in_thunderbolt(capsys):
    found = answer(capsys, "info", "thunderbolt", "--batch-size", 1, "--backend", "numpy")["inference_per_token"]
    assert found["ternary products"]["multiplications"] == 0
    assert found["ternary products"]["additions"] == 26_542_080 - 18 * (4 * 384 + 1152 + 384)
    assert found["ternary products"]["read"] == 26_542_080 / 4
    assert found["head"]["multiplications"] == 8192 * 384
    for field in ("multiplications", "additions", "functions", "read"):
        assert found["total"][field] == sum(v[field] for k, v in found.items() if k != "total")
    remaining = found["total"]["multiplications"] - found["head"]["multiplications"]
    assert remaining < 0.01 * 26_542_080
    _, out, _ = ask(capsys, "info", "thunderbolt", "--batch-size", 1, "--backend", "numpy")
    line = next(line for line in out.splitlines() if line.startswith("ternary products"))
    assert line.split()[2] == "0"


@given(SHAPES)
def test_costs_agree_with_the_products_counted_for_training(shape):
    """Where all is products, the two counts are one."""
    model, T = gpt(**shape), shape["context"]
    found, products = describe.costs(model, T), describe.multiplies(model, T)
    scores = shape["layers"] * shape["heads"] * (T + 1) / 2
    assert found["head"]["multiplications"] == products["head"]
    assert found["products"]["multiplications"] + found["attention"]["multiplications"] == \
        pytest.approx(products["attention"] + products["ffn"] + 2 * scores)
    read = Parameters(model.parameters()).count() - (shape["vocab"] + T) * shape["channels"]
    head_again = shape["vocab"] * shape["channels"] * shape["tied_head"]
    embedded = 2 * shape["channels"]
    assert found["total"]["read"] - found["attention"]["read"] == 4 * (read + head_again + embedded)
