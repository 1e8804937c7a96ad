"""A small vector language: registers as values of ordinary-looking Numba code.

No scalar loop makes LLVM keep a tile of a matrix product in registers.  These functions let us say
it: a register has a Numba type, and load, spread, multiply_add and store act on whole registers.
A type may be several hardware registers wide; LLVM splits it.

    wide()    zeros, as wide as a panel of the matrix product
    half()    zeros, half of that
    narrow()  zeros, a quarter of it
    short()   SHORT zeros
    eight()   eight zeros
    load(a, i, like)          the elements a[i], a[i+1], ... as many as `like` holds
    spread(a, i, like)        a[i] in every lane
    multiply_add(c, x, y)     c + x y in each lane
    add(x, y), subtract(x, y) x + y and x - y in each lane
    multiply(x, y)            x y in each lane
    store(a, i, v)            writes v to a[i], a[i+1], ...
    load_some, store_some     the same for the first `count` lanes only

Arrays are flat: float32, and int32 or uint32 where registers hold words.  Nothing here checks bounds.  This is
the only file that knows about hardware.  Jitted code that uses it must stay at module level: a
function that closes over an intrinsic is never found again in the cache.
"""
from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, errors
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model


def target_features() -> set[str]:
    """Features of the machine numba compiles for, such as "avx512f".

    Numba is asked, not the processor: NUMBA_CPU_NAME and its like change the answer.
    """
    _, _, flags = cpu_target.target_context.codegen().magic_tuple()
    return {flag[1:] for flag in flags.split(",") if flag.startswith("+")}


def target_name() -> str:
    """The processor numba compiles for, such as "znver4"."""
    return cpu_target.target_context.codegen().magic_tuple()[1]


def _panel_width() -> int:
    """Columns of a tile of six rows, so that the accumulators fill the registers there are.

    AVX-512 has 32 registers of 16 float32, AVX2 16 of 8, NEON 32 of 4, SSE2 16 of 4.
    """
    features = target_features()
    if "avx512f" in features:
        return 64
    if "avx2" in features or "neon" in features:
        return 16
    return 8


ROWS = 6                  # rows of a tile
WIDE = _panel_width()     # its columns, in float32
HALF, NARROW = WIDE // 2, WIDE // 4

_f32, _i32 = ir.FloatType(), ir.IntType(32)
# What has flags of its own does not get those of `jit.FASTMATH`; this one only says that 0 and -0 are alike.
_AS_WRITTEN = ("nsz",)


class Vector(types.Type):
    """`lanes` float32 values that live in registers."""

    def __init__(self, lanes: int):
        self.lanes, self.llvm = lanes, ir.VectorType(_f32, lanes)
        super().__init__(f"float32x{lanes}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm)


SHORT = min(WIDE, 16)     # numbers in a cache line, or fewer where a panel is narrower
_wide, _half, _narrow, _short, _eight = Vector(WIDE), Vector(HALF), Vector(NARROW), Vector(SHORT), Vector(8)


@intrinsic
def wide(typingctx):
    return _wide(), lambda context, builder, sig, args: ir.Constant(_wide.llvm, None)


@intrinsic
def half(typingctx):
    return _half(), lambda context, builder, sig, args: ir.Constant(_half.llvm, None)


@intrinsic
def narrow(typingctx):
    return _narrow(), lambda context, builder, sig, args: ir.Constant(_narrow.llvm, None)


@intrinsic
def short(typingctx):
    return _short(), lambda context, builder, sig, args: ir.Constant(_short.llvm, None)


@intrinsic
def eight(typingctx):
    return _eight(), lambda context, builder, sig, args: ir.Constant(_eight.llvm, None)


def _address(context, builder, sig, args, llvm):
    """Pointer to element args[1] of array args[0], seen as an `llvm` value."""
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    return builder.bitcast(builder.gep(data, [args[1]]), llvm.as_pointer())


def _mask(builder, lanes, count):
    """Lane number < count."""
    vector = ir.VectorType(_i32, lanes)
    numbers = ir.Constant(vector, list(range(lanes)))
    return builder.icmp_signed("<", numbers, _splat(builder, builder.trunc(count, _i32), vector))


def _splat(builder, scalar, vector):
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_i32, 0))
    zeros = ir.Constant(ir.VectorType(_i32, vector.count), None)
    return builder.shuffle_vector(first, undefined, zeros)


@intrinsic
def load(typingctx, a, i, like):
    def emit(context, builder, sig, args):
        return builder.load(_address(context, builder, sig, args, like.llvm), align=4)
    return like(a, types.intp, like), emit


@intrinsic
def load_some(typingctx, a, i, like, count):
    def emit(context, builder, sig, args):
        pointer = _address(context, builder, sig, args, like.llvm)
        mask = _mask(builder, like.lanes, args[3])
        kind = ir.FunctionType(like.llvm, [pointer.type, _i32, mask.type, like.llvm])
        function = cgutils.get_or_insert_function(
            builder.module, kind, f"llvm.masked.load.v{like.lanes}f32.p0")
        return builder.call(function, [pointer, ir.Constant(_i32, 4), mask, ir.Constant(like.llvm, None)])
    return like(a, types.intp, like, types.intp), emit


@intrinsic
def spread(typingctx, a, i, like):
    def emit(context, builder, sig, args):
        scalar = builder.load(_address(context, builder, sig, args, _f32), align=4)
        return _splat(builder, scalar, like.llvm)
    return like(a, types.intp, like), emit


