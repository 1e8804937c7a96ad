"""What a learner reads after a check: one failure, the smallest example of it, and a place to look."""
from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from .checking import Row
from .course import Lesson, Task, function_in, near
from .judge import FAIL, NOT_RUN, NOT_WRITTEN, Outcome

_SMALL = 24      # elements of an argument that is printed whole
_STYLES = {"ok": "green", FAIL: "bold red", NOT_WRITTEN: "yellow", "info": "dim"}


def task(lesson: Lesson, which: Task, outcomes: Sequence[Outcome], answer: Path, console: Console,
         hints_shown: int) -> None:
    """Print what the checks of one task found."""
    head = f"exercise {which.number}  {which.name}"
    if outcomes and outcomes[0].status == NOT_WRITTEN:
        _unwritten(lesson, which, head, answer, console)
        return
    _line(console, head, "bold")
    for outcome in outcomes:
        if outcome.status in (NOT_RUN, NOT_WRITTEN):
            continue
        state = "info" if outcome.check.stage == "speed" and outcome.ok else outcome.status
        label = {"ok": "ok", FAIL: "FAIL", "info": "info"}[state]
        text = Text(f"  {label:<5} ", style=_STYLES[state])
        detail = "; ".join(outcome.notes) if outcome.notes and outcome.ok else outcome.check.name
        text.append(f"{outcome.check.stage:<13}{detail}", style="default")
        _print(console, text)
        if outcome.status == FAIL:
            _failure(outcome, answer, console)
    skipped = [o.check.stage for o in outcomes if o.status == NOT_RUN]
    if skipped:
        _line(console, "  not run         " + ", ".join(dict.fromkeys(skipped)))
    if any(o.status == FAIL for o in outcomes):
        total = len(lesson.hints.get(which.name, ()))
        left = f"({hints_shown + 1} of {total})" if hints_shown < total else "(all were shown)"
        _line(console, f"  hint: make hint-{lesson.number} {left}   again: make check-{lesson.number}")


def _unwritten(lesson, which, head, answer, console):
    function = function_in(answer, which.name)
    lines = lesson.about_lines(which.name)
    about = f"a good answer is about {lines} line{'s' * (lines != 1)}"
    where = f"{near(answer)}, " + (f"line {function.lineno}" if function else f"which has no function {which.name}")
    _line(console, f"{head:<40} not written yet, so this check fails, as it should:", "yellow")
    _line(console, "  this is the exercise, not a broken installation")
    _line(console, f"  task    {which.title}")
    _line(console, f"  open    {where}   {about}")
    _line(console, f"  again   make check-{lesson.number}   hint: make hint-{lesson.number}")


def _failure(outcome, answer, console):
    if outcome.example:
        drawn = ", ".join(f"{k} {v!r}" if k == "seed" else f"{k} = {_value(v)}" for k, v in outcome.example.items())
        _line(console, f"    with  {drawn}")
    _call(outcome, answer, console)
    if any(r.index is not None for r in outcome.rows):
        _numbers(outcome.rows, console)
    else:
        for row in outcome.rows:
            _line(console, f"    {row.name:<10} {'agrees' if row.ok and not row.note else row.note}")
    where = ""
    if outcome.line:
        where = f"   ({near(answer)}, line {outcome.line})"
    sentence = outcome.sentence
    if sentence.startswith("ValueError:") and "read-only" in sentence:
        sentence = "ValueError: the function writes into its inputs, which belong to the caller: work on a copy"
    _field(console, "found", sentence + where, "bold")
    for line in outcome.notes:
        _field(console, "", line)
    if outcome.printed:
        _line(console, "  it printed      " + "\n                  ".join(outcome.printed.strip().splitlines()[-8:]))
    _field(console, "should hold", outcome.check.truth)
    if outcome.check.look:
        _field(console, "look at", outcome.check.look)


def _field(console, name, text, style=None):
    """A sentence behind its name, folded where the page ends."""
    lines = textwrap.wrap(text, max(30, min(console.width, 100) - 18)) or [""]
    _line(console, f"  {name:<16}" + ("\n" + " " * 18).join(lines), style)


def _numbers(rows: Sequence[Row], console: Console) -> None:
    """The worst element of each array, in columns as wide as they must be."""
    lines = [("array", "worst index", "yours", "expected", "error", "x tolerance", "wrong")]
    for r in rows:
        if r.index is None:
            lines.append((r.name, "agrees" if r.ok else str(r.note)))
            continue
        index = "[" + ", ".join(map(str, r.index)) + "]" if r.index else "(a number)"
        lines.append((r.name, index, _value(r.yours), _value(r.expected), f"{r.error:.2g}", _times(r.share),
                      f"{r.wrong} of {r.size}"))
    whole = [line for line in lines if len(line) == len(lines[0])]
    widths = [max(len(line[i]) for line in (lines if i == 0 else whole)) for i in range(len(lines[0]))]
    for line in lines:
        _line(console, "    " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def _times(share) -> str:
    return "any is wrong" if share is None or not np.isfinite(share) else f"{share:.1e}"


def _value(value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value) if not isinstance(value, str) else repr(value)


def _call(outcome: Outcome, answer: Path, console: Console) -> None:
    """The call as one could type it; on a line for each argument where one line is too short."""
    if outcome.call is None:
        return
    name, args = outcome.call
    written = [_argument(a) for a in args]
    whole = f"    call  {name}({', '.join(written)})"
    if len(whole) <= min(console.width, 100):
        _line(console, whole)
        return
    function = function_in(answer, name)
    names = [a.arg for a in function.args.args] if function else []
    names += ["*"] * (len(written) - len(names))
    _line(console, f"    call  {name}(")
    for label, value in zip(names, written):
        _line(console, f"            {label + ' = ' if label != '*' else ''}{value},")
    _line(console, "          )")


def _argument(value) -> str:
    if isinstance(value, np.ndarray):
        if value.size > _SMALL:
            return f"<{value.dtype} {value.shape}>"
        written = np.array2string(value, separator=", ", precision=4, max_line_width=10_000, threshold=_SMALL + 1)
        tight = re.sub(r"(?<=\[)\s+|\s+(?=[],])", "", " ".join(written.split()))
        return tight if value.size else f"<empty {value.shape}>"
    if callable(value):
        return "<function>"
    return _shortened(repr(value.item() if isinstance(value, np.generic) else value))


def _shortened(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[:most - 1] + "…"


def _line(console, text, style=None):
    _print(console, Text(text, style=style or ""))


def _print(console, text):
    """Lines are long or short as they must be; a narrow terminal folds them."""
    console.print(text, soft_wrap=True)
