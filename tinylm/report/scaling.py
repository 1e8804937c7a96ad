"""How a training step's cost grows: a table and a curve for each thing that can grow."""
from __future__ import annotations

import itertools

from rich.console import Group
from rich.table import Table
from rich.text import Text

from .terminal import PALETTE, Series, chart

WIDTH, HEIGHT = 64, 10
_NAMES = {"threads": "threads", "context": "context, tokens", "width": "channels", "batch": "texts in a batch",
          "depth": "layers"}


def scaling(results: list[dict]) -> Group:
    """What `tinylm bench --scaling` has measured: each axis by itself, then all exponents."""
    parts = []
    for name, group in itertools.groupby(results, lambda result: result["preset"]):
        axes = list(group)
        parts += [*map(_axis, axes), _exponents(name, axes)]
    return Group(*parts)


def _axis(result: dict) -> Group:
    """A table, and milliseconds a step over what grows."""
    values, steps = result["values"], [1e3 * s for s in result["seconds_per_step"]]
    name = _NAMES[result["axis"]]
    # "x", not a multiplication sign: a pipe may go into a terminal that has none
    table = Table(title=f"{result['preset']}: a training step by {name}", title_justify="left", box=None,
                  padding=(0, 2, 0, 0))
    for column in (name, "ms/step", "x first", "µs/token", "tokens/s", "peak GFLOP/s"):
        table.add_column(column, justify="right")
    for value, step, speed, peak in zip(values, steps, result["tokens_per_second"], result["peak_gflops"]):
        table.add_row(f"{value:,}", f"{step:,.1f}", f"{step / steps[0]:.2f}", f"{1e6 / speed:,.1f}", f"{speed:,.0f}",
                      f"{peak:,.0f}")
    parts = [table]
    if result["exponent"] is not None:
        parts += [Text(f"ms/step, which grows with the power of {result['exponent']:.2f} of {name}"),
                  chart([Series("ms/step", values, steps, PALETTE[0], mark="•")],
                        width=WIDTH, height=HEIGHT, floor=0.0)]
    return Group(*parts, Text(""))


def _exponents(name: str, axes: list[dict]) -> Group:
    """How a step's cost grows along each axis: 1.00 is in proportion."""
    table = Table(title=f"{name}: a step costs (what grows) to the power of …", title_justify="left", box=None,
                  padding=(0, 2, 0, 0))
    for index, column in enumerate(("what grows", "from", "to", "cost grows", "power", "of the last two")):
        table.add_column(column, justify="right" if index else "left")
    for axis in axes:
        if axis["exponent"] is not None:
            values, steps = axis["values"], axis["seconds_per_step"]
            table.add_row(_NAMES[axis["axis"]], f"{values[0]:,}", f"{values[-1]:,}", f"{steps[-1] / steps[0]:.2f}x",
                          f"{axis['exponent']:.2f}", f"{axis['last_exponent']:.2f}")
    return Group(table, Text(""))
