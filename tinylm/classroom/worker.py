"""The process in which a learner's file runs: inputs come in, outputs go out, nothing is compared here.

It is started with this very text (`python -c`), so it needs nothing but Python and NumPy, and a
submission that edits files cannot change the next one's worker.  Frames on both pipes:

    length of the head (8 bytes), length of the rest (8 bytes), head (JSON), the bytes of the arrays

A frame is data: no pickle, nothing in it is executed.
"""
import builtins
import io
import json
import os
import struct
import sys
import time
import traceback

LARGEST = 1 << 29     # bytes of one frame
PRINTED = 4000        # characters of a learner's prints that are kept
NOT_FOR_ANSWERS = {"solution", "checks", "mutants", "lesson"}


class Unsendable(TypeError):
    """A value of a kind that cannot cross."""


# ------------------------------------------------------------------------------------------ frames
def pack(value, send_callable=None):
    """A value as (JSON-able description, list of buffers): numbers, text, bytes, arrays, and lists,
    tuples and dictionaries of them; callables where `send_callable` gives them a number."""
    import numpy as np

    buffers = []

    def walk(x):
        if x is None or isinstance(x, (bool, str)):
            return x
        if isinstance(x, (np.generic, np.ndarray)):
            array = np.asarray(x)
            if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
                raise Unsendable(f"an array of {array.dtype}")
            buffers.append(np.ascontiguousarray(array).tobytes())
            return {"a": [array.dtype.str, list(array.shape), isinstance(x, np.generic)]}
        if isinstance(x, int):
            return x if -1 << 63 <= x < 1 << 63 else {"i": str(x)}
        if isinstance(x, float):
            return x
        if isinstance(x, (bytes, bytearray)):
            buffers.append(bytes(x))
            return {"b": len(x)}
        if isinstance(x, (list, tuple)):
            return {"t" if isinstance(x, tuple) else "l": [walk(y) for y in x]}
        if isinstance(x, dict):
            return {"d": [[walk(k), walk(v)] for k, v in x.items()]}
        if send_callable is not None and callable(x):
            return {"c": send_callable(x)}
        raise Unsendable(type(x).__name__)

    return walk(value), buffers


def unpack(head, buffers, callables=None, writable=False):
    """The inverse of `pack`.  Arrays are read-only unless `writable`.   Raises ValueError for nonsense."""
    import numpy as np

    buffers = iter(buffers)

    def walk(x):
        if not isinstance(x, dict):
            return x
        (kind, y), = x.items()
        if kind == "a":
            dtype, shape, scalar = y
            if np.dtype(dtype).kind not in "biuf":
                raise ValueError(f"an array of {dtype}")
            array = np.frombuffer(next(buffers), np.dtype(dtype)).reshape(shape)
            return array[()] if scalar else array.copy() if writable else array
        if kind == "i":
            return int(y)
        if kind == "b":
            return next(buffers)
        if kind == "l":
            return [walk(z) for z in y]
        if kind == "t":
            return tuple(walk(z) for z in y)
        if kind == "d":
            return {walk(k): walk(v) for k, v in y}
        if kind == "c" and callables is not None:
            return callables(y)
        raise ValueError(f"a value of kind {kind!r}")

    return walk(head)


def write_frame(stream, head, buffers=()):
    sizes = [len(b) for b in buffers]
    text = json.dumps([head, sizes]).encode()
    stream.write(struct.pack("<QQ", len(text), sum(sizes)) + text + b"".join(buffers))
    stream.flush()


def read_frame(stream):
    """(head, buffers); None at the end of the stream.   Raises ValueError for what is no frame."""
    lengths = stream.read(16)
    if len(lengths) < 16:
        return None
    text, rest = struct.unpack("<QQ", lengths)
    if text + rest > LARGEST:
        raise ValueError(f"a frame of {text + rest} bytes; {LARGEST} are allowed")
    body = stream.read(text + rest)
    if len(body) < text + rest:
        return None
    head, sizes = json.loads(body[:text])
    if sum(sizes) != rest or min(sizes, default=0) < 0:
        raise ValueError("a frame whose sizes do not add up")
    buffers, at = [], text
    for size in sizes:
        buffers.append(body[at:at + size])
        at += size
    return head, buffers


