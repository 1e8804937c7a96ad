"""Walking through a lesson: its cells one by one, with what they really print and draw."""
from __future__ import annotations

import ast
import contextlib
import io
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from ..errors import CheckFailed, TinylmError
from . import show
from .course import Lesson


@dataclass(frozen=True)
class Cell:
    """A piece of a lesson: Markdown or code, and the line of lesson.py it starts on."""

    markdown: bool
    source: str
    line: int


@dataclass
class Result:
    """What a code cell gave."""

    text: str = ""
    images: list[tuple[str, bytes]] = field(default_factory=list)


class ClaimFailed(CheckFailed):
    """Something a lesson says of its own results does not hold."""


def cells(path: Path) -> list[Cell]:
    """The cells of a percent-format script.   Raises TinylmError where it is none."""
    import jupytext

    text = path.read_text("utf-8")
    notebook = jupytext.reads(text, fmt="py:percent")
    starts = [i for i, line in enumerate(text.splitlines(), 1) if line.startswith("# %%")]
    found = [c for c in notebook.cells if c.cell_type in ("markdown", "code")]
    if len(found) != len(starts):
        raise TinylmError(f"{path}: {len(starts)} cell markers, but {len(found)} cells: nothing may stand above the "
                          "first")
    return [Cell(c.cell_type == "markdown", c.source, start + 1) for c, start in zip(found, starts)]


def walk(lesson: Lesson) -> Iterator[tuple[Cell, Callable[[], None] | None]]:
    """Each cell with a function that runs it (None for Markdown); run them in order.

    Raises    ClaimFailed (from the function) for an assertion, TinylmError for another error
    """
    path = lesson.path / "lesson.py"
    scope = types.ModuleType("lesson")
    scope.__file__ = str(path)
    for cell in cells(path):
        yield cell, None if cell.markdown else lambda cell=cell: _run(cell, path, scope, lesson)


def _run(cell, path, scope, lesson):
    tree = ast.parse(cell.source, str(path))
    ast.increment_lineno(tree, cell.line - 1)
    # A last expression shows its value, as it would in a notebook.
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    sys.modules["lesson"] = scope
    sys.path.insert(0, str(lesson.path))
    try:
        exec(compile(tree, str(path), "exec"), scope.__dict__)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), str(path), "eval"), scope.__dict__)
            if value is not None:
                print(value)
    except AssertionError as error:
        raise ClaimFailed(f"{_where(path, error)}: a claim of this lesson does not hold" +
                          (f": {error}" if str(error) else "")) from error
    except TinylmError:
        raise
    except Exception as error:
        raise TinylmError(f"{_where(path, error)}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(lesson.path))


def _where(path, error):
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path.parent.name}/{path.name}:{lines[-1] if lines else '?'}"


def in_terminal(lesson: Lesson, console: Console, figures: Path, wait: Callable[[], bool]) -> list[Path]:
    """Print a whole lesson; returns the figures it saved.

    wait    called between its parts; False ends the lesson there
    """
    from rich.markdown import Markdown
    from rich.rule import Rule
    from rich.syntax import Syntax

    place = show.Place(console, figures)
    show.use(place)
    try:
        width, before = show.width(), None
        console.print(Rule(f"lesson {lesson.number}: {lesson.title}"), width=width)
        for cell, run in walk(lesson):
            if cell.markdown:
                if before is not None and not before.markdown and not wait():
                    break
                console.print(Markdown(cell.source, code_theme="ansi_dark"), soft_wrap=False, width=width)
            else:
                console.print()
                console.print(Syntax(cell.source, "python", theme="ansi_dark", word_wrap=True,
                                     background_color="default", padding=(0, 2)), soft_wrap=False, width=width)
                console.print(Rule(style="dim"), width=width)
                run()
            console.print()
            sys.stdout.flush()
            before = cell
    finally:
        show.use(None)
    return place.saved


def collect(lesson: Lesson) -> list[tuple[Cell, Result | None]]:
    """Run a whole lesson and keep what its cells print and draw, for a notebook or a page."""
    out = []
    for cell, run in walk(lesson):
        if run is None:
            out.append((cell, None))
            continue
        text, images = io.StringIO(), []
        show.use(show.Place(Console(file=text, width=show.WIDEST, highlight=False, no_color=True), images=images))
        try:
            with contextlib.redirect_stdout(text):
                run()
        finally:
            show.use(None)
        out.append((cell, Result(text.getvalue(), images)))
    return out
