"""What a lesson's `mutants.py` is made of: plausible wrong answers, each of which some check must reject.

    MUTANTS = [
        edit("softmax", "sums over the batch", "sum(-1", "sum(0"),
        wrong("softmax", "gives logits back", lambda logits: logits),
    ]
    ALTERNATIVES = [other("softmax", "through the logarithm", softmax_through_log)]

An alternative is a right answer written differently: it must pass, or a check tests style.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import TinylmError
from .course import Lesson, source_of
from .pupil import functions_of


@dataclass(frozen=True)
class Variant:
    """An answer to one task, right or wrong, that differs from the solution.

    at    the stage that should reject it; None: any
    """

    task: str
    name: str
    function: Callable | None = None
    old: str | None = None
    new: str | None = None
    within: str | None = None
    at: str | None = None

    def functions(self, lesson: Lesson) -> Mapping[str, Callable]:
        """All functions of the solution with this one in place.   Raises TinylmError for an edit that misses."""
        if self.function is not None:
            return functions_of(lesson.module("solution")) | {self.task: self.function}
        path = lesson.path / "solution.py"
        place = self.within or self.task
        source = source_of(path, place)
        if (times := source.count(self.old)) != 1:
            raise TinylmError(f"{lesson.path / 'mutants.py'}: {self.name!r}: {self.old!r} occurs {times} times in the "
                              f"solution's {place}, and should occur once")
        whole = path.read_text("utf-8")
        return _run(whole.replace(source, source.replace(self.old, self.new)), lesson, str(path))


def _run(source: str, lesson: Lesson, path: str) -> Mapping[str, Callable]:
    import sys
    import types

    module = types.ModuleType("mutant")
    module.__file__ = path
    sys.path.insert(0, str(lesson.path))
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    finally:
        sys.path.remove(str(lesson.path))
        sys.modules.pop("given", None)
    return functions_of(module)


def wrong(task: str, name: str, function: Callable, at: str | None = None) -> Variant:
    """A wrong answer given as a function."""
    return Variant(task, name, function, at=at)


def edit(task: str, name: str, old: str, new: str, *, within: str | None = None, at: str | None = None) -> Variant:
    """A wrong answer made from the solution: `old`, which stands in it once, becomes `new`.

    within    the function of the solution to edit, if it is not the task's own
    """
    return Variant(task, name, old=old, new=new, within=within, at=at)


def other(task: str, name: str, function: Callable) -> Variant:
    """A right answer written differently."""
    return Variant(task, name, function)
