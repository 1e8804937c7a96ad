"""Options: how values are read, how layers add up, and what a run keeps of them."""
from __future__ import annotations

import contextlib
import dataclasses
import string
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinylm import config
from tinylm.config import Config, Recipe, Setup, Warmup, resolve
from tinylm.errors import TinylmError, UsageError


def plain(preset="gpt-tiny", **how):
    return resolve(preset=preset, environ=how.pop("environ", {}), **how)


# -- values -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("written, seconds", [("60s", 60), ("5m", 300), ("1h30m", 5400), ("90", 90), ("1.5h", 5400),
                                              (2, 2), ("1m30s", 90), (0.5, 0.5)])
def test_durations(written, seconds):
    assert config.duration(written) == seconds


@pytest.mark.parametrize("written", ["", "x", "-5s", "0s", "5 m", "m", "10000h", True, None, "nan", "infs",
                                     "1.2.3s", float("nan"), []])
def test_what_is_no_duration(written):
    with pytest.raises(ValueError, match="a time such as"):
        config.duration(written)


@pytest.mark.parametrize("written, count", [("20M", 20_000_000), ("1_000_000", 10**6), ("64k", 64_000), (5, 5),
                                            ("2.5K", 2500), ("1B", 10**9), (" 7 ", 7), ("1__", 1)])
def test_counts(written, count):
    assert config.whole(1)(written) == count


@pytest.mark.parametrize("written", ["0", "-3", "1.5", "1e6", "", "M", "9" * 5000, "9" * 26, 0, True, 2.0, None])
def test_what_is_no_count(written):
    with pytest.raises(ValueError, match="a whole number of at least 1"):
        config.whole(1)(written)


@given(st.one_of(st.text(max_size=12), st.floats(), st.integers(), st.booleans(), st.none(), st.binary(max_size=3),
                 st.lists(st.integers(), max_size=2)))
def test_readers_raise_nothing_but_what_they_want(value):
    fields = [*config.options(Recipe).values(), *config.options(Setup).values()]
    for read in [f.metadata["read"] for f in fields] + list(config.MODEL.values()):
        try:
            read(value)
        except ValueError as error:
            assert str(error) and "\n" not in str(error)


@given(st.one_of(st.builds(Warmup, st.integers(0, 10**9), st.sampled_from(["steps", "tokens"])),
                 st.builds(Warmup, st.one_of(st.integers(1, 10**6).map(float), st.floats(1e-9, 1e7)), st.just("s"))))
@example(Warmup(1e6, "s"))
@example(Warmup(1e-5, "s"))
def test_warmups_are_read_as_they_are_written(value):
    assert config.warmup(str(value)) == value


# -- layers -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", config.preset_names())
def test_every_preset_resolves_and_survives_its_own_toml(name):
    found = plain(name)
    assert found.title and found.model["family"] == {"tinystories": "gpt"}.get(start := name.split("-")[0], start)
    assert found.setup.vocab == (found.model["vocab"] if found.setup.vocab else None)
    assert dataclasses.replace(Config.from_toml(found.to_toml()), title=found.title) == found


