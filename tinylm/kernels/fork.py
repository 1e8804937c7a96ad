"""One call made many times, shared among threads: what stands behind `jit.parallel`.

Numba's own `prange` compiles the body of a loop four times over: as a function, in two wrappers of it, and once more in
the function that holds the loop.  Here a worker of a few instructions calls the part that was compiled already, and
numba's thread pool calls the worker: a quarter of the time to compile, the same threads, and no lock of the
interpreter to take on the way.
"""
from __future__ import annotations

import ctypes
from functools import cache

import numba
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_BYTES = ir.IntType(8).as_pointer()
_WORD = ir.IntType(types.intp.bitwidth)
# What numba's pool calls: pointers to arrays, their sizes, the steps in bytes from element to element, other data.
_WORKER = ir.FunctionType(ir.VoidType(), [_BYTES.as_pointer(), _WORD.as_pointer(), _WORD.as_pointer(), _BYTES])
# The pool: worker, the four above, inner dimensions, arrays, threads.
_POOL = ir.FunctionType(ir.VoidType(), [_BYTES] * 5 + [_WORD] * 3)


def _stored(builder, values):
    """A pointer to a record of the values, on the stack."""
    record = ir.LiteralStructType([value.type for value in values])
    place = cgutils.alloca_once(builder, record)
    for i, value in enumerate(values):
        builder.store(value, cgutils.gep_inbounds(builder, place, 0, i))
    return place


def _borrowed(context, builder, kind, value):
    """An array without its counter of references: the caller holds it, and threads would take the counter from each
    other whenever one of them made a slice."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()


def _worker(context, module, name, compiled, record, failed):
    """The function that makes the calls of one thread: parts args[0] .. args[0] + dims[0] - 1.

    args[0] is no address.  The pool moves it on by the thread's first part times the step, which is 1.
    """
    worker = ir.Function(module, _WORKER, name)
    worker.linkage = "internal"
    builder = ir.IRBuilder(worker.append_basic_block())
    arrays, sizes, _, data = worker.args
    first = builder.ptrtoint(builder.load(arrays), _WORD)
    shared = builder.bitcast(data, record)
    values = [builder.load(cgutils.gep_inbounds(builder, shared, 0, i)) for i in range(len(record.pointee.elements))]
    call = compiled.signature
    with cgutils.for_range_slice(builder, first, builder.add(first, builder.load(sizes)), _WORD(1)) as (part, _):
        callee = context.call_conv.get_function_type(call.return_type, call.args)
        callee = cgutils.get_or_insert_function(module, callee, compiled.fndesc.llvm_func_name)
        status, _ = context.call_conv.call_function(builder, callee, call.return_type, call.args, [part, *values[1:]])
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(status.code, values[failed])
    builder.ret_void()
    return worker


@cache
def _pool_size():
    numba.get_num_threads()  # starts the pool, without which its names are not known
    return ctypes.PYFUNCTYPE(ctypes.c_int)(binding.address_of_symbol("get_num_threads"))


def thread_count() -> int:
    """`numba.get_num_threads`, a tenth as long: every kernel asks."""
    return _pool_size()()


@intrinsic
def fork(typing, function, parts, arguments):
    """function(part, *arguments) for every part from 0 to parts - 1, shared among numba's threads.

    One part alone is done by the thread that asks.

    Raises    RuntimeError when a part raised anything
    """
    call = function.get_call_type(typing, (types.intp, *arguments.types), {})

    def generate(context, builder, signature, values):
        numba.get_num_threads()  # starts the pool, without which its names are not known
        compiled = function.dispatcher.get_compile_result(call)
        context.active_code_library.add_linking_library(compiled.library)
        _, parts, given = values
        failed = cgutils.alloca_once_value(builder, ir.IntType(32)(0))
        given = [_borrowed(context, builder, kind, value)
                 for kind, value in zip(arguments.types, cgutils.unpack_tuple(builder, given), strict=True)]
        record = _stored(builder, [failed, *given])
        worker = _worker(context, builder.module, f"{compiled.fndesc.llvm_func_name}.worker", compiled, record.type, 0)
        # Stands for one array that begins at 0 and has elements of one byte: see `_worker`.
        arrays = cgutils.alloca_once_value(builder, cgutils.get_null_value(_BYTES))
        sizes = cgutils.alloca_once_value(builder, parts)
        steps = cgutils.alloca_once_value(builder, _WORD(1))
        data = builder.bitcast(record, _BYTES)
        with builder.if_else(builder.icmp_signed("<=", parts, _WORD(1))) as (alone, together):
            with alone:
                builder.call(worker, [arrays, sizes, steps, data])
            with together:
                count = cgutils.get_or_insert_function(
                    builder.module, ir.FunctionType(_WORD, []), "get_num_threads")
                pool = cgutils.get_or_insert_function(builder.module, _POOL, "numba_parallel_for")
                builder.call(pool, [*(builder.bitcast(x, _BYTES) for x in (worker, arrays, sizes, steps, data)),
                                    _WORD(0), _WORD(1), builder.call(count, [])])
        with cgutils.if_unlikely(builder, builder.icmp_signed("!=", builder.load(failed), ir.IntType(32)(0))):
            context.call_conv.return_user_exc(builder, RuntimeError, ("a part of a parallel kernel failed",))
        return context.get_dummy_value()

    return types.void(function, types.intp, arguments), generate
