"""`tinylm runs`: list, show, compare, through the command line's own entrance."""
from __future__ import annotations

import json

import pytest
from report_fixtures import HOSTILE, make_run

from tinylm.cli.main import main
from tinylm.report import compare
from tinylm.report.record import read


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An empty folder to work in; make(name, ...) puts a run under runs/."""
    monkeypatch.chdir(tmp_path)
    return lambda name, **options: make_run(tmp_path / "runs" / name, **{"steps": 200, **options})


def run(capsys, *args) -> tuple[int, str, str]:
    code = main(["runs", *args])
    out, err = capsys.readouterr()
    return code, out, err


OLD, NEW = "20260101-100000-gpt-tiny-aaaaaa", "20260102-100000-gpt-tiny-bbbbbb"


# -- list -------------------------------------------------------------------------------------------

def test_no_runs_is_no_error(runs, capsys):
    code, out, err = run(capsys, "list")
    assert code == 0 and out == "" and "tinylm train makes one" in err
    assert json.loads(run(capsys, "list", "--json")[1]) == {"runs": [], "foreign": []}


def test_the_list_is_newest_first_and_names_units(runs, capsys, tmp_path):
    runs(OLD, steps=400)
    runs(NEW, status="interrupted at step 200")
    (tmp_path / "runs" / "latest").symlink_to(NEW)
    code, out, err = run(capsys, "list")
    lines = out.splitlines()
    assert code == 0 and err == "" and len(lines) == 3  # `latest` is no run of its own
    assert [line.split()[0] for line in lines[1:]] == [NEW, OLD]
    for part in ("val nats/token", "bits/byte", "tokens/s"):
        assert part in lines[0]
    assert lines[1].split()[1:] == ["interrupted", "gpt-tiny", "stories", "200", "307k", "1.3892", "2.0043", "30,720"]
    assert all(line == line.rstrip() for line in lines)


def test_the_list_as_json(runs, capsys):
    runs(NEW)
    answer = json.loads(run(capsys, "list", "--json")[1])
    one = answer["runs"][0]
    assert one["run"] == NEW and one["status"] == "finished" and one["steps"] == 200 and one["problems"] == []
    assert one["val"]["bits_per_byte"] == pytest.approx(2.0043, abs=1e-4)


def test_foreign_and_damaged_folders_are_listed_as_such(runs, capsys, tmp_path):
    runs(NEW)
    runs(OLD)
    (tmp_path / "runs" / OLD / "config.toml").write_bytes(b"\xff\xfe=")
    (tmp_path / "runs" / "holiday photos").mkdir()
    (tmp_path / "runs" / "README").write_text("a file is no folder")
    code, out, err = run(capsys, "list")
    assert code == 0
    assert any(line.startswith(OLD) and "finished (damaged)" in line for line in out.splitlines())
    assert any(line.startswith("holiday photos") and line.endswith("not a run") for line in out.splitlines())
    assert "README" not in out and "holiday photos is no run" in err
    answer = json.loads(run(capsys, "list", "--json")[1])
    assert [item["name"] for item in answer["foreign"]] == ["holiday photos"]
    assert next(r for r in answer["runs"] if r["run"] == OLD)["problems"] == ["config.toml: damaged"]


# -- show -------------------------------------------------------------------------------------------

def test_show_says_what_a_run_is(runs, capsys):
    runs(NEW, sample=HOSTILE)
    code, out, err = run(capsys, "show", NEW)
    assert code == 0
    for part in ("1.3892 nats/token · 2.0043 bits/byte · perplexity 4.012 per token of char-28-0123456789ab",
                 "815,388", "1.0043 bits/byte (floor 1.0000)", "flag --lr", "sample at step 200", "entropy floor",
                 "loss, nats/token, over steps"):
        assert part in out, part
    assert "\x1b" not in out and "\x07" not in out  # neither colours in a pipe, nor what the sample holds
    answer = json.loads(run(capsys, "show", NEW, "--json")[1])
    assert answer["origins"]["lr"] == "flag --lr" and len(answer["evaluations"]) == 2
    assert answer["samples"][-1]["text"].splitlines() == HOSTILE.splitlines()


def test_a_run_goes_by_path_name_beginning_and_latest(runs, capsys, tmp_path):
    path = runs(NEW)
    runs(OLD)
    (tmp_path / "runs" / "latest").symlink_to(NEW)
    for name in (str(path), f"runs/{NEW}", NEW, "20260102", "latest"):
        code, out, _ = run(capsys, "show", name, "--json")
        assert code == 0 and json.loads(out)["run"] == NEW, name


@pytest.mark.parametrize("name, code, words", [("2026", 2, "fits 2 runs"), ("nothing-such", 2, "no run 'nothing-such'"),
                                               ("", 2, "no run ''")])
def test_a_run_that_is_not_there(runs, capsys, name, code, words):
    runs(NEW)
    runs(OLD)
    got, out, err = run(capsys, "show", name)
    assert got == code and out == "" and words in err and len(err.splitlines()) == 1


def test_a_folder_that_is_no_run(runs, capsys, tmp_path):
    (tmp_path / "photos").mkdir()
    code, out, err = run(capsys, "show", "photos")
    assert code == 4 and "no run" in err and len(err.splitlines()) == 1


def test_a_run_without_losses_can_be_shown(runs, capsys):
    (runs(NEW) / "metrics.jsonl").write_text("")
    code, out, _ = run(capsys, "show", NEW)
    assert code == 0 and "no losses yet" in out


# -- compare ----------------------------------------------------------------------------------------

def test_like_losses_are_ranked_per_token(runs, capsys):
    runs(OLD, level=1.3)
    runs(NEW, lr=1e-3, steps=400, parameters=1_630_776)
    code, out, _ = run(capsys, "compare", OLD, NEW)
    assert code == 0
    assert out.splitlines()[-2:] == [f"1. {NEW}: 1.1670 nats/token", f"2. {OLD}: 1.5492 nats/token"]
    rows = {line.split("  ")[0]: line for line in out.splitlines()}
    assert "0.003" in rows["train.lr"] and "0.001" in rows["train.lr"] and "model.context" not in rows
    assert rows["parameters"].endswith("1,630,776  ×2") and rows["tokens"].endswith("614k  ×2")
    assert rows["time"].endswith("20s  ×2")


def test_different_tokenizers_are_ranked_in_bits_per_byte_only(runs, capsys):
    # The first has the lower loss per token, the second, with two bytes a token, the lower per byte.
    runs(OLD, level=1.14, tokenizer="char")
    runs(NEW, level=1.50, tokenizer="bpe", bytes_per_token=2.0)
    code, out, _ = run(capsys, "compare", OLD, NEW)
    assert code == 0 and "Ranked in bits per byte only: the tokenizers differ" in out
    assert out.splitlines()[-2].startswith(f"1. {NEW}: 1.2618 bits/byte")
    answer = json.loads(run(capsys, "compare", OLD, NEW, "--json")[1])
    assert answer["unit"] == "bits_per_byte" and answer["ranking"] == [NEW, OLD]


@pytest.mark.parametrize("other", [{"val_data": "bb22", "data": "python"},
                                   {"val_data": "bb22", "data": "python", "tokenizer": "bpe"}])
def test_different_texts_are_not_ranked(runs, capsys, other):
    runs(OLD)
    runs(NEW, **other)
    code, out, _ = run(capsys, "compare", OLD, NEW)
    assert code == 0 and "No ranking" in out and "different texts" in out and "only as a hint" in out
    assert not any(line.startswith("1. ") for line in out.splitlines())
    answer = json.loads(run(capsys, "compare", OLD, NEW, "--json")[1])
    assert answer["ranking"] is None and "different texts" in answer["reason"]


def test_parts_of_one_text_are_not_ranked(runs, capsys):
    runs(OLD)
    path = runs(NEW)
    facts = json.loads((path / "environment.json").read_text())
    (path / "environment.json").write_text(json.dumps(facts | {"val_tokens": 5000}))
    assert "parts of different length of one text" in run(capsys, "compare", OLD, NEW)[1]


def test_what_is_not_known_is_not_ranked(runs, capsys):
    runs(OLD)
    (runs(NEW) / "environment.json").unlink()
    _, out, err = run(capsys, "compare", OLD, NEW)
    assert "No ranking" in out and NEW in out and "environment.json: missing" in err
    (runs("third") / "metrics.jsonl").unlink()
    assert "no validation loss of third is known" in run(capsys, "compare", OLD, "third")[1]


def test_three_runs_and_a_figure(runs, capsys, tmp_path):
    for i, name in enumerate((OLD, NEW, "third")):
        runs(name, level=1.2 + i / 10)
    for kind, begin in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        code, out, err = run(capsys, "compare", OLD, NEW, "third", "--out", f"figures/c.{kind}", "--over", "time")
        assert code == 0 and (tmp_path / "figures" / f"c.{kind}").read_bytes().startswith(begin)
        assert f"c.{kind}" in err and "over seconds" in out
    svg = (tmp_path / "figures" / "c.svg").read_text()
    assert all(name in svg for name in (OLD, NEW, "third", "validation loss, nats/token"))


@pytest.mark.parametrize("args, words", [([OLD], "two runs or more"), ([OLD, OLD], "the same run"),
                                         ([OLD, NEW, "--out", "x.pdf"], ".png or .svg"), ([], "Missing argument")])
def test_comparisons_that_make_no_sense(runs, capsys, args, words):
    runs(OLD)
    runs(NEW)
    code, out, err = run(capsys, "compare", *args)
    assert code == 2 and words in err and len(err.splitlines()) == 1


def test_differences_are_only_those(runs):
    a, b = read(runs(OLD)), read(runs(NEW, batch_size=6))
    assert compare.differences([a, b]) == [("train.batch_size", [12, 6])]
    assert compare.differences([a, a]) == []


def test_help_has_an_example(capsys):
    for command in ([], ["list"], ["show"], ["compare"]):
        code, out, _ = run(capsys, *command, "--help")
        assert code == 0 and "Example: tinylm runs" in " ".join(out.split())
