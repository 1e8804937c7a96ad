"""The race with PyTorch: what is made of its figures, and one short run of tinylm's side."""
from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys

import bench
import child
import pytest
import tables
from click.testing import CliRunner
from rich.console import Console

from tinylm import config


def run(seconds: float, **more) -> dict:
    return {"tokens_per_step": 100, "seconds_per_step": seconds, "steady": True, "short": False, "steps": 5,
            "peak_memory_bytes": 1 << 20, "flops_per_token": 10.0, **more}


def result(runs: dict, **more) -> dict:
    peaks = [{"operations_per_second": {"float32": 4000.0, "bfloat16": None}, "threads_over_one": 1.97},
             {"error": "busy"}]
    rows = bench.summary(runs, peaks)
    return {"work": "gpt-run2", **bench.WORKS["gpt-run2"], "threads": 2, "peaks": peaks, "rows": rows,
            "headline": bench.headline(rows), **more}


RUNS = {"tinylm-float32": [run(0.5), run(0.1), run(0.2)], "tinylm-bfloat16": [run(0.1)],
        "eager-float32": [run(1.0)], "compile-float32": [run(2.0)],
        "eager-bfloat16": [run(0.4), {"error": "killed"}], "compile-bfloat16": [{"error": "no compiler"}]}


def test_ratios_are_to_the_best_and_to_the_best_float32():
    found = result(RUNS)
    rows = {row["mode"]: row for row in found["rows"]}
    ours = rows["tinylm-float32"]
    assert (ours["slowest"], ours["tokens_per_second"], ours["fastest"]) == (200, 500, 1000)
    assert ours["ratio_to_best"] == 500 / 250 and ours["ratio_to_best_float32"] == 500 / 100
    assert ours["fraction_of_peak"] == 500 * 10 / 4000
    assert rows["eager-bfloat16"]["fraction_of_peak"] is None
    assert "tokens_per_second" not in rows["compile-bfloat16"]
    assert [(line["tinylm"], line["torch"], line["ratio"]) for line in found["headline"]] == [
        ("tinylm-bfloat16", "eager-bfloat16", 4), ("tinylm-float32", "eager-float32", 5)]


def test_a_head_of_8_bits_is_not_called_float32():
    rows = bench.summary({"tinylm-float32": [run(0.2)], "tinylm-int8-head": [run(0.1)], "eager-float32": [run(1.0)]},
                         [{"operations_per_second": {}}])
    assert [line["tinylm"] for line in bench.headline(rows)] == ["tinylm-int8-head", "tinylm-float32"]


def test_every_precision_trains_and_one_decodes():
    of = {name: bench.modes_of(name, bench.MODES) for name in ("gpt-run1", "thunderbolt", "thunderbolt-decode")}
    for name, precisions in (("gpt-run1", config.PRECISIONS[:-1]), ("thunderbolt", config.PRECISIONS)):
        assert [mode for mode in of[name] if mode.startswith("tinylm")] == [f"tinylm-{p}" for p in precisions]
    assert [mode for mode in of["thunderbolt-decode"] if mode.startswith("tinylm")] == [
        "tinylm-float32", "tinylm-int8-head"]
    theirs = {"eager-float32", "eager-bfloat16", "compile-float32", "compile-bfloat16"}
    assert all(theirs <= set(found) for found in of.values())


def test_decoding_is_compared_with_memory():
    peaks = [{"bytes_per_second": {"50": 1e4}}, {"bytes_per_second": {"50": 2e4}}]
    assert bench.fraction("float32", 100.0, run(1.0, bytes_per_token=50), peaks) == pytest.approx(100 * 50 / 2e4)


# -- the table ----------------------------------------------------------------------------------------

def shown(found: dict) -> str:
    out = Console(width=80, file=io.StringIO())
    for part in tables.shown(found):
        out.print(part)
    return out.file.getvalue()


def test_the_table_fits_into_80_columns_and_marks_what_is_not_like_the_others():
    slow = run(50.0, short=True, steady=False, steps=1)
    text = shown(result({"tinylm-float32": [run(0.101), run(0.099)], "tinylm-bfloat16": [run(0.1, steady=False)],
                         "eager-float32": 3 * [slow], "compile-float32": [{"error": "no compiler"}],
                         "compile-bfloat16": [run(9.0, part=[2, 64], short=True, steps=3, steady=False)]}))
    assert "…" not in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "tinylm-float32 1,000 ±1% 90.01x 500.05x 250% 1" in lines
    assert "eager-float32 * 2.0 ±0% 0.18x 1.00x 0% 1" in lines
    assert "compile-bfloat16 * 11.1 – 1.00x 5.56x – –" in lines
    assert "* tinylm-bfloat16: still getting faster when measured, one run" in lines
    assert "* eager-float32: no warm-up, one step in each run" in lines
    assert "* compile-bfloat16: 2 of 64 texts a step, no warm-up, 3 steps, one run" in lines
    assert "compile-float32: no compiler" in lines
    assert "tinylm over PyTorch, float32 only: 500.05x (tinylm-float32 over" in text


