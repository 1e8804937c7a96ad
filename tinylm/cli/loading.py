"""What commands ask for by name: a run with its trained weights, prepared data, operations."""
from __future__ import annotations

import contextlib
import dataclasses
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import DataMissing, UsageError
from .common import console, note


@dataclasses.dataclass(frozen=True)
class Trained:
    """A checkpoint or an exported model brought to life.

    run         folder of the run, or of the exported model
    which       "best" or "last"; "" where the folder of a checkpoint or exported model was named itself
    step        optimizer steps it has seen
    params      its weights (`layers.Parameters`); of an exported model those that are not ternary
    state       what the training loop kept; None for an exported model
    options     the run's resolved options as TOML, where they come with the model
    exported    name of the run that an exported model comes from; None for a checkpoint
    """

    run: Path
    which: str
    step: int
    model: Any
    params: Any
    tokenizer: Any
    state: dict | None = None
    options: str | None = None
    exported: str | None = None

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def architecture(self):
        """The model as it was declared and trained, also where `model` is a packed one."""
        return next(iter(self.model.walk()))

    def config(self):
        """The run's resolved options (`config.Config`).   Raises DataMissing where they are lost"""
        from .. import config

        if self.options is not None:
            return config.Config.from_toml(self.options)
        path = self.run / "config.toml"
        try:
            return config.Config.from_toml(path.read_bytes().decode("utf-8"))
        except OSError as error:
            raise DataMissing(f"{path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise DataMissing(f"{path}: not UTF-8, so damaged") from None


def operations(backend: str) -> ModuleType:
    """The kernels ("numba") or the definitions ("numpy")."""
    return importlib.import_module("tinylm.kernels" if backend == "numba" else "tinylm.ops")


def find_run(name: str, also: Iterable[str] = (), called: str = "run") -> Path:
    """A run's folder: a path, a name under runs/, the unambiguous beginning of one, or `latest`.

    also      other names that would have been right, and
    called    what all of them are called, for the message

    Raises    UsageError where a beginning fits several runs, and as `rundir.find`, which decides for all commands
              what a wrong name is and what is missing data
    """
    from ..train import rundir

    fits = sorted(p.name for p in rundir.RUNS.glob("*") if p.is_dir() and not p.is_symlink()
                  and p.name.startswith(name)) if name and not (rundir.RUNS / name).exists() else []
    if len(fits) > 1 and not Path(name).exists():
        raise UsageError(f"{name!r} fits {len(fits)} runs: {', '.join(fits[:4])}{', …' if len(fits) > 4 else ''}")
    return rundir.find(fits[0] if fits and not Path(name).exists() else name, also=also, called=called)


def open_run(name: str, which: str | None = None, also: Iterable[str] = (), called: str = "run") -> Trained:
    """The model of a run, of the folder of one checkpoint, or of the folder of an exported model.

    which     "best" or "last"; None: the best if the run has measured one, else the last
    also      other names that would have been right, and
    called    what all of them are called, for the message

    Raises    UsageError where nothing is called so (see `rundir.find`) or the options do not build a model,
              DataMissing where something is, but no model or a damaged one
    """
    from .. import models
    from ..generate import packed
    from ..layers import Parameters
    from ..train import checkpoint

    folder = Path(name)
    if name and packed.is_export(folder):
        if which is not None:
            raise UsageError(f"--checkpoint {which}: {name} is an exported model, which has only one")
        found = packed.read(folder)
        return Trained(folder.resolve(), "", found.about["step"], found.model, found.params,
                       _tokenizer(found.tokenizer, found.model, folder), options=found.about["run_config"],
                       exported=found.about["run"])
    if (folder / checkpoint.STATE).is_file():
        run, which = folder.resolve().parent.parent, ""
    else:
        run = find_run(name, also, called)
        which = which or ("best" if (run / "checkpoints" / "best").exists() else "last")
        folder = run / "checkpoints" / which
    found = checkpoint.read(folder)
    model = models.build(found.family, found.config)
    params = Parameters(model.parameters())
    found.fill(params)
    return Trained(run, which, found.step, model, params, _tokenizer(found.tokenizer, model, folder), found.state)


def _tokenizer(content: str, model, folder: Path):
    """The tokenizer that belongs to the model.   Raises DataMissing where it does not"""
    from ..text.tokenizer import Tokenizer

    try:
        tokenizer = Tokenizer(content)
    except DataMissing as error:
        raise DataMissing(f"{folder / 'tokenizer.json'}: {error}") from None
    if tokenizer.vocab_size != model.config.vocab:
        raise DataMissing(f"{folder}: the tokenizer has {tokenizer.vocab_size} symbols, "
                          f"the model {model.config.vocab}")
    return tokenizer


def open_data(source: str, documents: str = "auto", size: str | None = None, seed: int = 0, *, vocab: int | None = None,
              tokenizer=None, quiet: bool = False):
    """A corpus or text file as tokens (`text.dataset.Dataset`), prepared where it is not yet.

    size       as on the command line: a number of stories, or a part of tinystories such as 20MB
    seed       of the split, and of generated stories
    vocab      symbols of a byte-level BPE learned from it; None: characters
    tokenizer  to read it in; None: one made for the text

    Raises     UsageError for a size that makes no sense, and what `text.dataset.prepare` raises
    """
    from ..text import dataset, download

    wanted = {"documents": documents, "seed": seed, "vocab": vocab, "tokenizer": tokenizer}
    if size is not None:
        if source == "stories" and not (size.strip().isdecimal() and len(size) <= 15):
            raise UsageError(f"--size {size}: for stories, give their number, such as 5500")
        wanted["size"] = int(size) if source == "stories" else download.parse_size(size)
    with contextlib.nullcontext() if quiet or not sys.stderr.isatty() else \
            console(stderr=True).status(f"preparing {source}"):
        found = dataset.prepare(source, **wanted)
    for text in found.notes:
        note(text, quiet)
    return found
