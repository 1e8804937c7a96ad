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
        _line(console, f"          with   {drawn}")
    call = _call(outcome.call)
    if call:
        _line(console, f"          call   {call}")
    if any(r.index is not None for r in outcome.rows):
        _numbers(outcome.rows, console)
    else:
        for row in outcome.rows:
            _line(console, f"          {row.name:<10} {'agrees' if row.ok and not row.note else row.note}")
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
    width = max(len(r.name) for r in rows) + 2
    _line(console, f"          {'array':<{width}}{'worst index':<14}{'yours':<14}{'expected':<14}{'error':<9}"
                   f"{'x tolerance':<13}wrong")
    for r in rows:
        if r.index is None:
            _line(console, f"          {r.name:<{width}}" + ("agrees" if r.ok else str(r.note)))
            continue
        index = "[" + ", ".join(map(str, r.index)) + "]" if r.index else "(a number)"
        _line(console, f"          {r.name:<{width}}{index:<14}{_value(r.yours):<14}{_value(r.expected):<14}"
                       f"{r.error:<9.2g}{_times(r.share):<13}{r.wrong} of {r.size}")


def _times(share) -> str:
    return "any is wrong" if share is None or not np.isfinite(share) else f"{share:.1e}"


def _value(value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value) if not isinstance(value, str) else repr(value)


def _call(call) -> str | None:
    """The call as one could type it, where its arguments are small."""
    if call is None:
        return None
    name, args = call
    parts = []
    for a in args:
        if isinstance(a, np.ndarray):
            if a.size > _SMALL:
                parts.append(f"<{a.dtype} {a.shape}>")
                continue
            written = np.array2string(a, separator=", ", precision=4, max_line_width=10_000, threshold=_SMALL + 1)
            parts.append(re.sub(r"\s+(?=[],])", "", " ".join(written.split())) if a.size else f"<empty {a.shape}>")
        elif callable(a):
            parts.append("<function>")
        else:
            written = repr(a.item() if isinstance(a, np.generic) else a)
            parts.append(written if len(written) <= 80 else written[:79] + "…")
    return f"{name}({', '.join(parts)})"


def _line(console, text, style=None):
    _print(console, Text(text, style=style or ""))


def _print(console, text):
    """Lines are long or short as they must be; a narrow terminal folds them."""
    console.print(text, soft_wrap=True)