def test_markdown_has_the_same_cells():
    found = result(RUNS)
    lines = tables.markdown(found).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    sheet = tables.sheet_of(found)
    assert rows == [sheet.columns, *(cells for cells, _ in sheet.rows)]
    assert {len(row) for row in rows} == {7} and lines[3].count("|") == 8


# -- one run --------------------------------------------------------------------------------------------

class Clock:
    """Steps that take the given seconds, on a clock of their own."""

    def __init__(self, monkeypatch, times):
        self.now, self.times, self.taken = 0.0, iter(times), 0
        monkeypatch.setattr(child, "clock", lambda: self.now)

    def step(self, number):
        self.now += next(self.times)
        self.taken += 1


def test_a_run_warms_up_until_it_gets_no_faster(monkeypatch):
    clock = Clock(monkeypatch, [9.0, 5.0, 3.0, 2.0, 1.96875, *[1.0, 4.0, 2.0, 8.0, 3.0]])  # three fall, one does not
    found = child.steadily(child.repeated(clock.step), 1.0, 1000.0)
    assert found["seconds_to_first_step"] == 9.0
    assert found["warm_up"] == [5.0, 3.0, 2.0, 1.96875] and found["steady"] and not found["short"]
    assert found["windows"] == [1.0, 4.0, 2.0, 8.0, 3.0] and found["seconds_per_step"] == 3.0


def test_a_warm_up_that_does_not_end_leaves_time_to_measure(monkeypatch):
    clock = Clock(monkeypatch, (0.95**i for i in itertools.count()))
    found = child.steadily(child.repeated(clock.step), 0.1, 8.0)
    assert not found["steady"] and not found["short"] and len(found["windows"]) == 5
    assert clock.now - 1 < 8.0


@pytest.mark.parametrize(("step", "counted"), [(6.0, 5), (13.0, 2), (29.0, 1), (200.0, 1)])
def test_slow_steps_are_measured_as_often_as_there_is_time(monkeypatch, step, counted):
    clock = Clock(monkeypatch, itertools.chain([500.0], itertools.repeat(step)))  # the first one has compiled, too
    found = child.steadily(child.repeated(clock.step), 6.0, 30.0)
    assert found["short"] and not found["steady"] and found["warm_up"] == []
    assert found["seconds_per_step"] == step and found["steps"] == counted == clock.taken - 1


def test_windows_fit_into_the_patience(monkeypatch):
    clock = Clock(monkeypatch, itertools.repeat(0.01))
    found = child.steadily(child.repeated(clock.step), 60.0, 10.0)
    assert found["steady"] and clock.now <= 10.1


def test_a_step_that_nobody_waits_for_gets_less_to_do():
    def seconds_for(each):
        first = iter([3.0])  # what the first call makes costs once
        return lambda pieces: next(first, 0.0) + each * pieces

    assert child.affordable(seconds_for(0.8), 1, 64, 30.0) == 64
    assert child.affordable(seconds_for(5.0), 1, 64, 30.0) == 2   # of 300 s: 15 s would be 3, and 2 is a power of two
    assert child.affordable(seconds_for(50.0), 1, 64, 30.0) == 1
    assert child.affordable(seconds_for(0.4), 8, 200, 30.0) == 32
    assert child.affordable(seconds_for(0.1), 8, 5, 30.0) == 5


# -- the command ----------------------------------------------------------------------------------------

def test_a_failed_run_is_told_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    out = CliRunner().invoke(bench.main, ["--work", "gpt-run1", "--modes", "eager-float32", "--repeats", "1", "--json",
                                          str(tmp_path / "out.json")])
    assert out.exit_code == 1 and "failed" in out.stdout
    (work,) = json.loads((tmp_path / "out.json").read_text())["works"]
    assert work["rows"][0]["runs"] == [{"error": "ended with 1"}]


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    """What children are asked to do; `answers` has what they say, by engine or script."""
    asked, answers = [], {}

    def fake(script, job, settings, longest=bench.LONGEST):
        asked.append((job.get("engine", script), settings))
        return answers.get(asked[-1][0], {"unsupported": "not here"})

    monkeypatch.setattr(bench, "child", fake)

    def command(*args):
        return CliRunner().invoke(bench.main, [*args, "--json", str(tmp_path / "out.json")])
    return command, asked, answers


def test_settings_reach_pytorch_alone(jobs):
    command, asked, _ = jobs
    command("--work", "gpt-run1", "--modes", "tinylm-float32,eager-float32", "--repeats", "1", "--torch-env", "A=b=c")
    assert asked[:2] == [("tinylm", {}), ("torch", {"A": "b=c"})]


@pytest.mark.parametrize(("theirs", "runs"), [
    (run(9.0, part=[2, 16], short=True), 1), (run(9.0), 1), (run(3.0, short=True), 3)])
