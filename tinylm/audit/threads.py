"""Is a result the same, to the bit, whatever the number of threads?

Races are shy: each thread count is tried several times, on inputs large enough to be shared out.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

import numpy as np

from ..config import PRECISIONS
from ..layers import Layer, Pass, Tape
from ..ops.random import dropout_key
from ..threads import cpu_threads
from .gradients import randomised
from .parity import OPERATIONS
from .result import Check

COUNTS = 1, 2, 4
LARGE = {"M": 200, "K": 150, "N": 170, "B": 3, "T": 97, "C": 130, "V": 110, "H": 3, "D": 32, "P": 70001,
         "bias": True, "rate": 0.2, "start": 3, "length": 40, "spare": 5, "offset": 0.0, "step": 3,
         "decayed": "half", "scale": 0.25, "transpose_a": True, "transpose_b": False,
         "codes": False, "positions": True, "weights": "normal", "tokens": "normal", "bits": 8, "state": True,
         "lower": 0.45, "gates": 0.0, "before": True, "cache_bits": 8, "taps": 8, "pairs": 16, "window": 40,
         "flat": True, "temperature": 0.8, "precision": "float32",
         "scaled": "rows", "widths": (70, 150, 64)}


def same_bits(compute: Callable[[], Mapping[str, np.ndarray]], what: str, *, counts: Sequence[int] = COUNTS,
              repeats: int = 3) -> Check:
    """`compute` with each thread count, `repeats` times: every result must keep every bit.

    Counts above the size of numba's pool cannot be tried and are left out; the detail names those used.
    """
    import numba
    counts = [n for n in counts if n <= numba.config.NUMBA_NUM_THREADS]
    first = None
    for n in counts:
        for _ in range(repeats):
            with cpu_threads(n):
                found = {k: np.array(v) for k, v in compute().items()}
            first = found if first is None else first
            for k, v in found.items():
                if v.tobytes() != first[k].tobytes():
                    gap = float(np.nanmax(np.abs(v.astype(np.float64) - first[k].astype(np.float64))))
                    return Check("threads", False, math.inf,
                                 f"{what}: {k} changes by {gap:.3g} between {counts[0]} and {n} threads")
    return Check("threads", True, 0.0, f"{what}: the same bits with {', '.join(map(str, counts))} threads, "
                                       f"{repeats} times each")


def large(name: str) -> list[dict]:
    """The sizes at which an operation of the parity check is shared out to threads, at each precision it has."""
    sizes = {k: LARGE[k] for k in OPERATIONS[name].sizes}
    return [{**sizes, "precision": precision} for precision in PRECISIONS] if "precision" in sizes else [sizes]


def kernels(f: ModuleType, *, counts: Sequence[int] = COUNTS, repeats: int = 3) -> Check:
    """Every operation of the parity check, on larger inputs; stops at the first that differs."""
    for name, operation in OPERATIONS.items():
        for sizes in large(name):
            case = operation.draw(np.random.default_rng(0), **sizes)
            found = same_bits(lambda o=operation, c=case: o.run(f, c), name, counts=counts, repeats=repeats)
            if not found.ok:
                return found
    return Check("threads", True, 0.0,
                 f"{len(OPERATIONS)} families of kernels: {found.detail.split(': ', 1)[1]}")


def model(subject: Layer, f: ModuleType, rng: np.random.Generator, *, batch: int = 24,
          counts: Sequence[int] = COUNTS, repeats: int = 2) -> Check:
    """Losses and gradients of a whole model, dropout included."""
    params = randomised(subject, rng, np.float32)
    shape = batch, subject.config.context
    tokens, targets = (rng.integers(0, subject.config.vocab, shape).astype(np.int32) for _ in range(2))
    dlosses = rng.standard_normal(tokens.size).astype(np.float32)

    def compute():
        grads = params.like()
        run = Pass(f, params, grads, Tape(), dropout_key(1, 2))
        losses = subject.forward(tokens, targets, run)
        subject.backward(dlosses, run)
        return {"losses": losses} | {f"d{n}": g for n, g in grads.items()}

    return same_bits(compute, subject.name, counts=counts, repeats=repeats)
