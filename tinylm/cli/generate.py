"""`tinylm generate` and `tinylm eval`: what a trained model writes, and how well it predicts."""
from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator

import click

from .common import SETTINGS, console, emit_json, note, output_options, threads_option

_ROWS = 16  # samples written side by side


def _run_options(command):
    for option in (
            output_options, threads_option,
            click.option("--checkpoint", type=click.Choice(["best", "last"]),
                         help="Which one (default: the best by validation loss, else the last)."),
            click.argument("run", default="latest")):
        command = option(command)
    return command


# -- generate ---------------------------------------------------------------------------------------

@click.command(context_settings=SETTINGS,
               epilog="Example: tinylm generate latest --prompt 'Once upon a time' --temperature 0.7")
@_run_options
@click.option("--prompt", metavar="TEXT", help="How the text begins; may come from stdin instead.")
@click.option("--max-tokens", type=click.IntRange(1), default=500, show_default=True, metavar="N",
              help="End after so many.")
@click.option("--temperature", type=float, default=0.8, show_default=True, metavar="X",
              help="Above 1 bolder, below 1 safer, 0 always the likeliest token.")
@click.option("--top-k", type=int, default=0, metavar="K", help="Draw from the K likeliest tokens.")
@click.option("--top-p", type=float, default=1.0, metavar="P",
              help="Draw from the fewest tokens whose probability reaches P.")
@click.option("--min-p", type=float, default=0.0, metavar="P",
              help="Draw from tokens at least P times as likely as the likeliest.")
@click.option("--repetition-penalty", type=float, default=1.0, metavar="X",
              help="Above 1 weakens tokens that occurred before.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N",
              help="The same seed writes the same text.")
@click.option("--samples", type=click.IntRange(1, 10_000), default=1, metavar="N", help="How many texts.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated.")
@click.option("--probabilities", is_flag=True, help="Colour each character by how likely it was.")
@click.option("--top", type=click.IntRange(1, 5), metavar="N",
              help="List the N likeliest tokens at every place (at most 5).")
@click.option("--cache-bits", type=click.Choice(["8", "32"]), default="32", show_default=True,
              help="Of a number in the cache of keys and values: with 8 it takes a quarter of the memory.")
@click.option("--backend", type=click.Choice(["numba", "numpy"]), default="numba", show_default=True,
              help="Kernels or definitions.")
def generate(run: str, checkpoint: str | None, prompt: str | None, max_tokens: int, temperature: float,
             top_k: int, top_p: float, min_p: float, repetition_penalty: float, seed: int, samples: int,
             stop: tuple[str, ...], probabilities: bool, top: int | None, cache_bits: str, backend: str,
             as_json: bool, quiet: bool, cpu_threads: int):
    """Write text with the model of RUN: a path, a name under runs/, the beginning of one, or latest.

    Without a prompt the model begins a new text: after the end of another one where its vocabulary
    has such a symbol, else after a newline.  On a terminal, without --prompt, you talk to it.

    Probabilities are the model's own, before temperature and filters.
    """
    from ..errors import UsageError
    from ..generate.sampling import Options
    from ..generate.stream import check_cache
    from .loading import open_run, operations

    options = Options(temperature, top_k, top_p, min_p, repetition_penalty)
    if "" in stop:
        raise UsageError("--stop '': an empty text cannot be looked for")
    interactive = prompt is None and sys.stdin.isatty() and sys.stdout.isatty() and not as_json and samples == 1
    if prompt is None and not sys.stdin.isatty():
        prompt = _read_stdin()
    trained = open_run(run, checkpoint)
    check_cache(trained.model, int(cache_bits))
    f = operations(backend)
    view = _Alternatives(trained.tokenizer, top) if top else _Probabilities() if probabilities else _Plain()
    writer = _Writer(trained, f, options, seed, max_tokens, stop, bool(probabilities or top), int(cache_bits))
    writer.prepare(quiet)
    if interactive:
        from .session import Session

        return Session(writer, view, quiet).talk()
    ids = writer.read(prompt or "", quiet)
    if as_json:
        emit_json(_collected(writer, ids, prompt or "", samples, bool(probabilities or top), top or 5))
        return
    try:
        _write_samples(writer, ids, prompt or "", samples, view)
    except KeyboardInterrupt:
        view.end()
        raise
    note(f"{trained.name}, step {trained.step:,}", quiet)
    note(writer.summary(), quiet)


def _read_stdin() -> str:
    """The prompt that was piped in, without the newline at its end.   Raises UsageError"""
    from ..errors import UsageError

    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("the prompt on stdin is not UTF-8") from None


