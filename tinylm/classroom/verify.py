"""The course's own tests: what is handed out fails, what is right passes, what is wrong is caught.

For each lesson: its parts are there and well formed; the exercise fails as shipped, as "not written"; the
solution passes, here and across the pipe; so does every alternative; every mutant fails, at the stage it
names; every check is failed by some mutant, so that none is decoration; and nothing is imported from
another lesson.
"""
from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import TinylmError
from .course import PARTS, Lesson, function_in
from .judge import NOT_WRITTEN, judge
from .pupil import AnswerError, Direct, Gone, Pupil, functions_of
from .walk import cells

MUTANTS = 5
HINTS = 3
CELL_LINES = 34
CELL_WIDTH = 76    # with its margin a line of code then fits 80 columns
_LIBRARIES = {"numpy", "tinylm", "hypothesis", "matplotlib", "scipy", "numba", "rich", "tokenizers", "safetensors"}
NEIGHBOURS = {"solution", "given", "checks"}


@dataclass(frozen=True)
class Finding:
    """One thing that was verified."""

    what: str
    ok: bool
    detail: str = ""


def lesson(which: Lesson, examples: float = 0.5, seeds: int = 1) -> Iterator[Finding]:
    """Verify everything but the walkthrough, which `walk` runs.

    examples    a factor on how many examples are drawn
    seeds       right answers must pass, and mutants fail, on so many
    """
    missing = [p for p in PARTS if not (which.path / p).is_file()]
    yield Finding("its six parts are there", not missing, ", ".join(missing))
    if missing:
        return
    yield from _form(which)
    yield from _imports(which)
    checks = which.checks()
    yield from _as_shipped(which, checks)
    solution = Direct(functions_of(which.module("solution")))
    mutants = which.module("mutants")
    for task in which.tasks:
        yield _passes(f"{task.number} solution passes", checks[task.name], solution, examples, seeds)
        with Pupil(which.path / "solution.py", which.path, task.allowed, may_write=False) as across:
            yield _passes(f"{task.number} solution passes in a process of its own", checks[task.name], across,
                          examples / 2)
        for variant in getattr(mutants, "ALTERNATIVES", ()):
            if variant.task == task.name:
                yield _passes(f"{task.number} alternative passes: {variant.name}", checks[task.name],
                              Direct(variant.functions(which)), examples, seeds)
        yield from _mutants(which, task, checks[task.name], mutants.MUTANTS, examples, seeds)
    names = {t.name for t in which.tasks}
    strange = [v.name for v in [*mutants.MUTANTS, *getattr(mutants, "ALTERNATIVES", ())] if v.task not in names]
    yield Finding("mutants are of tasks that exist", not strange, ", ".join(strange))
    yield Finding("a right answer written differently is tried", bool(getattr(mutants, "ALTERNATIVES", ())))


def _form(which):
    known = {t.name for t in which.tasks}
    yield Finding("it has tasks", bool(known))
    yield Finding("hints are of its tasks", set(which.hints) == known, f"hints: {sorted(which.hints)}")
    for name, hints in which.hints.items():
        good = len(hints) == HINTS and all(isinstance(h, str) and h.strip() for h in hints)
        yield Finding(f"{HINTS} hints for {name}", good, f"{len(hints)}")
        yield Finding(f"the first hint for {name} asks", bool(hints) and "?" in hints[0])
    for task in which.tasks:
        stub = function_in(which.exercise, task.name)
        source = which.exercise.read_text("utf-8")
        segment = ast.get_source_segment(source, stub) if stub else ""
        yield Finding(f"{task.number} the stub has a docstring, a TODO and raises NotImplementedError",
                      stub is not None and ast.get_docstring(stub) is not None and "TODO" in segment
                      and "NotImplementedError" in segment)
        target = function_in(which.path / "solution.py", task.name)
        yield Finding(f"{task.number} stub and solution take the same arguments",
                      stub is not None and target is not None and ast.dump(stub.args) == ast.dump(target.args))
    text = (which.path / "lesson.py").read_text("utf-8")
    code = [c for c in cells(which.path / "lesson.py") if not c.markdown]
    long = [f"line {number}" for c in code for number, line in enumerate(c.source.splitlines(), c.line)
            if len(line) > CELL_WIDTH]
    yield Finding(f"its lines of code have at most {CELL_WIDTH} characters", not long, ", ".join(long))
    tall = [f"line {c.line}" for c in code if len(c.source.splitlines()) > CELL_LINES]
    yield Finding(f"its cells have at most {CELL_LINES} lines", not tall, ", ".join(tall))
    yield Finding("it claims something every few cells", 3 * sum("assert" in c.source for c in code) >= len(code))
    yield Finding("it ends with what would fool you here", "what would fool you here" in text.lower())


