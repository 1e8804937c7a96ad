"""`tinylm bench`: speeds, beside the most that this machine can do."""
from __future__ import annotations

import functools
import itertools
import resource
import statistics
import sys

import click

from .. import config
from ..errors import UsageError
from . import speeds
from .common import SETTINGS, console, emit_json, note, output_options, threads_option

KINDS = ("peak", "gemm", "train", "scan", "decode")
_PRESET = {"presets", "vocab", "context"}
_TRAINING = _PRESET | {"batch_size", "dropout", "precision"}
# what each measurement takes beside time and threads
OPTIONS = {"peak": set(), "gemm": {"backend"}, "scan": {"backend"}, "train": _TRAINING | {"backend"},
           "decode": _PRESET | {"head_bits", "cache_bits", "backend"}, "--scaling": _TRAINING | {"backend"}}
DECODE_PROMPT, DECODE_TOKENS = 16, 200


@click.command(context_settings=SETTINGS, epilog="Example: tinylm bench train --preset gpt-run1 --seconds 20")
@click.argument("what", nargs=-1, metavar="[peak|gemm|train|scan|decode]... [RUN|FOLDER]...")
@click.option("--preset", "presets", multiple=True, metavar="NAME",
              help="Model to train or decode with; may be given more than once (default: gpt-run1).")
@click.option("--vocab", type=click.IntRange(2, 65536), default=65, show_default=True,
              help="Vocabulary where the preset leaves it to the data.")
@click.option("--batch-size", type=click.IntRange(1), help="Instead of the preset's.")
@click.option("--context", type=click.IntRange(1), help="Instead of the preset's.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), help="Instead of the preset's.")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True,
              help="Time for each measurement.")
@click.option("--scaling", is_flag=True,
              help="Show what a step costs with more threads, context, width, batch and depth.")
@click.option("--precision", type=click.Choice(config.PRECISIONS), help="Of training, instead of the preset's.")
@click.option("--head-bits", type=click.Choice(["8", "32"]),
              help="Of the head when a ternary preset or run decodes, as in `tinylm export` (default: 32).")
@click.option("--cache-bits", type=click.Choice(["8", "32"]), default="32", show_default=True,
              help="Of keys and values where a model with attention decodes, as in `tinylm generate`.")
@click.option("--backend", type=click.Choice(["numba", "numpy"]), default="numba", show_default=True)
@threads_option
@output_options
def bench(what, presets, vocab, batch_size, context, dropout, precision, head_bits, cache_bits, seconds, scaling,
          backend, cpu_threads, as_json, quiet):
    """Measure speed: this machine's peaks, matrix products, training steps, the recurrence's scan, decoding.

    Decoding also takes runs and exported folders.  Its memory is measured in a process of its own: how
    much more is resident there than before the packed model was read, when libraries and compiled
    kernels already were.

    Each figure is a median over windows that take turns with a loop of nothing but multiply-adds in
    registers; the best of those is the peak the figure is compared with.  Run it on an idle machine.
    """
    if seconds != seconds:  # click's range lets NaN pass
        raise UsageError("--seconds nan: it should be a number")
    asked = {"batch_size": batch_size, "context": context, "dropout": dropout, "precision": precision}
    given = {name: value for name, value in asked.items() if value is not None}
    kinds, trained = _read(what)
    measured = [*kinds, *["--scaling"] * scaling] or list(KINDS)
    _refuse_unused(measured, trained)
    results, cache_bits = [], int(cache_bits)

    def measuring(what, seconds=seconds):
        note(f"measuring {what} for about {seconds:g} s", quiet or as_json)

    for name in presets or ("gpt-run1",) if scaling else ():
        measuring(f"how a step of {name} grows", len(speeds.AXES) * seconds)
        results += _scaling(name, vocab, given, seconds, backend, cpu_threads)
    for kind in measured:
        if kind == "--scaling":
            continue
        if kind in ("gemm", "scan", "peak"):
            measuring(kind)
            results += speeds.peaks(seconds) if kind == "peak" else getattr(speeds, kind)(seconds, backend)
            continue
        for name in () if trained else presets or ("gpt-run1",):
            measuring(f"{kind} of {name}")
            results.append(_train(name, vocab, given, seconds, backend, cpu_threads) if kind == "train" else
                           _decode_preset(name, vocab, given, seconds, backend, int(head_bits or 32), cache_bits))
        for name in trained:
            measuring(f"{kind} of {name}")
            results.append(_decode_trained(name, seconds, backend, head_bits and int(head_bits), cache_bits))
    if as_json:
        from .doctor import examine
        emit_json({"machine": examine(cpu_threads), "threads": cpu_threads, "results": results})
        return
    out = console()
    for kind, group in itertools.groupby(results, lambda result: result["kind"]):
        if kind == "scaling":
            from ..report.scaling import scaling as drawn
            out.print(drawn(list(group)))
        elif kind in ("peak", "gemm"):
            out.print(_table(list(group)))
        else:
            for result in group:
                out.print(_sentence(result), markup=False)
    out.print(f"threads {cpu_threads} · peak memory of this process {_peak_memory() / 2**20:,.0f} MiB", markup=False)


