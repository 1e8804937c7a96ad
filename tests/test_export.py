"""Exported models: the folder as a whole or not at all, the same scores, and one line for a damaged one."""
from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tinylm import config, kernels, models, ops
from tinylm.cli.loading import open_run
from tinylm.cli.main import main
from tinylm.generate import packed
from tinylm.generate.evaluate import evaluate
from tinylm.layers import Parameters, Pass
from tinylm.text.tokenizer import char_tokenizer
from tinylm.train import checkpoint
from tinylm.units import Loss

LETTERS = "\n abcdefghijk"
THUNDERBOLT = {"vocab": len(LETTERS), "context": 12, "channels": 24, "layers": 2, "heads": 3, "hidden": 50}
GPT = {"vocab": len(LETTERS), "context": 12, "channels": 8, "layers": 2, "heads": 2}


def ask(capsys, *args):
    """(exit code, stdout, stderr)"""
    code = main([str(a) for a in args])
    out, err = capsys.readouterr()
    return code, out, err


def make_run(folder, family="thunderbolt", **changes):
    """A run with a checkpoint of weights that have learned nothing, all of them different from their start."""
    model = models.build(family, (THUNDERBOLT if family == "thunderbolt" else GPT) | changes)
    params = Parameters(model.parameters())
    params.initialise(3)
    params.flat += 0.05 * np.random.default_rng(0).standard_normal(params.flat.size).astype(np.float32)
    tokenizer = char_tokenizer(LETTERS, end_of_text=False)
    text = folder.parent / "text.txt"
    text.write_text("abc def\nghi jk\n" * 30)
    preset = "thunderbolt-tiny" if family == "thunderbolt" else "gpt-tiny"
    options = config.resolve(preset=preset, flags={"data": str(text)}, environ={})
    val = Loss(800.0, 400, 400, 400, tokenizer.digest).to_json()
    state = {"step": 7, "tokens": 672, "val": val, "config": options.to_toml(),
             "data": {"name": "text", "digest": "d1", "tokenizer": tokenizer.name}}
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.toml").write_text(options.to_toml())
    checkpoint.write(folder / "checkpoints", family=family, config=dataclasses.asdict(model.config),
                     tokenizer=tokenizer.to_json(), state=state, params=params, first=params.like(),
                     second=params.like(), best=True)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYLM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


@pytest.fixture
def exported(run, tmp_path, capsys):
    code, _, err = ask(capsys, "export", run, tmp_path / "out", "--json")
    assert code == 0, err
    return tmp_path / "out"


@pytest.mark.parametrize(("family", "changes"), [
    ("thunderbolt", {}), ("thunderbolt", {"channels": 32, "heads": 2, "hidden": 0}),
    ("thunderbolt", {"activation_bits": 0}), ("gpt", {}), ("gpt", {"tied_head": True})])
def test_a_folder_gives_the_scores_of_its_run_to_the_bit(tmp_path, capsys, family, changes):
    run, out = make_run(tmp_path / "run", family, **changes), tmp_path / "deep" / "out"
    code, answer, err = ask(capsys, "export", run, out, "--json")
    assert code == 0, err
    answer = json.loads(answer)
    assert answer["path"] == str(out)
    assert answer["bytes"] == sum(p.stat().st_size for p in out.iterdir())
    assert answer["parity"]["to_the_bit"] is True
    assert {p.name for p in out.iterdir()} == {"model.safetensors", "config.json", "tokenizer.json", "README.md"}
    assert [p.name for p in out.parent.iterdir()] == ["out"]  # nothing half-written is left
    want, got = open_run(str(run)), open_run(str(out))
    tokens = np.random.default_rng(1).integers(0, len(LETTERS), (3, 12)).astype(np.int32)
    for f in (kernels, ops) if family == "gpt" else (kernels,):
        scores = want.model.logits(tokens, Pass(f, want.params))
        np.testing.assert_array_equal(got.model.logits(tokens, Pass(f, got.params)), scores)
        run_of = Pass(f, got.params)
        for pieces in ([12], [5, 1, 1, 5], [1] * 12):
            state, other, at = got.model.start(3, 12), want.model.start(3, 12), 0
            for size in pieces:
                piece = tokens[:, at:at + size]
                np.testing.assert_array_equal(got.model.extend(piece, state, run_of),
                                              want.model.extend(piece, other, Pass(f, want.params)))
                at += size
            assert state.length == 12
    windows = [(tokens[:, :-1].copy(), tokens[:, 1:].copy())]
    losses = [evaluate(t.model, t.params, kernels, t.tokenizer, windows).nats for t in (want, got)]
    assert losses[0] == losses[1]


