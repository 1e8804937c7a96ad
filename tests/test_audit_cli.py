"""tinylm audit: exit codes, names, JSON, and a planted error of each kind on the command line."""
from __future__ import annotations

import json

import numpy as np
import pytest
from leaks import PUBLISHED

from tinylm import config, kernels, models, ops
from tinylm.audit import suite
from tinylm.cli.main import main
from tinylm.layers import Parameters
from tinylm.ops.precision import precision
from tinylm.text.tokenizer import Tokenizer, char_tokenizer
from tinylm.train import checkpoint
from tinylm.units import Loss


def answer(capsys, *args):
    code = main(["audit", *args])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_green_with_a_table(capsys):
    code, out, err = answer(capsys, "gpt-run1", "--only", "causality", "--only", "streaming")
    assert code == 0
    assert "all 11 checks hold" in out
    assert "failed" not in out
    assert "error" not in err


def test_json_is_one_object(capsys):
    code, out, _ = answer(capsys, "gpt-tiny", "--json", "--only", "units")
    found = json.loads(out)
    assert code == 0
    assert found["ok"] is True
    assert {c["name"] for c in found["checks"]} == {"units.loss", "units.bytes", "units.uniform"}
    assert all(set(c) == {"name", "ok", "worst", "detail"} for c in found["checks"])


def test_without_a_name_every_preset_is_checked(capsys):
    code, out, _ = answer(capsys, "--json", "--only", "causality")
    assert code == 0
    assert {c["name"].split("/")[0] for c in json.loads(out)["checks"]} == set(config.preset_names())


def test_list(capsys):
    code, out, _ = answer(capsys, "--list")
    assert code == 0
    names = [*suite.GROUPS, "floor"]
    assert [line.split()[0] for line in out.splitlines()] == names
    assert [g["name"] for g in json.loads(answer(capsys, "--list", "--json")[1])["groups"]] == names


@pytest.mark.slow
def test_the_floor(capsys, monkeypatch):
    code, out, _ = answer(capsys, "thunderbolt", "--floor", "--json")
    assert code == 0
    (check,) = json.loads(out)["checks"]
    assert check["name"] == "floor"
    assert "ln V" in check["detail"]
    for name, function in PUBLISHED.items():
        monkeypatch.setattr(kernels, name, function)
    code, out, err = answer(capsys, "thunderbolt", "--floor")
    assert code == 3
    assert "floor: " in err
    assert "the model sees what it predicts" in err
    assert len(err.strip().splitlines()) <= 2


def test_the_floor_is_not_among_the_checks_of_every_day(capsys):
    code, out, _ = answer(capsys, "thunderbolt", "--json", "--only", "streaming")
    assert code == 0
    assert [c["name"] for c in json.loads(out)["checks"]] == ["streaming", "streaming.kernels"]
    assert "floor" not in suite.GROUPS


@pytest.mark.parametrize(("args", "hint"), [
    (["gpt-run9"], "gpt-run1"), (["gpt-tiny", "--only", "gradient"], "gradients"), (["--seed", "-1"], "seed")])
def test_what_is_not_there_is_a_usage_error(capsys, args, hint):
    code, _, err = answer(capsys, *args)
    assert code == 2
    assert hint in err
    assert len(err.strip().splitlines()) == 1


def attention_without_mask(inp, heads, rate=0.0, key=None):
    out, cache = ops.attention.attention_forward(inp, heads, rate, key)
    return out + inp[:, -1:, :out.shape[-1]], cache


def norm_over_time(inp, weight, bias=None, eps=1e-5):
    out, cache = ops.layernorm.layernorm_forward(inp, weight, bias, eps)
    return (out - out.mean(1, keepdims=True) if inp.ndim == 3 else out), cache


def missing_term(dout, cache, add_to=None, residual=None):
    _, *rest = ops.layernorm.layernorm_backward(dout, cache, add_to)
    return cache.rstd * dout * cache.weight + (0 if residual is None else residual), *rest


def off_by_one(dout, cache, add_to=None, **through):
    found = kernels.linear.linear_backward(dout, cache, add_to, **through)
    found[0].reshape(-1, found[0].shape[-1])[16:17] = 0
    return found


def wrong_place(inp, past_keys, past_values, length, heads):
    return ops.attention.attention_extend(inp, past_keys, past_values, max(length - 1, 0), heads)


