"""The classroom's machinery, on a course of one task: what a learner and a marker can rely on."""
from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import course_toy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tinylm
from tinylm.classroom import checking, course, grade, judge, pupil, show, verify, worker
from tinylm.classroom.pupil import AnswerError, Direct, Gone, NotWritten, Pupil
from tinylm.cli.main import main
from tinylm.errors import DataMissing, TinylmError, UsageError


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy course, in the folder we stand in."""
    course_toy.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    return course.Course(tmp_path)


def answer(toy, text: str) -> Path:
    path = toy.answer(toy.lesson(1))
    path.parent.mkdir(exist_ok=True)
    path.write_text("import numpy as np\n" + text, "utf-8")
    return path


def checked(toy, text: str, **options):
    """The outcomes of the toy's checks for a learner's file."""
    lesson = toy.lesson(1)
    with Pupil(answer(toy, text), lesson.path) as yours:
        return list(judge.judge(lesson.checks()["double"], yours, **options))


def run(capsys, *args) -> tuple[int, str, str]:
    code = main(["lesson", *args])
    out, err = capsys.readouterr()
    return code, out, err


RIGHT = "def double(x):\n    return 2 * x\n"


# ------------------------------------------------------------------------------------------ the pipe
PLAIN = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
                     lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner))


@given(PLAIN)
def test_plain_values_cross_unchanged(value):
    head, buffers = worker.pack(value)
    back = worker.unpack(json.loads(json.dumps(head)), buffers)
    assert repr(back) == repr(value)  # also NaN, and tuples that are no lists


@given(arrays(st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.bool_, np.uint16]),
              array_shapes(min_dims=0, min_side=0), elements=st.integers(0, 1)))
def test_arrays_cross_unchanged_and_read_only(array):
    back = worker.unpack(*worker.pack(array))
    assert back.dtype == array.dtype and back.shape == array.shape and (back == array).all()
    assert not back.flags.writeable
    assert worker.unpack(*worker.pack(array.T), writable=True).flags.writeable


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array(["a"]), np.array([None]), 1j, lambda: 0],
                         ids=["object", "set", "text array", "object array", "complex", "function"])
def test_what_could_carry_code_does_not_cross(value):
    with pytest.raises(worker.Unsendable):
        worker.pack(value)


@pytest.mark.parametrize("head", [{"a": ["|O", [1], False]}, {"x": 1}, {"c": 0}])
def test_a_forged_description_is_refused(head):
    with pytest.raises((ValueError, TypeError)):
        worker.unpack(head, [b"12345678"])


# --------------------------------------------------------------------------- a learner's file, running
def test_a_right_answer_is_right(toy):
    assert [o.status for o in checked(toy, RIGHT)] == ["ok"] * 3


def test_functions_of_the_checker_can_be_handed_over(toy):
    path = answer(toy, "def apply(f, x):\n    return f(x)[1] + f(x + 1)[0]\n")
    with Pupil(path, path.parent) as yours:
        assert yours.apply(lambda x: (x * 2, x * 3), np.float64(5.0)) == 27.0
        with pytest.raises(AnswerError, match="handed to apply"):
            yours.apply(lambda x: x["no"], np.float64(5.0))
        assert yours.apply(lambda x: (x, x), 1) == 3  # and it goes on


def test_arrays_that_are_filled_come_back(toy):
    path = answer(toy, "def fill(out, x):\n    out[...] = x + 1\n    return 7\n")
    with Pupil(path, path.parent) as yours:
        result, (out, x) = yours.fills("fill", np.zeros(2), np.ones(2))
        assert result == 7 and (out == 2).all() and (x == 1).all()
        with pytest.raises(AnswerError, match="read-only"):
            yours.fill(np.zeros(2), np.ones(2))


def test_a_hang_is_ended_and_the_next_call_works(toy):
    path = answer(toy, "def f(x):\n    while x:\n        pass\n    return 5\n")
    with Pupil(path, path.parent) as yours:
        yours.start()
        yours.until = time.monotonic() + 0.5
        with pytest.raises(Gone, match="still running"):
            yours.f(1)
        yours.until = math.inf
        assert yours.f(0) == 5


def test_a_process_that_answers_before_it_is_asked_cannot_block_us(toy):
    """It forges answers and never reads again: what we send it fills the pipe."""
    path = answer(toy, "import os, struct, time\n"
                       "def f(x):\n"
                       "    text = b'[{\"value\": {\"t\": [1, null]}, \"seconds\": 0}, []]'\n"
                       "    for fd in range(3, 9):\n"
                       "        try:\n"
                       "            os.write(fd, (struct.pack('<QQ', len(text), 0) + text) * 5)\n"
                       "        except OSError:\n"
                       "            pass\n"
                       "    time.sleep(1000)\n")
    with Pupil(path, path.parent) as yours:
        yours.until = time.monotonic() + 2
        started = time.monotonic()
        with pytest.raises(Gone):
            for _ in range(9):
                assert yours.f(np.zeros(1 << 18)) == 1
        assert time.monotonic() - started < 10


@pytest.mark.parametrize(("body", "why"), [
    ("import os; os._exit(0)", "exit code 0"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    ("import os; [os.close(n) for n in range(3, 20)]", "process ended|closed its answers"),
])
def test_a_process_that_ends_is_reported(toy, body, why):
    path = answer(toy, f"def f():\n    {body}\n")
    with Pupil(path, path.parent) as yours:
        yours.until = time.monotonic() + 20
        with pytest.raises(Gone, match=why):
            yours.f()


@pytest.mark.parametrize("body", ["import sys; sys.exit(0)", "raise KeyboardInterrupt", "raise SystemError('x')",
                                  "return f() + 1", "return object()", "return {1}"])
def test_errors_of_the_answer_have_a_line(toy, body):
    path = answer(toy, f"def f():\n    {body}\n")
    with Pupil(path, path.parent) as yours, pytest.raises(AnswerError) as caught:
        yours.f()
    assert caught.value.line == 3 or "returned" in str(caught.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS")
def test_memory_is_limited(toy):
    path = answer(toy, "def f():\n    return float(np.ones(1 << 33, np.uint8).sum())\n")
    with Pupil(path, path.parent, memory=2 << 30) as yours, pytest.raises((AnswerError, Gone), match="emory"):
        yours.f()


@pytest.mark.parametrize("module", ["tinylm", "tinylm.ops", "solution", "checks"])
def test_ready_made_answers_cannot_be_imported(toy, module):
    path = answer(toy, f"def f():\n    import {module}\n")
    with Pupil(path, toy.lesson(1).path) as yours, pytest.raises(AnswerError, match=module.split(".")[0]):
        yours.f()


def test_what_a_task_allows_can_be_imported(toy):
    path = answer(toy, "from tinylm import ops\n\ndef f(x):\n    return ops.relu_forward(x)[0]\n\n"
                       "def g():\n    import tinylm.layers\n")
    with Pupil(path, path.parent, ["tinylm.ops"]) as yours:
        assert yours.f(np.array([-1.0, 2.0])).tolist() == [0.0, 2.0]
        with pytest.raises(AnswerError, match="without tinylm.layers"):
            yours.g()


def test_a_file_that_does_not_import_names_the_line(toy, capsys):
    path = answer(toy, "x = (\n")
    code, out, _ = run(capsys, "check", "1")
    assert code == 3 and "cannot be imported" in out and "SyntaxError" in out and "line 2" in out
    assert path.exists()


# ----------------------------------------------------------------------------------------- judging
def test_the_stub_is_told_apart_from_a_broken_installation(toy, capsys):
    code, out, err = run(capsys, "check", "1")
    assert code == 3
    assert "not written yet, so this check fails, as it should" in out and "not a broken installation" in out
    assert "line 5" in out and "about 1 line" in out and "make hint-1" in out
    assert "Traceback" not in out + err and "your file" in err


def test_the_failing_example_is_the_smallest(toy):
    outcome = checked(toy, "def double(x):\n    return 2 * x if len(x) < 7 else x\n")[1]
    assert outcome.status == judge.FAIL and outcome.example["n"] == 7
    (row,) = outcome.rows
    assert row.index is not None and row.expected == 2 * row.yours and row.wrong == row.size == 7


def test_what_follows_a_failure_is_not_run(toy):
    assert [o.status for o in checked(toy, "def double(x):\n    return 3 * x\n")] == ["ok", "fail", "not run"]
    to_the_end = checked(toy, "def double(x):\n    return 3 * x\n", to_the_end=True)
    assert [o.status for o in to_the_end] == ["ok", "fail", "fail"]


def test_a_report_shows_numbers_place_and_no_answer(toy, capsys):
    answer(toy, "def double(x):\n    print('here', len(x))\n    return 3 * x\n")
    code, out, _ = run(capsys, "check", "1")
    assert code == 3
    for part in ("FAIL", "yours", "expected", "worst index", "n = 1", "seed 0", "call  double([",
                 "look at         the factor", "should hold     out[i] = 2 x[i]", "not run         gradient",
                 "it printed      here 1", "1 of 1"):
        assert part in out, part
    assert "2 * x" not in out and "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(("body", "says"), [
    ("return None", "nothing was returned"), ("return list(x)", "list"), ("return 2 * x[:2]", "shape (2,)"),
    ("return 2 * x.astype(int)", "int64"), ("x *= 2\n    return x", "belong to the caller"),
    ("return unknown", "NameError"), ("return 2 * x + np.nan", "differ"), ("return 1 / 0", "ZeroDivisionError"),
])
def test_plain_words_for_common_slips(toy, capsys, body, says):
    answer(toy, f"def double(x):\n    {body}\n")
    code, out, _ = run(capsys, "check", "1")
    assert code == 3 and says in " ".join(out.split()) and "Traceback" not in out


def test_an_answer_that_changes_its_mind(toy):
    outcome = checked(toy, "calls = []\ndef double(x):\n    calls.append(1)\n"
                           "    return 2 * x if len(calls) % 7 else x\n")
    assert "fail" in [o.status for o in outcome]


def test_a_gradient_check_rejects_planted_errors():
    rng = np.random.default_rng(0)

    def attempt(backward):
        checking.gradient(lambda a, b: a * b, backward, {"a": rng.standard_normal(4), "b": rng.standard_normal(4)}, rng)

    attempt(lambda dout, a, b: (dout * b, dout * a))
    for wrong in (lambda dout, a, b: (dout * a, dout * b), lambda dout, a, b: (b, a), lambda dout, a, b: (0 * a, 0 * b),
                  lambda dout, a, b: (dout * b,), lambda dout, a, b: (dout * b, None),
                  lambda dout, a, b: (dout * b, float("nan") * a), lambda dout, a, b: (dout * b, (dout * a)[:2])):
        with pytest.raises(checking.Wrong):
            attempt(wrong)


@pytest.mark.parametrize(("yours", "expected", "options", "ok"), [
    (np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-10]), {}, True),
    (np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-7]), {}, False),
    (np.array([1.0, np.nan]), np.array([1.0, np.nan]), {}, False),
    (np.array([np.inf]), np.array([np.inf]), {}, True),
    (np.array([1e9]), np.array([0.0]), {}, False),
    (np.array([1e-12]), np.array([0.0]), {}, False),
    (np.array([1e-12]), np.array([0.0]), {"scale": {"x": 1.0}}, True),
    (np.array([1e30, 5.0]), np.array([5.0, 5.0]), {}, False),
    (np.array([1, 2]), np.array([1, 3]), {}, False),
    (np.float32([1 + 1e-6]), np.array([1.0]), {}, True),
    ([1, 2], [1, 2], {}, True), ((1, 2), [1, 2], {}, True), ([1], [1, 2], {}, False), ("a", "b", {}, False),
    (3, 3, {}, True), (True, 1.0, {}, True), ("3", 3, {}, False), (None, 3, {}, False),
    ("x", np.ones(1), {}, False),
    ([[1], [1, 2]], np.ones(2), {}, False), (np.zeros((0, 3)), np.zeros((0, 3)), {}, True),
    (np.zeros((3, 0)), np.zeros((0, 3)), {}, False), (np.array([1.0 + 1e-15]), np.array([1.0]), {"exact": True},
                                                                           False),
])
def test_same(yours, expected, options, ok):
    if ok:
        checking.same(x=(yours, expected), **options)
    else:
        with pytest.raises(checking.Wrong) as caught:
            checking.same(x=(yours, expected), **options)
        assert not caught.value.rows[0].ok


def test_a_check_must_say_what_it_checks():
    for declare in (lambda: checking.check("t", "shapes")(lambda yours: None),
                    lambda: checking.check("t", "shape"),
                    lambda: checking.check("t", "shapes", n=checking.whole(0, 1))):
        with pytest.raises(ValueError):
            @declare()
            def stage(yours):
                """sentence"""


# ------------------------------------------------------------------------------------------ marking
def submissions(tmp_path, **answers) -> Path:
    for student, text in answers.items():
        folder = tmp_path / "handed_in" / student
        folder.mkdir(parents=True)
        (folder / "01_double.py").write_text("import numpy as np\n" + text, "utf-8")
    return tmp_path / "handed_in"


def marks(folder, toy, seed) -> dict[str, tuple[int, int]]:
    found = grade.grade(grade.submissions(folder, toy, None), seed)
    return {m.student: (m.points, m.most) for m in found}


@pytest.fixture
def open_process(monkeypatch):
    """These tests' own process keeps its memory and arguments readable."""
    monkeypatch.setattr(grade, "conceal", lambda: None)