def test_one_text_streamed_from_the_folder_has_the_bits_of_the_forward_pass(run, exported):
    """The way a text is written: a prompt, then one token at a time, of one text."""
    want, got = open_run(str(run)), open_run(str(exported))
    tokens = np.random.default_rng(2).integers(0, len(LETTERS), (1, 200)).astype(np.int32)
    scores = want.model.logits(tokens, Pass(kernels, want.params))[0]
    reader, state = Pass(kernels, got.params), got.model.start(1)
    found = [got.model.extend(tokens[:, :3], state, reader)[0]]
    found += [got.model.extend(tokens[:, t:t + 1], state, reader)[0] for t in range(3, 150)]
    found += [got.model.extend(tokens[:, 150:160], state, reader)[0]]  # and pieces in between
    found += [got.model.extend(tokens[:, t:t + 1], state, reader)[0] for t in range(160, 200)]
    np.testing.assert_array_equal(np.concatenate(found), scores)
    assert state.length == 200


def test_a_head_of_8_bits_is_the_run_s_rounded_and_nothing_else(run, tmp_path, capsys):
    out, plain = tmp_path / "small", tmp_path / "plain"
    for folder, bits in ((out, 8), (plain, 32)):
        code, answer, err = ask(capsys, "export", run, folder, "--head-bits", bits, "--json")
        assert code == 0, err
    answer = json.loads(ask(capsys, "export", run, tmp_path / "again", "--head-bits", 8, "--json")[1])
    assert answer["parity"]["to_the_bit"] is True
    assert 0 < answer["parity"]["head_rounding"] < 0.5
    assert "rounded to 8 bits" in (out / "README.md").read_text()
    assert (out / packed.MODEL).stat().st_size < (plain / packed.MODEL).stat().st_size
    want, got = open_run(str(run)), open_run(str(out))
    rounded = packed.reference(want.model, want.params, 8)
    tokens = np.random.default_rng(1).integers(0, len(LETTERS), (3, 12)).astype(np.int32)
    scores = want.model.logits(tokens, rounded)
    np.testing.assert_array_equal(got.model.logits(tokens, Pass(kernels, got.params)), scores)
    targets = np.roll(tokens, 1, 1)
    losses = got.model.forward(tokens, targets, Pass(kernels, got.params))
    flat = scores.reshape(-1, scores.shape[-1]).astype(float)
    naive = np.log(np.exp(flat).sum(-1)) - flat[np.arange(tokens.size), targets.reshape(-1)]
    np.testing.assert_allclose(losses, naive, rtol=1e-5)
    reader, state = Pass(kernels, got.params), got.model.start(1)
    streamed = [got.model.extend(tokens[:1, t:t + 1], state, reader)[0, 0] for t in range(12)]
    np.testing.assert_array_equal(streamed, scores[0])
    np.testing.assert_allclose(got.model.logits(tokens, Pass(ops, got.params)), scores, rtol=1e-3, atol=1e-3)


def test_a_float_model_has_no_head_of_8_bits(tmp_path, capsys):
    run = make_run(tmp_path / "run", "gpt")
    code, _, err = ask(capsys, "export", run, tmp_path / "out", "--head-bits", 8)
    assert (code, err.count("\n")) == (2, 1)
    assert "--head-bits 8" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("change", "said"), [
    ({"head_bits": 4}, "4 bits"), ({"head_bits": "8"}, "head_bits"), ({"head_bits": 32}, "embedding")])
