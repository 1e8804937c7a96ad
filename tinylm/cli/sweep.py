"""`tinylm train --sweep`: the same training with several values of one option, and which did best."""
from __future__ import annotations

from pathlib import Path

from .. import config
from ..errors import Diverged, UsageError, nearest
from .common import emit_json, note
from .train import chosen_threads, follow, outcome, prepare

# They say how a run is looked at; losses measured on unlike texts or at unlike times do not rank values.
_NOT_SWEPT = {"eval_every", "eval_tokens", "sample_every", "log_every"}
_NAMES = (*(n for n in config.options(config.Recipe) if n not in _NOT_SWEPT), "seed", *config.MODEL)


def run_all(click_context, sweep: str, layers: dict, out: str | None, threads: int, as_json: bool, quiet: bool):
    """Train once for each value and compare; what makes no sense is refused before the first begins.

    sweep     "lr=1e-3,2e-3"
    layers    arguments of `config.resolve`
    out       folder for the runs; None: each under runs/

    Raises    UsageError; Diverged where every run diverged
    """
    from ..train.events import Finished
    from ..train.rundir import RunDir

    name, values = _parse(sweep)
    if layers["flags"].get(name) is not None:
        raise UsageError(f"{config.flag(name)} and --sweep {name}: only one can say")
    plans = [config.resolve(**{**layers, "flags": {**layers["flags"], name: value}}) for value in values]
    meant = [_value(options, name) for options in plans]
    if len(set(meant)) < len(meant):
        raise UsageError(f"--sweep {sweep}: a value is there twice")
    threads = chosen_threads(plans[0], threads, quiet)
    folders = [None if out is None else Path(out) / f"{name}-{value}" for value in values]
    for folder in folders:
        if folder is not None and folder.exists():
            raise UsageError(f"--out {out}: {folder} is there already")
    # The data's notes are the same every time.
    jobs = [prepare(options, threads, quiet or i > 0) for i, options in enumerate(plans)]
    rows, stopped = [], None
    for number, (value, folder, (options, model, data, notes)) in enumerate(zip(meant, folders, jobs), 1):
        note(f"run {number} of {len(jobs)}: {name} {value}", quiet)
        with RunDir.create(options.preset, folder) as run:
            row = {"value": value, "run": str(run.path)}
            rows.append(row)
            try:
                last, _ = follow(run, options, model, data, threads, notes, as_json, quiet)
            except Diverged as error:
                note(f"error: {error}", quiet)
                row |= {"finished": False, "diverged": str(error), "val": None}
                continue
        row |= outcome(last)
        if not isinstance(last, Finished):
            stopped = last
            break
        row |= {"best_step": last.best_step, "best_val": last.best_val.to_json()}
    done = [row for row in rows if "best_val" in row]
    best = min(done, key=lambda row: row["best_val"]["bits_per_byte"], default=None)
    if as_json:
        emit_json({"sweep": name, "best": best and best["value"], "runs": rows})
    else:
        _print(name, rows, best)
    if best is not None and len(done) > 1 and isinstance(best["value"], (int, float)) and name != "seed":
        others = [row["value"] for row in rows if row is not best]
        if best["value"] < min(others) or best["value"] > max(others):
            note(f"the best {name} is the {'smallest' if best['value'] < min(others) else 'largest'} that was tried: "
                 "one beyond it may be better still", quiet)
    if stopped is not None:
        note(f"continue the run that was stopped with: {stopped.resume}", quiet)
        click_context.exit(130)
    if best is None:
        raise Diverged(f"every run of the sweep diverged: try other values of {name}")
    return 0


def _parse(sweep: str) -> tuple[str, list[str]]:
    """(option, values as written)   Raises UsageError"""
    name, equals, rest = sweep.partition("=")
    name, values = name.strip().lstrip("-").replace("-", "_"), [v.strip() for v in rest.split(",")]
    if not equals or not all(values):
        raise UsageError(f"--sweep {sweep}: it should be an option and its values, such as lr=1e-3,2e-3,4e-3")
    if name not in _NAMES:
        raise UsageError(f"--sweep {sweep}: {name!r} cannot be swept" + nearest(name, _NAMES))
    return name, values


def _value(options: config.Config, name: str):
    """The value an option has; what is neither a number nor a word as a word."""
    if name in config.MODEL:
        return options.model[name]
    value = getattr(options.setup if name == "seed" else options.recipe, name)
    return value if isinstance(value, (int, float, str)) else str(value)


def _print(name: str, rows: list[dict], best: dict | None) -> None:
    from .data import _table

    lines = []
    for row in rows:
        if "best_val" in row:
            val = row["best_val"]
            cells = [f"{val['nats_per_token']:.4f}", f"{val['bits_per_byte']:.4f}", f"{row['best_step']:,}"]
        else:
            cells = ["diverged" if "diverged" in row else "stopped", "", f"{row.get('steps', '')}"]
        lines.append([str(row["value"]), *cells, "best" if row is best else "", row["run"]])
    _table([name, "val nats/token", "bits/byte", "at step", "", "run"], lines)
