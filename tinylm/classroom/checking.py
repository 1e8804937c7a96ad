"""What a lesson's `checks.py` is made of.

    @check("softmax", "shapes")
    def one_row_each(yours):
        '''softmax gives one probability for each logit.'''
        shaped(prob=(yours.softmax(np.zeros((2, 3))), (2, 3)))

    @check("softmax", "definition", B=whole(1, 5), V=whole(1, 9))
    def as_defined(yours, rng, B, V):
        '''each row is exp(logit) divided by the sum of its row'''
        logits = rng.standard_normal((B, V))
        same(prob=(yours.softmax(logits), slow_softmax(logits)))

A check is a function of `yours`, whose attributes are the learner's functions; of `rng`, if it asks for one;
and of what is drawn for it (hypothesis shrinks what is drawn when it fails).  Its docstring is one sentence
that says what is true of a right answer; `look` names a place to look at, never the answer.

Nothing here runs a learner's code: `yours` does, in another process.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies

STAGES = "shapes", "worked case", "definition", "property", "gradient", "threads", "speed"
DIGITS = 1e-9      # of the largest number in the expected array, for float64
SINGLE = 1e-5      # for float32


# ------------------------------------------------------------------------------------- declaring checks
@dataclass(frozen=True)
class Check:
    """One check of one task.

    stage      one of STAGES; the speed stage reports and cannot fail
    draws      hypothesis strategies by name of parameter; without any the check runs once
    examples   how many are drawn at most
    """

    task: str
    stage: str
    function: Callable
    draws: Mapping[str, strategies.SearchStrategy]
    examples: int
    points: int
    look: str | None

    @property
    def name(self) -> str:
        return self.function.__name__.replace("_", " ")

    @property
    def truth(self) -> str:
        """What is true of a right answer."""
        return " ".join((self.function.__doc__ or "").split()).rstrip(".")

    @property
    def wants_rng(self) -> bool:
        return "rng" in inspect.signature(self.function).parameters


def check(task: str, stage: str, *, examples: int = 20, points: int = 1, look: str | None = None,
          **draws: strategies.SearchStrategy) -> Callable:
    """Declare a check; parameters not named here are drawn.

    Raises    ValueError for an unknown stage, a missing sentence, or parameters that do not match
    """
    def declare(function):
        wanted = set(inspect.signature(function).parameters) - {"yours", "rng"}
        if stage not in STAGES:
            raise ValueError(f"{function.__name__}: stage {stage!r} is none of {', '.join(STAGES)}")
        if wanted != set(draws):
            raise ValueError(f"{function.__name__} takes {sorted(wanted)}, drawn are {sorted(draws)}")
        if not function.__doc__:
            raise ValueError(f"{function.__name__}: say in its docstring what is true of a right answer")
        function.check = Check(task, stage, function, draws, examples, 0 if stage == "speed" else points, look)
        return function
    return declare


def checks_of(module) -> list[Check]:
    """The checks a module declares, in its order."""
    return [f.check for f in vars(module).values() if isinstance(getattr(f, "check", None), Check)]


def whole(low: int, high: int):
    """Draw a whole number, both ends included; small ones are tried first when a failure is shrunk."""
    return strategies.integers(low, high)


def real(low: float, high: float):
    """Draw a float."""
    return strategies.floats(low, high, allow_subnormal=False, width=32)


def one_of(*values):
    """Draw one of these values; the first is the simplest."""
    return strategies.sampled_from(values)


def text(alphabet: str | None = None, most: int = 20, least: int = 0):
    """Draw a text; without an alphabet of any characters that UTF-8 can write."""
    characters = strategies.characters(exclude_categories=["Cs"]) if alphabet is None else alphabet
    return strategies.text(characters, min_size=least, max_size=most)


# ------------------------------------------------------------------------------------- what can be wrong
@dataclass(frozen=True)
class Row:
    """One array of a comparison; `index` is None where it agrees or where the shapes differ.

    share    error as a share of the tolerance
    """

    name: str
    ok: bool
    index: tuple[int, ...] | None = None
    yours: object = None
    expected: object = None
    error: float | None = None
    share: float | None = None
    wrong: int = 0
    size: int = 0
    note: str | None = None


class Wrong(Exception):
    """An answer that is not right: a sentence, and the arrays compared."""

    def __init__(self, sentence: str, rows: Sequence[Row] = ()):
        super().__init__(sentence)
        self.sentence, self.rows = sentence, tuple(rows)


@dataclass
class Speed:
    """What a speed check found; information."""

    lines: list[str] = field(default_factory=list)


def claim(holds: bool, sentence: str) -> None:
    """Raise Wrong with `sentence` unless it holds; say what was found, not what should be written."""
    if not holds:
        raise Wrong(sentence)


def shaped(**arrays: tuple) -> None:
    """name=(yours, shape) or name=(yours, shape, kind): arrays (or numbers, shape ()) of that shape.

    kind    "f" floating point (the default), "i" integers, "b" truth values
    """
    words = {"f": "floating-point numbers", "i": "integers", "b": "truth values"}
    rows = []
    for name, (yours, shape, *kind) in arrays.items():
        kind, problem = (kind or ["f"])[0], None
        if yours is None:
            problem = "nothing was returned"
        elif shape and not isinstance(yours, np.ndarray):
            problem = f"a {type(yours).__name__}, where an array {shape} is expected"
        elif np.shape(yours) != shape:
            problem = f"shape {np.shape(yours)}, expected {shape}"
        elif {"u": "i"}.get(np.asarray(yours).dtype.kind, np.asarray(yours).dtype.kind) != kind:
            problem = f"{np.asarray(yours).dtype}, expected {words[kind]}"
        rows.append(Row(name, problem is None, note=problem or f"{shape} {np.asarray(yours).dtype}"))
    if not all(r.ok for r in rows):
        raise Wrong("the shape or kind is not what the docstring says", rows)


def same(*, scale: Mapping[str, object] | None = None, exact: bool = False, tolerance: float | None = None,
         **pairs: tuple) -> None:
    """name=(yours, expected): equal within rounding, else raise Wrong with the worst place.

    The tolerance is a share of the size of the expected numbers, 1e-9 for float64 and 1e-5 for float32, and
    never depends on the answer.
    scale       name: size of the terms an element is the sum of (number or array), where terms cancel
    exact       equal to the bit; integers, truth values, text and lists of them always are
    tolerance   another share
    """
    rows = [_compare(name, yours, expected, (scale or {}).get(name), exact, tolerance)
            for name, (yours, expected) in pairs.items()]
    if not all(r.ok for r in rows):
        raise Wrong("the numbers differ" if any(r.index for r in rows) else "the answer differs", rows)


def _compare(name, yours, expected, scale, exact, tolerance) -> Row:
    if not isinstance(expected, (np.ndarray, np.generic, float)):
        plain = np.asarray(yours).tolist() if isinstance(yours, (np.ndarray, np.generic)) else yours
        if isinstance(expected, (int, bool)):
            ok = isinstance(plain, (int, float)) and plain == expected
        elif isinstance(expected, (list, tuple)):
            ok = isinstance(plain, (list, tuple)) and list(plain) == list(expected)
        else:
            ok = plain == expected
        return Row(name, ok, note=None if ok else _differs(plain, expected))
    want = np.asarray(expected)
    if yours is None:
        return Row(name, False, note="nothing was returned")
    try:
        got = np.asarray(yours)
    except ValueError:
        got = np.empty(0, object)
    if got.dtype.kind not in "biuf":
        return Row(name, False, note=f"{type(yours).__name__}, where numbers are expected")
    if got.shape != want.shape:
        return Row(name, False, note=f"shape {got.shape}, expected {want.shape}")
    if want.size == 0:
        return Row(name, True, size=0)
    wide, aim = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(all="ignore"):
        gap = np.abs(wide - aim)
    gap = np.where(wide == aim, 0.0, np.where(np.isnan(gap), np.inf, gap))       # inf equals inf, NaN nothing
    if exact or want.dtype.kind in "biu":
        allowed = np.zeros_like(aim)
    else:
        single = want.dtype == np.float32 or got.dtype == np.float32
        size = np.abs(aim[np.isfinite(aim)]).max(initial=0.0) if scale is None else scale
        share = tolerance if tolerance is not None else SINGLE if single else DIGITS
        allowed = np.broadcast_to(share * np.asarray(size, np.float64) + 1e-300, aim.shape)
    wrong = gap > allowed
    with np.errstate(all="ignore"):
        worst = int(np.argmax(np.where(wrong, gap, -1.0)))
        part = np.where(gap == 0, 0.0, gap / allowed)
    if not wrong.any():
        return Row(name, True, share=float(part.max()), size=want.size)
    index = tuple(int(i) for i in np.unravel_index(worst, want.shape))
    return Row(name, False, index, got[index].item(), want[index].item(), float(gap[index]), float(part[index]),
               int(wrong.sum()), want.size)


def _differs(yours, expected) -> str:
    """Where two plain values part."""
    if isinstance(expected, (list, tuple)) and isinstance(yours, (list, tuple)):
        for i, (a, b) in enumerate(zip(yours, expected)):
            if a != b:
                return f"number {i} is {_short(a)}, expected {_short(b)}"
        return f"it has {len(yours)} entries, expected {len(expected)}"
    return f"{_short(yours)}, expected {_short(expected)}"


def _short(value, most: int = 60) -> str:
    written = repr(value)
    return written if len(written) <= most else written[:most - 1] + "…"


def gradient(forward: Callable, backward: Callable, inputs: Mapping[str, np.ndarray],
             rng: np.random.Generator) -> None:
    """`backward(dout, *inputs)` against central differences of sum(forward(*inputs) * dout), dout random.

    forward    the definition, the checker's own
    backward   calls the learner's function; returns a gradient for each input, or the one gradient
    inputs     float64 arrays by name
    Source     the method and its tolerances are those of `tinylm.audit.gradients`
    """
    from ..audit import gradients as audit

    tensors = {n: np.array(x, np.float64) for n, x in inputs.items()}
    dout = rng.standard_normal(np.shape(forward(*tensors.values())))

    def found():
        got = backward(dout.copy(), *(x.copy() for x in tensors.values()))
        got = got if isinstance(got, (tuple, list)) else (got,)
        if len(got) != len(tensors):
            raise Wrong(f"{len(got)} gradients were returned, there are {len(tensors)} inputs")
        # What is no array has no gradient's shape either.
        return {n: g if isinstance(g, np.ndarray) else np.array(np.nan if g is None else g, np.float64)
                for n, g in zip(tensors, got)}

    report = audit.compare("gradient", lambda: forward(*tensors.values()) * dout, found, tensors, rng)
    if report.ok:
        return
    rows = []
    for t in report.tensors:
        gap = abs(t.yours - t.expected) if t.index is not None else None
        rows.append(Row(f"d{t.name}", t.ok, t.index, t.yours if t.index is not None else None,
                        t.expected if t.index is not None else None, gap, t.worst, t.wrong, t.examined,
                        None if t.index is not None else t.cause))
    culprit = report.culprit
    raise Wrong(f"d{culprit.name} is not the slope of the loss: {culprit.cause}", rows)


def compare_speed(yours, name: str, args: tuple, reference: Callable, what: str, repeats: int = 5) -> Speed:
    """Best of some runs of the learner's function, and of a reference on this side, on the same inputs."""
    import time

    mine, other = [], []
    for _ in range(repeats):
        yours.call(name, args)
        mine.append(yours.seconds)
        started = time.perf_counter()
        reference(*args)
        other.append(time.perf_counter() - started)
    return Speed([f"yours {1e3 * min(mine):.3g} ms, {what} {1e3 * min(other):.3g} ms"])
