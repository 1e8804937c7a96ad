"""Reading run directories that are whole, damaged or foreign; and the words numbers are put in."""
from __future__ import annotations

import json
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixtures import make_run

from tinylm.errors import DataMissing
from tinylm.report import words
from tinylm.report.record import read


def test_what_a_whole_run_says(tmp_path):
    r = read(make_run(tmp_path / "run", steps=600))
    assert (r.status, r.preset, r.data, r.steps, r.tokens) == ("finished", "gpt-tiny", "stories", 600, 600 * 1536)
    assert r.problems == [] and r.best["step"] == 600 and r.parameters == 815_388
    assert r.tokens_per_second == pytest.approx(30_720)
    assert r.epochs == pytest.approx(600 * 1536 / 1_200_000)
    assert r.chinchilla == pytest.approx(600 * 1536 / (20 * 815_388))
    assert r.floor == 1.0 and r.above_floor(r.best) == pytest.approx(r.best["bits_per_byte"] - 1.0)
    assert r.perplexity(r.best) == pytest.approx(math.exp(r.best["nats_per_token"]))
    assert [step for step, _ in r.samples] == [0, 200, 400, 600]
    assert r.config["model"]["context"] == 128 and r.origins["model.context"] == "preset gpt-tiny"
    assert r.started == "2023-11-14 22:13:20 UTC"


def test_speed_is_tokens_over_the_time_they_took(tmp_path):
    run = make_run(tmp_path / "run", steps=10)
    rows = [{"step": 1, "tokens": 100, "split": "train", "nats_per_token": 1, "tokens_per_second": 100},
            {"step": 2, "tokens": 500, "split": "train", "nats_per_token": 1, "tokens_per_second": 50}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(run).tokens_per_second == pytest.approx(500 / (1 + 8))  # not the mean of the two speeds


def test_the_untrained_model_is_not_the_best(tmp_path):
    run = make_run(tmp_path / "run", steps=10)
    rows = [{"step": s, "split": "val", "nats_per_token": v, "bits_per_byte": v}
            for s, v in ((0, 1.0), (5, 3.0), (9, 2.0))]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(run).best["step"] == 9


def test_a_truncated_last_line_and_other_damage_are_left_out_and_told(tmp_path):
    run = make_run(tmp_path / "run", steps=400)
    whole = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(whole[:-30])
    r = read(run)
    assert r.val.last["step"] == 200 and r.train.last["step"] == 400
    assert len(r.problems) == 1 and "1 of" in r.problems[0]
    strange = b'[1, 2]\n{"split": "val"}\nnull\n\xff\xfe\n{"step": NaN, "split": "val"}\n'
    (run / "metrics.jsonl").write_bytes(whole + strange)
    r = read(run)
    assert r.val.last["step"] == 400 and "5 of" in r.problems[0]


def test_missing_files_are_named(tmp_path):
    run = make_run(tmp_path / "run", steps=10)
    (run / "config.toml").write_text("= nonsense")
    (run / "environment.json").unlink()
    (run / "STATUS").unlink()
    r = read(run)
    assert {p.split(":")[0] for p in r.problems} == {"config.toml", "environment.json", "STATUS"}
    assert r.preset == "?" and r.tokenizer == "?" and r.floor is None and r.status == "unknown"
    assert r.validation_text is None


def test_folders_that_are_no_runs(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path, tmp_path / "none", tmp_path / "notes.txt"):
        with pytest.raises(DataMissing):
            read(path)


@given(config=st.binary(max_size=60), environment=st.one_of(st.binary(max_size=60), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["floor", "data", "parameters", "tokenizer", "started", "resumed", "command", "vocab"]), inner,
        max_size=4), max_leaves=8).map(lambda v: json.dumps(v).encode())),
       metrics=st.lists(st.one_of(st.binary(max_size=30), st.fixed_dictionaries({}, optional={
           "step": st.integers(-3, 10**9) | st.none() | st.text(max_size=2) | st.floats(),
           "split": st.sampled_from(["train", "val", "x", None]) | st.lists(st.none(), max_size=1),
           "nats_per_token": st.floats() | st.none() | st.text(max_size=2) | st.booleans(),
           "bits_per_byte": st.floats() | st.none(), "tokens": st.integers() | st.floats() | st.text(max_size=2),
           "seconds": st.floats() | st.none(), "tokens_per_second": st.floats() | st.integers(-2, 2),
       }).map(lambda v: json.dumps(v).encode())), max_size=6))
def test_whatever_stands_in_a_folder_it_is_read_or_refused(tmp_path_factory, config, environment, metrics):
    from tinylm.report import compare, html
    run = tmp_path_factory.mktemp("run")
    (run / "config.toml").write_bytes(config)
    (run / "environment.json").write_bytes(environment)
    (run / "metrics.jsonl").write_bytes(b"\n".join(metrics))
    (run / "STATUS").write_bytes(config[:9])
    try:
        r = read(run)
    except DataMissing:
        return
    # Everything a page shows beside the figures, which have tests of their own.
    for part in (html._head, html._problems, html._verdict, html._facts, html._position, html._losses, html._config,
                 html._machine):
        assert isinstance(part(r), str)
    compare.measures([r, r])
    compare.scale([r, r])


@pytest.mark.parametrize("seconds, text", [(0, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.6, "1m00s"), (60, "1m00s"),
                                           (185, "3m05s"), (3599.7, "1h00m"), (7620, "2h07m"), (86_399, "1d00h"),
                                           (273_600, "3d04h"), (-1, "–"), (math.nan, "–"), (None, "–")])
def test_durations(seconds, text):
    assert words.duration(seconds) == text


@pytest.mark.parametrize("value, text", [(0, "0"), (950, "950"), (999.6, "1k"), (12_345, "12.3k"), (999_600, "1M"),
                                         (4_560_000, "4.56M"), (1.2e9, "1.2G"), (0.03125, "0.0312"), (None, "–")])
def test_short_counts(value, text):
    assert words.short(value) == text


def test_percentages():
    assert [words.percent(v) for v in (0.2834, 9.419e-5, 3.4, 25, 0, None)] == [
        "28.3 %", "0.00942 %", "340 %", "2,500 %", "0 %", "–"]


@given(st.text())
def test_printable_text_cannot_steer_a_terminal(text):
    shown = words.printable(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for c in shown if c != "\n")
    assert "\n" not in words.printable(text, lines=False)


def test_printable_keeps_what_people_write():
    assert words.printable("\x1b[31mred\r\n\tend\u202e") == "␛[31mred\n    end�"
    assert words.printable("Grüße, “ok” 🙂 日本\nzwei") == "Grüße, “ok” 🙂 日本\nzwei"


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(1, 10))
def test_ticks_are_round_and_inside(low, size, about):
    high = low + size
    ticks = words.nice_ticks(low, high, about)
    assert len(ticks) <= about + 1 and ticks == sorted(ticks)
    slack = 1e-6 * max(1, abs(low), abs(high))
    assert all(low - slack <= t <= high + slack for t in ticks)
