"""Talking to a model: a prompt, a streaming answer, a few commands."""
from __future__ import annotations

import contextlib
import dataclasses

import click

from ..errors import UsageError
from .generate import say

# Commands that set a field of `generate.sampling.Options`, and how its value is read.
_OPTIONS = {"temperature": float, "top-k": int, "top-p": float, "min-p": float, "repetition-penalty": float}
_HELP = """\
Type how a text begins; the model goes on with it.
  an empty line          begin a new text, or go on with the last one
  /again                 another answer to the last prompt
  /seed N                start from another seed
  /temperature X         bolder above 1, safer below, 0 always the likeliest
  /top-k K  /top-p P  /min-p P  /repetition-penalty X  /max-tokens N
  /options               what is set now
  Ctrl-C stops an answer, Ctrl-D leaves."""


class Session:
    """A conversation in a terminal.  Every answer is another sample of the seed, so that asking again
    gives another text and the same questions in the same order the same answers."""

    def __init__(self, writer, view, quiet: bool):
        self.writer, self.view, self.quiet = writer, view, quiet
        self.sample = 0
        self.prompt = ""     # of the last answer
        self.text = ""       # the last prompt and its answer

    def talk(self) -> int:
        """Answer until the person leaves."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (gives input() an editable line and a history)
        trained = self.writer.trained
        if not self.quiet:
            say(f"{trained.name}, step {trained.step:,}\n"
                "Type how a text begins; /help says more, Ctrl-D leaves.", "dim")
        while True:
            try:
                line = input("> ")
                if line.startswith("/"):
                    self._command(*(line[1:].split(None, 1) + ["", ""])[:2])
                else:
                    self._answer(line or self.text)
            except EOFError:
                click.echo()
                return 0
            except KeyboardInterrupt:
                say("\nCtrl-D leaves", "dim")
            except UsageError as error:
                say(str(error), "red")

    def _answer(self, prompt: str) -> None:
        # A text the model has written itself may be longer than its context; that is no news.
        ids = self.writer.read(prompt, self.quiet or prompt in (self.text, self.prompt))
        self.prompt = self.text = prompt
        self.writer.restart()
        self.view.begin(prompt)
        try:
            for _, step in self.writer.write(ids, [self.sample]):
                self.view.add(step)
                self.text += step.text_piece
        except KeyboardInterrupt:
            self.writer.finish = "Ctrl-C"
        self.sample += 1
        self.view.end()
        if not self.quiet and self.writer.tokens:
            say(self.writer.summary(), "dim")

    def _command(self, name: str, value: str) -> None:
        if name in ("help", "?"):
            click.echo(_HELP)
        elif name == "again":
            self._answer(self.prompt)
        elif name == "options":
            self._say_options()
        elif name == "seed":
            self.writer.seed, self.sample = _read(name, int, value), 0
            self._say_options()
        elif name == "max-tokens":
            number = _read(name, int, value)
            if number < 1:
                raise UsageError(f"/max-tokens {number}: at least 1 token is needed")
            self.writer.max_tokens = number
            self._say_options()
        elif name in _OPTIONS:
            self.writer.options = dataclasses.replace(
                self.writer.options, **{name.replace("-", "_"): _read(name, _OPTIONS[name], value)})
            self._say_options()
        else:
            raise UsageError(f"there is no command /{name}: /help lists them")

    def _say_options(self) -> None:
        values = {"seed": self.writer.seed, "max-tokens": self.writer.max_tokens,
                  **{n: getattr(self.writer.options, n.replace("-", "_")) for n in _OPTIONS}}
        say(" · ".join(f"{n} {v}" for n, v in values.items()), "dim")


def _read(name: str, read, value: str):
    try:
        return read(value)
    except ValueError:
        kind = "whole number" if read is int else "number"
        raise UsageError(f"/{name} wants a {kind}, such as /{name} {40 if read is int else 0.7}") from None
