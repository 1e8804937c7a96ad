"""`tinylm doctor`, `warmup` and `bench`: what they say, not how fast they find the machine."""
from __future__ import annotations

import json

import pytest

from tinylm.cli.main import main


def answer(capsys, *args: str) -> dict:
    assert main([*args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_doctor_knows_the_machine(capsys):
    facts = answer(capsys, "doctor")
    assert facts["threads_used"] >= 1 and facts["processors"] >= facts["threads_used"]
    assert facts["peak_gflops"] > 0 and facts["read_gigabytes_per_second"] > 0
    assert all(pool.endswith("1 thread") for pool in facts["blas"])


def test_after_warmup_nothing_is_left_to_compile(capsys):
    answer(capsys, "warmup")
    assert answer(capsys, "warmup")["compiled"] == 0


def test_bench_counts_what_was_done(capsys):
    facts = answer(capsys, "bench", "train", "gemm", "decode", "--preset", "gpt-tiny", "--batch-size", "1", "--context",
                   "16", "--seconds", "0.5")
    train, decode = (next(r for r in facts["results"] if r["kind"] == kind) for kind in ("train", "decode"))
    assert train["tokens_per_second"] == pytest.approx(16 / train["seconds_per_step"])
    assert train["gflops"] == pytest.approx(train["fraction_of_peak"] * train["peak_gflops"])
    assert decode["tokens_per_second"] == pytest.approx(1e6 / decode["microseconds_per_token"])
    assert decode["resident_bytes"] is None or 0 < decode["resident_bytes"]["after"] <= decode["resident_bytes"]["peak"]
    assert {r["product"] for r in facts["results"] if r["kind"] == "gemm"} == {
        "forward", "input gradient", "weight gradient"}


@pytest.mark.parametrize(("args", "said"), [
    (("bench", "nothing"), "nothing"), (("bench", "decod"), "did you mean 'decode'"),
    (("bench", "train", "some-run"), "train takes presets"),
    (("bench", "decode", "some-run", "--context", "9"), "--context takes presets"),
    (("bench", "train", "--preset", "gpt-tinny"), "gpt-tiny"),
    (("bench", "train", "--seconds", "-1"), "-1"),
    (("bench", "gemm", "--seconds", "nan"), "nan"), (("doctor", "--cpu-threads", "0"), "at least 1")])
def test_bad_input_is_one_line_and_exit_code_2(capsys, args, said):
    assert main(list(args)) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1] and err[-1].startswith("error: ")
