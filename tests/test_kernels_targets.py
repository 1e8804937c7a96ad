"""Kernels on processors other than this one, and the machine code of the innermost loops.

Numba can compile for a lesser processor than it runs on.  A process of its own does that, since the
target is fixed when numba is imported, and an instruction the target lacks would end the process.
"""
from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import imitated
import numba
import numpy as np
import pytest

from tinylm.kernels import (
    activations,
    attention,
    cross_entropy,
    int8,
    jit,
    machine,
    packed,
    quantize,
    residual,
    rounding,
    sampling,
    simd,
    vector_math,
)
from tinylm.kernels.matmul import _share, tile

X86 = platform.machine().lower() in ("x86_64", "amd64")
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}

# Products around the edges of tiles of 8 and 16 columns, whole and masked, with a k that is cut in
# chunks; attention; and a kernel that takes exp.  The answer says what was compiled for.
CHECK = """
import itertools, json
from tinylm import kernels
from tinylm.audit import parity
from tinylm.kernels import simd
cases = [("matmul", dict(M=M, K=K, N=N, transpose_a=ta, transpose_b=tb, bias=tb))
         for M, N in ((1, 17), (4, 5), (5, 16), (6, 9), (7, 31), (13, 33), (12, 1), (6, 23))
         for K in (1, 65) for ta, tb in itertools.product((False, True), repeat=2)]
cases += [("matmul", dict(M=13, K=1025, N=37, transpose_a=False, transpose_b=True, bias=True))]
cases += [("attention", {k: v[-1] for k, v in parity.OPERATIONS["attention"].sizes.items()} | dict(T=T))
          for T in (1, 7, 33)]
cases += [("matmul", dict(M=M, K=K, N=17, transpose_a=ta, transpose_b=tb, bias=tb, precision="bfloat16", codes=ta))
          for M, K in ((5, 33), (33, 64)) for ta, tb in itertools.product((False, True), repeat=2)]
cases += [("gelu", dict(B=2, T=3, C=C)) for C in (5, 33)]
worst = max((d for name, sizes in cases for d in parity.compare(name, kernels, sizes, 0)), key=lambda d: d.share)
print(json.dumps(dict(wide=simd.WIDE, features=sorted(simd.target_features()), cases=len(cases),
                      share=worst.share, worst=str(worst))))
"""


def _compiled_for(target: dict[str, str]) -> dict:
    """What CHECK answers in a process that compiles for `target`."""
    done = subprocess.run([sys.executable, "-c", CHECK], env={**os.environ, **target}, text=True, timeout=300,
                          capture_output=True)
    assert done.returncode == 0, done.stderr or f"ended by signal {-done.returncode}"
    return json.loads(done.stdout)


@pytest.mark.slow
def test_kernels_of_any_processor_compute_their_definitions():
    answer = _compiled_for({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""})
    assert not {"avx", "avx2", "fma", "avx512f"} & set(answer["features"])
    assert answer["wide"] == (8 if X86 else answer["wide"])
    assert answer["share"] <= 1, answer["worst"]


@pytest.mark.slow
@pytest.mark.skipif(not (X86 and {"avx2", "fma"} <= simd.target_features()), reason="needs AVX2 and FMA")
def test_kernels_of_a_processor_with_avx2_compute_their_definitions():
    answer = _compiled_for(AVX2)
    assert "avx2" in answer["features"] and "avx512f" not in answer["features"]
    assert answer["wide"] == 16
    assert answer["share"] <= 1, answer["worst"]