@intrinsic
def multiply_add(typingctx, c, x, y):
    def emit(context, builder, sig, args):
        # fmuladd, unlike fma, never becomes a library call where the target cannot fuse the two.
        kind = ir.FunctionType(c.llvm, [c.llvm] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{c.lanes}f32")
        return builder.call(function, [args[1], args[2], args[0]])
    return c(c, x, y), emit


@intrinsic
def add(typingctx, x, y):
    """x + y in each lane, of numbers or of integers."""
    def emit(context, builder, sig, args):
        return builder.fadd(*args) if isinstance(x, Vector) else builder.add(*args)
    return x(x, y), emit


@intrinsic
def subtract(typingctx, x, y):
    return x(x, y), lambda context, builder, sig, args: builder.fsub(*args)


@intrinsic
def multiply(typingctx, x, y):
    """x y in each lane, rounded by itself: never fused with an addition."""
    return x(x, y), lambda context, builder, sig, args: builder.fmul(*args, flags=_AS_WRITTEN)


@intrinsic
def store(typingctx, a, i, v):
    def emit(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig, args, v.llvm), align=4)
        return context.get_dummy_value()
    return types.void(a, types.intp, v), emit


@intrinsic
def store_some(typingctx, a, i, v, count):
    def emit(context, builder, sig, args):
        pointer = _address(context, builder, sig, args, v.llvm)
        mask = _mask(builder, v.lanes, args[3])
        kind = ir.FunctionType(ir.VoidType(), [v.llvm, pointer.type, _i32, mask.type])
        function = cgutils.get_or_insert_function(
            builder.module, kind, f"llvm.masked.store.v{v.lanes}f32.p0")
        builder.call(function, [args[2], pointer, ir.Constant(_i32, 4), mask])
        return context.get_dummy_value()
    return types.void(a, types.intp, v, types.intp), emit


def exchange(builder, rows):
    """The transpose of as many vectors as each has lanes, a power of two."""
    rows, size = list(rows), len(rows)
    step = size // 2
    while step:  # rows that lie `step` apart exchange every other `step` columns
        mask = ir.VectorType(_i32, size)
        low = ir.Constant(mask, [c if c & step == 0 else size + c - step for c in range(size)])
        high = ir.Constant(mask, [c + step if c & step == 0 else size + c for c in range(size)])
        for number in (n for n in range(size) if n & step == 0):
            pair = rows[number], rows[number + step]
            rows[number] = builder.shuffle_vector(*pair, low)
            rows[number + step] = builder.shuffle_vector(*pair, high)
        step //= 2
    return rows


@intrinsic
def transpose8(typingctx, out, i, step, inp, j, stride):
    """out[i + step r + c] = inp[j + stride c + r] for r, c < 8; both float32, or both words."""
    def emit(context, builder, sig, args):
        element = _f32 if inp.dtype == types.float32 else _i32
        vector = ir.VectorType(element, 8)

        def row(array, value, at, between, number):
            place = builder.add(at, builder.mul(between, ir.Constant(ir.IntType(64), number)))
            return _address(context, builder, types.void(array, types.intp), (value, place), vector)
        found = exchange(builder, [builder.load(row(inp, args[3], args[4], args[5], n), align=4) for n in range(8)])
        for number, value in enumerate(found):
            builder.store(value, row(out, args[0], args[1], args[2], number), align=4)
        return context.get_dummy_value()
    return types.void(out, types.intp, types.intp, inp, types.intp, types.intp), emit


@intrinsic
def prefetch(typingctx, a, i):
    """Ask for the cache line of a[i], to be needed soon; any address may be asked for."""
    def emit(context, builder, sig, args):
        pointer = _address(context, builder, sig, args, ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _i32, _i32, _i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, ir.Constant(_i32, 0), ir.Constant(_i32, 2), ir.Constant(_i32, 1)])
        return context.get_dummy_value()
    return types.void(a, types.intp), emit


