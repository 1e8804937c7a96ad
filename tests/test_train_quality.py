"""Ternary weights in training: codes are made once a step, and what the log says of them is true."""
from __future__ import annotations

import dataclasses
import json
import shutil
import types

import numpy as np
import pytest
import train_toys as toys
from hypothesis import given, settings
from hypothesis import strategies as st

import tinylm.kernels as kernels
import tinylm.ops as ops
from tinylm import models
from tinylm.layers import Parameter, Parameters
from tinylm.models import describe
from tinylm.train import checkpoint
from tinylm.train.events import Logged
from tinylm.train.quality import TernaryQuality, gradient_norms

SHAPE = {"vocab": toys.V, "context": toys.T, "channels": 8, "layers": 2, "heads": 2, "hidden": 16}
TERNARY = 2 * 6


def thunderbolt(dropout=0.0):
    return models.build("thunderbolt", {**SHAPE, "dropout": dropout})


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(toys, "model", thunderbolt)



@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbs: its trainer, its folder, and the weights at every log line."""
    folder = tmp_path_factory.mktemp("quality") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toys, "model", thunderbolt)
        made = toys.trainer(folder, logging(10))
        weights = [{k: v.copy() for k, v in made.params.items()}]
        for event in made.events():
            if isinstance(event, Logged):
                weights.append({k: v.copy() for k, v in made.params.items()})
    return made, folder, weights


def logging(every, **flags):
    cfg = toys.options(**{"steps": 24, **flags})
    return dataclasses.replace(cfg, recipe=dataclasses.replace(cfg.recipe, log_every=every))


def counting(calls):
    """The definitions, with every call of ternarize written down."""
    f = types.ModuleType("counted")
    f.__dict__.update({k: v for k, v in vars(ops).items() if not k.startswith("__")})

    def ternarize(weight):
        calls.append(weight)
        return ops.ternarize(weight)
    f.ternarize = ternarize
    return f


def test_codes_are_made_once_in_an_optimizer_step(tmp_path):
    calls: list = []
    made = toys.trainer(tmp_path / "run", logging(10, accumulate=3))
    made.f = counting(calls)
    made.prepare()
    for step in (1, 2):
        calls.clear()
        made._optimize(step, 0.01)
        assert len(calls) == TERNARY and len({w.ctypes.data for w in calls}) == TERNARY
    made.run.close()


def test_shared_codes_are_those_of_this_step(tmp_path, monkeypatch):
    """Codes kept beyond an update would be old ones; then the weights would become others."""
    shared, _ = toys.train(tmp_path / "shared", logging(10, accumulate=3))
    real = toys.Trainer._backward
    monkeypatch.setattr(toys.Trainer, "_backward", lambda self, *a: real(self, *a[:-1], {}))
    fresh, _ = toys.train(tmp_path / "fresh", logging(10, accumulate=3))
    assert toys.bits(shared) == toys.bits(fresh)
    assert toys.numbers(tmp_path / "shared") == toys.numbers(tmp_path / "fresh")
    lines = [line for line in toys.numbers(tmp_path / "fresh") if "ternary" in line]
    assert all(line["ternary"]["flips"] > 0 for line in lines)  # else this would show nothing


def by_hand(weight):
    """Codes of one weight matrix, an element at a time."""
    scale = max(float(np.mean(np.abs(weight), dtype=np.float64)), 1e-5)
    return [max(-1, min(1, round(float(w) / float(np.float32(scale))))) for w in weight.reshape(-1)], scale


def test_the_lines_say_what_became_of_the_weights(whole):
    made, folder, weights = whole
    lines = [line for line in toys.numbers(folder) if line["split"] == "train"]
    assert [line["ternary"]["steps"] for line in lines] == [10, 10, 4] and len(weights) == 4
    names = [p.name for p in made.params.declaration if p.kind == "ternary"]
    assert len(names) == TERNARY
    for line, before, after in zip(lines, weights, weights[1:]):
        found, flips, zeros, size = line["ternary"], 0, 0, 0
        assert list(found["layers"]) == [name.removesuffix(".weight") for name in names]
        for name in names:
            (old, _), (new, scale) = by_hand(before[name]), by_hand(after[name])
            flipped, none = sum(a != b for a, b in zip(old, new)), new.count(0)
            layer = found["layers"][name.removesuffix(".weight")]
            assert layer["flips"] == pytest.approx(flipped / len(new), rel=1e-3)
            assert layer["zeros"] == pytest.approx(none / len(new), rel=1e-3)
            assert layer["scale"] == pytest.approx(scale, rel=1e-3)
            flips, zeros, size = flips + flipped, zeros + none, size + len(new)
        assert found["flips"] == flips / size > 0 and found["zeros"] == zeros / size
        assert set(line["grad_norms"]) == {"ternary", "float"}
        assert np.hypot(*line["grad_norms"].values()) == pytest.approx(line["grad_norm"], rel=1e-5)
    assert all(line.keys().isdisjoint({"ternary", "grad_norms"}) for line in toys.numbers(folder)
               if line["split"] == "val")


def test_gradient_norms_are_of_the_mean_of_all_parts(tmp_path, monkeypatch):
    made, _ = toys.train(tmp_path / "whole", logging(10))
    monkeypatch.setattr(describe, "AT_ONCE", 2 * toys.T * made.model.config.channels)
    made, _ = toys.train(tmp_path / "parts", logging(10, accumulate=2))
    assert made.passes_per_step == toys.B  # two batches of B / 2 parts
    for line in toys.numbers(tmp_path / "parts"):
        if "grad_norms" in line:
            assert np.hypot(*line["grad_norms"].values()) == pytest.approx(line["grad_norm"], rel=1e-5)
    assert any("grad_norms" in line for line in toys.numbers(tmp_path / "parts"))


@settings(max_examples=12)
@given(st.lists(st.integers(1, 60), max_size=2))
def test_a_run_that_died_and_was_resumed_counts_the_same_flips(whole, tmp_path_factory, deaths):
    made, folder, _ = whole
    here = tmp_path_factory.mktemp("died") / "run"
    resume = False
    for at in deaths:
        toys.crash(here, None if resume else logging(10), at=at, resume=resume)
        resume = (here / "checkpoints" / "last").exists()
        if not resume:
            shutil.rmtree(here)
        elif checkpoint.read(here / "checkpoints" / "last").step == 24:
            break
    else:
        again, _ = toys.train(here, None if resume else logging(10), resume=resume)
        assert toys.bits(again) == toys.bits(made)
    assert toys.numbers(here) == toys.numbers(folder)


@pytest.mark.parametrize("stop_at", [3, 10, 13])
def test_a_stopped_run_goes_on_counting(whole, tmp_path, stop_at):
    toys.train(tmp_path / "run", logging(10), stop_at=stop_at)
    saved = checkpoint.read(tmp_path / "run" / "checkpoints" / "last", optimizer=True)
    assert len(saved.codes) == TERNARY and all(c.dtype == np.int8 for c in saved.codes.values())
    toys.train(tmp_path / "run", resume=True)
    assert toys.numbers(tmp_path / "run") == toys.numbers(whole[1])


def test_a_new_end_counts_the_steps_since_the_last_line(tmp_path):
    toys.train(tmp_path / "run", logging(10))
    toys.train(tmp_path / "run", resume=True, steps=33)
    lines = [line for line in toys.numbers(tmp_path / "run") if line["split"] == "train"]
    assert [(line["step"], line["ternary"]["steps"]) for line in lines] == \
        [(10, 10), (20, 10), (24, 4), (30, 6), (33, 3)]


def test_a_checkpoint_without_codes_can_be_resumed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(TernaryQuality, "begin", lambda self, codes=None: None)
        patch.setattr(TernaryQuality, "__bool__", lambda self: False)
        toys.train(tmp_path / "run", logging(10), stop_at=13)
    assert not checkpoint.read(tmp_path / "run" / "checkpoints" / "last", optimizer=True).codes
    toys.train(tmp_path / "run", resume=True)
    assert "ternary" in toys.numbers(tmp_path / "run")[-2]


def test_a_model_without_ternary_weights_says_nothing_of_them(tmp_path, monkeypatch):
    monkeypatch.undo()
    toys.train(tmp_path / "run", logging(10))
    assert all(line.keys().isdisjoint({"ternary", "grad_norms"}) for line in toys.numbers(tmp_path / "run"))
    assert not checkpoint.read(tmp_path / "run" / "checkpoints" / "last", optimizer=True).codes


WEIGHTS = st.lists(st.floats(-4, 4, width=32), min_size=6, max_size=6)


@given(st.lists(WEIGHTS, min_size=2, max_size=4), st.sampled_from([ops, kernels]))
def test_flips_zeros_and_scale_of_any_weights(history, f):
    params = Parameters([Parameter("a.weight", (2, 3), True, ("constant", 0.0), "ternary"),
                         Parameter("b", (5,), False, ("constant", 1.0))])
    quality = TernaryQuality(params, f)
    assert quality and not TernaryQuality(Parameters([params.declaration[1]]), f)
    params["a.weight"][...] = np.reshape(history[0], (2, 3))
    quality.begin()
    for before, after in zip(history, history[1:]):
        params["a.weight"][...] = np.reshape(after, (2, 3))
        found = quality.measure(1)
        (old, _), (new, scale) = by_hand(np.float32(before)), by_hand(np.float32(after))
        assert found["flips"] == sum(a != b for a, b in zip(old, new)) / 6 and found["zeros"] == new.count(0) / 6
        assert found["layers"]["a"]["scale"] == pytest.approx(scale, rel=1e-3)
        json.dumps(found, allow_nan=False)


@given(WEIGHTS, WEIGHTS, st.integers(1, 4), st.sampled_from([ops, kernels]))
def test_gradient_norms_by_kind(ternary, plain, batches, f):
    grads = Parameters([Parameter("a.weight", (2, 3), True, ("constant", 0.0), "ternary"),
                        Parameter("b", (6,), False, ("constant", 1.0)), Parameter("c", (6,), True, ("constant", 1.0))])
    grads["a.weight"][...] = np.reshape(ternary, (2, 3))
    grads["b"][...], grads["c"][...] = plain, ternary
    found = gradient_norms(grads, f, batches)
    assert found["ternary"] == pytest.approx(np.linalg.norm(ternary) / batches, rel=1e-6, abs=1e-12)
    assert found["float"] == pytest.approx(np.linalg.norm([*plain, *ternary]) / batches, rel=1e-6, abs=1e-12)
