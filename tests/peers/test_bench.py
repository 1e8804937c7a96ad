"""The race with PyTorch: what is made of its figures, and one short run of tinylm's side."""
from __future__ import annotations

import json
import sys

import bench
import child
import pytest
from click.testing import CliRunner


def run(seconds: float, **more) -> dict:
    return {"tokens_per_step": 100, "seconds_per_step": seconds, "steady": True, "peak_memory_bytes": 1 << 20,
            "flops_per_token": 10.0, **more}


def test_ratios_are_to_the_best_and_to_the_best_float32():
    runs = {"tinylm-float32": [run(0.5), run(0.1), run(0.2)],
            "eager-float32": [run(1.0)], "compile-float32": [run(2.0)],
            "eager-bfloat16": [run(0.4), {"error": "killed"}], "compile-bfloat16": [{"error": "no compiler"}]}
    rows = {row["mode"]: row for row in bench.summary(
        runs, [{"operations_per_second": {"float32": 4000.0, "bfloat16": None}}, {"error": "busy"}])}
    ours = rows["tinylm-float32"]
    assert (ours["slowest"], ours["tokens_per_second"], ours["fastest"]) == (200, 500, 1000)
    assert ours["ratio_to_best"] == 500 / 250 and ours["ratio_to_best_float32"] == 500 / 100
    assert ours["fraction_of_peak"] == 500 * 10 / 4000
    assert rows["eager-bfloat16"]["fraction_of_peak"] is None
    assert "tokens_per_second" not in rows["compile-bfloat16"]


def test_decoding_is_compared_with_memory():
    peaks = [{"bytes_per_second": {"50": 1e4}}, {"bytes_per_second": {"50": 2e4}}]
    assert bench.fraction("float32", 100.0, run(1.0, bytes_per_token=50.2), peaks) == pytest.approx(100 * 50.2 / 2e4)


def test_a_run_warms_up_until_it_gets_no_faster():
    times = iter([9.0, 5.0, 3.0, 2.0, 1.99, *[1.0, 4.0, 2.0, 8.0, 3.0]])  # the first touches, three fall, one does not
    found = child.steadily(lambda seconds: next(times), 1.0)
    assert found["warm_up"] == [5.0, 3.0, 2.0, 1.99] and found["steady"]
    assert found["windows"] == [1.0, 4.0, 2.0, 8.0, 3.0] and found["seconds_per_step"] == 3.0


def test_a_failed_run_is_told_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    out = CliRunner().invoke(bench.main, ["--work", "gpt-run1", "--modes", "eager-float32", "--repeats", "1", "--json",
                                          str(tmp_path / "out.json")])
    assert out.exit_code == 1 and "failed" in out.stdout
    (work,) = json.loads((tmp_path / "out.json").read_text())["works"]
    assert work["rows"][0]["runs"] == [{"error": "ended with 1"}]


def test_settings_reach_pytorch_alone(monkeypatch):
    seen = []

    def fake(job, settings=None):
        seen.append((job["engine"], settings))
        return {"unsupported": "not here"}

    monkeypatch.setattr(bench, "child", fake)
    CliRunner().invoke(bench.main, ["--work", "gpt-run1", "--modes", "tinylm-float32,eager-float32", "--repeats", "1",
                                    "--torch-env", "A=b=c"])
    assert seen[:2] == [("tinylm", {}), ("torch", {"A": "b=c"})]


@pytest.mark.parametrize("kind", ["train", "decode"])
def test_tinylm_runs(kind):
    found = bench.child({"engine": "tinylm", "kind": kind, "preset": "thunderbolt-tiny", "vocab": 30, "seconds": 0.01,
                         "flags": {"batch_size": 1, "accumulate": 1, "dropout": 0.0}, "threads": 1,
                         "precision": "float32"})
    assert found["tokens_per_step"] == {"train": 96, "decode": 200}[kind]
    assert found["seconds_per_step"] > 0 and found["peak_memory_bytes"] > 10 << 20
