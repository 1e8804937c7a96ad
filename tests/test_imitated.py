"""Imitated instructions against what the manual says of them, in NumPy."""
from __future__ import annotations

import ctypes

import imitated
import numpy as np
from llvmlite import ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from tinylm.ops.precision import round_bfloat16

ELEMENTS = {"uint8": ir.IntType(8), "int8": ir.IntType(8), "int16": ir.IntType(16), "uint16": ir.IntType(16),
            "int32": ir.IntType(32), "float32": ir.FloatType()}


def _instruction(name, result, *inputs):
    """What takes arrays as `inputs` and returns one as `result`, given as (type, lanes)."""
    library = cpu_target.target_context.codegen().create_library(name)
    module, run = library.create_ir_module(name), f"run.{name}"
    kinds = [ir.VectorType(ELEMENTS[np.dtype(dtype).name], lanes) for dtype, lanes in (result, *inputs)]
    kind = ir.FunctionType(ir.VoidType(), [vector.as_pointer() for vector in kinds])
    builder = ir.IRBuilder(ir.Function(module, kind, run).append_basic_block())
    out, *places = builder.function.args
    function = imitated._imitated(module, ir.FunctionType(kinds[0], kinds[1:]), name)
    builder.store(builder.call(function, [builder.load(place, align=1) for place in places]), out, align=1)
    builder.ret_void()
    with global_compiler_lock:
        library.add_ir_module(module)
        library.finalize()
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(kinds))(library.get_pointer_to_function(run))

    def compute(*arrays):
        found = np.empty(result[1], result[0])
        call(found.ctypes.data, *(array.ctypes.data for array in arrays))
        return found
    return compute


def _draw(rng, dtype, lanes):
    """Random numbers, half of them the smallest or the largest: sums of those overflow."""
    ends = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    return np.where(rng.random(lanes) < 0.5, rng.choice(ends, lanes), rng.integers(*ends, lanes, dtype, endpoint=True))


def _sums(x, y, together):
    return (x.astype(np.int64) * y).reshape(-1, together).sum(1)


def test_products_of_integers():
    pairs = _instruction("llvm.x86.avx512.pmaddw.d.512", (np.int32, 16), (np.int16, 32), (np.int16, 32))
    bytes_ = _instruction("llvm.x86.avx512.pmaddubs.w.512", (np.int16, 32), (np.uint8, 64), (np.int8, 64))
    dot = _instruction("llvm.x86.avx512.vpdpbusd.512", (np.int32, 16), *[(np.int32, 16)] * 3)
    rng, saturated = np.random.default_rng(0), 0
    for _ in range(50):
        x, y = (_draw(rng, np.int16, 32) for _ in range(2))
        np.testing.assert_array_equal(pairs(x, y), _sums(x, y, 2).astype(np.int32))
        x, y, total = _draw(rng, np.uint8, 64), _draw(rng, np.int8, 64), _draw(rng, np.int32, 16)
        want = np.clip(_sums(x, y, 2), -2 ** 15, 2 ** 15 - 1)
        saturated += (want != _sums(x, y, 2)).sum()
        np.testing.assert_array_equal(bytes_(x, y), want)
        want = (total + _sums(x, y, 4)).astype(np.int32)  # this one does not saturate: it wraps around
        np.testing.assert_array_equal(dot(total, x.view(np.int32), y.view(np.int32)), want)
    assert saturated > 100


def test_products_of_bfloat16():
    dot = _instruction("llvm.x86.avx512bf16.dpbf16ps.512", (np.float32, 16), (np.float32, 16), *[(np.uint16, 32)] * 2)
    rng = np.random.default_rng(0)
    for _ in range(50):
        total, x, y = (rng.standard_normal(size).astype(np.float32) for size in (16, 32, 32))
        x, y = round_bfloat16(x), round_bfloat16(y)
        exact = total + (x.astype(float) * y).reshape(16, 2).sum(1)
        got = dot(total, *((v.view(np.uint32) >> 16).astype(np.uint16) for v in (x, y)))
        size = np.abs(total) + np.abs(x.astype(float) * y).reshape(16, 2).sum(1)
        assert (np.abs(got - exact) <= 2**-23 * size).all()  # rounded twice


def test_rounding_to_bfloat16():
    convert = _instruction("llvm.x86.avx512bf16.cvtne2ps2bf16.512", (np.uint16, 32), *[(np.float32, 16)] * 2)
    rng = np.random.default_rng(0)
    ends = np.array([0, 0x8000, 0x7FFF, 0x8001], np.uint32)  # exact, a half, and beside it
    for _ in range(50):
        low, high = ((rng.integers(2 ** 16, size=16, dtype=np.uint32) << 16 | rng.choice(ends, 16)).view(np.float32)
                     for _ in range(2))
        high[:4] = np.nan, np.inf, 1e-40, -1e-40
        x = np.concatenate([low, high])
        got = (convert(high, low).astype(np.uint32) << 16).view(np.float32)
        x[np.abs(x) < np.finfo(np.float32).tiny] *= 0
        np.testing.assert_array_equal(got, round_bfloat16(x))
        np.testing.assert_array_equal(np.signbit(got), np.signbit(x))