@intrinsic
def index(typingctx, a, i):
    """a[i], of unsigned integers, as an index; without what numba does for an i that may be negative."""
    def emit(context, builder, sig, args):
        pointer = _address(context, builder, sig, args, ir.IntType(a.dtype.bitwidth))
        return builder.zext(builder.load(pointer, align=a.dtype.bitwidth // 8), ir.IntType(64))
    return types.intp(a, types.intp), emit


@intrinsic
def opaque(typingctx, i):
    """i, of which the compiler no longer knows how it was found.

    It would add its way from one row of a tile to the next at every k, where a pointer for each row needs no addition.
    """
    def emit(context, builder, sig, args):
        kind = ir.FunctionType(args[0].type, [args[0].type])
        return builder.call(ir.InlineAsm(kind, "", "=r,0", side_effect=False), args)
    return i(i), emit


@intrinsic
def lanes(typingctx, v):
    """How many lanes v has."""
    return types.intp(v), lambda context, builder, sig, args: context.get_constant(types.intp, v.lanes)


# ------------------------------------------------------------------------- words of two or four numbers
# A lane of 32 bits is also two numbers of 16 bits, or four bytes, that follow each other along the inner dimension of a
# product.  As wide as a panel.  What is in an array says its type: integers where it is int32, flat, and bfloat16 where
# it is uint32.  Only these functions know which instruction multiplies them.

_i8, _i16 = ir.IntType(8), ir.IntType(16)


class Integers(types.Type):
    """`lanes` integers of `bits` bits that live in registers."""

    def __init__(self, bits: int, lanes: int):
        self.bits, self.lanes, self.llvm = bits, lanes, ir.VectorType(ir.IntType(bits), lanes)
        super().__init__(f"int{bits}x{lanes}")


class BFloats(types.Type):
    """`lanes` words of two bfloat16 that live in registers."""

    def __init__(self, lanes: int):
        self.lanes, self.llvm = lanes, ir.VectorType(_i32, lanes)
        super().__init__(f"bfloat16x2x{lanes}")


@register_model(Integers)
@register_model(BFloats)
class _IntegersModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm)


def _are_bfloats(array) -> bool:
    return array.dtype in (types.uint16, types.uint32)


def _words_of(array, lanes):
    """The type of a register of words from an array."""
    return BFloats(lanes) if _are_bfloats(array) else Integers(32, lanes)


@intrinsic
def are_bfloats(typingctx, a):
    """Whether an array holds bfloat16, one by one (uint16) or in words (uint32)."""
    found = _are_bfloats(a)
    return types.boolean(a), lambda context, builder, sig, args: ir.Constant(ir.IntType(1), found)


@cache
def has_byte_dot() -> bool:
    """Whether numba's target multiplies bytes and adds four products to a lane in one instruction."""
    return {"avx512f", "avx512vnni"} <= target_features()


@cache
def has_bfloat_pairs() -> bool:
    """Whether numba's target multiplies bfloat16 and adds two products to a float32 in one instruction."""
    return {"avx512f", "avx512bw", "avx512vl", "avx512bf16"} <= target_features()


# Where bytes are multiplied straight into int32, so are they summed; elsewhere two products into 16 bits.
_ints = Integers(32, WIDE)
_byte_sums = _ints if has_byte_dot() else Integers(16, 2 * WIDE)
# Numbers along k after which sums of bytes must be taken away: in 16 bits 64 pairs of at most 508 each.
BYTES_TOGETHER = 1 << 22 if _byte_sums is _ints else 128


def _bits(element):
    return 32 if element == _f32 else element.width


def _pieces(builder, value, element, lanes):
    """A vector, seen as one of `element`, in vectors of so many lanes."""
    total = value.type.count * _bits(value.type.element) // _bits(element)
    value = builder.bitcast(value, ir.VectorType(element, total))
    return [builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(_i32, lanes), list(range(i, i + lanes))))
            for i in range(0, total, lanes)]


def _joined(builder, parts):
    while len(parts) > 1:
        both = ir.VectorType(_i32, 2 * parts[0].type.count)
        order = ir.Constant(both, list(range(both.count)))
        parts = [builder.shuffle_vector(x, y, order) for x, y in zip(parts[::2], parts[1::2])]
    return parts[0]


def _pairwise(builder, x, y, element, signed_x, instructions):
    """x y of pairs of `element`, added up: half as many numbers of twice the bits, without overflow or saturation.

    instructions    {feature: (name, bits)}, the widest first; LLVM's own arithmetic where the target has none
    """
    features, wider = target_features(), ir.IntType(2 * element.width)
    for feature, (name, bits) in instructions.items():
        if feature in features and bits <= WIDE * 32:
            lanes = bits // element.width
            kind = ir.FunctionType(ir.VectorType(wider, lanes // 2), [ir.VectorType(element, lanes)] * 2)
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            pieces = zip(_pieces(builder, x, element, lanes), _pieces(builder, y, element, lanes))
            return _joined(builder, [builder.call(function, pair) for pair in pieces])
    total = x.type.count * x.type.element.width // element.width
    narrow, wide_ = ir.VectorType(element, total), ir.VectorType(wider, total)
    x, y = builder.bitcast(x, narrow), builder.bitcast(y, narrow)
    product = builder.mul((builder.sext if signed_x else builder.zext)(x, wide_), builder.sext(y, wide_))
    mask = ir.VectorType(_i32, total // 2)
    return builder.add(*(builder.shuffle_vector(product, product, ir.Constant(mask, list(range(odd, total, 2))))
                         for odd in (0, 1)))


_PAIRS = {"avx512bw": ("llvm.x86.avx512.pmaddw.d.512", 512), "avx2": ("llvm.x86.avx2.pmadd.wd", 256),
          "sse2": ("llvm.x86.sse2.pmadd.wd", 128)}
_BYTE_PAIRS = {"avx512bw": ("llvm.x86.avx512.pmaddubs.w.512", 512), "avx2": ("llvm.x86.avx2.pmadd.ub.sw", 256),
               "ssse3": ("llvm.x86.ssse3.pmadd.ub.sw.128", 128)}


@intrinsic
def integers(typingctx):
    """All lanes 0."""
    return _ints(), lambda context, builder, sig, args: ir.Constant(_ints.llvm, None)


@intrinsic
def byte_sums(typingctx):
    """No sums of bytes yet."""
    return _byte_sums(), lambda context, builder, sig, args: ir.Constant(_byte_sums.llvm, None)


@intrinsic
def no_sums(typingctx, a):
    """No sums yet of what `add_pairs` makes of words in a."""
    sums = _wide if _are_bfloats(a) else _ints
    return sums(a), lambda context, builder, sig, args: ir.Constant(sums.llvm, None)


@intrinsic
def load_integers(typingctx, a, i):
    """A panel's width of words."""
    words = _words_of(a, WIDE)

    def emit(context, builder, sig, args):
        return builder.load(_address(context, builder, sig, args, words.llvm), align=4)
    return words(a, types.intp), emit


@intrinsic
def store_integers(typingctx, a, i, v):
    def emit(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig, args, v.llvm), align=4)
        return context.get_dummy_value()
    return types.void(a, types.intp, v), emit


@intrinsic
def store_integers_past(typingctx, a, i, v):
    """As `store_integers`, past the caches: for what is not read soon.  a[i] is where a register may begin.

    Other threads may read it after `settle`.
    """
    def emit(context, builder, sig, args):
        place = _address(context, builder, sig, args, v.llvm)
        written = builder.store(args[2], place, align=min(64, 4 * v.lanes))
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(_i32, 1)]))
        return context.get_dummy_value()
    return types.void(a, types.intp, v), emit


