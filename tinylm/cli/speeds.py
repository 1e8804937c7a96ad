"""What `tinylm bench` measures beside whole models: matrix products, the scan, and how costs grow."""
from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .common import note

ROUNDS = 5  # windows of each measurement, in turn with the peak: a machine's speed drifts
BUSY = 0.8  # a window whose peak is below this share of the best one was disturbed
# (rows, inner, columns) of products that the presets' layers make
SHAPES = ((2048, 128, 384), (2048, 512, 128), (768, 128, 512), (4096, 384, 1152), (4096, 1536, 384))
PACKED_SHAPE = 1, 1152, 8192  # one token through packed ternary weights: enough of them that calling costs nothing
SCAN_SHAPE = 8, 256, 384      # (B, T, C) of `thunderbolt`
# numbers that each element of the scan reads and writes: three gates in, states and results out; and back
SCAN_NUMBERS = {"forward": 5, "backward": 8}
AXES = ("threads", "context", "width", "batch", "depth")
TURNS = 3  # windows of each point of an axis; all points take turns
# bytes that all threads together read: from the nearest cache to memory, on most machines
STREAMS = (1 << 15, 1 << 18, 1 << 22, 1 << 28)


class Windows(NamedTuple):
    """Results of windows, and what the machine can do at most.

    peak              the best that `most` has found between them
    threads_over_one  how many times as fast all threads multiply float32 as one; far below their number, the
                      machine was busy or threads share a core
    """

    results: list
    peak: float
    threads_over_one: float


def windows(seconds: float, window: Callable[[float], Any], most: Callable[[float], float] | None = None) -> Windows:
    """The results of `window(seconds of it)`, in turn with `most(seconds of it)`; that a machine is busy is said.

    most    measures the yardstick; default: the peak of float32
    """
    import numba

    from ..kernels.machine import peak_flops
    from ..threads import cpu_threads
    results, flops, best = [], [], 0.0
    with cpu_threads(1):
        alone = peak_flops(min(0.1, seconds / ROUNDS))
    for _ in range(ROUNDS):
        flops.append(peak_flops(min(0.3, seconds / ROUNDS)))
        best = max(best, most(min(0.3, seconds / ROUNDS)) if most else flops[-1])
        results.append(window(seconds / ROUNDS))
    if min(flops) < BUSY * max(*flops, alone * numba.get_num_threads()):
        note(f"the machine was busy: one thread reaches {alone / 1e9:.0f} GFLOP/s, but the threads together only "
             f"{min(flops) / 1e9:.0f} to {max(flops) / 1e9:.0f} while this was measured")
    return Windows(results, best, max(flops) / alone)