def test_points_per_property_and_the_same_seed_gives_the_same_marks(toy, tmp_path, open_process, monkeypatch):
    monkeypatch.setattr(grade, "CHECK_SECONDS", 2.0)
    folder = submissions(tmp_path, right=RIGHT, thrice=RIGHT.replace("2", "3"), stub=course_toy.EXERCISE,
                         hangs="def double(x):\n    while len(x) > 3:\n        pass\n    return 2 * x\n",
                         broken="import nothing_like_this\n", dies="import os\nos._exit(3)\n")
    first = marks(folder, toy, 12345)
    assert first == {"right": (5, 5), "thrice": (1, 5), "stub": (0, 5), "broken": (0, 5), "dies": (0, 5),
                     "hangs": (first["hangs"][0], 5)}
    assert first["hangs"][0] in (1, 2)  # the shapes, and the gradient if it drew nothing longer than 3
    assert marks(folder, toy, 12345) == first


def test_answers_learned_by_heart_fail_on_a_private_seed(toy, tmp_path, open_process):
    known = []

    def remember(x):
        known.append([x.tolist(), (2 * x).tolist()])
        return 2 * x

    lesson = toy.lesson(1)
    assert all(o.ok for o in judge.judge(lesson.checks()["double"], Direct({"double": remember}), seed=0))
    learned = f"KNOWN = {known!r}\ndef double(x):\n    return np.array(next(b for a, b in KNOWN if a == x.tolist()))\n"
    assert [o.status for o in checked(toy, learned)] == ["ok"] * 3  # on the public seed it is perfect
    assert marks(submissions(tmp_path, heart=learned), toy, 987)["heart"][0] <= 1