# ------------------------------------------------------------------------------------ imitated processors
# Random sizes of some operations, given as JSON: {operation: {a size: values to take the place of those it has}}.
IMITATED = """
import imitated, json, sys
import numpy as np
from tinylm import kernels
from tinylm.audit import parity
from tinylm.kernels import simd
worst, cases = None, 0
for name, replaced in json.loads(sys.argv[1]).items():
    rng = np.random.default_rng(0)
    values = parity.OPERATIONS[name].sizes | replaced
    for _ in range(80):
        sizes = {k: v[rng.integers(len(v))] for k, v in values.items()}
        for difference in parity.compare(name, kernels, sizes, int(rng.integers(2 ** 32))):
            worst = max(worst, difference, key=lambda d: d.share) if worst else difference
        cases += 1
print(json.dumps(dict(wide=simd.WIDE, byte_dot=simd.has_byte_dot(), byte_pairs=simd.has_byte_pairs(),
                      bfloat_pairs=simd.has_bfloat_pairs(), tiles=simd.has_tiles(), name=simd.target_name(),
                      cases=cases, share=worst.share, worst=str(worst))))
"""
# Edges of all widths of a panel, several panels, and inner dimensions that are cut in chunks.
COLUMNS = [1, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 96, 97, 111, 127, 128, 129, 200]
INNER = [0, 1, 2, 3, 4, 5, 15, 16, 33, 64, 127, 129, 512, 513, 1025]
MATMUL = {"M": [0, 1, 2, 5, 6, 7, 12, 13, 31, 33, 65], "K": INNER, "N": COLUMNS}
PACK = MATMUL | {"K": INNER[1:]}
BITLINEAR = {"T": [1, 2, 5, 6, 7, 13, 33], "K": INNER[1:], "M": COLUMNS}
FEW_ROWS = {"M": COLUMNS, "K": INNER[1:]}
INT16 = {"precision": ["int16"]}
BYTES = BITLINEAR | INT16 | {"B": [1, 2, 3], "bits": [8]}
LOSS = {"N": [1, 7, 33, 130], "C": [1, 5, 33, 65, 97], "V": [1, 28, *COLUMNS]}
# What an imitation is for: operations on the registers and instructions that are its own.
OWN = {
    "znver4": {"matmul": MATMUL, "pack": PACK, "bitlinear": BITLINEAR, "bitlinears": {}, "packed": FEW_ROWS,
               "int8": FEW_ROWS, "attention": {}, "attention_extend": {}, "loss_and_gradient": LOSS},
    "skylake-avx512": {"bitlinear": BYTES},
    "sapphirerapids": {"matmul": MATMUL | {"precision": ["bfloat16"]}, "pack": PACK | {"precision": ["bfloat16"]}},
    "neon": {"matmul": PACK | INT16, "bitlinear": BYTES, "packed": FEW_ROWS, "int8": FEW_ROWS},
}
CLAIMED = {  # WIDE, and whether there are byte dots, byte pairs, pairs of bfloat16 and tiles
    "znver4": (64, True, True, True, False), "skylake-avx512": (64, False, True, False, False),
    "sapphirerapids": (64, True, True, True, True), "neon": (16, False, False, False, False)}


