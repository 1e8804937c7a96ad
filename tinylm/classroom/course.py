"""The lessons of a checkout: where they are, what the manifest says, and their parts."""
from __future__ import annotations

import ast
import importlib.util
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

from ..errors import DataMissing, TinylmError, UsageError

PARTS = "lesson.py", "exercise.py", "solution.py", "checks.py", "mutants.py", "hints.toml"
_FIELDS = {"number", "folder", "title", "minutes", "needs", "builds", "task"}


@dataclass(frozen=True)
class Task:
    """One exercise.

    number     "3.1"
    name       of the function to write
    allowed    modules of tinylm that the answer may import
    """

    number: str
    name: str
    title: str
    allowed: tuple[str, ...]


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    minutes    that reading and the exercises take a person
    needs      numbers of earlier lessons
    builds     what a learner has at the end, half a sentence
    exists     whether its folder is in this checkout
    """

    number: int
    path: Path
    title: str
    minutes: int
    needs: tuple[int, ...]
    builds: str
    tasks: tuple[Task, ...]

    @property
    def folder(self) -> str:
        return self.path.name

    @property
    def exists(self) -> bool:
        return self.path.is_dir()

    @property
    def exercise(self) -> Path:
        return self.path / "exercise.py"

    def task(self, name: str) -> Task:
        """By name or number.   Raises UsageError."""
        for task in self.tasks:
            if name in (task.name, task.number):
                return task
        raise UsageError(f"lesson {self.number} has no task {name!r} (there are: "
                         + ", ".join(f"{t.number} {t.name}" for t in self.tasks) + ")")

    def module(self, part: str) -> ModuleType:
        """Import "checks", "solution" or "mutants"; each can import its neighbours by name.

        Raises    TinylmError where the file is missing or does not import
        """
        path = self.path / f"{part}.py"
        name = f"lesson_{self.number:02}_{part}"
        if not path.is_file():
            raise TinylmError(f"{path} is missing")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        before = set(sys.modules)
        sys.path.insert(0, str(self.path))
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            spec.loader.exec_module(module)
        except (ImportError, SyntaxError, NameError) as error:
            raise TinylmError(f"{path} does not import: {error}") from error
        finally:
            sys.dont_write_bytecode = written
            sys.path.remove(str(self.path))
            # Two lessons have files of the same names: nobody else shall find this one's.
            for extra in set(sys.modules) - before:
                if Path(getattr(sys.modules[extra], "__file__", None) or ".").parent == self.path:
                    del sys.modules[extra]
        return module

    def checks(self) -> dict[str, list]:
        """The checks of each task, by its name.   Raises TinylmError for checks of no task."""
        from .checking import checks_of
        found: dict[str, list] = {t.name: [] for t in self.tasks}
        for check in checks_of(self.module("checks")):
            if check.task not in found:
                raise TinylmError(f"{self.path / 'checks.py'}: {check.name!r} checks {check.task!r}, which is no task")
            found[check.task].append(check)
        return found

    @cached_property
    def hints(self) -> Mapping[str, list[str]]:
        """The hints of each task, from question to formula."""
        return _toml(self.path / "hints.toml")

    def about_lines(self, task: str) -> int:
        """How many lines the solution of a task has, without signature and docstring."""
        function = function_in(self.path / "solution.py", task)
        if function is None:
            raise TinylmError(f"{self.path / 'solution.py'} has no function {task}")
        body = function.body[1:] if ast.get_docstring(function) is not None else function.body
        return function.end_lineno - body[0].lineno + 1


def function_in(path: Path, name: str) -> ast.FunctionDef | None:
    """The definition of a function in a file, or None; a file that is no Python has none."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None
    return next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name), None)


def source_of(path: Path, name: str) -> str:
    """The text of a function of the course, decorators included.   Raises TinylmError."""
    function = function_in(path, name)
    if function is None:
        raise TinylmError(f"{path} has no function {name}")
    first = min([function.lineno, *(d.lineno for d in function.decorator_list)])
    return "\n".join(path.read_text("utf-8").splitlines()[first - 1:function.end_lineno]) + "\n"


class Course:
    """All lessons of a checkout.

    root     the checkout; `lessons/` is in it, and `work/` will be
    work     the learner's folder
    """

    def __init__(self, root: Path, work: Path | None = None):
        """Raises    DataMissing without a manifest, TinylmError for one that is wrong"""
        self.root = root
        self.work = (work or root / "work").absolute()
        self.lessons = [_lesson(root / "lessons", entry) for entry in
                        _toml(root / "lessons" / "manifest.toml").get("lesson", [])]
        numbers = [lesson.number for lesson in self.lessons]
        if numbers != list(range(1, len(numbers) + 1)):
            raise TinylmError(f"{root / 'lessons' / 'manifest.toml'}: the lessons are numbered {numbers}")

    @property
    def there(self) -> list[Lesson]:
        """The lessons whose folder exists."""
        return [lesson for lesson in self.lessons if lesson.exists]

    def lesson(self, number: int) -> Lesson:
        """Raises    UsageError for a number that is not there"""
        for lesson in self.there:
            if lesson.number == number:
                return lesson
        raise UsageError(f"there is no lesson {number} (there are: "
                         + ", ".join(str(lesson.number) for lesson in self.there) + ")")

    def answer(self, lesson: Lesson) -> Path:
        """The learner's file for a lesson."""
        return self.work / f"{lesson.folder}.py"


def find(work: Path | None = None, start: Path | None = None) -> Course:
    """The course of the checkout we stand in, else of the one tinylm runs from.

    Raises    DataMissing where there is none
    """
    start = (start or Path.cwd()).absolute()
    for root in (start, *start.parents, Path(__file__).parents[2]):
        if (root / "lessons" / "manifest.toml").is_file():
            return Course(root, work)
    raise DataMissing("the lessons are not here: they are part of the repository, not of the installed package; "
                      "run this inside a clone of it")


def near(path: Path) -> str:
    """The path from here, where it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataMissing(f"{path} is missing") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TinylmError(f"{path}: {error}") from None


def _lesson(folder: Path, entry: Mapping) -> Lesson:
    try:
        if extra := set(entry) - _FIELDS:
            raise TinylmError(f"{folder / 'manifest.toml'}: unknown {', '.join(sorted(extra))}")
        number = entry["number"]
        tasks = tuple(Task(f"{number}.{i}", t["name"], t["title"], tuple(t.get("allowed", ())))
                      for i, t in enumerate(entry.get("task", ()), 1))
        return Lesson(number, folder / entry["folder"], entry["title"], entry["minutes"], tuple(entry["needs"]),
                      entry["builds"], tasks)
    except KeyError as error:
        raise TinylmError(f"{folder / 'manifest.toml'}: a lesson or task lacks {error}") from None