class _Writer:
    """A trained model with the options of one command, and a count of what it has written."""

    def __init__(self, trained, f, options, seed, max_tokens, stop, judge, cache_bits):
        self.trained, self.f, self.options, self.cache_bits = trained, f, options, cache_bits
        self.seed, self.max_tokens, self.stop, self.judge = seed, max_tokens, stop, judge
        self.restart()

    def restart(self) -> None:
        """Forget what has been counted."""
        self.tokens, self.finish, self._timed, self._start, self._end = 0, None, 0, None, 0.0

    def prepare(self, quiet: bool) -> None:
        """Write two tokens for nobody: what a token needs is compiled before any text appears, not in its middle."""
        told = threading.Timer(1.0, note, ("compiling kernels, which happens once", quiet))
        told.start()
        try:
            for _ in itertools.islice(self.write([], [0]), 2):
                pass
        finally:
            told.cancel()
            self.restart()

    def read(self, prompt: str, quiet: bool):
        """The tokens of a prompt.   Raises UsageError that names characters the vocabulary lacks"""
        ids = self.trained.tokenizer.encode(prompt)
        context = self.trained.model.config.context
        if len(ids) > context:
            note(f"the prompt has {len(ids):,} tokens; the model sees the last {context:,}", quiet)
        return ids

    def write(self, ids, samples) -> Iterator:
        """As `generate.stream.write`, counting."""
        from ..generate.stream import write

        t = self.trained
        for row, step in write(t.model, t.params, self.f, t.tokenizer, ids, self.options, seed=self.seed,
                               samples=samples, max_tokens=self.max_tokens, stop=self.stop, judge=self.judge,
                               cache_bits=self.cache_bits):
            self._end = time.perf_counter()
            if self._start is None:
                self._start = self._end  # the clock starts when prompt and first use are over
            else:
                self._timed += 1
            self.tokens += 1
            self.finish = "max-tokens" if step.finish == "length" else step.finish
            yield row, step

    @property
    def tokens_per_second(self) -> float | None:
        """Speed after the first token; None where there was only one."""
        return self._timed / (self._end - self._start) if self._timed else None

    def summary(self) -> str:
        speed = f" · {self.tokens_per_second:,.0f} tokens/s" if self.tokens_per_second else ""
        return f"{self.tokens:,} tokens{speed} · ended by {self.finish} · seed {self.seed}"


def _collected(writer, ids, prompt, samples, with_probabilities, top) -> dict:
    """The --json answer; `text` is that of the first sample, without the prompt."""
    found = []
    decode = writer.trained.tokenizer.decode
    for first in range(0, samples, _ROWS):
        rows = range(first, min(first + _ROWS, samples))
        found += [{"sample": s, "text": "", "tokens": 0, "finish": None} for s in rows]
        for row, step in writer.write(ids, rows):
            sample = found[first + row]
            sample["text"] += step.text_piece
            sample["tokens"] += 1
            sample["finish"] = step.finish
            if with_probabilities:
                sample.setdefault("steps", []).append(
                    {"token": step.token, "text": step.text_piece, "probability": step.probability,
                     "top": [{"token": t, "text": decode([t]), "probability": p} for t, p in step.top5[:top]]})
    t, o = writer.trained, writer.options
    return {"text": found[0]["text"], "tokens": writer.tokens, "tokens_per_second": writer.tokens_per_second,
            "prompt": prompt, "prompt_tokens": len(ids), "samples": found, "run": str(t.run),
            "checkpoint": t.which, "step": t.step, "tokenizer": t.tokenizer.digest, "seed": writer.seed,
            "max_tokens": writer.max_tokens, "stop": list(writer.stop), "cache_bits": writer.cache_bits,
            "temperature": o.temperature, "top_k": o.top_k, "top_p": o.top_p, "min_p": o.min_p,
            "repetition_penalty": o.repetition_penalty}


def _write_samples(writer, ids, prompt, samples, view) -> None:
    """The first of each group of samples as it is written, the others when they are whole."""
    for first in range(0, samples, _ROWS):
        rows = range(first, min(first + _ROWS, samples))
        waiting: dict[int, list] = {row: [] for row in range(1, len(rows))}
        _head(rows[0], samples)
        view.begin(prompt)
        for row, step in writer.write(ids, rows):
            if row:
                waiting[row].append(step)
            else:
                view.add(step)
        view.end()
        for row, steps in waiting.items():
            _head(rows[row], samples)
            view.begin(prompt)
            for step in steps:
                view.add(step)
            view.end()


def _head(sample: int, samples: int) -> None:
    if samples > 1:
        say(f"{chr(10) if sample else ''}── sample {sample + 1} of {samples}", "dim")


# -- how text is shown ------------------------------------------------------------------------------

def say(text: str, style: str, end: str = "\n") -> None:
    """A line on stdout in a style of rich, where the terminal knows styles."""
    from rich.text import Text

    console().print(Text(text, style), end=end, soft_wrap=True)


