"""`tinylm generate` and `tinylm eval` as a person or a script meets them."""
from __future__ import annotations

import dataclasses
import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinylm.ops as ops
from tinylm import config, kernels, models
from tinylm.cli import generate
from tinylm.cli.main import main
from tinylm.generate.evaluate import evaluate
from tinylm.layers import Parameters
from tinylm.text.batches import windows
from tinylm.text.dataset import prepare
from tinylm.text.tokenizer import Tokenizer
from tinylm.train import checkpoint

TEXT = "".join(f"the cat {verb} and the dog {other}\n" for verb in ("sat", "ran", "hid") for other in ("slept", "ate")
               for _ in range(30))
CONTEXT = 16
OLD, NEW = "20260101-000000-gpt-tiny-aaaaaa", "20260102-000000-gpt-tiny-bbbbbb"


class Stdin(io.TextIOWrapper):
    """A pipe that holds a text, or a terminal."""

    def __init__(self, content: bytes = b"", terminal: bool = False):
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a text and two runs that were trained on it (for no steps at all)."""
    folder = tmp_path_factory.mktemp("home")
    before = os.environ.get("TINYLM_CACHE_DIR"), os.getcwd()
    os.environ["TINYLM_CACHE_DIR"] = str(folder / "cache")
    os.chdir(folder)
    (folder / "text.txt").write_text(TEXT, "utf-8")
    data = prepare("text.txt")
    for seed, name in enumerate((OLD, NEW)):
        model = models.build("gpt", {"vocab": data.tokenizer.vocab_size, "context": CONTEXT, "channels": 16,
                                     "layers": 1, "heads": 2, "init_std": 0.3})
        params = Parameters(model.parameters())
        run = folder / "runs" / name
        options = config.resolve(flags={"data": "text.txt", "context": CONTEXT})
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.toml").write_text(options.to_toml(), "utf-8")
        for step in (3, 5):
            params.initialise(10 * seed + step)
            checkpoint.write(run / "checkpoints", family="gpt", config=dataclasses.asdict(model.config),
                             tokenizer=data.tokenizer.to_json(), state={"step": step}, params=params,
                             first=params.like(), second=params.like(), best=step == 3)
    (folder / "runs" / "latest").symlink_to(NEW)
    yield folder
    os.chdir(before[1])
    if before[0] is None:
        del os.environ["TINYLM_CACHE_DIR"]
    else:
        os.environ["TINYLM_CACHE_DIR"] = before[0]


@pytest.fixture
def ask(home, capsys, monkeypatch):
    def go(*args, stdin=b""):
        monkeypatch.setattr(sys, "stdin", Stdin(stdin))
        code = main([str(a) for a in args])
        out, err = capsys.readouterr()
        return code, out, err
    return go


@pytest.fixture
def answer(ask):
    def go(*args, **kwargs):
        code, out, err = ask(*args, "--json", **kwargs)
        assert code == 0, err
        assert out.count("\n") == 1
        return json.loads(out)
    return go


def test_text_is_streamed_and_json_has_the_same(ask, answer):
    options = ("--prompt", "the c", "--max-tokens", 40, "--seed", 7)
    code, out, err = ask("generate", *options)
    found = answer("generate", *options)
    assert code == 0
    assert out.removesuffix("\n") == "the c" + found["text"].removesuffix("\n")
    assert "40 tokens" in err
    assert found["tokens"] == 40
    assert found["tokens_per_second"] > 0
    assert (found["checkpoint"], found["step"], found["seed"], found["prompt"]) == ("best", 3, 7, "the c")
    assert Path(found["run"]).name == NEW


def test_a_run_has_many_names(answer, home):
    texts = {name: answer("generate", name, "--max-tokens", 20)["text"]
             for name in ("latest", NEW, NEW[:9], f"runs/{NEW}", str(home / "runs" / NEW), OLD, OLD[:8])}
    assert texts.pop(OLD) == texts.pop(OLD[:8])
    assert len(set(texts.values())) == 1
    assert answer("generate", OLD, "--max-tokens", 20)["text"] not in texts.values()


def test_best_and_last_are_two_checkpoints(answer):
    best, last = (answer("generate", "--max-tokens", 30, "--checkpoint", which) for which in ("best", "last"))
    assert (best["step"], last["step"]) == (3, 5)
    assert best["text"] != last["text"]
    folder = answer("generate", "runs/latest/checkpoints/last", "--max-tokens", 30)
    assert (folder["text"], folder["checkpoint"], Path(folder["run"]).name) == (last["text"], "", NEW)


def test_the_prompt_may_come_from_a_pipe(answer):
    piped = answer("generate", "--max-tokens", 20, stdin=b"the dog\n")
    assert piped["prompt"] == "the dog"
    assert piped["text"] == answer("generate", "--max-tokens", 20, "--prompt", "the dog")["text"]
    nothing = answer("generate", "--max-tokens", 20)
    assert nothing["prompt_tokens"] == 0
    assert nothing["text"] == answer("generate", "--max-tokens", 20, "--prompt", "")["text"]


def test_several_samples_are_those_written_alone(ask, answer):
    found = answer("generate", "--max-tokens", 25, "--samples", 18)
    assert [s["sample"] for s in found["samples"]] == list(range(18))
    assert found["text"] == found["samples"][0]["text"] == answer("generate", "--max-tokens", 25)["text"]
    assert len({s["text"] for s in found["samples"]}) == 18
    _, out, _ = ask("generate", "--max-tokens", 25, "--samples", 18)
    for s in found["samples"]:
        assert f"── sample {s['sample'] + 1} of 18\n{s['text']}" in out


def test_a_cache_of_bytes_writes_nearly_the_same(answer):
    full, eight = (answer("generate", "--max-tokens", "40", "--cache-bits", bits) for bits in ("32", "8"))
    assert (full["cache_bits"], eight["cache_bits"]) == (32, 8)
    assert sum(x == y for x, y in zip(full["text"], eight["text"])) > 5, "it begins alike"
    once = answer("generate", "--max-tokens", "40", "--cache-bits", "8")
    assert once["text"] == eight["text"]


def test_what_a_token_needs_is_compiled_before_text_appears(ask, monkeypatch):
    events = []

    def slow_step(*arguments):
        if not events:
            time.sleep(1.3)  # a kernel is compiled
        events.append("token")
        return gpt_step(*arguments)
    gpt_step, begin = kernels.gpt_step, generate._Plain.begin
    monkeypatch.setattr(kernels, "gpt_step", slow_step)
    monkeypatch.setattr(generate._Plain, "begin", lambda view, prompt: events.append("text") or begin(view, prompt))
    code, _, err = ask("generate", "--max-tokens", "3")
    assert code == 0 and events[0] == "token" and "text" in events and "compiling kernels" in err
    assert "\n3 tokens" in err, "only what is shown is counted"
    _, _, err = ask("generate", "--max-tokens", "3")
    assert "compiling" not in err


def test_a_model_without_a_cache_has_none_of_bytes(ask, home, tmp_path):
    tokenizer = Tokenizer((home / "runs" / NEW / "checkpoints" / "best" / "tokenizer.json").read_text("utf-8"))
    model = models.build("thunderbolt", {"vocab": tokenizer.vocab_size, "context": 8, "channels": 8, "layers": 1,
                                         "heads": 1})
    params = Parameters(model.parameters())
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    checkpoint.write(tmp_path / "run" / "checkpoints", family="thunderbolt", config=dataclasses.asdict(model.config),
                     tokenizer=tokenizer.to_json(), state={"step": 1}, params=params, first=params.like(),
                     second=params.like(), best=True)
    code, out, err = ask("generate", str(tmp_path / "run"), "--cache-bits", "8")
    assert (code, out) == (2, "") and "thunderbolt keeps no keys and values" in err and err.count("\n") == 1


def test_stop_ends_before_the_text(ask, answer):
    whole = answer("generate", "--max-tokens", 60)["text"]
    stop = whole[30:33]
    found = answer("generate", "--max-tokens", 60, "--stop", stop)
    assert found["text"] == whole[:whole.index(stop)]
    assert found["samples"][0]["finish"] == "stop"


def test_options_reach_the_sampler(answer):
    def text(*options):
        return answer("generate", "--max-tokens", 40, *options)["text"]
    greedy = text("--temperature", 0)
    assert greedy == text("--temperature", 0, "--seed", 5) == text("--top-k", 1) == text("--top-p", 1e-9) \
        == text("--min-p", 1)
    assert greedy != text()
    assert text("--temperature", 0, "--repetition-penalty", 50) != greedy
    assert text("--seed", 1) != text()
    assert text() == text()


def test_probabilities_without_colours_stand_below_the_text(ask, answer):
    prompt = 10 * "the dog " + "sat"  # longer than a line
    found = answer("generate", "--prompt", prompt, "--max-tokens", 90, "--probabilities")
    _, out, _ = ask("generate", "--prompt", prompt, "--max-tokens", 90, "--probabilities")
    legend, *lines = out.splitlines()
    assert "digit" in legend
    assert "\x1b" not in out
    expected = "".join(str(min(9, int(10 * s["probability"]))) for s in found["samples"][0]["steps"])
    shown, digits = "", ""
    for line in lines:
        assert len(line) <= 80
        if line.strip(" 0123456789"):
            shown += line.replace("⏎", "\n")
        else:
            digits += line.strip(" ")
    assert shown == prompt + found["text"]
    assert digits == expected


def test_the_likeliest_are_listed_on_request(ask, answer):
    found = answer("generate", "--prompt", "the ", "--max-tokens", 5, "--top", 3)["samples"][0]["steps"]
    _, out, _ = ask("generate", "--prompt", "the ", "--max-tokens", 5, "--top", 3)
    rows = out.splitlines()[2:]
    assert len(rows) == len(found) == 5
    for row, step in zip(rows, found):
        assert len(step["top"]) == 3
        assert all(f"{alternative['probability']:.1%}" in row for alternative in step["top"])
        assert row.startswith(repr(step["text"]))


@pytest.mark.parametrize("args, code, says", [
    (("generate", "20260"), 2, "fits 2 runs"), (("generate", "nothing"), 2, "there is no run 'nothing'"),
    (("generate", ".."), 4, "no run"), (("generate", "--prompt", "the Zebra & co"), 2, "'&'"),
    (("generate", "--temperature", "nan"), 2, "--temperature nan"), (("generate", "--temperature", "-1"), 2, "-1"),
    (("generate", "--top-k", "-1"), 2, "--top-k"), (("generate", "--top-p", "0"), 2, "--top-p"),
    (("generate", "--min-p", "2"), 2, "--min-p"), (("generate", "--max-tokens", "0"), 2, "--max-tokens"),
    (("generate", "--samples", "0"), 2, "--samples"), (("generate", "--stop", ""), 2, "--stop"),
    (("generate", "--seed", "x"), 2, "--seed"), (("generate", "--top", "6"), 2, "--top"),
    (("generate", "--repetition-penalty", "0"), 2, "--repetition-penalty"),
    (("generate", "--checkpoint", "worst"), 2, "worst"), (("generate", "--cpu-threads", "0"), 2, "--cpu-threads"),
    (("eval", "--context", "17"), 2, "16"), (("eval", "--split", "test"), 2, "test"),
    (("eval", "--data", "missing.txt"), 4, "missing.txt"), (("eval", "--data", "foreign.txt"), 2, "'Z'"),
    (("eval", "nothing"), 2, "nothing")])
def test_bad_input_is_one_line(ask, home, args, code, says):
    (home / "foreign.txt").write_text("Zebras run and run. " * 50, "utf-8")
    got, out, err = ask(*args)
    assert got == code, err
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err


def test_a_prompt_that_is_not_utf8_is_one_line(ask):
    code, out, err = ask("generate", stdin=b"the \xff")
    assert (code, out, err) == (2, "", "error: the prompt on stdin is not UTF-8\n")


def test_a_damaged_checkpoint_is_one_line(ask, home, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(home / "runs" / NEW, run, symlinks=True)
    weights = run / "checkpoints" / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    for command in ("generate", "eval", "info"):
        code, out, err = ask(command, run)
        assert (code, out, err.count("\n")) == (4, "", 1)
        assert "model.safetensors" in err


WORDS = st.one_of(st.sampled_from(["--temperature", "--top-k", "--top-p", "--min-p", "--seed", "--stop", "--prompt",
                                   "--samples", "--top", "--probabilities", "--json", "latest", "--", "-1", "1e400",
                                   "0.5", "2", "the", "--repetition-penalty", "--checkpoint", "last"]),
                  st.text(max_size=6).filter(lambda s: "\0" not in s))


@given(st.lists(WORDS, max_size=6))
@settings(max_examples=40)
def test_mangled_options_never_give_a_traceback(home, words):
    before, sys.stdin, streams = sys.stdin, Stdin(), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    err = sys.stderr
    try:
        code = main(["generate", "--max-tokens", "3", *words])
    finally:
        sys.stdin, (sys.stdout, sys.stderr) = before, streams
    err.seek(0)
    said = err.read()
    assert code in (0, 2, 4), said
    assert "Traceback" not in said
    assert "defect" not in said
    assert code == 0 or said.count("error: ") == 1


def test_eval_measures_the_whole_split(ask, answer, home):
    found = answer("eval", "--backend", "numpy")
    saved = checkpoint.read(home / "runs" / NEW / "checkpoints" / "best")
    model, tokenizer = models.build(saved.family, saved.config), Tokenizer(saved.tokenizer)
    params = Parameters(model.parameters())
    saved.fill(params)
    val = prepare("text.txt").val
    loss = evaluate(model, params, ops, tokenizer, windows(val, CONTEXT))
    assert {k: found[k] for k in loss.to_json()} == pytest.approx(loss.to_json())
    assert found["tokens"] == len(val) - 1
    assert (found["split"], found["context"], found["floor"]) == ("val", CONTEXT, None)
    code, out, _ = ask("eval", "--backend", "numpy")
    assert code == 0
    for number, unit in ((loss.nats_per_token, "nats/token"), (loss.bits_per_byte, "bits/byte"),
                         (loss.bits_per_char, "bits/character"), (loss.perplexity_per_token, "perplexity")):
        assert f"{number:.4f} {unit}" in out


def test_eval_of_all_is_both_parts(answer):
    train, val, both = (answer("eval", "--backend", "numpy", "--split", s) for s in ("train", "val", "all"))
    assert both["tokens"] == train["tokens"] + val["tokens"]
    assert both["nats"] == pytest.approx(train["nats"] + val["nats"])


def test_eval_on_another_text_uses_the_runs_tokenizer(answer, home):
    (home / "other.txt").write_text("the dog hid\n" * 50, "utf-8")
    found = answer("eval", "--data", "other.txt", "--backend", "numpy")
    assert found["data"] == "other"
    assert found["tokenizer"] == prepare("text.txt").tokenizer.digest


def test_a_loss_below_the_entropy_floor_is_an_error(ask, monkeypatch):
    from tinylm.text import dataset

    floor = dataset._floor({"bits_per_byte": 90.0, "standard_error": 0.01, "documents": 5})
    monkeypatch.setattr(dataset.Dataset, "__init__", _with_floor(dataset.Dataset.__init__, floor))
    code, out, err = ask("eval", "--backend", "numpy")
    assert code == 3
    assert "entropy floor" in err
    assert "90.0000 bits/byte is the entropy floor" in out


def _with_floor(init, floor):
    def replacement(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.floor = floor
    return replacement


# -- in a terminal ---------------------------------------------------------------------------------

# Ctrl-C reaches a process through its controlling terminal.
TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests themselves run in the background
os.execv(sys.executable, [sys.executable, "-m", "tinylm", *sys.argv[1:]])
"""


