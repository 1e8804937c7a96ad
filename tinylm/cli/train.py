"""`tinylm train`: wires text, model, trainer, samples, live view and report."""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import click
from click.core import ParameterSource

from .. import config
from ..errors import CheckFailed, Diverged, UsageError
from .common import SETTINGS, emit_json, note, output_options, threads_option

SAMPLE_TOKENS = 300
SAMPLE_TEMPERATURE = 0.8
DRY_SECONDS = 2.0
PEAK_SECONDS = 0.03  # in 0.1 s, 0.6 % more is found

_PLACEHOLDERS = {"time_budget": "TIME", "warmup": "LENGTH", "schedule": "constant|cosine", "data": "CORPUS|FILE",
                 "documents": "auto|blank-line|whole", "size": "N|SIZE", "vocab": "N|characters",
                 "backend": "numba|numpy", "precision": "|".join(config.PRECISIONS), "lr": "X", "min_lr": "X",
                 "weight_decay": "X", "clip": "X"}
_SETUP_FLAGS = ("data", "documents", "size", "vocab", "seed", "backend", "precision")
_RECIPE_FLAGS = ("steps", "tokens", "time_budget", "batch_size", "accumulate", "lr", "min_lr", "schedule", "warmup",
                 "weight_decay", "clip", "eval_every", "eval_tokens", "sample_every")
_MODEL_FLAGS = {"context": "Positions the model sees.", "dropout": "Rate of dropout."}
# What may change when a run goes on.
_FREE = ("steps", "data", "cpu_threads")


def _recipe_options(command):
    """One option for each value of the recipe; `config.resolve` reads them, so they are texts here.

    Their variables are read there too, which knows what came from where.
    """
    helps = dict(_MODEL_FLAGS)
    for table, names in ((config.Setup, _SETUP_FLAGS), (config.Recipe, _RECIPE_FLAGS)):
        helps |= {name: config.options(table)[name].metadata["help"] for name in names}
    order = ("data", "documents", "size", "vocab", *_RECIPE_FLAGS[:4], "context", *_RECIPE_FLAGS[4:], "dropout", "seed",
             "backend", "precision")
    for name in reversed(order):
        command = click.option(config.flag(name), name, metavar=_PLACEHOLDERS.get(name, "N"),
                               allow_from_autoenv=False, help=helps[name])(command)
    return command


@click.command(context_settings=SETTINGS,
               epilog="Example: tinylm train --preset gpt-tiny --data stories --time-budget 60s")
@click.option("--preset", metavar="NAME", allow_from_autoenv=False,
              help=f"Model and recipe to begin with: {', '.join(config.preset_names())}.")
@_recipe_options
@click.option("--config", "file", metavar="FILE.toml", help="Options: [model], [train], and keys before them.")
@click.option("--out", metavar="DIR", help="The run's folder (default: a new one under runs/).")
@click.option("--resume", metavar="RUN", allow_from_autoenv=False,
              help="Continue a run: a path, a name under runs/, or latest.")
@click.option("--sweep", metavar="NAME=V,V,…", allow_from_autoenv=False,
              help="One run after another, each with one of these values: lr=1e-3,2e-3,4e-3.")
@click.option("--accept-other-code", is_flag=True, help="Resume although tinylm's code has changed since.")
@click.option("--dry-run", is_flag=True, help="Say what would happen and how long it takes; write nothing.")
@threads_option
@output_options
@click.pass_context
def train(click_context, preset, file, out, resume, sweep, accept_other_code, dry_run, cpu_threads, as_json, quiet,
          **given):
    """Train a model; resume one; plan one.

    Options add up: default < preset < --config FILE < TINYLM_* variable < flag.

    With --resume, a run goes on as if it had never stopped: the same bits.  Its own options count;
    --steps N sets another end, and --data says where the text is now, should it have moved.

    With --sweep, a table at the end says which value reached the lowest validation loss; --out is the
    folder that the runs are put into.
    """
    if resume is not None:
        _refuse_with_resume(preset=preset, config=file, out=out, sweep=sweep, dry_run=dry_run or None)
        return _resume(click_context, resume, given, cpu_threads, accept_other_code, as_json, quiet)
    if click_context.get_parameter_source("cpu_threads") is ParameterSource.COMMANDLINE:
        given["cpu_threads"] = cpu_threads
    if sweep is not None:
        from .sweep import run_all
        if dry_run:
            raise UsageError("--dry-run plans one run: leave out --sweep, and give one of its values")
        layers = {"preset": preset, "file": file, "flags": given}
        return run_all(click_context, sweep, layers, out, cpu_threads, as_json, quiet)
    options = config.resolve(preset=preset, file=file, flags=given)
    cpu_threads = chosen_threads(options, cpu_threads, quiet)
    options, model, data, notes = prepare(options, cpu_threads, quiet)
    if dry_run:
        return _dry_run(options, model, data, cpu_threads, notes, as_json, quiet)
    from ..train.rundir import RunDir
    with RunDir.create(options.preset, out) as run:
        return _train(click_context, run, options, model, data, cpu_threads, notes, as_json, quiet)


