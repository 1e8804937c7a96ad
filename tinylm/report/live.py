"""Watch a training run: a live view on a terminal, plain lines everywhere else.

    last = view(train(...))

The view takes every event the trainer yields and gives none back to it: it cannot change a run.
"""
from __future__ import annotations

import json as json_module
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..errors import DataMissing
from ..train.events import Evaluated, Event, Finished, Interrupted, Logged, Note, Planned, Sampled, Started, Stepped
from .words import count, duration, finite, printable

REFRESH = 0.25      # seconds between two pictures, at least
SHARE = 0.008       # of the time may go into pictures, at most
PLAIN_EVERY = 5.0   # seconds between two plain lines
WAIT_EVERY = 1.0    # ... while kernels are compiled: a new user should not wonder
SAMPLE_CHARS = 160  # of a sample in a plain line
MOST_POINTS = 480   # of the training curve; more are merged in pairs
PEAKS = 5           # times that the machine's peak is measured: on a shared one a moment may be a bad one
SMALLEST = (40, 12)  # columns, rows: a smaller terminal gets plain lines


@dataclass
class Curve:
    """A growing line of bounded size: means over `stride` neighbouring values."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    stride: int = 1
    _sum: float = 0.0
    _held: int = 0

    def add(self, x: float, y: float) -> None:
        if not finite(y):
            return
        self._sum += y
        self._held += 1
        if self._held < self.stride:
            return
        self.x.append(x)
        self.y.append(self._sum / self._held)
        self._sum, self._held = 0.0, 0
        if len(self.x) >= MOST_POINTS:
            self.x = self.x[1::2]
            self.y = [(a + b) / 2 for a, b in zip(self.y[::2], self.y[1::2])]
            self.stride *= 2


class Progress:
    """What is known about a run after the events so far; no clock, no terminal."""

    def __init__(self, measure_peak: Callable[[], float] | None = None):
        self._measure_peak, self._peaks = measure_peak, []
        self.started: Started | None = None
        self.last: Event | None = None
        self.stepped: Stepped | None = None
        self.logged: Logged | None = None
        self.evaluated: Evaluated | None = None
        self.best: Evaluated | None = None
        self.sampled: Sampled | None = None
        self.steps: int | None = None
        self.seconds_per_step: float | None = None
        self.notes: list[str] = []
        self.curve = Curve()
        self.validation: list[tuple[int, float]] = []
        self._first: Stepped | None = None

    def add(self, event: Event) -> None:
        self.last = event
        match event:
            case Stepped():  # first, because it is by far the most frequent
                self.stepped = event
                self._first = self._first or event
                self.curve.add(event.step, event.train.nats_per_token)
            case Started():
                self.started = event
                if event.resumed:
                    self._remember(event)
            case Planned():
                self.steps, self.seconds_per_step = event.steps, event.seconds_per_step
            case Logged():
                self.logged = event
                if self._measure_peak and len(self._peaks) < PEAKS:
                    self._peaks.append(self._measure_peak())
            case Evaluated():
                self.evaluated = event
                self.validation.append((event.step, event.val.nats_per_token))
                if event.best:
                    self.best = event
            case Sampled():
                self.sampled = event
            case Note():
                self.notes.append(event.text)

    def _remember(self, event: Started) -> None:
        """The curves of a resumed run begin where the run began."""
        from .record import read
        try:
            past = read(event.run)
        except DataMissing:
            return  # only its checkpoints are left: enough to train on, nothing to draw
        for row in past.train.rows:
            if finite(row.get("step")) and row["step"] <= event.step:
                self.curve.add(row["step"], row.get("nats_per_token"))
        self.validation = [(row["step"], row["nats_per_token"]) for row in past.val.rows
                           if finite(row.get("step")) and row["step"] <= event.step
                           and finite(row.get("nats_per_token"))]

    @property
    def step(self) -> int:
        return self.last.step if self.last else 0

    @property
    def fraction(self) -> float:
        """Of the planned training, 0 to 1."""
        if isinstance(self.last, Finished):
            return 1.0
        return min(1.0, max(0.0, self.stepped.fraction)) if self.stepped else 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Measured by the trainer where it has told, else what has gone by since the first step."""
        if isinstance(self.last, (Finished, Interrupted)):
            return self.last.tokens_per_second
        if self.logged:
            return self.logged.tokens_per_second
        if self._first and self.stepped and self.stepped.seconds > self._first.seconds:
            return (self.stepped.tokens - self._first.tokens) / (self.stepped.seconds - self._first.seconds)
        return None

    @property
    def of_peak(self) -> float | None:
        """Operations per second over the machine's peak, the best that was measured."""
        speed = self.tokens_per_second
        if not (self._peaks and speed and self.started):
            return None
        return self.started.flops_per_token * speed / max(self._peaks)

    @property
    def seconds_left(self) -> float | None:
        """From the pace since the first step, which does not count compiling."""
        if isinstance(self.last, (Finished, Interrupted)):
            return 0.0
        if not self.stepped:
            return None
        first, now = self._first, self.stepped
        if now.fraction > first.fraction:
            pace = (now.seconds - first.seconds) / (now.fraction - first.fraction)
            return max(0.0, (1 - now.fraction) * pace - (self.last.seconds - now.seconds))
        if self.steps is not None and self.seconds_per_step:
            return max(0.0, (self.steps - now.step) * self.seconds_per_step)
        return None

    @property
    def floor_nats(self) -> float | None:
        """The entropy floor in nats/token of the validation text (else of the last batch)."""
        if self.started is None or self.started.floor is None:
            return None
        known = self.evaluated.val if self.evaluated else self.stepped.train if self.stepped else None
        if known is None or not known.bits_per_byte:
            return None
        return self.started.floor * known.nats_per_token / known.bits_per_byte


