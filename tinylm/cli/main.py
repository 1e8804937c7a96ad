"""`tinylm`: the command line.

Commands are loaded when they are asked for, so that `tinylm --help` imports nothing heavy, and so
that `--cpu-threads` can be honoured before numpy and numba are imported.
"""
from __future__ import annotations

import importlib
import os
import sys

import click

from .. import __version__
from ..errors import TinylmError, nearest

# name: (module in this folder, attribute, one line for the overview)
COMMANDS = {
    "train": ("train", "train", "Train a model; resume one; plan one with --dry-run."),
    "generate": ("generate", "generate", "Write text with a trained model."),
    "eval": ("generate", "evaluate", "Measure a trained model's loss, with units."),
    "export": ("export", "export", "Write a trained model as a folder to keep: packed, with a model card."),
    "info": ("info", "info", "Parameters, operations and memory of a preset, run or exported folder."),
    "trace": ("info", "trace", "The shape tree: every layer, in and out."),
    "data": ("data", "data", "Corpora: list, get, prepare, show."),
    "audit": ("audit", "audit", "Check gradients, causality, kernels, streaming and units."),
    "bench": ("bench", "bench", "Measure speed, and how far it is from this machine's peak."),
    "runs": ("runs", "runs", "Runs: list, show, compare."),
    "lesson": ("lesson", "lesson", "The lessons: walk through, write, check."),
    "doctor": ("doctor", "doctor", "What this machine has and how it is used."),
    "warmup": ("doctor", "warmup", "Compile every kernel now."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, context):
        return list(COMMANDS)

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        return getattr(importlib.import_module(f".{module}", __package__), attribute)

    def resolve_command(self, context, args):
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}" + nearest(args[0], COMMANDS), context)
        return super().resolve_command(context, args)

    def invoke(self, context):
        try:
            return super().invoke(context)
        except BrokenPipeError:  # the reader of our output left, as `head` does: not an error of ours
            # Click would turn it into exit code 1 before `main` sees it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    def format_commands(self, context, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]},
             epilog="Example: tinylm train --preset gpt-tiny --data stories")
@click.version_option(__version__, prog_name="tinylm")
def cli():
    """Train and understand small language models on a CPU.

    Add --traceback to any command to see where an error came from.
    """


def main(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code; every error is one line on stderr."""
    args = list(sys.argv[1:] if args is None else args)
    want_traceback = "--traceback" in args
    args = [a for a in args if a != "--traceback"]
    try:
        # Without standalone mode click returns the code a command exits with, or what it returned.
        code = cli.main(args, prog_name="tinylm", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Exception as error:
        if want_traceback:
            raise
        return _report(error)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return 130


def _report(error: Exception) -> int:
    """One line that says what is wrong; the exit code that goes with it."""
    if isinstance(error, click.exceptions.Abort):
        click.echo("interrupted", err=True)
        return 130
    if isinstance(error, click.ClickException):
        text, code = error.format_message(), error.exit_code
    elif isinstance(error, TinylmError):
        text, code = str(error), error.exit_code
    elif isinstance(error, MemoryError):
        text, code = f"out of memory: {error} (a smaller --batch-size or --context needs less)", 1
    elif isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        text, code = f"{error.strerror or error}{where}", 1
    else:
        text, code = f"unexpected {type(error).__name__}: {error} (a defect of tinylm; --traceback shows where)", 1
    click.echo("error: " + " ".join(text.split()), err=True)
    return code
