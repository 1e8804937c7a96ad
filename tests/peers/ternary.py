"""A matrix of ternary weights times one vector, on one thread: tinylm's kernel and ggml's, the library of llama.cpp.

    python tests/peers/ternary.py ['{"seconds": 6}']        prints one JSON object

What is compared: codes of 8 bits in, float32 out.  The vector has been quantised before, by each side in its own
way, and does not count.  tinylm: `kernels.packed.product_rows` and `scale_sums`, 2 bits a weight, one scale for the
matrix.  ggml: `ggml_vec_dot_tq2_0_q8_K` (2.06 bits a weight) and `ggml_vec_dot_tq1_0_q8_K` (1.69), called once a row,
as its own matrix product does; every 256 weights and every 256 inputs have a scale, so K is padded to a multiple of
256, with zeros.  Both sides run in loops of machine code and take turns.  Speeds count real weights, not padding.

ggml comes from the package libggml-python, which has it compiled for AVX2 (and for ARM); there is none of bitnet.cpp.
"""
from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from tinylm import threads
from tinylm.kernels import memory
from tinylm.kernels.packed import pack_ternary, product_rows, scale_sums, words_of

PACKAGE = "libggml-python"
# (rows, K): thunderbolt's layers; the like whose K is a multiple of 256; as many weights as thunderbolt has, which
# come from the third cache, as in decoding
SHAPES = (384, 384), (1152, 384), (384, 1152), (1536, 768), (768, 1536), (17280, 1536)
BLOCK, Q8_BYTES = 256, 292      # weights that share a scale; bytes of as many inputs
FORMATS = {"TQ2_0": 66, "TQ1_0": 54}  # bytes of a block
INPUTS = 4                      # vectors that take turns, so that no call does the work of the one before
ROUNDS, CALL = 7, 0.002         # turns of each side, and the least seconds of one call


class Ggml:
    """The functions of ggml that are needed."""

    def __init__(self, folder: Path):
        base, cpu = (ctypes.CDLL(str(next(folder.rglob(f"*ggml-{name}.*"))), mode=ctypes.RTLD_GLOBAL)
                     for name in ("base", "cpu"))
        cpu.ggml_cpu_init()
        self.quantize, self.dot = {}, {}
        for name in FORMATS:
            self.quantize[name] = getattr(base, f"quantize_row_{name.lower()}_ref")
            self.dot[name] = getattr(cpu, f"ggml_vec_dot_{name.lower()}_q8_K")
            # Addresses are numbers here, so that compiled loops can add to them.
            self.dot[name].argtypes = (ctypes.c_int, *5 * [ctypes.c_size_t], ctypes.c_size_t, ctypes.c_int)
            self.dot[name].restype = None
        self.quantize_input = cpu.quantize_row_q8_K
        for call in (*self.quantize.values(), self.quantize_input):
            call.argtypes, call.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64), None
        self.features = [name for name in ("avx2", "avx_vnni", "avx512", "avx512_vnni", "neon", "dotprod")
                         if getattr(cpu, "ggml_cpu_has_" + name)()]


def find_ggml() -> Ggml | None:
    found = importlib.util.find_spec("libggml")
    return Ggml(Path(next(iter(found.submodule_search_locations)))) if found else None


class Problem(NamedTuple):
    """weights (M, K) of -1, 0, 1 times scale; inputs (INPUTS, K), multiples of one step from -127 to 127 of it"""

    weights: np.ndarray
    scale: np.float32
    codes: np.ndarray
    step: np.float32

    @property
    def exact(self) -> np.ndarray:
        """(INPUTS, M)"""
        return self.codes.astype(np.float64) @ self.weights.T.astype(np.float64) * (self.scale * self.step)


def problem(rows: int, k: int) -> Problem:
    rng = np.random.default_rng(0)
    codes = rng.integers(-126, 127, (INPUTS, k), np.int8)
    codes[:, ::BLOCK] = 127  # so that each block of each side has the same step
    weights = rng.integers(-1, 2, (rows, k), np.int8)
    weights[:, ::BLOCK] = 1
    return Problem(weights, np.float32(0.5), codes, np.float32(0.25))


