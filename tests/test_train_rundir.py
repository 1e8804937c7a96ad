"""Run folders: who may write, what is found, what is forgotten."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tinylm.errors import DataMissing, TinylmError, UsageError
from tinylm.train import rundir
from tinylm.train.rundir import RunDir


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    with RunDir.create("p", tmp_path / "run"), pytest.raises(TinylmError, match=f"process {os.getpid()} is training"):
        RunDir(tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run already"):
        RunDir.create("p", tmp_path / "run")
    RunDir(tmp_path / "run").close()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    code = ("import os, sys; from tinylm.train.rundir import RunDir; "
            "run = RunDir.create('p', sys.argv[1]); run.say('running'); os.kill(os.getpid(), 9)")
    died = subprocess.run([sys.executable, "-c", code, tmp_path / "run"], env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert died.returncode == -9 and (tmp_path / "run" / "LOCK").read_text().strip()
    assert rundir.status(tmp_path / "run") == "killed" and rundir.owner(tmp_path / "run") is None
    with RunDir(tmp_path / "run"):
        assert rundir.owner(tmp_path / "run") == str(os.getpid())
        assert rundir.status(tmp_path / "run") == "running"


def test_new_runs_are_named_and_latest_leads_to_the_newest_that_began(tmp_path):
    with RunDir.create("gpt-x", base=tmp_path) as one:
        assert not (tmp_path / "latest").exists()
        one.publish()
    with RunDir.create("gpt-x", base=tmp_path) as two:
        two.publish()
        assert rundir.find("latest", tmp_path) == rundir.find(two.path.name, tmp_path) == two.path != one.path
    three = RunDir.create("gpt-x", base=tmp_path)
    three.abandon()
    assert not three.path.exists() and rundir.find("latest", tmp_path) == two.path


@pytest.mark.parametrize("began", [False, True])
def test_a_new_run_that_is_stopped_before_it_begins_leaves_no_folder(began, tmp_path):
    with pytest.raises(KeyboardInterrupt), RunDir.create("gpt-x", tmp_path / "new") as run:
        if began:
            run.say("running")
        raise KeyboardInterrupt
    assert run.path.exists() == began
    (tmp_path / "old" / "checkpoints").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), RunDir(tmp_path / "old"):
        raise KeyboardInterrupt
    assert (tmp_path / "old" / "checkpoints").exists()


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no run 'x' and none in"):
        rundir.find("x", tmp_path / "none")
    RunDir.create("gpt-x", base=tmp_path).close()
    name = next(p.name for p in tmp_path.iterdir())
    with pytest.raises(DataMissing, match="latest leads to no run"):
        rundir.find("latest", tmp_path)
    with pytest.raises(UsageError, match=f"did you mean '{name}'"):
        rundir.find(name[:-1] + "z", tmp_path)
    with pytest.raises(DataMissing, match="a folder, but no run"):
        rundir.find(tmp_path, tmp_path)


@pytest.mark.parametrize("make, message", [
    (lambda p: p.write_text("x"), "there is a file of that name"),
    (lambda p: (p.mkdir(), (p / "mine.txt").write_text("x")), "not empty: it holds mine.txt")])
def test_out_does_not_touch_what_is_there(tmp_path, make, message):
    make(tmp_path / "out")
    with pytest.raises(UsageError, match=message):
        RunDir.create("p", tmp_path / "out")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TinylmError, match="cannot be kept in"):
        RunDir.create("p", tmp_path / "file" / "run")


def test_later_lines_and_samples_are_forgotten_and_torn_ones_left_out(tmp_path):
    with RunDir.create("p", tmp_path / "run") as run:
        for step in (1, 2, 3, 4):
            run.add_metrics({"step": step, "x": 0.1 + step})
            run.write_sample(step, "text")
        run.close()
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 2, "x"')
    with RunDir(tmp_path / "run") as run:
        run.forget_after(2)
        run.add_metrics({"step": 3})
    assert rundir.metrics(run.path) == [{"step": 1, "x": 1.1}, {"step": 2, "x": 2.1}, {"step": 3}]
    assert sorted(p.name for p in (run.path / "samples").iterdir()) == ["000001.txt", "000002.txt"]


def test_sessions_are_kept_in_environment(tmp_path):
    import json
    with RunDir.create("p", tmp_path / "run") as run:
        for backend in ("numpy", "numba"):
            run.add_environment({"backend": backend})
    found = json.loads((run.path / "environment.json").read_text())
    assert found["backend"] == "numpy" and [r["backend"] for r in found["resumed"]] == ["numba"]
    assert found["processors"] >= 1 and found["numpy"]


def test_a_folder_that_cannot_be_held_is_one_clear_line(tmp_path):
    (tmp_path / "LOCK").mkdir()  # root, too, cannot open a folder for writing
    with pytest.raises(TinylmError, match=f"nothing can be written in {tmp_path}: "):
        RunDir(tmp_path)
