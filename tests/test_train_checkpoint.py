"""Checkpoints: whole or not at all, and damage is named."""
from __future__ import annotations

import builtins
import contextlib
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tinylm.errors import DataMissing, TinylmError
from tinylm.layers import Parameter, Parameters
from tinylm.train import checkpoint

DECLARED = [Parameter("a.weight", (3, 5), True, ("normal", 1.0)), Parameter("a.bias", (3,), False, ("normal", 1.0))]


def buffers(seed):
    found = [Parameters(DECLARED) for _ in range(3)]
    for i, p in enumerate(found):
        p.initialise(10 * seed + i)
    return found


def write(folder, step, best=False):
    params, first, second = buffers(step)
    return checkpoint.write(folder, family="gpt", config={"vocab": 3}, tokenizer='{"ä": 1}', state={"step": step},
                            params=params, first=first, second=second, best=best)


def same(found, step):
    return all(np.array_equal(dict(found.model if not prefix else found.optimizer)[prefix + name], view)
               for prefix, p in zip(("", "first.", "second."), buffers(step)) for name, view in p.items())


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    write(folder, 7, best=True)
    return folder


def test_what_is_written_is_read(good):
    for link in checkpoint.LINKS:
        found = checkpoint.read(good / link, optimizer=True)
        assert found.step == 7 and found.family == "gpt" and found.config == {"vocab": 3}
        assert found.tokenizer == '{"ä": 1}' and same(found, 7)
        params = [Parameters(DECLARED) for _ in range(3)]
        found.fill(*params)
        assert all(np.array_equal(a.flat, b.flat) for a, b in zip(params, buffers(7)))
    assert checkpoint.read(good / "last").optimizer is None


def test_only_what_a_link_leads_to_is_kept(tmp_path):
    write(tmp_path, 1, best=True)
    (tmp_path / ".writing-000009-x").mkdir()
    for step in (2, 3):
        write(tmp_path, step)
    assert checkpoint.read(tmp_path / "best").step == 1 and checkpoint.read(tmp_path / "last").step == 3
    assert len([p for p in tmp_path.iterdir() if not p.is_symlink()]) == 2
    write(tmp_path, 4, best=True)
    assert len([p for p in tmp_path.iterdir() if not p.is_symlink()]) == 1


class Died(BaseException):
    """The process was killed here."""


OPERATIONS = ("open", "mkdir", "fsync", "rename", "replace", "symlink", "unlink", "rmdir")


def dying(monkeypatch, at, error):
    """Let the file operation number `at` from now on fail; returns the counter of operations."""
    count = [0]

    def guard(real):
        def go(*args, **kwargs):
            count[0] += 1
            if count[0] >= at and (error is Died or count[0] == at):
                raise error() if error is Died else error
            return real(*args, **kwargs)
        return go
    for name in OPERATIONS:
        monkeypatch.setattr(os, name, guard(getattr(os, name)))
    monkeypatch.setattr(builtins, "open", guard(builtins.open))
    monkeypatch.setattr(checkpoint, "_write_file", guard(checkpoint._write_file))
    return count


def test_killed_at_any_file_operation_the_old_or_the_new_one_is_whole(tmp_path):
    survived, number = set(), 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        write(folder, 1, best=True)
        with pytest.MonkeyPatch.context() as patch:
            count = dying(patch, number, Died)
            with contextlib.suppress(Died):
                write(folder, 2, best=True)
            ended = count[0] < number
        last, best = (checkpoint.read(folder / link, optimizer=True) for link in ("last", "best"))
        assert same(last, last.step) and same(best, best.step)
        survived.add((last.step, best.step))
        if ended:
            break
        write(folder, 3)  # what was left behind is in nobody's way
        assert checkpoint.read(folder / "last").step == 3
        assert len([p for p in folder.iterdir() if not p.is_symlink()]) <= 2
    assert number > 10 and survived == {(1, 1), (1, 2), (2, 2)}


