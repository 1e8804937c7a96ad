"""`tinylm runs`: what has been trained here."""
from __future__ import annotations

import re
from pathlib import Path

import click

from .common import SETTINGS, console, emit_json, note, output_options


@click.group(context_settings=SETTINGS, epilog="Example: tinylm runs compare latest 20260102-101500-gpt-tiny-3fa2c1")
def runs():
    """Runs: list, show, compare.

    A RUN is a path, a name under runs/, the beginning of a name that fits no other, or `latest`.
    """


# -- list -------------------------------------------------------------------------------------------

@runs.command("list", context_settings=SETTINGS, epilog="Example: tinylm runs list --json | jq '.runs[0].val'")
@output_options
def list_runs(as_json, quiet):
    """List the runs, newest first."""
    from ..errors import DataMissing
    from ..report import record as records
    from ..train import rundir
    found, strange = [], []
    for path in _folders(rundir.RUNS):
        try:
            found.append(records.read(path))
        except DataMissing as error:
            strange.append({"name": path.name, "path": str(path), "problem": str(error)})
    if as_json:
        emit_json({"runs": [_summary(r) for r in found], "foreign": strange})
        return
    if not found and not strange:
        note(f"no runs in {rundir.RUNS}/: tinylm train makes one", quiet)
        return
    from ..report.words import count, number, printable, short
    rows = []
    for r in found:
        best = r.best or {}
        rows.append([r.name, r.status + (" (damaged)" if r.problems else ""), r.preset, r.data, count(r.steps),
                     short(r.tokens), number(best.get("nats_per_token")), number(best.get("bits_per_byte")),
                     count(r.tokens_per_second)])
    rows += [[item["name"], "not a run", *[""] * 7] for item in strange]
    _table(["run", "status", "preset", "data", "steps", "tokens", "val nats/token", "bits/byte", "tokens/s"], rows,
           right=range(4, 9))
    for item in strange:
        note(f"not a run: {printable(item['problem'], lines=False)}", quiet)


def _folders(base: Path) -> list[Path]:
    """Folders under `base`, newest first; `latest` is a link and no run of its own."""
    if not base.is_dir():
        return []
    found = [p for p in base.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")]
    return sorted(found, key=lambda p: (_age(p), p.name), reverse=True)


def _age(path: Path) -> str:
    """The time in a run's name, else when its folder last changed, written the same way."""
    import time
    match = re.match(r"\d{8}-\d{6}", path.name)
    return match[0] if match else time.strftime("%Y%m%d-%H%M%S", time.localtime(path.stat().st_mtime))


# -- show -------------------------------------------------------------------------------------------

@runs.command(context_settings=SETTINGS, epilog="Example: tinylm runs show latest")
@click.argument("run")
@output_options
def show(run, as_json, quiet):
    """Show one run: losses with their units, the curve, the newest sample, the configuration."""
    from ..report import record as records
    from ..report import terminal
    from ..report.words import chinchilla, count, duration, number, printable, short
    from .loading import find_run
    r = records.read(find_run(run))
    if as_json:
        emit_json({**_summary(r), "config": r.config, "origins": r.origins, "environment": r.environment,
                   "evaluations": r.val.rows, "samples": [{"step": s, "text": t} for s, t in r.samples]})
        return
    for problem in r.problems:
        note(printable(problem, lines=False), quiet)
    best = r.best or {}
    loss = "–"
    if best:
        loss = (f"{number(best['nats_per_token'])} nats/token · {number(best.get('bits_per_byte'))} bits/byte · "
                f"perplexity {number(r.perplexity(best), 3)} per token of {r.tokenizer_name} (best, step "
                f"{count(best['step'])})")
    rows = [["run", str(r.path)], ["status", f"{r.status} {r.status_text}".strip()], ["preset", r.preset],
            ["data", r.data], ["parameters", count(r.parameters)],
            ["trained", f"{count(r.steps)} steps · {short(r.tokens)} tokens · {duration(r.seconds)} · "
                        f"{count(r.tokens_per_second)} tokens/s"], ["validation", loss]]
    above = r.above_floor(best)
    if above is not None:
        rows.append(["above floor", f"{number(above)} bits/byte (floor {number(r.floor)})"])
    if r.epochs is not None:
        rows.append(["epochs", short(r.epochs)])
    if r.chinchilla is not None:
        rows.append(["Chinchilla", chinchilla(r.tokens, r.parameters)])
    report = r.path / "report.html"
    rows.append(["report", str(report) if report.is_file() else "none"])
    _table(None, rows)
    out = console()
    train = terminal.Series("training", r.train.column("step"), r.train.column("nats_per_token"), terminal.TRAIN)
    val = terminal.Series("validation", r.val.column("step"), r.val.column("nats_per_token"), terminal.VALIDATION,
                          mark="●")
    floor = r.floor / r.bits_per_byte_per_nat if r.floor is not None and r.bits_per_byte_per_nat else None
    _curves(out, [train, val], "loss, nats/token, over steps", floor, f"entropy floor {number(r.floor)} bits/byte")
    if r.samples:
        step, text = r.samples[-1]
        click.echo(f"\nsample at step {step}:\n{printable(text).strip()}\n")
    _table(["option", "value", "from"],
           [[f"{s}.{k}" if s else k, str(v), r.origins.get(f"{s}.{k}") or r.origins.get(k, "")]
            for s, values in r.config.items() for k, v in values.items()])


# -- compare ----------------------------------------------------------------------------------------

@runs.command(context_settings=SETTINGS, epilog="Example: tinylm runs compare runs/a runs/b --out curves.png")
@click.argument("run", nargs=-1, required=True, metavar="RUN RUN [RUN...]")
@click.option("--over", type=click.Choice(["steps", "tokens", "time"]), default="tokens", show_default=True,
              help="What the curves are drawn over.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the curves as .png or .svg.")
@output_options
def compare(run, over, out, as_json, quiet):
    """Compare runs: what differs, how much larger or longer, which loss is lower.

    Losses are ranked only where they are on one scale: per token with one tokenizer, in bits per byte
    with different ones, and not at all on different texts.
    """
    from ..errors import UsageError
    from ..report import compare as comparing
    from ..report import curves
    from ..report import record as records
    from ..report.html import value_text
    from .loading import find_run
    if len(run) < 2:
        raise UsageError("comparing takes two runs or more, such as: tinylm runs compare A B")
    if out is not None and out.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"--out {out}: a figure is written as .png or .svg")
    found = [records.read(find_run(name)) for name in run]
    if len({r.path for r in found}) < len(found):
        raise UsageError("two of these are the same run")
    on = comparing.scale(found)
    order = comparing.ranking(found, on)
    differing = comparing.differences(found)
    if out is not None:
        curves.save(curves.compare(found, over, unit=on.unit), out)
        note(f"curves are in {out}", quiet)
    if as_json:
        emit_json({"runs": [_summary(r) for r in found], "differences": dict(differing),
                   "unit": on.unit, "ranking": [r.name for r in order] if on.ranked else None, "reason": on.reason})
        return
    names = [f"{chr(ord('A') + i)} {r.name}" for i, r in enumerate(found)]
    for r in found:
        for problem in r.problems:
            note(f"{r.name}: {problem}", quiet)
    if differing:
        _table(["option", *names], [[name, *(value_text(v) for v in values)] for name, values in differing])
    else:
        click.echo("The configurations are equal.")
    _table(["measured", *names], [[name, *values] for name, values in comparing.measures(found)])
    _draw(found, over, on.unit)
    click.echo(on.reason)
    for place, r in enumerate(order, 1):
        click.echo(f"{place}. {r.name}: {r.best[on.unit]:.4f} {on.unit.replace('_per_', '/')}")


