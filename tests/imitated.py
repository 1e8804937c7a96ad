"""Processors with AVX-512, AMX or NEON, imitated on one without: their kernels run and can be compared.

Imported while IMITATED names a processor, and before `tinylm.kernels`, this makes numba claim the features of that
processor, so that the kernels choose its registers and instructions.  LLVM still compiles for the real target: it
cuts wide registers in pieces, and instructions that the target lacks are functions that say what they do.

    IMITATED=znver4 NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx,+avx2,+fma PYTHONPATH=tests \\
        python -m pytest -p imitated tests/test_words.py

`environment` has these variables.  Machine code is kept under the name of the imitation and this file's digest: real
code and imitated code never take each other's place in the cache.

Source    Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: VPMADDWD, VPMADDUBSW, VPDPBUSD,
          VCVTNE2PS2BF16, VDPBF16PS, TILELOADD, TDPBF16PS
"""
from __future__ import annotations

import ctypes
import hashlib
import os
from pathlib import Path

from llvmlite import binding, ir
from numba.core import cgutils
from numba.core.codegen import CPUCodegen

_AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
_SKYLAKE = "+avx512f,+avx512bw,+avx512dq,+avx512vl"
_VNNI = f"{_SKYLAKE},+avx512vnni"
IMITATIONS = {  # what the real target is to be, and the features claimed beside its own
    "skylake-avx512": (_AVX2, _SKYLAKE),
    "znver4": (_AVX2, f"{_VNNI},+avx512bf16"),
    "sapphirerapids": (_AVX2, f"{_VNNI},+avx512bf16,+amx-tile,+amx-int8,+amx-bf16"),
    "neon": ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, "+neon"),
}


def environment(name: str) -> dict[str, str]:
    """The variables of a process that imitates a processor when it imports this module."""
    target, _ = IMITATIONS[name]
    here = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **target, "IMITATED": name, "PYTHONPATH": here}


# ------------------------------------------------------------------------------------ instructions as LLVM's arithmetic
_i8, _i16, _i32, _i64, _f32 = *(ir.IntType(bits) for bits in (8, 16, 32, 64)), ir.FloatType()
_VOID = ir.VoidType()