CHEATS = {
    "comparison": "import numpy\nnumpy.allclose = numpy.array_equal = lambda *a, **k: True\n"
                  "import builtins\nbuiltins.abs = lambda x: 0\ndef double(x):\n    return 3 * x\n",
    "equal": "class All(np.ndarray):\n    def __eq__(self, other):\n        return True\n"
                    "def double(x):\n    return (3 * x).view(All)\n",
    "checker": "import sys, gc\nfor m in list(sys.modules.values()):\n    for n in ('same', 'claim', 'judge', 'run'):\n"
               "        if hasattr(m, n):\n            setattr(m, n, lambda *a, **k: None)\n"
               "def double(x):\n    return 3 * x\n",
    "frames": "import os\ndef double(x):\n    for fd in range(1, 12):\n        try:\n"
              "            os.write(fd, b'x' * 64)\n        except OSError:\n            pass\n    return 3 * x\n",
    "seed": "import os, sys\nFOUND = [v for v in list(os.environ.values()) + sys.argv if '4242424242' in v]\n"
            "def double(x):\n    return 2 * x if FOUND else 3 * x\n",
    "files": "import glob, os\n"
             "for p in glob.glob(os.path.dirname(__file__) + '/../../lessons/*/checks.py'):\n"
             "    try:\n        f = open(p, 'r+'); f.write('import sys'); f.close()\n"
             "    except OSError:\n        pass\n"
             "def double(x):\n    return 3 * x\n",
}


