"""`tinylm doctor`, `warmup` and `bench`: what they say, not how fast they find the machine."""
from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
from rich.console import Console

from tinylm import kernels, models, threads
from tinylm.cli import doctor, speeds
from tinylm.cli.main import main
from tinylm.kernels import machine, simd
from tinylm.ops.precision import autocast, precision
from tinylm.report.scaling import scaling
from tinylm.train.loop import Speed


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


def test_warmup_runs_what_works_alone_and_what_works_where_somebody_looks_on(monkeypatch):
    """Other tests have compiled most of it, so that the kernels which it asks for are counted."""
    asked = set()

    def watched(name, module=kernels):
        real = getattr(module, name)

        def operation(*inputs, **how):
            asked.add((name, how.get("operand", False)))
            return real(*inputs, **how)
        monkeypatch.setattr(module, name, operation)
    for name in ("norm_shift_forward", "token_shift_forward", "headnorm_forward", "squared_relu_forward",
                 "feed_forward_forward"):
        watched(name)
    watched("squared_relu_forward", sys.modules["tinylm.kernels.ternary"])  # for few tokens
    doctor.compile_all()
    assert {("norm_shift_forward", True), ("token_shift_forward", False)} <= asked
    assert {(name, operand) for name in ("headnorm_forward", "squared_relu_forward") for operand in (True, False)
            } <= asked
    assert ("feed_forward_forward", False) in asked


def test_bench_trains_in_8_bits_only_what_can_be(capsys):
    assert main(["bench", "train", "--preset", "gpt-tiny", "--precision", "int8", "--seconds", "0.1"]) == 2
    assert "int8 is for ternary maps" in capsys.readouterr().err


def test_bench_counts_what_was_done(capsys):
    facts = answer(capsys, "bench", "train", "gemm", "decode", "--preset", "gpt-tiny", "--batch-size", "1", "--context",
                   "16", "--seconds", "0.5")
    train, decode = (next(r for r in facts["results"] if r["kind"] == kind) for kind in ("train", "decode"))
    assert train["tokens_per_second"] == pytest.approx(16 / train["seconds_per_step"])
    assert train["gflops"] == pytest.approx(train["fraction_of_peak"] * train["peak_gflops"])
    assert decode["tokens_per_second"] == pytest.approx(1e6 / decode["microseconds_per_token"])
    assert decode["resident_bytes"] is None or 0 < decode["resident_bytes"]["after"] <= decode["resident_bytes"]["peak"]
    assert {r["product"] for r in facts["results"] if r["kind"] == "gemm"} - {"packed"} == {
        "forward", "input gradient", "weight gradient"}


def test_bench_compares_decoding_and_the_scan_with_memory(capsys):
    facts = answer(capsys, "bench", "scan", "decode", "--preset", "thunderbolt-tiny", "--context", "20", "--seconds",
                   "0.1")
    assert [r["kind"] for r in facts["results"]] == ["scan", "scan", "decode"]
    for result in facts["results"]:
        assert result["fraction_of_peak"] == pytest.approx(
            result["gigabytes_per_second"] / result["peak_gigabytes_per_second"])
    decode = facts["results"][-1]
    assert decode["gigabytes_per_second"] == pytest.approx(
        decode["bytes_per_token"] * decode["tokens_per_second"] / 1e9)


def test_bench_counts_the_bytes_of_a_cache(capsys):
    """Of gpt-tiny with a context of 20: 10.5 positions on average, in 2 layers, of 96 channels and 3 heads."""
    found = [answer(capsys, "bench", "decode", "--preset", "gpt-tiny", "--context", "20", "--seconds", "0.1", *bits)
             ["results"][0] for bits in ((), ("--cache-bits", "8"))]
    assert [r["cache_bits"] for r in found] == [32, 8]
    assert found[0]["bytes_per_token"] - found[1]["bytes_per_token"] == 10.5 * 2 * 2 * (3 * 96 - 4 * 3)


def test_bench_shows_how_a_step_grows(capsys):
    with threads.cpu_threads(1):
        facts = answer(capsys, "bench", "--scaling", "--preset", "thunderbolt-tiny", "--batch-size", "2", "--context",
                       "8", "--seconds", "0.1", "--cpu-threads", "1")
    assert [r["axis"] for r in facts["results"]] == ["threads", "context", "width", "batch", "depth"]
    assert [r["values"] for r in facts["results"][1:]] == [[2, 4, 8, 16], [48, 96, 192], [1, 2, 4], [1, 2, 4, 8]]
    batch, depth = facts["results"][-2:]
    assert [speed * step for speed, step in zip(batch["tokens_per_second"], batch["seconds_per_step"])] == \
        pytest.approx([8, 16, 32])
    assert all(speed * step == pytest.approx(16) for speed, step in zip(depth["tokens_per_second"],
                                                                         depth["seconds_per_step"]))