def _refuse_with_resume(**given) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{config.flag(name)} makes no sense with --resume: a run keeps its options")


def chosen_threads(options: config.Config, count: int, quiet: bool) -> int:
    """--cpu-threads was honoured before; here a configuration file may still set it."""
    from .. import threads
    if not options.origin["cpu_threads"].startswith("file"):
        return count
    count, text = threads.prepare(options.setup.cpu_threads)
    if text:
        note(text, quiet)
    return count


def prepare(options: config.Config, threads: int, quiet: bool):
    """(options with the data's vocabulary, model, data, notes)"""
    from ..models.base import checked_precision
    setup = options.setup
    if setup.data is None:
        raise UsageError(f"{options.preset} comes without data: --data FILE, or a corpus such as --data stories")
    dataset = _dataset(setup, quiet)
    model, notes = _model(options, dataset)
    checked_precision(model, setup.precision)
    notes += _of_precision(setup)
    options = dataclasses.replace(options, model={**options.model, "vocab": dataset.tokenizer.vocab_size},
                                  origin={**options.origin, "model.vocab": f"data {dataset.name}"})
    if dataset.path and Path(setup.data).exists():  # so that --resume works from another folder too
        setup = dataclasses.replace(setup, data=str(Path(setup.data).resolve()))
        options = dataclasses.replace(options, setup=setup)
    return options, model, _training_data(dataset, options, model), notes


def _of_precision(setup: config.Setup) -> list[str]:
    """What is worth knowing of a precision that this processor only imitates."""
    if setup.precision != "bfloat16" or setup.backend != "numba":
        return []
    from ..kernels import machine
    if machine.has("bfloat16"):
        return []
    return ["this processor does not multiply bfloat16: products round to it and then take as long as in float32; "
            "--precision int16 is faster here"]


def _dataset(setup: config.Setup, quiet: bool):
    from .loading import open_data
    # The split has a seed of its own, so that runs with different --seed share one validation text.
    return open_data(setup.data, setup.documents, setup.size, vocab=setup.vocab, quiet=quiet)


def _model(options: config.Config, dataset):
    from .. import models
    shape, notes = dict(options.model), []
    family, vocab = shape.pop("family", None), dataset.tokenizer.vocab_size
    if family is None:
        raise UsageError("[model] needs a family, such as family = \"gpt\"")
    if shape.get("vocab", vocab) != vocab:
        notes.append(f"{options.preset} says vocab = {shape['vocab']}; {dataset.name} has {vocab} symbols, and "
                     "training takes those")
    return models.build(family, {**shape, "vocab": vocab}), notes


def _training_data(dataset, options: config.Config, model):
    """The text as the loop wants it.   Raises DataMissing where it is shorter than the context"""
    from ..models import describe
    from ..text.batches import batch, windows
    from ..train.floor import FloorCheck
    from ..train.loop import TrainingData
    recipe, tok, context = options.recipe, dataset.tokenizer, model.config.context
    draw = functools.partial(_draw, batch, dataset.train, options.setup.seed, recipe.batch_size, context)
    batch(dataset.train, 0, 0, 1, context)  # says so where the text is too short
    rows = min(describe.texts_at_once(model, recipe.batch_size, context), 32)  # in the memory that training has
    floor = dataset.floor and FloorCheck(dataset.floor.bits_per_byte, dataset.floor.standard_error,
                                         dataset.meta["splits"]["val"]["bytes"])
    return TrainingData(
        name=dataset.name, digest=dataset.digest, tokenizer=tok.digest, tokenizer_json=tok.to_json(),
        token_bytes=tok.token_bytes, token_chars=tok.token_chars, train_tokens=len(dataset.train), batch=draw,
        validation=list(windows(dataset.val, context, recipe.eval_tokens, rows)), floor=floor)