_ROUNDER = np.float32(3 << 22)  # added to a small number it leaves the nearest integer in the last bits, halves to even


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite lacks: the text that LLVM reads needs nothing but its name."""

    def __str__(self):
        return "bfloat"


_bfloat = _BFloat()


def _rounded(builder, low, high):
    """bfloat16 of the numbers of `low`, then of those of `high`, 8 or 16 of each, as integers of 16 bits."""
    count = 2 * low.type.count
    kind = ir.VectorType(_bfloat, count)
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [low.type] * 2),
                                              f"llvm.x86.avx512bf16.cvtne2ps2bf16.{16 * count}")
    return builder.bitcast(builder.call(function, [high, low]), ir.VectorType(_i16, count))


def _code_pairs(builder, low, high, words):
    rounder = ir.Constant(low.type, [float(_ROUNDER)] * low.type.count)
    below, above = (builder.bitcast(builder.fadd(value, rounder, flags=_AS_WRITTEN), words) for value in (low, high))
    # The rounder's own last 16 bits are 0.
    return builder.or_(builder.and_(below, ir.Constant(words, [0xFFFF] * words.count)),
                       builder.shl(above, ir.Constant(words, [16] * words.count)))


def _nearest_bfloats(builder, value, words):
    """The nearest bfloat16 in the upper half of each word, of two equally near the even one; NaN stays NaN."""
    def all_lanes(number):
        return ir.Constant(words, [number] * words.count)
    bits = builder.bitcast(value, words)
    odd = builder.and_(builder.lshr(bits, all_lanes(16)), all_lanes(1))
    nearest = builder.add(builder.add(bits, all_lanes(0x7FFF)), odd)
    return builder.select(builder.fcmp_unordered("uno", value, value), builder.or_(bits, all_lanes(1 << 22)), nearest)


def _bfloat_pairs(builder, low, high, words):
    if not has_bfloat_pairs():
        below, above = (_nearest_bfloats(builder, value, words) for value in (low, high))
        return builder.or_(builder.lshr(below, ir.Constant(words, [16] * words.count)),
                           builder.and_(above, ir.Constant(words, [0xFFFF0000] * words.count)))
    lanes = min(16, words.count)
    turns = ir.Constant(ir.VectorType(_i32, 2 * lanes), [lane // 2 + lanes * (lane % 2) for lane in range(2 * lanes)])
    parts = []
    for below, above in zip(_pieces(builder, low, _f32, lanes), _pieces(builder, high, _f32, lanes)):
        halves = _rounded(builder, below, above)
        parts.append(builder.bitcast(builder.shuffle_vector(halves, halves, turns), ir.VectorType(_i32, lanes)))
    return _joined(builder, parts)


@intrinsic
def store_bfloats(typingctx, a, i, v):
    """Writes what is nearest to v to a[i], a[i+1], ..., of bfloat16."""
    def emit(context, builder, sig, args):
        if has_bfloat_pairs() and v.lanes % 16 == 0:
            parts = [_rounded(builder, part, part) for part in _pieces(builder, args[2], _f32, 16)]
            first = ir.Constant(ir.VectorType(_i32, 16), list(range(16)))
            nearest = _joined(builder, [builder.shuffle_vector(part, part, first) for part in parts])
        else:
            words = ir.VectorType(_i32, v.lanes)
            upper = builder.lshr(_nearest_bfloats(builder, args[2], words), ir.Constant(words, [16] * v.lanes))
            nearest = builder.trunc(upper, ir.VectorType(_i16, v.lanes))
        builder.store(nearest, _address(context, builder, sig, args, nearest.type), align=2)
        return context.get_dummy_value()
    return types.void(a, types.intp, v), emit


@intrinsic
def rounded_pairs(typingctx, a, low, high):
    """Words for the array a of what is nearest to `low` and `high`: bfloat16, or integers (|x| < 2^15; see
    `quantize.to_code`).
    """
    words = _words_of(a, low.lanes)

    def emit(context, builder, sig, args):
        return (_bfloat_pairs if _are_bfloats(a) else _code_pairs)(builder, args[1], args[2], words.llvm)
    return words(a, low, high), emit


@intrinsic
def nearest(typingctx, v):
    """The integer nearest to each lane (|v| < 2^22), int32, halves to even; see `quantize.to_code`."""
    integers_ = Integers(32, v.lanes)

    def emit(context, builder, sig, args):
        rounder = ir.Constant(v.llvm, [float(_ROUNDER)] * v.lanes)
        bits = builder.bitcast(builder.fadd(args[0], rounder, flags=_AS_WRITTEN), integers_.llvm)
        return builder.sub(bits, ir.Constant(integers_.llvm, [int(_ROUNDER.view(np.int32))] * v.lanes))
    return integers_(v), emit


@intrinsic
def bytes_together(typingctx, x0, x1, x2, x3):
    """Words of the last bytes of four integers, x0's the lowest."""
    def emit(context, builder, sig, args):
        def all_lanes(number):
            return ir.Constant(x0.llvm, [number] * x0.lanes)
        words = builder.and_(args[0], all_lanes(0xFF))
        for place in (1, 2):
            byte = builder.and_(args[place], all_lanes(0xFF))
            words = builder.or_(words, builder.shl(byte, all_lanes(8 * place)))
        return builder.or_(words, builder.shl(args[3], all_lanes(24)))
    return x0(x0, x0, x0, x0), emit


