"""tinylm and PyTorch at the same work, in turn, on the same cores: `make bench-peers`, or

    python tests/peers/bench.py --work gpt-run1 --modes tinylm-float32,eager-float32 --repeats 1 --seconds 2

Every run is a child process of its own, never two at a time: it warms up until its steps get no shorter, then
measures.  Modes take turns, so that a slow phase of the machine meets all of them; figures are medians.
"""
from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tinylm import threads as processors  # noqa: E402

# name -> (engine, compiled, precision)
MODES = {"tinylm-float32": ("tinylm", False, "float32"), "tinylm-bfloat16": ("tinylm", False, "bfloat16"),
         "eager-float32": ("torch", False, "float32"), "eager-bfloat16": ("torch", False, "bfloat16"),
         "compile-float32": ("torch", True, "float32"), "compile-bfloat16": ("torch", True, "bfloat16")}
# (context, batch and vocabulary as in the published runs)
WORKS = {
    "gpt-run1": {"kind": "train", "preset": "gpt-run1", "vocab": 28, "flags": {"context": 128, "batch_size": 16}},
    "gpt-run2": {"kind": "train", "preset": "gpt-run2", "vocab": 110, "flags": {"context": 256, "batch_size": 64}},
    "thunderbolt": {"kind": "train", "preset": "thunderbolt", "vocab": 8192,
                    "flags": {"context": 256, "batch_size": 8, "accumulate": 1}},
    "thunderbolt-decode": {"kind": "decode", "preset": "thunderbolt", "vocab": 8192, "flags": {}},
}
LONGEST = 3600  # seconds that a run may take before it counts as failed
PEAK_SECONDS = 1.0
BUSY = 0.8      # share of as many times one thread's peak as there are threads


def names(known):
    """A reader of "a,b"."""
    def read(context, parameter, value):
        found = value.split(",") if value else list(known)
        for name in found:
            if name not in known:
                raise click.BadParameter(f"{name!r}: there are {', '.join(known)}")
        return found
    return read


def pairs(given) -> dict[str, str]:
    """NAME=VALUE, some of them, as a dictionary."""
    if any("=" not in setting for setting in given):
        raise click.BadParameter("say NAME=VALUE")
    return dict(setting.split("=", 1) for setting in given)


@click.command()
@click.option("--work", "works", callback=names(WORKS), metavar="NAME,…", help="Default: all.")
@click.option("--modes", callback=names(MODES), metavar="NAME,…", help="Default: all.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Runs of each mode.")
@click.option("--seconds", type=click.FloatRange(0.1), default=10.0, show_default=True,
              help="Measured in each run, after the warm-up.")
@click.option("--cpu-threads", type=click.IntRange(1), help="Default: all processors; decoding also with one.")
@click.option("--dropout", type=click.Choice(["0", "preset"]), default="0", show_default=True,
              help="None anywhere, or what each preset says.")
@click.option("--torch-env", "settings", multiple=True, metavar="NAME=VALUE", callback=lambda c, p, v: pairs(v),
              help="Set a variable of PyTorch's processes; may be given more than once.")
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write everything here.")
def main(works, modes, repeats, seconds, cpu_threads, dropout, settings, path):
    """Compare tinylm's speed with PyTorch's, optimizer step included."""
    most = processors.resolve(cpu_threads)[0]
    report = {"when": time.strftime("%Y-%m-%d %H:%M:%S"), "system": platform.platform(),
              "python": platform.python_version(), "threads": most, "dropout": dropout, "seconds": seconds,
              "repeats": repeats, "torch_env": settings, "works": []}
    out = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    try:
        for name in works:
            kind = WORKS[name]["kind"]
            for count in sorted({1, most} if kind == "decode" else {most}):
                result = compare(name, modes, repeats, seconds, count, dropout, settings)
                report["works"].append(result)
                show(out, result)
                if settings:
                    out.print("PyTorch's processes had", ", ".join("=".join(pair) for pair in settings.items()), "\n")
    finally:  # what is measured is kept, whatever stops the rest
        if path:
            path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    sys.exit(1 if any("error" in run for work in report["works"] for row in work["rows"] for run in row["runs"]) else 0)


def compare(name: str, modes, repeats: int, seconds: float, threads: int, dropout: str,
            settings: dict[str, str]) -> dict:
    """All modes of one work, in turn; `settings` are variables of PyTorch's processes."""
    work = WORKS[name]
    flags = {**work["flags"], **({"dropout": 0.0} if dropout == "0" else {})}
    runs, peaks = {mode: [] for mode in modes}, []
    for turn in range(repeats):
        for mode in modes:
            engine, compiled, precision = MODES[mode]
            if any("unsupported" in run for run in runs[mode]):
                continue
            tell(f"{name}, {threads} thread{'s' * (threads > 1)}, {turn + 1} of {repeats}: {mode}")
            runs[mode].append(child({"engine": engine, "compiled": compiled, "precision": precision,
                                     "kind": work["kind"], "preset": work["preset"], "vocab": work["vocab"],
                                     "flags": flags, "seconds": seconds, "threads": threads},
                                    settings if engine == "torch" else {}))
        streams = {run["bytes_per_token"] for found in runs.values() for run in found if "bytes_per_token" in run}
        peaks.append(child({"engine": "peak", "threads": threads, "seconds": PEAK_SECONDS,
                            "bytes": sorted(round(size) for size in streams)}))
        scaling = peaks[-1].get("threads_over_one", 0)
        if scaling < BUSY * threads:
            tell(f"the machine was busy, or two threads share a core: {threads} threads multiply {scaling:.2f} times "
                 "as fast as one")
    return {"work": name, **work, "flags": flags, "threads": threads, "peaks": peaks,
            "rows": summary({mode: found for mode, found in runs.items()
                             if not any("unsupported" in run for run in found)}, peaks)}


