"""`python -m tinylm`, and the installed script.

Here and not in `cli.main`, because to import that takes a tenth of a second, in which Ctrl-C is to leave no traceback.
"""
from __future__ import annotations

import gc
import signal
import sys

from . import interrupts

OBJECTS_BETWEEN_SEARCHES = 500_000  # for cycles of them


def entry() -> None:
    """The installed script."""
    # Python looks for cycles among all objects again and again while they become more. What a command imports and
    # compiles stays, and a training step makes none, so that took 0.2 s of a start and found next to nothing.
    gc.set_threshold(OBJECTS_BETWEEN_SEARCHES)
    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background a shell has it ignored
            signal.signal(signal.SIGINT, interrupts.leave)
        from .cli.main import main
        code = main()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process ends as it is
    except KeyboardInterrupt:  # before or after what `main` would say it for
        sys.stderr.write("interrupted\n")
        code = 130
    gc.freeze()  # to look for cycles once more, to take them apart, took 0.5 s
    sys.exit(code)


if __name__ == "__main__":
    entry()
