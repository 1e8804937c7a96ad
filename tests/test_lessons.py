"""The course's own tests: for each lesson everything that `tinylm lesson verify` looks at."""
from __future__ import annotations

import pytest

from tinylm.classroom import course, verify

COURSE = course.find()
LESSONS = [pytest.param(lesson, id=lesson.folder) for lesson in COURSE.there]


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_stubs_fail_solutions_pass_and_mutants_are_caught(lesson):
    findings = list(verify.lesson(lesson, examples=0.3))
    assert not [f for f in findings if not f.ok]
    assert len(findings) > 20


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS)
def test_the_walkthrough_runs_and_what_it_claims_holds(lesson, monkeypatch):
    monkeypatch.setenv("TINYLM_LESSON_SIZE", "brief")
    assert not [f for f in verify.walkthrough(lesson) if not f.ok]


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_needs_earlier_ones_only(lesson):
    assert all(number < lesson.number for number in lesson.needs)
    assert lesson.folder.startswith(f"{lesson.number:02}_")


def test_no_folder_is_left_out_of_the_manifest():
    folders = {p.parent.name for p in (COURSE.root / "lessons").glob("*/lesson.py")}
    assert folders == {lesson.folder for lesson in COURSE.there}
