"""Compiling in a second process: it must compile just what a training step asks for."""
from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from tinylm import config, kernels, models
from tinylm.audit.shrink import shrink
from tinylm.kernels import jit
from tinylm.layers import Parameters, Pass, Tape
from tinylm.ops.random import dropout_key
from tinylm.train import ahead

PRESETS = "gpt-tiny", "thunderbolt-tiny", "bolt"


def small(preset):
    options = dict(config.load_preset(preset)["model"])
    return models.build(options.pop("family"), shrink(options) | {"dropout": 0.1})


def compiled(names):
    """The types for which each kernel has machine code in this process."""
    found = {}
    for name in names:
        module, _, function = name.partition(".")
        found[name] = set(getattr(importlib.import_module(f"tinylm.kernels.{module}"), function).compiled.signatures)
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_what_was_compiled_ahead_is_what_a_step_asks_for(preset):
    """And nothing else: of several signatures, two processes could write one over another."""
    model = small(preset)
    kinds = {type(layer).__name__ for layer in model.walk()}
    names = [kernel for kind, (_, kernel) in ahead.OPERATIONS.items() if kind in kinds]
    for kind in kinds & set(ahead.OPERATIONS):
        ahead.OPERATIONS[kind][0]()
    before = compiled(names)
    assert before and all(before.values()), before
    params = Parameters(model.parameters())
    params.initialise(0)
    grads, tokens = params.like(), np.zeros((2, 5), np.int32)
    run = Pass(kernels, params, grads, Tape(), dropout_key(0, 1), dlosses=np.ones(10, np.float32))
    model.forward(tokens, tokens, run)
    model.backward(run.dlosses, run)
    assert compiled(names) == before
    assert all(len(signatures) == 1 for signatures in before.values()), before


def test_every_operation_names_a_kernel_that_it_compiles():
    for kind, (operation, kernel) in ahead.OPERATIONS.items():
        operation()
        assert compiled([kernel])[kernel], kind


@pytest.fixture
def started(monkeypatch):
    commands = []

    class Process:
        def __init__(self, command, **options):
            commands.append(command)

        def kill(self):
            pass

    monkeypatch.setattr(ahead.subprocess, "Popen", Process)
    monkeypatch.setattr(ahead, "available", lambda: 2)
    return commands


def test_only_what_is_missing_is_asked_for_and_the_slowest_first(monkeypatch, started, tmp_path):
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path)
    assert ahead.start(small("gpt-tiny")) is not None
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "attention._backward-345.py311.nbi").touch()
    ahead.start(small("gpt-tiny"))
    ahead.start(small("thunderbolt-tiny"))
    assert [command[:3] for command in started] == 3 * [[sys.executable, "-m", "tinylm.train.ahead"]]
    assert [command[3:] for command in started] == [
        ["Attention", "Head", "LayerNorm"], ["Head", "LayerNorm"],
        ["Recurrence", "Head", "HeadNorm", "TokenShift", "LayerNorm"]]


def test_two_processes_share_an_index_only_where_there_are_locks(monkeypatch):
    monkeypatch.setattr(jit, "is_cached", lambda name: False)
    monkeypatch.setattr(jit, "HAS_LOCKS", False)
    assert ahead.missing(small("gpt-tiny")) == ["Attention", "LayerNorm"]


def test_nothing_is_started_without_a_cache_or_a_second_processor(monkeypatch, started, tmp_path):
    monkeypatch.setattr(jit, "CACHE_FOLDER", None)
    assert ahead.start(small("gpt-tiny")) is None
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path)
    monkeypatch.setattr(ahead, "available", lambda: 1)
    assert ahead.start(small("gpt-tiny")) is None
    assert not started
