"""What a learner has done, in one file: `work/progress.json`.  Counts are counted and times are timed."""
from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataMissing, TinylmError
from .course import Course, Lesson

NAME = "progress.json"


@dataclass
class Record:
    """One task.

    attempts    checks run on a written answer
    hints       how many were shown
    passed      when it first passed, seconds since 1970
    gave_up     when the solution was asked for before that
    started     when the learner's file was made
    """

    attempts: int = 0
    hints: int = 0
    passed: float | None = None
    gave_up: float | None = None
    started: float | None = None


class Progress:
    """The file, read once and written after each change."""

    def __init__(self, work: Path):
        """Raises    TinylmError for a file that is not ours"""
        self.path = work / NAME
        self._tasks: dict[str, Record] = {}
        try:
            content = json.loads(self.path.read_text("utf-8"))
            self._tasks = {name: Record(**record) for name, record in content["tasks"].items()}
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TinylmError(f"{self.path} cannot be read ({error}): move it away to start counting anew") from None

    def record(self, lesson: Lesson, task: str) -> Record:
        """The record of a task; change it, then `save`."""
        return self._tasks.setdefault(f"{lesson.folder}/{task}", Record())

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{NAME}.part")
        part.write_text(json.dumps({"tasks": {n: vars(r) for n, r in self._tasks.items()}}, indent=1), "utf-8")
        os.replace(part, self.path)


def begin(course: Course, lesson: Lesson) -> tuple[Path, bool]:
    """The learner's file, made from the exercise if there is none yet: (path, whether it was made)."""
    path = course.answer(lesson)
    if path.exists():
        return path, False
    if not lesson.exercise.is_file():
        raise DataMissing(f"{lesson.exercise} is missing")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(lesson.exercise, path)
    progress = Progress(course.work)
    for task in lesson.tasks:
        record = progress.record(lesson, task.name)
        record.started = record.started or time.time()
    progress.save()
    return path, True


def reset(course: Course, lesson: Lesson) -> Path | None:
    """Move the learner's file to `work/attic/` and make a new one; returns where the old one went."""
    path, kept = course.answer(lesson), None
    if path.exists():
        attic = course.work / "attic"
        attic.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        kept = attic / f"{path.stem}-{stamp}.py"
        number = 1
        while kept.exists():
            number += 1
            kept = attic / f"{path.stem}-{stamp}-{number}.py"
        os.replace(path, kept)
    begin(course, lesson)
    return kept
