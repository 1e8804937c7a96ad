"""Ctrl-C: leave at once, or ask first; and never have it swallowed.

LLVM calls back into Python when the machine code of a kernel is made or wanted.  An exception that is raised there goes
nowhere: ctypes prints it and the program goes on.  So a Ctrl-C that arrives there is raised a moment later.
"""
from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CALLBACKS = ("_raw_object_cache_notify", "_raw_object_cache_getbuffer")  # of llvmlite
LATER = 0.01  # seconds


def leave(number, frame) -> None:
    """Raise KeyboardInterrupt, as soon as that has an effect: a handler for signals."""
    while frame is not None:
        if frame.f_code.co_name in CALLBACKS:
            again = threading.Timer(LATER, _thread.interrupt_main, (number,))
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


@contextmanager
def stop_on_signals(stop: Callable[[], bool]) -> Iterator[None]:
    """Within this block the first SIGINT or SIGTERM calls `stop`, the second raises KeyboardInterrupt.

    So does the first where `stop` returns that there is nothing to wait for.  Outside the main thread nothing changes:
    only the main thread may handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number, frame):
        nonlocal asked
        before, asked = asked, True
        if before or not stop():
            leave(number, frame)

    handlers = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
