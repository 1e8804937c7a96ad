"""Options: what they mean, where each value comes from; and where tinylm keeps what it can make again.

    default < preset < --config FILE.toml < TINYLM_* variable < flag

A preset and a configuration file are the same kind of TOML: `[model]` has the shape of the model,
`[train]` the recipe (`Recipe`), the keys before them say on what and how (`Setup`).  A run keeps its
resolved options as `config.toml`, in that same form, with the table `[origin]` beside them.
"""
from __future__ import annotations

import dataclasses
import importlib.resources
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from .errors import UsageError, nearest

DEFAULT_PRESET = "gpt-tiny"

PRECISIONS = "float32", "bfloat16", "int16", "int8"  # of what matrix products multiply


def cache_dir() -> Path:
    """Folder for prepared data and compiled kernels; deleting it costs time and nothing else.

    TINYLM_CACHE_DIR, else XDG_CACHE_HOME/tinylm, else ~/.cache/tinylm.
    """
    if os.environ.get("TINYLM_CACHE_DIR"):
        return Path(os.environ["TINYLM_CACHE_DIR"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tinylm"


# -- values: each reader takes what TOML, a variable or a flag gives and raises ValueError(what is wanted)

Reader = Callable[[Any], Any]
_SCALES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}


def whole(low: int, high: int = 10**12) -> Reader:
    """A reader of integers in low … high: 500, "1_000_000", "20M", "64k"."""
    wanted = f"a whole number of at least {low:,}" + (f" and at most {high:,}" if high < 10**12 else "")

    def read(value):
        if isinstance(value, str):
            match = re.fullmatch(r"([0-9][0-9_]{0,24}(?:\.[0-9]{1,9})?) ?([kKMGB]?)", value.strip())
            if not match:
                raise ValueError(wanted)
            value = Fraction(match[1].replace("_", "")) * _SCALES[match[2]]
            value = int(value) if value.denominator == 1 else value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            too_large = isinstance(value, int) and value > high
            raise ValueError(f"a whole number of at most {high:,}" if too_large else wanted)
        return value
    return read


def number(low: float, high: float, *, above: bool = False, below: bool = False) -> Reader:
    """A reader of floats from low to high; `above` and `below` leave out the ends."""
    wanted = (f"a number {'above' if above else 'of at least'} {low:g} "
              f"and {'below' if below else 'at most'} {high:g}")

    def read(value):
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise ValueError(wanted) from None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high \
                or (above and value == low) or (below and value == high):
            raise ValueError(wanted)
        return float(value)
    return read


def choice(*names: str) -> Reader:
    """A reader of one of some words."""
    def read(value):
        if value not in names:
            raise ValueError(" or ".join(names))
        return value
    return read


def text(value) -> str:
    """Any string but an empty one; also a path or a number."""
    if isinstance(value, (os.PathLike, int)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise ValueError("a text")
    return value


def truth(value) -> bool:
    """true or false, in a variable also 1 or 0."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


SMALLEST_VOCAB, LARGEST_VOCAB = 257, 65_535  # every byte and end-of-text; ids are kept in 16 bits
CHARACTERS = "characters"


def vocabulary(value) -> int | None:
    """Symbols of a byte-level BPE, or None for "characters"."""
    try:
        return None if value == CHARACTERS else whole(SMALLEST_VOCAB, LARGEST_VOCAB)(value)
    except ValueError as error:
        raise ValueError(f"{error}, or {CHARACTERS}") from None


LONGEST = 366 * 24 * 3600.0


def duration(value) -> float:
    """Seconds, from 90, "90", "60s", "5m", "1h30m"."""
    wanted = "a time such as 60s, 5m or 1h30m, above 0 and at most a year"
    if isinstance(value, str):
        match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", value.strip())
        if not match or not any(match.groups()):
            raise ValueError(wanted)
        try:
            value = sum(float(part) * unit for part, unit in zip(match.groups(), (3600, 60, 1)) if part)
        except ValueError:
            raise ValueError(wanted) from None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LONGEST:
        raise ValueError(wanted)
    return float(value)


class Warmup(NamedTuple):
    """How long the learning rate rises: an amount of "steps", "tokens" or "s" (seconds)."""

    amount: float
    unit: str

    def __str__(self) -> str:
        if self.unit == "s":  # all digits and no exponent: `warmup` must read the same number again
            return f"{Decimal(repr(float(self.amount))):f}".removesuffix(".0") + "s"
        return f"{int(self.amount)} {self.unit}"


def warmup(value) -> Warmup:
    """From "50 steps", 50, "100_000 tokens", "2M tokens", "10s", "1m30s", "0"."""
    wanted = "a length such as 50 steps, 10s or 100_000 tokens"
    if isinstance(value, Warmup):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(wanted)
    match = re.fullmatch(r"(\S+?)\s*(steps?|tokens?)?", value.strip())
    try:
        if match and match[2]:
            return Warmup(whole(0)(match[1]), match[2].rstrip("s") + "s")
        if value.strip().isdigit():
            return Warmup(whole(0)(value), "steps")
        return Warmup(duration(value), "s")
    except ValueError:
        raise ValueError(wanted) from None


# -- what can be set --------------------------------------------------------------------------------

def option(default, read: Reader, help: str):
    """A field that knows how to read its values and what to say about itself."""
    return field(default=default, metadata={"read": read, "help": help})


@dataclass(frozen=True)
class Recipe:
    """How to train: the table `[train]`.

    One of steps, tokens and time_budget says for how long; the others are None.
    """

    steps: int | None = option(None, whole(1, 10**9), "Optimizer steps.")
    tokens: int | None = option(None, whole(1, 10**15), "Training tokens instead of steps: 20M.")
    time_budget: float | None = option(None, duration, "Train for this long: 60s, 5m, 1h30m.")
    batch_size: int = option(12, whole(1, 10**6), "Sequences in a batch; a large one is worked on in parts.")
    accumulate: int = option(1, whole(1, 10**6), "Batches whose gradients make one step.")
    lr: float = option(1e-3, number(0, 10, above=True), "Highest learning rate.")
    min_lr: float = option(0.0, number(0, 10), "Where the cosine ends.")
    schedule: str = option("cosine", choice("constant", "cosine"), "Learning rate after the warm-up.")
    warmup: Warmup = option(Warmup(0, "steps"), warmup, "Rise of the learning rate: 50, 10s, '1M tokens'.")
    beta1: float = option(0.9, number(0, 1, below=True), "AdamW: decay of the mean gradient.")
    beta2: float = option(0.999, number(0, 1, below=True), "AdamW: decay of the mean squared gradient.")
    eps: float = option(1e-8, number(0, 1, above=True), "AdamW: keeps the division finite.")
    weight_decay: float = option(0.0, number(0, 10), "AdamW: decoupled weight decay.")
    decay_all: bool = option(False, truth, "Decay biases and norms too, not matrices only.")
    clip: float = option(1.0, number(0, 1e6), "Largest gradient norm; 0: no limit.")
    eval_every: int = option(200, whole(1, 10**9), "Steps between evaluations.")
    eval_tokens: int = option(20_000, whole(1, 10**9), "Tokens of the fixed validation set.")
    sample_every: int = option(0, whole(0, 10**9), "Steps between samples; 0: none.")
    log_every: int = option(10, whole(1, 10**9), "Steps between train lines of metrics.jsonl.")

    def __post_init__(self):
        if self.min_lr > self.lr:
            raise UsageError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}")
        if self.warmup.unit == "s" and self.warmup.amount >= (self.time_budget or math.inf):
            raise UsageError(f"a warm-up of {self.warmup} leaves nothing of a time budget of "
                             f"{self.time_budget:g}s")


@dataclass(frozen=True)
class Setup:
    """On what and how: the keys of a configuration file before its tables."""

    data: str | None = option(None, text, "Corpus (stories, python, tinystories) or text file.")
    documents: str = option("auto", choice("auto", "blank-line", "whole"), "Where a file's documents end.")
    size: str | None = option(None, text, "Stories to generate, or part of tinystories (20MB).")
    vocab: int | None = option(None, vocabulary, "Symbols of byte-level BPE; default: a symbol a character.")
    seed: int = option(0, whole(0, 2**63 - 1), "Decides initial weights, batches, dropout and samples.")
    cpu_threads: int | None = option(None, whole(1, 10**6), "Threads to use (default: all processors).")
    backend: str = option("numba", choice("numba", "numpy"), "Fast kernels, or the definitions they copy.")
    precision: str = option("float32", choice(*PRECISIONS), "Of what matrix products multiply in training.")


# Options of the model that have a flag; what a family understands is for `models.build` to say.
MODEL = {"context": whole(1, 10**6), "dropout": number(0, 1, below=True)}
LENGTHS = ("steps", "tokens", "time_budget")
NOT_OPTIONS = ("model", "train", "origin", "preset", "title", "source")  # in a preset or file


def options(table: type) -> dict[str, dataclasses.Field]:
    """The fields of `Recipe` or `Setup` by name."""
    return {f.name: f for f in dataclasses.fields(table)}


def flag(name: str) -> str:
    """batch_size -> --batch-size"""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """batch_size -> TINYLM_BATCH_SIZE"""
    return "TINYLM_" + name.upper()


# -- presets ----------------------------------------------------------------------------------------

def preset_names() -> list[str]:
    """The presets that ship with the package, in alphabetical order."""
    folder = importlib.resources.files("tinylm") / "presets"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def load_preset(name: str) -> dict:
    """The content of a preset: title, source, data, and the tables model and train.

    Raises    UsageError for an unknown one, with the nearest names
    """
    if name not in preset_names():
        raise UsageError(f"unknown preset {name!r}" + nearest(name, preset_names()))
    content = (importlib.resources.files("tinylm") / "presets" / f"{name}.toml").read_text("utf-8")
    return tomllib.loads(content)


def read_file(path: str | os.PathLike) -> dict:
    """A configuration file.   Raises UsageError where it is absent or not TOML."""
    try:
        return tomllib.loads(Path(path).read_bytes().decode("utf-8"))
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"--config {path}: not TOML: {error}") from None


# -- layers -----------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Config:
    """Resolved options.

    preset   its name
    title    what the preset says about itself
    model    table for `models.build`: family and its options; `vocab` is left to the data
    origin   where each value came from: {"model.context": "flag --context", "lr": "preset gpt-tiny"};
             recipe names stand without a table
    """

    preset: str
    title: str
    setup: Setup
    recipe: Recipe
    model: dict
    origin: dict[str, str]

    def to_toml(self) -> str:
        """The content of a run's `config.toml`: values, which --config takes again, and origins."""
        lines = ["# The options of this run, and below where each came from."]
        lines += [f"preset = {_toml(self.preset)}"]
        lines += _assignments(dataclasses.asdict(self.setup))
        lines += ["", "[model]", *_assignments(self.model)]
        lines += ["", "[train]", *_assignments({n: getattr(self.recipe, n) for n in options(Recipe)})]
        lines += ["", "[origin]", *(f"{_key(k)} = {_toml(v)}" for k, v in self.origin.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, content: str) -> Config:
        """What `to_toml` wrote.   Raises UsageError for anything else."""
        try:
            table = tomllib.loads(content)
            origin = dict(table.pop("origin", {}))
        except (tomllib.TOMLDecodeError, RecursionError, ValueError, TypeError) as error:
            raise UsageError(f"config.toml: {error}") from None
        config = resolve(table=table, environ={})
        return dataclasses.replace(config, title="", origin=origin)


def resolve(*, preset: str | None = None, file: str | os.PathLike | None = None,
            flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None,
            table: dict | None = None) -> Config:
    """Put the layers on one another: default < preset < file < variables < flags.

    flags    what was given on the command line, by name (None: not given)
    environ  default: the process's environment
    table    used in place of preset and file: a complete configuration, as a run keeps it

    Raises    UsageError for unknown names and values that make no sense, saying where they stand
    """
    environ = os.environ if environ is None else environ
    flags = {k: v for k, v in (flags or {}).items() if v is not None}
    content = table if table is not None else read_file(file) if file is not None else {}
    name, name_origin = DEFAULT_PRESET, "default"
    for value, where in ((content.get("preset"), f"file {file}"), (environ.get("TINYLM_PRESET"), "variable "
                         "TINYLM_PRESET"), (preset, "flag --preset")):
        if value:
            name, name_origin = value, where
    if not isinstance(name, str):
        raise UsageError(f"preset should be a name, not {name!r}")
    layers = _Layers()
    described = {}
    if table is None:
        described = load_preset(name)
        layers.add_table(described, f"preset {name}")
        if file is not None:
            layers.add_table(content, f"file {file}")
    else:
        layers.add_table(table, "this run")
    names = [*options(Setup), *options(Recipe), *MODEL]
    given = {n: environ.get(variable(n)) for n in names}
    layers.add({n: (value, f"variable {variable(n)}") for n, value in given.items() if value})
    layers.add({n: (flags[n], f"flag {flag(n)}") for n in names if n in flags})
    return layers.finish(name, name_origin, described.get("title", ""))


class _Layers:
    """The values so far, and where they came from."""

    def __init__(self):
        self.values = {Setup: {}, Recipe: {}, "model": {}}
        self.origin: dict[str, str] = {}

    def add_table(self, content: dict, where: str) -> None:
        """A preset or file: keys before the tables, [model] and [train]."""
        top = {k: v for k, v in content.items() if k not in NOT_OPTIONS}
        train, model = content.get("train", {}), content.get("model", {})
        for name, table in (("train", train), ("model", model)):
            if not isinstance(table, dict):
                raise UsageError(f"{where}: {name} should be a table, [{name}]")
        self._known(top, [*options(Setup), "model", "train"], where)
        self._known(train, options(Recipe), f"{where}, [train]")
        for key, value in model.items():
            if key not in MODEL:  # the family says later what it understands
                self.values["model"][key], self.origin[f"model.{key}"] = value, where
        self.add({k: (v, where) for k, v in {**top, **train}.items()}
                 | {k: (model[k], where) for k in MODEL if k in model})

    @staticmethod
    def _known(table, names, where):
        for key in table:
            if key not in names:
                raise UsageError(f"{where}: unknown option {key!r}" + nearest(key, names))

    def add(self, given: dict[str, tuple[Any, str]]) -> None:
        """One layer of {name: (value, where)}."""
        lengths = [n for n in LENGTHS if n in given]
        if len(lengths) > 1:
            raise UsageError(" and ".join(given[n][1] + (f" ({n})" if "flag" not in given[n][1] else "")
                                          for n in lengths) + ": only one can say how long to train")
        for name in LENGTHS if lengths else ():  # a higher layer's length replaces a lower one's
            self.values[Recipe].pop(name, None)
            self.origin.pop(name, None)
        for name, (value, where) in given.items():
            table = "model" if name in MODEL else Recipe if name in options(Recipe) else Setup
            read = MODEL[name] if table == "model" else options(table)[name].metadata["read"]
            try:
                self.values[table][name] = read(value)
            except ValueError as error:
                raise UsageError(f"{_where(where, name)} {value}: it should be {error}") from None
            self.origin[f"model.{name}" if table == "model" else name] = where

    def finish(self, preset: str, preset_origin: str, title: str) -> Config:
        recipe = self.values[Recipe]
        # A learning rate below the preset's end of the cosine lowers that end too.
        if recipe.get("min_lr", 0) > recipe.get("lr", options(Recipe)["lr"].default) \
                and self.origin.get("min_lr", "").startswith("preset") \
                and self.origin.get("lr") != self.origin["min_lr"]:
            recipe["min_lr"], self.origin["min_lr"] = recipe["lr"], "not above lr"
        if not any(n in recipe for n in LENGTHS):
            raise UsageError("say how long to train: --steps, --tokens or --time-budget")
        for name in (*options(Setup), *options(Recipe)):
            if name not in LENGTHS:
                self.origin.setdefault(name, "default")
        origin = {"preset": preset_origin, **dict(sorted(self.origin.items()))}
        return Config(preset, title, Setup(**self.values[Setup]), Recipe(**recipe), self.values["model"],
                      origin)


def _where(where: str, name: str) -> str:
    """How to point at a value: "--lr", "TINYLM_LR =", "preset gpt-tiny: lr ="."""
    kind, _, rest = where.partition(" ")
    return rest if kind == "flag" else f"{rest} =" if kind == "variable" else f"{where}: {name} ="


# -- TOML -------------------------------------------------------------------------------------------

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _toml(value) -> str:
    """A value as TOML.  (The standard library reads TOML and does not write it.)"""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if value != value else "inf" if value > 0 else "-inf"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return '"' + "".join(_ESCAPES.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c)
                         for c in str(value)) + '"'


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _assignments(values: Mapping[str, Any]) -> list[str]:
    """TOML has no null: what is None is left out."""
    return [f"{_key(name)} = {_toml(value)}" for name, value in values.items() if value is not None]
