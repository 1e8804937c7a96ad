"""What a lesson shows: tables and plots in the terminal, the same figures as PNG files.

    from tinylm.classroom import show

    show.table(["unit", "value"], [["nats/token", 2.31]])
    show.lines("loss", {"training": (steps, losses)}, x="step", y="nats/token")
    show.heatmap("table", probabilities, rows=symbols, columns=symbols, unit="probability")
    show.bars("sizes", {"float32": 4.0, "ternary": 0.25}, unit="bytes a weight")
    show.figure("triangles", a_matplotlib_figure)
    steps = show.choose(300, full=3000)

Each figure has a name, and every plot its units.  In a notebook figures appear below the cell; in the
terminal they are drawn in characters and saved.
"""
from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .course import near

SIZES = "brief", "fast", "full"
SIZE_VARIABLE = "TINYLM_LESSON_SIZE"
WIDEST = 100
_SHADES = "░▒▓█"
_RAMP = 18, 24, 60, 66, 102, 108, 144, 179, 221, 226  # dark blue to yellow, as in the figures


@dataclass
class Place:
    """Where things are shown.

    folder    for PNG files; None: they are not saved
    images    figures as (name, PNG bytes), for a notebook or page; None: not kept
    saved     the files written
    """

    console: Console
    folder: Path | None = None
    images: list[tuple[str, bytes]] | None = None
    saved: list[Path] = field(default_factory=list)


_places: list[Place] = []


def use(place: Place | None) -> None:
    """Show things there from now on; None: back to the place before."""
    if place is None:
        _places.pop()
    else:
        _places.append(place)


def _place() -> Place:
    if not _places:
        _places.append(Place(Console(highlight=False)))
    return _places[-1]


def _in_notebook() -> bool:
    return _place().images is None and "ipykernel" in sys.modules


def size() -> str:
    """How much a lesson should compute: "brief" (tests), "fast" (the default) or "full"."""
    chosen = os.environ.get(SIZE_VARIABLE, "fast")
    if chosen not in SIZES:
        raise ValueError(f"{SIZE_VARIABLE} is {chosen!r}: choose {', '.join(SIZES)}")
    return chosen


def choose(fast, *, full=None, brief=None):
    """One of three values, by the size of the run; `full` and `brief` are `fast` where not given."""
    return {"fast": fast, "full": fast if full is None else full, "brief": fast if brief is None else brief}[size()]


def width() -> int:
    """Columns to write in."""
    return min(_place().console.width, WIDEST)


def write(*values) -> None:
    """One line of text, wrapped at the width of the page."""
    _place().console.print(" ".join(str(v) for v in values), markup=False, soft_wrap=False, width=width())


