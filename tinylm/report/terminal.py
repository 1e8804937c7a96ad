"""Curves in a terminal, drawn by plotext and handed to rich."""
from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.text import Text

from .words import finite, nice_ticks, short

# Okabe and Ito's colour-blind safe palette, as the nearest of a terminal's 256 colours.
PALETTE = (39, 208, 36, 175, 220, 74, 166)
TRAIN, VALIDATION, FLOOR = 39, 208, 36
_BACKGROUND = re.compile(r"\x1b\[48;[0-9;]*m")


@dataclass(frozen=True)
class Series:
    """A named line: x and y of equal length.

    mark   one character.  In a chart where one line has a mark it stands on the line's points; where several have
           one, marks tell the lines apart and take turns along them, since points may lie on one another.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    line: bool = True
    mark: str | None = None

    @cached_property
    def points(self) -> tuple[list[float], list[float]]:
        """The finite points, in order of x."""
        pairs = sorted((a, b) for a, b in zip(self.x, self.y) if finite(a) and finite(b))
        return [a for a, _ in pairs], [b for _, b in pairs]


def thin(x: Sequence[float], y: Sequence[float], most: int) -> tuple[list[float], list[float]]:
    """At most `most` points: means of equal runs of neighbours, so that a noisy line stays honest."""
    if len(x) <= most:
        return list(x), list(y)
    edges = [i * len(x) // most for i in range(most + 1)]
    return ([sum(x[a:b]) / (b - a) for a, b in zip(edges, edges[1:])],
            [sum(y[a:b]) / (b - a) for a, b in zip(edges, edges[1:])])


def limits(series: Sequence[Series], floor: float | None = None) -> tuple[float, float] | None:
    """The y range to draw, or None without a finite point.

    The first twentieth of a run, where the loss falls from ln V, would press the rest flat: once
    there are more than 40 points it may leave through the top.
    """
    every = [s.points for s in series]
    right = max((x[-1] for x, _ in every if x), default=None)
    if right is None:
        return None
    long = any(len(x) > 40 for x, _ in every)
    shown = [b for x, y in every for a, b in zip(x, y) if not long or a >= right / 20]
    low, high = min(shown), max(shown)
    if floor is not None and finite(floor):
        low = min(low, floor)
    margin = 0.05 * (high - low) or abs(high) * 0.05 or 0.5
    return low - margin, high + margin


def chart(series: Sequence[Series], *, width: int, height: int, floor: float | None = None,
          right: float | None = None, left: float = 0.0) -> Text:
    """Lines over a common x from `left` to `right` (default: the largest x), `width` × `height` cells.

    floor   height of a dotted level line
    """
    import plotext  # a quarter of a second, and only where something is drawn

    bounds = limits(series, floor)
    if bounds is None or width < 16 or height < 4:
        return Text("no losses yet" if bounds is None else "")
    low, high = bounds
    right = max([left if right is None else right, *(s.points[0][-1] for s in series if s.points[0])]) or left + 1.0
    figure = plotext.figure
    # The size is what we are told, not at most that of the terminal plotext finds (in a pipe: 80 × 24).
    plotext.terminal.limit(False, False)
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("colorless")
    figure.canvas("default")
    figure.axes(False, axis="x", side="upper")
    figure.axes(False, axis="y", side="right")
    left_ticks = nice_ticks(low, high, max(3, height // 2))
    figure.ruler("y").lim(low, high)
    figure.ruler("y").ticks(left_ticks, _decimals(left_ticks))
    below = [t for t in nice_ticks(left, right, max(2, width // 14)) if t == int(t)]  # steps and tokens are whole
    figure.ruler("x").lim(left, right)
    figure.ruler("x").ticks(below, [short(t) for t in below])
    if floor is not None and finite(floor):
        figure.line(floor, "horizontal", style="dotted", pixel=FLOOR)
    for one in series:
        x, y = _below(*thin(*one.points, 2 * width), high)
        if one.line and len(x) > 1:
            figure.draw(figure.signal(x, y, marker=plotext.marker("braille", pixel=one.colour)).lines())
    marked = [s for s in series if s.mark and s.points[0]]
    for one in series:  # after all lines, which would cover them
        if len(marked) > 1 and one in marked:
            a, b = _turns(one, marked.index(one), len(marked), high, right, width // 6, 2 * width)
        elif one.mark or len(one.points[0]) == 1:
            a, b = _marks(one, high, max(2, width // 8))
        else:
            continue
        figure.draw(figure.signal(a, b, marker=plotext.marker(one.mark or "•", pixel=one.colour)))
    # plotext paints white behind what it colours; the terminal's own background shall stay.
    out = Text.from_ansi(_BACKGROUND.sub("", figure.build().string()), no_wrap=True)
    out.rstrip()
    return out


def _marks(one: Series, high: float, most: int) -> tuple[list[float], list[float]]:
    """Some of the points that are visible, the last one among them."""
    points = [(a, b) for a, b in zip(*one.points) if b <= high]
    points = points[::-1][::max(1, -(-len(points) // most))]
    return [a for a, _ in points], [b for _, b in points]


def _turns(one: Series, number: int, of: int, high: float, right: float, most: int,
           finest: int) -> tuple[list[float], list[float]]:
    """Places along the line where it is this one's turn: places of different lines are never above one another.

    A line that ends before its first turn, or leaves through the top at all of them, has its mark on its last point.
    """
    x, y = thin(*one.points, finest)
    turns = [right * (place + 0.5) / most for place in range(number, max(most, of), of)]
    found = [(at, _between(x, y, at)) for at in turns if x[0] <= at <= x[-1]]
    found = [(a, b) for a, b in found if b <= high] or [(one.points[0][-1], one.points[1][-1])]
    return [a for a, _ in found], [b for _, b in found]


def _between(x: Sequence[float], y: Sequence[float], at: float) -> float:
    """Height of the line at a place within it."""
    i = max(1, bisect_left(x, at))
    if i == len(x) or x[i] == x[i - 1]:
        return y[i - 1]
    return y[i - 1] + (at - x[i - 1]) / (x[i] - x[i - 1]) * (y[i] - y[i - 1])


def _below(x: list[float], y: list[float], high: float) -> tuple[list[float], list[float]]:
    """What is not above `high`, and where the line enters from there, so that it comes in through the top."""
    out: list[tuple[float, float]] = []
    for i, (a, b) in enumerate(zip(x, y)):
        above = b > high
        if i and above != (y[i - 1] > high):
            share = (high - y[i - 1]) / (b - y[i - 1])
            out.append((x[i - 1] + share * (a - x[i - 1]), high))
        if not above:
            out.append((a, b))
    return [a for a, _ in out], [b for _, b in out]


def legend(series: Sequence[Series], floor: str | None = None) -> Text:
    """One line that names the colours (and the marks, for those who see none)."""
    out = Text(no_wrap=True, overflow="ellipsis")
    for one in series:
        out.append("  " if out else "")
        out.append(f"{one.mark or '━'} ", style=f"color({one.colour})").append(one.name)
    if floor:
        out.append("  " if out else "").append("┈ ", style=f"color({FLOOR})").append(floor)
    return out


def _decimals(ticks: Sequence[float]) -> list[str]:
    """The ticks with as many decimals as they need, all the same number."""
    for digits in range(7):
        written = [f"{t:.{digits}f}" for t in ticks]
        if all(abs(float(w) - t) <= 1e-9 * max(1.0, abs(t)) for w, t in zip(written, ticks)):
            return written
    return [f"{t:.3g}" for t in ticks]
