"""Ctrl-C asks first where something can be saved, leaves when pressed again, and is never swallowed."""
from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from llvmlite.binding import executionengine

from tinylm import interrupts
from tinylm.interrupts import SIGNALS, stop_on_signals


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_first_asks_the_second_leaves(first, second):
    asked, before = [], [signal.getsignal(n) for n in SIGNALS]

    def stop():
        asked.append(1)
        return True
    with pytest.raises(KeyboardInterrupt), stop_on_signals(stop):
        os.kill(os.getpid(), first)
        assert asked == [1]
        os.kill(os.getpid(), second)
    assert asked == [1] and [signal.getsignal(n) for n in SIGNALS] == before


def test_the_first_leaves_where_there_is_nothing_to_wait_for():
    with pytest.raises(KeyboardInterrupt), stop_on_signals(lambda: False):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_another_thread_leaves_signals_alone():
    before, inside = signal.getsignal(signal.SIGINT), []

    def work():
        with stop_on_signals(lambda: True):
            inside.append(signal.getsignal(signal.SIGINT))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


@pytest.mark.parametrize("name", interrupts.CALLBACKS)
def test_llvm_calls_back_into_functions_of_these_names(name):
    assert callable(getattr(executionengine.ExecutionEngine, name))


@pytest.mark.parametrize("name", interrupts.CALLBACKS)
@pytest.mark.parametrize("asks", [False, True])
def test_an_interrupt_within_a_callback_is_raised_after_it(name, asks, capfd):
    def callback():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("the end of the callback")

    reached, scope = [], {"call": callback}
    exec(f"def {name}(): call()", scope)
    called = ctypes.CFUNCTYPE(None)(scope[name])
    before = signal.signal(signal.SIGINT, interrupts.leave)
    try:
        with pytest.raises(KeyboardInterrupt), stop_on_signals(lambda: False) if asks else contextlib.nullcontext():
            called()
            reached.append("the line after it")
            time.sleep(5)
            reached.append("too much")
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached[0] == "the end of the callback" and "too much" not in reached
    assert "ignored" not in capfd.readouterr().err


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("where", ["click", "tinylm.cli.doctor"])
def test_the_command_line_leaves_without_a_traceback(where, ignored):
    """While it imports what it is made of, and while a command does; but not where a shell has the signal ignored."""
    script = f"""
import builtins, os, signal, sys
signal.signal(signal.SIGINT, signal.{"SIG_IGN" if ignored else "default_int_handler"})
own = builtins.__import__
def slow(name, globals=None, locals=None, fromlist=(), level=0):
    if name == {where!r} or (globals or {{}}).get("__name__") == {where!r}:
        builtins.__import__ = own
        os.kill(os.getpid(), signal.SIGINT)
    return own(name, globals, locals, fromlist, level)
from tinylm import __main__
sys.argv = ["tinylm", "doctor", "--help"]
builtins.__import__ = slow
__main__.entry()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    if ignored:
        assert done.returncode == 0 and "Usage" in done.stdout and not done.stderr
    else:
        assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "interrupted")