class Terminal:
    """A process that believes to talk to a person."""

    def __init__(self, home, *args, **environ):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *map(str, args)], stdin=slave, stdout=slave, stderr=slave,
            cwd=home, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "NUMBA_NUM_THREADS": "1",
                 "PYTHONPATH": str(Path(models.__file__).parents[2]), **environ})
        os.close(slave)
        self.screen = ""

    def until(self, text, seconds=60):
        """Read until `text` is there."""
        end = time.monotonic() + seconds
        while text not in self.screen:
            assert time.monotonic() < end, self.screen
            if not self._read():
                raise AssertionError(f"ended without {text!r}: {self.screen}")
        before, _, self.screen = self.screen.partition(text)
        return before

    def until_more(self, seconds=60):
        """Read until an answer is on its way."""
        end = time.monotonic() + seconds
        while len(self.screen) < 30:
            assert time.monotonic() < end and self._read(), self.screen

    def _read(self):
        if not select.select([self.master], [], [], 0.1)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux: the other side is closed
            return False
        self.screen += data.decode("utf-8", "replace")
        return bool(data)

    def type(self, text):
        os.write(self.master, text.encode())

    def rest(self):
        while self._read():
            pass
        return self.process.wait(30), self.screen

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(home):
    """Terminals that are gone when the test is over, whatever happened."""
    opened = []

    def go(*args, **environ):
        opened.append(Terminal(home, *args, **environ))
        return opened[-1]
    yield go
    for one in opened:
        one.close()