def test_a_mode_that_is_far_behind_runs_once(jobs, theirs, runs):
    command, asked, answers = jobs
    answers |= {"torch": theirs, "tinylm": run(1.0), "peak": {"error": "busy"}}
    out = command("--work", "gpt-run1", "--modes", "tinylm-float32,eager-float32", "--repeats", "3")
    assert [engine for engine, _ in asked].count("torch") == runs
    assert [engine for engine, _ in asked].count("tinylm") == 3
    assert ("2 of 16 texts a step" in out.output) is ("part" in theirs)


LATE = {"error": "not done after 0 s", "given_up": 0.01}


def test_what_is_not_done_in_time_is_ended():
    assert bench.child("child.py", {}, {}, 0.01) == LATE


def test_what_was_given_up_is_told_and_not_tried_again(jobs):
    command, asked, answers = jobs
    answers |= {"torch": LATE, "tinylm": run(1.0), "peak": {"error": "busy"}}
    out = command("--work", "gpt-run1", "--modes", "tinylm-float32,compile-float32", "--repeats", "3")
    assert [engine for engine, _ in asked].count("torch") == 1
    assert "given up" in out.output and "not done after 0 s" in out.output


@pytest.mark.parametrize(("bfloat16", "compiled"), [(9.0, 0), (3.0, 1)])
def test_nothing_is_compiled_that_is_far_behind_without(monkeypatch, tmp_path, bfloat16, compiled):
    """The plain mode of the same precision says so; the fastest mode of PyTorch is compiled in any case."""
    asked = []

    def fake(script, job, settings, longest=bench.LONGEST):
        asked.append((job["engine"], job.get("precision"), job.get("compiled")))
        if job["engine"] == "peak":
            return {"error": "busy"}
        return run({"tinylm": 0.01, "float32": 1.0, "bfloat16": bfloat16}[
            "tinylm" if job["engine"] == "tinylm" else job["precision"]])

    monkeypatch.setattr(bench, "child", fake)
    modes = "tinylm-float32,eager-float32,eager-bfloat16,compile-float32,compile-bfloat16"
    out = CliRunner().invoke(bench.main, ["--work", "gpt-run1", "--modes", modes, "--repeats", "1", "--json",
                                          str(tmp_path / "out.json")])
    assert asked.count(("torch", "bfloat16", True)) == compiled and asked.count(("torch", "float32", True)) == 1
    assert out.exit_code == 0, out.output
    assert ("not run, since eager-bfloat16 has less than a quarter" in out.output) is (not compiled)


def test_only_compilers_get_the_compilers_patience(monkeypatch, tmp_path):
    waits = {}
    monkeypatch.setattr(bench, "child", lambda script, job, settings, longest=bench.LONGEST: waits.update(
        {(job["engine"], job.get("compiled")): longest}) or {"error": "no"})
    CliRunner().invoke(bench.main, ["--work", "gpt-run1", "--modes", "tinylm-float32,eager-float32,compile-float32",
                                    "--compile-patience", "7", "--json", str(tmp_path / "out.json")])
    assert {compiled: wait for (engine, compiled), wait in waits.items() if engine == "torch"} == {
        False: bench.LONGEST, True: 7}


@pytest.mark.parametrize(("engine", "own", "wanted"), [
    ("tinylm", {}, "3000"), ("torch", {}, "None"), ("torch", {"GOMP_SPINCOUNT": "7"}, "7")])
def test_pytorchs_threads_wait_as_they_do_by_default(engine, own, wanted):
    job = {"engine": engine, "kind": "train", "threads": 1, "seconds": 1, "patience": 1}
    code = f"""
import os, child
child.steadily = lambda *measured: {{}}
child.torch_training = child.tinylm_training = lambda job: (None, {{"wait": os.environ.get(child.WAITING)}})
print(child.main({job})["wait"])
"""
    inherited = {key: value for key, value in os.environ.items() if key != child.WAITING}
    paths = os.pathsep.join(map(str, (bench.HERE, bench.HERE.parent.parent)))
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True,
                          env={**inherited, **own, "PYTHONPATH": paths})
    assert done.stdout.split() == [wanted]


def test_without_llama_cpp_a_line_says_so(jobs):
    command, asked, answers = jobs
    answers["ternary.py"] = {"absent": "no such package"}
    out = command("--work", "ternary")
    assert out.exit_code == 0 and "ternary: no such package" in out.stdout and len(asked) == 1


@pytest.mark.parametrize(("kind", "head_bits"), [("train", 32), ("decode", 32), ("decode", 8)])
def test_tinylm_runs(kind, head_bits):
    found = bench.child("child.py", {
        "engine": "tinylm", "kind": kind, "preset": "thunderbolt-tiny", "vocab": 30, "seconds": 0.01, "patience": 1.0,
        "flags": {"batch_size": 1, "accumulate": 1, "dropout": 0.0}, "threads": 1, "precision": "float32",
        "head_bits": head_bits}, {})
    assert found["tokens_per_step"] == {"train": 96, "decode": 200}[kind]
    assert found["seconds_per_step"] > 0 and found["peak_memory_bytes"] > 10 << 20