@numba.njit(nogil=True)
def _multiply(times, out, sums, packed, words, start, input_scale, scale):
    for turn in range(times):
        i = turn % words.shape[0]
        product_rows(sums, packed, words[i], start[i], 0, sums.size // 32)
        scale_sums(out[i], sums, input_scale, scale)


def tinylm_side(task: Problem):
    """(run, out): run(times) multiplies so often; out (INPUTS, M)"""
    rows, k = task.weights.shape
    packed = words_of(pack_ternary(task.weights))
    codes = memory.empty((INPUTS, -(-k // 16) * 16), np.int8)
    codes[:, :k], codes[:, k:] = task.codes, 0
    start = -codes.sum(1, dtype=np.int32, keepdims=True)
    out, sums = memory.empty((INPUTS, -(-rows // 32) * 32)), memory.empty(-(-rows // 32) * 32, np.int32)
    words = codes.view(np.int32)
    return lambda times: _multiply(times, out, sums, packed, words, start, task.step, task.scale), out[:, :rows]


def ggml_side(task: Problem, ggml: Ggml, name: str):
    """As `tinylm_side`."""
    rows, k = task.weights.shape
    blocks, dot = -(-k // BLOCK), ggml.dot[name]
    padded = np.zeros((rows, blocks * BLOCK), np.float32)
    padded[:, :k] = task.weights * task.scale
    row_bytes, input_bytes = blocks * FORMATS[name], blocks * Q8_BYTES
    weights = memory.empty(rows * row_bytes, np.uint8)
    ggml.quantize[name](padded.ctypes.data, weights.ctypes.data, padded.size)
    values, inputs = np.zeros((INPUTS, blocks * BLOCK), np.float32), memory.empty(INPUTS * input_bytes, np.uint8)
    values[:, :k] = task.codes * task.step
    ggml.quantize_input(values.ctypes.data, inputs.ctypes.data, values.size)
    out = memory.empty((INPUTS, rows))

    @numba.njit(nogil=True)
    def multiply(times, out, weights, inputs):
        for turn in range(times):
            i = turn % INPUTS
            for row in range(rows):
                dot(blocks * BLOCK, out.ctypes.data + 4 * (i * rows + row), 0, weights.ctypes.data + row * row_bytes,
                    0, inputs.ctypes.data + i * input_bytes, 0, 1)

    return lambda times: multiply(times, out, weights, inputs), out


def race(sides: dict, seconds: float) -> dict[str, float]:
    """Seconds of one product of each side: medians of windows that take turns."""
    calls, spent = {}, {name: [] for name in sides}
    for name, run in sides.items():
        run(INPUTS)
        start = time.perf_counter()
        run(INPUTS)
        calls[name] = max(INPUTS, round(max(CALL, seconds / ROUNDS / len(sides))
                                        / (time.perf_counter() - start) * INPUTS))
    for _ in range(ROUNDS):
        for name, run in sides.items():
            start = time.perf_counter()
            run(calls[name])
            spent[name].append((time.perf_counter() - start) / calls[name])
    return {name: statistics.median(found) for name, found in spent.items()}


def sides_of(task: Problem, ggml: Ggml) -> dict:
    """{name: (run, out)}"""
    return {"tinylm": tinylm_side(task), **{name: ggml_side(task, ggml, name) for name in FORMATS}}


def main(job: dict) -> dict:
    """{"absent": why} or {"products": …}.   Raises    ArithmeticError for a product that is not the right one"""
    threads.prepare(1)
    ggml = find_ggml()
    if ggml is None:
        return {"absent": f"not compared with llama.cpp, whose library the package {PACKAGE} would bring"}
    products = []
    for rows, k in SHAPES:
        task = problem(rows, k)
        sides = sides_of(task, ggml)
        for name, (run, out) in sides.items():
            run(INPUTS)
            if not np.allclose(out, task.exact, rtol=1e-5, atol=0.5):
                raise ArithmeticError(f"{name} multiplies {rows} x {k} wrongly")
        spent = race({name: run for name, (run, _) in sides.items()}, job["seconds"] / len(SHAPES))
        products.append({"rows": rows, "k": k, "ggml_k": -(-k // BLOCK) * BLOCK,
                         "weights_per_second": {name: rows * k / each for name, each in spent.items()}})
    return {"products": products, "package": f"{PACKAGE} {importlib.metadata.version(PACKAGE)}",
            "ggml_features": ggml.features, "tinylm_kernel": product_rows.py_func.__name__.strip("_")}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {"seconds": 6.0})))