def by_thread(grad):
    import numba
    return kernels.optimizer.global_norm(grad) * (1 + 1e-15 * numba.get_num_threads())


PLANTED = {
    "attention without mask": ("causality", ops, "attention_forward", attention_without_mask,
                               "causality: blocks.0.attention leaks"),
    "norm over time": ("causality", ops, "layernorm_forward", norm_over_time, "causality: blocks.0.norm1 leaks"),
    "a backward pass without a term": ("gradients", ops, "layernorm_backward", missing_term,
                                       "gradients: gpt: dblocks.1.ffn.down"),
    "a kernel off by one at a block's edge": ("kernels", kernels, "linear_backward", off_by_one, "kernels: linear"),
    "a cache written at the wrong place": ("streaming", ops, "attention_extend", wrong_place,
                                           "streaming: position"),
    "a sum that depends on the threads": ("threads", kernels, "global_norm", by_thread, "threads: norm"),
    "bytes counted as tokens": ("units", Tokenizer, "token_bytes", property(lambda self: np.ones(
        self.vocab_size, np.int64)), "units.bytes: the tokens of"),
    "bits that are nats": ("units", Loss, "bits_per_byte", property(lambda self: self.nats / self.bytes),
                           "units.loss: bits/byte"),
}


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_ends_with_3_and_its_name(capsys, monkeypatch, error):
    group, where, name, wrong, says = PLANTED[error]
    monkeypatch.setattr(where, name, wrong)
    code, out, err = answer(capsys, "gpt-run1", "--only", group)
    assert code == 3
    assert says in err
    assert "failed" in out
    code, out, _ = answer(capsys, "gpt-run1", "--only", group, "--json")
    assert code == 3
    assert json.loads(out)["ok"] is False


@pytest.fixture
def run(tmp_path):
    """The folder of a run with one checkpoint of a small model."""
    tokenizer = char_tokenizer("abcdé 🙂", True)
    shape = {"vocab": tokenizer.vocab_size, "context": 9, "channels": 12, "layers": 1, "heads": 2, "dropout": 0.1}
    params = Parameters(models.build("gpt", shape).parameters())
    params.initialise(4)
    return checkpoint.write(tmp_path / "run" / "checkpoints", family="gpt", config=shape, tokenizer=tokenizer.to_json(),
                            state={"step": 3}, params=params, first=params.like(), second=params.like(), best=True)


def test_the_weights_of_a_run_are_checked(capsys, run):
    only = [word for name in ("causality", "streaming", "units") for word in ("--only", name)]
    code, out, err = answer(capsys, str(run), "--json", *only)
    assert code == 0, err
    names = {c["name"] for c in json.loads(out)["checks"]}
    assert {"weights.causality", "weights.uniform", "weights.streaming", "weights.bytes", "streaming"} <= names


def a_step_for_all_tokens(inp, weight, bias=None, good=kernels.linear_forward):
    if precision() == "int16":
        step = np.abs(inp).mean() / np.float32(500)
        inp = np.rint(inp / step) * step
    return good(inp, weight, bias)


def the_last_row_is_lost(dout, cache, add_to=None, good=kernels.linear_backward, **through):
    if precision() == "bfloat16":
        dout = dout.copy()
        dout[-1, -1] = 0
    return good(dout, cache, add_to, **through)


@pytest.mark.parametrize(("group", "name", "wrong", "says"), [
    ("causality", "linear_forward", a_step_for_all_tokens, "causality.kernels.int16: blocks.0.attention.qkv leaks"),
    ("kernels", "linear_backward", the_last_row_is_lost, "kernels.model.bfloat16: the gradient entering blocks.1"),
])
def test_an_error_at_one_precision_is_named_with_it(capsys, monkeypatch, group, name, wrong, says):
    monkeypatch.setattr(kernels, name, wrong)
    code, out, err = answer(capsys, "gpt-tiny", "--only", group, "--json")
    assert code == 3
    assert says in err
    assert [c["name"] for c in json.loads(out)["checks"] if not c["ok"]] == [says.split(":")[0]]


def test_the_list_is_readable_in_80_columns(capsys):
    assert all(len(line) <= 80 for line in answer(capsys, "--list")[1].splitlines())