def _read(what) -> tuple[list[str], list[str]]:
    """(kinds of measurement, names of trained models).   Raises UsageError for a name where only presets will do"""
    kinds, trained = ([word for word in what if (word in KINDS) is known] for known in (True, False))
    wrong = next((kind for kind in kinds if kind != "decode"), None)
    if trained and wrong:
        raise UsageError(f"{wrong} takes presets (--preset NAME), not {trained[0]!r}")
    return ["decode"] if trained else kinds, trained


def _refuse_unused(measured: list[str], trained: list[str]) -> None:
    """Raises UsageError for an option that nothing of what is measured would depend on."""
    context = click.get_current_context()
    for option in context.command.params:
        takers = [kind for kind, taken in OPTIONS.items() if option.name in taken]
        if not takers or context.get_parameter_source(option.name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        if not set(takers) & set(measured):
            raise UsageError(f"{option.opts[0]} is for {_listed(takers)}, not for {_listed(measured)}")
        if trained and measured == ["decode"] and option.name in _PRESET:
            raise UsageError(f"{option.opts[0]} is for presets (--preset NAME), not for {trained[0]!r}")


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _rounds(seconds: float, window):
    """(results of `window(seconds of it)`, the measured peak), in turn: see `speeds.windows`."""
    found = speeds.windows(seconds, window)
    return found.results, found.peak


def _train(name: str, vocab: int, given: dict, seconds: float, backend: str, threads: int) -> dict:
    from ..kernels import machine
    from ..models import describe
    trainer = _trainer(name, vocab, given, backend, threads)
    trainer.prepare()
    trainer.settle()
    precision = trainer.config.setup.precision
    instruction = machine.instruction_of(precision)
    most = functools.partial(machine.peak, instruction)
    windows, peak, ratio = speeds.windows(seconds, lambda s: trainer.measure(s).step, most)
    step, context = statistics.median(windows), trainer.context
    flops = sum(describe.flops(trainer.model, context).values()) * trainer.tokens_per_step
    return {"kind": "train", "preset": name, "parameters": trainer.params.count(), "vocab": trainer.model.config.vocab,
            "batch_size": trainer.recipe.batch_size, "accumulate": trainer.recipe.accumulate,
            "context": context, "dropout": trainer.model.config.dropout, "precision": precision,
            "instruction": instruction, "seconds_per_step": step, "tokens_per_second": trainer.tokens_per_step / step,
            "gflops": flops / step / 1e9, "peak_gflops": peak / 1e9, "fraction_of_peak": flops / step / peak,
            "threads_over_one": ratio, "peak_memory_bytes": _peak_memory()}


def _scaling(name: str, vocab: int, given: dict, seconds: float, backend: str, threads: int) -> list[dict]:
    def trainer(other: dict, own: dict):
        return _trainer(name, vocab, {**given, **other}, backend, threads, own)

    options, model = _model(name, vocab, given)
    return speeds.scaling(name, model.config, options.recipe.batch_size, seconds, threads, trainer)


def _model(name: str, vocab: int, given: dict, own: dict | None = None):
    """(resolved options, the model of a preset); `own`: options of the model instead of the preset's"""
    from .. import models
    options = config.resolve(preset=name, flags=given)
    shape = {"vocab": vocab, **options.model, **(own or {})}
    return options, models.build(shape.pop("family"), shape)


def _trainer(name: str, vocab: int, given: dict, backend: str, threads: int, own: dict | None = None):
    """A trainer of the preset on random tokens: the text makes no difference to the speed."""
    import numpy as np

    from ..models import describe
    from ..models.base import checked_precision
    from ..ops.random import generator
    from ..train.loop import Trainer, TrainingData
    from .loading import operations
    options, model = _model(name, vocab, given, own)
    checked_precision(model, options.setup.precision)
    size = options.recipe.batch_size, model.config.context

    def batch(step: int, micro: int):
        rng = generator(0, "bench", step, micro)
        return tuple(rng.integers(0, model.config.vocab, size, np.int32) for _ in range(2))

    ones, texts = np.ones(model.config.vocab, np.int64), describe.texts_at_once(model, *size)
    validation = [tuple(part[:texts] for part in batch(0, 0))]
    data = TrainingData("random tokens", "", "", "", ones, ones, 1, batch, validation)
    return Trainer(model=model, data=data, config=options, f=operations(backend), threads=threads)


def _decode_preset(name: str, vocab: int, given: dict, seconds: float, backend: str, head_bits: int,
                   cache_bits: int) -> dict:
    """Decoding with a model that has learned nothing: its text makes no difference to the speed."""
    from ..layers import Parameters
    _, model = _model(name, vocab, {k: v for k, v in given.items() if k != "batch_size"})
    params = Parameters(model.parameters())
    params.initialise(0)
    return {"kind": "decode", "preset": name, **_decode_packed(model, params, seconds, backend, head_bits, cache_bits)}


def _decode_trained(name: str, seconds: float, backend: str, head_bits: int | None, cache_bits: int) -> dict:
    from ..generate import packed
    from .loading import open_run
    trained = open_run(name, also=KINDS, called="measurement or run")
    if trained.exported is None:
        figures = _decode_packed(trained.model, trained.params, seconds, backend, head_bits or 32, cache_bits)
    else:
        has = packed.read_about(trained.run)["head_bits"]
        if head_bits not in (None, has):
            raise UsageError(f"--head-bits {head_bits}: {name} was exported with a head of {has} bits")
        figures = _decode(trained.run, seconds, backend, cache_bits)
    return {"kind": "decode", "run": trained.name, **figures}


def _decode_packed(model, params, seconds: float, backend: str, head_bits: int, cache_bits: int) -> dict:
    """As `_decode`, of a model in the form in which it is exported."""
    import tempfile
    from pathlib import Path

    from ..generate import packed
    from .footprint import placeholder
    with tempfile.TemporaryDirectory() as place, packed.Writing(Path(place) / "model") as writing:
        packed.write_model(writing, model, params, placeholder(model.config.vocab).to_json(),
                           {"run": "", "step": 0, "run_config": ""}, head_bits)
        return _decode(writing.path, seconds, backend, cache_bits)


def _decode(folder, seconds: float, backend: str, cache_bits: int) -> dict:
    """Tokens a second when one text is written with an exported model, sampling included, and its memory."""
    from ..generate import packed
    from ..models import describe
    from . import footprint
    from .loading import operations
    found = packed.read(folder)
    model, context, tokenizer = found.model, found.model.config.context, footprint.placeholder(found.model.config.vocab)
    declared = next(iter(model.walk()))
    count = min(DECODE_TOKENS, max(1, context - DECODE_PROMPT))

    def write():
        footprint.write(model, found.params, operations(backend), tokenizer, [0] * min(DECODE_PROMPT, context), count,
                        cache_bits)

    write()
    windows, peak = _rounds(seconds, lambda s: speeds.repeat(write, s))
    spent = statistics.median(t for window in windows for t in window)
    resident = footprint.measure(folder, count, backend, cache_bits)
    return {"parameters": describe.parameters(declared)["total"], "vocab": model.config.vocab,
            "tokens": count, "tokens_per_second": count / spent, "microseconds_per_token": spent / count * 1e6,
            "packed": isinstance(model, packed.PackedModel), "head_bits": found.about["head_bits"],
            "cache_bits": cache_bits, "peak_gflops": peak / 1e9, "resident_bytes": resident and resident._asdict(),
            **speeds.streamed(declared, found.about["head_bits"], cache_bits, count / spent, min(0.5, seconds))}


def _peak_memory() -> int:
    """Bytes: the most this process has had in memory."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _table(results: list[dict]):
    """All peaks, or all matrix products."""
    from rich.table import Table
    if results[0]["kind"] == "peak":
        columns, words = ("peak", "of", "a second"), 2
        rows = [[r["what"], r["of"], f"{r['billions_per_second']:,.0f} {r['unit']}" if r["billions_per_second"] else
                 "not here"] for r in results]
    else:
        columns, words = ("gemm", "in", "rows x k x columns", "GFLOP/s", "peak", "of it", "alone"), 2
        rows = [[r["product"], r["instruction"], " x ".join(map(str, r["shape"])), f"{r['gflops']:,.0f}",
                 f"{r['peak_gflops']:,.0f}", f"{r['fraction_of_peak']:.0%}",
                 f"{r['fraction_alone']:.0%}" if r["fraction_alone"] else ""] for r in results]
    if _threads() > 1:
        columns = *columns, "over one"
        for row, r in zip(rows, results):
            row.append(f"{r['threads_over_one']:.2f}x" if r["threads_over_one"] else "")
    table = Table(box=None, padding=(0, 1 if len(columns) > 6 else 2, 0, 0))
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _threads() -> int:
    import numba
    return numba.get_num_threads()


def _sentence(result: dict) -> str:
    if result["kind"] == "scan":
        return (f"scan    {' x '.join(map(str, result['shape']))} {result['direction']:<8}: "
                f"{result['microseconds_per_token']:.3f} µs a token and layer, "
                f"{result['gigabytes_per_second']:.1f} GB/s, "
                f"{result['fraction_of_peak']:.0%} of the {result['peak_gigabytes_per_second']:.1f} of a mere copy"
                f"{_over_one(result)}")
    if result["kind"] == "train":
        return (f"train   {result['preset']}: {result['tokens_per_second']:,.0f} tokens/s "
                f"({result['batch_size'] * result['accumulate']} x {result['context']} tokens in "
                f"{result['seconds_per_step'] * 1e3:.1f} ms, "
                f"{result['precision']}, dropout {result['dropout']:g}, {result['parameters']:,} parameters); "
                f"{result['gflops']:.0f} GFLOP/s, "
                f"{result['fraction_of_peak']:.0%} of this machine's {result['peak_gflops']:.0f} in "
                f"{result['instruction']}{_over_one(result)}")
    resident = result["resident_bytes"]
    memory = (f"; at most {resident['peak'] / 1e6:,.1f} MB resident, {resident['after'] / 1e6:,.1f} MB in the end, "
              "beyond libraries and kernels" if resident else "")
    form = f", packed, head of {result['head_bits']} bits" if result["packed"] else ""
    form += f", cache of {result['cache_bits']} bits" if result["cache_bits"] != 32 else ""
    return (f"decode  {result.get('preset') or result['run']}{form}: "
            f"{result['tokens_per_second']:,.0f} tokens/s, one text at a time "
            f"({result['microseconds_per_token']:.0f} µs a token, {result['tokens']} after a prompt); "
            f"{result['gigabytes_per_second']:.1f} GB/s of weights and state, {result['fraction_of_peak']:.0%} of the "
            f"{result['peak_gigabytes_per_second']:.1f} at which so much can be read{memory}")


def _over_one(result: dict) -> str:
    """How the threads shared the work, where there are several: of two threads, about 2.00 on an idle machine."""
    threads = _threads()
    return f" ({threads} threads multiply {result['threads_over_one']:.2f} times as fast as one)" if threads > 1 else ""
