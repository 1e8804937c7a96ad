"""`tinylm bench`: speeds, beside the most that this machine can do."""
from __future__ import annotations

import resource
import statistics
import sys

import click

from .. import config
from ..errors import UsageError
from . import speeds
from .common import SETTINGS, console, emit_json, note, output_options, threads_option

KINDS = ("gemm", "train", "scan", "decode")
DECODE_PROMPT, DECODE_TOKENS = 16, 200


@click.command(context_settings=SETTINGS, epilog="Example: tinylm bench train --preset gpt-run1 --seconds 20")
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS))
@click.option("--preset", "presets", multiple=True, metavar="NAME",
              help="Model to train or decode with; may be given more than once (default: gpt-run1).")
@click.option("--vocab", type=click.IntRange(2, 65536), default=65, show_default=True,
              help="Vocabulary where the preset leaves it to the data.")
@click.option("--batch-size", type=click.IntRange(1), help="Instead of the preset's.")
@click.option("--context", type=click.IntRange(1), help="Instead of the preset's.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), help="Instead of the preset's.")
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True,
              help="Time for each measurement.")
@click.option("--scaling", is_flag=True, help="Show what a step costs with more threads, context, width and batch.")
@click.option("--backend", type=click.Choice(["numba", "numpy"]), default="numba", show_default=True)
@threads_option
@output_options
def bench(kinds, presets, vocab, batch_size, context, dropout, seconds, scaling, backend, cpu_threads, as_json, quiet):
    """Measure speed: matrix products, training steps, the recurrence's scan, decoding.

    Each figure is a median over windows that take turns with a loop of nothing but multiply-adds in
    registers; the best of those is the peak the figure is compared with.  Run it on an idle machine.
    """
    if seconds != seconds:  # click's range lets NaN pass
        raise UsageError("--seconds nan: it should be a number")
    given = {name: value for name, value in (("batch_size", batch_size), ("context", context), ("dropout", dropout))
             if value is not None}
    results = []
    for name in presets or ("gpt-run1",) if scaling else ():
        note(f"measuring how a step of {name} grows, for about {len(speeds.AXES) * seconds:g} s", quiet or as_json)
        results += _scaling(name, vocab, given, seconds, backend, cpu_threads)
    for kind in kinds or (() if scaling else KINDS):
        for name in (presets or ("gpt-run1",)) if kind not in ("gemm", "scan") else (None,):
            note(f"measuring {kind}{f' of {name}' if name else ''} for about {seconds:g} s", quiet or as_json)
            if kind in ("gemm", "scan"):
                results += getattr(speeds, kind)(seconds, backend)
            elif kind == "train":
                results.append(_train(name, vocab, given, seconds, backend, cpu_threads))
            else:
                results.append(_decode(name, vocab, given, seconds, backend))
    if as_json:
        from .doctor import examine
        emit_json({"machine": examine(cpu_threads), "threads": cpu_threads, "results": results})
        return
    out = console()
    for result in results:
        if result["kind"] == "scaling":
            from ..report.scaling import scaling as drawn
            out.print(drawn(result))
        else:
            out.print(_sentence(result), markup=False)
    out.print(f"threads {cpu_threads} · peak memory of this process {_peak_memory() / 2**20:,.0f} MiB", markup=False)


def _rounds(seconds: float, window):
    """(results of `window(seconds of it)`, the measured peak), in turn: see `speeds.windows`."""
    found = speeds.windows(seconds, window)
    return found.results, found.peak