def _draw(batch, tokens, seed, batch_size, context, step, micro):
    return batch(tokens, seed, step, batch_size, context, micro)


# -- going on ---------------------------------------------------------------------------------------

def _resume(click_context, name, given, threads, accept_other_code, as_json, quiet):
    from ..text.tokenizer import Tokenizer
    from ..train import checkpoint
    from ..train.rundir import RunDir
    from .loading import find_run

    with RunDir(find_run(name)) as run:
        saved = checkpoint.read(run.checkpoints / "last", optimizer=True)
        options = config.Config.from_toml(saved.state["config"])
        steps = _only_free_changes(given, options)
        if steps is not None:
            recipe = dataclasses.replace(options.recipe, steps=steps, tokens=None, time_budget=None)
            origin = {k: v for k, v in options.origin.items() if k not in config.LENGTHS}
            options = dataclasses.replace(options, recipe=recipe, origin={
                **origin, "steps": f"flag --steps, on resuming at step {saved.step}"})
        if given["data"] is not None:
            options = dataclasses.replace(options, setup=dataclasses.replace(options.setup, data=given["data"]))
        Tokenizer(saved.tokenizer)  # a tokenizer that does not load should be met now, not at the end
        options, model, data, notes = prepare(options, threads, quiet)
        return _train(click_context, run, options, model, data, threads, notes, as_json, quiet, checkpoint=saved,
                      steps=steps, accept_other_code=accept_other_code)


def _only_free_changes(given: dict, options: config.Config) -> int | None:
    """The new number of steps, if one was given.   Raises UsageError for a changed option"""
    wanted = {k: v for k, v in given.items() if v is not None}
    # Read as always, so that what is written differently but means the same is no change.
    read = config.resolve(table=_table(options), flags=wanted, environ={})
    for name in wanted:
        if name in config.LENGTHS and name not in _FREE:
            raise UsageError(f"{config.flag(name)} makes no sense with --resume: --steps sets another end")
        table = options.model if name in config.MODEL else None
        before = table.get(name) if table is not None else _value(options, name)
        after = read.model.get(name) if table is not None else _value(read, name)
        if name not in _FREE and before != after:
            raise UsageError(f"{config.flag(name)} {given[name]}: this run has {before}, and a run keeps its "
                             "options on --resume")
    return read.recipe.steps if "steps" in wanted else None


def _table(options: config.Config) -> dict:
    import tomllib
    return tomllib.loads(options.to_toml())


def _value(options: config.Config, name: str):
    return getattr(options.setup if name in config.options(config.Setup) else options.recipe, name)


# -- training ---------------------------------------------------------------------------------------

def _train(click_context, run, options, model, data, threads, notes, as_json, quiet, **how):
    from ..train.events import Finished

    last, report = follow(run, options, model, data, threads, notes, as_json, quiet, **how)
    if as_json:
        emit_json({"run": str(run.path), **outcome(last),
                   "floor": data.floor and {"bits_per_byte": data.floor.bits_per_byte,
                                            "standard_error": data.floor.standard_error}})
    if isinstance(last, Finished):
        if not as_json:
            click.echo(str(report))
        return 0
    note(f"continue with: {last.resume}", quiet)
    click_context.exit(130)


def outcome(last) -> dict:
    """What a run came to, for --json."""
    from ..train.events import Finished
    return {"finished": isinstance(last, Finished), "steps": last.step, "tokens": last.tokens,
            "seconds": last.seconds, "tokens_per_second": last.tokens_per_second,
            "train": last.train and last.train.to_json(), "val": last.val and last.val.to_json()}


def follow(run, options, model, data, threads, notes, as_json, quiet, **how):
    """Train with a view of it; returns the last event and the path of the report."""
    from ..interrupts import stop_on_signals
    from ..report import live
    from ..train import ahead
    from ..train.loop import Trainer
    from .loading import operations

    f = operations(options.setup.backend)
    if options.setup.backend == "numba":
        ahead.start(model)
    trainer = Trainer(model=model, data=data, config=options, f=f, threads=threads, run=run, notes=notes, **how)
    trainer.sample = _sampler(model, trainer.params, f, data, options.setup.seed)
    with stop_on_signals(trainer.stop):
        try:
            last = live.view(trainer.events(), json=as_json, quiet=quiet,
                             measure_peak=None if quiet else _peak(options.setup))
        except (Diverged, CheckFailed):
            _report(run)
            raise
    note("writing the report", quiet)
    return last, _report(run)


