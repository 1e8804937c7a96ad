"""What commands share: options that mean the same everywhere, and where output goes.

Data goes to stdout, progress and notes to stderr, so that `tinylm ... --json > file` is clean.
"""
from __future__ import annotations

import json
import os
import sys

import click

from .. import threads

# Options come from the command line, else from TINYLM_<OPTION>, such as TINYLM_CPU_THREADS.
SETTINGS = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "TINYLM"}


def output_options(command):
    """--json and --quiet."""
    command = click.option("--quiet", "-q", is_flag=True, help="No progress and no notes.")(command)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")(command)


def _fix_threads(context, parameter, value):
    count, text = threads.prepare(value)
    if text:
        note(text, quiet=context.params.get("quiet", False))
    return count


def threads_option(command):
    """--cpu-threads; eager, so that it is honoured before anything imports numpy."""
    return click.option("--cpu-threads", type=int, callback=_fix_threads, is_eager=True, metavar="N",
                        help="Threads to use (default: all processors).")(command)


def note(text: str, quiet: bool = False) -> None:
    """One line on stderr, for what is not data."""
    if not quiet:
        click.echo(text, err=True)


def emit_json(value: dict) -> None:
    """The one JSON object of a --json answer; numbers that are not finite become null."""
    click.echo(json.dumps(_finite(value), ensure_ascii=False))


def _finite(value):
    if isinstance(value, float) and value - value != 0:  # inf and nan are not JSON
        return None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def console(stderr: bool = False):
    """A rich console that honours NO_COLOR, TERM=dumb and pipes."""
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self):  # rich would end the program with code 1: the command's own code counts
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    stream = sys.stderr if stderr else sys.stdout
    return PipedConsole(file=stream, soft_wrap=not stream.isatty(), highlight=False)