def _draw(found, over: str, unit: str) -> None:
    from ..report import curves, terminal
    lines = [terminal.Series(r.name, r.val.column(curves.AXES[over]), r.val.column(unit),
                             terminal.PALETTE[i % len(terminal.PALETTE)], mark=chr(ord("A") + i % 26))
             for i, r in enumerate(found)]
    unit = unit.replace("_per_", "/")
    _curves(console(), lines, f"validation loss, {unit}, over {over.replace('time', 'seconds')}")


# -- pieces -----------------------------------------------------------------------------------------

def _summary(r) -> dict:
    """A run as the `--json` answers give it."""
    return {"run": r.name, "path": str(r.path), "status": r.status, "preset": r.preset, "data": r.data,
            "parameters": r.parameters, "steps": r.steps, "tokens": r.tokens, "seconds": r.seconds,
            "tokens_per_second": r.tokens_per_second, "tokenizer": r.tokenizer, "val": r.val.last, "best": r.best,
            "floor": r.floor, "epochs": r.epochs, "chinchilla": r.chinchilla, "problems": r.problems}


def _curves(out, lines, title: str, floor: float | None = None, floor_name: str | None = None) -> None:
    """Curves as wide as the terminal, 80 columns in a pipe."""
    from ..report import terminal
    width = min(out.width, 100) if out.is_terminal else 80
    picture = terminal.chart(lines, width=width, height=16, floor=floor)
    if not out.is_terminal or out.no_color:
        picture = picture.plain
    out.print(f"\n{title}", style="bold", markup=False)
    out.print(picture, soft_wrap=True)
    out.print(terminal.legend(lines, floor_name if floor is not None else None), soft_wrap=True)


def _table(heads: list[str] | None, rows: list[list[str]], right=()) -> None:
    """A table: fitted to a terminal, aligned columns of full width in a pipe."""
    from rich.table import Table
    from rich.text import Text

    from ..report.words import printable
    out = console()
    if not out.is_terminal:
        out.width = 10_000  # nothing is cut: a pipe has no edge
    table = Table(box=None, show_header=heads is not None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i in range(len(rows[0]) if rows else 0):
        table.add_column(Text(heads[i]) if heads else None, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell, lines=False)) for cell in row))
    with out.capture() as captured:
        out.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
