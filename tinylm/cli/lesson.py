"""`tinylm lesson`: walk through the lessons, write the exercises, have them checked."""
from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from ..errors import CheckFailed, UsageError
from .common import SETTINGS, console, emit_json, note, output_options

NUMBER = click.argument("number", type=click.IntRange(1), metavar="N")
TASK = click.option("--task", metavar="NAME", help="Only this task, by name or number (such as 2.1).")


@click.group(context_settings=SETTINGS, epilog="Example: tinylm lesson run 1")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder of your answers (default: work/ in the repository).")
@click.pass_context
def lesson(context, work):
    """The lessons: walk through them, write the exercises, have them checked.

    Your answers lie in work/, which git ignores and nothing overwrites.
    """
    context.obj = work


def _course(context):
    from ..classroom import course
    return course.find(context.obj)


def _tasks(which, name):
    return [which.task(name)] if name else list(which.tasks)


@lesson.command("list", epilog="Example: tinylm lesson list")
@output_options
@click.pass_context
def list_lessons(context, as_json, quiet):
    """The lessons, how long they take and what they need."""
    course = _course(context)
    if as_json:
        emit_json({"lessons": [{"number": one.number, "title": one.title, "folder": one.folder, "minutes": one.minutes,
                                "needs": one.needs, "builds": one.builds, "exists": one.exists,
                                "tasks": [{"number": t.number, "name": t.name, "title": t.title} for t in one.tasks]}
                               for one in course.lessons]})
        return
    from .data import _table
    _table(["lesson", "title", "minutes", "needs", "tasks", "what you build"],
           [[str(one.number), one.title, str(one.minutes), ", ".join(map(str, one.needs)) or "–", str(len(one.tasks)),
             one.builds] for one in course.there])
    absent = [f"{one.number} {one.title}" for one in course.lessons if not one.exists]
    if absent:
        note("planned, not written yet: " + ", ".join(absent), quiet)


@lesson.command(epilog="Example: tinylm lesson run 1 --no-pause")
@NUMBER
@click.option("--no-pause", is_flag=True, help="Do not wait for Enter.")
@click.option("--full", is_flag=True, help="Compute more than the fast form does.")
@click.pass_context
def run(context, number, no_pause, full):
    """Walk through a lesson, cell by cell."""
    course = _course(context)
    which = course.lesson(number)
    _prepare(full)
    from ..classroom import walk

    paused = not no_pause and sys.stdin.isatty() and sys.stdout.isatty()
    started = time.monotonic()

    def wait() -> bool:
        if not paused:
            return True
        answer = click.prompt("Enter: go on, q: leave", default="", show_default=False, prompt_suffix=" ")
        return answer.strip().lower() != "q"

    saved = walk.in_terminal(which, console(), course.work / "figures" / which.folder, wait)
    if not paused:
        note(f"lesson {number}: {len(saved)} figures, {time.monotonic() - started:.1f} s")


def _prepare(full):
    """Threads before numpy, and the size of what is computed."""
    from .. import threads
    threads.prepare()
    if full:
        os.environ["TINYLM_LESSON_SIZE"] = "full"


@lesson.command(epilog="Example: tinylm lesson notebook 3 --run")
@NUMBER
@click.option("--run", "execute", is_flag=True, help="With the outputs.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Default: work/NN_name.ipynb")
@click.pass_context
def notebook(context, number, execute, out):
    """Write a lesson as a Jupyter notebook."""
    from ..classroom import pages, walk
    course = _course(context)
    which = course.lesson(number)
    path = out or course.work / f"{which.folder}.ipynb"
    if execute:
        _prepare(False)
    pages.write(path, pages.notebook(which, walk.collect(which) if execute else None))
    click.echo(path)


@lesson.command("html", epilog="Example: tinylm lesson html 3")
@NUMBER
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Default: work/NN_name.html")
@click.pass_context
def html_page(context, number, out):
    """Run a lesson and write it as one HTML page."""
    from ..classroom import pages, walk
    course = _course(context)
    which = course.lesson(number)
    path = out or course.work / f"{which.folder}.html"
    _prepare(False)
    pages.write(path, pages.page(which, walk.collect(which)))
    click.echo(path)


@lesson.command(epilog="Example: tinylm lesson check 1")
@NUMBER
@TASK
@output_options
@click.pass_context
def check(context, number, task, as_json, quiet):
    """Check your answers; stops at the first that is not right, with exit code 3."""
    course = _course(context)
    which = course.lesson(number)
    if not _check(course, which, task, as_json, quiet):
        context.exit(CheckFailed.exit_code)


