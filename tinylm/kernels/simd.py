"""A small vector language: registers as values of ordinary-looking Numba code.

No scalar loop makes LLVM keep a tile of a matrix product in registers.  These functions let us say
it: a register has a Numba type, and load, spread, multiply_add and store act on whole registers.
A type may be several hardware registers wide; LLVM splits it.

    wide()    zeros, as wide as a panel of the matrix product
    half()    zeros, half of that
    narrow()  zeros, a quarter of it
    load(a, i, like)          the elements a[i], a[i+1], ... as many as `like` holds
    spread(a, i, like)        a[i] in every lane
    multiply_add(c, x, y)     c + x y in each lane
    store(a, i, v)            writes v to a[i], a[i+1], ...
    load_some, store_some     the same for the first `count` lanes only

Arrays are flat float32.  Nothing here checks bounds.  This is the only file that knows about
hardware.  Jitted code that uses it must stay at module level: a function that closes over an
intrinsic is never found again in the cache.
"""
from __future__ import annotations

import os

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


class Vector(types.Type):
    """`lanes` float32 values that live in registers."""

    def __init__(self, lanes: int):
        self.lanes, self.llvm = lanes, ir.VectorType(_f32, lanes)
        super().__init__(f"float32x{lanes}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm)


_wide, _half, _narrow = Vector(WIDE), Vector(HALF), Vector(NARROW)


@intrinsic
def wide(typingctx):
    return _wide(), lambda context, builder, sig, args: ir.Constant(_wide.llvm, None)


@intrinsic
def half(typingctx):
    return _half(), lambda context, builder, sig, args: ir.Constant(_half.llvm, None)


@intrinsic
def narrow(typingctx):
    return _narrow(), lambda context, builder, sig, args: ir.Constant(_narrow.llvm, None)


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


@intrinsic
def lanes(typingctx, v):
    """How many lanes v has."""
    return types.intp(v), lambda context, builder, sig, args: context.get_constant(types.intp, v.lanes)


# ------------------------------------------------------------------------------ bytes: packed ternary weights
# Sixteen int32 lanes; a lane is also four bytes.  Arrays are flat int32.

def has_byte_dot() -> bool:
    """Whether numba's target multiplies bytes and adds four products to a lane in one instruction."""
    return {"avx512f", "avx512vnni"} <= target_features()


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