@intrinsic
def raised_fours(typingctx, a, i0, i1, i2, i3, by):
    """A panel's width of words of four bytes: what int8 has from a[i0], a[i1], a[i2] and a[i3] on, plus `by`."""
    def emit(context, builder, sig, args):
        a, *places, by = args
        bytes_, total = ir.VectorType(_i8, WIDE), ir.Constant(_ints.llvm, None)
        for place, i in enumerate(places):
            part = builder.load(_address(context, builder, sig, [a, i], bytes_), align=1)
            part = builder.add(part, _splat(builder, builder.trunc(by, _i8), bytes_))
            total = builder.or_(total, builder.shl(builder.zext(part, _ints.llvm),
                                                   ir.Constant(_ints.llvm, [8 * place] * WIDE)))
        return total
    return _ints(a, *[types.intp] * 4, by), emit


@intrinsic
def settle(typingctx):
    def emit(context, builder, sig, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()
    return types.void(), emit


@intrinsic
def spread_integer(typingctx, a, i):
    """The word a[i] in every lane."""
    words = _words_of(a, WIDE)

    def emit(context, builder, sig, args):
        return _splat(builder, builder.load(_address(context, builder, sig, args, _i32), align=4), words.llvm)
    return words(a, types.intp), emit


def _add_bfloats(builder, total, x, y):
    """total + the two products of bfloat16 in each lane, added one after the other in float32."""
    if has_bfloat_pairs():
        halves = ir.VectorType(_bfloat, 32)
        kind = ir.FunctionType(ir.VectorType(_f32, 16), [ir.VectorType(_f32, 16), halves, halves])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
        totals = _pieces(builder, total, _f32, 16)
        factors = ([builder.bitcast(part, halves) for part in _pieces(builder, value, _i32, 16)] for value in (x, y))
        return _joined(builder, [builder.call(function, three) for three in zip(totals, *factors)])
    kind = ir.FunctionType(total.type, [total.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{total.type.count}f32")
    for half_of in (lambda v: builder.and_(v, ir.Constant(v.type, [0xFFFF0000] * v.type.count)),
                    lambda v: builder.shl(v, ir.Constant(v.type, [16] * v.type.count))):
        total = builder.call(function, [*(builder.bitcast(half_of(v), total.type) for v in (x, y)), total])
    return total


@intrinsic
def add_pairs(typingctx, total, x, y):
    """total + the two products of 16-bit integers in each lane, in int32; of bfloat16 in float32."""
    def emit(context, builder, sig, args):
        if isinstance(x, BFloats):
            return _add_bfloats(builder, *args)
        return builder.add(args[0], _pairwise(builder, args[1], args[2], _i16, True, _PAIRS))
    return total(total, x, x), emit


@intrinsic
def add_bytes(typingctx, total, weights, inp):
    """total + the products of bytes, unsigned weights times signed ones; BYTES_TOGETHER numbers along k at most.

    Weights are 0 .. 2; with `has_byte_dot` 0 .. 255, for 2^16 numbers along k at most.
    """
    def emit(context, builder, sig, args):
        if _byte_sums is _ints:
            words = [_pieces(builder, value, _i32, 16) for value in args]
            return _joined(builder, [builder.call(_byte_dot(builder), part) for part in zip(*words)])
        return builder.add(args[0], _pairwise(builder, args[1], args[2], _i8, False, _BYTE_PAIRS))
    return _byte_sums(_byte_sums, _ints, _ints), emit


@intrinsic
def take_bytes(typingctx, total, sums):
    """total + the sums of bytes, as integers of 32 bits."""
    def emit(context, builder, sig, args):
        if _byte_sums is _ints:
            return builder.add(*args)
        ones = ir.Constant(_byte_sums.llvm, [1] * _byte_sums.lanes)
        return builder.add(args[0], _pairwise(builder, args[1], ones, _i16, True, _PAIRS))
    return _ints(_ints, _byte_sums), emit


@intrinsic
def to_float(typingctx, v):
    """Each lane as float32, which it may be already."""
    def emit(context, builder, sig, args):
        return args[0] if v == _wide else builder.sitofp(args[0], _wide.llvm)
    return _wide(v), emit


# ------------------------------------------------------------------------------ bytes: packed ternary weights
# Sixteen int32 lanes; a lane is also four bytes.  Arrays are flat int32.

class Words(types.Type):
    """Sixteen int32 values that live in one register."""

    llvm = ir.VectorType(_i32, 16)


@register_model(Words)
class _WordsModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm)


_words = Words("int32x16")


@intrinsic
def no_words(typingctx):
    """All lanes 0."""
    return _words(), lambda context, builder, sig, args: ir.Constant(_words.llvm, None)


@intrinsic
def load_words(typingctx, a, i):
    def emit(context, builder, sig, args):
        return builder.load(_address(context, builder, sig, args, _words.llvm), align=4)
    return _words(a, types.intp), emit


@intrinsic
def spread_word(typingctx, a, i):
    """a[i] in every lane."""
    def emit(context, builder, sig, args):
        return _splat(builder, builder.load(_address(context, builder, sig, args, _i32), align=4), _words.llvm)
    return _words(a, types.intp), emit


@intrinsic
def store_words(typingctx, a, i, v):
    def emit(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig, args, _words.llvm), align=4)
        return context.get_dummy_value()
    return types.void(a, types.intp, v), emit


def _byte_dot(builder):
    # LLVM before 21 knows only these types; later ones still accept them.
    kind = ir.FunctionType(_words.llvm, [_words.llvm] * 3)
    return cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")


def _field_dot(field):
    @intrinsic
    def dot(typingctx, total, weights, inp):
        """total + 4^field (the two bits `field` of each byte of weights, as 0 .. 3) . inp, in each lane.

        The field is masked where it stands and not shifted down, hence the factor.
        """
        if not has_byte_dot():  # LLVM would end the process
            raise errors.TypingError("numba's target lacks AVX-512 VNNI; ask has_byte_dot() first")

        def emit(context, builder, sig, args):
            mask = ir.Constant(_words.llvm, [0x03030303 << 2 * field] * 16)
            return builder.call(_byte_dot(builder), [args[0], builder.and_(args[1], mask), args[2]])
        return _words(_words, _words, _words), emit
    return dot


field_dot0, field_dot1, field_dot2, field_dot3 = (_field_dot(field) for field in range(4))


@intrinsic
def add_fields(typingctx, t0, t1, t2, t3):
    """t0 + t1 / 4 + t2 / 16 + t3 / 64; every division is exact."""
    def emit(context, builder, sig, args):
        parts = [builder.ashr(t, ir.Constant(_words.llvm, [2 * f] * 16)) for f, t in enumerate(args)]
        return builder.add(builder.add(parts[0], parts[1]), builder.add(parts[2], parts[3]))
    return _words(_words, _words, _words, _words), emit


@intrinsic
def byte_dot(typingctx, total, unsigned, signed):
    """total + the four products of bytes, unsigned times signed, in each lane."""
    if not has_byte_dot():
        raise errors.TypingError("numba's target lacks AVX-512 VNNI; ask has_byte_dot() first")

    def emit(context, builder, sig, args):
        return builder.call(_byte_dot(builder), args)
    return _words(_words, _words, _words), emit


# With AVX2 alone a register has eight lanes, and one instruction adds two products of bytes, unsigned times signed, in
# 16 bits.  `Pairs` are such sums: two of them to a lane.

def has_byte_pairs() -> bool:
    """Whether numba's target multiplies bytes and adds two products in one instruction."""
    return "avx2" in target_features()


class EightWords(types.Type):
    """Eight int32 values that live in one register."""

    llvm = ir.VectorType(_i32, 8)


class Pairs(types.Type):
    """Sixteen int16 values that live in one register."""

    llvm = ir.VectorType(ir.IntType(16), 16)


@register_model(EightWords)
@register_model(Pairs)
class _EightWordsModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm)