def _check(course, which, name, as_json, quiet) -> bool:
    """Check the tasks of a lesson up to the first that fails; count it; True when all are right."""
    from ..classroom import progress as book
    from ..classroom import verdict
    from ..classroom.course import near
    from ..classroom.judge import NOT_WRITTEN

    answer, new = book.begin(course, which)
    if new:
        note(f"your file for lesson {which.number} is {near(answer)}: the functions in it are yours to write", quiet)
    tasks, checks, screen = _tasks(which, name), which.checks(), console()
    results, done = [], []
    for task in tasks:
        outcomes = _judged(which, task, checks[task.name], answer)
        progress = book.Progress(course.work)
        record = progress.record(which, task.name)
        written = outcomes[0].status != NOT_WRITTEN
        passed = all(o.ok for o in outcomes)
        if written:
            record.attempts += 1
        if passed and record.passed is None:
            record.passed = time.time()
        progress.save()
        results += outcomes
        if not as_json:
            verdict.task(which, task, outcomes, answer, screen, record.hints)
        if not passed:
            break
        done.append(task)
    whole = len(done) == len(tasks)
    if as_json:
        emit_json({"lesson": which.number, "ok": whole, "checks": [o.to_json() for o in results]})
    elif whole:
        counted = sum(o.check.points > 0 for o in results)
        note(f"lesson {which.number}: {len(done)} task{'s' * (len(done) != 1)} right, {counted} checks in "
             f"{sum(o.seconds for o in results):.1f} s   solution: make solution-{which.number}", quiet)
    elif len(done) + 1 < len(tasks):
        rest = tasks[len(done) + 1:]
        note(f"after it: {', '.join(f'{t.number} {t.name}' for t in rest)}", quiet)
    return whole


def _judged(which, task, checks, answer):
    """The outcomes of a task, also where the file cannot be imported."""
    from ..classroom.judge import FAIL, Outcome, judge
    from ..classroom.pupil import AnswerError, Gone, Pupil
    with Pupil(answer, which.path, task.allowed) as yours:
        try:
            yours.start()
        except (AnswerError, Gone) as error:
            return [Outcome(checks[0], FAIL, f"the file cannot be imported: {error}",
                            line=getattr(error, "line", None))]
        return list(judge(checks, yours))


@lesson.command(epilog="Example: tinylm lesson watch 1")
@NUMBER
@TASK
@click.pass_context
def watch(context, number, task):
    """Check again whenever you save your file; Ctrl-C ends it."""
    from ..classroom import progress as book
    course = _course(context)
    which = course.lesson(number)
    answer, _ = book.begin(course, which)
    seen = None
    while True:
        try:
            state = os.stat(answer)
        except FileNotFoundError:  # an editor may replace the file by renaming
            time.sleep(0.2)
            continue
        if (now := (state.st_mtime_ns, state.st_size, state.st_ino)) != seen:
            seen = now
            if _check(course, which, task, False, False):
                return
            note(f"waiting for {answer.name} to be saved; Ctrl-C ends this")
        time.sleep(0.3)


@lesson.command(epilog="Example: tinylm lesson hint 1")
@NUMBER
@TASK
@click.pass_context
def hint(context, number, task):
    """The next hint for the first task that is not right yet."""
    from ..classroom.progress import Progress
    course = _course(context)
    which = course.lesson(number)
    progress = Progress(course.work)
    open_tasks = [t for t in _tasks(which, task) if task or progress.record(which, t.name).passed is None]
    chosen = (open_tasks or list(which.tasks))[0]
    record, hints = progress.record(which, chosen.name), which.hints[chosen.name]
    shown = min(record.hints, len(hints) - 1)
    click.echo(f"{chosen.number} {chosen.name}, hint {shown + 1} of {len(hints)}")
    from rich.markdown import Markdown
    screen = console()
    screen.print(Markdown(hints[shown]), soft_wrap=False, width=min(screen.width, 100))
    record.hints = min(record.hints + 1, len(hints))
    progress.save()


@lesson.command(epilog="Example: tinylm lesson solution 1")
@NUMBER
@TASK
@click.option("--give-up", is_flag=True, help="Show it before your answer is right; this is recorded.")
@click.pass_context
def solution(context, number, task, give_up):
    """A solution, for each task your answer of which is right."""
    from ..classroom.course import source_of
    from ..classroom.progress import Progress
    course = _course(context)
    which = course.lesson(number)
    progress = Progress(course.work)
    tasks = _tasks(which, task)
    closed = [t for t in tasks if progress.record(which, t.name).passed is None
              and progress.record(which, t.name).gave_up is None]
    if give_up:
        for one in closed:
            progress.record(which, one.name).gave_up = time.time()
        progress.save()
        closed = []
    if len(closed) == len(tasks):
        raise CheckFailed(f"the solution opens when make check-{number} has passed; tinylm lesson solution {number} "
                          "--give-up shows it now, and that is recorded")
    from rich.syntax import Syntax
    screen = console()
    click.echo(f"One way to write lesson {number}, among others ({which.path / 'solution.py'}):")
    for one in tasks:
        if one in closed:
            click.echo(f"\n{one.number} {one.name}: not passed yet")
            continue
        screen.print()
        screen.print(Syntax(source_of(which.path / "solution.py", one.name), "python", theme="ansi_dark",
                            background_color="default"), soft_wrap=True)