def test_each_layer_covers_the_one_below_and_is_named(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('seed = 5\n[model]\nchannels = 64\n[train]\nlr = 0.5\nbatch_size = 6\naccumulate = 2\nclip = 3')
    found = resolve(preset="gpt-tiny", file=file, environ={"TINYLM_BATCH_SIZE": "7", "TINYLM_CLIP": "4"},
                    flags={"clip": "5", "context": "32", "steps": None})
    recipe, origin = found.recipe, found.origin
    assert (recipe.eps, origin["eps"]) == (1e-8, "default")
    assert (recipe.beta2, origin["beta2"]) == (0.99, "preset gpt-tiny")
    assert (recipe.lr, origin["lr"]) == (0.5, f"file {file}")
    assert (recipe.accumulate, found.setup.seed) == (2, 5)
    assert (recipe.batch_size, origin["batch_size"]) == (7, "variable TINYLM_BATCH_SIZE")
    assert (recipe.clip, origin["clip"]) == (5.0, "flag --clip")
    assert (found.model["channels"], origin["model.channels"]) == (64, f"file {file}")
    assert (found.model["context"], origin["model.context"]) == (32, "flag --context")


def test_the_highest_layer_says_how_long():
    assert plain().recipe.time_budget == 60
    found = plain(environ={"TINYLM_TOKENS": "2M"})
    assert found.recipe.tokens == 2_000_000 and found.recipe.time_budget is None
    found = plain(environ={"TINYLM_TOKENS": "2M"}, flags={"steps": "9"})
    assert (found.recipe.steps, found.recipe.tokens, found.origin["steps"]) == (9, None, "flag --steps")
    assert "tokens" not in found.origin and "time_budget" not in found.origin
    with pytest.raises(UsageError, match="flag --steps and flag --tokens: only one"):
        plain(flags={"steps": "9", "tokens": "9"})


def test_the_preset_may_come_from_any_layer(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('preset = "gpt-run1"')
    assert resolve(file=file, environ={}).preset == "gpt-run1"
    assert resolve(file=file, environ={"TINYLM_PRESET": "gpt-run2"}).origin["preset"] == "variable TINYLM_PRESET"
    assert resolve(file=file, preset="gpt-run3", environ={}).preset == "gpt-run3"
    assert resolve(environ={}).origin["preset"] == "default"


def test_a_lower_rate_takes_the_end_of_the_cosine_along():
    found = plain(flags={"lr": "1e-5"})
    assert (found.recipe.min_lr, found.origin["min_lr"]) == (1e-5, "not above lr")
    with pytest.raises(UsageError, match="min_lr 0.01 is above lr 0.001"):
        plain(flags={"lr": "0.001", "min_lr": "0.01"})


@pytest.mark.parametrize("flags, message", [
    ({"lr": "-1"}, "--lr -1: it should be a number above 0 and at most 10"),
    ({"lr": "1e9"}, "--lr 1e9: it should be"), ({"lr": "nan"}, "--lr nan: it should be"),
    ({"seed": str(2**63)}, "--seed 9223372036854775808: it should be a whole number of at most 9,223,372,036"),
    ({"batch_size": "0"}, "--batch-size 0: it should be a whole number of at least 1"),
    ({"batch_size": "10**9"}, "--batch-size"), ({"context": "-1"}, "--context -1"),
    ({"steps": "1.5"}, "--steps 1.5"),
    ({"dropout": "1"}, "--dropout 1: it should be a number of at least 0 and below 1"),
    ({"schedule": "linear"}, "--schedule linear: it should be constant or cosine"),
    ({"time_budget": "soon"}, "--time-budget soon: it should be a time such as"),
    ({"backend": "gpu"}, "--backend gpu: it should be numba or numpy"), ({"seed": "-1"}, "--seed -1"),
    ({"warmup": "70s"}, "a warm-up of 70s leaves nothing of a time budget of 60s")])
def test_values_that_make_no_sense(flags, message):
    with pytest.raises(UsageError) as caught:
        plain(flags=flags)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("content, message", [
    ("[train]\nbatchsize = 3", "[train]: unknown option 'batchsize' (did you mean 'batch_size'?)"),
    ("sed = 3", "unknown option 'sed' (did you mean 'seed'"),
    ("train = 3", "train should be a table"), ("[train]\nlr = true", "lr = True: it should be"),
    ("[train]\nsteps = 3\ntokens = 3", "only one can say how long"), ("preset = 3", "preset should be a name"),
    ("x = [", "not TOML"), ("\xff", "not TOML"), ('preset = "gpt-tony"', "unknown preset 'gpt-tony' (did you mean")])
def test_files_that_make_no_sense(tmp_path, content, message):
    (tmp_path / "my.toml").write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError) as caught:
        resolve(file=tmp_path / "my.toml", environ={})
    assert message in str(caught.value) and "\n" not in str(caught.value).rstrip()


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "no.toml", tmp_path):
        with pytest.raises(UsageError, match="--config"):
            resolve(file=path, environ={})


def test_an_unknown_preset_gets_the_nearest_names():
    with pytest.raises(UsageError, match="unknown preset 'gpt-tny' .did you mean 'gpt-tiny'"):
        plain("gpt-tny")


KEYS = st.one_of(st.sampled_from([*config.options(Recipe), *config.options(Setup), "model", "train", "preset"]),
                 st.text(string.ascii_lowercase, max_size=5))
VALUES = st.recursive(st.one_of(st.integers(-2**40, 2**40), st.floats(), st.booleans(), st.text(max_size=8)),
                      lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(KEYS, inner, max_size=3)),
                      max_leaves=6)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_table_is_resolved_or_refused_in_a_line(table):
    try:
        found = resolve(table=table, environ={})
    except TinylmError:
        return
    assert Config.from_toml(found.to_toml()).recipe == found.recipe


@given(st.text(max_size=60))
def test_any_text_is_a_config_or_refused(content):
    with contextlib.suppress(TinylmError):
        Config.from_toml(content)


@given(st.dictionaries(st.text(max_size=5), st.one_of(
    st.text(max_size=20), st.booleans(), st.integers(-2**62, 2**62), st.floats(allow_nan=False),
    st.lists(st.integers(0, 9), max_size=3)), max_size=4))
def test_toml_is_read_as_it_is_written(values):
    assert tomllib.loads("\n".join(config._assignments(values))) == values