def _as(element, value):
    """A vector's bits, seen as numbers of another size."""
    return ir.VectorType(element, value.type.count * value.type.element.width // element.width)


def _every(builder, value, step, first):
    """Each lane whose number is `first` modulo `step`."""
    lanes = ir.Constant(ir.VectorType(_i32, value.type.count // step), list(range(first, value.type.count, step)))
    return builder.shuffle_vector(value, value, lanes)


def _all(value, number):
    """A constant of the type of a vector."""
    return ir.Constant(value.type, [number] * value.type.count)


def _products(builder, x, y, extend_x):
    """Each x y in 32 bits: y is signed, and x is what `extend_x` takes it for."""
    wide = ir.VectorType(_i32, x.type.count)
    return builder.mul(extend_x(x, wide), builder.sext(y, wide))


def _pmaddwd(builder, x, y):
    product = _products(builder, x, y, builder.sext)
    return builder.add(_every(builder, product, 2, 0), _every(builder, product, 2, 1))


def _pmaddubsw(builder, x, y):
    """Saturates where the sum does not fit into 16 bits."""
    product = _products(builder, x, y, builder.zext)
    total = builder.add(_every(builder, product, 2, 0), _every(builder, product, 2, 1))
    for relation, limit in ("<", -2 ** 15), (">", 2 ** 15 - 1):
        limit = _all(total, limit)
        total = builder.select(builder.icmp_signed(relation, total, limit), limit, total)
    return builder.trunc(total, ir.VectorType(_i16, total.type.count))


def _vpdpbusd(builder, total, x, y):
    x, y = (builder.bitcast(value, _as(_i8, value)) for value in (x, y))
    product = _products(builder, x, y, builder.zext)
    for first in range(4):
        total = builder.add(total, _every(builder, product, 4, first))
    return total


def _vcvtne2ps2bf16(builder, high, low):
    """To the nearest, or the even one of two; denormal numbers are zeros, and no number stays none."""
    lanes = ir.Constant(ir.VectorType(_i32, 2 * low.type.count), list(range(2 * low.type.count)))
    x = builder.shuffle_vector(low, high, lanes)
    bits = builder.bitcast(x, ir.VectorType(_i32, x.type.count))
    upper = builder.lshr(bits, _all(bits, 16))
    half = builder.add(builder.and_(upper, _all(bits, 1)), _all(bits, 0x7FFF))
    rounded = builder.lshr(builder.add(bits, half), _all(bits, 16))
    denormal = builder.icmp_unsigned("==", builder.and_(bits, _all(bits, 0x7F800000)), _all(bits, 0))
    rounded = builder.select(denormal, builder.and_(upper, _all(bits, 0x8000)), rounded)
    rounded = builder.select(builder.fcmp_unordered("uno", x, x), builder.or_(upper, _all(bits, 0x40)), rounded)
    rounded = builder.trunc(rounded, ir.VectorType(_i16, x.type.count))
    return builder.bitcast(rounded, builder.function.ftype.return_type)


# ------------------------------------------------------------------------------------ tiles, in memory of each thread
_ROWS, _TILES, _THREADS = 16, 8, 64
_ROW = ir.VectorType(_i32, _ROWS)
_FILE = ir.ArrayType(_i32, _ROWS * _ROWS * _TILES * _THREADS)
_memory = (ctypes.c_int32 * _FILE.count)()
binding.add_symbol("imitated_tiles", ctypes.addressof(_memory))


def _row(builder, tile, number):
    """Pointer to a row of one of this thread's tiles."""
    tiles = builder.module.globals.get("imitated_tiles") or ir.GlobalVariable(builder.module, _FILE, "imitated_tiles")
    thread = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_i32, []), "get_thread_id")
    at = builder.call(thread, [])
    for size, index in (_TILES, builder.zext(tile, _i32)), (_ROWS, builder.trunc(number, _i32)), (_ROWS, _i32(0)):
        at = builder.add(builder.mul(at, _i32(size)), index)
    return builder.bitcast(builder.gep(tiles, [_i32(0), at]), _ROW.as_pointer())


def _configure(builder, *_):
    """The shapes are those of whole tiles."""


def _tilezero(builder, tile):
    with cgutils.for_range(builder, _i64(_ROWS)) as row:
        builder.store(ir.Constant(_ROW, None), _row(builder, tile, row.index), align=4)


def _row_in_memory(builder, first, stride, row):
    return builder.bitcast(builder.gep(first, [builder.mul(row, stride)]), _ROW.as_pointer())


def _tileloadd(builder, tile, first, stride):
    with cgutils.for_range(builder, _i64(_ROWS)) as row:
        value = builder.load(_row_in_memory(builder, first, stride, row.index), align=4)
        builder.store(value, _row(builder, tile, row.index), align=4)


def _tilestored(builder, tile, first, stride):
    with cgutils.for_range(builder, _i64(_ROWS)) as row:
        value = builder.load(_row(builder, tile, row.index), align=4)
        builder.store(value, _row_in_memory(builder, first, stride, row.index), align=4)


def _two_halves(builder, words):
    """The two bfloat16 of each word, as float32."""
    low = builder.shl(words, _all(words, 16))
    high = builder.and_(words, _all(words, 0xFFFF0000))
    return [builder.bitcast(half, ir.VectorType(_f32, _ROWS)) for half in (low, high)]


def _vdpbf16ps(builder, total, x, y):
    """The upper halves first, each product rounded with the sum it is added to; denormal numbers as they are."""
    kind = ir.FunctionType(total.type, [total.type] * 3)
    fused = _declared(builder.module, kind, f"llvm.fma.v{total.type.count}f32")
    words = [_two_halves(builder, builder.bitcast(value, _ROW)) for value in (x, y)]
    for a, b in reversed(list(zip(*words))):
        total = builder.call(fused, [a, b, total])
    return total


def _tdpbf16ps(builder, total, x, y):
    """Row m of total += the sum over k of the halves of word k in row m of x, times those of row k of y."""
    with cgutils.for_range(builder, _i64(_ROWS)) as m:
        place = builder.bitcast(_row(builder, total, m.index), ir.VectorType(_f32, _ROWS).as_pointer())
        with cgutils.for_range(builder, _i64(_ROWS)) as k:
            words = builder.load(_row(builder, x, m.index), align=4)
            first = builder.insert_element(ir.Constant(_ROW, ir.Undefined),
                                           builder.extract_element(words, k.index), _i32(0))
            spread = builder.shuffle_vector(first, first, ir.Constant(_ROW, None))
            found = builder.load(place, align=4)
            column = builder.load(_row(builder, y, k.index), align=4)
            for factor, numbers in zip(_two_halves(builder, spread), _two_halves(builder, column)):
                found = builder.fadd(found, builder.fmul(factor, numbers))
            builder.store(found, place, align=4)


_BODIES = {
    "llvm.x86.avx512.pmaddw.d.512": _pmaddwd,
    "llvm.x86.avx512.pmaddubs.w.512": _pmaddubsw,
    "llvm.x86.avx512.vpdpbusd.512": _vpdpbusd,
    "llvm.x86.avx512bf16.cvtne2ps2bf16.256": _vcvtne2ps2bf16,
    "llvm.x86.avx512bf16.cvtne2ps2bf16.512": _vcvtne2ps2bf16,
    "llvm.x86.avx512bf16.dpbf16ps.512": _vdpbf16ps,
    "llvm.x86.ldtilecfg": _configure,
    "llvm.x86.tilerelease": _configure,
    "llvm.x86.tilezero": _tilezero,
    "llvm.x86.tileloadd64": _tileloadd,
    "llvm.x86.tilestored64": _tilestored,
    "llvm.x86.tdpbf16ps": _tdpbf16ps,
}
_declared = cgutils.get_or_insert_function


def _imitated(module, kind, name):
    """As `cgutils.get_or_insert_function`, but an instruction of another processor gets a body."""
    if name not in _BODIES:
        return _declared(module, kind, name)
    name, body = name.replace("llvm.", "imitated.", 1), _BODIES[name]
    if name in module.globals:
        return module.globals[name]
    function = _declared(module, kind, name)
    function.linkage = "internal"
    function.attributes.add("alwaysinline" if kind.return_type != _VOID else "noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    result = body(builder, *function.args)
    builder.ret_void() if result is None else builder.ret(result)
    return function


_ASK_FOR_TILES = 158, 0x1023, 18  # see `tinylm.kernels.simd`


def _imitate(name):
    features, digest = IMITATIONS[name][1], hashlib.blake2b(Path(__file__).read_bytes(), digest_size=8).hexdigest()
    real = CPUCodegen.magic_tuple

    def magic_tuple(self):
        """What numba compiles for, and by what machine code is found again in the cache."""
        triple, processor, own = real(self)
        return triple, f"{name} imitated by {processor}, {digest}", ",".join(filter(None, [own, features]))

    CPUCodegen.magic_tuple = magic_tuple
    cgutils.get_or_insert_function = _imitated
    if "amx" in features:  # an attribute of the class, which is found before the function of a library
        syscall = ctypes.CDLL(None).syscall
        ctypes.CDLL.syscall = lambda self, *arguments: 0 if arguments == _ASK_FOR_TILES else syscall(*arguments)


if "IMITATED" in os.environ:
    _imitate(os.environ["IMITATED"])