class _Plain:
    """Text as it is written; on a terminal, what could steer it is made visible."""

    def __init__(self):
        self.terminal = sys.stdout.isatty()

    def begin(self, prompt: str) -> None:
        self._last = ""
        self._put(prompt, "bold")

    def add(self, step) -> None:
        self._put(step.text_piece)

    def end(self) -> None:
        if self._last != "\n":
            click.echo()

    def _put(self, text: str, style: str | None = None) -> None:
        if not text:
            return
        self._last = text[-1]
        if self.terminal:
            from ..report.words import printable

            text = printable(text)
        if style:
            say(text, style, end="")
        else:
            click.echo(text, nl=False)  # it flushes, so a reader gets every token at once


# Colour (of 256) and sign of a band of probabilities, from certain to surprising; the colours of Okabe
# and Ito, which differ for colour-blind readers too.
_BANDS = ((0.9, 36, "0.9 – 1"), (0.5, 74, "0.5 – 0.9"), (0.2, 220, "0.2 – 0.5"), (0.05, 208, "0.05 – 0.2"),
          (0.0, 197, "below 0.05"))


class _Probabilities:
    """Each character in the colour of its token's probability; without colours, a row of digits below
    each line: 9 stands for 0.9 and more, 0 for less than 0.1."""

    def __init__(self):
        self.out = console()
        self.colours = self.out.color_system is not None and not self.out.no_color
        self.width = max(20, self.out.width)

    def begin(self, prompt: str) -> None:
        from rich.text import Text

        if self.colours:
            legend = Text("probability: ")
            for _, colour, label in _BANDS:
                legend.append(f" {label} ", f"bold color({colour})")
            self.out.print(legend)
        else:
            self.out.print("probability: the digit below, 9 for 0.9 and more, 0 for less than 0.1", markup=False)
        self._line, self._digits, self._cells = "", "", 0
        for character in prompt:
            self._put(character, None)

    def add(self, step) -> None:
        for character in step.text_piece:
            self._put(character, step.probability)

    def end(self) -> None:
        if self._cells or self._line:
            self._break()

    def _put(self, character: str, probability: float | None) -> None:
        from rich.cells import cell_len
        from rich.text import Text

        from ..report.words import printable

        if character == "\n":
            self._break("⏎" if probability is not None else "", probability)
            return
        shown = printable(character)
        if self._cells + cell_len(shown) > self.width - 1:
            self._break()
        self._cells += cell_len(shown)
        if self.colours:
            self.out.print(Text(shown, self._style(probability)), end="")
            self._line = shown  # something stands in this line
            self.out.file.flush()
        else:
            digit = " " if probability is None else str(min(9, int(10 * probability)))
            self._line += shown
            self._digits += digit + " " * (cell_len(shown) - 1)

    def _style(self, probability: float | None) -> str:
        if probability is None:
            return "bold"
        return f"color({next(colour for least, colour, _ in _BANDS if probability >= least)})"

    def _break(self, mark: str = "", probability: float | None = None) -> None:
        """End the line; the newline the model wrote has a probability too, shown on its mark."""
        from rich.text import Text

        if self.colours:
            self.out.print(Text(mark, self._style(probability)))
        else:
            digit = "" if probability is None else str(min(9, int(10 * probability)))
            click.echo(self._line + mark)
            if self._digits.strip() or digit:
                click.echo(self._digits + digit)
        self._line, self._digits, self._cells = "", "", 0


class _Alternatives:
    """One line a token: what was written and how likely it was, then the likeliest in order."""

    def __init__(self, tokenizer, top: int):
        self.tokenizer, self.top, self.out = tokenizer, top, console()

    def begin(self, prompt: str) -> None:
        if prompt:
            say(f"after {_shown(prompt)}", "dim")
        say(f"{'written':<16} likeliest", "bold")

    def add(self, step) -> None:
        from rich.text import Text

        line = Text(f"{self._name(step.token):<8} {step.probability:>6.1%}  ")
        for token, probability in step.top5[:self.top]:
            line.append(f"{self._name(token)} {probability:.1%}".ljust(13),
                        "bold" if token == step.token else "")
        line.rstrip()
        self.out.print(line)

    def end(self) -> None:
        pass

    def _name(self, token: int) -> str:
        return "end" if token == self.tokenizer.end_of_text else _shown(self.tokenizer.decode([token]))


def _shown(text: str) -> str:
    """A text in quotes, in one line."""
    from ..report.words import printable

    if text.isprintable():
        return f"'{text}'"
    return repr(text) if text.isascii() else f"'{printable(text, lines=False)}'"


# -- eval -------------------------------------------------------------------------------------------

@click.command("eval", context_settings=SETTINGS, epilog="Example: tinylm eval latest --data notes.txt --split all")
@_run_options
@click.option("--data", metavar="CORPUS|FILE", help="Another text than the one the run was trained on.")
@click.option("--documents", default="auto", show_default=True, metavar="auto|blank-line|whole",
              help="Where the documents of --data end.")
