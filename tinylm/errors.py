"""Errors a user can act on, each with the exit code the command line gives it.

Raise one of these with a message that says in one line what is wrong and what to do about it.
Anything else that reaches the command line is a defect of tinylm.
"""
from __future__ import annotations

import difflib
from collections.abc import Iterable


class TinylmError(Exception):
    """Something failed that is neither the user's input nor a check."""

    exit_code = 1


class UsageError(TinylmError):
    """The request itself makes no sense: a wrong option, name, size or shape."""

    exit_code = 2


class CheckFailed(TinylmError):
    """A check of the audit found something wrong."""

    exit_code = 3


class DataMissing(TinylmError):
    """Data is not there, or is not what it should be: no file, not UTF-8, too short, corrupt."""

    exit_code = 4


class Diverged(TinylmError):
    """Training met a number that is not finite."""

    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that helps with a mistyped name: " (did you mean 'gpt-tiny'?)" or the whole list.

    The result starts with a space and can be put behind any message.
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return " (did you mean " + " or ".join(repr(c) for c in close) + "?)"
    return " (there are: " + ", ".join(known) + ")"
