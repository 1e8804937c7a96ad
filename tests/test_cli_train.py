"""`tinylm train` on the command line: what it says, writes, and answers to bad input."""
from __future__ import annotations

import json
import os
import sys
import tomllib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinylm import config
from tinylm.cli.main import main
from tinylm.models import describe
from tinylm.train import checkpoint, loop, rundir

TINY = ["--config", "tiny.toml", "--backend", "numpy", "--data", "text.txt"]
TABLES = """[model]
channels = 16
layers = 1
heads = 2
context = 16
[train]
steps = 12
batch_size = 4
eval_every = 6
eval_tokens = 100
sample_every = 0
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with a text and a small configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYLM_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # the command sets them; put back what was
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    rng = np.random.default_rng(0)
    (tmp_path / "text.txt").write_text("".join(rng.choice(list("abcde fgh\n"), 4000)))
    (tmp_path / "tiny.toml").write_text(TABLES)
    yield tmp_path
    if "numba" in sys.modules:
        import numba
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


@pytest.fixture
def say(capsys):
    """Run a command: (exit code, stdout, stderr)."""
    def go(*arguments):
        code = main(["train", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err
    return go


def refused(said, code, *words):
    """One line on stderr, without a traceback."""
    found, out, err = said
    assert found == code, err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and out == "" and "Traceback" not in err and "defect" not in err
    for word in words:
        assert word in lines[0], lines[0]


def test_a_run_from_beginning_to_end(place, say):
    code, out, err = say(*TINY, "--json", "--out", "run", "--sample-every", 6, "--lr", "0.01")
    answer = json.loads(out)
    assert code == 0 and answer["steps"] == 12 and answer["tokens"] == 12 * 4 * 16
    assert answer["run"] == str(place / "run") and answer["floor"] is None
    for split in ("train", "val"):
        assert answer[split]["bits_per_byte"] == pytest.approx(answer[split]["nats_per_token"] / np.log(2))
    assert answer["tokens_per_second"] > 0 and answer["seconds"] > 0
    lines = rundir.metrics(place / "run")
    assert [line["step"] for line in lines if line["split"] == "val"] == [0, 6, 12]
    keys = {"step", "tokens", "seconds", "split", "nats_per_token", "bits_per_byte"}
    assert all(keys <= set(line) for line in lines)
    assert {"lr", "grad_norm", "tokens_per_second"} <= set(next(line for line in lines if line["split"] == "train"))
    assert len(list((place / "run" / "samples").iterdir())) == 3
    assert (place / "run" / "report.html").stat().st_size > 1000
    kept = tomllib.loads((place / "run" / "config.toml").read_text())
    assert kept["train"]["lr"] == 0.01 and kept["origin"]["lr"] == "flag --lr"
    assert kept["model"]["vocab"] == 10 and kept["origin"]["model.vocab"].startswith("data ")
    assert kept["origin"]["model.channels"] == "file tiny.toml"

    refused(say("--resume", "run"), 2, "finished, at step 12", "--steps")
    refused(say("--resume", "run", "--steps", 14, "--lr", "0.5"), 2, "--lr 0.5: this run has 0.01")
    refused(say("--resume", "run", "--time-budget", "5m"), 2, "--time-budget makes no sense")
    refused(say("--resume", "run", "--preset", "gpt-tiny"), 2, "--preset makes no sense with --resume")
    refused(say("--resume", "run", "--steps", 12), 2, "finished")
    refused(say(*TINY, "--out", "run"), 2, "holds a run already")
    code, out, err = say("--resume", "run", "--steps", 14, "--lr", "1e-2", "--json", "--quiet")
    assert code == 0 and json.loads(out)["steps"] == 14 and err == ""
    kept = tomllib.loads((place / "run" / "config.toml").read_text())
    assert kept["train"]["steps"] == 14 and "step 12" in kept["origin"]["steps"]

    (place / "text.txt").write_text("another text entirely " * 100)
    refused(say("--resume", "run", "--steps", 20), 4, "was trained on text", "not on text as it is now")
    (place / "text.txt").unlink()
    refused(say("--resume", "run", "--steps", 20), 4)
    broken = place / "run" / "checkpoints" / "last" / "optimizer.safetensors"
    broken.write_bytes(broken.read_bytes()[:-5])
    refused(say("--resume", "run", "--steps", 20), 4, "optimizer.safetensors", "not a whole safetensors file")


def test_a_dry_run_says_and_writes_nothing(place, say, monkeypatch):
    monkeypatch.setattr("tinylm.cli.train.DRY_SECONDS", 0.01)
    code, out, err = say(*TINY, "--dry-run", "--json", "--tokens", 1000)
    answer = json.loads(out)
    assert code == 0 and answer["steps"] == 16 and answer["tokens"] == 16 * 64
    assert answer["epochs"] == pytest.approx(1024 / 3600) and answer["vocab"] == 10
    assert answer["chinchilla"] == pytest.approx(1024 / (20 * answer["parameters"]))
    assert answer["bytes"]["weights"] == 4 * answer["parameters"] and answer["seconds"] > 0
    code, out, err = say(*TINY, "--dry-run", "--time-budget", "10s")
    assert code == 0 and "Chinchilla" in out and f"{answer['parameters']:,} parameters" in out
    assert sorted(p.name for p in place.iterdir()) == ["cache", "text.txt", "tiny.toml"]


def test_text_is_validated_as_many_at_a_time_as_a_part_of_a_batch_has(place, say, monkeypatch):
    seen, evaluate = set(), loop.Trainer._evaluate
    monkeypatch.setattr(describe, "AT_ONCE", 2 * 16 * 16)  # two texts of the four of a batch
    monkeypatch.setattr(loop.Trainer, "_evaluate", lambda trainer, validation: seen.update(
        inputs.shape for inputs, _, _ in validation) or evaluate(trainer, validation))
    code, _, err = say(*TINY, "--out", "run")
    assert code == 0, err
    assert seen == {(2, 16), (1, 4)}  # 100 tokens: six texts and the rest


def test_a_ternary_model_of_byte_pairs_from_training_to_text(place, say, capsys):
    (place / "text.txt").write_text("\n<|endoftext|>\n".join(
        f"the cat{i} and the dog, é日😀 number {i}" for i in range(80)), "utf-8")
    (place / "tiny.toml").write_text("vocab = 300\n" + TABLES.replace("[model]", '[model]\nfamily = "thunderbolt"'))
    code, out, err = say(*TINY, "--preset", "thunderbolt-tiny", "--out", "run", "--json", "--sample-every", 6,
                         "--accumulate", 2)
    answer = json.loads(out)
    assert code == 0, err
    kept = tomllib.loads((place / "run" / "config.toml").read_text())
    assert kept["vocab"] == 300 and kept["origin"]["vocab"] == "file tiny.toml"
    symbols = kept["model"]["vocab"]
    assert 257 < symbols <= 300
    # Bits per byte are of the raw text of the targets, whatever the vocabulary.
    val = answer["val"]
    assert val["bits_per_byte"] == pytest.approx(val["nats"] / val["bytes"] / np.log(2)) and val["tokens"] > 0
    assert val["tokens"] < val["bytes"] != val["chars"]
    lines = rundir.metrics(place / "run")
    assert all(set(line["ternary"]["layers"]) >= {"blocks.0.mixer.forget", "blocks.0.ffn.down"}
               for line in lines if line["split"] == "train")
    assert "Ternary weights" in (place / "run" / "report.html").read_text()
    refused(say("--resume", "run", "--steps", 14, "--vocab", 290), 2, "--vocab 290: this run has 300")
    assert say("--resume", "run", "--steps", 14, "--vocab", 300, "--quiet")[0] == 0

    def ask(*arguments):
        code = main([*arguments, "--json"])
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out)
    written = ask("generate", "run", "--prompt", "the é日", "--max-tokens", "40", "--backend", "numpy")
    assert 1 <= written["tokens"] <= 40 and written["text"]
    measured = ask("eval", "run", "--backend", "numpy", "--context", "16")
    assert measured["tokenizer"] == val["tokenizer"] and measured["bits_per_byte"] > 0
    (place / "other.txt").write_text("Ωmega, which no document had. " * 40, "utf-8")
    assert ask("eval", "run", "--data", "other.txt", "--backend", "numpy")["bytes"] > 100


def test_a_preset_with_byte_pairs_can_have_characters_after_all(place, say, monkeypatch):
    monkeypatch.setattr("tinylm.cli.train.DRY_SECONDS", 0.01)
    small = ["--preset", "thunderbolt-small", "--dry-run", "--json"]
    code, out, err = say(*TINY, *small)
    assert code == 0 and "symbols, not 2,048: the training text has no more pairs" in err
    assert 257 < json.loads(out)["vocab"] < 2048
    code, out, err = say(*TINY, *small, "--vocab", "characters")
    assert code == 0 and json.loads(out)["vocab"] == 10
    for vocab, bound in (("256", "257"), ("65536", "65,535"), ("many", "257")):
        refused(say(*TINY, *small, "--vocab", vocab), 2, f"--vocab {vocab}", bound)


def test_a_vocabulary_the_preset_states_gives_way_to_the_data(place, say, monkeypatch):
    monkeypatch.setattr("tinylm.cli.train.DRY_SECONDS", 0.01)
    code, out, err = say(*TINY, "--preset", "gpt-run1", "--dry-run", "--json")
    assert json.loads(out)["vocab"] == 10 and "says vocab = 28; text has 10 symbols" in err
    assert say(*TINY, "--preset", "gpt-run1", "--dry-run", "--json", "--quiet")[2] == ""


def test_a_run_that_diverges_keeps_its_report_and_exits_with_5(place, say, monkeypatch):
    from tinylm.train import replay
    real = replay.Passes.gradients

    def spoil(self, step, batches):
        found = real(self, step, batches)
        return [float("nan")] if step == 8 else found
    monkeypatch.setattr(replay.Passes, "gradients", spoil)
    refused(say(*TINY, "--quiet", "--out", "run"), 5, "step 8", "not finite", "checkpoint of step 6 is good")
    assert rundir.status(place / "run") == "diverged" and (place / "run" / "report.html").is_file()
    assert (place / "run" / "batch-8.safetensors").is_file()
    assert checkpoint.read(place / "run" / "checkpoints" / "last").step == 6


@pytest.mark.parametrize("arguments, code, words", [
    (["--preset", "gpt-tny"], 2, ["did you mean 'gpt-tiny'"]),
    (["--data", "storys"], 2, ["did you mean 'stories'"]),
    (["--data", "."], 4, []), (["--data", "empty.txt"], 4, ["empty"]), (["--data", "binary.bin"], 4, ["binary"]),
    (["--data", "short.txt"], 4, ["context"]),
    (["--context", "5000"], 4, ["the training text has", "too few for a context of 5000"]),
    (["--batch-size", "-2"], 2, ["--batch-size -2"]), (["--lr", "1e99"], 2, ["--lr 1e99"]),
    (["--steps", "0"], 2, ["--steps 0"]), (["--steps", "5", "--tokens", "5"], 2, ["only one"]),
    (["--cpu-threads", "0"], 2, ["--cpu-threads 0"]), (["--cpu-threads", "-3"], 2, ["--cpu-threads -3"]),
    (["--precision", "int3"], 2, ["--precision int3"]),
    (["--resume", "nowhere"], 2, ["--config makes no sense with --resume"]),
    (["--config", "none.toml"], 2, ["none.toml"]), (["--out", "text.txt"], 2, ["file of that name"]),
    (["--batch-size", "900001", "--context", "64"], 2, ["needs about", "--batch-size"]),
    (["--colour", "red"], 2, ["--colour"]), (["--size", "12MB"], 2, [])])
def test_bad_input(place, say, arguments, code, words):
    (place / "empty.txt").write_text("")
    (place / "short.txt").write_text("abc")
    (place / "binary.bin").write_bytes(bytes(range(256)) * 20)
    (place / "cache").mkdir()
    refused(say(*TINY, *arguments), code, *words)
    assert not (place / "runs").exists() or not any((place / "runs").iterdir())


@pytest.mark.parametrize("name, code, words", [
    ("nowhere", 2, "no run 'nowhere'"), ("", 2, "no run"), ("empty", 4, "a folder, but no run"),
    ("latest", 4, "leads to no run"), ("new", 4, "no complete checkpoint")])
def test_a_run_that_cannot_be_resumed(place, say, name, code, words):
    (place / "empty").mkdir()
    (place / "new" / "checkpoints").mkdir(parents=True)
    refused(say("--resume", name), code, words)


@pytest.mark.parametrize("tiles", [True, False])
def test_a_precision_that_is_only_imitated_is_a_note(place, say, monkeypatch, tiles):
    from tinylm.kernels import machine
    monkeypatch.setattr(machine, "has", lambda instruction: tiles)
    monkeypatch.setattr("tinylm.cli.train.DRY_SECONDS", 0.01)
    for precision in ("float32", "bfloat16", "int16"):
        code, _, err = say(*TINY, "--backend", "numba", "--precision", precision, "--dry-run")
        assert code == 0
        assert ("int16 is faster here" in err) == (precision == "bfloat16" and not tiles)


def test_8_bits_for_a_model_without_ternary_maps_is_refused(place, say):
    refused(say(*TINY, "--precision", "int8"), 2, "int8 is for ternary maps with 8-bit activations")
    refused(say("--preset", "gpt-tiny", "--data", "text.txt", "--precision", "int8", "--dry-run"), 2, "int16")
    assert not (place / "runs").exists()


def test_more_threads_than_there_are_is_a_note(place, say, monkeypatch):
    monkeypatch.setattr("tinylm.cli.train.DRY_SECONDS", 0.01)
    code, _, err = say(*TINY, "--dry-run", "--cpu-threads", "3200")
    assert code == 0 and "--cpu-threads 3200: this machine lets the process use" in err


def test_a_full_disk_ends_in_a_line_and_the_run_goes_on_later(place, say, monkeypatch):
    import errno
    real = checkpoint._write_file

    def fill(path, content):
        if "000012" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write_file", fill)
        refused(say(*TINY, "--out", "run"), 1, "step 12 could not be saved", "No space left", "step 6 is untouched")
    assert rundir.status(place / "run") == "failed"
    assert say("--resume", "run", "--quiet", "--json")[0] == 0
    assert checkpoint.read(place / "run" / "checkpoints" / "last").step == 12


WORDS = st.one_of(st.text(max_size=8), st.integers(-10**20, 10**20).map(str), st.floats().map(str),
                  st.sampled_from(["stories", "gpt-tiny", "text.txt", "latest", "5m", "20M", "50 steps", ".", "/"]))
FLAGS = st.sampled_from(["--preset", "--steps", "--tokens", "--time-budget", "--batch-size", "--context", "--lr",
                         "--seed", "--cpu-threads", "--precision", "--backend", "--config", "--dropout", "--warmup",
                         "--schedule", "--accumulate", "--eval-every", "--documents", "--resume", "--clip"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=80)
@given(st.lists(st.tuples(FLAGS, WORDS), max_size=3))
def test_any_options_are_understood_or_refused_in_a_line(place, monkeypatch, capsys, given_options):
    """The wiring stops before training, so that what is understood costs nothing."""
    import tinylm.cli.train as command

    def stop(*arguments):
        return 0
    monkeypatch.setattr(command, "_dry_run", stop)
    arguments = [word for pair in given_options for word in pair]
    code = main(["train", *TINY, *arguments, "--dry-run"])
    out, err = capsys.readouterr()
    assert code in (0, 1, 2, 4), err
    assert "Traceback" not in err and "defect" not in err
    assert sum(line.startswith("error: ") for line in err.splitlines()) == (code != 0)


def test_samples_do_not_wait_for_the_kernel_that_only_writes(place, say, monkeypatch):
    from tinylm import kernels

    def compiled(*arguments):
        raise AssertionError("a kernel that training does not need was asked for")
    monkeypatch.setattr(kernels, "pack_gpt", compiled)
    (place / "tiny.toml").write_text(TABLES.replace("sample_every = 0", "sample_every = 1"))
    code, out, err = say("--config", "tiny.toml", "--data", "text.txt", "--steps", 1)
    assert code == 0 and "sample step 1/1" in out + err


@pytest.mark.parametrize(("precision", "there", "instruction"), [
    ("int16", True, "int16"), ("int8", True, "int8"), ("float32", True, "float32"), ("bfloat16", False, "float32"),
    ("int8", False, "int16")])
def test_the_peak_is_that_of_the_precision_and_measured_when_asked_for(monkeypatch, precision, there, instruction):
    from tinylm.cli import train
    from tinylm.kernels import machine
    asked = []
    monkeypatch.setattr(machine, "peak", lambda name, seconds: asked.append((name, seconds > 0)) or 1e11)
    monkeypatch.setattr(machine, "has", lambda name: there)
    measure = train._peak(config.resolve(preset="gpt-tiny", flags={"precision": precision}).setup)
    assert asked == [(instruction, False)]  # compiled
    assert measure() == 1e11 and asked[1:] == [(instruction, True)]
