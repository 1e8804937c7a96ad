"""The live view and its plain lines, from recorded events."""
from __future__ import annotations

import dataclasses
import fcntl
import io
import math
import os
import pty
import re
import struct
import termios
import threading

import pytest
from report_fixtures import HOSTILE, events, make_run
from rich.console import Console

from tinylm.report import live, terminal, words
from tinylm.train.events import Finished, Interrupted, Started, Stepped


class Clock:
    """Gets on by `step` seconds whenever somebody looks."""

    def __init__(self, step: float):
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def plain(recorded, clock_step=0.05, **options) -> tuple[list[str], object]:
    stream = io.StringIO()
    last = live.view(recorded, stream=stream, clock=Clock(clock_step), **options)
    return stream.getvalue().splitlines(), last


# -- plain lines ------------------------------------------------------------------------------------

def test_every_evaluation_and_sample_has_a_line_and_steps_have_one_every_few_seconds():
    lines, last = plain(events(600))
    kinds = [line.split()[0] for line in lines]
    assert kinds[0] == "start" and kinds[-1] == "done"
    assert kinds.count("val") == 3 and kinds.count("sample") == 3 and kinds.count("note") == 1
    # 600 looks at the clock are 30 seconds: a line at the first, then one every 5.
    assert 5 <= kinds.count("train") <= 7
    assert isinstance(last, Finished) and last.step == 600


def test_plain_lines_are_aligned_and_carry_their_units():
    lines, _ = plain(events(600), measure_peak=iter([2e11, 3e11, 1e11, 1e11, 1e11]).__next__)
    train = [line for line in lines if line.startswith("train ")]
    for what in ("nats/token", "bits/byte", "lr ", "tokens/s", "% of peak", "left "):
        assert len({line.index(what) for line in train[1:]}) == 1, what
    # 4.9e6 operations a token, 30,720 tokens/s, 3e11 operations/s
    assert f"{100 * 4.9e6 * 30_720 / 3e11:.1f}% of peak" in train[-1]
    val = next(line for line in lines if line.startswith("val "))
    assert re.search(r"step 200/600 +1\.3892 nats/token +2\.0043 bits/byte  \+1\.0043 ±0\.0040 bits/byte above the "
                     r"floor  best$", val)


def test_no_plain_line_without_end_of_text_or_colour_code():
    lines, _ = plain(events(200, sample=HOSTILE))
    text = "\n".join(lines)
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert sum(line.startswith("sample ") for line in lines) == 1  # its line breaks made no lines


def test_an_interrupted_run_returns_its_last_event():
    lines, last = plain(events(600, stop_at=250))
    assert isinstance(last, Interrupted) and lines[-1].startswith("stop   step 250/600")


def test_a_run_interrupted_before_any_evaluation_can_be_shown():
    recorded = list(events(600, stop_at=5, floor=None))
    lines, last = plain(recorded)
    assert last.val is None and lines[-1].startswith("stop   step   5/600")
    progress = live.Progress()
    for event in recorded:
        progress.add(event)
    assert "interrupted" in draw(progress, 80, 24)


def test_quiet_shows_nothing_and_still_trains():
    lines, last = plain(events(30), quiet=True)
    assert lines == [] and last.step == 30


def test_an_error_of_the_trainer_comes_through():
    def failing():
        yield from list(events(20))[:12]
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        plain(failing())


def test_a_reader_that_leaves_does_not_stop_the_training():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    assert live.view(events(50), stream=Closed(), clock=Clock(9.0)).step == 50


def test_compiling_is_not_silent(monkeypatch):
    monkeypatch.setattr(live, "PLAIN_EVERY", 0.01)
    waited = threading.Event()

    class Stream(io.StringIO):
        def write(self, text):
            if text.startswith("wait "):
                waited.set()
            return super().write(text)

    def compiling():
        recorded = events(3)
        yield next(recorded)
        assert waited.wait(30), "nothing was said while kernels were compiled"
        yield from recorded

    stream = Stream()
    assert live.view(compiling(), stream=stream).step == 3
    assert "wait   compiling kernels, " in stream.getvalue()


# -- numbers ----------------------------------------------------------------------------------------

def test_the_curve_stays_small_and_keeps_its_means():
    curve = live.Curve()
    for i in range(10_000):
        curve.add(i, float(i % 2))
    assert len(curve.x) < live.MOST_POINTS and curve.x == sorted(curve.x)
    assert all(y == 0.5 for y in curve.y)  # the mean of neighbours, not one of them