def _report(run) -> Path:
    """Write the run's report; returns its path."""
    from ..report import html
    return html.write(run.path)


def _sampler(model, params, f, data, seed):
    """sample(step): a text from the model as it is, the same for the same parameters and step.

    It goes through the layers, as training does: to compile what takes a GPT's token through all of them in one call
    would take longer than all samples, and the first step waits for the first.
    """
    from ..generate.sampling import Options
    from ..generate.stream import stream
    from ..layers.base import Replaced
    from ..models.base import Attending
    from ..text.tokenizer import Tokenizer
    tokenizer, f = Tokenizer(data.tokenizer_json), Replaced(f) if isinstance(model, Attending) else f

    def sample(step: int) -> str:
        steps = stream(model, params, f, tokenizer, [], Options(temperature=SAMPLE_TEMPERATURE), seed=seed,
                       sample=step, max_tokens=SAMPLE_TOKENS, judge=False)
        return "".join(piece.text_piece for piece in steps)
    return sample


def _peak(setup: config.Setup) -> Callable[[], float] | None:
    """What measures this machine's operations per second in a moment; the kernels' yardstick only."""
    if setup.backend != "numba":
        return None
    from ..kernels import machine
    instruction = machine.instruction_of(setup.precision)
    machine.peak(instruction, 0)  # compiled now, not in the middle of training
    return lambda: machine.peak(instruction, PEAK_SECONDS)


# -- planning ---------------------------------------------------------------------------------------

def _dry_run(options, model, data, threads, notes, as_json, quiet):
    from ..models import describe
    from ..report.words import CHINCHILLA, chinchilla, duration
    from ..train import ahead
    from ..train.loop import Trainer
    from .loading import operations

    for text in notes:
        note(text, quiet)
    f = operations(options.setup.backend)
    if options.setup.backend == "numba":
        ahead.start(model)
    trainer = Trainer(model=model, data=data, config=options, f=f, threads=threads)
    trainer.prepare()
    trainer.settle()
    speed = trainer.measure(DRY_SECONDS)
    recipe, steps = options.recipe, trainer.steps_for(speed)
    evaluations = 1 + -(-steps // recipe.eval_every)
    parameters, tokens = trainer.params.count(), steps * trainer.tokens_per_step
    memory = describe.memory(model, f, recipe.batch_size, model.config.context)
    answer = {
        "preset": options.preset, "data": data.name, "vocab": model.config.vocab, "parameters": parameters,
        "steps": steps, "tokens_per_step": trainer.tokens_per_step, "tokens": tokens,
        "train_tokens": data.train_tokens, "epochs": tokens / data.train_tokens,
        "chinchilla": tokens / (CHINCHILLA * parameters), "bytes": memory,
        "seconds_per_step": speed.step, "seconds_per_evaluation": speed.evaluation,
        "tokens_per_second": trainer.tokens_per_step / speed.step,
        "seconds": steps * speed.step + evaluations * speed.evaluation}
    if as_json:
        emit_json(answer)
        return 0
    need = sum(memory.values()) - memory["packed"]
    rows = [
        ("model", f"{options.preset}, {parameters:,} parameters, vocabulary {model.config.vocab}"),
        ("text", f"{data.name}, {data.train_tokens:,} training tokens"),
        ("training", f"{steps:,} steps of {trainer.tokens_per_step:,} tokens = {tokens:,} tokens"),
        ("epochs", f"{answer['epochs']:.2f}"),
        ("Chinchilla", chinchilla(tokens, parameters)),
        ("memory", f"{need / 2**20:,.0f} MiB, {memory['activations'] / 2**20:,.0f} of it activations"),
        ("speed", f"{answer['tokens_per_second']:,.0f} tokens/s, measured for {DRY_SECONDS:g} s"),
        ("time", f"{duration(answer['seconds'])}, {evaluations:,} evaluations included")]
    for name, value in rows:
        click.echo(f"{name:<11} {value}")
    return 0