def test_a_session_in_a_terminal(terminal):
    screen = terminal("generate", "--max-tokens", "30")
    screen.until("> ")
    screen.type("the c\n")
    assert "30 tokens" in screen.until("> ")
    screen.type("/max-tokens 100000000\n")
    screen.until("> ")
    screen.type("the d\n")
    screen.until("the d\r\n")
    screen.until_more()
    screen.type("\x03")  # Ctrl-C stops the answer, not the session
    assert "ended by Ctrl-C" in screen.until("> ")
    screen.type("\x04")
    code, _ = screen.rest()
    assert code == 0


def test_what_a_session_understands(home, capsys, monkeypatch):
    lines = iter([KeyboardInterrupt, "/help", "/nonsense", "/temperature -1", "/temperature warm", "/seed 3", "Zebra",
                  "/max-tokens 0", "/max-tokens 12", "the c", "/again", "", "/seed 3", "the c", "/top-k 1", "/options",
                  EOFError])

    def read(prompt):
        print(prompt, end="")
        line = next(lines)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr(sys, "stdin", Stdin(terminal=True))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["generate"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    greeting, interrupted, help_, nonsense, negative, warm, seed, zebra, none, some, first, again, more, _, same, \
        k, options, end = out.split("> ")
    assert NEW in greeting and "Ctrl-D leaves" in interrupted and "/again" in help_
    assert "/help" in nonsense
    assert "--temperature -1.0: it must be" in negative
    assert "/temperature 0.7" in warm
    assert "seed 3" in seed
    assert "'Z'" in zebra
    assert "at least 1 token" in none
    assert "max-tokens 12" in some
    assert first.startswith("the c") and "12 tokens" in first
    assert again.startswith("the c") and again != first
    assert more.startswith(_spoken(again))
    assert _spoken(same) == _spoken(first)
    assert "top-k 1 " in k and "top-k 1 " in options
    assert end == "\n"


def _spoken(answer):
    return answer.rpartition("\n12 tokens")[0]


def test_colours_only_where_they_are_wanted(terminal):
    options = ("generate", "--max-tokens", "20", "--prompt", "the", "--probabilities")
    code, coloured = terminal(*options).rest()
    assert code == 0
    assert "\x1b[38;5;" in coloured
    code, plain = terminal(*options, NO_COLOR="1").rest()
    assert code == 0
    assert "\x1b[38;5;" not in plain
    assert "digit below" in plain


def test_a_reader_that_leaves_is_no_error(home):
    process = subprocess.Popen([sys.executable, "-m", "tinylm", "generate", "--max-tokens", "3000", "-q"], cwd=home,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, "PYTHONPATH": str(Path(models.__file__).parents[2])})
    process.stdout.read(3)
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 0
    assert err == ""