def test_a_head_of_other_bits_than_stated_is_refused(run, tmp_path, capsys, change, said):
    out = tmp_path / "out"
    assert ask(capsys, "export", run, out, "--head-bits", 8)[0] == 0
    about = json.loads((out / packed.CONFIG).read_text()) | change
    (out / packed.CONFIG).write_text(json.dumps(about))
    code, _, err = ask(capsys, "generate", out, "--prompt", "a", "--max-tokens", 1)
    assert (code, err.count("\n")) == (4, 1)
    assert said in err


def test_a_code_outside_of_the_head_s_is_refused(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert ask(capsys, "export", run, out, "--head-bits", 8)[0] == 0
    tensors = load_file(out / packed.MODEL)
    name = next(n for n in tensors if n.endswith(".codes"))
    tensors[name][0, 0] = -128
    save_file(tensors, out / packed.MODEL)
    code, _, err = ask(capsys, "eval", out)
    assert (code, err.count("\n")) == (4, 1)
    assert "-128" in err


def test_definitions_read_the_folder_too(run, exported):
    """Nearly: they may round a scale the other way than the kernels, which made the folder."""
    want, got = open_run(str(run)), open_run(str(exported))
    tokens = np.arange(12, dtype=np.int32)[None]
    np.testing.assert_allclose(got.model.logits(tokens, Pass(ops, got.params)),
                               want.model.logits(tokens, Pass(ops, want.params)), rtol=1e-3, atol=1e-3)


def test_generate_and_eval_take_the_folder(run, exported, capsys):
    texts, losses = [], []
    for subject in (run, exported):
        code, out, err = ask(capsys, "generate", subject, "--prompt", "abc", "--max-tokens", 20, "--json")
        assert code == 0, err
        texts.append(json.loads(out)["text"])
        code, out, err = ask(capsys, "eval", subject, "--json", "--quiet")
        assert code == 0, err
        losses.append(json.loads(out)["nats"])
    assert texts[0] == texts[1]
    assert losses[0] == losses[1]


def test_the_ternary_part_of_thunderbolt_takes_a_quarter_of_a_byte_each():
    shape = config.load_preset("thunderbolt")["model"]
    model = models.build(shape.pop("family"), shape)
    sizes = [np.prod(ops.packed.packed_shape(*p.shape)) for p in model.parameters() if p.kind == "ternary"]
    assert sum(sizes) == 26_542_080 // 4 == 6_635_520


def test_the_model_card_is_made_from_the_run(exported, capsys):
    card = (exported / "README.md").read_text()
    model = open_run(str(exported)).model
    total = sum(p.size for p in model.model.parameters())
    for said in (f"{total:,} parameters", "2.8854 bits per byte on 400 bytes", "672 tokens seen", "digest d1",
                 "All checks hold", "weights.causality", "weights.streaming", "to the bit", "Limits"):
        assert said in card, said


def test_a_failed_check_stands_in_the_card(run, tmp_path, capsys, monkeypatch):
    from tinylm.audit import suite
    from tinylm.audit.result import Check

    check = Check("weights.causality", False, 9.0, "leaks")
    monkeypatch.setattr(suite, "weight_checks", lambda *args, **more: iter([check]))
    code, _, err = ask(capsys, "export", run, tmp_path / "out")
    assert code == 0
    assert "weights.causality: leaks" in err
    assert "**A check failed**" in (tmp_path / "out" / "README.md").read_text()


def test_scores_that_differ_leave_no_folder(run, tmp_path, capsys, monkeypatch):
    def wrong(codes):
        codes = codes.copy()
        codes[0, 0] = 1 - abs(codes[0, 0])
        return ops.pack_ternary(codes)

    monkeypatch.setattr(kernels, "pack_ternary", wrong)
    code, _, err = ask(capsys, "export", run, tmp_path / "out")
    assert code == 3
    assert "scores of whole texts differ" in err
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]


def test_an_existing_folder_is_not_overwritten(run, exported, capsys):
    before = {p.name: p.read_bytes() for p in exported.iterdir()}
    code, _, err = ask(capsys, "export", run, exported)
    assert (code, err.count("\n")) == (2, 1)
    assert "exists already" in err
    assert {p.name: p.read_bytes() for p in exported.iterdir()} == before
    code, _, err = ask(capsys, "export", exported, "other")
    assert code == 2
    assert "exported model already" in err


