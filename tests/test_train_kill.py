"""Real processes: killed with -9, interrupted, and resumed from the command line."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from train_toys import numbers

from tinylm.train import checkpoint, rundir

pytestmark = pytest.mark.slow

SMALL = """
[model]
channels = 16
layers = 1
heads = 2
context = 16
dropout = 0.1
[train]
steps = 240
batch_size = 4
eval_every = 40
eval_tokens = 200
sample_every = 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a text, a configuration, and a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("kill")
    rng = np.random.default_rng(0)
    (folder / "text.txt").write_text("".join(rng.choice(list("abcde fgh\n"), 6000)))
    (folder / "small.toml").write_text(SMALL)
    done = train(folder, "--config", "small.toml", "--data", "text.txt", "--out", "whole").wait()
    assert done == 0
    return folder


def train(folder: Path, *arguments: str):
    command = [sys.executable, "-m", "tinylm", "train", *arguments]
    if "--resume" not in arguments:
        command += ["--backend", "numpy"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TINYLM_")}
    environment |= {"PYTHONPATH": str(Path(__file__).parent.parent), "TINYLM_CACHE_DIR": str(folder / "cache")}
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=said, stdout=subprocess.DEVNULL)
    process.said = Path(said.name)
    return process


def wait_for(process, run: Path, step: int):
    """Until the run has logged a step, or its process has ended."""
    while process.poll() is None:
        if any(line["step"] >= step for line in rundir.metrics(run)):
            return
        time.sleep(0.002)


def same_end(one: Path, two: Path):
    assert numbers(one) == numbers(two)
    a, b = (checkpoint.read(run / "checkpoints" / "last", optimizer=True) for run in (one, two))
    for found, wanted in ((a.model, b.model), (a.optimizer, b.optimizer)):
        assert {k: v.tobytes() for k, v in found.items()} == {k: v.tobytes() for k, v in wanted.items()}


def test_killed_again_and_again_a_run_ends_with_the_same_bits(place):
    run, killed = place / "killed", 0
    first = train(place, "--config", "small.toml", "--data", "text.txt", "--out", "killed")
    for process, step in ((first, 30), (None, 70), (None, 130)):
        process = process or train(place, "--resume", "killed")
        wait_for(process, run, step)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 3 and rundir.status(run) == "killed"
    assert train(place, "--resume", "killed").wait() == 0
    assert rundir.status(run) == "finished"
    same_end(run, place / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_says_how_to_go_on_and_exits_with_130(place, number):
    name = f"interrupted-{int(number)}"
    process = train(place, "--config", "small.toml", "--data", "text.txt", "--out", name)
    wait_for(process, place / name, 50)
    process.send_signal(number)
    assert process.wait() == 130
    said = process.said.read_text()
    assert "Traceback" not in said
    assert f"tinylm train --resume {name}" in said
    assert rundir.status(place / name) == "interrupted" and (place / name / "report.html").is_file()
    assert train(place, "--resume", name).wait() == 0
    same_end(place / name, place / "whole")


def test_a_second_training_in_the_same_folder_is_refused(place):
    process = train(place, "--config", "small.toml", "--data", "text.txt", "--out", "twice", "--steps", "100000")
    wait_for(process, place / "twice", 10)
    for arguments in (("--resume", "twice"), ("--config", "small.toml", "--data", "text.txt", "--out", "twice")):
        other = train(place, *arguments)
        assert other.wait() == 1
        assert other.said.read_text().splitlines()[-1].startswith(f"error: process {process.pid} is training in")
    process.kill()
    process.wait()