# ------------------------------------------------------------------------------------- the process
def importer(allowed):
    """An `__import__` that keeps a library's ready-made answer, and the course's, out of an exercise.

    It stops who forgets the rule, not who is set on breaking it.
    """
    ordinary = builtins.__import__

    def refused(name):
        top = name.split(".")[0]
        return top in NOT_FOR_ANSWERS or top == "tinylm" and not any(
            name == a or name.startswith(a + ".") for a in allowed)

    def guarded(name, scope=None, local=None, names=(), level=0):
        if (scope or {}).get("__name__") == "exercise":
            # `from tinylm import ops` names a module behind the import.
            whole = [f"{name}.{n}" for n in names or ()] if name == "tinylm" else [name]
            for one in whole or [name]:
                if refused(one):
                    raise ImportError(f"this exercise is to be written without {one}")
        return ordinary(name, scope, local, names, level)

    return guarded


def limit(memory, cpu_seconds, may_write):
    """Limits that the learner's code cannot lift; where the system has none, the parent's clock remains."""
    try:
        import resource
    except ImportError:
        return
    wanted = {"RLIMIT_AS": memory, "RLIMIT_CPU": cpu_seconds, "RLIMIT_CORE": 0}
    if not may_write:
        wanted["RLIMIT_FSIZE"] = 0
    for name, value in wanted.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError):
            continue  # macOS knows RLIMIT_AS and refuses it


def failure(error, path):
    """What went wrong, with the last line of the learner's file that took part."""
    line = None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == path:
            line = frame.lineno
    if isinstance(error, SyntaxError) and error.filename == path:
        line = error.lineno
    return {"error": type(error).__name__, "message": str(error)[:2000], "line": line}


def serve(path, allowed, roots, memory, cpu_seconds, may_write):
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, 0)
    os.dup2(silent, 1)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    import numpy as np  # before the limits: loading it must not fail

    limit(memory, cpu_seconds, may_write)
    sys.path[:] = [p for p in sys.path if p not in ("", os.getcwd())] + roots
    builtins.__import__ = importer(allowed)
    sys.dont_write_bytecode = True
    import types
    module = types.ModuleType("exercise")
    module.__file__ = path
    sys.modules["exercise"] = module
    printed = io.StringIO()
    sys.stdout = printed

    def callables(number):
        def ask(*args):
            head, buffers = pack(args)
            write_frame(answers, {"call": number, "args": head}, buffers)
            reply = read_frame(requests)
            if reply is None:
                os._exit(0)
            return unpack(reply[0], reply[1])
        return ask

    try:
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec"), module.__dict__)
    except BaseException as error:
        write_frame(answers, failure(error, path))
        return
    write_frame(answers, {"ready": True})
    while (request := read_frame(requests)) is not None:
        head, buffers = request
        printed.seek(0)
        printed.truncate()
        out = []
        try:
            if "threads" in head and "numba" in sys.modules:
                sys.modules["numba"].set_num_threads(head["threads"])
            function = getattr(module, head["name"], None)
            if function is None:
                raise NotImplementedError(f"there is no {head['name']} in the file")
            args = unpack(head["args"], buffers, callables, head["fills"])
            started = time.perf_counter()
            result = function(*args)
            seconds = time.perf_counter() - started
            try:
                answer, out = pack((result, [a for a in args if isinstance(a, np.ndarray)] if head["fills"] else None))
            except Unsendable as error:
                raise TypeError(f"{head['name']} returned {error}, which is no number, text or array") from None
            answer = {"value": answer, "seconds": seconds}
        except BaseException as error:
            answer, out = failure(error, path), []
        answer["printed"] = printed.getvalue()[-PRINTED:]
        write_frame(answers, answer, out)


if __name__ == "__main__":
    serve(*json.loads(sys.argv[1]))