_eight_words, _pairs = EightWords("int32x8"), Pairs("int16x16")
_thirty_two = ir.VectorType(ir.IntType(8), 32)  # the bytes of either


@intrinsic
def no_pairs(typingctx):
    """All sums 0."""
    return _pairs(), lambda context, builder, sig, args: ir.Constant(_pairs.llvm, None)


@intrinsic
def load_eight(typingctx, a, i):
    def emit(context, builder, sig, args):
        return builder.load(_address(context, builder, sig, args, _eight_words.llvm), align=4)
    return _eight_words(a, types.intp), emit


@intrinsic
def spread_eight(typingctx, a, i):
    """a[i] in every lane."""
    def emit(context, builder, sig, args):
        return _splat(builder, builder.load(_address(context, builder, sig, args, _i32), align=4), _eight_words.llvm)
    return _eight_words(a, types.intp), emit


@intrinsic
def store_eight(typingctx, a, i, v):
    def emit(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig, args, _eight_words.llvm), align=4)
        return context.get_dummy_value()
    return types.void(a, types.intp, v), emit


def _need_pairs():
    if not has_byte_pairs():  # LLVM would end the process
        raise errors.TypingError("numba's target lacks AVX2; ask has_byte_pairs() first")


def _call_avx2(builder, name, result, *arguments):
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx2.{name}"), arguments)


def _byte_pairs(builder, unsigned, signed):
    unsigned, signed = (builder.bitcast(v, _thirty_two) for v in (unsigned, signed))
    return _call_avx2(builder, "pmadd.ub.sw", _pairs.llvm, unsigned, signed)


def _add_pairs(builder, pairs):
    """The two sums of each lane, added."""
    return _call_avx2(builder, "pmadd.wd", _eight_words.llvm, pairs, ir.Constant(_pairs.llvm, [1] * 16))


def _field_pairs(field):
    @intrinsic
    def pairs(typingctx, total, weights, inp):
        """total + 4^field (the two bits `field` of each byte of weights, as 0 .. 3) . inp, two products to a sum."""
        _need_pairs()

        def emit(context, builder, sig, args):
            mask = ir.Constant(_eight_words.llvm, [0x03030303 << 2 * field] * 8)
            return builder.add(args[0], _byte_pairs(builder, builder.and_(args[1], mask), args[2]))
        return _pairs(_pairs, _eight_words, _eight_words), emit
    return pairs


