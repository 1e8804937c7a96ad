"""Does every kernel compute what its definition says?

The definition runs in float64 and is the truth.  A kernel runs in float32 and may differ by as much
as rounding can make it differ, computed for each element from the data: a sum of k products in any
order is off by at most k u / (1 - k u) times the sum of their magnitudes, u = 2**-24.  Where sums feed
other sums the bounds are carried along.  So the tolerance is neither a guess nor a function of the
answer, and one missing row or one wrong column exceeds it.

`OPERATIONS` has, for each operation: how to draw inputs for given sizes, how to run it forward,
backward and with `add_to`, and the error bound of each result.

Rounding to codes is a jump: beside a half, the last bit decides between two codes.  So the definition
rounds what the kernel rounds, the same float32 numbers, and codes must be equal to the bit.  So must
products of codes, which are integers.  Everything after that is float64 again.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from .. import ops
from ..errors import CheckFailed
from ..ops.cross_entropy import operands
from ..ops.precision import (
    CHUNK,
    FIXED_POINT,
    LARGEST,
    PRECISIONS,
    autocast,
    fixed_point,
    precision,
    round_fixed,
    rounded,
)
from ..ops.random import dropout_key, dropout_mask, generator
from ..ops.ternary import LARGEST_CODE
from .result import Check

UNIT = 2.0 ** -24
APPROXIMATE = 8  # roundings an exp, tanh or division of a kernel may be off by
EDGES = 1, 2, 3, 5, 7, 15, 16, 17, 31, 33, 63, 64, 65, 97  # around every likely block size
HEAD_SIZES = 8, 25, 32, 50, 64
SCALES = None, 1.0
WINDOWS = 0, 1, 5, 16, 64, 1000
NORM_EPS = 1e-5
NORM_CHUNK = 4096  # squares a kernel may sum in float32 before float64 takes over

Case = dict[str, object]
Arrays = dict[str, np.ndarray]


def gamma(roundings: int) -> float:
    """Relative error after that many roundings.

    Source    Higham 2002, Accuracy and Stability of Numerical Algorithms, lemma 3.1
    """
    return roundings * UNIT / (1 - roundings * UNIT)


@dataclass(frozen=True)
class Operation:
    """How one family of kernels is tried.

    covers  names in tinylm.ops that `run` calls
    sizes   the sizes `draw` needs, each with the values worth trying
    draw    (rng, **sizes) -> case, floats as float32
    run     (operations, case) -> results by name
    bounds  (case in float64, results of the definition) -> largest error of each result
    """

    covers: tuple[str, ...]
    sizes: Mapping[str, tuple]
    draw: Callable[..., Case]
    run: Callable[[ModuleType, Case], Arrays]
    bounds: Callable[[Case, Arrays], Arrays]


@dataclass(frozen=True)
class Difference:
    """One result of one kernel against its definition; share is of the tolerance, above 1 is wrong."""

    operation: str
    result: str
    sizes: Mapping[str, object]
    share: float
    index: tuple[int, ...]
    got: float
    want: float
    wrong: int
    size: int

    def __str__(self) -> str:
        sizes = ", ".join(f"{k}={v}" for k, v in self.sizes.items())
        if self.share <= 1:
            return f"{self.operation} ({sizes}): {self.result} uses {self.share:.0%} of its tolerance"
        at = ", ".join(map(str, self.index))
        return (f"{self.operation} ({sizes}): {self.result}[{at}] is {self.got:.7g}, the definition gives "
                f"{self.want:.7g}; {self.wrong} of {self.size} elements are beyond rounding")


def compare(name: str, kernels: ModuleType, sizes: Mapping[str, object], seed: int) -> list[Difference]:
    """Run one operation both ways; one Difference for each result, in the order of the results.

    Raises    CheckFailed when the kernel changes its inputs or answers in another type or shape
    """
    operation = OPERATIONS[name]
    case = operation.draw(np.random.default_rng(seed), **sizes)
    kept = {k: v.copy() for k, v in case.items() if isinstance(v, np.ndarray)}
    got = operation.run(kernels, case)
    for k, v in kept.items():
        _expect(np.array_equal(v, case[k]), f"{name} {dict(sizes)}: the kernel changed its input {k}")
    exact = {k: v.astype(np.float64) if isinstance(v, np.ndarray) and v.dtype == np.float32 else v
             for k, v in case.items()}
    want = operation.run(ops, exact)
    bounds = operation.bounds(exact, want)
    if not got.keys() == want.keys() == bounds.keys():
        raise KeyError(f"{name}: results {list(want)}, bounds {list(bounds)}")
    return [_difference(name, key, sizes, got[key], want[key], bounds[key]) for key in want]


def _difference(name, key, sizes, got, want, bound):
    got, want = np.asarray(got), np.asarray(want, np.float64)
    what = f"{name} {dict(sizes)}: {key}"
    _expect(got.shape == want.shape, f"{what} has shape {got.shape}, not {want.shape}")
    _expect(got.ndim == 0 or got.dtype == np.float32, f"{what} is {got.dtype}, not float32")
    if want.size == 0:
        return Difference(name, key, sizes, 0.0, (), 0.0, 0.0, 0, 0)
    error = np.abs(got.astype(np.float64) - want)
    bound = np.broadcast_to(bound, want.shape) + np.finfo(np.float32).tiny
    share = np.where(np.isfinite(error), error / bound, np.inf)
    index = tuple(int(i) for i in np.unravel_index(int(share.argmax()), share.shape))
    return Difference(name, key, sizes, float(share[index]), index, float(got[index]), float(want[index]),
                      int((share > 1).sum()), share.size)


def covered() -> set[str]:
    """Names in `tinylm.ops` that are compared with their kernels."""
    return {name for operation in OPERATIONS.values() for name in operation.covers}


def check(kernels: ModuleType, seed: int = 0, draws: int = 4) -> Check:
    """Every operation at `draws` random combinations of sizes; the worst use of the tolerance."""
    worst, cases = None, 0
    for name, operation in OPERATIONS.items():
        rng = generator(seed, "parity " + name)  # each its own: a new operation changes nothing for the others
        for _ in range(draws):
            sizes = {k: values[rng.integers(len(values))] for k, values in operation.sizes.items()}
            try:
                found = compare(name, kernels, sizes, int(rng.integers(2 ** 32)))
            except CheckFailed as error:
                return Check("kernels", False, math.inf, str(error))
            cases += 1
            for difference in found:
                if worst is None or difference.share > worst.share:
                    worst = difference
            if worst.share > 1:
                return Check("kernels", False, worst.share, str(worst))
    return Check("kernels", True, worst.share, f"{len(OPERATIONS)} families, {cases} cases; {worst}")


# ------------------------------------------------------------------------------------ drawing and tools
def _normal(rng, *shape, offset=0.0):
    return (offset + rng.standard_normal(shape)).astype(np.float32)


def _maybe(wanted, array):
    return array if wanted else None


def _key(seed):
    return dropout_key(seed, 7).at(3)


def _expect(holds, message):
    if not holds:
        raise CheckFailed(message)


def _some(**results):
    return {k: v for k, v in results.items() if v is not None}


def _rows(x):
    return x.reshape(-1, x.shape[-1])


# ------------------------------------------------------------------------------------ products
def _draw_matmul(rng, M, K, N, transpose_a, transpose_b, bias, precision=PRECISIONS[0], codes=False, scaled="no"):
    """scaled: "rows" by a number each, "all" by one, or "no"."""
    shape = (N, K) if transpose_b else (K, N)
    return {"a": _normal(rng, *((K, M) if transpose_a else (M, K))),
            "b": rng.integers(-128, 128, shape).astype(np.int8) if codes else _normal(rng, *shape),
            "bias": _maybe(bias, _normal(rng, N)), "into": _normal(rng, M, N),
            "row_scale": {"no": None, "all": _normal(rng, 1, 1), "rows": _normal(rng, M, 1)}[scaled],
            "transpose_a": transpose_a, "transpose_b": transpose_b, "precision": precision}


def _run_matmul(f, c):
    with autocast(c["precision"]):
        return _products(f, c, c["b"])


def _products(f, c, b):
    turned = {k: c[k] for k in ("transpose_a", "transpose_b", "row_scale")}
    into = c["into"].copy()
    returned = f.matmul(c["a"], b, **turned, bias=c["bias"], add_to=into)
    _expect(returned is into, "matmul with add_to should return that array")
    return {"out": f.matmul(c["a"], b, **turned, bias=c["bias"]), "added": into,
            "relu": f.matmul(c["a"], b, **turned, bias=c["bias"], relu=True),
            "where": f.matmul(c["a"], b, **turned, bias=c["bias"], where=c["into"] > 0)}


def _run_pack(f, c):
    with autocast(c["precision"]):
        packed = f.pack(c["b"], transpose_b=c["transpose_b"])
        found = _products(f, c, packed)
        if c["transpose_b"]:
            found["linear"], _ = f.linear_forward(c["a"].T if c["transpose_a"] else c["a"], packed, c["bias"])
        return found


def _bound_pack(c, want):
    found = _bound_matmul(c, want)
    return found | ({"linear": found["out"]} if c["transpose_b"] else {})


def _bound_matmul(c, _):
    a, b = (np.abs((c[k].T if c["transpose_" + k] else c[k]).astype(np.float64)) for k in "ab")
    with autocast(c["precision"]):
        a, b = rounded(a, 1), rounded(b, 0)
    scale = 1 if c["row_scale"] is None else np.abs(c["row_scale"])
    terms = scale * (a @ b) + (0 if c["bias"] is None else np.abs(c["bias"]))
    k = a.shape[1] + (1 if c["precision"] in FIXED_POINT else 0)  # the steps of both sides are multiplied first
    return {"out": gamma(k + 2) * terms, "relu": gamma(k + 2) * terms, "where": gamma(k + 2) * terms * (c["into"] > 0),
            "added": gamma(k + 3) * (terms + np.abs(c["into"]))}


def _draw_linear(rng, B, T, K, M, bias):
    return {"inp": _normal(rng, B, T, K), "weight": _normal(rng, M, K), "bias": _maybe(bias, _normal(rng, M)),
            "dout": _normal(rng, B, T, M), "dweight": _normal(rng, M, K),
            "dbias": _maybe(bias, _normal(rng, M))}


def _forward_back(f, name, c, inputs, upstream, results, added=2):
    """Forward, backward, and backward into arrays that already hold something, the last `added` results."""
    forward, backward = getattr(f, name + "_forward"), getattr(f, name + "_backward")
    out, cache = forward(*inputs)
    found = {"out": out.copy()} | _some(**dict(zip(results, backward(upstream, cache))))
    _, cache = forward(*inputs)
    into = tuple(None if c[k] is None else c[k].copy() for k in results[-added:])
    again = backward(upstream, cache, add_to=into)
    for k, given, returned in zip(results[-added:], into, again[-added:]):
        _expect(returned is given, f"{name}_backward with add_to should return that array as {k}")
    return found | _some(**{f"{k} added": v for k, v in zip(results[-added:], into)})


def _run_linear(f, c):
    return _forward_back(f, "linear", c, (c["inp"], c["weight"], c["bias"]), c["dout"],
                         ("dinp", "dweight", "dbias"))


def _linear_back_bounds(c, inp, dout, ddout=0.0):
    """Bounds of dinp (rows), dweight, dbias where dout (rows) is itself off by up to ddout."""
    inp, weight = np.abs(inp), np.abs(c["weight"])
    ddout = np.broadcast_to(ddout, dout.shape)
    dout_size = np.abs(dout) + ddout
    n, m = dout.shape
    dweight, dbias = dout_size.T @ inp, dout_size.sum(0)
    slack_weight, slack_bias = ddout.T @ inp, ddout.sum(0)
    found = {"dinp": gamma(m) * (dout_size @ weight) + ddout @ weight,
             "dweight": gamma(n) * dweight + slack_weight,
             "dweight added": gamma(n + 1) * (dweight + np.abs(c["dweight"])) + slack_weight}
    if c["bias"] is not None:
        found |= {"dbias": gamma(n) * dbias + slack_bias,
                  "dbias added": gamma(n + 1) * (dbias + np.abs(c["dbias"])) + slack_bias}
    return found


def _bound_linear(c, want):
    inp, dout = _rows(c["inp"]), _rows(c["dout"])
    out = np.abs(inp) @ np.abs(c["weight"]).T + (0 if c["bias"] is None else np.abs(c["bias"]))
    back = _linear_back_bounds(c, inp, dout)
    back["dinp"] = back["dinp"].reshape(c["inp"].shape)
    return {"out": (gamma(inp.shape[1] + 1) * out).reshape(want["out"].shape)} | back


def _draw_linear_relu(rng, B, T, K, M, bias):
    return {"inp": _normal(rng, B, T, K), "weight": _normal(rng, M, K), "bias": _maybe(bias, _normal(rng, M)),
            "next": _normal(rng, 5, M), "dnext": _normal(rng, B, T, 5)}


def _run_linear_relu(f, c):
    out, cache = f.linear_relu(c["inp"], c["weight"], c["bias"])
    _expect(np.array_equal(cache.positive > 0, out > 0), "linear_relu: `positive` is not where out is")
    _, linear = f.linear_forward(out, c["next"])
    dlinear, *_ = f.linear_backward(c["dnext"], linear, positive=cache.positive)
    return {"out": out, "dlinear": dlinear}


def _bound_linear_relu(c, want):
    inp = _rows(c["inp"])
    off = gamma(inp.shape[1] + 1) * (np.abs(inp) @ np.abs(c["weight"]).T + (
        0 if c["bias"] is None else np.abs(c["bias"])))
    before = inp.astype(np.float64) @ c["weight"].T.astype(np.float64) + (0 if c["bias"] is None else c["bias"])
    dnext, weight = _rows(c["dnext"]), c["next"]
    through = np.where(before > 0, gamma(len(weight)) * (np.abs(dnext) @ np.abs(weight)), 0)
    # So close to 0 the errors of float32 may decide whether a gradient passes.
    through = np.where(np.abs(before) <= off, 2 * np.abs(dnext) @ np.abs(weight), through)
    return {"out": off.reshape(want["out"].shape), "dlinear": through.reshape(want["dlinear"].shape)}


# ------------------------------------------------------------------------------------ LayerNorm
def _draw_layernorm(rng, B, T, C, bias, offset):
    return {"inp": _normal(rng, B, T, C, offset=offset), "weight": _normal(rng, C),
            "bias": _maybe(bias, _normal(rng, C)), "dout": _normal(rng, B, T, C), "dweight": _normal(rng, C),
            "dbias": _maybe(bias, _normal(rng, C)), "residual": _normal(rng, B, T, C)}


def _run_layernorm(f, c):
    inputs = c["inp"], c["weight"], c["bias"], NORM_EPS
    return _forward_back(f, "layernorm", c, inputs, c["dout"], ("dinp", "dweight", "dbias")) | {
        "dinp with residual": f.layernorm_backward(c["dout"], f.layernorm_forward(*inputs)[1],
                                                   residual=c["residual"])[0]}


def _norm_errors(inp):
    """(norm, rstd, error of norm, relative error of rstd): what mean and variance in float32 cost."""
    channels = inp.shape[-1]
    mean = inp.mean(-1, keepdims=True)
    off_mean = gamma(channels + 1) * np.abs(inp).mean(-1, keepdims=True)
    centred = inp - mean
    off = off_mean + UNIT * (np.abs(centred) + np.abs(mean))
    variance = (centred ** 2).mean(-1, keepdims=True)
    off_variance = ((2 * np.abs(centred) * off + off ** 2).mean(-1, keepdims=True)
                    + gamma(channels + 2) * variance + UNIT * NORM_EPS)
    rstd = 1 / np.sqrt(variance + NORM_EPS)
    off_rstd = off_variance / (variance + NORM_EPS) + APPROXIMATE * UNIT
    norm = centred * rstd
    return norm, rstd, (off * rstd + np.abs(norm) * (off_rstd + 2 * UNIT)) * (1 + off_rstd), off_rstd


def _bound_layernorm(c, want):
    norm, rstd, off, off_rstd = _norm_errors(c["inp"])
    return _with_residual(want, _norm_bounds(c, want, norm, rstd, off, off_rstd,
                                             np.abs(c["dout"]) * np.abs(c["weight"])))


def _with_residual(want, bounds):
    """Bounds of a norm, and of its gradient after one more addition."""
    return bounds | {"dinp with residual": bounds["dinp"] + UNIT * np.abs(want["dinp with residual"])}


def _draw_headnorm(rng, B, T, H, D, offset):
    return _draw_layernorm(rng, B, T, H * D, True, offset) | {"heads": H}


def _run_headnorm(f, c):
    return _forward_back(f, "headnorm", c, (c["inp"], c["heads"], c["weight"], c["bias"], NORM_EPS), c["dout"],
                         ("dinp", "dweight", "dbias"))


def _bound_headnorm(c, want):
    def per_head(x):
        return x.reshape(*x.shape[:-1], c["heads"], x.shape[-1] // c["heads"])

    norm, rstd, off, off_rstd = _norm_errors(per_head(c["inp"]))
    return _norm_bounds(c, want, norm, rstd, off, off_rstd, per_head(np.abs(c["dout"]) * np.abs(c["weight"])))


def _norm_bounds(c, want, norm, rstd, off, off_rstd, dnorm):
    """norm ... dnorm: one row for each set of statistics, a token or a head of it."""
    channels, weight, dout = norm.shape[-1], np.abs(c["weight"]), np.abs(c["dout"])

    def mean(x):
        return x.mean(-1, keepdims=True)

    # dinp = rstd (dnorm - mean(dnorm) - norm mean(dnorm norm)), each magnitude with its error
    share, off_share = mean(dnorm * np.abs(norm)), mean(dnorm * off)
    size = dnorm + mean(dnorm) + np.abs(norm) * share
    dinp = rstd * (gamma(channels + 8) * size + off * share + (np.abs(norm) + off) * off_share
                   + off_rstd * size)
    norm, off, dinp = (x.reshape(c["inp"].shape) for x in (norm, off, dinp))
    rows = int(np.prod(norm.shape[:-1]))
    dweight, slack = _rows(dout * (np.abs(norm) + off)).sum(0), _rows(dout * off).sum(0)
    found = {"out": weight * off + 2 * UNIT * (weight * np.abs(norm) + np.abs(want["out"])), "dinp": dinp,
             "dweight": gamma(rows + 2) * dweight + slack,
             "dweight added": gamma(rows + 3) * (dweight + np.abs(c["dweight"])) + slack}
    if c["bias"] is not None:
        dbias = _rows(dout).sum(0)
        found["out"] = found["out"] + 2 * UNIT * np.abs(c["bias"])
        found |= {"dbias": gamma(rows) * dbias, "dbias added": gamma(rows + 1) * (dbias + np.abs(c["dbias"]))}
    return found


def _draw_rmsnorm(rng, B, T, C, offset):
    return _draw_layernorm(rng, B, T, C, False, offset)


def _run_rmsnorm(f, c):
    inputs = c["inp"], c["weight"], NORM_EPS
    return _forward_back(f, "rmsnorm", c, inputs, c["dout"], ("dinp", "dweight"), 1) | {
        "dinp with residual": f.rmsnorm_backward(c["dout"], f.rmsnorm_forward(*inputs)[1], residual=c["residual"])[0]}


def _bound_rmsnorm(c, want):
    inp = c["inp"]
    mean_square = (inp ** 2).mean(-1, keepdims=True)
    off_rrms = gamma(inp.shape[-1] + 2) * mean_square / (mean_square + NORM_EPS) + (APPROXIMATE + 1) * UNIT
    rrms = 1 / np.sqrt(mean_square + NORM_EPS)
    norm = inp * rrms
    # A LayerNorm without its mean: the bounds of one hold with room to spare.
    return _with_residual(want, _norm_bounds(c, want, norm, rrms, np.abs(norm) * (off_rrms + UNIT), off_rrms,
                                             np.abs(c["dout"]) * np.abs(c["weight"])))


# ------------------------------------------------------------------------------------ element by element
def _draw_elements(rng, B, T, C):
    return {"inp": 2 * _normal(rng, B, T, C), "dout": _normal(rng, B, T, C)}


def _run_elements(name):
    def run(f, c):
        out, cache = getattr(f, name + "_forward")(c["inp"])
        out = out.copy()  # a cache may be the output, and backward may use its memory
        return {"out": out, "dinp": getattr(f, name + "_backward")(c["dout"], cache)[0]}
    return run


def _bound_relu(c, want):
    return {"out": 0.0, "dinp": 0.0}


def _bound_squared_relu(c, want):
    return {k: 2 * UNIT * np.abs(want[k]) for k in ("out", "dinp")}


def _bound_gelu(c, want):
    x = np.abs(c["inp"])
    inner = ops.activations.GELU_SCALE * (x + ops.activations.GELU_CUBIC * x ** 3)
    slope = ops.activations.GELU_SCALE * (1 + 3 * ops.activations.GELU_CUBIC * x ** 2)
    tanh = np.tanh(inner)
    sech = 1 - tanh ** 2
    # tanh moves by its slope times the error of its argument, and by what its approximation is off
    off_tanh = sech * inner * 6 * UNIT + 2 * APPROXIMATE * UNIT
    dout = np.abs(c["dout"])
    back = (0.5 * off_tanh + 0.5 * x * slope * (2 * off_tanh + 10 * UNIT * sech)
            + 4 * UNIT * (1 + x * slope * sech))
    return {"out": 0.5 * x * off_tanh + 4 * UNIT * x, "dinp": dout * back}


def _draw_glu(rng, B, T, C):
    return {"gate": 2 * _normal(rng, B, T, C), "value": _normal(rng, B, T, C), "dout": _normal(rng, B, T, C)}


def _run_glu(name):
    def run(f, c):
        out, cache = getattr(f, name + "_forward")(c["gate"], c["value"])
        dgate, dvalue = getattr(f, name + "_backward")(c["dout"], cache)
        return {"out": out, "dgate": dgate, "dvalue": dvalue}
    return run


def _bound_swiglu(c, want):
    gate, value, dout = np.abs(c["gate"]), np.abs(c["value"]), np.abs(c["dout"])
    sigmoid, off = _sigmoid_error(c["gate"], 0.0)
    # slope = s (1 + x (1 - s)): its terms may cancel, so their magnitudes count
    slope = sigmoid * (1 + gate * (1 - sigmoid))
    off_slope = off * (1 + gate) + 6 * UNIT * (slope + sigmoid)
    return {"out": value * gate * (off + 3 * UNIT * sigmoid), "dvalue": dout * gate * (off + 3 * UNIT * sigmoid),
            "dgate": 1.05 * dout * value * (off_slope + gate * sigmoid * off + 3 * UNIT * slope)}


def _bound_geglu(c, want):
    value, dout = np.abs(c["value"]), np.abs(c["dout"])
    unit = _bound_gelu({"inp": c["gate"], "dout": np.ones_like(dout)}, None)
    gelu = np.abs(ops.gelu_forward(c["gate"])[0])
    return {"out": value * (unit["out"] + 2 * UNIT * gelu), "dvalue": dout * (unit["out"] + 2 * UNIT * gelu),
            "dgate": dout * value * unit["dinp"] + 4 * UNIT * np.abs(want["dgate"])}


def _draw_rope(rng, B, T, H, pairs, start):
    width = 2 * pairs * H
    return {"inp": _normal(rng, B, T, 3 * width), "dout": _normal(rng, B, T, 3 * width), "heads": H, "start": start}


def _run_rope(f, c):
    out, cache = f.rope_forward(c["inp"], c["heads"], start=c["start"])
    return {"out": out, "dinp": f.rope_backward(c["dout"], cache)[0]}


def _bound_rope(c, want):
    def bound(x):
        B, T, width = x.shape
        both = np.abs(x).reshape(B, T, 3, c["heads"], 2, width // (6 * c["heads"]))
        size = both.sum(-2, keepdims=True) + 0 * both   # |cos| and |sin| are at most 1
        size[:, :, 2] = 0                               # values are copied
        return 4 * UNIT * size.reshape(x.shape)
    return {"out": bound(c["inp"]), "dinp": bound(c["dout"])}


def _draw_dropout(rng, B, T, C, rate):
    # No zeros in the input: a zero in the output is then a dropped element.
    def away_from_zero():
        return (rng.choice([-1, 1], (B, T, C)) * rng.uniform(1, 2, (B, T, C))).astype(np.float32)

    return {"inp": away_from_zero(), "branch": away_from_zero(), "dout": away_from_zero(),
            "rate": rate, "key": _key(int(rng.integers(1000)))}


def _run_dropout(f, c):
    out, cache = f.dropout_forward(c["inp"], c["rate"], c["key"])
    dinp = f.dropout_backward(c["dout"], cache)[0]
    _same_mask(c, "dropout out", out)
    _same_mask(c, "dropout dinp", dinp)
    return {"out": out, "dinp": dinp}


def _same_mask(c, what, array):
    mask = dropout_mask(array.shape, c["rate"], c["key"]) != 0
    _expect(np.array_equal(array != 0, mask), f"{what}: the mask is not that of ops.random.dropout_mask")


def _bound_dropout(c, want):
    return {k: 3 * UNIT * np.abs(want[k]) for k in ("out", "dinp")}


def _run_residual(f, c):
    out, cache = f.residual_forward(c["inp"], c["branch"], c["rate"], c["key"])
    dinp, dbranch = f.residual_backward(c["dout"], cache)
    plain, cache = f.residual_forward(c["inp"], c["branch"])
    dplain, dbranch_plain = f.residual_backward(c["dout"], cache)
    _same_mask(c, "residual dbranch", dbranch)
    return {"out": out, "dinp": dinp, "dbranch": dbranch, "out plain": plain, "dinp plain": dplain,
            "dbranch plain": dbranch_plain, "sum": f.add(c["inp"], c["branch"])}


def _bound_residual(c, want):
    scale = 1 / (1 - c["rate"]) if c["rate"] < 1 else 1.0
    size = np.abs(c["inp"]) + scale * np.abs(c["branch"])
    return {"out": 4 * UNIT * size, "dinp": 0.0, "dbranch": 3 * UNIT * np.abs(want["dbranch"]),
            "out plain": UNIT * size, "dinp plain": 0.0, "dbranch plain": 0.0,
            "sum": UNIT * size}


# ------------------------------------------------------------------------------------ embedding
def _draw_embedding(rng, B, T, V, C, start, positions):
    return {"tokens": rng.integers(0, V, (B, T)).astype(np.int32), "token_weight": _normal(rng, V, C),
            "position_weight": _maybe(positions, _normal(rng, start + T + 2, C)), "start": start,
            "dout": _normal(rng, B, T, C), "dtoken_weight": _normal(rng, V, C),
            "dposition_weight": _maybe(positions, _normal(rng, start + T + 2, C))}


def _run_embedding(f, c):
    return _forward_back(f, "embedding", c, _embedding_inputs(c), c["dout"],
                         ("dtoken_weight", "dposition_weight"))


def _embedding_inputs(c):
    return c["tokens"], c["token_weight"], c["position_weight"], c["start"]


def _bound_embedding(c, want):
    sizes = ops.embedding_backward(np.abs(c["dout"]), ops.embedding_forward(*_embedding_inputs(c))[1])
    found, rows = {"out": UNIT * np.abs(want["out"])}, c["tokens"].size
    for k, size in _some(**dict(zip(("dtoken_weight", "dposition_weight"), sizes))).items():
        found |= {k: gamma(rows) * size, f"{k} added": gamma(rows + 1) * (size + np.abs(c[k]))}
    return found


# ------------------------------------------------------------------------------------ ternary
def _draw_weight(rng, M, K, weights):
    """weights: "normal", "zero", or "halves", where every quotient by the scale is 1/2, 3/2 or one 1."""
    if weights == "zero":
        return np.zeros((M, K), np.float32)
    if weights == "normal":
        return _normal(rng, M, K)
    # Not a power of two: dividing by it and multiplying by its inverse then differ.
    size = np.full(M * K, rng.uniform(0.5, 1.5), np.float32)
    size[:M * K // 2] *= np.float32(0.5)
    size[M * K - M * K // 2:] *= np.float32(1.5)
    return (rng.permutation(size) * rng.choice([-1, 1], M * K)).astype(np.float32).reshape(M, K)


def _single(x):
    """What a definition is to round: the numbers the kernel rounds."""
    return x.astype(np.float32)


def _codes(what, codes, dtype=np.int8):
    _expect(codes.dtype == dtype, f"{what} are {codes.dtype}, not {np.dtype(dtype)}")
    return codes.astype(np.float32)


def _draw_ternarize(rng, M, K, weights):
    return {"weight": _draw_weight(rng, M, K, weights)}


def _run_ternarize(f, c):
    codes, scale = f.ternarize(_single(c["weight"]))
    return {"codes": _codes("ternary codes", codes), "scale": np.float32(scale)}


def _bound_ternarize(c, want):
    # Means in float64 may differ in their last bit, and so in the one float32 they are rounded to.
    return {"codes": 0.0, "scale": 2 * UNIT * want["scale"]}


def _draw_activations(rng, B, T, K, tokens):
    """tokens: "normal", "halves" (every quotient lies between two codes), or "zero" for one of the tokens."""
    inp = _normal(rng, B, T, K)
    if tokens == "halves":
        inp = (rng.integers(-126, 126, (B, T, K)) + 0.5).astype(np.float32)
        inp[..., 0] = 127
    if tokens == "zero":
        inp[:, -1] = 0
    return inp


def _draw_quantize(rng, B, T, K, tokens):
    return {"inp": _draw_activations(rng, B, T, K, tokens)}


def _run_quantize(f, c):
    codes, scale = f.quantize_activations(_single(c["inp"]))
    return {"codes": _codes("activation codes", codes, np.float32), "scale": scale}


def _bound_quantize(c, want):
    return {"codes": 0.0, "scale": 0.0}


def _draw_bitlinear(rng, B, T, K, M, bits, tokens, weights, precision):
    return {"inp": _draw_activations(rng, B, T, K, tokens), "weight": _draw_weight(rng, M, K, weights), "bits": bits,
            "dout": _normal(rng, B, T, M), "dweight": _normal(rng, M, K), "residual": _normal(rng, B, T, M),
            "precision": precision}


def _run_bitlinear(f, c):
    ternary = f.ternarize(_single(c["weight"]))

    def forward():
        if not c["bits"]:
            return f.bitlinear_forward(c["inp"], ternary)
        out, cache = f.bitlinear_forward(_single(c["inp"]), ternary, c["bits"])
        return out, cache._replace(inp_scale=cache.inp_scale.astype(c["inp"].dtype))

    with autocast(c["precision"]):
        out, cache = forward()
        inp, residual = (_single(c[name]) if c["bits"] else c[name] for name in ("inp", "residual"))
        added, _ = f.bitlinear_forward(inp, ternary, c["bits"], residual)
        dout = _single(c["dout"]) if _in_bytes(c) else c["dout"]
        dinp, dweight = f.bitlinear_backward(dout, cache)
        into = c["dweight"].copy()
        returned = f.bitlinear_backward(dout, forward()[1], add_to=(into,))[1]
        written = np.full_like(dweight, np.nan)
        f.bitlinear_backward(dout, cache, add_to=(written,), fresh=True)
    _expect(returned is into, "bitlinear_backward with add_to should return that array as dweight")
    _expect(np.array_equal(written, dweight), "bitlinear_backward should not add to what is fresh")
    return {"out": out.copy(), "out added": added, "dinp": dinp, "dweight": dweight, "dweight added": into}


def _in_bytes(c):
    """Whether the gradient of the input is a product of integers, too, for which dout is rounded."""
    return c["bits"] and c["precision"] in FIXED_POINT


def _bound_bitlinear(c, want):
    codes, scale = ops.ternarize(_single(c["weight"]))
    inp, dout = _rows(c["inp"]), _rows(c["dout"])
    if c["bits"]:
        inp, inp_scale = ops.quantize_activations(_single(inp))
        factor = inp_scale.astype(np.float64)
    else:
        factor = 1.0
    codes, scale, (n, m) = np.abs(codes).astype(np.float64), float(scale), dout.shape
    with autocast(c["precision"]):
        out = gamma(inp.shape[1] + 3) * scale * (np.abs(rounded(inp, 1)) @ codes.T)
        dinp = gamma(m + 3) * scale * (np.abs(rounded(dout, 1)) @ codes)
        values = inp.astype(np.int8) if c["bits"] else rounded(inp, 0)
        drows = _single(dout) * factor
        in_bytes = c["bits"] and precision() == "int8"
        dweight = np.abs(round_fixed(drows, 0, LARGEST_CODE) if in_bytes else rounded(drows, 0)).T @ np.abs(values)
    out = 0.0 if c["bits"] else out.reshape(want["out"].shape)
    return {"out": out, "out added": 0.0 if c["bits"] else out + gamma(1) * np.abs(want.get("out added", 0.0)),
            "dinp": 0.0 if _in_bytes(c) else dinp.reshape(c["inp"].shape),
            "dweight": gamma(n + 3) * dweight, "dweight added": gamma(n + 4) * (dweight + np.abs(c["dweight"]))}


def _draw_bitlinears(rng, B, T, K, widths, bits, tokens, precision):
    return {"inp": _draw_activations(rng, B, T, K, tokens), "weights": [_normal(rng, M, K) for M in widths],
            "douts": [_normal(rng, B, T, M) for M in widths], "into": [_normal(rng, M, K) for M in widths],
            "bits": bits, "precision": precision}


def _run_bitlinears(f, c):
    ternaries = [f.ternarize(_single(weight)) for weight in c["weights"]]
    inp = _single(c["inp"]) if c["bits"] else c["inp"]
    douts = [_single(dout) for dout in c["douts"]] if _in_bytes(c) else c["douts"]
    into = [x.copy() for x in c["into"]]
    with autocast(c["precision"]):
        outs, caches = f.bitlinears_forward(inp, ternaries, c["bits"])
        if c["bits"]:
            caches = [cache._replace(inp_scale=cache.inp_scale.astype(c["inp"].dtype)) for cache in caches]
        dinp, dweights = f.bitlinears_backward(douts, caches)
        returned = f.bitlinears_backward(douts, caches, add_to=into)[1]
        written = [np.full_like(x, np.nan) for x in dweights]
        f.bitlinears_backward(douts, caches, add_to=written, fresh=True)
    _expect(all(map(np.array_equal, written, dweights)), "bitlinears_backward should not add to what is fresh")
    _expect(all(x is y for x, y in zip(returned, into, strict=True)),
            "bitlinears_backward with add_to should return those arrays as dweights")
    found = {"outs": outs, "dweights": dweights, "dweights added": into}
    return {"dinp": dinp} | {f"{name}[{i}]": x for name, arrays in found.items() for i, x in enumerate(arrays)}


def _bound_bitlinears(c, want):
    found, dinp = {}, 0.0
    for i, (weight, dout, into) in enumerate(zip(c["weights"], c["douts"], c["into"], strict=True)):
        one = {"inp": c["inp"], "weight": weight, "dout": dout, "dweight": into, "bits": c["bits"],
               "precision": c["precision"]}
        bound = _bound_bitlinear(one, {"out": want[f"outs[{i}]"]})
        found |= {f"{to}[{i}]": bound[of]
                  for to, of in (("outs", "out"), ("dweights", "dweight"), ("dweights added", "dweight added"))}
        codes, scale = ops.ternarize(_single(weight))
        # The roundings of the sum are those of at most |dout| and half a step of it.
        size = 1.01 * np.abs(_rows(dout)) + (np.abs(_rows(dout)).max(-1, keepdims=True) / 127 if _in_bytes(c) else 0.0)
        dinp = dinp + gamma(len(c["weights"]) + 1) * float(scale) * (size @ np.abs(codes).astype(np.float64))
        dinp = dinp + _rows(np.broadcast_to(bound["dinp"], c["inp"].shape))
    return found | {"dinp": dinp.reshape(c["inp"].shape)}


def _draw_feed_forward(rng, B, T, K, M, bits, tokens, precision):
    return {"inp": _draw_activations(rng, B, T, K, tokens), "up": _normal(rng, M, K), "down": _normal(rng, K, M),
            "dout": _normal(rng, B, T, K), "bits": bits, "precision": precision}


def _run_feed_forward(f, c):
    """What goes, and comes back, through all of it at once is that of one after the other, to the bit."""
    up, down, inp = f.ternarize(_single(c["up"])), f.ternarize(_single(c["down"])), _single(c["inp"])
    dout, bits = _single(c["dout"]), c["bits"]
    with autocast(c["precision"]):
        linear, of_up = f.bitlinear_forward(inp, up, bits)
        square, hidden = f.squared_relu_forward(linear)
        out, of_down = f.bitlinear_forward(square, down, bits)
        on_top, _ = f.bitlinear_forward(square, down, bits, inp)
        dsquare, ddown = f.bitlinear_backward(dout, of_down)
        dinp, dup = f.bitlinear_backward(f.squared_relu_backward(dsquare, hidden)[0], of_up)

        def forward(residual=None):
            return f.feed_forward_forward(inp, up, down, bits, residual)

        _expect(np.array_equal(forward()[0], out) and np.array_equal(forward(inp)[0], on_top),
                "out of feed_forward_forward differs from that of its parts")
        found = f.feed_forward_backward(dout, forward()[1])
        into = [np.zeros_like(dup), np.zeros_like(ddown)]
        added = f.feed_forward_backward(dout, forward()[1], add_to=into)
        written = [np.full_like(dup, np.nan), np.full_like(ddown, np.nan)]
        f.feed_forward_backward(dout, forward()[1], add_to=written, fresh=True)
    _expect(np.array_equal(written[0], dup) and np.array_equal(written[1], ddown),
            "feed_forward_backward should not add to what is fresh")
    _expect(added[1] is into[0] and added[2] is into[1],
            "feed_forward_backward with add_to should return those arrays as dup and ddown")
    for name, one, at_once, more in zip(("dinp", "dup", "ddown"), (dinp, dup, ddown), found, added, strict=True):
        _expect(np.array_equal(one, at_once) and np.array_equal(one, more),
                f"{name} of feed_forward_backward differs from that of its parts")
    return {"difference": np.zeros(1, np.float32)}


def _draw_packed(rng, N, M, K, tokens):
    return {"codes": rng.integers(-1, 2, (M, K)).astype(np.int8), "inp": _draw_activations(rng, 1, N, K, tokens)[0],
            "scale": np.float32(rng.uniform(0.01, 1))}


def _run_packed(f, c):
    packed, codes = f.pack_ternary(c["codes"]), c["codes"]
    _expect(packed.dtype == np.uint8, f"packed weights are {packed.dtype}, not uint8")
    back, inp = f.unpack_ternary(packed, codes.shape), _single(c["inp"])
    values, _ = f.quantize_activations(inp)
    product = f.packed_product(packed, values.astype(np.int8), len(codes))
    out = f.packed_bitlinear(inp, packed, c["scale"], len(codes))
    unpacked, _ = f.bitlinear_forward(inp, ops.ternary.Ternary(codes, c["scale"]), 8)
    _expect(np.array_equal(out, unpacked), "packed_bitlinear differs from bitlinear_forward of the same weights")
    return {"packed": packed.astype(np.float32), "codes": _codes("unpacked codes", back),
            "product": _codes("products", product, np.int32), "out": out}


def _bound_packed(c, want):
    return dict.fromkeys(want, 0.0)


def _draw_int8(rng, N, M, K, tokens):
    weight = _normal(rng, M, K)
    weight[0] = 0
    return {"weight": weight, "inp": _draw_activations(rng, 1, N, K, tokens)[0]}


def _run_int8(f, c):
    weight = f.quantize_rows(_single(c["weight"]))
    _expect(weight.codes.dtype == np.int8, f"codes are {weight.codes.dtype}, not int8")
    return {"codes": _codes("int8 codes", weight.codes), "scale": weight.scale,
            "out": f.int8_linear(_single(c["inp"]), f.pack_int8(weight))}


# ------------------------------------------------------------------------------------ sampling
def _draw_sampling(rng, V, flat, temperature):
    logits = (0.5 if flat else 3) * _normal(rng, V)
    return {"logits": logits, "uniform": float(rng.uniform()), "temperature": temperature,
            "token": int(rng.integers(V))}


def _run_sampling(f, c):
    """A draw is judged by how far `uniform` lies outside of the drawn token's share of [0, 1): rounding may be off
    by a hair."""
    drawn = f.draw_token(c["logits"], c["temperature"], c["uniform"])
    reached = np.cumsum(ops.sampling.softmax(c["logits"].astype(np.float64) / c["temperature"]))
    low, high = reached[drawn - 1] if drawn else 0.0, reached[drawn]
    prob, tokens, probs = f.likeliest(c["logits"], c["token"], 5)
    return {"draw": max(0.0, low - c["uniform"], c["uniform"] - high),
            "prob": prob, "top": tokens.astype(c["logits"].dtype), "probs": probs.astype(c["logits"].dtype)}


def _bound_sampling(c, want):
    score = np.asarray(c["logits"], np.float64)
    off = _softmax_error(UNIT * np.abs(score - score.max()), score, ops.sampling.softmax(score))
    return {"draw": gamma(c["logits"].size + 200), "prob": off[c["token"]] * want["prob"], "top": 0.0,
            "probs": off[want["top"].astype(int)] * want["probs"]}


# ------------------------------------------------------------------------------------ recurrence
def _draw_recurrence(rng, B, T, C, state, lower, gates):
    """gates: added to what the forget gates get; far from 0 they are shut or open to the last bit."""
    return {"forget": 2 * _normal(rng, B, T, C) + np.float32(gates), "value": _normal(rng, B, T, C),
            "output": 2 * _normal(rng, B, T, C), "bias": _normal(rng, C), "state": _maybe(state, _normal(rng, B, C)),
            "lower": lower, "dout": _normal(rng, B, T, C), "dbias": _normal(rng, C)}


def _run_recurrence(f, c):
    inputs = [c[k] for k in ("forget", "value", "output", "bias", "state", "lower")]
    found = _forward_back(f, "recurrence", c, inputs, c["dout"], ("dforget", "dvalue", "doutput", "dbias"), 1)
    _, cache = f.recurrence_forward(*[x.copy() if isinstance(x, np.ndarray) else x for x in inputs])
    for name, x in zip(("dforget", "dvalue", "doutput", "dbias"),
                       f.recurrence_backward(c["dout"], cache, overwrite=True), strict=True):
        _expect(np.array_equal(x, found[name]), f"{name} of recurrence_backward with overwrite is another one")
    return found | {"hidden": f.recurrence_forward(*inputs)[1].hidden}


def _sigmoid_error(x, off):
    """(sigmoid, its error) where x is off by `off`."""
    sigmoid = 1 / (1 + np.exp(-x))
    return sigmoid, sigmoid * (1 - sigmoid) * off + APPROXIMATE * UNIT * sigmoid


def _bound_recurrence(c, want):
    lower, value, bias = c["lower"], c["value"], c["bias"]
    total = c["forget"] + bias
    sigmoid, off_sigmoid = _sigmoid_error(total, UNIT * np.abs(total))
    output, off_output = _sigmoid_error(c["output"], 0.0)
    gate = lower + (1 - lower) * sigmoid
    off_gate = (1 - lower) * off_sigmoid + 6 * UNIT * gate      # of the gate and of 1 - gate alike
    B, T, C = value.shape
    state = np.zeros((B, C)) if c["state"] is None else c["state"]
    before = np.concatenate([state[:, None], want["hidden"][:, :-1]], 1)
    # h and what the loss feels through it: each step hands its error on, times the gate, and adds its own.
    own = (off_gate + 4 * UNIT) * (np.abs(before) + np.abs(value))
    off_hidden, carried = np.empty_like(value), np.zeros((B, C))
    for t in range(T):
        off_hidden[:, t] = carried = (gate[:, t] + off_gate[:, t]) * carried + own[:, t]
    off_before = np.concatenate([np.zeros((B, 1, C)), off_hidden[:, :-1]], 1)
    dout = np.abs(c["dout"])
    felt, off_felt, later, carried = np.empty_like(value), np.empty_like(value), np.zeros((B, C)), np.zeros((B, C))
    for t in reversed(range(T)):
        felt[:, t] = output[:, t] * dout[:, t] + later
        off_felt[:, t] = off_output[:, t] * dout[:, t] + carried + 3 * UNIT * felt[:, t]
        later = gate[:, t] * felt[:, t]
        carried = gate[:, t] * off_felt[:, t] + (off_gate[:, t] + UNIT) * felt[:, t]
    slope, off_slope = (1 - lower) * sigmoid * (1 - sigmoid), (1 - lower) * (off_sigmoid + 4 * UNIT * sigmoid)
    gap, size = np.abs(before - value), np.abs(before) + np.abs(value)
    dforget = felt * gap * slope
    off_dforget = (off_felt * gap * slope + felt * (off_before + UNIT * size) * slope + felt * gap * off_slope
                   + 6 * UNIT * dforget)
    dbias, slack = _rows(dforget).sum(0), _rows(off_dforget).sum(0)
    hidden = np.abs(want["hidden"])
    found = {"out": output * off_hidden + off_output * hidden + 2 * UNIT * output * hidden,
             "dforget": off_dforget,
             "dvalue": off_felt * (1 - gate) + felt * (off_gate + 2 * UNIT * (1 - gate)),
             "doutput": dout * (off_hidden * output * (1 - output)
                                + hidden * (off_output + 6 * UNIT * output)),
             "dbias": gamma(B * T + 1) * dbias + slack,
             "dbias added": gamma(B * T + 2) * (dbias + np.abs(c["dbias"])) + slack, "hidden": off_hidden}
    return {k: 1.05 * v for k, v in found.items()}


def _draw_token_shift(rng, B, T, C, before):
    return {"inp": _normal(rng, B, T, C), "mix": 2 * _normal(rng, C), "before": _maybe(before, _normal(rng, B, C)),
            "dout": _normal(rng, B, T, C), "dmix": _normal(rng, C)}


def _run_token_shift(f, c):
    return _forward_back(f, "token_shift", c, (c["inp"], c["mix"], c["before"]), c["dout"], ("dinp", "dmix"), 1)


def _bound_token_shift(c, want):
    share, off = _sigmoid_error(c["mix"], 0.0)
    off = off + 2 * UNIT                                        # of the share, of 1 - share, and of a product
    inp, dout = np.abs(c["inp"]), np.abs(c["dout"])
    B, T, C = inp.shape
    first = np.zeros((B, C)) if c["before"] is None else np.abs(c["before"])
    size = inp + np.concatenate([first[:, None], inp[:, :-1]], 1)
    after = np.concatenate([dout[:, 1:], np.zeros((B, 1, C))], 1)
    # In the sum over rows the slope share (1 - share) may stand inside or outside.
    dmix = _rows(dout * size).sum(0)
    relative = gamma(B * T + 4) * share * (1 - share) + off
    return {"out": 1.05 * (off + UNIT) * size, "dinp": 1.05 * (off + UNIT) * (dout + after),
            "dmix": 1.05 * relative * dmix,
            "dmix added": 1.05 * (relative + UNIT) * dmix + gamma(B * T + 1) * np.abs(c["dmix"])}


def _draw_norm_shift(rng, B, T, C, bias, before):
    return _draw_layernorm(rng, B, T, C, bias, 0.0) | {
        "mix": 2 * _normal(rng, C), "before": _maybe(before, _normal(rng, B, C))}


def _run_norm_shift(f, c):
    """What goes and comes back through both at once is that of one after the other, to the bit."""
    inputs, dout = (c["inp"], c["weight"], c["bias"]), c["dout"]
    normed, norm = f.layernorm_forward(*inputs, NORM_EPS)
    out, shift = f.token_shift_forward(normed, c["mix"], c["before"])
    dnormed, dmix = f.token_shift_backward(dout, shift)
    parts = {"out": out, "the last norm": normed[:, -1], "dmix": dmix, **dict(zip(
        ("dinp", "dweight", "dbias"), f.layernorm_backward(dnormed, norm, residual=c["residual"])))}
    into = [None if x is None else np.zeros_like(x) for x in (c["weight"], c["bias"], c["mix"])]
    for add_to in None, into:
        at_once, cache = f.norm_shift_forward(*inputs, c["mix"], c["before"], NORM_EPS)
        residual = None if c["residual"] is None else c["residual"].copy()
        found = dict(zip(("dinp", "dweight", "dbias", "dmix"), f.norm_shift_backward(dout, cache, add_to, residual)))
        _expect(residual is None or found["dinp"] is residual,
                "norm_shift_backward with a residual should return that array as dinp")
        for name, x in {"out": at_once, "the last norm": cache.last, **found}.items():
            _expect(np.array_equal(x, parts[name]) if x is not None else parts[name] is None,
                    f"{name} of norm_shift differs from that of its parts")
    _expect(all(x is y for x, y in zip((found["dweight"], found["dbias"], found["dmix"]), into, strict=True)),
            "norm_shift_backward with add_to should return those arrays as dweight, dbias and dmix")
    return {"difference": np.zeros(1, np.float32)}


def _draw_gated_conv(rng, B, T, C, taps, before):
    return {"inp": 2 * _normal(rng, B, T, 2 * C), "weight": _normal(rng, taps, C),
            "before": _maybe(before, _normal(rng, B, taps - 1, C)), "dout": _normal(rng, B, T, C),
            "dweight": _normal(rng, taps, C)}


def _run_gated_conv(f, c):
    return _forward_back(f, "gated_conv", c, (c["inp"], c["weight"], c["before"]), c["dout"], ("dinp", "dweight"), 1)


def _bound_gated_conv(c, want):
    inp, weight = c["inp"], np.abs(c["weight"])
    (K, C), (B, T) = weight.shape, inp.shape[:2]
    sigmoid, off = _sigmoid_error(inp[..., :C], 0.0)
    before = np.zeros((B, K - 1, C)) if c["before"] is None else np.abs(c["before"])
    value, dout = np.abs(inp[..., C:]), np.abs(c["dout"])
    mixed = ops.gated_conv.causal_conv(value, weight, before)
    dgate = dout * mixed * (sigmoid * (1 - sigmoid) * gamma(K + 6) + off)
    # The definition is linear in what is not the gate: fed with magnitudes it gives the magnitudes of all sums.
    felt = dout * (gamma(K + 2) * sigmoid + off)
    open_gate = np.full((B, T, C), 40.0)
    cache = ops.gated_conv.GatedConvCache(np.concatenate([open_gate, value], -1), weight, before, mixed)
    dvalue, dweight = ops.gated_conv_backward(felt, cache)
    sums = ops.gated_conv_backward(dout * sigmoid, cache)[1]
    dweight = 1.05 * (dweight + gamma(B * T + 2) * sums)
    return {"out": mixed * (gamma(K + 2) * sigmoid + off), "dinp": 1.05 * np.concatenate([dgate, dvalue[..., C:]], -1),
            "dweight": dweight, "dweight added": dweight + gamma(B * T + 3) * (sums + np.abs(c["dweight"]))}


# ------------------------------------------------------------------------------------ attention
def _draw_attention(rng, B, T, H, D, rate, scale, window):
    # Scores are as large as with the usual scale, whatever the scale.
    size = 1.5 if scale is None else 1.5 / math.sqrt(scale * math.sqrt(D))
    return {"inp": np.float32(size) * _normal(rng, B, T, 3 * H * D), "dout": _normal(rng, B, T, H * D), "heads": H,
            "rate": rate, "key": _key(int(rng.integers(1000))) if rate else None, "scale": scale, "window": window}


def _run_attention(f, c):
    out, cache = f.attention_forward(c["inp"], c["heads"], c["rate"], c["key"], c["scale"], c["window"])
    return {"out": out.copy(), "dinp": f.attention_backward(c["dout"], cache)[0]}


def _softmax_error(off_score, score, prob):
    """Relative error of prob = softmax(score) where each score is off by off_score."""
    distance = np.where(np.isfinite(score), score.max(-1, keepdims=True) - score, 0)
    own = off_score + (distance + APPROXIMATE) * UNIT
    length = score.shape[-1]
    return own + (prob * own).sum(-1, keepdims=True) + gamma(2 * length + APPROXIMATE)


def _scale(scale, D):
    return 1 / math.sqrt(D) if scale is None else scale


def _seen(steps, stop, length, window):
    distance = length + np.arange(steps)[:, None] - np.arange(stop)
    return (distance >= 0) & (distance < (window or stop))


def _attention_size(query, keys, seen, mask, scale, more=0):
    """(prob, relative error of prob, prob mask) of one set of heads; arrays (..., T, D), seen (T, S).

    more    roundings of each score, beside those of a dot product and its scale
    """
    D = query.shape[-1]
    score = np.where(seen, query @ keys.swapaxes(-1, -2) * scale, -np.inf)
    off_score = gamma(D + 3 + more) * (np.abs(query) @ np.abs(keys).swapaxes(-1, -2)) * scale
    top = np.exp(score - score.max(-1, keepdims=True))
    prob = top / top.sum(-1, keepdims=True)
    return prob, _softmax_error(np.where(seen, off_score, 0), score, prob), prob * mask


def _bound_attention(c, want):
    inp, heads = c["inp"], c["heads"]
    B, T, width = inp.shape
    D = width // (3 * heads)
    query, keys, value = inp.reshape(B, T, 3, heads, D).transpose(2, 0, 3, 1, 4)
    dout = np.abs(c["dout"].reshape(B, T, heads, D).transpose(0, 2, 1, 3))
    mask = dropout_mask((B, heads, T, T), c["rate"], c["key"]) if c["key"] else np.ones((B, heads, T, T))
    scale = _scale(c["scale"], D)
    prob, off_prob, weight = _attention_size(query, keys, _seen(T, T, 0, c["window"]), mask, scale)
    sums = gamma(2 * T + 4)
    out = (weight * (off_prob + sums)) @ np.abs(value)
    dvalue = (weight * (off_prob + sums)).swapaxes(-1, -2) @ dout
    dprob = (dout @ np.abs(value).swapaxes(-1, -2)) * mask
    off_dprob = gamma(D + 4) * dprob
    inner = (prob * dprob).sum(-1, keepdims=True)  # also bounds sum(|dout out|), the other way to get it
    off_inner = (prob * ((off_prob + gamma(2 * T + D + 4)) * dprob + off_dprob)).sum(-1, keepdims=True)
    dscore = prob * (dprob + inner)
    off_dscore = prob * (off_dprob + off_inner) + dscore * (off_prob + 4 * UNIT)
    reach = (off_dscore + gamma(T + 4) * dscore) * scale
    dquery, dkeys = reach @ np.abs(keys), reach.swapaxes(-1, -2) @ np.abs(query)

    def join(x):
        return x.transpose(0, 2, 1, 3).reshape(B, T, heads * D)

    # Errors of errors: a few percent more covers the products of bounds that were left out above.
    dinp = np.concatenate([join(dquery), join(dkeys), join(dvalue)], -1)
    return {"out": 1.05 * join(out), "dinp": 1.05 * dinp}


def _draw_extend(rng, B, T, length, spare, H, D, scale, window, cache_bits):
    past = B, length + T + spare, H
    if cache_bits == 8:
        kept = {f"past_{of}": rng.integers(-127, 128, (*past[:2], H * D)).astype(np.int8) for of in ("keys", "values")}
        kept |= {f"{of}_scale": np.float32(1.5 / 127) * np.abs(_normal(rng, *past)) for of in ("keys", "values")}
    else:
        kept = {f"past_{of}": _normal(rng, *past[:2], H * D) for of in ("keys", "values")}
    return {"inp": 1.5 * _normal(rng, B, T, 3 * H * D), "length": length, "heads": H, "scale": scale,
            "window": window, **kept}


def _run_extend(f, c):
    past = [c[f"past_{of}"].copy() for of in ("keys", "values")]
    if past[0].dtype == np.int8:
        past = [ops.attention.Int8Rows(codes, _single(c[f"{of}_scale"]).copy())
                for of, codes in zip(("keys", "values"), past)]
    out = f.attention_extend(c["inp"], *past, c["length"], c["heads"], c["scale"], c["window"])
    if c["past_keys"].dtype != np.int8:
        return {"out": out, "keys": past[0], "values": past[1]}
    found = {of: _codes(f"codes of {of}", x.codes) for of, x in zip(("keys", "values"), past)}
    return {"out": out, **found, **{f"{of} scale": x.scale for of, x in zip(("keys", "values"), past)}}


def _bound_extend(c, want):
    B, T, width = c["inp"].shape
    C, heads, stop = width // 3, c["heads"], c["length"] + T

    def per_head(x):
        return x.reshape(B, -1, heads, C // heads).transpose(0, 2, 1, 3)

    coded = c["past_keys"].dtype == np.int8
    past = {of: per_head(want[of][:, :stop]).astype(np.float64) for of in ("keys", "values")}
    if coded:
        past = {of: x * want[f"{of} scale"][:, :stop].swapaxes(1, 2)[..., None] for of, x in past.items()}
    query, keys, value = per_head(c["inp"][..., :C]), past["keys"], past["values"]
    _, off_prob, weight = _attention_size(query, keys, _seen(T, stop, c["length"], c["window"]), 1.0,
                                          _scale(c["scale"], C // heads), coded)
    out = (weight * (off_prob + gamma(2 * stop + 4 + coded))) @ np.abs(value)
    return {"out": 1.05 * out.transpose(0, 2, 1, 3).reshape(B, T, C)} | {k: 0.0 for k in want if k != "out"}


# ------------------------------------------------------------------------------------ the loss
def _draw_cross_entropy(rng, N, V):
    return {"logits": 3 * _normal(rng, N, V), "targets": rng.integers(0, V, N).astype(np.int32),
            "dout": _normal(rng, N)}


def _run_cross_entropy(f, c):
    out, cache = f.cross_entropy_forward(c["logits"], c["targets"])
    return {"out": out.copy(), "dlogits": f.cross_entropy_backward(c["dout"], cache)[0]}


def _loss_errors(logits, off_logits, targets):
    """(error of the losses, prob, error of prob) where logits are off by off_logits."""
    rows, vocab = np.arange(len(targets)), logits.shape[1]
    top = logits.max(-1, keepdims=True)
    prob = np.exp(logits - top)
    log_sum = np.log(prob.sum(-1))
    prob = prob / prob.sum(-1, keepdims=True)
    off_prob = prob * _softmax_error(off_logits, logits, prob)
    off_log_sum = off_prob.sum(-1) + gamma(vocab + APPROXIMATE)
    sizes = np.abs(log_sum) + np.abs(top[:, 0]) + 2 * np.abs(logits[rows, targets])
    off_loss = off_log_sum + off_logits[rows, targets] + off_logits.max(-1) + APPROXIMATE * UNIT * sizes
    return off_loss, prob, off_prob


def _dlogits_bound(prob, off_prob, targets, dout):
    size = prob.copy()
    size[np.arange(len(targets)), targets] += 1
    # The kernel may keep log-sum-exp instead of the probabilities, which rounds once more.
    return (off_prob + 3 * UNIT * size) * np.abs(dout)[:, None]


def _bound_cross_entropy(c, want):
    off_loss, prob, off_prob = _loss_errors(c["logits"], UNIT * np.abs(c["logits"]), c["targets"])
    return {"out": off_loss, "dlogits": _dlogits_bound(prob, off_prob, c["targets"], c["dout"])}


def _draw_linear_cross_entropy(rng, N, C, V, bias):
    return {"inp": _normal(rng, N, C), "weight": _normal(rng, V, C), "bias": _maybe(bias, _normal(rng, V)),
            "targets": rng.integers(0, V, N).astype(np.int32), "dout": _normal(rng, N),
            "dweight": _normal(rng, V, C), "dbias": _maybe(bias, _normal(rng, V))}


def _run_linear_cross_entropy(f, c):
    return _forward_back(f, "linear_cross_entropy", c, (c["inp"], c["weight"], c["bias"], c["targets"]),
                         c["dout"], ("dinp", "dweight", "dbias"))


def _run_loss_and_gradient(f, c):
    """`linear_cross_entropy`, with the names `_forward_back` gives its results; the weight packed the second time."""
    inputs = c["inp"], c["weight"], c["bias"], c["targets"], c["dout"]
    names = "out", "dinp", "dweight", "dbias"
    found = _some(**dict(zip(names, f.linear_cross_entropy(*inputs))))
    into = c["dweight"].copy(), None if c["bias"] is None else c["dbias"].copy()
    again = f.linear_cross_entropy(c["inp"], f.pack(c["weight"]), *inputs[2:], add_to=into)
    for k, given, returned in zip(names[2:], into, again[2:]):
        _expect(returned is given, f"linear_cross_entropy with add_to should return that array as {k}")
    return found | _some(**{f"{k} added": v for k, v in zip(names[2:], into)})


def _bound_linear_cross_entropy(c, want):
    inp, weight = c["inp"], c["weight"]
    bias = 0 if c["bias"] is None else c["bias"]
    logits = inp @ weight.T + bias
    off_logits = gamma(inp.shape[1] + 2) * (np.abs(inp) @ np.abs(weight).T + np.abs(bias))
    off_loss, prob, off_prob = _loss_errors(logits, off_logits, c["targets"])
    dlogits = prob.copy()
    dlogits[np.arange(len(dlogits)), c["targets"]] -= 1
    ddlogits = _dlogits_bound(prob, off_prob, c["targets"], c["dout"])
    return {"out": 1.05 * off_loss} | {k: 1.05 * v for k, v in _linear_back_bounds(
        c, inp, dlogits * c["dout"][:, None], ddlogits).items()}


def dlogits_error(inp, weight, bias, targets, dlosses):
    """How far float32 may take dlogits from those of the definition, which are float64, at the present precision.

    Shapes    as `linear_cross_entropy_forward`; dlosses (N,) -> (N, V)
    """
    (inp, weight), bias = operands(inp, weight), 0.0 if bias is None else bias
    roundings = inp.shape[1] + 2 + 2 * fixed_point()  # a step is rounded on each side
    off_logits = gamma(roundings) * (np.abs(inp) @ np.abs(weight).T + np.abs(bias))
    _, prob, off_prob = _loss_errors(inp @ weight.T + bias, off_logits, targets)
    return 1.05 * _dlogits_bound(prob, off_prob, targets, dlosses)


def rounding_error(x, off, axis):
    """How far `rounded` may come out from rounded(x, axis) for a number that is off by `off` from x.

    Most numbers get the same code, since both lie on the same side of the middle between two; the others a whole
    step.  In int16 the step of a chunk is off, too, with the largest number in it.

    Shapes    x and off the same -> the same
    """
    if precision() == "float32":
        return off
    if precision() == "bfloat16":
        kept = rounded(x, axis)
        return np.maximum(np.abs(rounded(x + off, axis) - kept), np.abs(rounded(x - off, axis) - kept))
    x, off = np.moveaxis(x, axis, -1), np.moveaxis(off, axis, -1)
    found = np.empty_like(x)
    for k in range(0, x.shape[-1], CHUNK):
        part, off_part = x[..., k:k + CHUNK], off[..., k:k + CHUNK]
        top = np.maximum(np.abs(part).max(-1, keepdims=True), np.finfo(np.float32).tiny)
        share = off_part.max(-1, keepdims=True) / top + 3 * UNIT
        codes = part * (LARGEST / top)
        off_codes = off_part * (LARGEST / top) + np.abs(codes) * share
        other = np.maximum(*(np.abs(np.rint(codes + d) - np.rint(codes)) for d in (off_codes, -off_codes)))
        found[..., k:k + CHUNK] = top / LARGEST * (other + (np.abs(codes) + 1) * share)
    return np.moveaxis(found, -1, axis)


# ------------------------------------------------------------------------------------ the optimizer
def _draw_adamw(rng, P, decayed, step, scale):
    return {"param": _normal(rng, P), "grad": _normal(rng, P), "first": _normal(rng, P),
            "second": np.abs(_normal(rng, P)) + np.float32(0.01), "step": step, "scale": scale,
            "decayed": {"none": 0, "half": P // 2, "all": P}[decayed]}


ADAMW = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1}


def _run_adamw(f, c):
    state = {k: c[k].copy() for k in ("param", "first", "second")}
    f.adamw_step(state["param"], c["grad"], state["first"], state["second"], step=c["step"],
                 decayed=c["decayed"], scale=c["scale"], **ADAMW)
    return state


def _bound_adamw(c, want):
    grad, beta1, beta2 = np.abs(c["grad"] * c["scale"]), ADAMW["beta1"], ADAMW["beta2"]
    first = 8 * UNIT * (np.abs(c["first"]) + (1 - beta1) * grad)
    second = 8 * UNIT * (c["second"] + (1 - beta2) * grad ** 2)
    corrected1, corrected2 = 1 - beta1 ** c["step"], 1 - beta2 ** c["step"]
    root = np.sqrt(want["second"] / corrected2) + ADAMW["eps"]
    change = ADAMW["lr"] / corrected1 * np.abs(want["first"]) / root
    # relative error of the root is half that of `second`, plus one rounding for each step
    off_change = ADAMW["lr"] / corrected1 * first / root + change * (second / want["second"] + 16 * UNIT)
    return {"first": first, "second": second,
            "param": 1.05 * off_change + 4 * UNIT * (np.abs(c["param"]) + change)}


def _draw_norm(rng, P):
    grad = _normal(rng, P)
    grad[-1] *= 100  # the bound of a long sum is wide: losing the last element should still show
    return {"grad": grad, "limit": float(rng.uniform(0.1, 20))}


def _run_norm(f, c):
    norm = f.global_norm(c["grad"])
    _expect(isinstance(norm, float), f"global_norm answers with {type(norm).__name__}, not a float")
    return {"norm": norm, "scale": f.clip_scale(norm, c["limit"]), "unlimited": f.clip_scale(norm, 0)}


def _bound_norm(c, want):
    # A kernel may sum up to NORM_CHUNK squares in float32; the root halves their relative error.
    relative = gamma(min(c["grad"].size, NORM_CHUNK) + 2) / 2
    return {"norm": relative * want["norm"], "scale": relative * want["scale"], "unlimited": 0.0}


ROWS = 1, 2, 3
WEIGHTS = "normal", "halves", "zero"
TOKENS = "normal", "halves", "zero"
OPERATIONS: dict[str, Operation] = {
    "matmul": Operation(("matmul",), {"M": (0, *EDGES), "K": (0, *EDGES), "N": EDGES, "transpose_a": (False, True),
                                      "transpose_b": (False, True), "bias": (False, True),
                                      "codes": (False, True), "precision": PRECISIONS,
                                      "scaled": ("no", "all", "rows")},
                        _draw_matmul, _run_matmul, _bound_matmul),
    "pack": Operation(("pack",), {"M": (0, *EDGES), "K": EDGES, "N": EDGES, "transpose_a": (False, True),
                                  "transpose_b": (False, True), "bias": (False, True), "codes": (False, True),
                                  "precision": PRECISIONS},
                      _draw_matmul, _run_pack, _bound_pack),
    "linear": Operation(("linear_forward", "linear_backward"),
                        {"B": (0, *ROWS), "T": EDGES, "K": EDGES, "M": EDGES, "bias": (False, True)},
                        _draw_linear, _run_linear, _bound_linear),
    "linear_relu": Operation(("linear_relu",),
                             {"B": (0, *ROWS), "T": EDGES, "K": EDGES, "M": EDGES, "bias": (False, True)},
                             _draw_linear_relu, _run_linear_relu, _bound_linear_relu),
    "layernorm": Operation(("layernorm_forward", "layernorm_backward"),
                           {"B": (0, *ROWS), "T": EDGES, "C": (2, *EDGES[2:]), "bias": (False, True),
                            "offset": (0.0, 10.0)},
                           _draw_layernorm, _run_layernorm, _bound_layernorm),
    "headnorm": Operation(("headnorm_forward", "headnorm_backward"),
                          {"B": (0, *ROWS), "T": EDGES, "H": (1, 2, 3, 8), "D": (2, 5, 16, 25, 48),
                           "offset": (0.0, 10.0)},
                          _draw_headnorm, _run_headnorm, _bound_headnorm),
    "rmsnorm": Operation(("rmsnorm_forward", "rmsnorm_backward"),
                         {"B": (0, *ROWS), "T": EDGES, "C": EDGES, "offset": (0.0, 10.0)},
                         _draw_rmsnorm, _run_rmsnorm, _bound_rmsnorm),
    "relu": Operation(("relu_forward", "relu_backward"), {"B": (0, *ROWS), "T": EDGES, "C": EDGES},
                      _draw_elements, _run_elements("relu"), _bound_relu),
    "squared_relu": Operation(("squared_relu_forward", "squared_relu_backward"),
                              {"B": (0, *ROWS), "T": EDGES, "C": EDGES},
                              _draw_elements, _run_elements("squared_relu"), _bound_squared_relu),
    "gelu": Operation(("gelu_forward", "gelu_backward"), {"B": (0, *ROWS), "T": EDGES, "C": EDGES},
                      _draw_elements, _run_elements("gelu"), _bound_gelu),
    "swiglu": Operation(("swiglu_forward", "swiglu_backward"), {"B": (0, *ROWS), "T": EDGES, "C": EDGES},
                        _draw_glu, _run_glu("swiglu"), _bound_swiglu),
    "geglu": Operation(("geglu_forward", "geglu_backward"), {"B": (0, *ROWS), "T": EDGES, "C": EDGES},
                       _draw_glu, _run_glu("geglu"), _bound_geglu),
    "dropout": Operation(("dropout_forward", "dropout_backward"),
                         {"B": (0, *ROWS), "T": EDGES, "C": EDGES, "rate": (0.1, 0.2, 0.5)},
                         _draw_dropout, _run_dropout, _bound_dropout),
    "residual": Operation(("residual_forward", "residual_backward", "add"),
                          {"B": (0, *ROWS), "T": EDGES, "C": EDGES, "rate": (0.1, 0.2, 0.5)},
                          _draw_dropout, _run_residual, _bound_residual),
    "embedding": Operation(("embedding_forward", "embedding_backward"),
                           {"B": (0, *ROWS), "T": EDGES, "V": (1, 2, 28, 300), "C": EDGES, "start": (0, 3),
                            "positions": (False, True)},
                           _draw_embedding, _run_embedding, _bound_embedding),
    "ternarize": Operation(("ternarize",), {"M": EDGES, "K": (*EDGES, 1000), "weights": WEIGHTS},
                           _draw_ternarize, _run_ternarize, _bound_ternarize),
    "quantize_activations": Operation(("quantize_activations",),
                                      {"B": (0, *ROWS), "T": EDGES, "K": EDGES, "tokens": TOKENS},
                                      _draw_quantize, _run_quantize, _bound_quantize),
    "bitlinear": Operation(("bitlinear_forward", "bitlinear_backward"),
                           {"B": (0, *ROWS), "T": EDGES, "K": EDGES, "M": EDGES, "bits": (0, 8), "tokens": TOKENS,
                            "weights": WEIGHTS, "precision": PRECISIONS},
                           _draw_bitlinear, _run_bitlinear, _bound_bitlinear),
    "bitlinears": Operation(("bitlinears_forward", "bitlinears_backward"),
                            {"B": (0, *ROWS), "T": EDGES, "K": EDGES, "widths": ((1,), (33, 33), (16, 97, 5)),
                             "bits": (0, 8), "tokens": TOKENS, "precision": PRECISIONS},
                            _draw_bitlinears, _run_bitlinears, _bound_bitlinears),
    "feed_forward": Operation(("feed_forward_forward", "feed_forward_backward"),
                              {"B": (0, *ROWS), "T": EDGES, "K": EDGES, "M": EDGES, "bits": (0, 8), "tokens": TOKENS,
                               "precision": PRECISIONS},
                              _draw_feed_forward, _run_feed_forward, lambda c, want: {"difference": 0.0}),
    "packed": Operation(("pack_ternary", "unpack_ternary", "packed_product", "packed_bitlinear"),
                        {"N": (0, 1, 2, 5), "M": EDGES, "K": EDGES, "tokens": TOKENS[:2]},
                        _draw_packed, _run_packed, _bound_packed),
    "int8": Operation(("quantize_rows", "pack_int8", "int8_linear"),
                      {"N": (0, 1, 2, 5), "M": EDGES, "K": EDGES, "tokens": TOKENS[:2]},
                      _draw_int8, _run_int8, lambda c, want: dict.fromkeys(want, 0.0)),
    "sampling": Operation(("draw_token", "likeliest"),
                          {"V": (1, 2, 28, 63, 64, 65, 300, 8192), "flat": (False, True),
                           "temperature": (0.1, 0.8, 1.0, 2.0)},
                          _draw_sampling, _run_sampling, _bound_sampling),
    "recurrence": Operation(("recurrence_forward", "recurrence_backward"),
                            {"B": (0, *ROWS), "T": EDGES, "C": EDGES, "state": (False, True),
                             "lower": (0.0, 0.45, 0.9), "gates": (0.0, -40.0, 40.0)},
                            _draw_recurrence, _run_recurrence, _bound_recurrence),
    "token_shift": Operation(("token_shift_forward", "token_shift_backward"),
                             {"B": (0, *ROWS), "T": EDGES, "C": EDGES, "before": (False, True)},
                             _draw_token_shift, _run_token_shift, _bound_token_shift),
    "norm_shift": Operation(("norm_shift_forward", "norm_shift_backward"),
                            {"B": (0, *ROWS), "T": EDGES, "C": (2, *EDGES[2:]), "bias": (False, True),
                             "before": (False, True)},
                            _draw_norm_shift, _run_norm_shift, lambda c, want: {"difference": 0.0}),
    "gated_conv": Operation(("gated_conv_forward", "gated_conv_backward"),
                            {"B": (0, *ROWS), "T": EDGES, "C": EDGES, "taps": (1, 2, 3, 8), "before": (False, True)},
                            _draw_gated_conv, _run_gated_conv, _bound_gated_conv),
    "rope": Operation(("rope_forward", "rope_backward"),
                      {"B": (0, *ROWS), "T": EDGES, "H": (1, 2, 3), "pairs": (1, 3, 8, 17, 32), "start": (0, 1, 500)},
                      _draw_rope, _run_rope, _bound_rope),
    "attention": Operation(("attention_forward", "attention_backward"),
                           {"B": ROWS, "T": EDGES, "H": (1, 2, 3), "D": HEAD_SIZES, "rate": (0.0, 0.2),
                            "scale": SCALES, "window": WINDOWS},
                           _draw_attention, _run_attention, _bound_attention),
    "attention_extend": Operation(("attention_extend",),
                                  {"B": ROWS, "T": (1, 2, 15, 17, 33), "length": (0, *EDGES), "spare": (0, 5),
                                   "H": (1, 2, 3), "D": HEAD_SIZES, "scale": SCALES, "window": WINDOWS,
                                   "cache_bits": (32, 8)},
                                  _draw_extend, _run_extend, _bound_extend),
    "cross_entropy": Operation(("cross_entropy_forward", "cross_entropy_backward"),
                               {"N": (0, *EDGES), "V": (1, 2, 28, 65, 110, 300)},
                               _draw_cross_entropy, _run_cross_entropy, _bound_cross_entropy),
    "linear_cross_entropy": Operation(("linear_cross_entropy_forward", "linear_cross_entropy_backward"),
                                      {"N": (*EDGES, 130, 257), "C": EDGES, "V": (1, 2, 28, 65, 110, 300),
                                       "bias": (False, True)},
                                      _draw_linear_cross_entropy, _run_linear_cross_entropy,
                                      _bound_linear_cross_entropy),
    "loss_and_gradient": Operation(("linear_cross_entropy",),
                                   {"N": (*EDGES, 130, 257), "C": EDGES, "V": (1, 2, 28, 65, 110, 300),
                                    "bias": (False, True)},
                                   _draw_linear_cross_entropy, _run_loss_and_gradient, _bound_linear_cross_entropy),
    "adamw": Operation(("adamw_step",), {"P": (0, *EDGES, 1000, 4097), "decayed": ("none", "half", "all"),
                                         "step": (1, 2, 1000), "scale": (1.0, 0.25)},
                       _draw_adamw, _run_adamw, _bound_adamw),
    "norm": Operation(("global_norm", "clip_scale"), {"P": (*EDGES, NORM_CHUNK, NORM_CHUNK + 1, 70001)},
                      _draw_norm, _run_norm, _bound_norm),
}
