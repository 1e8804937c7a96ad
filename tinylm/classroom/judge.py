"""Running the checks of a task against an answer."""
from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import hypothesis
import numpy as np
from hypothesis import strategies

from ..ops.random import generator
from .checking import Check, Row, Speed, Wrong
from .pupil import Answer, AnswerError, Gone, NotWritten

TASK_SECONDS = 20.0     # a check of one task, all stages together
OK, FAIL, NOT_WRITTEN, NOT_RUN = "ok", "fail", "not written", "not run"
_SETTINGS = hypothesis.settings(
    deadline=None, database=None, derandomize=False, print_blob=False, report_multiple_bugs=False,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink), verbosity=hypothesis.Verbosity.quiet)


@dataclass
class Outcome:
    """What one check found.

    example    what was drawn for the failing example, shrunk: {"B": 1, "seed": 0}
    call       the last call made in it: (name, arguments)
    line       of the learner's file, where its own error came from
    """

    check: Check
    status: str
    sentence: str = ""
    rows: Sequence[Row] = ()
    example: dict | None = None
    call: tuple | None = None
    line: int | None = None
    printed: str = ""
    seconds: float = 0.0
    notes: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        return self.status == OK

    def to_json(self) -> dict:
        return {"task": self.check.task, "check": self.check.name, "stage": self.check.stage, "status": self.status,
                "points": self.check.points if self.ok else 0, "of": self.check.points, "message": self.sentence,
                "example": self.example, "seconds": round(self.seconds, 3),
                "arrays": [{"name": r.name, "ok": r.ok, "index": list(r.index) if r.index is not None else None,
                            "yours": r.yours, "expected": r.expected, "error": r.error, "share_of_tolerance": r.share,
                            "wrong": r.wrong, "size": r.size, "note": r.note} for r in self.rows]}


def judge(checks: Sequence[Check], yours: Answer, *, seed: int = 0, examples: float = 1.0, to_the_end: bool = False,
          speed: bool = True, seconds: float = TASK_SECONDS) -> Iterator[Outcome]:
    """Run the checks of one task in their order; what follows a failure is not run.

    seed         of everything drawn; the public one is 0
    examples     a factor on how many are drawn
    to_the_end   run what follows a failure too, each with its own time limit (for marking)
    speed        run the stage that only informs
    """
    until, failed = time.monotonic() + seconds, False
    for one in checks:
        if one.stage == "speed" and (not speed or failed):
            if speed:
                yield Outcome(one, NOT_RUN)
            continue
        if failed and not to_the_end:
            yield Outcome(one, NOT_RUN)
            continue
        if to_the_end:
            until = time.monotonic() + seconds
        outcome = run(one, yours, seed=seed, examples=examples, until=until)
        failed = failed or not outcome.ok
        yield outcome


def run(one: Check, yours: Answer, *, seed: int = 0, examples: float = 1.0,
        until: float = float("inf")) -> Outcome:
    """One check on as many drawn examples as it wants; a failing one is shrunk."""
    yours.until = until
    yours.last = None
    seen: dict = {}
    started = time.monotonic()
    purpose = f"{one.task}: {one.name}"

    def once(**drawn):
        arguments = dict(drawn)
        if one.wants_rng:
            arguments["rng"] = generator(seed, purpose, arguments.pop("seed"))
        try:
            if time.monotonic() > until:
                raise Gone("no answer in time: the check was ended")
            with np.errstate(all="ignore"):
                return one.function(yours, **arguments)
        except (Wrong, AnswerError, NotWritten, Gone) as error:
            if not ("error" in seen and isinstance(error, Gone)):  # time that runs out while shrinking hides nothing
                seen.update(error=error, example=drawn, call=yours.last, printed=yours.printed)
            raise
        except Exception as error:
            # A right answer never gets here (the course verifies that), so what came back has an odd form.
            odd = Wrong(f"what was returned cannot be used: {type(error).__name__}: {error}")
            seen.update(error=odd, example=drawn, call=yours.last, printed=yours.printed)
            raise odd from error

    status, found = OK, None
    draws = dict(one.draws)
    if one.wants_rng:
        draws["seed"] = strategies.integers(0, 2**20)
    try:
        if set(draws) <= {"seed"} and one.examples == 1 or not draws:
            found = once(**({"seed": 0} if draws else {}))
        else:
            settings = hypothesis.settings(_SETTINGS, max_examples=max(1, round(one.examples * examples)))
            drawing = generator(seed, f"draw {purpose}").integers(0, 2**63)
            settings(hypothesis.seed(int(drawing))(hypothesis.given(**draws)(once)))()
    except (Wrong, AnswerError, NotWritten, Gone):
        status = FAIL
    except hypothesis.errors.Flaky:
        status = FAIL
        seen["flaky"] = True
    outcome = Outcome(one, status, seconds=time.monotonic() - started)
    if isinstance(found, Speed):
        outcome.notes = found.lines
    if status == OK:
        return outcome
    error = seen["error"]
    outcome.example, outcome.call, outcome.printed = seen["example"], seen["call"], seen["printed"]
    outcome.sentence = str(error)
    if seen.get("flaky"):
        outcome.notes = ["the same call did not give the same answer twice"]
    if isinstance(error, Wrong):
        outcome.rows = error.rows
    elif isinstance(error, AnswerError):
        outcome.line = error.line
    elif isinstance(error, NotWritten):
        outcome.status = NOT_WRITTEN
    return outcome