def _imports(which):
    wrong = []
    for part in sorted(which.path.glob("*.py")):
        allowed = _LIBRARIES | (NEIGHBOURS if part.stem == "mutants" else {"given"})
        for node in ast.walk(ast.parse(part.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = ["." if node.level else node.module]
            wrong += [f"{part.name}:{node.lineno} {name}" for name in names
                      if name.split(".")[0] not in allowed | set(sys.stdlib_module_names)]
    yield Finding("nothing is imported from another lesson, a learner's file or an unknown library", not wrong,
                  ", ".join(wrong))


def _as_shipped(which, checks):
    for task in which.tasks:
        with Pupil(which.exercise, which.path, task.allowed) as yours:
            try:
                found = list(judge(checks[task.name], yours, speed=False))
                good = bool(found) and found[0].status == NOT_WRITTEN
                detail = "" if good else f"{found[0].status}: {found[0].sentence}" if found else "no checks"
            except (AnswerError, Gone) as error:
                good, detail = False, str(error)
        yield Finding(f"{task.number} the exercise fails as shipped, as not written", good, detail)


def _passes(what, checks, yours, examples, seeds=1):
    failed = [o for seed in range(seeds)
              for o in judge(checks, yours, seed=seed, examples=examples, speed=False, to_the_end=True) if not o.ok]
    return Finding(what, not failed and bool(checks),
                   "; ".join(f"{o.check.name}: {o.sentence} {o.example}" for o in failed))


def _mutants(which, task, checks, mutants, examples, seeds):
    mine = [m for m in mutants if m.task == task.name]
    yield Finding(f"{task.number} has {MUTANTS} mutants", len(mine) >= MUTANTS, f"{len(mine)}")
    toothless = {c.name for c in checks if c.points}
    for mutant in mine:
        try:
            functions = mutant.functions(which)
        except TinylmError as error:
            yield Finding(f"{task.number} mutant: {mutant.name}", False, str(error))
            continue
        # All checks, not only the first that fails: a check that no mutant fails is decoration.
        found = judge(checks, Direct(functions), examples=examples, speed=False, to_the_end=True)
        failed = [o for o in found if not o.ok]
        toothless -= {o.check.name for o in failed}
        where = failed[0].check.stage if failed else "nowhere: it survived"
        lucky = [seed for seed in range(1, seeds) if all(
            o.ok for o in judge(checks, Direct(functions), seed=seed, examples=examples, speed=False))]
        if failed and lucky:
            yield Finding(f"{task.number} mutant on every seed: {mutant.name}", False, f"survived seeds {lucky}")
        good = bool(failed) and mutant.at in (None, where)
        yield Finding(f"{task.number} mutant: {mutant.name}", good,
                      f"caught at {where}" if failed else where + (f", expected at {mutant.at}" if mutant.at else ""))
    yield Finding(f"{task.number} each check is failed by a mutant", not toothless, ", ".join(sorted(toothless)))


def figures_named(path: Path) -> set[str]:
    """The names of the figures a lesson shows, read from its source."""
    shown = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
                and isinstance(node.func.value, ast.Name) and node.func.value.id == "show"
                and node.func.attr in ("lines", "heatmap", "bars", "figure")
                and isinstance(node.args[0], ast.Constant)):
            shown.add(node.args[0].value)
    return shown


def walkthrough(which: Lesson) -> Iterator[Finding]:
    """Run the lesson as a learner would, with warnings as errors, and look for its figures."""
    import os
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as work:
        # The package is found through the parent's own path, wherever it runs from.
        roots = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "tinylm", "lesson", "--work", work, "run", str(which.number),
             "--no-pause"],
            capture_output=True, encoding="utf-8", errors="replace", cwd=which.path.parents[1],
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": roots, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"})
        last = (done.stderr.strip().splitlines() or [""])[-1]
        yield Finding("the walkthrough runs, and what it claims holds", done.returncode == 0, last)
        wide = [line for line in done.stdout.splitlines() if len(line) > 80]
        yield Finding("the walkthrough fits 80 columns", not wide,
                      f"{len(wide)} lines, such as {wide[0]!r}" if wide else "")
        named = figures_named(which.path / "lesson.py")
        made = {p.stem for p in (Path(work) / "figures" / which.folder).glob("*.png")}
        yield Finding("it shows a figure", bool(named))
        yield Finding("every figure it names is saved, and no other", made == named, ", ".join(sorted(made ^ named)))