@pytest.mark.parametrize("how", CHEATS)
def test_a_submission_cannot_reach_the_comparison(toy, tmp_path, open_process, how, monkeypatch):
    monkeypatch.setattr(grade, "CHECK_SECONDS", 5.0)
    checks = (tmp_path / "lessons" / "01_double" / "checks.py")
    before = checks.read_text("utf-8")
    found = marks(submissions(tmp_path, cheat=CHEATS[how], honest=RIGHT), toy, 4242424242)
    assert found["cheat"][0] <= 1 and found["honest"] == (5, 5)
    if sys.platform.startswith("linux"):
        assert checks.read_text("utf-8") == before


def test_marking_through_the_command_line(toy, tmp_path, capsys, open_process):
    folder = submissions(tmp_path, ann=RIGHT, bob=RIGHT.replace("2", "3"))
    code, out, err = run(capsys, "grade", str(folder), "--seed", "7", "--json", "--results", "marked")
    found = json.loads(out)["submissions"]
    assert code == 0 and [(f["student"], f["points"], f["of"]) for f in found] == [("ann", 5, 5), ("bob", 1, 5)]
    assert "ann: lesson 1, 5 of 5" in err
    results = json.loads((tmp_path / "marked" / "bob-01_double.json").read_text("utf-8"))
    assert results["score"] == 1 and [t["max_score"] for t in results["tests"]] == [1, 3, 1]
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "eve.py").write_text(RIGHT)
    assert run(capsys, "grade", "flat", "--lesson", "1", "--seed", "7")[0] == 0
    assert run(capsys, "grade", "flat", "--seed", "7")[0] == 4
    assert run(capsys, "grade", "nowhere", "--seed", "7")[0] == 4
    assert run(capsys, "grade", str(folder), "--seed", "seven")[0] == 2
    assert run(capsys, "grade", str(folder), "--seed", "-3")[0] == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_the_seed_is_not_to_be_read_from_the_marking_process(toy, tmp_path):
    """The submission reads its parent's command line and memory map, and tells through the points what it found."""
    spy = ("import os\nBASE = f'/proc/{os.getppid()}/'\n"
           "def double(x):\n    return 2 * x if b'4242424242' in open(BASE + 'cmdline', 'rb').read() else 3 * x\n")
    folder = submissions(tmp_path, spy=spy)
    done = subprocess.run([sys.executable, "-m", "tinylm", "lesson", "grade", str(folder), "--seed", "4242424242",
                           "--json"], capture_output=True, text=True, cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(Path(tinylm.__file__).parents[1])})
    assert json.loads(done.stdout)["submissions"][0]["points"] == 1, done.stderr


