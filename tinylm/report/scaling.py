"""How a training step's cost grows: a table and a curve for each thing that can grow."""
from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from .terminal import PALETTE, Series, chart

WIDTH, HEIGHT = 64, 10
_NAMES = {"threads": "threads", "context": "context, tokens", "width": "channels", "batch": "texts in a batch"}


def scaling(result: dict) -> Group:
    """One entry of `tinylm bench --scaling`: a table, and milliseconds a step over what grows."""
    values, steps = result["values"], [1e3 * s for s in result["seconds_per_step"]]
    name, slope = _NAMES[result["axis"]], result["exponent"]
    # "x", not a multiplication sign: a pipe may go into a terminal that has none
    table = Table(title=f"{result['preset']}: a training step by {name}", title_justify="left", box=None,
                  padding=(0, 2, 0, 0))
    for column in (name, "ms/step", "x first", "µs/token", "tokens/s", "peak GFLOP/s"):
        table.add_column(column, justify="right")
    for value, step, speed, peak in zip(values, steps, result["tokens_per_second"], result["peak_gflops"]):
        table.add_row(f"{value:,}", f"{step:,.1f}", f"{step / steps[0]:.2f}", f"{1e6 / speed:,.1f}", f"{speed:,.0f}",
                      f"{peak:,.0f}")
    parts = [table]
    if slope is not None:
        parts += [Text(f"ms/step, which at the end grows with the power of {slope:.2f}"),
                  chart([Series("ms/step", values, steps, PALETTE[0], mark="•")],
                        width=WIDTH, height=HEIGHT, floor=0.0)]
    return Group(*parts, Text(""))
