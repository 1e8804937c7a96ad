"""Marking many submissions on private seeds, with points for each property.

The checks are public, the numbers and sizes they are tried with come from a seed that only the marker
has.  A submission runs in a process of its own that is handed arguments and hands back results: it holds
no seed, no expected number and no way to the comparison.  A hang or a crash costs the check it happens in.
"""
from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataMissing, UsageError
from .course import Course, Lesson
from .judge import FAIL, Outcome, judge
from .pupil import AnswerError, Gone, Pupil

CHECK_SECONDS = 20.0


@dataclass
class Mark:
    """One submission of one lesson."""

    student: str
    lesson: Lesson
    outcomes: list[Outcome]

    @property
    def points(self) -> int:
        return sum(o.check.points for o in self.outcomes if o.ok)

    @property
    def most(self) -> int:
        return sum(o.check.points for o in self.outcomes)

    def to_json(self) -> dict:
        return {"student": self.student, "lesson": self.lesson.number, "points": self.points, "of": self.most,
                "checks": [o.to_json() for o in self.outcomes]}

    def gradescope(self) -> dict:
        """A results file of the Gradescope kind: no example, no expected number, unless they failed."""
        return {"score": self.points, "tests": [
            {"name": f"{o.check.task}: {o.check.name}", "score": o.check.points if o.ok else 0,
             "max_score": o.check.points, "status": "passed" if o.ok else "failed", "output": o.sentence}
            for o in self.outcomes]}


def submissions(folder: Path, course: Course, lesson: Lesson | None) -> list[tuple[str, Lesson, Path]]:
    """What there is to mark: <folder>/<student>/<lesson>.py for every lesson, or <folder>/<student>.py for one.

    Raises    DataMissing where there is nothing
    """
    if not folder.is_dir():
        raise DataMissing(f"{folder}: no such folder of submissions")
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            found += [(entry.name, one, entry / f"{one.folder}.py") for one in course.there
                      if lesson in (None, one) and (entry / f"{one.folder}.py").is_file()]
        elif entry.suffix == ".py" and lesson is not None:
            found.append((entry.stem, lesson, entry))
    if not found:
        raise DataMissing(f"{folder}: nothing to mark; it should hold STUDENT/{course.there[0].folder}.py and the "
                          "like, or STUDENT.py with --lesson N")
    return found


def grade(found: list[tuple[str, Lesson, Path]], seed: int) -> Iterator[Mark]:
    """Mark each submission.  Everything of ours is loaded before the first of them runs.

    Raises    UsageError for a negative seed
    """
    if seed < 0:
        raise UsageError(f"--seed {seed}: a seed is 0 or more")
    checks = {lesson.number: lesson.checks() for _, lesson, _ in found}
    _warm_up()
    conceal()
    for student, lesson, path in found:
        outcomes = []
        for task in lesson.tasks:
            wanted = [c for c in checks[lesson.number][task.name] if c.points]
            with Pupil(path, lesson.path, task.allowed, may_write=False) as yours:
                try:
                    yours.start()
                except (AnswerError, Gone) as error:
                    outcomes += [Outcome(c, FAIL, f"the file cannot be imported: {error}") for c in wanted]
                    continue
                outcomes += judge(wanted, yours, seed=seed, to_the_end=True, speed=False, seconds=CHECK_SECONDS)
        yield Mark(student, lesson, outcomes)


def _warm_up() -> None:
    from ..audit import gradients  # noqa: F401  (read from the disk before a submission could change it)


def conceal() -> None:
    """Keep this process's memory, environment and arguments from other processes of the same user.

    On Linux a process that is not dumpable cannot be traced and its /proc files are root's; the command
    line, which stays readable, is overwritten.  Elsewhere processes do not see these things of each other
    without privileges, or this does nothing: then mark in a container.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        # Fields 48 and 49 of stat: where the arguments begin and end.  The name may hold spaces.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        if 0 < start < end <= start + (1 << 20):
            ctypes.memset(start, 0, end - start)


def write_results(marks: list[Mark], folder: Path) -> list[Path]:
    """<student>-<lesson>.json for each mark, in Gradescope's format; written when all is marked."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for mark in marks:
        path = folder / f"{mark.student}-{mark.lesson.folder}.json"
        part = path.with_name(f".{path.name}.part")
        part.write_text(json.dumps(mark.gradescope(), indent=1), "utf-8")
        os.replace(part, path)
        written.append(path)
    return written