def test_time_left_follows_the_pace_and_ends_at_zero():
    progress, seen = live.Progress(), []
    for event in events(600):
        progress.add(event)
        if isinstance(event, Stepped) and event.step > 1:
            seen.append(progress.seconds_left)
    assert seen[0] == pytest.approx(0.05 * 598) and seen[298] == pytest.approx(0.05 * 300)
    assert progress.seconds_left == 0.0 and progress.fraction == 1.0


def test_the_floor_is_drawn_in_the_unit_of_the_axis():
    progress = live.Progress()
    for event in events(200, floor=1.0):
        progress.add(event)
    assert progress.floor_nats == pytest.approx(0.6931, abs=1e-4)  # 1 bit/byte at one byte a token


def test_a_resumed_run_shows_its_whole_curve(tmp_path):
    run = make_run(tmp_path / "run", steps=400)
    progress = live.Progress()
    progress.add(Started(200, 200 * 1536, 10.0, run, "gpt-tiny", "stories", True, 815_388, 28, "t", 1536, 10**6,
                         20_000, 4.9e6, None, 1.0, 2, "numba"))
    assert progress.curve.x == list(range(10, 201, 10))  # and nothing after the step it goes on from
    assert [step for step, _ in progress.validation] == [0, 200]


def test_a_resumed_run_of_which_only_checkpoints_are_left_trains_on(tmp_path):
    first, *rest = events(20, run=tmp_path)
    lines, last = plain([dataclasses.replace(first, resumed=True), *rest])
    assert last.step == 20 and "resumed at step 0" in lines[0]


# -- the picture ------------------------------------------------------------------------------------

def draw(progress, width, height) -> str:
    out = io.StringIO()
    Console(file=out, width=width, height=height, color_system=None, legacy_windows=False).print(
        live.screen(progress, width, height))
    return out.getvalue()


@pytest.mark.parametrize("width, height", [(40, 12), (60, 20), (80, 24), (111, 30), (112, 30), (140, 40), (220, 60)])
def test_the_picture_fills_its_size_and_no_more(width, height):
    progress = live.Progress(lambda: 3e11)
    for event in events(600, sample=HOSTILE):
        progress.add(event)
        if event.step in (0, 1, 200, 600) and not isinstance(event, Stepped):
            lines = draw(progress, width, height).rstrip("\n").split("\n")
            assert len(lines) <= height
            assert all(len(line) <= width for line in lines)
            assert "\x1b" not in "".join(lines)


def test_the_picture_names_what_it_shows():
    progress = live.Progress(lambda: 3e11)
    for event in events(600):
        progress.add(event)
    text = draw(progress, 80, 24)
    for part in ("gpt-tiny on stories", "815,388 parameters", "nats/token", "bits/byte", "above floor", "30,720",
                 "50 % peak", "3.00e-03", "step 600 / 600", "entropy floor 1.000 bits/byte", "Once upon a time"):
        assert part in text, part


def test_curves_keep_to_their_size_and_show_the_floor():
    x = list(range(1, 301))
    line = terminal.Series("training", x, [1 + 3 / i for i in x], terminal.TRAIN)
    # Also one larger than the terminal, or the 80 × 24 that stand for one in a pipe.
    for width, height in ((16, 4), (40, 8), (100, 30), (300, 90)):
        rows = terminal.chart([line], width=width, height=height, floor=0.8).plain.split("\n")
        assert len(rows) == height and max(map(len, rows)) == width
        assert any("┈" in row for row in rows)
    assert terminal.chart([], width=40, height=8).plain == "no losses yet"
    nan = terminal.Series("x", [1, 2], [float("nan"), float("inf")], 1)
    assert terminal.chart([nan], width=40, height=8).plain == "no losses yet"


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_marks_of_curves_that_lie_on_one_another_are_all_seen(width, count):
    """Every line's letter stands in the picture, and where one curve covers another also the covered one's."""
    x = list(range(0, 1001, 100))
    y = [2 + math.exp(-a / 300) for a in x]
    lines = [terminal.Series(letter, x, y, terminal.PALETTE[i], mark=letter)
             for i, letter in enumerate("ABCDEFG"[:count])]
    picture = terminal.chart(lines, width=width, height=12).plain
    seen = [picture.count(line.mark) for line in lines]
    assert min(seen) >= 1 and max(seen) - min(seen) <= 1, picture
    # A line that has only begun, and one that has a single point, are named too.
    short = [terminal.Series("Y", x[:2], [y[0], 2.5], 39, mark="Y"), terminal.Series("Z", [500], [2.4], 39, mark="Z")]
    picture = terminal.chart([*lines, *short], width=width, height=12).plain
    assert all(letter in picture for letter in [line.mark for line in lines] + ["Y", "Z"]), picture