def view(events: Iterable[Event], *, json: bool = False, quiet: bool = False,
         measure_peak: Callable[[], float] | None = None, stream=None, clock=time.monotonic) -> Event | None:
    """Consume the events of a run, show it on `stream` (default: stderr), and return the last event.

    json          data goes to stdout as JSON, so this writes plain lines even on a terminal
    quiet         shows nothing
    measure_peak  measures for a moment how many operations per second this machine reaches; None leaves the fraction
                  out.  Called when steps are logged: training rests then, and no kernel is compiled beside it

    Raises whatever the trainer raises, with the terminal as it was before.
    """
    stream = stream or sys.stderr
    progress = Progress(measure_peak)
    if quiet:
        for event in events:
            progress.add(event)
        return progress.last
    display = Lines(progress, stream, clock) if json or not _lively(stream) else Picture(progress, stream, clock)
    try:
        for event in events:
            progress.add(event)
            display.show(event)
    finally:
        display.close()
    return progress.last


def _lively(stream) -> bool:
    """Whether a live picture is wanted and possible here."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return False
    columns, rows = os.get_terminal_size(stream.fileno())
    return columns >= SMALLEST[0] and rows >= SMALLEST[1]


# -- plain lines ------------------------------------------------------------------------------------

class Lines:
    """One line every few seconds and one for each evaluation and sample; the first word is the kind."""

    def __init__(self, progress: Progress, stream, clock):
        self.progress, self.stream, self.clock = progress, stream, clock
        self._next = self._began = clock()
        self._gone = False
        self._ticker = Ticker(self._wait, WAIT_EVERY)

    def show(self, event: Event) -> None:
        if isinstance(event, Started):
            self._ticker.start()
        elif not isinstance(event, (Note, Planned)):
            self._ticker.stop()
        if isinstance(event, Stepped):
            now = self.clock()
            if now < self._next:
                return
            self._next = now + PLAIN_EVERY
        text = line(event, self.progress)
        if text is not None:
            self._print(text)

    def close(self) -> None:
        self._ticker.stop()

    def _wait(self) -> None:
        self._print(f"wait   {_preparing(self.progress)}, {duration(self.clock() - self._began)}")

    def _print(self, text: str) -> None:
        if self._gone:
            return
        try:
            print(text, file=self.stream, flush=True)
        except OSError:
            # Nobody reads any more, as after `| head`.  A training of hours must not die of that.
            self._gone = True


class Ticker:
    """Calls `action` every `seconds` in a thread of its own, until it is stopped.

    For the time before the first step, when kernels are compiled and no event comes.
    """

    def __init__(self, action, seconds: float):
        self.action, self.seconds = action, seconds
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stopped.wait(self.seconds):
            self.action()


def _preparing(progress: Progress) -> str:
    """What goes on before the first step."""
    if progress.steps is not None:
        return "first evaluation"
    return "compiling kernels" if progress.started and progress.started.backend == "numba" else "preparing"


def line(event: Event, progress: Progress) -> str | None:
    """The plain line of an event, or None for one that has none."""
    width = len(str(progress.steps)) if progress.steps else 6
    at = f"step {event.step:>{width}}" + (f"/{progress.steps}" if progress.steps else "")
    match event:
        case Started():
            how = f"{event.backend}, {event.threads} thread" + "s" * (event.threads != 1)
            return (f"start  {event.preset} on {event.data}: {event.parameters} parameters, vocabulary {event.vocab}, "
                    f"{event.tokens_per_step} tokens/step, {how}; "
                    + (f"resumed at step {event.step}" if event.resumed else "the first step may compile kernels"))
        case Stepped():
            speed, left = progress.tokens_per_second, progress.seconds_left
            parts = [f"train  {at}", _loss(event.train), f"lr {event.lr:.2e}", f"norm {event.grad_norm:7.3f}"]
            parts.append(f"{speed:9.0f} tokens/s" if finite(speed) else "        – tokens/s")
            if progress.of_peak is not None:
                parts.append(f"{100 * progress.of_peak:5.1f}% of peak")
            parts.append(f"left {duration(left)}")
            return "  ".join(parts)
        case Evaluated():
            parts = [f"val    {at}", _loss(event.val)]
            if event.above_floor is not None:
                parts.append(_above(event))
            return "  ".join(parts + ["best"] * event.best)
        case Sampled():
            text = " ".join(printable(event.text[:SAMPLE_CHARS], lines=False).split())
            text += "…" if len(event.text) > SAMPLE_CHARS else ""
            return f"sample {at}  {json_module.dumps(text, ensure_ascii=False)}"
        case Note():
            return "note   " + printable(event.text, lines=False)
        case Finished() | Interrupted():
            word = "done  " if isinstance(event, Finished) else "stop  "
            parts = [f"{word} {at}"] + ([_loss(event.val)] if event.val else [])
            parts += [f"{event.tokens_per_second:9.0f} tokens/s", f"{event.tokens} tokens", duration(event.seconds)]
            return "  ".join(parts)
    return None


def _loss(loss) -> str:
    return f"{loss.nats_per_token:8.4f} nats/token  {loss.bits_per_byte:8.4f} bits/byte"


def _above(event: Evaluated) -> str:
    error = f" ±{event.floor_error:.4f}" if event.floor_error is not None else ""
    return f"{event.above_floor:+.4f}{error} bits/byte above the floor"


# -- the live picture -------------------------------------------------------------------------------

class Picture:
    """Redraws the terminal's second screen, and leaves the last picture behind on the first.

    Pictures are drawn when events come, at most every `REFRESH` seconds and so rarely that they take
    `SHARE` of the time.
    """

    def __init__(self, progress: Progress, stream, clock):
        from rich.console import Console
        from rich.live import Live
        self.progress, self.clock = progress, clock
        self._began = clock()
        self.console = Console(file=stream, highlight=False)
        self.live = Live(console=self.console, screen=True, auto_refresh=False, redirect_stdout=False,
                         redirect_stderr=False, get_renderable=self._render)
        self.spent = 0.0
        self._next = 0.0
        self._running = False
        self._gone = False
        self._ticker = Ticker(lambda: self._guard(self.live.refresh), 0.5)

    def show(self, event: Event) -> None:
        if not self._running:
            self._running = True
            self._guard(self.live.start)
            self._draw()
            self._ticker.start()
        if isinstance(event, (Stepped, Finished, Interrupted)):
            self._ticker.stop()
        if self.clock() >= self._next:
            self._draw()

    def close(self) -> None:
        if not self._running:
            return
        self._ticker.stop()
        self._guard(self.live.stop)
        self._guard(self._leave)

    def _leave(self) -> None:
        width, height = self.console.size
        self.console.print(screen(self.progress, width, min(height - 1, 22), elapsed=self._elapsed()))
        for text in self.progress.notes:
            self.console.print(f"note: {printable(text, lines=False)}", markup=False)

    def _draw(self) -> None:
        begin = self.clock()
        self._guard(self.live.refresh)
        cost = self.clock() - begin
        self.spent += cost
        self._next = begin + max(REFRESH, cost / SHARE)

    def _guard(self, action) -> None:
        """The terminal may close under us; a training of hours must not die of that."""
        if self._gone:
            return
        try:
            action()
        except OSError:
            self._gone = True

    def _elapsed(self) -> float:
        return self.clock() - self._began

    def _render(self):
        width, height = self.console.size
        return screen(self.progress, width, height, elapsed=self._elapsed())


def screen(progress: Progress, width: int, height: int, elapsed: float = 0.0):
    """The whole picture as a rich renderable of `width` × `height` cells."""
    from rich.console import Group
    head = [_title(progress, width, elapsed), _bar(progress, width)]
    room = height - len(head)
    if width >= 112:
        from rich.table import Table
        left = min(width * 3 // 5, width - 55)
        numbers = _numbers(progress, width - left)
        below = room - len(numbers) - 2
        grid = Table.grid(padding=0)
        grid.add_column(width=left)
        grid.add_column(width=width - left)
        side = [_panel(Group(*numbers), "now", width - left, len(numbers) + 2)]
        if below >= 3:
            side.append(_sample(progress, width - left, below))
        grid.add_row(_curves(progress, left, room), Group(*side))
        return Group(*head, grid)
    numbers = _numbers(progress, width, columns=2 if width >= 72 else 1)[:max(1, room - 7)]  # the rest is the curve's
    room -= len(numbers)
    sample = max(4, room * 3 // 10) if room >= 13 else 0
    parts = [*head, _curves(progress, width, room - sample), *numbers]
    if sample:
        parts.append(_sample(progress, width, sample))
    return Group(*parts)


def _title(progress: Progress, width: int, elapsed: float):
    from rich.text import Text
    start, last = progress.started, progress.last
    if start is None:
        return Text("preparing")
    out = Text(no_wrap=True, overflow="ellipsis")
    out.append(start.preset, style="bold").append(f" on {start.data}")
    out.append(f" · {count(start.parameters)} parameters · {start.backend}, {start.threads} thread"
               + "s" * (start.threads != 1), style="dim")
    state = ("done" if isinstance(last, Finished) else "interrupted" if isinstance(last, Interrupted)
             else _preparing(progress) if progress.stepped is None else "")
    seconds = last.seconds if progress.stepped is not None else max(elapsed, last.seconds)
    right = (state + " · " if state else "") + duration(seconds)
    if len(out) + len(right) + 1 > width:
        out.truncate(max(0, width - len(right) - 1), overflow="ellipsis")
    out.append(" " * (width - len(out) - len(right)))
    return out.append(right, style="bold")


def _bar(progress: Progress, width: int):
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text
    known = f" / {count(progress.steps)}" if progress.steps else ""
    text = f" step {count(progress.step)}{known} · {100 * progress.fraction:.0f} %"
    left = progress.seconds_left
    if left is not None and not isinstance(progress.last, (Finished, Interrupted)):
        text += f" · {duration(left)} left"
    grid = Table.grid(padding=0)
    grid.add_column(width=max(4, width - len(text)))
    grid.add_column(width=len(text), no_wrap=True)
    bar = ProgressBar(total=1.0, completed=progress.fraction, width=max(4, width - len(text)),
                      style="color(238)", complete_style="color(39)", finished_style="color(36)")
    grid.add_row(bar, Text(text, no_wrap=True))
    return grid


def _curves(progress: Progress, width: int, height: int):
    from . import terminal
    train = terminal.Series("training", progress.curve.x, progress.curve.y, terminal.TRAIN)
    val = terminal.Series("validation", [s for s, _ in progress.validation], [v for _, v in progress.validation],
                          terminal.VALIDATION, mark="●")
    floor = progress.floor_nats
    shown = terminal.chart([train, val], width=width - 4, height=height - 2, floor=floor,
                           right=progress.steps if progress.fraction > 0.02 else None)
    title = terminal.legend([train, val], f"entropy floor {progress.started.floor:.3f} bits/byte"
                            if floor is not None else None)
    return _panel(shown, "loss, nats/token", width, height, title)


def _numbers(progress: Progress, width: int, columns: int = 1) -> list:
    """The measured numbers as rich lines, in one column or two."""
    from rich.text import Text
    now, val = progress.stepped, progress.evaluated
    losses = [("training", _short_loss(now.train) if now else "–"),
              ("validation", _short_loss(val.val) if val else "–")]
    if progress.best is not None:
        best = progress.best
        losses.append(("best", f"{best.val.nats_per_token:.4f} nats/token at step {count(best.step)}"))
    if val is not None and val.above_floor is not None:
        error = f" ± {val.floor_error:.4f}" if val.floor_error is not None else ""
        losses.append(("above floor", f"{val.above_floor:.4f}{error} bits/byte"))
    speed, peak = progress.tokens_per_second, progress.of_peak
    pace = [("tokens/s", count(speed) + (f" · {100 * peak:.0f} % of peak" * (columns == 1)
                          + f" · {100 * peak:.0f} % peak" * (columns == 2) if peak is not None else "")),
            ("lr", f"{now.lr:.2e}" if now else "–"), ("grad norm", f"{now.grad_norm:.3f}" if now else "–"),
            ("tokens", count(progress.last.tokens if progress.last else 0))]

    def cell(pair, label):
        return Text(f" {pair[0]:<{label}}", style="dim", no_wrap=True, overflow="ellipsis").append(
            Text(pair[1], style="default not dim"))

    if columns == 1:
        return [_cut(cell(pair, 13), width - 4) for pair in losses + pace]
    left = min(50, width - 28)
    out = []
    for i in range(max(len(losses), len(pace))):
        row = _cut(cell(losses[i], 13), left) if i < len(losses) else Text("")
        row.append(" " * (left - len(row)))
        out.append(_cut(row.append(cell(pace[i], 10)) if i < len(pace) else row, width))
    return out


def _short_loss(loss) -> str:
    return f"{loss.nats_per_token:.4f} nats/token · {loss.bits_per_byte:.4f} bits/byte"


def _cut(text, width: int):
    text.truncate(width, overflow="ellipsis")
    return text


def _sample(progress: Progress, width: int, height: int):
    from rich.text import Text
    if progress.sampled is None:
        return _panel(Text("the first sample is still to come", style="dim"), "sample", width, height)
    # The panel cuts what is longer than it is high.
    title = f"sample at step {count(progress.sampled.step)}"
    return _panel(Text(printable(progress.sampled.text), overflow="fold"), title, width, height)


def _panel(body, title: str, width: int, height: int, subtitle=None):
    from rich.panel import Panel
    from rich.text import Text
    return Panel(body, title=Text(title, style="bold"), title_align="left", subtitle=subtitle,
                 subtitle_align="right", width=width, height=max(3, height), border_style="color(244)",
                 padding=(0, 1))
