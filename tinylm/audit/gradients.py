"""Is a backward pass the derivative of its forward pass?

A scalar is made of the outputs with a random upstream gradient: s = sum(dout * out).  Along a random
direction u the central difference (s(x + h u) - s(x - h u)) / 2h must equal sum(dx * u).  One
direction costs two forwards whatever the size of x; small tensors are checked element by element too.

- Everything is float64: in float32 a central difference has two or three digits.
- The upstream gradient is random: under all ones the gradients of softmax and LayerNorm vanish, and a
  backward pass that returns zeros would look right.
- The tolerance comes from the forward pass alone, RTOL * sum|change of each term| plus its rounding
  error.  A gradient cannot set the bar it is measured with.
- The step is swept.  Where a small step bends as much as a large one the point lies on a kink (ReLU
  at 0), which has no derivative: the point is moved a little and the check starts again.
- Rounding to codes has the derivative 0 or none, and training goes straight through it.  Such a backward
  pass is the derivative of a surrogate: codes and scales frozen as they are at the point, and both
  roundings the identity beside it, out = (x_q + (x - x_0)) (W_q + (W - W_0))^T.  At the point itself the
  surrogate must give what the forward pass gives.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from .. import ops
from ..errors import CheckFailed
from ..layers import Layer, Parameter, Parameters, Pass, Tape
from ..layers.base import Replaced
from ..ops.random import DropoutKey, dropout_key
from .result import Check

STEPS = 1e-4, 1e-5, 1e-6
RTOL = 1e-6
ROUNDINGS = 64         # roundings of the size of a term's unit that one term may collect on its way
EVERY = 64             # tensors up to this size are checked element by element
EXAMINED = 4096        # elements differenced to explain a failure
MOVES = 4              # how often a point on a kink is moved before the check gives up
EPS = np.finfo(np.float64).eps


class GradientMismatch(CheckFailed):
    """A backward pass disagrees with the differences of its forward pass; `report` says where."""

    def __init__(self, report: GradientReport):
        super().__init__(report.culprit.describe(report.subject))
        self.report = report


class _Kink(Exception):
    """The point has no derivative."""


@dataclass(frozen=True)
class TensorReport:
    """What was found for one tensor.

    worst             largest error as a share of the tolerance; infinity for NaN and wrong shapes
    steps             error of one direction at each step size, for the shape of the error
    index             of the worst element, with `yours` and `expected` there, when one was looked for
    wrong, examined   elements beyond the tolerance, of how many
    cause             what it looks like, when something is wrong
    """

    name: str
    worst: float
    steps: Mapping[float, float] = field(default_factory=dict)
    index: tuple[int, ...] | None = None
    yours: float = math.nan
    expected: float = math.nan
    wrong: int = 0
    examined: int = 0
    cause: str | None = None

    @property
    def ok(self) -> bool:
        return self.cause is None

    def describe(self, subject: str) -> str:
        """One line for a failure."""
        if self.index is None:
            return f"{subject}: d{self.name}: {self.cause}"
        at = ", ".join(map(str, self.index))
        return (f"{subject}: d{self.name}[{at}] is {self.yours:+.4g}, expected {self.expected:+.4g} "
                f"({self.wrong} of {self.examined} elements wrong): {self.cause}")


@dataclass(frozen=True)
class GradientReport:
    """All tensors of one operation, layer or model.

    in_order   whether the tensors stand in the order in which data meets them
    """

    subject: str
    tensors: tuple[TensorReport, ...]
    in_order: bool = False

    @property
    def ok(self) -> bool:
        return all(t.ok for t in self.tensors)

    @property
    def worst_tensor(self) -> TensorReport:
        return max(self.tensors, key=lambda t: (not t.ok, t.worst))

    @property
    def culprit(self) -> TensorReport:
        """The tensor to look at first: a mistake spoils everything before it and nothing after it, so
        in a model it is the wrong tensor nearest to the loss; else the worst."""
        wrong = [t for t in self.tensors if not t.ok]
        return wrong[-1] if self.in_order and wrong else self.worst_tensor

    def check(self, name: str = "gradients") -> Check:
        detail = (f"{len(self.tensors)} tensors, closest call d{self.worst_tensor.name}" if self.ok
                  else self.culprit.describe(self.subject))
        return Check(name, self.ok, self.worst_tensor.worst, detail)

    def require(self) -> GradientReport:
        """This report, if every gradient is right.  Raises GradientMismatch if one is not."""
        if not self.ok:
            raise GradientMismatch(self)
        return self

    def __str__(self) -> str:
        rows = [f"{'tensor':<32} {'error/tolerance':>15}  " + "  ".join(f"h={h:.0e}" for h in STEPS)]
        for t in self.tensors:
            errors = "  ".join(f"{t.steps[h]:7.1e}" if h in t.steps else f"{'-':>7}" for h in STEPS)
            rows.append(f"d{t.name:<31} {t.worst:>15.3g}  {errors}  {t.cause or 'ok'}")
        return "\n".join(rows)


# ------------------------------------------------------------------------- straight through roundings
class _Recorded(Replaced):
    """The operations, keeping what was rounded and what it was rounded to, in the order of the calls."""

    def __init__(self):
        super().__init__(ops)
        self.points = []

    def ternarize(self, weight):
        ternary = ops.ternarize(weight)
        self.points.append((weight.copy(), ternary.codes * ternary.scale))
        return ternary

    def bitlinear_forward(self, inp, ternary, activation_bits=0):
        codes, scale = ops.quantize_activations(inp) if activation_bits else (inp, 1.0)
        self.points.append((inp.copy(), codes * scale))
        return ops.bitlinear_forward(inp, ternary, activation_bits)


class _Frozen(Replaced):
    """The operations with the roundings of a recorded pass: moved where their argument moves, and no jumps."""

    def __init__(self, recorded):
        super().__init__(ops)
        self._points = iter(recorded.points)

    def ternarize(self, weight):
        at, rounded = next(self._points)
        return rounded + (weight - at)

    def bitlinear_forward(self, inp, weight, activation_bits=0):
        at, rounded = next(self._points)
        return ops.linear_forward(rounded + (inp - at), weight)


def bitlinear(f):
    """The ternary map from float weights, made of the operations f, for `operation` with through_roundings."""
    return lambda inp, weight, activation_bits=0: f.bitlinear_forward(inp, f.ternarize(weight), activation_bits)


def _same_point(subject, real, surrogate):
    if not np.isfinite(real).all():
        return  # which `compare` reports
    gap = float(np.abs(real - surrogate).max(initial=0))
    if not gap <= 1e-9 * float(np.abs(real).max(initial=1)):
        raise CheckFailed(f"{subject}: the forward pass is off by {gap:.3g} from what its codes and scales say")


# ------------------------------------------------------------------------------- what can be checked
def operation(forward: Callable, backward: Callable, inputs: Mapping[str, object],
              rng: np.random.Generator, *, options: Mapping[str, object] | None = None,
              dout: np.ndarray | None = None, through_roundings: bool = False,
              axes: Mapping[str, Sequence[str]] | None = None) -> GradientReport:
    """Check `backward(dout, cache)` against `forward(*inputs, **options) -> (out, cache)`.

    inputs   name: value, in the order of the call; float arrays are checked, integer arrays are not,
             None stands for an argument left out and wants None as its gradient
    options  further arguments, such as rate and key
    axes     names of the axes of an input, such as {"inp": "BTC"}: used in messages only
    through_roundings   `forward` takes operations and returns the forward pass made of them, as `bitlinear`
                        does; `backward` goes straight through its roundings
    Raises   TypeError for inputs that are not float64
    """
    name = getattr(forward, "__name__", "operation").removesuffix("_forward")
    recorded, made_of = _Recorded(), forward if through_roundings else lambda f: forward
    inputs = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in inputs.items()}
    options = options or {}
    wanted = [n for n, v in inputs.items() if not isinstance(v, np.ndarray) or v.dtype.kind == "f"]
    tensors = {n: inputs[n] for n in wanted if inputs[n] is not None}
    out, _ = made_of(ops)(*inputs.values(), **options)
    dout = rng.standard_normal(out.shape) if dout is None else dout

    def frozen():
        return made_of(_Frozen(recorded))(*inputs.values(), **options)[0]

    def gradients():
        recorded.points.clear()
        out, cache = made_of(recorded)(*inputs.values(), **options)
        _same_point(name, out, frozen())
        found = backward(dout.copy(), cache)
        if len(found) != len(wanted):
            raise ValueError(f"backward returns {len(found)} gradients, forward has {len(wanted)} inputs")
        return {n: g for n, g in zip(wanted, found) if n in tensors or g is not None}

    return compare(name, lambda: frozen() * dout, gradients, tensors, rng, axes=axes)


def layer(subject: Layer, inputs: Mapping[str, np.ndarray], rng: np.random.Generator, *,
          dropout: DropoutKey | None = None, borrowed: Sequence[Parameter] = ()) -> GradientReport:
    """Check `subject.backward` against `subject.forward(*inputs, run)`, for inputs and parameters.

    borrowed   parameters it uses that another layer declares, as a tied head does

    Also requires that parameter gradients are added to what is there, and that the tape ends empty.

    Raises    CheckFailed for a tape that does not end empty
    """
    inputs = {n: v.copy() for n, v in inputs.items()}
    params = randomised(subject, rng, borrowed=borrowed)
    floats = {n: v for n, v in inputs.items() if v.dtype.kind == "f"}
    out = subject.forward(*inputs.values(), Pass(ops, params))
    dout = rng.standard_normal(out.shape)

    def back(run):
        found = subject.backward(dout, run)
        return dict(zip(floats, found if isinstance(found, tuple) else (found,)))

    return _layered(subject, params, floats, lambda run: subject.forward(*inputs.values(), run), back,
                    dout, rng, dropout)


def model(subject: Layer, tokens: np.ndarray, targets: np.ndarray, rng: np.random.Generator, *,
          dropout: DropoutKey | None = None) -> GradientReport:
    """Check a whole model's backward pass, per parameter tensor.   Shapes    tokens, targets (B, T).

    Raises    CheckFailed for a tape that does not end empty
    """
    dlosses = rng.standard_normal(tokens.size)

    def back(run):
        subject.backward(dlosses, run)
        return {}

    return _layered(subject, randomised(subject, rng), {}, lambda run: subject.forward(tokens, targets, run),
                    back, dlosses, rng, dropout)


def of_model(model: Layer, f: ModuleType, params: Parameters, tokens, targets, dlosses,
             observe: Callable | None = None) -> dict[str, np.ndarray]:
    """{"losses": ..., "dNAME": ...}: what a whole model gives with these operations, dropout included.

    observe   see `Pass`
    """
    grads = params.like()
    run = Pass(f, params, grads, Tape(), dropout_key(3, 5), observe)
    losses = model.forward(tokens, targets, run)
    model.backward(dlosses.astype(params.flat.dtype), run)
    return {"losses": losses} | {f"d{name}": grad for name, grad in grads.items()}


def randomised(subject: Layer, rng: np.random.Generator, dtype=np.float64,
               borrowed: Sequence[Parameter] = ()) -> Parameters:
    """Parameters at which no gradient is small by accident.

    At initialisation biases are 0, norm weights 1 and attention nearly uniform, which hides errors.
    """
    params = Parameters([*borrowed, *subject.parameters()], dtype)
    for name, array in params.items():
        spread = 1 / math.sqrt(array.shape[-1]) if array.ndim > 1 else 0.3
        base = 1.0 if name.rsplit(".", 2)[-2].startswith("norm") and name.endswith("weight") else 0.0
        array[...] = base + spread * rng.standard_normal(array.shape)
    return params


def _layered(subject, params, floats, forward, back, dout, rng, dropout):
    recorded = _Recorded()

    def frozen():
        return forward(Pass(_Frozen(recorded), params, dropout=dropout))

    def gradients():
        recorded.points.clear()
        grads, tape = params.like(), Tape()
        before = {n: rng.standard_normal(g.shape) for n, g in grads.items()}
        for name, g in grads.items():  # not zeros: a backward pass must add, not overwrite
            g[...] = before[name]
        run = Pass(recorded, params, grads, tape, dropout)
        _same_point(subject.name, forward(run), frozen())
        found = back(run)
        if len(tape):
            raise CheckFailed(f"{subject.name}: {len(tape)} entries are left on the tape after backward")
        return found | {n: g - before[n] for n, g in grads.items()}

    return compare(subject.name, lambda: frozen() * dout, gradients, floats | dict(params.items()), rng,
                   in_order=True)


# ----------------------------------------------------------------------------------------- the check
def compare(subject: str, terms: Callable[[], np.ndarray], gradients: Callable[[], Mapping[str, np.ndarray]],
            tensors: Mapping[str, np.ndarray], rng: np.random.Generator, *, directions: int = 2,
            axes: Mapping[str, Sequence[str]] | None = None, in_order: bool = False) -> GradientReport:
    """Compare gradients with central differences of sum(terms()).

    terms      evaluates the forward pass at what `tensors` hold now, times the upstream gradient
    gradients  the gradients of sum(terms()) there, under the same names
    tensors    float64 arrays; changed in place while measuring and put back afterwards, except that a
               point on a kink is moved for good
    in_order   whether `tensors` stand in the order in which data meets them
    Raises     TypeError for tensors that are not float64
    """
    for name, x in tensors.items():
        if x.dtype != np.float64:
            raise TypeError(f"{name} is {x.dtype}: differences need float64")
    for _ in range(MOVES):
        found = gradients()
        rest = terms()
        if not np.isfinite(rest).all():
            return GradientReport(subject, tuple(
                TensorReport(n, math.inf, cause="the forward pass itself is not finite") for n in tensors))
        try:
            reports = {name: _along_directions(name, x, found.get(name), terms, rest, rng, directions)
                       for name, x in tensors.items()}
            report = GradientReport(subject, tuple(reports.values()), in_order)
            for name, x in tensors.items():
                measured = bool(reports[name].steps)
                if measured and (x.size <= EVERY or reports[name] is report.culprit and not report.ok):
                    reports[name] = _elements(reports[name], x, found[name], terms, rest, rng,
                                              (axes or {}).get(name))
            for name in found.keys() - tensors.keys():
                reports[name] = TensorReport(name, math.inf, cause="a gradient for an input that was left out")
            return GradientReport(subject, tuple(reports.values()), in_order)
        except _Kink as kink:
            where = str(kink)
            for x in tensors.values():
                x += 1e-3 * rng.standard_normal(x.shape)
    kinked = f"the function has a kink at each of {MOVES} points tried, so nothing was checked"
    return GradientReport(subject, (TensorReport(where, math.inf, cause=kinked),))


def _along_directions(name, x, grad, terms, rest, rng, directions):
    """The quick look: a few random directions at every step size."""
    problem = _malformed(x, grad)
    if problem:
        return TensorReport(name, math.inf, cause=problem)
    if x.size == 0:
        return TensorReport(name, 0.0)
    worst, steps = 0.0, {}
    for _ in range(directions):
        u = rng.standard_normal(x.shape)
        slopes = [_slope(name, terms, rest, x, u, h) for h in STEPS]
        _no_kink(name, slopes)
        errors = [abs(s.value - float((grad * u).sum())) for s in slopes]
        # A wrong gradient is wrong at every step.  A right one may look wrong where the step is too
        # long (the curve bends, a kink is crossed), so the best step counts.
        worst = max(worst, min(e / s.tolerance for e, s in zip(errors, slopes)))
        steps = steps or dict(zip(STEPS, errors))
    return TensorReport(name, worst, steps, cause=None if worst <= 1 else "wrong along a random direction")


def _malformed(x, grad):
    if grad is None:
        return "no gradient was returned"
    if grad.shape != x.shape:
        turned = ", which is the transposed shape" if grad.shape == x.shape[::-1] else ""
        return f"the gradient has shape {grad.shape}, the tensor {x.shape}{turned}"
    bad = ~np.isfinite(grad)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        return f"not finite in {int(bad.sum())} of {bad.size} elements, first at {first}"
    return None


@dataclass(frozen=True)
class _Slope:
    value: float       # the central difference
    tolerance: float   # what the forward pass says a right gradient may be off by
    bend: float        # how much the two one-sided differences disagree
    rounding: float    # how much of all this may be rounding


def _slope(name, terms, rest, x, u, h) -> _Slope:
    before = x.copy()
    x += h * u
    high = terms()
    x[...] = before - h * u
    low = terms()
    x[...] = before
    moved = (high - low) / (2 * h)
    rounding = ROUNDINGS * EPS * float(np.abs(rest).sum() + 1) / h
    value, tolerance = float(moved.sum()), RTOL * float(np.abs(moved).sum()) + rounding
    if not math.isfinite(value):
        raise ValueError(f"the forward pass is not finite close to the point ({name})")
    return _Slope(value, tolerance, float(np.abs(high + low - 2 * rest).sum()) / (2 * h), rounding)


def _no_kink(name, slopes):
    # Where a function is smooth the bend shrinks with the step; at a kink it stays.
    wide, narrow = slopes[0], slopes[-1]
    if narrow.bend > 0.1 * wide.bend + narrow.rounding:
        raise _Kink(name)


def _elements(quick, x, grad, terms, rest, rng, axes):
    """The slow look: one element at a time; says what is wrong if something is."""
    name, steps = quick.name, quick.steps
    chosen = np.arange(x.size) if x.size <= EXAMINED else rng.choice(x.size, EXAMINED, replace=False)
    expected, tolerance = np.empty(len(chosen)), np.empty(len(chosen))
    unit = np.zeros(x.size)
    for i, flat in enumerate(chosen):
        unit[flat] = 1.0
        u = unit.reshape(x.shape)
        slope = _slope(name, terms, rest, x, u, STEPS[-1])
        if abs(grad.flat[flat] - slope.value) > slope.tolerance:
            _no_kink(name, [_slope(name, terms, rest, x, u, STEPS[0]), slope])
        expected[i], tolerance[i] = slope.value, slope.tolerance
        unit[flat] = 0.0
    yours = grad.reshape(-1)[chosen]
    share = np.abs(yours - expected) / tolerance
    wrong, whole = share > 1, len(chosen) == x.size
    if not wrong.any():  # all elements right: the gradient is right, whatever a direction crossed
        return TensorReport(name, float(share.max()), steps) if whole else quick
    worst = max(quick.worst, float(share.max()))
    i = int(np.where(wrong, np.abs(yours - expected), 0).argmax())
    shape = x.shape if whole else (len(chosen),)
    cause = likely_cause(yours.reshape(shape), expected.reshape(shape), tolerance.reshape(shape),
                         axes if whole else None)
    return TensorReport(name, worst, steps, tuple(int(j) for j in np.unravel_index(chosen[i], x.shape)),
                        float(yours[i]), float(expected[i]), int(wrong.sum()), len(chosen), cause)


# ------------------------------------------------------------------------------------------ diagnosis
def likely_cause(yours: np.ndarray, expected: np.ndarray, tolerance: np.ndarray,
                 axes: Sequence[str] | None = None) -> str:
    """What a wrong gradient looks like, in words.

    Tries, in this order: zero, sign, a constant factor, transposed, shifted or reversed along an axis,
    a mask that is missing or one too many, wrong in part of an axis only, a missing term.

    Shapes    all alike; axes names them, such as "BTC"
    """
    axes = axes or [f"axis {i}" for i in range(yours.ndim)]

    def close(a, b):
        slack = tolerance + 1e-5 * np.abs(expected).max()
        return a.shape == b.shape and bool((np.abs(a - b) <= slack).all())

    if not yours.any():
        return "it is zero: nothing flows back here"
    if not (np.abs(expected) > tolerance).any():
        return "it should be zero: the output does not depend on this"
    if close(-yours, expected):
        return "the sign is wrong"
    factor = float((yours * expected).sum() / (expected * expected).sum())
    if factor and close(yours / factor, expected):
        return f"wrong by a constant factor of {factor:.6g}" + _origin(factor, yours.shape)
    for i in range(yours.ndim):
        for j in range(i + 1, yours.ndim):
            if yours.shape[i] == yours.shape[j] and close(yours.swapaxes(i, j), expected):
                return f"transposed: {axes[i]} and {axes[j]} are exchanged"
    for i, size in enumerate(yours.shape):
        for shift in (1, -1):
            if size > 1 and close(np.roll(yours, shift, i), expected):
                return f"shifted by one along {axes[i]}"
        if size > 1 and close(np.flip(yours, i), expected):
            return f"reversed along {axes[i]}"
    wrong = np.abs(yours - expected) > tolerance
    dead, silent = np.abs(expected) <= tolerance, yours == 0
    if dead.any() and (wrong == (dead & ~silent)).all():
        return "not zero where it should be: a mask of the forward pass is not applied going back"
    if (wrong & silent).any() and (wrong == (silent & ~dead)).all():
        return "zero where it should not be: a mask or an index leaves these out"
    for i, size in enumerate(yours.shape):
        places = np.flatnonzero(wrong.any(tuple(j for j in range(wrong.ndim) if j != i)))
        if size > 1 and 0 < len(places) <= max(1, size // 2):
            which = {0: "the first", size - 1: "the last"}.get(int(places[0])) if len(places) == 1 else None
            return (f"wrong only at {which} place of {axes[i]}" if which else
                    f"wrong only at {', '.join(map(str, places[:6].tolist()))} of {axes[i]}")
    gap = yours - expected
    for i, size in enumerate(yours.shape):
        if size > 1 and close(gap.mean(i, keepdims=True) + 0 * gap, gap):
            return (f"off by the same amount all along {axes[i]}: "
                    "a sum or mean over it is missing or one too many")
    for i, size in enumerate(yours.shape):
        along = (expected ** 2).sum(i, keepdims=True)
        scale = (yours * expected).sum(i, keepdims=True) / np.where(along > 0, along, 1)
        if size > 2 and close(scale * expected, yours):
            return f"right up to a factor that differs from one row along {axes[i]} to the next"
    cosine = float((yours * expected).sum() / np.sqrt((yours ** 2).sum() * (expected ** 2).sum()))
    return f"a term is missing or wrong (direction agrees to a cosine of {cosine:.3f})"


def _origin(factor, shape):
    if abs(factor - 2) < 1e-6:
        return " (counted twice?)"
    for size in sorted({s for s in shape if s > 1}):
        for value, text in ((size, f"{size}"), (1 / size, f"1/{size}"), (math.sqrt(size), f"sqrt({size})"),
                            (1 / math.sqrt(size), f"1/sqrt({size})")):
            if abs(factor - value) < 1e-6 * value:
                return f" = {text}, and {size} is one of its sizes (a mean for a sum, or the reverse?)"
    return ""
