"""Figures of a run, or of several, as PNG and SVG."""
from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import TinylmError, UsageError
from .words import duration, finite, nice_ticks, printable, short

if TYPE_CHECKING:
    from .record import Record

# Okabe and Ito 2008: told apart by colour-blind readers, and on white, black and grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195")
TRAIN, VALIDATION, FLOOR = COLOURS[0], COLOURS[1], COLOURS[2]
AXES = {"steps": "step", "tokens": "tokens", "time": "seconds"}
_LABELS = {"steps": "optimizer steps", "tokens": "training tokens seen", "time": "training time"}
_INK = {"light": ("#1b1b1f", "#5d5d66", "#d9d9df"), "dark": ("#ececf1", "#a8a8b3", "#3a3a44")}


def loss(record: Record, x: str = "steps", *, title: bool = False, ink: str = "light", size=(8.0, 4.2)):
    """Training and validation loss over `x` ("steps", "tokens" or "time"), a matplotlib Figure.

    Left axis nats/token, right axis the same loss in bits/byte of the validation text; the entropy
    floor is a dotted line.  `title` names the run, for a figure that stands alone.
    """
    figure, axes = _roomy(ink, size, titled=title, wide=bool(record.bits_per_byte_per_nat))
    if title:
        axes.set_title(_words(f"{record.title} · {record.name}"), loc="left", fontsize=10, color=_INK[ink][0])
    train, val = record.train.column, record.val.column
    at, value = _finite_pairs(train(AXES[x]), train("nats_per_token"))
    axes.plot(at, value, color=TRAIN, linewidth=0.9 if len(at) > 60 else 1.4, alpha=0.35 if len(at) > 60 else 1,
              marker="." if len(at) == 1 else None, label=None if len(at) > 60 else "training")
    if len(at) > 60:
        axes.plot(at, smooth(value, len(value) // 40), color=TRAIN, linewidth=1.6, label="training (smoothed)")
    vat, vvalue = _finite_pairs(val(AXES[x]), val("nats_per_token"))
    axes.plot(vat, vvalue, color=VALIDATION, linewidth=1.8, marker="o", markersize=4, label="validation")
    if not at and not vat:
        _nothing(axes, ink, "no loss was recorded")
    ratio = record.bits_per_byte_per_nat
    floor = record.floor
    if floor is not None and ratio:
        axes.axhline(floor / ratio, color=FLOOR, linewidth=1.5, linestyle=(0, (1, 1.5)),
                     label=f"entropy floor, {floor:.3f} bits/byte")
    best = record.best
    if best is not None and finite(best.get(AXES[x])) and len(vat) > 1:
        axes.plot([best[AXES[x]]], [best["nats_per_token"]], color=VALIDATION, marker="o", markersize=10,
                  fillstyle="none", markeredgewidth=1.5, linestyle="none",
                  label=f"best, {best['nats_per_token']:.4f} nats/token")
    _focus(axes, [(at, value), (vat, vvalue)], None if floor is None or not ratio else floor / ratio)
    axes.set_ylabel("loss, nats/token")
    if ratio:
        second = axes.secondary_yaxis("right", functions=(lambda y: y * ratio, lambda y: y / ratio))
        second.set_ylabel("loss, bits/byte")
        _colour(second, ink)
        second.spines["right"].set_visible(False)
    _along(axes, x)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=_INK[ink][0], loc="upper right")
    return figure


def one(record: Record, key: str, label: str, *, x: str = "steps", ink: str = "light", size=(8.0, 2.3)):
    """One column of the training rows (`lr`, `grad_norm`, `tokens_per_second`) over `x`."""
    figure, axes = _roomy(ink, size)
    at, value = _finite_pairs(record.train.column(AXES[x]), record.train.column(key))
    axes.plot(at, value, color=TRAIN, linewidth=1.2, marker="." if len(at) == 1 else None)
    if not at:
        _nothing(axes, ink, "not recorded")
    elif min(value) >= 0:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
    _along(axes, x)
    return figure


def ternary(record: Record, key: str, label: str, *, x: str = "steps", ink: str = "light", size=(4.2, 2.6)):
    """Share of flips or zeros, or the scale, of ternary weights over `x`: of all, and the range of the layers."""
    figure, axes = _roomy(ink, size)
    found = [(row[AXES[x]], total, values) for row, total, values in record.ternary(key)
             if finite(row.get(AXES[x])) and finite(total)]
    at = [a for a, _, _ in found]
    axes.plot(at, [total for _, total, _ in found], color=TRAIN, linewidth=1.4,
              marker="." if len(at) == 1 else None, label="mean of the layers" if key == "scale" else "all weights")
    spread = [(a, min(values), max(values)) for a, _, values in found if values]
    if spread:
        axes.fill_between(*zip(*spread), color=TRAIN, alpha=0.15, linewidth=0, label="lowest to highest layer")
        axes.legend(frameon=False, labelcolor=_INK[ink][0], fontsize=8)
    if not at:
        _nothing(axes, ink, "not recorded")
    axes.set_ylim(bottom=0)
    axes.set_ylabel(label)
    _along(axes, x)
    return figure


def norms(record: Record, *, x: str = "steps", ink: str = "light", size=(4.2, 2.6)):
    """Gradient norms of the ternary and of the float parameters over `x`."""
    figure, axes = _roomy(ink, size)
    some = False
    for kind, colour in (("ternary", TRAIN), ("float", VALIDATION)):
        column = [entry.get(kind) if isinstance(entry, dict) else None for entry in record.train.column("grad_norms")]
        at, value = _finite_pairs(record.train.column(AXES[x]), column)
        axes.plot(at, value, color=colour, linewidth=1.2, marker="." if len(at) == 1 else None, label=kind)
        some = some or bool(at)
    if some:
        axes.legend(frameon=False, labelcolor=_INK[ink][0], fontsize=8)
    else:
        _nothing(axes, ink, "not recorded")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("gradient norm")
    _along(axes, x)
    return figure


def compare(records: Sequence[Record], x: str = "tokens", *, unit: str = "bits_per_byte",
            ink: str = "light", size=(8.0, 4.2)):
    """Validation losses of several runs over `x`, in one unit that holds for all of them."""
    figure, axes = _roomy(ink, size)
    lines = []
    for number, record in enumerate(records):
        at, value = _finite_pairs(record.val.column(AXES[x]), record.val.column(unit))
        axes.plot(at, value, color=COLOURS[number % len(COLOURS)], linewidth=1.8, marker="osD^vPX"[number % 7],
                  markersize=4, label=_words(f"{chr(ord('A') + number % 26)} {record.name}"))
        lines.append((at, value))
    if not any(at for at, _ in lines):
        _nothing(axes, ink, "no validation loss was recorded")
    _focus(axes, lines, None)
    axes.set_ylabel("validation loss, " + unit.replace("_per_", "/"))
    _along(axes, x)
    axes.legend(frameon=False, labelcolor=_INK[ink][0], loc="upper right")
    return figure


def save(figure, path: str | Path, *, transparent: bool = False) -> Path:
    """Write a figure as PNG or SVG, by the ending of the name; the file is whole or absent.

    Raises    UsageError for another ending; TinylmError where it cannot be written
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise UsageError(f"{path}: a figure is written as .png or .svg")
    content = render(figure, kind, transparent=transparent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise TinylmError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def render(figure, kind: str = "svg", *, transparent: bool = False) -> bytes:
    """A figure as bytes; the same figure gives the same bytes."""
    import matplotlib
    buffer = io.BytesIO()
    # Fixed salt and no date: a report that is written again does not change.
    with matplotlib.rc_context({"svg.hashsalt": "tinylm", "svg.fonttype": "none"}):
        figure.savefig(buffer, format=kind, dpi=150, transparent=transparent,
                       metadata={"Date": None, "Creator": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Centred mean over `window` values to either side, fewer at the ends."""
    sums = [0.0]
    for v in values:
        sums.append(sums[-1] + v)
    out = []
    for i in range(len(values)):
        reach = min(window, i, len(values) - 1 - i)
        out.append((sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1))
    return out


def blank(ink: str, size, layout: str | None = "constrained"):
    """A figure and its axes in the house style (no pyplot, which would keep it alive and pick a window system)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=size, layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(color=_INK[ink][2], linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _colour(axes, ink)
    if ink == "dark":
        figure.set_facecolor("#17171c")
        axes.set_facecolor("#17171c")
    return figure, axes


def _roomy(ink: str, size, *, titled: bool = False, wide: bool = False):
    """As `blank`, with fixed room around the axes: to have it measured, matplotlib draws all that is written twice.

    titled, wide    whether there will be a title above, and a second axis at the right
    """
    figure, axes = blank(ink, size, layout=None)
    width, height = size  # inches, as the room is
    figure.subplots_adjust(left=0.85 / width, right=1 - (0.75 if wide else 0.15) / width, bottom=0.55 / height,
                           top=1 - (0.35 if titled else 0.15) / height)
    return figure, axes


def _colour(axes, ink: str) -> None:
    text, soft, grid = _INK[ink]
    axes.tick_params(colors=soft, labelsize=9, length=3)
    axes.xaxis.label.set_color(text)
    axes.yaxis.label.set_color(text)
    for spine in axes.spines.values():
        spine.set_color(grid)


def _along(axes, x: str) -> None:
    """The x axis: round numbers, times in the words of a clock."""
    axes.set_xlabel(_LABELS[x])
    left, right = 0, max(axes.dataLim.x1, 0)
    if not finite(right) or right <= 0:
        right = 1
    axes.set_xlim(left, right * 1.02)
    ticks = _clock_ticks(right) if x == "time" else [t for t in nice_ticks(left, right, 6) if t == int(t)]
    axes.set_xticks(ticks, [duration(t) if x == "time" and t else short(t) for t in ticks])


def _clock_ticks(right: float) -> list[float]:
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200):
        if right / step <= 7:
            return [k * step for k in range(int(right / step) + 1)]
    return nice_ticks(0, right, 6)


def _focus(axes, lines, floor: float | None) -> None:
    """Let the first fall from ln V leave through the top once there is enough to see below it."""
    right = max((at[-1] for at, _ in lines if at), default=None)
    if right is None:
        return
    long = any(len(at) > 40 for at, _ in lines)
    shown = [v for at, value in lines for a, v in zip(at, value) if not long or a >= right / 50]
    low, high = min(shown), max(shown)
    if floor is not None:
        low = min(low, floor)
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 0.5
    axes.set_ylim(low - margin, high + margin)


def _finite_pairs(x, y) -> tuple[list[float], list[float]]:
    pairs = sorted((a, b) for a, b in zip(x, y) if finite(a) and finite(b))
    return [a for a, _ in pairs], [b for _, b in pairs]


def _words(text: str) -> str:
    """A name as a figure can show it: $ starts no formula, and what the font surely lacks is a ?."""
    return "".join(c if c < "\u0500" else "?" for c in printable(text, lines=False)).replace("$", r"\$")


def _nothing(axes, ink: str, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_INK[ink][1])
