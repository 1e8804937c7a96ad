"""The one place that says how kernels are compiled and where machine code is kept.

The cache folder carries a digest of every source a kernel can be made of and of the numba version:
numba itself looks only at the file a function stands in, and would run old machine code after a
change in a file it calls into.  Importing this module sets numba's cache folder.
"""
from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numba
from numba import njit, types
from numba.extending import typeof_impl

from ..config import cache_dir
from . import recording
from .callee import CalleeCompiler
from .fork import THREAD, fork

try:
    import fcntl
except ImportError:  # not a Unix: processes then compile side by side
    fcntl = None

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
        numba.get_num_threads()  # starts the threads: machine code refers to what is known by name only then
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


def is_cached(name: str) -> bool:
    """Whether a function, such as "attention._backward", lies there for any types of its arguments."""
    return CACHE_FOLDER is not None and any(CACHE_FOLDER.rglob(f"{name}-*.nbi"))


_noted: set[str] = set()


def _note_once(text: str) -> None:
    if text not in _noted:
        _noted.add(text)
        sys.stderr.write(f"note: {text}\n")


_held = threading.local()
HAS_LOCKS = fcntl is not None


@contextlib.contextmanager
def _alone(name: str):
    """Within the block no other process that uses this cache compiles the function: it waits, and then loads it.

    A process that ends lets go, however it ends.
    """
    names = vars(_held).setdefault("names", set())
    if not HAS_LOCKS or CACHE_FOLDER is None or name in names:  # a kernel compiles its parts, which have its name
        yield
        return
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # full disks, and network file systems without locks
            fcntl.flock(held.enter_context(open(CACHE_FOLDER / f"{name}.lock", "ab")), fcntl.LOCK_EX)
        names.add(name)
        try:
            yield
        finally:
            names.discard(name)


def _compile(function, **options):
    dispatcher = njit(function, nogil=True, error_model="numpy", cache=CACHE_FOLDER is not None, no_cfunc_wrapper=True,
                      **options)
    if CACHE_FOLDER is not None:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__.lstrip('_')}"
        dispatcher._cache = _ForgivingCache(dispatcher._cache, name)
        own = dispatcher.compile

        def compile_alone(signature):
            with _alone(name):
                return own(signature)

        dispatcher.compile = compile_alone
    return dispatcher


def compiled(function):
    """The function as Python calls it, of which recordings take no note."""
    return _compile(function)


def _note(function, arguments, kernel=False):
    taken = recording.current()
    if taken is not None:
        taken.note(function, arguments, kernel)


class Callee:
    """A function for one thread, compiled into each kernel that calls it.

    Python can call it too, and waits for machine code of its own then.

    Within a kernel it counts no references (`_nrt=False`): the kernel's caller holds the arrays until it returns.
    Else each row that is cut from one costs two atomic additions, a fifth of the time that a norm takes.
    """

    def __init__(self, function, **options):
        self.py_func = function
        self._options = options

    @functools.cached_property
    def within(self):
        """The function as kernels call it."""
        return njit(self.py_func, nogil=True, error_model="numpy", pipeline_class=CalleeCompiler,
                    no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False, **self._options)

    @functools.cached_property
    def alone(self):
        """The function as Python calls it."""
        return _compile(self.py_func, **self._options)

    def __call__(self, *arguments):
        _note(self.alone, arguments)
        return self.alone(*arguments)

    def inspect_asm(self):
        """Its machine code for each signature that kernels have asked for, as text."""
        return self.within.inspect_asm()


@typeof_impl.register(Callee)
def _what_kernels_see(callee, _):
    return types.Dispatcher(callee.within)


def serial(function):
    """Compile for one thread; what a parallel driver calls for its share of the work."""
    return Callee(function, fastmath=FASTMATH)


def serial_apart(function):
    """As `serial`, for arrays of which none that is written to overlaps another.

    Else loops ask for each pair of them whether they do, which for short rows takes as long as the loop.
    """
    function.arrays_are_apart = True
    return serial(function)


def serial_shared(function):
    """As `serial_apart`, for what several kernels do and all to the same bits: no caller takes it in, which could
    change what is added to what.
    """
    function.is_called = True
    return serial_apart(function)


def serial_in_order(function):
    """As `serial`, but sums are done in the order written: for arithmetic whose order is its point."""
    return Callee(function, fastmath={"contract"})


def serial_exact(function):
    """As `serial`, but each operation is rounded as it is written: nothing is reordered or fused."""
    return Callee(function, fastmath=False)


def inlined(function):
    """As `serial`, and copied into each function that calls it: for short work, of which a call would be much."""
    return Callee(function, fastmath=FASTMATH, forceinline=True)


class Kernel:
    """All parts of a function(part, ..., parts), as Python calls them: see `parallel`.

    Numba hears of it at the first call: a command calls some twenty of all kernels that it imports.
    """

    def __init__(self, function, names):
        self._function, self._names = function, names

    @functools.cached_property
    def compiled(self):
        """What numba has made of it."""
        function, names = self._function, ", ".join(self._names)
        scope = {"__name__": function.__module__, "_fork": fork, "_share": serial(function)}
        # Numba wants arguments by name, none of which begins as those here do, and keeps machine code by file and line.
        before = "\n" * (function.__code__.co_firstlineno - 1)
        source = f"{before}def {function.__name__}({names}):\n    _fork(_share, parts, ({names},))\n"
        exec(compile(source, function.__code__.co_filename, "exec"), scope)
        whole = scope[function.__name__]
        whole.__doc__ = function.__doc__
        return _compile(whole)

    def __call__(self, *arguments):
        _note(self.compiled, arguments, True)
        return self.compiled(*arguments)


def parallel(function):
    """Compile function(part, ..., parts), a share of some work, and return what does all parts.

    That takes the same arguments without `part`: f(..., parts).  A second argument `thread` is left out, too: it is
    the number of the thread, from 0, by which scratch memory is told apart.
    """
    names = list(inspect.signature(function).parameters)
    if names[0] != "part" or names[-1] != "parts":
        raise TypeError(f"{function.__name__}{(*names,)}: the first argument is to be part and the last one parts")
    return Kernel(function, names[2 if names[1] == THREAD else 1:])