@click.option("--split", type=click.Choice(["train", "val", "all"]), default="val", show_default=True,
              help="The part to measure; all: both together.")
@click.option("--context", type=click.IntRange(1), metavar="N",
              help="Tokens the model may look back at (default: its whole context).")
@click.option("--backend", type=click.Choice(["numba", "numpy"]), default="numba", show_default=True,
              help="Kernels or definitions.")
def evaluate(run: str, checkpoint: str | None, data: str | None, documents: str, split: str,
             context: int | None, backend: str, as_json: bool, quiet: bool, cpu_threads: int):
    """Measure the loss of RUN on a whole text, with units.

    The text is cut into windows of the context, side by side; every token but the first is predicted
    once, from those before it in its window.  Bits per byte compare with any other model on the same
    text; nats and perplexity per token only with models of the same tokenizer.
    """
    from ..errors import UsageError
    from ..text.batches import windows
    from ..train.floor import FloorCheck
    from .loading import open_run, operations

    trained = open_run(run, checkpoint)
    longest = trained.model.config.context
    if context is not None and context > longest:
        raise UsageError(f"--context {context}: the model of {trained.name} has positions for {longest}")
    context = context or longest
    dataset = _dataset(trained, data, documents, quiet)
    loss = None
    for part in ("train", "val") if split == "all" else (split,):
        tokens = dataset.split(part)
        found = _measure(trained, operations(backend), windows(tokens, context), len(tokens) - 1, quiet)
        loss = found if loss is None else loss + found
    floor = dataset.floor if split == "val" else None  # it is known for those documents
    if as_json:
        emit_json({**loss.to_json(), "run": str(trained.run), "checkpoint": trained.which,
                   "step": trained.step, "data": dataset.name, "split": split, "context": context,
                   "floor": floor and {"bits_per_byte": floor.bits_per_byte,
                                       "standard_error": floor.standard_error},
                   "above_floor": floor and loss.bits_per_byte - floor.bits_per_byte})
    else:
        _print_loss(loss, trained, dataset.name, split, context, floor)
    if floor is not None:
        FloorCheck(floor.bits_per_byte, floor.standard_error,
                   dataset.meta["splits"]["val"]["bytes"]).check(loss, trained.step)


def _dataset(trained, data: str | None, documents: str, quiet: bool):
    """The text to measure on, in the tokens of the run."""
    from .loading import open_data
    tokenizer, source, size, vocab = trained.tokenizer, data, None, None
    if data is None:
        setup = trained.config().setup
        source, documents, size, vocab = setup.data, setup.documents, setup.size, setup.vocab
        found = open_data(source, documents, size, vocab=vocab, quiet=quiet)
        if found.tokenizer.digest == tokenizer.digest:
            return found
        note(f"{source} is not what it was when {trained.name} was trained: another text", quiet)
    return open_data(source, documents, size, tokenizer=tokenizer, quiet=quiet)


def _measure(trained, f, windows, total: int, quiet: bool):
    from ..generate.evaluate import evaluate as measure

    def watched(status):
        done = 0
        for inputs, targets in windows:
            yield inputs, targets
            done += targets.size
            if status is not None:
                status.update(f"evaluating: {done:,} of {total:,} tokens")

    with _status(f"evaluating: {total:,} tokens", quiet) as status:
        return measure(trained.model, trained.params, f, trained.tokenizer, watched(status))


def _status(text: str, quiet: bool):
    """A line on stderr with something that moves, where a person looks on; else nothing."""
    import contextlib

    screen = console(stderr=True)
    return screen.status(text) if screen.is_terminal and not quiet else contextlib.nullcontext()


def _print_loss(loss, trained, data, split, context, floor) -> None:
    which = f"{trained.which} checkpoint, " if trained.which else ""
    click.echo(f"{trained.name} ({which}step {trained.step:,}) on {data}, {split}: {loss.tokens:,} tokens, "
               f"{loss.bytes:,} bytes, context {context}\n")
    rows = [(f"{loss.nats_per_token:.4f}", f"nats/token of {trained.tokenizer.name}"),
            (f"{loss.bits_per_byte:.4f}", "bits/byte"), (f"{loss.bits_per_char:.4f}", "bits/character"),
            (f"{loss.perplexity_per_token:.4f}", f"perplexity per token of {trained.tokenizer.name}")]
    if floor is not None:
        rows.append((f"{floor.bits_per_byte:.4f}", f"bits/byte is the entropy floor (± {floor.standard_error:.4f})"))
        rows.append((f"{loss.bits_per_byte - floor.bits_per_byte:.4f}", "bits/byte above the floor"))
    for number, unit in rows:
        click.echo(f"{number:>10} {unit}")