@lesson.command(epilog="Example: tinylm lesson reset 1")
@NUMBER
@click.pass_context
def reset(context, number):
    """Begin a lesson's exercises again; your old file is moved to work/attic/, not deleted."""
    from ..classroom import progress as book
    from ..classroom.course import near
    course = _course(context)
    which = course.lesson(number)
    kept = book.reset(course, which)
    if kept:
        click.echo(f"your old file is now {near(kept)}")
    click.echo(f"a fresh one is {near(course.answer(which))}")


@lesson.command(epilog="Example: tinylm lesson status")
@output_options
@click.pass_context
def status(context, as_json, quiet):
    """What you have done: every task with attempts, hints and when it passed."""
    from ..classroom.progress import Progress
    course = _course(context)
    progress = Progress(course.work)
    rows = [(one, t, progress.record(one, t.name)) for one in course.there for t in one.tasks]
    if as_json:
        emit_json({"tasks": [{"lesson": one.number, "task": t.number, "name": t.name, **vars(r)}
                             for one, t, r in rows]})
        return
    from .data import _table

    def state(record):
        if record.passed is not None:
            how = "after giving up" if record.gave_up and record.gave_up < record.passed else ""
            return ("passed " + time.strftime("%Y-%m-%d %H:%M", time.localtime(record.passed)) + f" {how}").strip()
        if record.gave_up is not None:
            return "solution seen"
        return "begun" if record.attempts else "open"

    _table(["task", "name", "lesson", "state", "attempts", "hints"],
           [[t.number, t.name, one.title, state(r), str(r.attempts), str(r.hints)] for one, t, r in rows])
    passed = sum(r.passed is not None for _, _, r in rows)
    note(f"{passed} of {len(rows)} tasks passed; counted in {progress.path}", quiet)


@lesson.command(epilog="Example: tinylm lesson grade submissions/ --seed - --json < seed.txt")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--lesson", "number", type=click.IntRange(1), metavar="N", help="Only this lesson.")
@click.option("--seed", required=True, metavar="S", help="The private seed; - reads it from stdin.")
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write a results file for each submission, in Gradescope's format.")
@output_options
@click.pass_context
def grade(context, folder, number, seed, results, as_json, quiet):
    """Mark submissions on numbers and sizes drawn from a private seed; points for each property.

    FOLDER holds STUDENT/NN_name.py for any lessons, or STUDENT.py with --lesson N. A submission runs in a
    process with limits on time, memory and files; it cannot reach the comparison or the seed. It shares
    your account, though: for submissions you do not trust at all, mark in a container.
    """
    from ..classroom import grade as marking
    course = _course(context)
    which = course.lesson(number) if number else None
    text = sys.stdin.read() if seed == "-" else seed
    try:
        value = int(text)
    except ValueError:
        raise UsageError("--seed: a whole number is wanted") from None
    marks = []
    for mark in marking.grade(marking.submissions(folder, course, which), value):
        marks.append(mark)
        note(f"{mark.student}: lesson {mark.lesson.number}, {mark.points} of {mark.most} points", quiet)
    if results:
        marking.write_results(marks, results)
    if as_json:
        emit_json({"submissions": [mark.to_json() for mark in marks]})
        return
    from .data import _table
    _table(["student", "lesson", "points", "of"],
           [[m.student, str(m.lesson.number), str(m.points), str(m.most)] for m in marks])


@lesson.command(epilog="Example: tinylm lesson verify 1")
@click.argument("number", type=click.IntRange(1), required=False, metavar="[N]")
@click.option("--walk/--no-walk", "walk", default=True, help="Also run the walkthrough.")
@click.option("--seeds", type=click.IntRange(1), default=1, metavar="K",
              help="Right answers must pass, and mutants fail, on K seeds (default 1).")
@output_options
@click.pass_context
def verify(context, number, walk, seeds, as_json, quiet):
    """Test the course itself: stubs fail, solutions pass, every mutant is caught. For authors."""
    course = _course(context)
    lessons = [course.lesson(number)] if number else course.there
    findings = []
    for one in lessons:
        started = time.monotonic()
        findings += _verified(one, walk, seeds, as_json, quiet)
        note(f"lesson {one.number}: {time.monotonic() - started:.1f} s", quiet)
    bad = [f for _, f in findings if not f.ok]
    if as_json:
        emit_json({"ok": not bad, "findings": [{"lesson": n, **vars(f)} for n, f in findings]})
    if bad:
        raise CheckFailed(f"{len(bad)} of {len(findings)} findings are not as they should be, first: "
                          f"{bad[0].what} {bad[0].detail}")
    note(f"{len(findings)} findings, all as they should be", quiet)


def _verified(which, walk, seeds, as_json, quiet):
    from itertools import chain

    from ..classroom import verify as verification
    found = []
    for finding in chain(verification.lesson(which, seeds=seeds), verification.walkthrough(which) if walk else ()):
        found.append((which.number, finding))
        if not as_json and not quiet or not finding.ok:
            detail = f"   ({finding.detail})" if finding.detail else ""
            note(f"  {'ok  ' if finding.ok else 'FAIL'}  {finding.what}{detail}")
    return found
