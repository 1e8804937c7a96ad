"""tinylm and PyTorch at the same work, in turn, on the same cores: `make bench-peers`, or

    python tests/peers/bench.py --work gpt-run1 --modes tinylm-float32,eager-float32 --repeats 1 --seconds 2

Every run is a child process of its own, never two at a time: it warms up until its steps get no shorter, then
measures.  Modes take turns, so that a slow phase of the machine meets all of them; figures are medians.  A mode that
is too slow for that says what a few of its steps say, and its row is marked.
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
from typing import NamedTuple

import click
import tables
from rich.console import Console

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tinylm import config  # noqa: E402
from tinylm import threads as processors  # noqa: E402


class Mode(NamedTuple):
    """How a work is done.   kinds: of the works that can be done so; in int8 these are of ternary maps alone"""

    engine: str
    precision: str
    compiled: bool = False
    kinds: tuple[str, ...] = ("train", "decode")
    head_bits: int = 32


MODES = {
    **{f"tinylm-{name}": Mode("tinylm", name, kinds=("train", "decode")[:1 + (name == "float32")])
       for name in config.PRECISIONS},  # its packed decoder has one precision, and two kinds of head
    "tinylm-int8-head": Mode("tinylm", "float32", kinds=("decode",), head_bits=8),
    "eager-float32": Mode("torch", "float32"), "eager-bfloat16": Mode("torch", "bfloat16"),
    "compile-float32": Mode("torch", "float32", True), "compile-bfloat16": Mode("torch", "bfloat16", True)}
# Context, batch and vocabulary as in the published runs.  "expected": seconds until a run's first step is done, and of
# another one, with two cores of 3 GHz: only to say in advance how long all will take.
WORKS = {
    "gpt-run1": {"kind": "train", "preset": "gpt-run1", "vocab": 28, "flags": {"context": 128, "batch_size": 16},
                 "expected": (6, 0.2)},
    "gpt-run2": {"kind": "train", "preset": "gpt-run2", "vocab": 110, "flags": {"context": 256, "batch_size": 64},
                 "expected": (20, 10)},
    "thunderbolt": {"kind": "train", "preset": "thunderbolt", "vocab": 8192,
                    "flags": {"context": 256, "batch_size": 8, "accumulate": 1}, "expected": (15, 4)},
    "thunderbolt-decode": {"kind": "decode", "preset": "thunderbolt", "vocab": 8192, "flags": {}, "expected": (8, 2)},
    "ternary": {"kind": "product", "expected": (5, 1)},
}
LONGEST = 1800  # seconds that a run may take before it counts as failed
HOPELESS = 1 / 4  # of the best speed: below it a mode is not run again
COMPILING = {"train": 60, "decode": 300}  # seconds that torch.compile takes once, as "expected" is meant
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
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True,
              help="Measured in each run, after the warm-up.")
@click.option("--patience", type=click.FloatRange(0.1), default=20.0, show_default=True, metavar="SECONDS",
              help="For all steps of a run but the first. Where that is too short for a warm-up and five windows, what "
              "steps there are count; where one step takes twice as long, PyTorch gets a smaller batch.")
@click.option("--compile-patience", "compile_patience", type=click.FloatRange(0.1), default=900.0, show_default=True,
              metavar="SECONDS", help="For a whole run of torch.compile, which cannot be hurried; then it is given up.")
@click.option("--cpu-threads", type=click.IntRange(1), help="Default: all processors; decoding also with one.")
@click.option("--dropout", type=click.Choice(["0", "preset"]), default="0", show_default=True,
              help="None anywhere, or what each preset says.")
@click.option("--torch-env", "settings", multiple=True, metavar="NAME=VALUE", callback=lambda c, p, v: pairs(v),
              help="Set a variable of PyTorch's processes; may be given more than once.")
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), default="bench-peers.json",
              show_default=True, help="Write everything here, also what tables.py makes Markdown of.")
def main(works, modes, repeats, seconds, patience, compile_patience, cpu_threads, dropout, settings, path):
    """Compare tinylm's speed with PyTorch's, optimizer step included."""
    most = processors.resolve(cpu_threads)[0]
    report = {"when": time.strftime("%Y-%m-%d %H:%M:%S"), "system": platform.platform(),
              "python": platform.python_version(), "threads": most, "dropout": dropout, "seconds": seconds,
              "patience": patience, "compile_patience": compile_patience, "repeats": repeats,
              "torch_env": settings, "works": []}
    out = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    jobs = [(name, count) for name in works
            for count in sorted({1, most} if WORKS[name]["kind"] == "decode" else {most})]
    expected = [foreseen(name, modes, repeats, seconds, patience) for name, _ in jobs]
    tell(f"about {max(1, round(sum(expected) / 60))} min in all, if this machine is as fast as two cores of 3 GHz")
    began = time.monotonic()
    try:
        for done, (name, count) in enumerate(jobs, 1):
            if WORKS[name]["kind"] == "product":
                result = {"work": name, **child("ternary.py", {"seconds": seconds}, {})}
            else:
                result = compare(name, modes, repeats, seconds, patience, compile_patience, count, dropout, settings)
            report["works"].append(result)
            for part in tables.shown(result):
                out.print(part)
            if settings and "rows" in result:
                out.print("PyTorch's processes had", ", ".join("=".join(pair) for pair in settings.items()), "\n")
            left = (time.monotonic() - began) * sum(expected[done:]) / sum(expected[:done])
            if left:
                tell(f"about {max(1, round(left / 60))} min more")
    finally:  # what is measured is kept, whatever stops the rest
        path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    sys.exit(1 if any("error" in run and not {"given_up", "spared"} & set(run) for run in all_runs(report)) else 0)


def all_runs(report: dict) -> list[dict]:
    return [run for work in report["works"]
            for run in ([run for row in work["rows"] for run in row["runs"]] if "rows" in work else [work])]


def modes_of(name: str, modes) -> list[str]:
    ternary = config.load_preset(WORKS[name]["preset"])["model"]["family"] == "thunderbolt"
    return [mode for mode in modes if WORKS[name]["kind"] in MODES[mode].kinds
            and (ternary or MODES[mode].precision != "int8")]


def foreseen(name: str, modes, repeats: int, seconds: float, patience: float) -> float:
    """Roughly how many seconds all runs of a work take where PyTorch decodes, and is in bfloat16, so slowly that it
    runs once and is not compiled for bfloat16."""
    first, step = WORKS[name]["expected"]
    run = first + min(patience, 7 * max(step, seconds / 5))
    if WORKS[name]["kind"] == "product":
        return run
    total = 0.0
    for mode in (MODES[mode] for mode in modes_of(name, modes)):
        once = mode.engine == "torch" and (mode.precision == "bfloat16" or WORKS[name]["kind"] == "decode")
        if not (mode.compiled and mode.precision == "bfloat16"):  # see `spared`
            total += run * (1 if once else repeats) + COMPILING[WORKS[name]["kind"]] * mode.compiled
    return total


def compare(name: str, modes, repeats: int, seconds: float, patience: float, compile_patience: float, threads: int,
            dropout: str, settings: dict[str, str]) -> dict:
    """All modes of one work, in turn; `settings` are variables of PyTorch's processes."""
    work = {key: value for key, value in WORKS[name].items() if key != "expected"}
    flags = {**work["flags"], **({"dropout": 0.0} if dropout == "0" else {})}
    runs, peaks = {mode: [] for mode in modes_of(name, modes)}, []
    for turn in range(repeats):
        for mode in [mode for mode, found in runs.items() if is_worth_it(found, runs.values())]:
            found, why = runs[mode], spared(mode, runs)
            if why:
                found.append({"error": why, "spared": True})
                continue
            tell(f"{name}, {threads} thread{'s' * (threads > 1)}, {turn + 1} of {repeats}: {mode}")
            engine, precision, compiled, _, head_bits = MODES[mode]
            found.append(child("child.py", {
                "engine": engine, "compiled": compiled, "precision": precision, "head_bits": head_bits,
                "kind": work["kind"], "preset": work["preset"], "vocab": work["vocab"], "flags": flags,
                "seconds": seconds, "patience": patience, "threads": threads}, settings if engine == "torch" else {},
                compile_patience if compiled else LONGEST))
        streams = {run["bytes_per_token"] for found in runs.values() for run in found if "bytes_per_token" in run}
        peaks.append(child("child.py", {"engine": "peak", "threads": threads, "seconds": PEAK_SECONDS,
                                        "bytes": sorted(streams)}, {}))
        scaling = peaks[-1].get("threads_over_one", 0)
        if scaling < BUSY * threads:
            tell(f"the machine was busy, or two threads share a core: {threads} threads multiply {scaling:.2f} times "
                 "as fast as one")
    rows = summary({mode: found for mode, found in runs.items() if not any("unsupported" in run for run in found)},
                   peaks)
    return {"work": name, **work, "flags": flags, "threads": threads, "peaks": peaks, "rows": rows,
            "headline": headline(rows)}