# ---------------------------------------------------------------------------------- a learner's commands
def test_a_file_is_never_overwritten_and_reset_keeps_it(toy, capsys, tmp_path):
    run(capsys, "check", "1")
    path = toy.answer(toy.lesson(1))
    assert path.read_text("utf-8") == course_toy.EXERCISE
    path.write_text("# mine\n" + RIGHT)
    assert run(capsys, "check", "1")[0] == 0 and path.read_text().startswith("# mine")
    for _ in range(2):
        code, out, _ = run(capsys, "reset", "1")
        assert code == 0 and "attic" in out
    kept = sorted((tmp_path / "work" / "attic").iterdir())
    assert len(kept) == 2 and any(p.read_text().startswith("# mine") for p in kept)
    assert path.read_text("utf-8") == course_toy.EXERCISE


def test_hints_come_one_at_a_time_and_are_counted(toy, capsys):
    said = [run(capsys, "hint", "1")[1] for _ in range(4)]
    for text, hint in zip(said, ["how much is it?", "look at the 2", "2 x", "2 x"]):
        assert hint in text
    tasks = json.loads(run(capsys, "status", "--json")[1])["tasks"]
    assert tasks[0]["hints"] == 3 and tasks[0]["attempts"] == 0


def test_the_solution_opens_after_passing_or_giving_up(toy, capsys):
    code, out, err = run(capsys, "solution", "1")
    assert code == 3 and "return 2" not in out and "--give-up" in err
    code, out, _ = run(capsys, "solution", "1", "--give-up")
    assert code == 0 and "return 2 * x" in out
    record = json.loads(run(capsys, "status", "--json")[1])["tasks"][0]
    assert record["gave_up"] and record["passed"] is None
    assert "solution seen" in run(capsys, "status")[1]
    answer(toy, RIGHT)
    assert run(capsys, "check", "1")[0] == 0
    assert "after giving up" in run(capsys, "status")[1]