field_pairs0, field_pairs1 = (_field_pairs(field) for field in range(2))


@intrinsic
def upper_fields(typingctx, weights):
    """Fields 2 and 3 of each byte in the places of 0 and 1; what stands above them means nothing."""
    def emit(context, builder, sig, args):
        return builder.lshr(args[0], ir.Constant(_eight_words.llvm, [4] * 8))
    return _eight_words(_eight_words), emit


@intrinsic
def add_field_pairs(typingctx, total, p0, p1):
    """total + p0 + p1 / 4; every division is exact."""
    _need_pairs()

    def emit(context, builder, sig, args):
        total, p0, p1 = args
        both = builder.add(p0, builder.ashr(p1, ir.Constant(_pairs.llvm, [2] * 16)))
        return builder.add(total, _add_pairs(builder, both))
    return _eight_words(_eight_words, _pairs, _pairs), emit


@intrinsic
def signed_byte_dot(typingctx, total, weights, inp):
    """total + the four products of signed bytes in each lane; no weight is -128.

    w x = (w sign x) |x|: two products of 127 x 128 fit into 16 bits.
    """
    _need_pairs()

    def emit(context, builder, sig, args):
        total, weights, inp = args[0], *(builder.bitcast(v, _thirty_two) for v in args[1:])
        nothing = ir.Constant(_thirty_two, None)
        size = builder.select(builder.icmp_signed("<", inp, nothing), builder.sub(nothing, inp), inp)
        signed = _call_avx2(builder, "psign.b", _thirty_two, weights, inp)
        return builder.add(total, _add_pairs(builder, _byte_pairs(builder, size, signed)))
    return _eight_words(_eight_words, _eight_words, _eight_words), emit


# --------------------------------------------------------------------------- tiles: bfloat16 in blocks of 16 x 16
# A processor with AMX multiplies whole tiles: 16 rows of 16 words, each word two bfloat16 that follow each other along
# the inner dimension.  Operands are flat int32, a tile 256 words in a row.  Results are a block of 2 x 2 tiles of
# float32, which lives in the processor until it is stored; what a thread does with tiles it does between `tiles_begin`
# and `tiles_end`.

TILE = 16                    # rows of a tile, and its words in a row
TILE_WORDS = TILE * TILE
_i64, _bytes_of_row = ir.IntType(64), 4 * TILE
_ASK_FOR_TILES = 158, 0x1023, 18  # the system call arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA


@cache
def has_tiles() -> bool:
    """Whether numba's target multiplies tiles of bfloat16 and the system lets this process do so."""
    if not {"amx-tile", "amx-bf16", "avx512bf16", "avx512bw"} <= target_features() or sys.platform != "linux":
        return False
    return ctypes.CDLL(None).syscall(*_ASK_FOR_TILES) == 0


def _tile_shapes():
    """What `tiles_begin` loads: all eight tiles are 16 rows of 64 bytes."""
    shapes = np.zeros(64, np.uint8)
    shapes[0] = 1                                     # the one palette there is
    shapes[16:32].view(np.uint16)[:] = _bytes_of_row
    shapes[48:56] = TILE
    return shapes


TILE_SHAPES = _tile_shapes()