def spared(mode: str, runs: dict[str, list[dict]]) -> str | None:
    """Why a compiled mode need not be run, if so: compiling takes minutes, and the same without it is far behind."""
    plain = next((name for name in runs if MODES[mode].compiled
                  and MODES[name] == MODES[mode]._replace(compiled=False)), None)
    speeds = {name: [speed(run) for run in found if "tokens_per_step" in run] for name, found in runs.items()
              if MODES[name].engine == MODES[mode].engine}
    if plain is None or not speeds[plain] or speeds[plain][0] >= HOPELESS * max(max(s) for s in speeds.values() if s):
        return None
    return f"not run, since {plain} has less than a quarter of the speed of PyTorch's best"


def is_worth_it(found: list[dict], all_found) -> bool:
    """Whether a mode should run once more: what is far behind, or was given up, cannot change the comparison."""
    best = max((speed(run) for runs in all_found for run in runs if "tokens_per_step" in run), default=0.0)
    return not any({"unsupported", "given_up", "spared"} & set(run)
                   or ("tokens_per_step" in run and speed(run) < HOPELESS * best) for run in found)


def speed(run: dict) -> float:
    return run["tokens_per_step"] / run["seconds_per_step"]


def is_part(run: dict) -> bool:
    """Whether a run had to do with less work in a step than was asked for."""
    return "part" in run and run["part"][0] < run["part"][1]