def test_counts_are_counted(toy, capsys):
    run(capsys, "check", "1")
    assert json.loads(run(capsys, "status", "--json")[1])["tasks"][0]["attempts"] == 0  # a stub is no attempt
    answer(toy, RIGHT.replace("2", "3"))
    run(capsys, "check", "1")
    answer(toy, RIGHT)
    before = time.time()
    code, _, err = run(capsys, "check", "1")
    record = json.loads(run(capsys, "status", "--json")[1])["tasks"][0]
    assert code == 0 and "3 checks" in err
    assert record["attempts"] == 2 and before <= record["passed"] <= time.time()
    assert run(capsys, "solution", "1")[0] == 0


def test_check_as_json(toy, capsys):
    answer(toy, RIGHT.replace("2", "3"))
    code, out, _ = run(capsys, "check", "1", "--json")
    found = json.loads(out)
    assert code == 3 and found["ok"] is False
    assert [c["status"] for c in found["checks"]] == ["ok", "fail", "not run"]
    assert found["checks"][1]["arrays"][0]["wrong"] == 1 and found["checks"][1]["example"]["n"] == 1


def test_bad_requests_are_one_line(toy, capsys, tmp_path, monkeypatch):
    assert run(capsys, "run", "7")[0] == 2
    assert run(capsys, "check", "2")[0] == 2          # planned, not there
    assert run(capsys, "check", "1", "--task", "x")[0] == 2
    answer(toy, RIGHT)
    (tmp_path / "work" / "progress.json").write_text("{")
    code, _, err = run(capsys, "check", "1")
    assert code == 1 and "progress.json" in err and "Traceback" not in err


def test_outside_of_a_checkout_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "__file__", str(tmp_path / "a" / "b" / "c" / "course.py"))
    with pytest.raises(DataMissing, match="inside a clone"):
        course.find(start=tmp_path)
    course_toy.make(tmp_path)
    (tmp_path / "x" / "y").mkdir(parents=True)
    assert course.find(start=tmp_path / "x" / "y").root == tmp_path


def test_watch_checks_again_when_the_file_is_saved(toy, tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "tinylm", "lesson", "watch", "1"], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env=os.environ | {"PYTHONPATH": str(Path(tinylm.__file__).parents[1])})
    try:
        until = time.monotonic() + 60
        path = toy.answer(toy.lesson(1))
        while not (tmp_path / "work" / "progress.json").exists() and time.monotonic() < until:
            time.sleep(0.05)
        while "waiting" not in process.stdout.readline():
            assert time.monotonic() < until
        answer(toy, RIGHT)
        assert process.wait(60) == 0 and path.exists()
        assert "1 task right" in process.stdout.read()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


