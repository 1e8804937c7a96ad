"""What decides the bits of a training run besides its options and its data: the code."""
from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_ALWAYS = ("ops/*.py", "layers/*.py", "models/*.py", "text/batches.py", "train/loop.py", "train/replay.py",
           "train/schedule.py")


def numerics(backend: str) -> str:
    """Digest of every source that a number of a run can depend on, and of the library beneath.

    Equal digests on one machine mean equal bits.  (Another machine may have other vector units.)
    """
    library = "numba" if backend == "numba" else "numpy"
    digest = hashlib.sha256(f"{backend} {library} {version(library)}".encode())
    for pattern in _ALWAYS + (("kernels/*.py",) if backend == "numba" else ()):
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(f"{path.relative_to(_PACKAGE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