def _train(name: str, vocab: int, given: dict, seconds: float, backend: str, threads: int) -> dict:
    from ..models import describe
    trainer = _trainer(name, vocab, given, backend, threads)
    trainer.prepare()
    windows, peak, ratio = speeds.windows(seconds, lambda s: trainer.measure(s).step)
    step, context = statistics.median(windows), trainer.context
    flops = sum(describe.flops(trainer.model, context).values()) * trainer.tokens_per_step
    return {"kind": "train", "preset": name, "parameters": trainer.params.count(), "vocab": trainer.model.config.vocab,
            "batch_size": trainer.recipe.batch_size, "accumulate": trainer.recipe.accumulate,
            "context": context, "dropout": trainer.model.config.dropout,
            "seconds_per_step": step, "tokens_per_second": trainer.tokens_per_step / step, "gflops": flops / step / 1e9,
            "peak_gflops": peak / 1e9, "fraction_of_peak": flops / step / peak, "threads_over_one": ratio,
            "peak_memory_bytes": _peak_memory()}


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

    from ..ops.random import generator
    from ..train.loop import Trainer, TrainingData
    from .loading import operations
    options, model = _model(name, vocab, given, own)
    size = options.recipe.batch_size, model.config.context

    def batch(step: int, micro: int):
        rng = generator(0, "bench", step, micro)
        return tuple(rng.integers(0, model.config.vocab, size, np.int32) for _ in range(2))

    ones = np.ones(model.config.vocab, np.int64)
    data = TrainingData("random tokens", "", "", "", ones, ones, 1, batch, [batch(0, 0)])
    return Trainer(model=model, data=data, config=options, f=operations(backend), threads=threads)


def _decode(name: str, vocab: int, given: dict, seconds: float, backend: str) -> dict:
    """Tokens a second when one text is written, sampling included, by a model that has learned nothing."""
    from ..generate import packed
    from ..generate.sampling import Options
    from ..generate.stream import stream
    from ..layers import Parameters
    from ..text.tokenizer import char_tokenizer
    from .loading import operations
    _, model = _model(name, vocab, {k: v for k, v in given.items() if k != "batch_size"})
    params, size, context = Parameters(model.parameters()), model.config.vocab, model.config.context
    params.initialise(0)
    parameters = params.count()
    whole = model
    model, params = packed.pack(model, params)  # ternary weights as they are exported
    tokenizer = char_tokenizer("".join(chr(0x4E00 + i) for i in range(size)), end_of_text=False)
    count = min(DECODE_TOKENS, max(1, context - DECODE_PROMPT))

    def write():
        for _ in stream(model, params, operations(backend), tokenizer, [0] * min(DECODE_PROMPT, context),
                        Options(temperature=0.8), seed=0, max_tokens=count):
            pass

    write()
    windows, peak = _rounds(seconds, lambda s: speeds.repeat(write, s))
    spent = statistics.median(t for window in windows for t in window)
    return {"kind": "decode", "preset": name, "parameters": parameters, "vocab": size, "tokens": count,
            "tokens_per_second": count / spent, "microseconds_per_token": spent / count * 1e6,
            "packed": isinstance(model, packed.PackedModel), "peak_gflops": peak / 1e9,
            **speeds.streamed(whole, count / spent, min(0.5, seconds))}


def _peak_memory() -> int:
    """Bytes: the most this process has had in memory."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _sentence(result: dict) -> str:
    if result["kind"] == "gemm":
        m, k, n = result["shape"]
        return (f"gemm    {m:>5} x {k:>4} x {n:>4}  {result['product']:<16}{result['gflops']:>6.0f} GFLOP/s  "
                f"{result['fraction_of_peak']:>4.0%} of this machine's {result['peak_gflops']:.0f} "
                f"in {result['instruction']}{_over_one(result)}")
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
                f"dropout {result['dropout']:g}, {result['parameters']:,} parameters); {result['gflops']:.0f} GFLOP/s, "
                f"{result['fraction_of_peak']:.0%} of this machine's {result['peak_gflops']:.0f}{_over_one(result)}")
    return (f"decode  {result['preset']}{', packed' if result['packed'] else ''}: "
            f"{result['tokens_per_second']:,.0f} tokens/s, one text at a time "
            f"({result['microseconds_per_token']:.0f} µs a token, {result['tokens']} after a prompt); "
            f"{result['gigabytes_per_second']:.1f} GB/s of weights and state, {result['fraction_of_peak']:.0%} of the "
            f"{result['peak_gigabytes_per_second']:.1f} at which so much can be read")


def _over_one(result: dict) -> str:
    """How the threads shared the work, where there are several: of two threads, about 2.00 on an idle machine."""
    import numba
    threads = numba.get_num_threads()
    return f" ({threads} threads multiply {result['threads_over_one']:.2f} times as fast as one)" if threads > 1 else ""