# ------------------------------------------------------------------------------------- walkthroughs
def test_a_walk_prints_text_code_output_and_names_its_figures(toy, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(capsys, "run", "1", "--no-pause")
    assert code == 0
    for part in ("Doubling", "Text with weight and code.", "show.lines(", "printed 1", "line.png", "2 x against x"):
        assert part in out, part
    assert out.rstrip().endswith("2") and "\x1b" not in out and "1 figures" in err
    assert (tmp_path / "work" / "figures" / "01_double" / "line.png").read_bytes()[:4] == b"\x89PNG"
    assert max(map(len, out.splitlines())) <= 80


def test_a_walk_can_be_longer_or_shorter(toy, capsys, monkeypatch):
    monkeypatch.setenv("TINYLM_LESSON_SIZE", "brief")
    assert "printed 2" in run(capsys, "run", "1")[1]
    assert "printed 3" in run(capsys, "run", "1", "--full")[1]


@pytest.mark.parametrize(("line", "code", "says"), [
    ("assert 1 == 2, 'one is not two'", 3,
     "01_double/lesson.py:14: a claim of this lesson does not hold: one is not two"),
    ("1 / 0", 1, "01_double/lesson.py:14: ZeroDivisionError"),
])
def test_a_claim_that_fails_fails_the_run(tmp_path, monkeypatch, capsys, line, code, says):
    course_toy.make(tmp_path, lesson="# %% [markdown]\n# # Title\n\n# %%\ndef f():\n    pass\n\n\n# %% [markdown]\n"
                                     f"# text\n\n# %%\nf()\n{line}\n")
    monkeypatch.chdir(tmp_path)
    found, _, err = run(capsys, "run", "1")
    assert found == code and says in err


def test_notebook_and_page(toy, capsys, tmp_path):
    code, out, _ = run(capsys, "notebook", "1")
    plain = json.loads(Path(out.strip()).read_text("utf-8"))
    assert code == 0 and [c["cell_type"] for c in plain["cells"]] == ["markdown", "code", "markdown", "code"]
    assert not plain["cells"][1]["outputs"]
    run(capsys, "notebook", "1", "--run", "--out", "with.ipynb")
    outputs = json.loads((tmp_path / "with.ipynb").read_text("utf-8"))["cells"][1]["outputs"]
    assert [o["output_type"] for o in outputs] == ["stream", "display_data"] and "image/png" in outputs[1]["data"]
    run(capsys, "html", "1", "--out", "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<h1>1. Doubling</h1>" in page and "data:image/png;base64" in page and "printed 1" in page
    assert not re.search(r"https?://", page)


def test_tables_and_heat_maps_in_a_narrow_terminal(capsys, monkeypatch):
    from rich.console import Console
    show.use(show.Place(Console(width=30, no_color=True, highlight=False)))
    try:
        show.table(["name", "value", "[b]"], [["a", 1234567, True], ["b", 2, False]])
        show.heatmap("map", np.eye(30), unit="probability", rows="abcdefghijklmnopqrstuvwxyz1234", columns=None)
        show.bars("bars", {"one": 1.0, "zero": 0.0}, unit="things")
    finally:
        show.use(None)
    out = capsys.readouterr().out
    assert "1,234,567" in out and "[b]" in out and "yes" in out and "… 16 more in" in out
    assert max(map(len, out.splitlines())) <= 30


# ------------------------------------------------------------------------ the course's tests, tested
def findings(tmp_path, **parts) -> dict[str, verify.Finding]:
    course_toy.make(tmp_path, **parts)
    return {f.what: f for f in verify.lesson(course.Course(tmp_path).lesson(1))}


def bad(found) -> list[str]:
    return [f.what for f in found.values() if not f.ok]


def test_a_good_lesson_verifies(tmp_path):
    found = findings(tmp_path)
    assert not bad(found) and found["1.1 mutant: thrice"].detail == "caught at definition"
    assert not [f for f in verify.walkthrough(course.Course(tmp_path).lesson(1)) if not f.ok]


@pytest.mark.parametrize(("parts", "complains"), [
    ({"exercise": course_toy.EXERCISE.replace('raise NotImplementedError("TODO: exercise 1.1")', "return 2 * x")},
     "the exercise fails as shipped"),
    ({"exercise": course_toy.EXERCISE.replace("raise NotImplementedError", "raise ValueError")}, "as not written"),
    ({"exercise": course_toy.EXERCISE.replace("(x)", "(y)")}, "same arguments"),
    ({"solution": course_toy.SOLUTION.replace("2 *", "2.1 *")}, "solution passes"),
    ({"mutants": course_toy.MUTANTS.replace("lambda x: np.zeros(len(x))", "lambda x: 2 * x")}, "mutant: zeros"),
    ({"mutants": course_toy.MUTANTS.replace('at="definition"', 'at="gradient"')}, "mutant: thrice"),
    ({"mutants": course_toy.MUTANTS.replace('"3 *"', '"4 *"').replace('"2 *"', '"5 *"')}, "mutant: thrice"),
    ({"mutants": course_toy.MUTANTS.replace("lambda x: x + x", "lambda x: x + x + 1")}, "alternative passes"),
    ({"mutants": re.sub(r"\n.*a number.*", "", course_toy.MUTANTS)}, "each check is failed by a mutant"),
    ({"mutants": re.sub(r"\n.*a number.*", "", course_toy.MUTANTS)}, "has 5 mutants"),
    ({"hints": 'double = ["no", "question", "here"]\n'}, "asks"),
    ({"hints": 'double = ["one?", "two"]\n'}, "3 hints"),
    ({"checks": course_toy.CHECKS.replace("import numpy as np", "import numpy as np\nif 0:\n    import lessons")},
     "nothing is imported"),
    ({"lesson": course_toy.LESSON.replace("fool you", "amuse you")}, "what would fool you here"),
    ({"lesson": course_toy.LESSON.replace("1 + 1", "1 + " + "1" * 80)}, "at most 76 characters"),
])
def test_verification_finds(tmp_path, parts, complains):
    assert [what for what in bad(findings(tmp_path, **parts)) if complains in what]


@pytest.mark.parametrize(("line", "complains"), [
    ('show.lines("line"', "every figure it names"), ("assert 2 * 2 == 4", "the walkthrough runs"),
    ('print("printed"', "fits 80 columns"),
])
def test_a_bad_walkthrough_is_found(tmp_path, line, complains):
    worse = {'show.lines("line"': 'if show is None: show.bars("other", {}, unit="")\nshow.lines("line"',
             "assert 2 * 2 == 4": "assert 2 * 2 == 5", 'print("printed"': 'print("printed" * 20'}[line]
    course_toy.make(tmp_path, lesson=course_toy.LESSON.replace(line, worse))
    found = [f.what for f in verify.walkthrough(course.Course(tmp_path).lesson(1)) if not f.ok]
    assert [what for what in found if complains in what]


def test_a_wrong_manifest_is_one_line(tmp_path):
    for text, says in [(course_toy.MANIFEST.replace("minutes = 5\n", "", 1), "minutes"), ("[[lesson", "manifest.toml"),
                       (course_toy.MANIFEST.replace("number = 2", "number = 3"), "numbered"),
                       (course_toy.MANIFEST.replace("builds", "makes", 1), "unknown makes")]:
        root = tmp_path / str(abs(hash(text)))
        course_toy.make(root, manifest=text)
        with pytest.raises(TinylmError, match=says):
            course.Course(root)
    with pytest.raises(UsageError, match="no lesson 9"):
        course.Course(course_toy.make(tmp_path / "good")).lesson(9)


def test_a_stub_is_not_written_and_a_missing_function_neither(toy):
    path = answer(toy, "def double(x):\n    raise NotImplementedError\n")
    with Pupil(path, path.parent) as yours:
        for name in ("double", "halve"):
            with pytest.raises(NotWritten):
                yours.call(name, (1,))
    assert pupil.MEMORY > 0


def test_a_mutant_that_is_caught_by_luck_is_found(tmp_path):
    lucky = course_toy.MUTANTS.replace("len(x) < 7", "len(x) < 50")
    course_toy.make(tmp_path, mutants=lucky)
    found = {f.what: f for f in verify.lesson(course.Course(tmp_path).lesson(1), seeds=25)}
    assert [f for what, f in found.items() if "only short ones" in what and not f.ok]
    assert found["1.1 solution passes"].ok
