"""`tinylm train --sweep`: a run for each value, and a table that says which did best."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli_train import TINY, place, refused, say  # noqa: F401  (fixtures)

from tinylm.cli.main import main
from tinylm.train import rundir


def test_each_value_is_a_run_and_the_best_is_marked(place, say):  # noqa: F811
    (place / "text.txt").write_text("abcde fgh\n" * 400)  # something to learn
    code, out, err = say(*TINY, "--sweep", "lr=1e-6,1e-2", "--json", "--out", "sweep")
    answer = json.loads(out)
    assert code == 0 and answer["sweep"] == "lr" and answer["best"] == 0.01
    assert [run["value"] for run in answer["runs"]] == [1e-6, 1e-2]
    assert [run["run"] for run in answer["runs"]] == [str(place / "sweep" / f"lr-{v}") for v in ("1e-6", "1e-2")]
    assert "the best lr is the largest that was tried" in err
    assert "run 1 of 2: lr 1e-06" in err and "run 2 of 2: lr 0.01" in err
    for run in answer["runs"]:
        lines = [line for line in rundir.metrics(Path(run["run"])) if line["split"] == "val"]
        best = min((line for line in lines if line["step"]), key=lambda line: line["nats_per_token"])
        assert run["best_step"] == best["step"] and run["finished"] and run["steps"] == 12
        assert run["best_val"]["nats_per_token"] == best["nats_per_token"]
        assert run["best_val"]["bits_per_byte"] == best["bits_per_byte"]
        assert run["val"]["nats_per_token"] == lines[-1]["nats_per_token"]
        # As if it had been trained alone.
        code, out, _ = say(*TINY, "--lr", run["value"], "--json", "--out", f"alone-{run['value']}")
        assert json.loads(out)["val"] == run["val"]
    refused(say(*TINY, "--sweep", "lr=1e-6,1e-3", "--out", "sweep"), 2, "lr-1e-6 is there already")
    assert not (place / "sweep" / "lr-1e-3").exists()


def test_the_table(place, say):  # noqa: F811
    code, out, err = say(*TINY, "--sweep", "batch-size=2,6", "--steps", 4)
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and rows[0] == ["batch_size", "val nats/token", "bits/byte", "at step", "", "run"]
    assert [row[0] for row in rows[1:]] == ["2", "6"] and sorted(row[4] for row in rows[1:]) == ["", "best"]
    best = next(row for row in rows[1:] if row[4])
    assert float(best[2]) == min(float(row[2]) for row in rows[1:])
    assert len(list((place / "runs").glob("2*"))) == 2


@pytest.mark.parametrize("sweep, hint", [("lr=1e-9,1e-2,1e-8", True), ("lr=1e-9,1e-2,10", False),
                                         ("seed=1,2", False), ("schedule=constant,cosine", False), ("lr=1e-2", False)])
def test_a_best_value_at_the_edge_is_pointed_out(place, say, sweep, hint):  # noqa: F811
    (place / "text.txt").write_text("abcde fgh\n" * 400)
    code, _, err = say(*TINY, "--sweep", sweep)
    assert code == 0 and ("one beyond it may be better" in err) == hint


def test_a_value_that_diverges_does_not_end_the_sweep(place, say, monkeypatch):  # noqa: F811
    from tinylm.train import loop
    real = loop.Trainer._optimize
    bad = {0.5}

    def spoil(self, step, lr):
        if self.recipe.lr in bad and step == 8:
            self.params.flat[:] = np.nan
        return real(self, step, lr)
    monkeypatch.setattr(loop.Trainer, "_optimize", spoil)
    code, out, err = say(*TINY, "--sweep", "lr=0.5,0.01", "--json")
    first, second = json.loads(out)["runs"]
    assert code == 0 and "step 8" in first["diverged"] and not first["finished"] and json.loads(out)["best"] == 0.01
    assert rundir.status(Path(first["run"])) == "diverged" and second["finished"]
    bad.add(0.01)
    code, out, err = say(*TINY, "--sweep", "lr=0.5,0.01", "--quiet")
    assert code == 5 and err.count("error: ") == 1 and "every run of the sweep diverged" in err
    assert [line.split("\t")[1] for line in out.splitlines()[1:]] == ["diverged", "diverged"]


def test_an_interruption_ends_the_sweep_and_keeps_what_is_done(place, say, monkeypatch):  # noqa: F811
    from tinylm.train import loop
    real = loop.Trainer._optimize

    def stop(self, step, lr):
        if self.recipe.lr == 0.02 and step == 3:
            self.stop()
        return real(self, step, lr)
    monkeypatch.setattr(loop.Trainer, "_optimize", stop)
    code, out, err = say(*TINY, "--sweep", "lr=0.01,0.02,0.03", "--json")
    answer = json.loads(out)
    assert code == 130 and [run["finished"] for run in answer["runs"]] == [True, False] and answer["best"] == 0.01
    assert "--resume" in err.splitlines()[-1]


@pytest.mark.parametrize("sweep, words", [
    ("lr", ["lr=1e-3,2e-3"]), ("lr=", ["lr=1e-3"]), ("lr=1e-3,,1e-2", ["lr=1e-3"]), ("", ["lr=1e-3"]),
    ("lrr=1,2", ["cannot be swept", "did you mean 'lr'"]), ("data=stories,python", ["'data' cannot be swept"]),
    ("eval_tokens=10,20", ["cannot be swept"]), ("lr=1e-3,fast", ["--lr fast"]), ("lr=1e-3,0.001", ["twice"]),
    ("steps=5,0", ["--steps 0"]), ("context=8,100000", ["too few"])])
def test_what_makes_no_sense_is_refused_before_anything_is_trained(place, say, sweep, words):  # noqa: F811
    refused(say(*TINY, "--sweep", sweep), 4 if "context" in sweep else 2, *words)
    assert not (place / "runs").exists()


def test_options_that_do_not_go_with_a_sweep(place, say):  # noqa: F811
    refused(say(*TINY, "--sweep", "lr=1e-3", "--lr", "1e-2"), 2, "--lr and --sweep lr")
    refused(say(*TINY, "--sweep", "lr=1e-3", "--dry-run"), 2, "--dry-run")
    refused(say("--resume", "latest", "--sweep", "lr=1e-3"), 2, "--sweep makes no sense with --resume")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.one_of(st.text(max_size=12), st.builds("{}={}".format, st.sampled_from(["lr", "steps", "seed", "warmup"]),
                                                 st.text("0123456789.,e-ks ", max_size=12))))
def test_any_sweep_is_understood_or_refused_in_a_line(place, monkeypatch, capsys, sweep):  # noqa: F811
    import tinylm.cli.sweep as command

    def stop(*arguments):
        raise command.UsageError("understood")
    monkeypatch.setattr(command, "prepare", stop)
    code = main(["train", *TINY, "--sweep", sweep])
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1, err