def test_two_exports_have_the_same_bytes(run, exported, tmp_path, capsys):
    assert ask(capsys, "export", run, tmp_path / "again", "--quiet")[0] == 0
    for path in exported.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def change_tensor(name, change):
    def go(folder):
        tensors = load_file(folder / packed.MODEL)
        tensors[name] = change(tensors[name].copy())
        save_file(tensors, folder / packed.MODEL)
    return go


def change_config(**values):
    def go(folder):
        about = json.loads((folder / packed.CONFIG).read_text())
        (folder / packed.CONFIG).write_text(json.dumps(about | values))
    return go


def cut(name, keep):
    def go(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:int(keep * len(content))])
    return go


def three(tensor):
    tensor[0, 0, 1, 2, 3] |= 3 << 4
    return tensor


def not_finite(tensor):
    tensor[0] = np.nan
    return tensor


UP = "blocks.1.ffn.up.weight"
DAMAGE = {
    "newer": (change_config(format=2), "format 2 is newer"), "no format": (change_config(format=None), "no format"),
    "layout": (change_config(layout="R8K8"), "R8K8"), "family": (change_config(family="bert"), "bert"),
    "shape": (change_config(config=THUNDERBOLT | {"hidden": 90}), "ffn.up"),
    "options": (change_config(config={"vocab": 3}), "needs"), "step": (change_config(step="7"), "step"),
    "vocabulary": (lambda folder: (folder / packed.TOKENIZER).write_text(
        char_tokenizer("ab", end_of_text=False).to_json()), "2 symbols"),
    "code 3": (change_tensor(UP + ".packed", three), "field of 3"),
    "scale": (change_tensor(UP + ".scale", not_finite), "not finite"),
    "norm": (change_tensor("norm.weight", not_finite), "norm.weight"),
    "type": (change_tensor("norm.weight", lambda x: x.astype(np.float64)), "float64"),
    "extra": (lambda folder: save_file(load_file(folder / packed.MODEL) | {"more": np.zeros(3)},
                                       folder / packed.MODEL), "more"),
    "tensor gone": (lambda folder: save_file({k: v for k, v in load_file(folder / packed.MODEL).items()
                                              if k != UP + ".scale"}, folder / packed.MODEL), UP + ".scale is missing"),
    "no model": (lambda folder: (folder / packed.MODEL).unlink(), packed.MODEL),
    "no config": (lambda folder: (folder / packed.CONFIG).unlink(), packed.CONFIG),
    "no tokenizer": (lambda folder: (folder / packed.TOKENIZER).unlink(), "tokenizer.json"),
    **{f"{name} cut at {keep}": (cut(name, keep), name)
       for name in (packed.MODEL, packed.CONFIG, packed.TOKENIZER) for keep in (0, 0.01, 0.5, 0.99)},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(exported, capsys, damage):
    go, says = DAMAGE[damage]
    go(exported)
    for command in (("generate", exported, "--prompt", "a"), ("eval", exported), ("info", exported),
                    ("trace", exported), ("audit", exported, "--quiet"), ("bench", "decode", exported, "--quiet")):
        code, out, err = ask(capsys, *command)
        assert (code, out, err.count("\n")) == (4, "", 1), err
        assert err.startswith("error: ")
        assert says in err


@pytest.mark.parametrize("family", ["thunderbolt", "gpt"])
def test_info_and_trace_of_a_folder_are_those_of_its_run(tmp_path, capsys, family):
    run, out = make_run(tmp_path / "run", family), tmp_path / "out"
    assert ask(capsys, "export", run, out)[0] == 0
    answers = {}
    for command in ("info", "trace"):
        for subject in (run, out):
            code, answer, err = ask(capsys, command, subject, "--json")
            assert code == 0, err
            answers[command, subject] = json.loads(answer)
    before, after = answers["info", run], answers["info", out]
    for key in ("family", "config", "parameters", "components", "flops_per_token", "multiplies_per_token",
                "inference_per_token"):
        assert before[key] == after[key], key
    assert after["bytes"] == before["bytes"] | {"files": packed.size_of(out)}
    assert "exported from run, step 7" in after["title"]
    tensors = load_file(out / packed.MODEL)
    assert after["bytes"]["packed"] == sum(tensor.nbytes for tensor in tensors.values())
    layers = [[{k: v for k, v in layer.items() if k != "seconds"} for layer in answers["trace", subject]["layers"]]
              for subject in (run, out)]
    assert layers[0] == layers[1]
    assert "files of the folder" in ask(capsys, "info", out)[1]
    code, _, err = ask(capsys, "info", out, "--vocab", 9)
    assert (code, err.count("\n")) == (2, 1)


WEIGHTS = ("--only", "causality", "--only", "streaming", "--only", "units", "--only", "packing", "--json")


def test_the_audit_asks_the_weights_of_a_folder(exported, capsys):
    code, out, err = ask(capsys, "audit", exported, *WEIGHTS)
    assert code == 0, err
    found = {c["name"]: c for c in json.loads(out)["checks"]}
    assert {"packing", "weights.causality", "weights.uniform", "weights.streaming", "weights.bytes",
            "weights.packing"} <= set(found)
    # Whole texts of 12 tokens, two of them token by token, one of them again.
    assert found["weights.packing"]["detail"].startswith(f"{5 * 12 * len(LETTERS)} scores")
    assert all("to the bit" in found[f"weights.{name}"]["detail"] for name in ("packing", "streaming", "causality"))


def test_the_audit_of_a_run_packs_its_weights(run, capsys):
    code, out, err = ask(capsys, "audit", run, "--only", "packing", "--json")
    assert code == 0, err
    assert [c["name"] for c in json.loads(out)["checks"]] == ["packing", "weights.packing"]


def a_bit_more(function):
    def wrong(*args):
        return np.nextafter(function(*args), np.float32(np.inf))
    return wrong


@pytest.mark.parametrize(("name", "says"), [
    ("packed_bitlinear", "packing: the packed model's scores of whole texts differ"),
    ("decode_step", "packing: the packed model's scores at position 0 of 1 text read token by token differ")])
def test_the_audit_finds_one_bit_in_the_packed_kernels(exported, capsys, monkeypatch, name, says):
    monkeypatch.setattr(kernels, name, a_bit_more(getattr(kernels, name)))
    code, out, err = ask(capsys, "audit", exported, "--only", "packing", "--json")
    assert code == 3
    assert says in err
    assert [c["ok"] for c in json.loads(out)["checks"]] == [False, False]


def test_nothing_is_left_to_compare_where_a_folder_was_unpacked(tmp_path, capsys):
    run, out = make_run(tmp_path / "run", activation_bits=0), tmp_path / "out"
    assert ask(capsys, "export", run, out)[0] == 0
    code, answer, err = ask(capsys, "audit", out, "--only", "packing", "--json")
    assert code == 0, err
    assert [c["name"] for c in json.loads(answer)["checks"]] == ["packing"]  # of the small copy
    assert ask(capsys, "audit", out, "--only", "causality", "--only", "streaming")[0] == 0
    assert open_run(str(out)).model.stream is None


def test_the_floor_of_a_folder_trains_a_small_copy_of_its_options(exported, capsys, monkeypatch):
    from tinylm.audit import suite
    from tinylm.audit.result import Check

    trained = []
    monkeypatch.setattr(suite.floor, "random_tokens", lambda model, f, seed: (
        trained.append(model.config), Check("floor", True, 0.0, "so"))[1])
    code, _, err = ask(capsys, "audit", exported, "--floor")
    assert code == 0, err
    (options,) = trained
    assert (options.layers, options.heads, options.activation_bits) == (2, 3, 8)
    assert options.channels < THUNDERBOLT["channels"]


def test_a_checkpoint_of_a_folder_is_not_to_be_had(exported, capsys):
    code, _, err = ask(capsys, "generate", exported, "--checkpoint", "last", "--prompt", "a")
    assert code == 2
    assert "only one" in err
