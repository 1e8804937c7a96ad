"""Where an option's value comes from, and where tinylm keeps what it can make again."""
from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Folder for prepared data and compiled kernels; deleting it costs time and nothing else.

    TINYLM_CACHE_DIR, else XDG_CACHE_HOME/tinylm, else ~/.cache/tinylm.
    """
    if os.environ.get("TINYLM_CACHE_DIR"):
        return Path(os.environ["TINYLM_CACHE_DIR"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tinylm"