def test_a_full_disk_keeps_the_last_good_one(tmp_path):
    write(tmp_path, 1)
    full = OSError(errno.ENOSPC, "No space left on device")
    for number in range(1, 6):
        with pytest.MonkeyPatch.context() as patch:
            real, count = checkpoint._write_file, [0]

            def fill(path, content, real=real, count=count, number=number):
                count[0] += 1
                if count[0] == number:
                    real(path, content[:len(content) // 2])
                    raise full
                real(path, content)
            patch.setattr(checkpoint, "_write_file", fill)
            with pytest.raises(TinylmError, match="step 2 could not be saved.*No space left.*step 1 is untouched"):
                write(tmp_path, 2)
        assert same(checkpoint.read(tmp_path / "last", optimizer=True), 1)
        assert not list(tmp_path.glob(".writing-*"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TinylmError, match="could not be saved.*there is no earlier one"):
        write(tmp_path / "file", 1)


def damaged(good, change, read=True):
    """A copy of the good one, changed; the message of what reading it says."""
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "last"
        shutil.copytree(good / "last", copy)
        change(copy)
        with pytest.raises(DataMissing) as caught:
            checkpoint.read(copy, optimizer=True)
        return str(caught.value)


def tensors(change):
    """A change of model.safetensors through its tensors."""
    def go(folder):
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors")
    return go


@pytest.mark.parametrize("change, message", [
    (lambda t: t.pop("a.bias"), "tensor a.bias is missing"),
    (lambda t: t.update(more=np.zeros(1)), "tensor more was not there"),
    (lambda t: t.update({"a.bias": t["a.bias"][:2]}), "tensor a.bias has changed"),
    (lambda t: t.update({"a.bias": t["a.bias"].astype(np.float64)}), "tensor a.bias has changed"),
    (lambda t: t["a.weight"].__setitem__((1, 1), np.nan), "tensor a.weight holds numbers that are not finite"),
    (lambda t: t["a.weight"].__setitem__((1, 1), 5), "tensor a.weight has changed"),
])
def test_a_changed_tensor_is_named(good, change, message):
    assert message in damaged(good, tensors(change))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json",
                                  "state.json"])
def test_a_missing_file_is_named(good, name):
    assert f"{name} is missing" in damaged(good, lambda folder: (folder / name).unlink())


def test_a_newer_format_is_refused(good):
    def newer(folder):
        state = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({**state, "format": 99}))
    assert "format 99 is newer" in damaged(good, newer)


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(DataMissing, match="no complete checkpoint, the folder is missing"):
        checkpoint.read(tmp_path / "last")
    (tmp_path / "last").symlink_to("000003-gone")
    with pytest.raises(DataMissing, match="no complete checkpoint"):
        checkpoint.read(tmp_path / "last")


def test_tensors_that_do_not_fit_the_model_are_named(good):
    found = checkpoint.read(good / "last", optimizer=True)
    for declared, message in (
            ([*DECLARED, Parameter("b", (1,), True, ("constant", 0.0))], "tensor b is missing"),
            (DECLARED[:1], "tensor a.bias belongs to no part"),
            ([DECLARED[0], Parameter("a.bias", (4,), False, ("constant", 0.0))], r"a.bias has shape \(3,\).*\(4,\)")):
        with pytest.raises(DataMissing, match=message):
            found.fill(Parameters(declared))
    with pytest.raises(DataMissing, match="a.weight holds float32, the model wants float64"):
        found.fill(Parameters(DECLARED, np.float64))


@settings(max_examples=250)
@given(st.data())
def test_whatever_is_mangled_is_refused_or_harmless(good, tmp_path_factory, data):
    """Cut, flipped, inserted, swapped, emptied, random: never a traceback, never other numbers."""
    folder = tmp_path_factory.getbasetemp() / "mangled"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good / "last", folder)
    names = sorted(p.name for p in folder.iterdir())
    for _ in range(data.draw(st.integers(1, 3))):
        path = folder / data.draw(st.sampled_from(names))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content)))
        how = data.draw(st.sampled_from(["cut", "flip", "insert", "swap", "random", "number"]))
        if how == "cut":
            del content[at:]
        elif how == "flip" and at < len(content):
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        elif how == "swap":
            content = bytearray((folder / data.draw(st.sampled_from(names))).read_bytes())
        elif how == "random":
            content = bytearray(data.draw(st.binary(max_size=60)))
        elif how == "number":  # another number somewhere in JSON, or another length in a header
            digits = [i for i, c in enumerate(content) if chr(c).isdigit()]
            if digits:
                content[data.draw(st.sampled_from(digits))] = ord(data.draw(st.sampled_from("0123456789eE-")))
        path.write_bytes(content)
    try:
        found = checkpoint.read(folder, optimizer=True)
    except DataMissing as error:
        assert "\n" not in str(error)
    else:
        assert same(found, 7) and found.config == {"vocab": 3} and found.state == {"format": 1, "step": 7}
        assert found.tokenizer == '{"ä": 1}'
