"""The report of a run: one HTML file without any outside link."""
from __future__ import annotations

import html as escaping
import re
import shlex
from pathlib import Path

from ..errors import TinylmError
from . import curves
from .record import Record, read, ternary_layers
from .words import UNITS, chinchilla, clock, count, duration, finite, number, printable, short

_PLAIN = {"finished": "finished", "running": "running"}
_MOST_ROWS = 400     # of the loss table
_MOST_SAMPLES = 200


def write(run_dir: str | Path) -> Path:
    """Write `report.html`, `curve.png` and `curve.svg` into a run directory; return the path of the report.

    Works on what is there: unfinished, interrupted, diverged and one-step runs have reports too.

    Raises    DataMissing where the folder is no run; TinylmError where it cannot be written
    """
    record = read(run_dir)
    figure = curves.loss(record, title=True)
    curves.save(figure, record.path / "curve.png")
    curves.save(figure, record.path / "curve.svg")
    path = record.path / "report.html"
    try:
        temporary = path.with_name(".report.html.part")
        temporary.write_text(page(record), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise TinylmError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def page(record: Record) -> str:
    """The whole report as HTML; the same record gives the same text."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    parts = [_head(record), _problems(record), _verdict(record), _facts(record), _curves(record), _ternary(record),
             _position(record), _losses(record), _samples(record), _config(record), _machine(record), _units()]
    return ("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            f"<title>{_e(record.title)} · {_e(record.name)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
            + "\n".join(p for p in parts if p) + "\n</body>\n</html>\n")


# -- sections ---------------------------------------------------------------------------------------

def _head(record: Record) -> str:
    kind = _PLAIN.get(record.status, "other")
    return (f'<header><h1>{_e(record.title)} <span class="status {kind}">{_e(record.status)}</span></h1>\n'
            f'<p class="soft">run <code>{_e(record.name)}</code>'
            + (f", started {_e(record.started)}" if record.started else "") + "</p></header>")


def _problems(record: Record) -> str:
    notes = []
    if record.status not in _PLAIN and record.status_text:
        notes.append(f"{record.status}: {record.status_text}")
    elif record.status == "killed":
        notes.append("The process that trained this was ended before it was done; what it saved can be resumed.")
    return "".join(f'<div class="warn">{_e(text)}</div>' for text in notes + record.problems)


def _verdict(record: Record) -> str:
    best, last = record.best, record.val.last
    if best is None:
        return ('<div class="verdict"><p>No validation loss was recorded, so nothing can be said about what '
                "the model has learned.</p></div>")
    lines = [f'<p><strong>{number(best["nats_per_token"])} nats/token</strong> · '
             f'<strong>{number(best.get("bits_per_byte"))} bits/byte</strong></p>']
    units = f'perplexity {number(record.perplexity(best), 3)} per token of the tokenizer {_e(record.tokenizer_name)}'
    if record.best_bits_per_char is not None:
        units += f", {number(record.best_bits_per_char)} bits/character"
    lines.append(f'<p>Best validation loss, at step {count(best.get("step"))}: {units}.</p>')
    above = record.above_floor(best)
    if above is not None:
        error = f" ± {number(record.floor_error)}" if record.floor_error is not None else ""
        lines.append(f"<p>{number(above)}{error} bits/byte above the entropy floor of this corpus "
                     f"({number(record.floor)} bits/byte).</p>")
    if last is not best and finite(last.get("nats_per_token")):
        lines.append(f'<p class="soft">Last evaluation, at step {count(last.get("step"))}: '
                     f'{number(last["nats_per_token"])} nats/token.</p>')
    return '<div class="verdict">' + "".join(lines) + "</div>"


def _facts(record: Record) -> str:
    facts = [("steps", count(record.steps)), ("tokens seen", short(record.tokens)),
             ("time", duration(record.seconds)), ("tokens/s", count(record.tokens_per_second)),
             ("parameters", count(record.parameters)), ("epochs", short(record.epochs))]
    return ('<div class="facts">' + "".join(f"<div><b>{_e(v)}</b><span>{_e(k)}</span></div>" for k, v in facts)
            + "</div>")


def _curves(record: Record) -> str:
    names = {"steps": "over steps", "tokens": "over tokens", "time": "over time"}
    inputs = "".join(f'<input type="radio" name="x" id="by-{x}"{" checked" if x == "steps" else ""}>'
                     f'<label for="by-{x}">{label}</label>' for x, label in names.items())
    figures = "".join(f"<figure>{_svg(curves.loss(record, x), f'loss-{x}', f'Loss {label}')}</figure>"
                      for x, label in names.items())
    small = [("lr", "learning rate"), ("grad_norm", "gradient norm"), ("tokens_per_second", "tokens/s")]
    below = "".join(f"<figure>{_svg(curves.one(record, key, label, size=(4.2, 2.6)), key, label)}</figure>"
                    for key, label in small)
    return (f'<h2>Loss</h2>\n<div class="tabs">{inputs}{figures}</div>\n'
            f'<h2>Learning rate, gradient norm, speed</h2>\n<div class="pair">{below}</div>')


def _ternary(record: Record) -> str:
    rows = [row for row, _, _ in record.ternary("zeros")]
    if not rows:
        return ""
    charts = [("flips", "flipped since the last line"), ("zeros", "share of zeros"), ("scale", "scale")]
    figures = [(curves.ternary(record, key, label), f"ternary-{key}", f"Ternary weights: {label}")
               for key, label in charts]
    figures.append((curves.norms(record), "grad-norms", "Gradient norms of ternary and float parameters"))
    below = "".join(f"<figure>{_svg(*figure)}</figure>" for figure in figures)
    last = rows[-1]["ternary"]
    layers = [(name, *(layer.get(key) for key, _ in charts)) for name, layer in ternary_layers(last)]
    table = _table(("layer", "flips", "zeros", "scale"), layers) if layers else ""
    return (f'<h2>Ternary weights</h2>\n<div class="pair">{below}</div>'
            f'<p class="soft">A ternary weight is its scale times −1, 0 or 1, and learns only where that changes: the '
            f"share that flipped is counted from one log line to the next, {_e(value_text(last.get('steps')))} "
            "optimizer steps before the last one.</p>"
            f"<details><summary>Each layer at step {count(rows[-1].get('step'))}</summary>{table}</details>")


def _position(record: Record) -> str:
    share = record.chinchilla
    if share is None:
        return ""
    epochs = ""
    if record.epochs is not None:
        epochs = (f" The training text has {short(record.train_tokens)} tokens, so it was read "
                  f"{short(record.epochs)} times.")
    return (f'<h2>How far along</h2>\n<div class="meter"><i style="width:{100 * min(1.0, share):.1f}%"></i></div>'
            f"<p>{short(record.tokens)} tokens seen: <b>{chinchilla(record.tokens, record.parameters)}</b>.{epochs}</p>"
            '<p class="soft">Twenty tokens per parameter is about where Hoffmann et al. (2022, "Chinchilla") found '
            "a given amount of computing best spent. Below it, more training pays better than a larger model.</p>")


def _losses(record: Record) -> str:
    rows = record.val.rows
    if not rows:
        return ""
    best, floor = record.best, record.floor
    heads = ["step", "tokens", "time", "nats/token", "bits/byte", "perplexity"]
    heads += ["above floor, bits/byte"] if floor is not None else []
    keep = set(range(len(rows))) if len(rows) <= _MOST_ROWS else {i * len(rows) // _MOST_ROWS
                                                                   for i in range(_MOST_ROWS)} | {len(rows) - 1}
    body, lowest = [], float("inf")
    for i, row in enumerate(rows):
        value = row.get("nats_per_token")
        improved = finite(value) and value < lowest
        lowest = value if improved else lowest
        if i not in keep and row is not best:
            continue
        cells = [count(row.get("step")), short(row.get("tokens")), duration(row.get("seconds")), number(value),
                 number(row.get("bits_per_byte")), number(record.perplexity(row), 3)]
        if floor is not None:
            cells.append(number(record.above_floor(row)))
        mark = "best" if row is best else "●" if improved else ""
        body.append(f'<tr{" class=best" if row is best else ""}>'
                    + "".join(f'<td class="n">{_e(c)}</td>' for c in cells) + f"<td>{mark}</td></tr>")
    note = f" Of {len(rows)} evaluations {len(body)} are shown." if len(body) < len(rows) else ""
    return ('<h2>Validation losses</h2>\n<div class="scroll"><table><thead><tr>'
            + "".join(f'<th class="n">{h}</th>' for h in heads) + "<th></th></tr></thead><tbody>" + "".join(body)
            + f'</tbody></table></div><p class="soft">● lower than every one before it.{note}</p>')


def _samples(record: Record) -> str:
    if not record.samples:
        return ""
    shown = record.samples
    if len(shown) > _MOST_SAMPLES:
        shown = [shown[i * len(shown) // _MOST_SAMPLES] for i in range(_MOST_SAMPLES - 1)] + [shown[-1]]
    parts = []
    for i, (step, text) in enumerate(shown):
        clean = printable(text)
        first = " ".join(clean.split())[:90]
        where = f"step {step:,}"
        parts.append(f'<details{" open" if i == len(shown) - 1 else ""}><summary><b>{where}</b> '
                     f'<span class="soft">{_e(first)}</span></summary><pre>{_e(clean)}</pre></details>')
    return "<h2>What it wrote, from first to last</h2>\n" + "\n".join(parts)


def _config(record: Record) -> str:
    rows = []
    for section, values in record.config.items():
        for name, value in values.items():
            # The recipe's origins stand without a table.
            origin = record.origins.get(f"{section}.{name}") or record.origins.get(name, "")
            rows.append((f"{section}.{name}" if section else name, value, origin))
    if not rows:
        return ""
    return ("<h2>Configuration, and where each value came from</h2>\n" + _table(("option", "value", "from"), rows))


def _machine(record: Record) -> str:
    if not record.environment:
        return ""
    rows = [row for key, value in record.environment.items() if key != "resumed" for row in _fact(key, value)]
    resumed = record.environment.get("resumed")
    for i, session in enumerate(resumed if isinstance(resumed, list) else [], 1):
        # Of a later session only what is not as it was in the first.
        if isinstance(session, dict):
            rows += [row for key, value in session.items() if value != record.environment.get(key)
                     for row in _fact(f"resumed {i}: {key}", value)]
    return "<h2>Machine</h2>\n" + _table(("what", "value"), rows)


def _fact(key: str, value) -> list[tuple[str, str]]:
    """An entry of environment.json as rows for a person."""
    if isinstance(value, dict):
        return [row for k, v in value.items() for row in _fact(f"{key}.{k}", v)]
    if key.endswith("started") and finite(value):
        value = clock(value)
    elif key.endswith("command") and isinstance(value, list):
        value = shlex.join(map(str, value))
    elif key.endswith("_bytes") and finite(value):
        return [(key.removesuffix("_bytes"), f"{value / 2**30:.1f} GiB")]
    return [(key, value_text(value))]


def _units() -> str:
    return ('<h2>What the units mean</h2>\n<dl>'
            + "".join(f"<dt>{_e(name)}</dt><dd>{_e(text)}</dd>" for name, text in UNITS.items()) + "</dl>")


# -- pieces -----------------------------------------------------------------------------------------

def _table(heads, rows) -> str:
    return ('<div class="scroll"><table><thead><tr>' + "".join(f"<th>{_e(h)}</th>" for h in heads)
            + "</tr></thead><tbody>"
            + "".join("<tr>" + "".join(f"<td>{_e(value_text(c))}</td>" for c in row) + "</tr>" for row in rows)
            + "</tbody></table></div>")


def value_text(value) -> str:
    """A configuration value as a person writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(value_text(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {value_text(v)}" for k, v in value.items())
    return "–" if value is None else str(value)


def _e(text) -> str:
    """Escaped for element content and quoted attributes; nothing invisible survives."""
    return escaping.escape(printable(str(text)), quote=True)


# What matplotlib writes as fixed colours becomes the page's, so that one drawing serves light and dark.
_THEME = {"#1b1b1f": "var(--ink)", "#5d5d66": "var(--soft)", "#d9d9df": "var(--line)",
          "#0072b2": "var(--blue)", "#d55e00": "var(--orange)", "#009e73": "var(--green)"}


def _svg(figure, name: str, title: str) -> str:
    """A figure as an inline <svg>: no prolog, no namespaces (HTML needs none), ids of its own, theme colours."""
    text = curves.render(figure, "svg", transparent=True).decode("utf-8")
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\sid="', f' id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    for fixed, variable in _THEME.items():
        text = re.sub(fixed, variable, text, flags=re.IGNORECASE)
    return text.replace("<svg", f'<svg role="img" aria-label="{_e(title)}"', 1).strip()