def _imitated(name: str, *arguments: str) -> str:
    """What a process says that imitates a processor."""
    if not (X86 and {"avx2", "fma"} <= simd.target_features()) and name != "neon":
        pytest.skip("AVX-512 is imitated on AVX2")
    done = subprocess.run([sys.executable, *arguments], env=imitated.environment(name), text=True, timeout=600,
                          capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr or f"ended by signal {-done.returncode}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_kernels_of_an_imitated_processor_compute_their_definitions(name):
    answer = json.loads(_imitated(name, "-c", IMITATED, json.dumps(OWN[name])))
    assert answer["name"].startswith(f"{name} imitated by ")
    assert tuple(answer[k] for k in ("wide", "byte_dot", "byte_pairs", "bfloat_pairs", "tiles")) == CLAIMED[name]
    assert answer["cases"] == 80 * len(OWN[name])
    assert answer["share"] <= 1, answer["worst"]


HEADS = """
import imitated, json, sys
import numpy as np
from tinylm import kernels
from tinylm.kernels import together
rng = np.random.default_rng(0)
for N in json.loads(sys.argv[1]):
    inp, weight = (rng.integers(-8, 9, shape).astype(np.float32) for shape in (33, (N, 33)))
    panels = kernels.pack(weight, transpose_b=True).panels
    for parts in 1, 3:
        out = np.full(N, np.nan, np.float32)
        for part in range(parts):
            together.few_rows(out, inp, np.zeros(N, np.float32), panels, 1, N, 33, part, parts)
        print(json.dumps([N, parts, np.array_equal(out, weight @ inp)]))
"""


@pytest.mark.slow
def test_scores_of_a_token_come_from_panels_of_every_width():
    found = [json.loads(line) for line in _imitated("znver4", "-c", HEADS, json.dumps(COLUMNS)).splitlines()]
    assert found == [[N, parts, True] for N in COLUMNS for parts in (1, 3)]


COMPILED = """
import os
if "IMITATED" in os.environ:
    import imitated
import numpy as np
from tinylm.kernels import jit
from tinylm.kernels.rows import add_in_order
told = []
with jit.compilations_told(told.append):
    add_in_order(np.zeros(3, np.float32), np.ones((4, 3), np.float32))
print(len(told))
"""


@pytest.mark.slow
def test_imitated_and_real_machine_code_are_kept_apart(tmp_path):
    environment = {k: v for k, v in imitated.environment("neon").items() if k != "NUMBA_CACHE_DIR"}
    environment["TINYLM_CACHE_DIR"] = str(tmp_path)
    real = {k: v for k, v in environment.items() if k != "IMITATED"}
    found = [subprocess.run([sys.executable, "-c", COMPILED], env=variables, text=True, capture_output=True,
                            check=True).stdout for variables in (real, environment, environment, real)]
    assert [int(compiled) for compiled in found] == [1, 1, 0, 0]


# ------------------------------------------------------------------------------------ machine code
def _assembly(function, *arguments) -> str:
    """Machine code of a kernel, compiled afresh: what comes from the cache has none to show."""
    fresh = numba.njit(function.py_func, nogil=True, error_model="numpy", fastmath=jit.FASTMATH)
    fresh.compile(arguments)
    return next(iter(fresh.inspect_asm().values()))


FLAT, INDEX, FLOAT = numba.float32[::1], numba.intp, numba.float32


@pytest.mark.skipif(not simd.has_byte_dot(), reason="needs AVX-512 VNNI")
def test_the_peak_of_bytes_is_one_of_bytes():
    code = _assembly(machine._spin_bytes, numba.int32[::1], INDEX, numba.int32[::1], INDEX)
    sums = {line.rsplit(",", 1)[-1].strip() for line in code.splitlines() if "vpdpbusd" in line}
    assert len(sums) == machine.BYTE_SUMS, "sums were merged"


WORDS = numba.int32[::1]
ONLY_AVX2 = pytest.mark.skipif("avx2" not in simd.target_features() or "avx512f" in simd.target_features(),
                               reason="on registers of AVX2")


def _loop(code: str, instruction: str) -> str:
    """What lies between the first and the last of an instruction on whole registers of AVX2."""
    lines = code.splitlines()
    found = [n for n, line in enumerate(lines) if re.search(rf"\b{instruction}\b.*%ymm", line)]
    assert found, f"no {instruction} on ymm"
    return "\n".join(lines[found[0]:found[-1] + 1])


@ONLY_AVX2
@pytest.mark.parametrize(("function", "arguments", "products"), [
    (packed._add_pairs, (WORDS, INDEX, WORDS, INDEX, WORDS, INDEX, INDEX), 16),  # four fields of four registers
    (int8._product_avx2, (WORDS, WORDS, WORDS, WORDS, INDEX, INDEX), 8)])
def test_byte_products_of_avx2_stay_in_registers(function, arguments, products):
    loop = _loop(_assembly(function, *arguments), "vpmaddubsw")
    assert loop.count("vpmaddubsw") >= products
    assert not re.search(r"[xy]mm\d+, -?\d*\(%r[sb]p\)|\(%r[sb]p\), %[xy]mm", loop), "a register was spilled"
    assert "vpinsr" not in loop and "vpextr" not in loop and "call" not in loop


@ONLY_AVX2
def test_the_peak_of_pairs_multiplies_in_every_turn():
    loop = _loop(_assembly(machine._spin_pairs, WORDS, INDEX, WORDS, INDEX), "vpmaddubsw")
    factors = {line.split("%ymm")[1] for line in loop.splitlines() if "vpmaddubsw" in line}
    assert len(factors) >= machine.PAIR_SUMS and loop.count("vpaddw") >= machine.PAIR_SUMS


@ONLY_AVX2
@pytest.mark.parametrize(("function", "arguments", "instruction"), [
    (quantize._round_row, (numba.int8[::1], FLAT, FLOAT), "vaddps"),
    (packed.quantize_row, (numba.int8[::1], FLAT), "vpmaxsd"),
    (vector_math.highest, (FLAT,), "vpmaxsd"), (sampling._powers, (FLAT, FLAT, FLOAT, FLOAT), "vpslld"),
    (rounding._round_part, (numba.int16[::1], FLAT, FLOAT), "vaddps"),
    (rounding._raise_both_tops, (WORDS, FLAT, FLOAT), "vpmaxsd"),
    (rounding._panel_words, (WORDS, INDEX, INDEX, numba.boolean, FLAT, INDEX, INDEX, INDEX, FLAT, INDEX, FLAT, INDEX,
                             INDEX, simd.Vector(simd.WIDE)), "vpslld"),
    (rounding._four_strips, (WORDS, INDEX, INDEX, FLAT, INDEX, INDEX, INDEX, FLAT, INDEX, FLAT, INDEX), "vpslld")])
def test_rows_are_rounded_and_compared_a_register_at_a_time(function, arguments, instruction):
    assert "%ymm" in _loop(_assembly(function, *arguments), instruction)


@pytest.mark.skipif(not {"fma", "neon"} & simd.target_features(), reason="the target has no fused multiply-add")
def test_a_tile_is_fused_multiply_adds_on_the_widest_registers():
    code = _assembly(tile, FLAT, INDEX, INDEX, FLAT, INDEX, INDEX, FLAT, INDEX, INDEX, INDEX, FLAT,
                     INDEX, INDEX, INDEX, INDEX, simd.Vector(simd.WIDE))
    features = simd.target_features()
    pattern, lanes = ((r"\bvfmadd\w+ps\b.*%zmm", 16) if "avx512f" in features else
                      (r"\bvfmadd\w+ps\b.*%ymm", 8) if "avx2" in features else (r"\bfmla\b.*\.4s", 4))
    # Each of the ROWS rows of a step of k takes WIDE lanes; unrolling makes it more, never fewer.
    assert len(re.findall(pattern, code)) >= simd.ROWS * simd.WIDE // lanes
    assert not re.search(r"\bv?mulps\b|\bv?mulss\b|\bfmaf?\b", code), "a product that is not fused"


@ONLY_AVX2
def test_a_step_of_a_tile_adds_no_addresses():
    """Twelve products, eight loads, and little else: where a core is shared, instructions are what a step costs."""
    marks = numba.boolean[::1]
    code = _assembly(_share, FLAT, FLAT, INDEX, INDEX, FLAT, INDEX, INDEX, FLAT, FLAT, INDEX, INDEX, INDEX, INDEX,
                     marks, INDEX, INDEX, INDEX, INDEX)
    loops = [[line for line in found[2].splitlines() if not line.startswith("\t.")]
             for found in re.finditer(r"(?m)^(\.LBB\w+):\n((?:\t.*\n)*?)\tj\w+\t\1$", code)]
    counts = [[sum(name in line for line in loop) for name in ("vfmadd", "%ymm", "")] for loop in loops]
    of_tiles = [(products // 12, lines) for products, vectors, lines in counts if 0 < 12 * vectors == 20 * products]
    assert of_tiles and all(lines - 20 * steps <= 7 for steps, lines in of_tiles), counts


@pytest.mark.skipif("avx2" not in simd.target_features(), reason="needs AVX2")
def test_dropout_draws_several_counters_at_once():
    words = (numba.uint32[::1],) * 4
    code = _assembly(residual._fill, *words, numba.uint64, numba.uint64[::1])
    assert re.search(r"\bvpmuludq\b.*%[yz]mm", code)


@pytest.mark.slow
@pytest.mark.skipif(not X86, reason="LLVM here knows no AVX-512")
@pytest.mark.parametrize("name", ["skylake-avx512", "znver4"])
def test_machine_code_of_innermost_loops_for_avx512(name):
    """LLVM compiles for any processor of the family; these tests look at machine code and run none."""
    features = f"{AVX2['NUMBA_CPU_FEATURES']},{imitated.IMITATIONS[name][1]}"
    files = [str(Path(__file__)), str(Path(__file__).with_name("test_words.py"))]
    wanted = ("peak_of_bytes or peak_of_products or tiles_are_products or tiles_of_bfloat16 or fused_multiply_adds "
              "or dropout_draws")
    done = subprocess.run([sys.executable, "-m", "pytest", *files, "-k", wanted], text=True, timeout=600,
                          capture_output=True, cwd=Path(__file__).parents[1],
                          env={**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features})
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[456] passed", done.stdout), done.stdout


_LIBRARY = re.compile(r"\b_?(exp|exp2|expm1|tanh)f?\b(?=[,@)\s]|$)", re.MULTILINE)

USERS_OF_EXP = {
    "log of the sum of exp": (cross_entropy._log_sum_exp, FLAT),
    "losses and gradients": (cross_entropy._exp_row, FLAT),
    "probabilities of a row": (cross_entropy._prob_row, FLAT, FLAT, FLOAT, FLOAT),
    "attention's softmax": (attention._exponentials, FLAT),
    "attention, backward": (attention._gradient_row, FLAT, FLAT, FLOAT, FLOAT),
    "attention, backward with dropout": (attention._dropped_gradient_row, FLAT, FLAT, FLOAT, FLOAT,
                                         numba.uint16[::1], numba.int64, FLOAT),
    "gelu": (activations._gelu_forward_range, FLAT, FLAT),
    "gelu, backward": (activations._gelu_backward_range, FLAT, FLAT, FLAT),
}


@pytest.mark.parametrize("name", USERS_OF_EXP)
def test_exp_is_arithmetic_and_no_call_of_the_library(name):
    assert not set(_LIBRARY.findall(_assembly(*USERS_OF_EXP[name])))


def test_a_call_of_the_library_is_found():
    @numba.njit
    def plain(out, inp):
        for i in range(inp.size):
            out[i] = np.tanh(inp[i]) if inp[i] > 0 else np.exp(inp[i])
    assert {"exp", "tanh"} <= set(_LIBRARY.findall(_assembly(plain, FLAT, FLAT)))