def _call_tiles(builder, name, *arguments):
    kind = ir.FunctionType(ir.VoidType(), [a.type for a in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _number(tile):
    return ir.Constant(ir.IntType(8), tile)


def _at(builder, pointer, words):
    """The byte pointer moved on by so many words."""
    return builder.gep(pointer, [builder.mul(words, ir.Constant(_i64, 4))])


def _need_tiles():
    if not has_tiles():  # LLVM would end the process
        raise errors.TypingError("numba's target lacks AMX tiles; ask has_tiles() first")


@intrinsic
def tiles_begin(typingctx, shapes):
    _need_tiles()

    def emit(context, builder, sig, args):
        pointer = _address(context, builder, types.void(shapes, types.intp), (args[0], ir.Constant(_i64, 0)),
                           ir.IntType(8))
        _call_tiles(builder, "ldtilecfg", pointer)
        return context.get_dummy_value()
    return types.void(shapes), emit


@intrinsic
def tiles_end(typingctx):
    def emit(context, builder, sig, args):
        _call_tiles(builder, "tilerelease")
        return context.get_dummy_value()
    return types.void(), emit


@intrinsic
def clear_tiles(typingctx):
    """The block = 0."""
    def emit(context, builder, sig, args):
        for tile in range(4):
            _call_tiles(builder, "tilezero", _number(tile))
        return context.get_dummy_value()
    return types.void(), emit


def _block_access(name):
    @intrinsic
    def access(typingctx, c, i, step):
        """Between the block and 32 rows of 32 numbers from c[i] on, `step` from row to row (0: all rows the same)."""
        def emit(context, builder, sig, args):
            first = _address(context, builder, sig, args, ir.IntType(8))
            stride = builder.mul(args[2], ir.Constant(_i64, 4))
            below = _at(builder, first, builder.mul(args[2], ir.Constant(_i64, TILE)))
            for tile, (pointer, columns) in enumerate(((first, 0), (first, TILE), (below, 0), (below, TILE))):
                _call_tiles(builder, name, _number(tile), _at(builder, pointer, ir.Constant(_i64, columns)), stride)
            return context.get_dummy_value()
        return types.void(c, types.intp, types.intp), emit
    return access


load_block, store_block = _block_access("tileloadd64"), _block_access("tilestored64")


@intrinsic
def multiply_tiles(typingctx, a, ia, b, ib):
    """The block += two tiles of a, one below the other, times two of b, side by side; each pair follows in memory."""
    def emit(context, builder, sig, args):
        for array, place, number in ((0, 1, 4), (2, 3, 6)):
            pointer = _address(context, builder, types.void(sig.args[array], types.intp),
                               (args[array], args[place]), ir.IntType(8))
            for tile in range(2):
                place = _at(builder, pointer, ir.Constant(_i64, tile * TILE_WORDS))
                _call_tiles(builder, "tileloadd64", _number(number + tile), place, ir.Constant(_i64, _bytes_of_row))
        for tile in range(4):
            _call_tiles(builder, "tdpbf16ps", _number(tile), _number(4 + tile // 2), _number(6 + tile % 2))
        return context.get_dummy_value()
    return types.void(a, types.intp, b, types.intp), emit


def _sixteen(context, builder, array, value, i, count):
    """value[i], ... as sixteen float32; lanes from `count` on are 0, and nothing is read there."""
    element = _f32 if array.dtype == types.float32 else ir.IntType(8)
    vector = ir.VectorType(element, TILE)
    pointer = _address(context, builder, types.void(array, types.intp), (value, i), vector)
    count = builder.select(builder.icmp_signed("<", count, ir.Constant(_i64, 0)), ir.Constant(_i64, 0), count)
    mask = _mask(builder, TILE, count)
    suffix = "f32" if element is _f32 else "i8"
    kind = ir.FunctionType(vector, [pointer.type, _i32, mask.type, vector])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{TILE}{suffix}.p0")
    align = ir.Constant(_i32, 4 if element is _f32 else 1)
    found = builder.call(function, [pointer, align, mask, ir.Constant(vector, None)])
    return found if element is _f32 else builder.sitofp(found, ir.VectorType(_f32, TILE))


@intrinsic
def round_along(typingctx, x, i, count):
    """x[i] .. x[i + 31] as sixteen words of two bfloat16; from `count` on they are 0.  x is float32 or int8."""
    def emit(context, builder, sig, args):
        rest = builder.sub(args[2], ir.Constant(_i64, TILE))
        later = builder.add(args[1], ir.Constant(_i64, TILE))
        low = _sixteen(context, builder, x, args[0], args[1], args[2])
        high = _sixteen(context, builder, x, args[0], later, rest)
        return builder.bitcast(_rounded(builder, low, high), _words.llvm)
    return _words(x, types.intp, types.intp), emit


@intrinsic
def round_across(typingctx, x, i, j, count, second):
    """Words of x[i + lane] and x[j + lane]; lanes from `count` on are 0, and x[j ...] is where `second` is 0."""
    def emit(context, builder, sig, args):
        value, i, j, count, second = args
        nothing = ir.Constant(_i64, 0)
        other = builder.select(builder.icmp_signed("==", second, nothing), nothing, count)
        low, high = (_sixteen(context, builder, x, value, at, left) for at, left in ((i, count), (j, other)))
        halves = _rounded(builder, low, high)
        turns = ir.Constant(ir.VectorType(_i32, 32), [lane // 2 + TILE * (lane % 2) for lane in range(32)])
        return builder.bitcast(builder.shuffle_vector(halves, halves, turns), _words.llvm)
    return _words(x, types.intp, types.intp, types.intp, types.intp), emit


@intrinsic
def transpose_tile(typingctx, out, i, inp, j):
    """out[i + 16 r + c] = inp[j + 16 c + r] for a tile; the two may be the same."""
    def emit(context, builder, sig, args):
        def row(array, value, at, number):
            place = builder.add(at, ir.Constant(_i64, TILE * number))
            return _address(context, builder, types.void(array, types.intp), (value, place), _words.llvm)
        rows = [builder.load(row(inp, args[2], args[3], number), align=4) for number in range(TILE)]
        rows = exchange(builder, rows)
        for number, value in enumerate(rows):
            builder.store(value, row(out, args[0], args[1], number), align=4)
        return context.get_dummy_value()
    return types.void(out, types.intp, inp, types.intp), emit


# ------------------------------------------------------------------------- threads that wait for each other
# For work too short for a fork and a join: the threads of one region meet by counting.  Arrays are flat int64.

_YIELDS = hasattr(os, "sched_yield")


@intrinsic
def arrive(typingctx, counter):
    """counter[0] += 1, visible to all threads, after everything this thread has written."""
    def emit(context, builder, sig, args):
        pointer = context.make_array(sig.args[0])(context, builder, args[0]).data
        builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "acq_rel")
        return context.get_dummy_value()
    return types.void(counter), emit


@intrinsic
def arrived(typingctx, counter):
    """counter[0] as it is now; what other threads wrote before they arrived is visible after it."""
    def emit(context, builder, sig, args):
        pointer = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.load_atomic(pointer, "acquire", 8)
    return types.int64(counter), emit


@intrinsic
def pause(typingctx):
    """Tells the processor that this loop only waits."""
    def emit(context, builder, sig, args):
        if "sse2" in target_features():
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()
    return types.void(), emit


@intrinsic
def give_way(typingctx):
    """Lets the system run another thread here, where it knows how."""
    def emit(context, builder, sig, args):
        if _YIELDS:
            kind = ir.FunctionType(_i32, [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()
    return types.void(), emit
