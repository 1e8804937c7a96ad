"""`tinylm doctor` and `tinylm warmup`: what this machine has, and kernels compiled in advance."""
from __future__ import annotations

import platform
import sys
import time

import click

from .. import __version__, threads
from .common import SETTINGS, console, emit_json, output_options, threads_option


@click.command(context_settings=SETTINGS, epilog="Example: tinylm doctor --json")
@threads_option
@output_options
def doctor(cpu_threads, as_json, quiet):
    """What this machine has and how it is used."""
    facts = examine(cpu_threads)
    if as_json:
        emit_json(facts)
        return
    from rich.table import Table
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _words(name, value))
    out = console()
    out.print(table)
    for advice in _advice(facts):
        out.print(f"! {advice}", markup=False)


def examine(cpu_threads: int) -> dict:
    """Facts about this machine; measures its peak for about a second."""
    import numba
    import numpy
    import threadpoolctl

    from ..kernels import jit, machine, simd

    peak, bandwidth = machine.peak_flops(), machine.read_bandwidth()
    blas = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return {
        "tinylm": __version__, "python": platform.python_version(), "numpy": numpy.__version__,
        "numba": numba.__version__, "system": platform.platform(terse=True), "processor": _processor(),
        "processors": threads.available(), "threads_used": cpu_threads,
        "threading_layer": numba.threading_layer(),
        "compiled_for": simd.target_name(), "float32_in_a_register_tile": [simd.ROWS, simd.WIDE],
        "vector_units": sorted(simd.target_features() & _INTERESTING),
        "blas": [f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} thread" for pool in blas],
        "peak_gflops": round(peak / 1e9, 1), "read_gigabytes_per_second": round(bandwidth / 1e9, 1),
        "kernel_cache": str(jit.CACHE_FOLDER) if jit.CACHE_FOLDER else None,
        "kernels_in_cache": jit.cached_files(),
    }


_INTERESTING = {"sse2", "avx", "avx2", "fma", "avx512f", "avx512vnni", "avx512bf16", "avxvnni", "amx-bf16", "neon",
                "dotprod", "bf16", "i8mm"}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: platform knows what there is to know
    return platform.processor() or platform.machine()


def _words(name: str, value) -> str:
    if name == "peak_gflops":
        return f"{value} GFLOP/s in float32, measured, all threads"
    if name == "read_gigabytes_per_second":
        return f"{value} GB/s read from memory, measured"
    if name == "float32_in_a_register_tile":
        return f"{value[0]} rows x {value[1]} columns"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _advice(facts: dict) -> list[str]:
    """What the user could change for more speed."""
    advice = []
    if facts["threading_layer"] == "workqueue":
        advice.append("numba found no OpenMP library: starting threads costs ten times as much. "
                      "On Debian: apt install libgomp1")
    if facts["kernel_cache"] is None:
        advice.append("the kernel cache cannot be written: every start compiles anew. Set TINYLM_CACHE_DIR "
                      "to a folder that can")
    if not {"avx2", "neon"} & set(facts["vector_units"]):
        advice.append("numba compiles for a processor without AVX2 or NEON: matrix products will be slow")
    return advice


@click.command(context_settings=SETTINGS, epilog="Example: tinylm warmup")
@threads_option
@output_options
def warmup(cpu_threads, as_json, quiet):
    """Compile every kernel now, so that the first training step need not."""
    from ..kernels import jit
    start, done = time.perf_counter(), 0
    live = sys.stderr.isatty() and not quiet

    def progress(name: str) -> None:
        nonlocal done
        done += 1
        if not quiet:
            click.echo(f"\r\033[K{done} compiled: {name}" if live else f"compiled {name}", nl=not live, err=True)

    with jit.compilations_told(progress):
        compile_all()
    seconds = time.perf_counter() - start
    if live:
        click.echo("\r\033[K", nl=False, err=True)
    if as_json:
        emit_json({"compiled": done, "in_cache": jit.cached_files(), "seconds": seconds,
                   "kernel_cache": str(jit.CACHE_FOLDER) if jit.CACHE_FOLDER else None})
    else:
        click.echo(f"{done} kernels compiled in {seconds:.1f} s; {jit.cached_files()} are kept for the next start")


def compile_all() -> None:
    """Run every kernel once: a step at every precision, an evaluation and a streamed token of every family."""
    import numpy as np

    from .. import config, kernels, models
    from ..audit.shrink import shrink
    from ..layers import Parameters, Pass, Tape
    from ..models.base import Attending
    from ..ops.precision import CHUNK, autocast
    from ..ops.random import dropout_key

    rows = CHUNK * threads.available() // 8 + 1  # with fewer of them, gradients are rounded by other kernels
    tokens = np.zeros((rows, 8), np.int32)
    dlosses = np.ones(tokens.size, np.float32)
    presets = [dict(config.load_preset(name)["model"]) for name in config.preset_names()]
    for options in {(o["family"], o.get("activation")): o for o in presets}.values():
        model = models.build(options.pop("family"), shrink(options) | {"dropout": 0.1})
        params = Parameters(model.parameters())
        params.initialise(0)
        grads, first, second = (params.like() for _ in range(3))
        for precision in model.precisions:
            run = Pass(kernels, params, grads, Tape(), dropout_key(0, 1), dlosses=dlosses)
            with autocast(precision):
                model.forward(tokens, tokens, run)
                model.backward(dlosses, run)
        kernels.global_norm(grads.flat)
        kernels.adamw_step(params.flat, grads.flat, first.flat, second.flat, step=1, lr=0.0)
        for observe in None, lambda layer, inp, out: None:  # where somebody looks on, other kernels work
            run = Pass(kernels, params, observe=observe)
            model.forward(tokens, tokens, run)
            model.extend(tokens[:1, :1], model.start(1), run)
        if isinstance(model, Attending):
            model.extend(tokens[:1, :1], model.start(1, bits=8), run)
        logits = model.logits(tokens, run)[0]
        kernels.draw_token(logits[0], 1.0, 0.5)
        losses, cache = kernels.cross_entropy_forward(logits, tokens[0])
        kernels.cross_entropy_backward(losses, cache)
