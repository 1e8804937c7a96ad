"""Ctrl-C asks first, and leaves when pressed again."""
from __future__ import annotations

import os
import signal
import threading

import pytest

from tinylm.train.signals import SIGNALS, stop_on_signals


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_first_asks_the_second_leaves(first, second):
    asked, before = [], [signal.getsignal(n) for n in SIGNALS]
    with pytest.raises(KeyboardInterrupt), stop_on_signals(lambda: asked.append(1)):
        os.kill(os.getpid(), first)
        assert asked == [1]
        os.kill(os.getpid(), second)
    assert asked == [1] and [signal.getsignal(n) for n in SIGNALS] == before


def test_another_thread_leaves_signals_alone():
    before, inside = signal.getsignal(signal.SIGINT), []

    def work():
        with stop_on_signals(lambda: None):
            inside.append(signal.getsignal(signal.SIGINT))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]