def child(job: dict, settings: dict[str, str] | None = None) -> dict:
    """What a child process answers; {"error": its last words} where it does not."""
    paths = os.pathsep.join([str(HERE.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run([sys.executable, str(HERE / "child.py"), json.dumps(job)], text=True, timeout=LONGEST,
                              capture_output=True, env={**os.environ, "PYTHONPATH": paths, **(settings or {})})
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {LONGEST} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines()
        answer = {"error": said[-1] if said else f"ended with {done.returncode}"}
        tell("failed: " + answer["error"])
        return answer
    return json.loads(done.stdout.splitlines()[-1])


def summary(runs: dict[str, list[dict]], peaks: list[dict]) -> list[dict]:
    """A row for each mode: medians, ratios to PyTorch's best, share of the measured peak."""
    rows = []
    for mode, found in runs.items():
        good = [run for run in found if "error" not in run]
        row = {"mode": mode, "runs": found}
        if good:
            speeds = [run["tokens_per_step"] / run["seconds_per_step"] for run in good]
            row |= {"tokens_per_second": statistics.median(speeds), "slowest": min(speeds), "fastest": max(speeds),
                    "steady": all(run["steady"] for run in good),
                    "peak_memory_bytes": statistics.median(run["peak_memory_bytes"] for run in good),
                    "fraction_of_peak": fraction(MODES[mode][2], statistics.median(speeds), good[0], peaks)}
        rows.append(row)
    for precision, key in ((None, "ratio_to_best"), ("float32", "ratio_to_best_float32")):
        best = max((row["tokens_per_second"] for row in rows if MODES[row["mode"]][0] == "torch"
                    and precision in (None, MODES[row["mode"]][2]) and "tokens_per_second" in row), default=None)
        for row in rows:
            if best and "tokens_per_second" in row:
                row[key] = row["tokens_per_second"] / best
    return rows


def fraction(precision: str, speed: float, run: dict, peaks: list[dict]) -> float | None:
    """Of the operations that this precision's instruction does at most; in decoding, of the bytes read at most.

    None where the instruction has no peak here.
    """
    good = [peak for peak in peaks if "error" not in peak]
    if "bytes_per_token" in run:
        size = str(round(run["bytes_per_token"]))
        most = max((peak["bytes_per_second"][size] for peak in good), default=None)
        return most and speed * run["bytes_per_token"] / most
    most = max((peak["operations_per_second"].get(precision) or 0.0 for peak in good), default=0.0)
    return speed * run["flops_per_token"] / most if most else None


def show(out: Console, result: dict) -> None:
    decoding, flags = result["kind"] == "decode", result["flags"]
    about = "one text, its state carried" if decoding else f"{flags['batch_size']} x {flags['context']} tokens a step"
    table = Table(title=f"{result['work']}: {about}, vocabulary {result['vocab']:,}, "
                  f"dropout {flags.get('dropout', 'as the preset says')}, "
                  f"{result['threads']} thread{'s' * (result['threads'] > 1)}", title_justify="left")
    table.add_column("mode", no_wrap=True)
    for column in ("tokens/s", "lowest", "highest", "to best", "to float32", "of peak", "MiB"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in result["rows"]:
        if "tokens_per_second" not in row:
            table.add_row(row["mode"], "failed")
            continue
        share = row["fraction_of_peak"]
        table.add_row(
            row["mode"] + ("" if row["steady"] else " *"),
            *(f"{row[key]:,.0f}" for key in ("tokens_per_second", "slowest", "fastest")),
            *(f"{row[key]:.2f}x" if key in row else "–" for key in ("ratio_to_best", "ratio_to_best_float32")),
            "–" if share is None else f"{share:.0%}", f"{row['peak_memory_bytes'] / 2**20:,.0f}",
            style="bold" if row["mode"].startswith("tinylm") else None)
    out.print(table)
    out.print("to best, to float32: of PyTorch's best mode, and of its best in float32; of peak: "
              + ("weights read, of what memory delivers at that size" if decoding else
                 "operations, of what the mode's instruction does at most") + "; MiB: most memory while measured"
              + ("; *: still getting faster when measured" if not all(row.get("steady", True) for row in result["rows"])
                 else ""))
    good = [peak for peak in result["peaks"] if "error" not in peak]
    if good:
        rates = {name: max(peak["operations_per_second"][name] or 0.0 for peak in good)
                 for name in good[0]["operations_per_second"]}
        out.print("measured peak: " + ", ".join(f"{name} {rate / 1e9:,.0f} G operations/s"
                                                for name, rate in rates.items() if rate)
                  + (f"; {result['threads']} threads multiply {min(p['threads_over_one'] for p in good):.2f} to "
                     f"{max(p['threads_over_one'] for p in good):.2f} times as fast as one"
                     if result["threads"] > 1 else ""))
    if any(run.get("amx") for row in result["rows"] for run in row["runs"]):
        out.print("PyTorch, too, has matrix tiles (AMX) here for bfloat16; "
                  "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 keeps it from them")
    out.print()


def tell(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