def test_scaling_is_shown_in_tables_and_curves():
    axes = [{"preset": "some", "axis": axis, "values": [1, 2, 4], "seconds_per_step": [0.1, 0.15, 0.4],
             "tokens_per_second": [80.0, 106.0, 80.0], "peak_gflops": 3 * [50.0], "exponent": 1.0,
             "last_exponent": power}
            for axis, power in (("batch", 1.42), ("depth", 1.41))]
    axes.append({**axes[0], "axis": "threads", "values": [1], "exponent": None, "last_exponent": None})
    out = Console(width=80, file=io.StringIO())
    out.print(scaling(axes))
    lines = [" ".join(line.split()) for line in out.file.getvalue().splitlines()]
    assert "4 400.0 4.00 12,500.0 80 50" in lines
    assert "texts in a batch 1 4 4.00x 1.00 1.42" in lines and "layers 1 4 4.00x 1.00 1.41" in lines
    assert sum(line.startswith("ms/step, which grows with the power of 1.00 of") for line in lines) == 2
    assert out.file.getvalue().count("•") == 6


def test_depth_and_width_reach_the_model():
    asked = []

    class Trainer:
        tokens_per_step = 8

        def prepare(self):
            pass

        settle = prepare

        def measure(self, seconds):
            return Speed(0.5, 0.0)

    def trainer(given, own):
        asked.append((given, own))
        return Trainer()

    shape = models.build("gpt", {"vocab": 9, "context": 8, "channels": 24, "layers": 2, "heads": 2}).config
    speeds.scaling("some", shape, 4, 0.01, 1, trainer)
    assert ({}, {"layers": 4}) in asked and ({}, {"channels": 12, "hidden": shape.hidden // 2}) in asked
    assert ({"batch_size": 8}, {}) in asked and ({"context": 16}, {}) in asked and asked[0] == ({}, {})


def test_an_exponent_is_a_slope_of_logarithms():
    assert speeds.exponent([3, 6], [5.0, 20.0]) == pytest.approx(2)
    assert speeds.exponent([1, 2, 4, 8], [3.0, 6.0, 12.0, 24.0]) == pytest.approx(1)
    assert speeds.exponent([1, 2, 4], [1.0, 8.0, 1.0]) == pytest.approx(0)
    assert speeds.exponent([4], [1.0]) is None


def test_bench_measures_every_peak(capsys):
    results = answer(capsys, "bench", "peak", "--seconds", "0.1")["results"]
    assert [r["of"] for r in results if r["what"] == "operations"] == [i.name for i in machine.INSTRUCTIONS.values()]
    assert [r["of"] for r in results if r["what"] == "bytes"] == [
        "read from 32 KiB", "read from 256 KiB", "read from 4 MiB", "read from 256 MiB", "copied within 256 MiB"]
    for result, name in zip(results, machine.INSTRUCTIONS):
        assert (result["billions_per_second"] is None) is (not machine.has(name))
    assert main(["bench", "peak", "--seconds", "0.1"]) == 0
    assert "read from 4 MiB" in capsys.readouterr().out


def test_products_of_every_precision_are_measured_against_their_own_peak(capsys, monkeypatch):
    bfloat16 = machine.INSTRUCTIONS["float32"]._replace(name="as if")
    monkeypatch.setitem(machine.INSTRUCTIONS, "bfloat16", bfloat16)
    monkeypatch.setattr(speeds, "SHAPES", ((24, 16, 32),))
    seen, matmul = [], kernels.matmul

    def watched(*operands, **how):
        seen.append(precision())
        return matmul(*operands, **how)

    monkeypatch.setattr(kernels, "matmul", watched)
    results = answer(capsys, "bench", "gemm", "--seconds", "0.1")["results"]
    assert {"float32", "bfloat16", "int16"} == set(seen) == {r["instruction"] for r in results} - {"int8"}
    assert len([r for r in results if r["instruction"] == "bfloat16"]) == 3
    assert all(r["fraction_alone"] is None for r in results if r["instruction"] in ("float32", "int8"))


def test_a_product_is_measured_alone_only_where_its_operands_are_rounded_before(monkeypatch):
    a, b = np.ones((24, 16), np.float32), np.ones((32, 16), np.float32)
    assert speeds._rounded(a, b, "float32", transpose_b=True) is None
    with threads.cpu_threads(1):
        ready, packed = speeds._rounded(a, b, "int16", transpose_b=True)
        with autocast("int16"):
            np.testing.assert_array_equal(kernels.matmul(ready, packed, transpose_b=True),
                                          kernels.matmul(a, b, transpose_b=True))
    monkeypatch.setattr(sys.modules["tinylm.kernels.rounding"], "a_chunk_for_each_thread", lambda x: False)
    assert speeds._rounded(a, b, "int16", transpose_b=True) is None


def test_streams_touch_all_of_the_memory():
    out, x = np.empty(machine.WIDE, np.float32), np.arange(7 * machine.STREAM, dtype=np.float32) % 3 + 1
    machine._read(out, 0, x, 2, 7, 3)
    assert out.sum() == 3 * x[2 * machine.STREAM:].sum()
    copied = np.zeros_like(x)
    machine._copy_all(copied, x, 2, 3)
    assert (copied == x).all()


def test_loops_in_registers_do_what_is_counted():
    out = np.zeros(machine.WIDE, np.float32)
    machine._spin(out, 0, np.ones(2, np.float32), 5)  # six sums of five: (5 + 5 x 5) + (5 + 5 x 5) 5
    assert (out == 180).all() and machine.INSTRUCTIONS["float32"].operations == 2 * 6 * machine.WIDE
    for name, numbers, dtype in (("int16", np.int32, np.int32), ("bfloat16", np.uint32, np.float32)):
        words = np.full(machine.FACTORS + machine.WIDE, {"int16": 0x00010001, "bfloat16": 0x3F803F80}[name], numbers)
        out = np.zeros(machine.WIDE, dtype)
        machine._spin_words(out, 0, words, 5)  # six sums of five times two products of 1 and 1
        assert (out == 60).all()
    if not machine.INSTRUCTIONS["int8"].runs():
        assert machine.peak("int8", 0.0) is None
        return
    what = machine.INSTRUCTIONS["int8"]
    out = np.zeros(what.room, np.int32)
    if simd.has_byte_dot():
        machine._spin_bytes(out, 0, what.inp, 16)  # four bytes a lane: 64, and 64/4, 64/16, 64/64
        assert (out == 85).all() and what.operations == 12 * 16 * 4 * 2
    else:
        machine._spin_pairs(out, 0, what.inp, 16)  # two bytes a sum, two sums a lane: 2 x 32, 2 x 32/4
        assert (out == 80 + what.inp[0]).all() and what.operations == 6 * 16 * 2 * 2
    assert machine.peak("int8", 0.0) > 0


@pytest.mark.parametrize(("args", "said"), [
    (("bench", "nothing"), "nothing"), (("bench", "decod"), "did you mean 'decode'"),
    (("bench", "train", "some-run"), "train takes presets"),
    (("bench", "decode", "some-run", "--context", "9"), "--context is for presets (--preset NAME), not for 'some-run'"),
    (("bench", "some-run", "--preset", "gpt-tiny"), "--preset is for presets (--preset NAME), not for 'some-run'"),
    (("bench", "decode", "--precision", "bfloat16"), "--precision is for train and --scaling, not for decode"),
    (("bench", "decode", "--batch-size", "2"), "--batch-size is for train and --scaling, not for decode"),
    (("bench", "train", "gemm", "--head-bits", "8"), "--head-bits is for decode, not for train and gemm"),
    (("bench", "--scaling", "--head-bits", "8"), "--head-bits is for decode, not for --scaling"),
    (("bench", "train", "--cache-bits", "8"), "--cache-bits is for decode, not for train"),
    (("bench", "decode", "--preset", "thunderbolt-tiny", "--cache-bits", "8"), "thunderbolt keeps no keys and values"),
    (("bench", "scan", "--vocab", "65"), "--vocab is for train, decode and --scaling, not for scan"),
    (("bench", "peak", "--backend", "numpy"), "--backend is for gemm, scan, train, decode and --scaling, not for peak"),
    (("bench", "train", "--preset", "gpt-tinny"), "gpt-tiny"),
    (("bench", "train", "--seconds", "-1"), "-1"),
    (("bench", "gemm", "--seconds", "nan"), "nan"), (("doctor", "--cpu-threads", "0"), "at least 1")])
def test_bad_input_is_one_line_and_exit_code_2(capsys, args, said):
    assert main(list(args)) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert said in err[-1] and err[-1].startswith("error: ")
