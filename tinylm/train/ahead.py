"""Compiles what a first training step is slow to compile in a process of its own, while that step compiles the rest.

Numba compiles one function at a time. With a second processor, another process fills the same cache meanwhile; what it
has finished when the step gets there is loaded, and what it has not, the step compiles itself.  A function with several
signatures has one index of them, in which two processes could overwrite each other's entries: such functions are
compiled here only where `jit` has locks for processes.

    python -m tinylm.train.ahead LayerNorm Attention
"""
from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from .. import kernels
from ..kernels import jit
from ..layers import Layer
from ..threads import available


def _zeros(*shape):
    return np.zeros(shape, np.float32)


def _attention():
    out, cache = kernels.attention_forward(_zeros(1, 2, 24), 1)
    kernels.attention_backward(out, cache)


def _recurrence():
    out, cache = kernels.recurrence_forward(*(_zeros(1, 2, 8) for _ in range(3)), _zeros(8))
    kernels.recurrence_backward(out, cache)


def _product():
    kernels.matmul(_zeros(8, 8), _zeros(8, 8), transpose_b=True)


def _layernorm():
    out, cache = kernels.layernorm_forward(_zeros(1, 2, 8), _zeros(8), _zeros(8))
    kernels.layernorm_backward(out, cache)


def _headnorm():
    _, cache = kernels.headnorm_forward(_zeros(1, 2, 8), 1, _zeros(8), _zeros(8), operand=True)
    kernels.headnorm_backward(_zeros(1, 2, 8), cache)


def _token_shift():
    out, cache = kernels.norm_shift_forward(_zeros(1, 2, 8), _zeros(8), _zeros(8), _zeros(8), operand=True)
    kernels.norm_shift_backward(_zeros(1, 2, 8), cache)


def _gated_conv():
    out, cache = kernels.gated_conv_forward(_zeros(1, 2, 16), _zeros(3, 8))
    kernels.gated_conv_backward(out, cache)


# By kinds of layers, the slowest first: (what compiles, a kernel by which one sees whether it was compiled before).
OPERATIONS: dict[str, tuple[Callable[[], None], str]] = {
    "Attention": (_attention, "attention._backward"), "GatedConv": (_gated_conv, "gated_conv._backward_conv"),
    "Recurrence": (_recurrence, "recurrence._backward"), "Head": (_product, "matmul._product"),
    "HeadNorm": (_headnorm, "layernorm._head_backward"), "TokenShift": (_token_shift, "token_shift._backward"),
    "LayerNorm": (_layernorm, "layernorm._backward")}

SEVERAL_SIGNATURES = {"Head"}  # panels are packed of float32, and of codes


def missing(model: Layer) -> list[str]:
    """Which OPERATIONS a training step of the model needs that were not compiled before."""
    kinds = {type(layer).__name__ for layer in model.walk()}
    return [kind for kind, (_, kernel) in OPERATIONS.items()
            if kind in kinds and not jit.is_cached(kernel) and (jit.HAS_LOCKS or kind not in SEVERAL_SIGNATURES)]


def start(model: Layer) -> subprocess.Popen | None:
    """Compile what is `missing` in another process; None where there is nothing to do, no cache or no processor."""
    kinds = missing(model) if jit.CACHE_FOLDER is not None and available() > 1 else []
    if not kinds:
        return None
    helper = subprocess.Popen([sys.executable, "-m", __name__, *kinds], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env={**os.environ, "NUMBA_CACHE_DIR": str(jit.CACHE_FOLDER.parent)})
    atexit.register(helper.kill)  # nobody waits for it
    return helper


if __name__ == "__main__":
    for kind in sys.argv[1:]:
        OPERATIONS[kind][0]()