def child(script: str, job: dict, settings: dict[str, str], longest: float = LONGEST) -> dict:
    """What a child process answers; {"error": its last words} where it does not.  `longest`: seconds until it is
    ended, and its answer also says that it was "given_up"."""
    paths = os.pathsep.join([str(HERE.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run([sys.executable, str(HERE / script), json.dumps(job)], text=True, timeout=longest,
                              capture_output=True, env={**os.environ, "PYTHONPATH": paths, **settings})
    except subprocess.TimeoutExpired:
        tell(f"given up after {longest:,.0f} s")
        return {"error": f"not done after {longest:,.0f} s", "given_up": longest}
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
            speeds = [speed(run) for run in good]
            row |= {"tokens_per_second": statistics.median(speeds), "slowest": min(speeds), "fastest": max(speeds),
                    "steady": all(run["steady"] for run in good), "short": any(run["short"] for run in good),
                    "part": min((run["part"] for run in good if is_part(run)), default=None),
                    "peak_memory_bytes": statistics.median(run["peak_memory_bytes"] for run in good),
                    "fraction_of_peak": fraction(MODES[mode].precision, statistics.median(speeds), good[0], peaks)}
        rows.append(row)
    for precision, key in ((None, "ratio_to_best"), ("float32", "ratio_to_best_float32")):
        best = fastest(rows, "torch", precision)
        for row in rows:
            if best and "tokens_per_second" in row:
                row[key] = row["tokens_per_second"] / best["tokens_per_second"]
    return rows


def fastest(rows: list[dict], engine: str, precision: str | None) -> dict | None:
    """The row of the engine's fastest mode; with a precision, of those that have that throughout."""
    def fits(mode):
        return mode.engine == engine and (precision is None or mode.precision == precision and mode.head_bits == 32)

    return max((row for row in rows if "tokens_per_second" in row and fits(MODES[row["mode"]])),
               key=lambda row: row["tokens_per_second"], default=None)


def headline(rows: list[dict]) -> list[dict]:
    """tinylm's best mode over PyTorch's, and the same of float32 alone."""
    found = []
    for precision in (None, "float32"):
        ours, theirs = (fastest(rows, engine, precision) for engine in ("tinylm", "torch"))
        if ours and theirs:
            found.append({"precision": precision, "tinylm": ours["mode"], "torch": theirs["mode"],
                          "ratio": ours["tokens_per_second"] / theirs["tokens_per_second"]})
    return found


def fraction(precision: str, tokens_per_second: float, run: dict, peaks: list[dict]) -> float | None:
    """Of the operations that this precision's instruction does at most; in decoding, of the bytes read at most.

    None where the instruction has no peak here.
    """
    good = [peak for peak in peaks if "error" not in peak]
    if "bytes_per_token" in run:
        size = str(run["bytes_per_token"])
        most = max((peak["bytes_per_second"][size] for peak in good), default=None)
        return most and tokens_per_second * run["bytes_per_token"] / most
    most = max((peak["operations_per_second"].get(precision) or 0.0 for peak in good), default=0.0)
    return tokens_per_second * run["flops_per_token"] / most if most else None


def tell(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