def test_a_mark_stands_on_its_line():
    xs, ys = [0, 100], [1.0, 3.0]
    lines = [terminal.Series(name, xs, ys, 39, mark=name) for name in "AB"]
    for number in range(2):
        a, b = terminal._turns(lines[number], number, 2, 3.0, 100, 10, 160)
        assert len(a) == 5
        assert b == pytest.approx([1 + x / 50 for x in a])


def test_how_far_along_is_said_in_one_way():
    assert words.chinchilla(922_000, 815_388) == "5.65 % of 16.3M tokens, 20 per parameter"
    assert words.chinchilla(None, 5) == words.chinchilla(5, 0) == "–"


def test_the_first_fall_leaves_through_the_top():
    x = list(range(1, 201))
    low, high = terminal.limits([terminal.Series("", x, [4.0] * 5 + [1.5] * 195, 1)])
    assert high < 2 and low < 1.5
    low, high = terminal.limits([terminal.Series("", x[:20], [4.0] * 5 + [1.5] * 15, 1)])
    assert high > 4  # of a short run everything is shown


@pytest.fixture
def tty(monkeypatch):
    """(stream on a pseudo-terminal of 80 × 24, function that returns what was written)"""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "80"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    written, stream = [], os.fdopen(follower, "w", encoding="utf-8")

    def collect():
        while True:
            try:
                written.append(os.read(leader, 65536))
            except OSError:  # the other end was closed
                return

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()

    def text() -> str:
        stream.close()
        reader.join(5)
        return b"".join(written).decode("utf-8", errors="replace")

    yield stream, text
    if not stream.closed:
        stream.close()
    reader.join(5)
    os.close(leader)


ENTER, LEAVE, HIDE, SHOW = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25l", "\x1b[?25h"


def test_the_live_view_gives_the_terminal_back(tty):
    stream, text = tty
    live.view(events(100), stream=stream, clock=Clock(0.01))
    got = text()
    assert got.count(ENTER) == got.count(LEAVE) == 1 and got.rindex(SHOW) > got.rindex(HIDE)
    after = got[got.index(LEAVE):]
    assert "step 100 / 100" in after and "two documents were taken out" in after  # what stays to be read


def test_an_error_under_the_live_view_gives_the_terminal_back(tty):
    def failing():
        yield from list(events(100))[:30]
        raise ValueError("boom")

    stream, text = tty
    with pytest.raises(ValueError, match="boom"):
        live.view(failing(), stream=stream, clock=Clock(0.01))
    got = text()
    assert got.rindex(LEAVE) > got.rindex(ENTER) and got.rindex(SHOW) > got.rindex(HIDE)


def test_pictures_are_drawn_at_most_four_times_a_second_and_for_less_than_a_percent_of_the_time(tty):
    stream, text = tty
    drawn = []

    class Counting(live.Picture):
        def _draw(self):
            before = self.spent
            super()._draw()
            drawn.append((self.clock.now, self.spent - before))

    clock = Clock(0.0)
    progress = live.Progress()
    picture = Counting(progress, stream, clock)

    def slow_refresh():
        clock.now += 0.01  # a picture costs ten milliseconds

    picture.live.refresh = slow_refresh
    for event in events(600):
        clock.now += 0.05
        progress.add(event)
        picture.show(event)
    picture.close()
    gaps = [b - a for (a, _), (b, _) in zip(drawn, drawn[1:])]
    assert len(drawn) > 10 and min(gaps) >= live.REFRESH
    assert picture.spent < 0.01 * clock.now


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_plain_lines_gets_them(tty, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream, text = tty
    live.view(events(20), stream=stream, clock=Clock(0.05))
    got = text()
    assert got.startswith("start  gpt-tiny") and "\x1b" not in got


def test_json_means_plain_lines_even_on_a_terminal(tty):
    stream, text = tty
    live.view(events(20), stream=stream, clock=Clock(0.05), json=True)
    got = text()
    assert got.startswith("start  gpt-tiny") and "\x1b" not in got
