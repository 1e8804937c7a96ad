"""The house rules, read from the source: imports go down, kernels mirror definitions, rooms stay quiet."""
from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinylm
from tinylm import kernels, ops

ROOT = Path(tinylm.__file__).parent
FLOORS = [{"config", "units", "threads", "errors", "interrupts", "presets"}, {"ops"}, {"kernels"}, {"layers"},
          {"models"}, {"text", "train", "generate", "audit"}, {"report"}, {"classroom"},
          {"cli"}]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
ENTRANCES = {"__init__", "__main__"}  # the package's version, and `python -m tinylm`

SOURCES = sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported_rooms(tree: ast.AST, path: Path) -> set[tuple[str, int]]:
    """Rooms of tinylm that a file imports, at the top or inside a function, with the line."""
    package = ["tinylm", *path.relative_to(ROOT).parts[:-1]]
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names = [".".join([*base, alias.name]) for alias in node.names]
        elif (isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module"):
            # ast.walk of the arguments: a name may stand in a conditional expression
            names = [c.value for arg in node.args for c in ast.walk(arg)
                     if isinstance(c, ast.Constant) and str(c.value).startswith("tinylm.")]
        for name in names:
            parts = name.split(".")
            if parts[0] == "tinylm" and len(parts) > 1 and parts[1] in FLOOR:
                found.add((parts[1], node.lineno))
    return found


def wrong_arrows(source: str, path: Path) -> list[str]:
    """Imports that go up, or sideways into another room; the modules of the ground floor are neighbours."""
    room = room_of(path)
    arrows = sorted(imported_rooms(ast.parse(source), path), key=lambda arrow: arrow[1])
    return [f"{path.relative_to(ROOT)}:{line}: {room} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})"
            for other, line in arrows
            if FLOOR[other] > FLOOR[room] or (other != room and FLOOR[other] == FLOOR[room] > 0)]


def test_every_room_has_a_floor():
    rooms = {room_of(p) for p in SOURCES} - ENTRANCES
    assert rooms <= set(FLOOR), f"rooms without a floor: {rooms - set(FLOOR)}"


@pytest.mark.parametrize("path", [p for p in SOURCES if room_of(p) not in ENTRANCES],
                         ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    assert not wrong_arrows(path.read_text("utf-8"), path)


@pytest.mark.parametrize(("where", "source"), [
    ("units.py", "from . import ops"),
    ("ops/linear.py", "from ..kernels import matmul"),
    ("ops/linear.py", "from tinylm.layers.base import Layer"),
    ("train/loop.py", "from ..text import batches"),
    ("train/loop.py", "def f():\n    from tinylm import generate"),
    ("audit/suite.py", "import tinylm.train.loop"),
    ("layers/base.py", "from .. import models"),
    ("models/gpt.py", "import importlib\nimportlib.import_module('tinylm.report')"),
])
def test_a_wrong_arrow_is_found(where, source):
    assert wrong_arrows(source, ROOT / where)


def test_a_right_arrow_is_not():
    assert not wrong_arrows("from ..ops import linear\nfrom .. import errors, kernels\nimport numpy",
                            ROOT / "train/loop.py")
    assert not wrong_arrows("from .errors import nearest", ROOT / "config.py")
    assert not wrong_arrows("from .base import Layer\nfrom . import basic", ROOT / "layers/transformer.py")


# ------------------------------------------------------------------------------------------ lints
def fastmath_true(source: str) -> list[int]:
    """Lines that compile with fastmath=True, under which isnan is always false."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.keyword)
            and node.arg == "fastmath" and isinstance(node.value, ast.Constant) and node.value.value is True]


def prints(source: str) -> list[int]:
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name) and node.func.id == "print"]


def rooms(*names):
    return [p for p in SOURCES if room_of(p) in names]


def test_no_kernel_is_blind_to_nan():
    assert not {str(p): lines for p in SOURCES if (lines := fastmath_true(p.read_text("utf-8")))}
    assert fastmath_true("@njit(parallel=True, fastmath=True)\ndef f(): pass") == [1]
    from tinylm.kernels import jit
    assert not {"nnan", "ninf", "fast"} & set(jit.FASTMATH)


def test_quiet_rooms_do_not_print():
    quiet = rooms("ops", "kernels", "layers", "models", "train", "text", "generate", "audit")
    assert not {str(p): lines for p in quiet if (lines := prints(p.read_text("utf-8")))}
    assert prints("def f():\n    print(1)") == [2]


def test_nothing_pickles():
    """A checkpoint from a stranger must not be able to run code."""
    def imports(tree):
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                yield from (getattr(node, "module", None), *(a.name for a in node.names))

    guilty = {"pickle", "dill", "joblib", "shelve"}
    assert not [p for p in SOURCES if guilty & set(imports(ast.parse(p.read_text("utf-8"))))]


def public_functions(module) -> list[str]:
    return [n for n, f in vars(module).items()
            if inspect.isfunction(f) and f.__module__ == module.__name__ and not n.startswith("_")]


def test_every_public_definition_says_what_it_is():
    lacking = []
    for info in pkgutil.iter_modules(ops.__path__):
        module = importlib.import_module(f"tinylm.ops.{info.name}")
        assert module.__doc__, info.name
        lacking += [f"{info.name}.{n}" for n in public_functions(module) if not getattr(module, n).__doc__]
    assert not lacking


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_kernels_and_definitions_are_twins():
    assert set(kernels.__all__) == set(ops.__all__)
    for name in ops.__all__:
        assert parameters(getattr(kernels, name)) == parameters(getattr(ops, name)), name


def test_no_twin_is_hidden_in_a_module():
    """Everything called forward or backward, exported or not, exists on both sides."""
    found = {}
    for package in (ops, kernels):
        found[package] = {n for info in pkgutil.iter_modules(package.__path__)
                          for n in public_functions(importlib.import_module(f"{package.__name__}.{info.name}"))
                          if n.endswith(("_forward", "_backward"))}
    assert found[ops] == found[kernels] <= set(ops.__all__)
    for name in found[ops]:
        operation, way = name.rsplit("_", 1)
        other = f"{operation}_{'backward' if way == 'forward' else 'forward'}"
        assert other in found[ops], f"{name} has no {other}"


# What takes longest to import.
HEAVY = ["numpy", "numba", "rich", "matplotlib", "tokenizers", "http.client"]


@pytest.mark.parametrize(("command", "needed"), [
    ("--help", set()), ("train --help", set()), ("generate --help", set()), ("runs list", set()),
    ("data list", {"numpy", "rich"}), ("train --data text --steps 1 --context 8 --batch-size 1 --sample-every 0",
                                       {"numpy", "numba", "matplotlib", "tokenizers"})])
def test_a_command_imports_nothing_heavy_that_it_does_not_need(command, needed, tmp_path):
    (tmp_path / "text").write_text("abcd " * 100)
    code = ("import sys; from tinylm.cli.main import main; code = main(); "
            f"sys.stderr.write(' '.join(['loaded', *(m for m in {HEAVY} if m in sys.modules)])); sys.exit(code)")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TINYLM_")}
    environment |= {"PYTHONPATH": str(ROOT.parent), "TINYLM_CACHE_DIR": str(tmp_path), "TINYLM_BACKEND": "numpy"}
    done = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True, cwd=tmp_path,
                          env=environment)
    assert done.returncode == 0, done.stderr
    assert set(done.stderr.rpartition("loaded")[2].split()) == needed
