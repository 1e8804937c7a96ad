"""The one place that says how kernels are compiled and where machine code is kept.

The cache folder carries a digest of every source a kernel can be made of and of the numba version:
numba itself looks only at the file a function stands in, and would run old machine code after a
change in a file it calls into.  Importing this module sets numba's cache folder.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numba
from numba import njit

from ..config import cache_dir

# Reordering and contraction are allowed; `nnan` and `ninf` are not, because they would let the
# compiler delete the checks for numbers that are not finite.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def _sources() -> list[Path]:
    here = Path(__file__).parent
    return sorted([*here.glob("*.py"), *(here.parent / "ops").glob("*.py")])


def _digest() -> str:
    digest = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    for path in _sources():
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _prepare_cache() -> tuple[Path | None, str | None]:
    """(the cache folder, a note): the folder is None where nothing can be written."""
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or cache_dir() / "kernels") / _digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return None, f"kernels are compiled anew each time: no cache in {folder} ({error.strerror})"
    return folder, None


CACHE_FOLDER, CACHE_NOTE = _prepare_cache()
if CACHE_FOLDER is not None:
    numba.config.CACHE_DIR = str(CACHE_FOLDER)


class _ForgivingCache:
    """Numba's cache of one function, for which a broken or unwritable file costs a compilation."""

    def __init__(self, cache, name):
        self._cache, self._name = cache, name

    def __getattr__(self, name):
        return getattr(self._cache, name)

    def load_overload(self, signature, context):
        try:
            return self._cache.load_overload(signature, context)
        except Exception as error:  # a damaged pickle can raise anything; nothing is lost by compiling
            _note_once(f"a damaged kernel cache is being rebuilt in {CACHE_FOLDER} ({type(error).__name__})")
            with contextlib.suppress(OSError):
                self._cache.flush()
            return None

    def save_overload(self, signature, data):
        for listener in _listeners:
            listener(self._name)
        try:
            self._cache.save_overload(signature, data)
        except Exception as error:  # as above, and a full disk
            _note_once(f"kernels could not be kept in {CACHE_FOLDER} ({error})")


_listeners: list[Callable[[str], None]] = []


@contextlib.contextmanager
def compilations_told(listener: Callable[[str], None]):
    """Within the block, call listener(name) after each function that had to be compiled."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def cached_files() -> int:
    """How many compiled kernels lie in the cache folder."""
    return len(list(CACHE_FOLDER.rglob("*.nbc"))) if CACHE_FOLDER else 0


_noted: set[str] = set()


def _note_once(text: str) -> None:
    if text not in _noted:
        _noted.add(text)
        sys.stderr.write(f"note: {text}\n")


# Only `prange` is made parallel: whole-array expressions stay loops of the thread that meets them.
_PRANGE_ONLY = {"prange": True, "comprehension": False, "reduction": False, "inplace_binop": False,
                "setitem": False, "numpy": False, "stencil": False, "fusion": False}


def _compile(function, **options):
    dispatcher = njit(function, nogil=True, error_model="numpy", cache=CACHE_FOLDER is not None, **options)
    if CACHE_FOLDER is not None:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__.lstrip('_')}"
        dispatcher._cache = _ForgivingCache(dispatcher._cache, name)
    return dispatcher


def serial(function):
    """Compile for one thread; what a parallel driver calls for its share of the work."""
    return _compile(function, fastmath=FASTMATH)


def serial_in_order(function):
    """As `serial`, but sums are done in the order written: for arithmetic whose order is its point."""
    return _compile(function, fastmath={"contract"})


def inlined(function):
    """As `serial`, and copied into each function that calls it: for short work, of which a call would be a large part.

    Its code is kept where its callers' is, never by itself.
    """
    return njit(function, nogil=True, error_model="numpy", fastmath=FASTMATH, forceinline=True)


def parallel(function):
    """Compile a driver whose `prange` loops share work among threads.

    Keep drivers small: parallel compilation takes three times as long.
    """
    return _compile(function, fastmath=FASTMATH, parallel=_PRANGE_ONLY)
