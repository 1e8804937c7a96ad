"""`tinylm data`: answers on stdout, notes on stderr, one line for every error."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinylm.cli.main import main
from tinylm.text.tokenizer import END_OF_TEXT


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(f"\n{END_OF_TEXT}\n".join(f"story {i}" for i in range(20)))
    return str(path)


def run(capsys, *args):
    code = main(["data", *map(str, args)])
    out, err = capsys.readouterr()
    return code, out, err


def fails(capsys, *args):
    code, out, err = run(capsys, *args)
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, (out, err)
    return code, err


def test_prepare_as_json(capsys, text, cache):
    code, out, err = run(capsys, "prepare", text, "--json")
    answer = json.loads(out)
    assert code == 0 and err == ""
    assert answer["name"] == "text" and answer["path"].startswith(str(cache / "data"))
    for split in ("train", "val"):
        assert set(answer["splits"][split]) == {"tokens", "bytes", "chars", "documents"}
    assert answer["splits"]["train"]["documents"] == 18 and answer["splits"]["val"]["documents"] == 2
    assert answer["floor"] is None and answer["vocabulary"]["end_of_text"] is not None
    assert json.loads(run(capsys, "prepare", text, "--json")[1]) == answer


def test_prepare_with_byte_pairs(capsys, text):
    code, out, err = run(capsys, "prepare", text, "--vocab", "260", "--json")
    answer, letters = json.loads(out), json.loads(run(capsys, "prepare", text, "--json")[1])
    assert code == 0 and err == "" and answer["vocabulary"]["size"] == 260
    assert answer["vocabulary"]["name"].startswith("bpe-260-")
    for split in ("train", "val"):
        for unit in ("bytes", "chars", "documents"):
            assert answer["splits"][split][unit] == letters["splits"][split][unit]
        assert answer["splits"][split]["tokens"] < letters["splits"][split]["tokens"]
    assert json.loads(run(capsys, "prepare", text, "--vocab", "characters", "--json")[1]) == letters
    code, out, err = run(capsys, "prepare", text, "--vocab", "8k")
    assert code == 0 and "symbols, not 8,000: the training text" in err and err.count("\n") == 1
    assert run(capsys, "prepare", text, "--vocab", "8k", "--quiet")[2] == ""
    code, out, _ = run(capsys, "show", text, "--vocab", "260", "--count", "1")
    assert code == 0 and "story" in out and "bpe-260-" in out


@pytest.mark.parametrize("vocab", ["256", "65536", "0", "-3", "many", "", "1e4", "300.5"])
def test_a_vocabulary_that_cannot_be(capsys, text, vocab, cache):
    code, err = fails(capsys, "prepare", text, "--vocab", vocab)
    assert code == 2 and f"--vocab {vocab}" in err and ("257" in err or "65,535" in err)
    assert not (cache / "data").exists()


def test_prepare_in_words(capsys, text):
    code, out, _ = run(capsys, "prepare", text)
    assert code == 0
    assert out.splitlines()[0].split("\t") == ["split", "tokens", "bytes", "characters", "documents"]
    assert "vocabulary" in out and "entropy floor" not in out


def test_show_prints_documents_counts_and_the_floor(capsys):
    code, out, _ = run(capsys, "show", "stories", "--size", 40, "--count", 1, "--split", "val")
    assert code == 0 and "val document 1" in out and "documents" in out
    assert "entropy floor" in out and "bits/byte over 4 validation documents" in out
    code, out, _ = run(capsys, "show", "stories", "--size", 40, "--count", 3, "--json")
    answer = json.loads(out)
    assert len(answer["documents"]) == 3 and answer["split"] == "train"
    assert answer["floor"]["documents"] == 4 and answer["floor"]["bits_per_byte"] > 0


def test_show_keeps_control_characters_from_the_terminal(capsys, tmp_path):
    (tmp_path / "t.txt").write_text("red \x1b[31m[bold]text[/bold]\x07 " * 20)
    code, out, _ = run(capsys, "show", tmp_path / "t.txt")
    assert code == 0 and "\x1b" not in out and "\x07" not in out and "[bold]text[/bold]" in out


def test_list(capsys, text):
    code, out, _ = run(capsys, "list")
    assert code == 0 and all(name in out for name in ("stories", "python", "tinystories"))
    run(capsys, "prepare", text)
    answer = json.loads(run(capsys, "list", "--json")[1])
    assert [c["name"] for c in answer["corpora"]] == ["stories", "python", "tinystories"]
    assert [c["ready"] for c in answer["corpora"]] == [True, True, False]
    assert answer["prepared"][0]["name"] == "text"


def test_a_repair_is_noted_on_stderr_unless_quiet(capsys, text):
    from pathlib import Path

    path = json.loads(run(capsys, "prepare", text, "--json")[1])["path"]
    for options in ((), ("--quiet",)):
        (Path(path) / "val.bin").write_bytes(b"")
        code, out, err = run(capsys, "prepare", text, "--json", *options)
        assert code == 0 and json.loads(out)["path"] == path
        assert err == "" if options else "prepared again" in err and err.count("\n") == 1


def test_no_network_is_one_line_with_the_manual_steps(capsys):
    code, err = fails(capsys, "get", "tinystories", "--subset", "20MB")
    assert code == 4 and "--data FILE" in err and "TinyStoriesV2-GPT4-train.txt" in err
    code, err = fails(capsys, "prepare", "tinystories")
    assert code == 4 and "tinylm data get tinystories" in err


@pytest.mark.parametrize("code, args", [
    (2, ["prepare", "storys"]), (4, ["prepare", "/nothing/here.txt"]), (4, ["prepare", "/"]),
    (2, ["prepare", ""]), (2, ["prepare"]), (2, ["prepare", "stories", "--size", "-3"]),
    (2, ["prepare", "stories", "--size", "0"]), (2, ["prepare", "stories", "--size", "1"]),
    (2, ["prepare", "stories", "--size", "20MB"]), (2, ["prepare", "stories", "--size", "9" * 30]),
    (2, ["prepare", "stories", "--seed", "-1"]), (2, ["prepare", "stories", "--seed", "x"]),
    (2, ["prepare", "stories", "--documents", "blank-line"]), (2, ["prepare", "python", "--size", "5"]),
    (2, ["prepare", "python", "--documents", "lines"]), (2, ["show", "python", "--split", "test"]),
    (2, ["show", "python", "--count", "-1"]), (2, ["get", "stories"]), (2, ["get", "nothing"]),
    (2, ["get", "tinystories", "--subset", "0"]), (2, ["get", "tinystories", "--subset", "much"]),
    (2, ["nothing"])])
def test_bad_requests(capsys, code, args):
    assert fails(capsys, *args)[0] == code


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00a", b"ab\0c", b"ab\xffc", b"x", b"   \n"])
def test_bad_files(capsys, tmp_path, content):
    (tmp_path / "bad.txt").write_bytes(content)
    code, err = fails(capsys, "prepare", tmp_path / "bad.txt")
    assert code == 4
    assert "bad" in err


WORDS = st.sampled_from([
    "list", "get", "prepare", "show", "text.txt", "tinystories", "--json", "--size", "--seed", "--documents",
    "--count", "--split", "--subset", "--quiet", "val", "whole", "3", "-1", "1e9", "nan", "", "\0", "é", "--",
    "-x"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS | st.text(max_size=4), max_size=6))
def test_any_list_of_options_ends_with_an_exit_code_and_no_traceback(capsys, text, monkeypatch, args):
    monkeypatch.chdir(text.rsplit("/", 1)[0])
    code, _, err = run(capsys, *args)
    assert code in (0, 2, 4), err
    assert "defect" not in err and "Traceback" not in err
    assert code == 0 or err.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["list"], ["get"], ["prepare"], ["show"]])
def test_help_has_an_example(capsys, command):
    code, out, _ = run(capsys, *command, "--help")
    assert code == 0 and "Example: tinylm data" in out


def test_help_imports_nothing_heavy():
    code = ("import sys; import tinylm.cli.data; "
            "print([m for m in ('numpy', 'rich', 'tokenizers', 'huggingface_hub') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