def repeat(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of each call, for at least `seconds` in all and at least once."""
    spent, end = [], time.perf_counter() + seconds
    while not spent or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return spent


def timed(call: Callable[[], Any], seconds: float, most: Callable[[float], float] | None = None):
    """(the median time of a call, its Windows)"""
    call()  # compiles, and touches the memory
    found = windows(seconds, lambda s: repeat(call, s), most)
    return statistics.median(t for window in found.results for t in window), found


def peaks(seconds: float) -> list[dict]:
    """The most this machine does: every instruction in registers, and streams from caches and memory."""
    from ..kernels import machine
    from ..threads import cpu_threads
    jobs = [("operations", what.name, "GFLOP/s" if "float" in name else "G operations/s",
             lambda s, name=name: machine.peak(name, s)) for name, what in machine.INSTRUCTIONS.items()]
    jobs += [("bytes", f"read from {_size(size)}", "GB/s", lambda s, size=size: machine.read_bandwidth(size, s))
             for size in STREAMS]
    jobs.append(("bytes", f"copied within {_size(STREAMS[-1])}", "GB/s",
                 lambda s: machine.copy_bandwidth(STREAMS[-1], s)))
    results = []
    for what, of, unit, measure in jobs:
        together = measure(seconds / len(jobs) / 2)
        with cpu_threads(1):
            alone = measure(seconds / len(jobs) / 2)
        results.append({"kind": "peak", "what": what, "of": of, "unit": unit,
                        "billions_per_second": together and together / 1e9,
                        "threads_over_one": together and together / alone})
    return results


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def gemm(seconds: float, backend: str) -> list[dict]:
    """The three products of a linear map in every precision that has an instruction; bytes through packed ternary
    weights.

    Operands are float32.  Where they are rounded to 16 bits first, which layers do once for several products, the
    product alone is measured, too.
    """
    import numpy as np

    from ..config import PRECISIONS
    from ..kernels import machine, memory
    from ..ops.precision import autocast
    from .loading import operations
    f, rng, calls = operations(backend), np.random.default_rng(0), []

    def product_in(precision, *operands, **how):
        with autocast(precision):
            return f.matmul(*operands, **how)

    for shape in SHAPES:
        m, k, n = shape
        inp, weight, dout = (rng.standard_normal(s, np.float32) for s in ((m, k), (n, k), (m, n)))
        for product, a, b, how in (("forward", inp, weight, {"transpose_b": True}),
                                   ("input gradient", dout, weight, {}),
                                   ("weight gradient", dout, inp, {"transpose_a": True})):
            for precision in (name for name in PRECISIONS if name != "int8" and machine.has(name)):
                rounded = _rounded(a, b, precision, **how) if backend == "numba" else None
                calls.append((product, shape, precision, *(
                    operands and functools.partial(product_in, precision, *operands, **how)
                    for operands in ((a, b), rounded))))
    if machine.has("int8"):
        m, k, n = PACKED_SHAPE
        packed = f.pack_ternary(rng.integers(-1, 2, (n, k), np.int8))
        aligned = memory.empty(packed.shape, np.uint8)  # as an exported model lies in memory
        aligned[...] = packed
        codes = rng.integers(-127, 128, (m, k), np.int8)
        calls.append(("packed", PACKED_SHAPE, "int8", lambda: f.packed_product(aligned, codes, n), None))
    results, share = [], seconds / sum(2 if alone else 1 for *_, alone in calls)
    for product, shape, instruction, *ways in calls:
        found = [timed(call, share, None if instruction == "float32" else lambda s, i=instruction: machine.peak(i, s))
                 for call in ways if call]
        (rate, fraction), alone = ((2 * math.prod(shape) / spent, 2 * math.prod(shape) / spent / pace.peak)
                                   for spent, pace in (found[0], found[-1]))
        results.append({"kind": "gemm", "product": product, "shape": list(shape), "instruction": instruction,
                        "gflops": rate / 1e9, "peak_gflops": found[0][1].peak / 1e9, "fraction_of_peak": fraction,
                        "fraction_alone": alone[1] if ways[1] else None,
                        "threads_over_one": found[0][1].threads_over_one})
    return results


def _rounded(a, b, precision: str, transpose_a: bool = False, transpose_b: bool = False):
    """a and b as layers hand them on to several products at this precision; None where they do not round them.

    With so many threads that a has no chunk of rows for each, products round it themselves.
    """
    from ..kernels.matmul import as_a_and_b, both_ways, in_pairs, pack
    from ..kernels.rounding import a_chunk_for_each_thread
    from ..ops.precision import autocast
    with autocast(precision):
        if not (in_pairs() and a_chunk_for_each_thread(a)):
            return None
        return both_ways(a)[transpose_a], as_a_and_b(b)[1] if transpose_a else pack(b, transpose_b=transpose_b)


def scan(seconds: float, backend: str) -> list[dict]:
    """The recurrence of one layer, gates included, beside a copy of as many bytes."""
    import numpy as np

    from ..kernels.machine import copy_bandwidth
    from .loading import operations
    f, rng, results = operations(backend), np.random.default_rng(0), []
    forget, value, output, dout = (rng.standard_normal(SCAN_SHAPE, np.float32) for _ in range(4))
    bias = np.zeros(SCAN_SHAPE[-1], np.float32)
    _, cache = f.recurrence_forward(forget, value, output, bias)
    for direction, call in (("forward", lambda: f.recurrence_forward(forget, value, output, bias)),
                            ("backward", lambda: f.recurrence_backward(dout, cache, overwrite=True))):
        moved = SCAN_NUMBERS[direction] * value.nbytes
        spent, found = timed(call, seconds / 2, lambda s, moved=moved: copy_bandwidth(moved, s))
        results.append({"kind": "scan", "direction": direction, "shape": list(SCAN_SHAPE),
                        "microseconds_per_token": spent / math.prod(SCAN_SHAPE[:2]) * 1e6,
                        "gigabytes_per_second": moved / spent / 1e9, "peak_gigabytes_per_second": found.peak / 1e9,
                        "fraction_of_peak": moved / spent / found.peak, "threads_over_one": found.threads_over_one})
    return results


def bytes_of_token(model, head_bits: int, cache_bits: int = 32) -> int:
    """Read for a token that a model for inference writes: weights and state, by the definition.

    A cache is half full on average.
    """
    from ..models import describe
    costs = describe.costs(model, model.config.context)
    moved = costs["total"]["read"]
    if cache_bits == 8:  # a byte instead of four for each number, and a scale for each head of D numbers
        moved -= costs["attention"]["read"] * (3 / 4 - model.config.heads / model.config.channels)
    if head_bits == 8:  # a byte instead of four for each weight, and a scale for each row
        moved -= 3 * model.head.weight.size - 4 * model.head.weight.shape[0]
    return int(moved)


def streamed(model, head_bits: int, cache_bits: int, tokens_per_second: float, seconds: float) -> dict:
    """Decoding beside a stream that reads as many bytes."""
    from ..kernels.machine import read_bandwidth
    moved = bytes_of_token(model, head_bits, cache_bits)
    most = read_bandwidth(moved, seconds)
    return {"bytes_per_token": moved, "gigabytes_per_second": moved * tokens_per_second / 1e9,
            "peak_gigabytes_per_second": most / 1e9, "fraction_of_peak": moved * tokens_per_second / most}


def scaling(name: str, shape, batch: int, seconds: float, threads: int,
            trainer: Callable[[dict, dict], Any]) -> list[dict]:
    """What a training step costs as one thing grows and all others stay as they are.

    shape      the model's config
    seconds    for each of AXES
    trainer    trainer(recipe and context given, shape of the model given) -> Trainer

    The exponent is the slope of a line through the logarithms of all points, and that of the last two: 1 where twice
    as much takes twice as long.  Smaller sizes have a larger share of what every step costs, whatever its size.
    """
    results = []
    for axis in AXES:
        points, counts, trainers = values(axis, shape, batch, threads), [], []
        for value in points:
            given, own = {}, {}
            if axis == "width":
                own = {"channels": value, "hidden": shape.hidden * value // shape.channels}
            elif axis == "depth":
                own = {"layers": value}
            elif axis != "threads":
                given = {{"batch": "batch_size"}.get(axis, axis): value}
            counts.append(value if axis == "threads" else threads)
            trainers.append(trainer(given, own))
        steps, peaks = _steps(trainers, counts, seconds)
        results.append({"kind": "scaling", "preset": name, "axis": axis, "values": points, "seconds_per_step": steps,
                        "tokens_per_second": [t.tokens_per_step / step for t, step in zip(trainers, steps)],
                        "peak_gflops": [peak / 1e9 for peak in peaks],
                        "exponent": exponent(points, steps), "last_exponent": exponent(points[-2:], steps[-2:])})
    return results


def _steps(trainers: list, threads: list[int], seconds: float) -> tuple[list[float], list[float]]:
    """(seconds of a step of each, the peak of float32 beside it): medians of windows that take turns."""
    from ..kernels.machine import peak_flops
    from ..threads import cpu_threads
    steps, peaks = [[] for _ in trainers], [[] for _ in trainers]
    for turn in range(TURNS + 1):
        for trainer, count, spent, most in zip(trainers, threads, steps, peaks):
            with cpu_threads(count):
                if turn == 0:
                    trainer.prepare()
                    trainer.settle()
                    continue
                spent.append(trainer.measure(seconds / TURNS / len(trainers)).step)
                most.append(peak_flops(min(0.1, seconds / TURNS / len(trainers))))
    return [statistics.median(spent) for spent in steps], [statistics.median(most) for most in peaks]


def values(axis: str, shape, batch: int, threads: int) -> list[int]:
    """The points of an axis around the preset's own value."""
    if axis == "threads":
        return sorted({min(1 << i, threads) for i in range(threads.bit_length() + 1)})
    if axis == "width":  # heads keep their number
        return [shape.heads * max(1, shape.channels * up // 2 // shape.heads) for up in (1, 2, 4)]
    own = {"batch": batch, "context": shape.context, "depth": shape.layers}[axis]
    return sorted({max(1, own * up // 4) for up in (1, 2, 4, 8)})


def exponent(x: list[float], y: list[float]) -> float | None:
    """p of the y = c x^p that is nearest to the points, by least squares of logarithms; None for a single point."""
    if len(x) < 2:
        return None
    return statistics.linear_regression([math.log(v) for v in x], [math.log(v) for v in y]).slope