def table(headers: Sequence[str], rows: Sequence[Sequence], title: str | None = None) -> None:
    """A table; numbers to the right, floats with four significant digits."""
    out = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold",
                title_style="bold")
    for i, header in enumerate(headers):
        numeric = all(isinstance(r[i], (int, float, np.number)) and not isinstance(r[i], bool) for r in rows)
        out.add_column(escape(str(header)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        out.add_row(*(escape(_cell(value)) for value in row))
    _place().console.print(out, soft_wrap=False, width=width())


def _cell(value) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return str(value)


def figure(name: str, drawn, note: str = "") -> None:
    """A matplotlib Figure of your own (see `blank`): shown in a notebook, saved as <name>.png elsewhere."""
    from ..report import curves

    place = _place()
    if _in_notebook():
        from IPython.display import Image, display
        display(Image(curves.render(drawn, "png")))
        return
    if place.images is not None:
        place.images.append((name, curves.render(drawn, "png")))
    if place.folder is not None:
        path = curves.save(drawn, place.folder / f"{name}.png")
        place.saved.append(path)
        place.console.print(Text(f"figure  {near(path)}" + (f"   {note}" if note else ""), style="dim"),
                            soft_wrap=False, width=width())


def blank(size=(7.0, 3.6)):
    """(figure, axes) in the house style, to draw on; give it to `figure`."""
    from ..report import curves
    return curves.blank("light", size)


def lines(name: str, series: Mapping[str, tuple], *, x: str, y: str, level: tuple[float, str] | None = None,
          height: int = 14) -> None:
    """Curves over a common x, from 0 or where the data begins below it.

    series   label: (x values, y values)
    x, y     what the axes show, with units
    level    (value, label) of a dotted level line
    """
    from ..report import curves, terminal

    drawn, axes = blank()
    pieces = []
    for i, (label, (at, values)) in enumerate(series.items()):
        at, values = [float(a) for a in at], [float(v) for v in values]
        axes.plot(at, values, color=curves.COLOURS[i % len(curves.COLOURS)], linewidth=1.6, label=label,
                  marker="o" if len(at) < 25 else None, markersize=4)
        pieces.append(terminal.Series(label, at, values, terminal.PALETTE[i % len(terminal.PALETTE)],
                                      mark="osxd+*"[i % 6] if len(series) > 1 else None))
    if level is not None:
        axes.axhline(level[0], color=curves.FLOOR, linewidth=1.5, linestyle=(0, (1, 1.5)), label=level[1])
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if len(series) > 1 or level:
        axes.legend(frameon=False, fontsize=9)
    if not _in_notebook():
        _heading(f"{y} against {x}")
        left = min([0.0, *(p.points[0][0] for p in pieces if p.points[0])])
        _place().console.print(terminal.chart(pieces, width=width(), height=height, left=left,
                                              floor=level[0] if level else None), soft_wrap=True)
        if len(series) > 1 or level:
            _place().console.print(terminal.legend(pieces, level[1] if level else None), soft_wrap=True)
    figure(name, drawn)


def heatmap(name: str, matrix: np.ndarray, *, unit: str, rows: Sequence[str] | None = None,
            columns: Sequence[str] | None = None, top: float | None = None, down: str = "", across: str = "") -> None:
    """A matrix as shades, from 0 (empty) to `top` (full; default: the largest magnitude).

    rows, columns   a label each; in the terminal only as many columns as fit are drawn
    unit            of the numbers
    down, across    what the rows and columns are
    """
    matrix = np.asarray(matrix, np.float64)
    R, C = matrix.shape
    top = float(np.abs(matrix).max(initial=0.0)) if top is None else top
    drawn, axes = blank((min(9.0, 2.2 + 0.24 * C), min(9.0, 1.4 + 0.24 * R)))
    axes.grid(False)
    image = axes.imshow(matrix, cmap="cividis", vmin=min(0.0, float(matrix.min(initial=0.0))), vmax=top or 1.0,
                        aspect="auto", interpolation="nearest")
    for labels, put in ((columns, axes.set_xticks), (rows, axes.set_yticks)):
        if labels is not None:
            put(range(len(labels)), [_plain(s) for s in labels], fontsize=8)
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    drawn.colorbar(image, label=unit)
    if not _in_notebook():
        _heading(f"{unit}, from 0 to {_cell(top)}" + (f"; rows: {down}" if down else "")
                 + (f"; columns: {across}" if across else ""))
        _print_shades(matrix, rows, columns, top)
    figure(name, drawn)


def _print_shades(matrix, rows, columns, top):
    R, C = matrix.shape
    labels = [_plain(s) for s in rows] if rows is not None else [str(i) for i in range(R)]
    margin = max((len(s) for s in labels), default=0) + 1
    shown = min(C, (width() - margin) // 2)
    if columns is not None:
        heads = [_plain(s) for s in columns[:shown]]
        for line in range(max((len(h) for h in heads), default=0)):
            _raw((" " * margin + "".join(h[line:line + 1].ljust(2) for h in heads)).rstrip())
    for i in range(R):
        line = Text(f"{labels[i]:<{margin}}")
        for value in matrix[i, :shown]:
            line.append(*_cell_of(value, top))
        line.rstrip()
        _place().console.print(line, soft_wrap=True)
    if shown < C:
        _raw(f"… {C - shown} more in the figure")


def _cell_of(value: float, top: float) -> tuple[str, str]:
    """Two characters and their colour; where there are no colours the shade of the characters says it alone."""
    if not np.isfinite(value):
        return "??", ""
    share = min(abs(value) / top, 1.0) if top > 0 else 0.0
    # The smallest visible shade begins just above 0, so that what is there is seen to be there.
    if share < 0.005:
        return "  ", ""
    coloured = _place().console.color_system is not None and not _place().console.no_color
    return ("█" if coloured else _SHADES[min(int(share * 4), 3)]) * 2, f"color({_RAMP[min(int(share * 10), 9)]})"


def _plain(label) -> str:
    return {" ": "␣", "\n": "↵", "\t": "⇥"}.get(str(label), str(label))


def bars(name: str, values: Mapping[str, float], *, unit: str) -> None:
    """A horizontal bar for each value, from 0."""
    from ..report import curves

    labels, numbers = list(values), [float(v) for v in values.values()]
    drawn, axes = blank((7.0, 0.8 + 0.34 * len(labels)))
    axes.barh(range(len(labels)), numbers, color=curves.COLOURS[0])
    axes.set_yticks(range(len(labels)), [_plain(s) for s in labels])
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    if not _in_notebook():
        margin = max(len(_plain(s)) for s in labels)
        written = [_cell(v) for v in numbers]
        room = max(10, width() - margin - max(map(len, written)) - 4)
        top = max(max(numbers), 0.0) or 1.0
        _heading(unit)
        for label, number, cell in zip(labels, numbers, written):
            _raw(f"{_plain(label):<{margin}}  {'█' * max(0, round(room * number / top))} {cell}")
    figure(name, drawn)


def _heading(text: str) -> None:
    _place().console.print(Text(text, style="bold"), soft_wrap=False, width=width())


def _raw(text: str) -> None:
    _place().console.print(text, markup=False, soft_wrap=True)
