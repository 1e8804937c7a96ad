"""One call made many times, shared among threads: what stands behind `jit.parallel`.

Numba's own `prange` compiles the body of a loop four times over: as a function, in two wrappers of it, and once more in
the function that holds the loop.  Here a worker of a few instructions calls the part that was compiled already, and
numba's thread pool calls the worker: a quarter of the time to compile, the same threads, and no lock of the
interpreter to take on the way.
"""
from __future__ import annotations

import ctypes
import inspect
from functools import cache

import numba
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

THREAD = "thread"  # what a function calls its second argument if it wants to know
_BYTES = ir.IntType(8).as_pointer()
_WORD = ir.IntType(types.intp.bitwidth)
APART = 8  # words from counter to counter: 64 bytes, since threads would take lines of the cache from each other
_APART = _WORD(APART)
# What numba's pool calls: pointers to arrays, their sizes, the steps in bytes from element to element, other data.
_WORKER = ir.FunctionType(ir.VoidType(), [_BYTES.as_pointer(), _WORD.as_pointer(), _WORD.as_pointer(), _BYTES])
# The pool: worker, the four above, inner dimensions, arrays, threads.
_POOL = ir.FunctionType(ir.VoidType(), [_BYTES] * 5 + [_WORD] * 3)
# Where forks are kept while somebody wants to make them again (see `tape`): the address of room for them or 0, how many
# words are there, how many are taken, and how many forks there were.
TAPE = (ctypes.c_int64 * 4)()
HEAD = 4  # words before the record of a fork: its worker, the numbers of threads and parts, the words of the record
_TAPE_NAME = "tinylm_tape"
binding.add_symbol(_TAPE_NAME, ctypes.addressof(TAPE))


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


def _worker(context, module, name, compiled, record, numbered):
    """The function that makes the calls of one thread: first of its own parts, then of those that others have left.

    args[0] is no address.  The pool moves it on by the thread's number times the step, which is 1.
    The record holds pointers to what failed and to how many parts of each thread have begun, the numbers of threads
    and of parts, and the arguments.
    """
    worker = ir.Function(module, _WORKER, name)
    worker.linkage = "internal"
    builder = ir.IRBuilder(worker.append_basic_block())
    arrays, _, _, data = worker.args
    number = builder.ptrtoint(builder.load(arrays), _WORD)
    shared = builder.bitcast(data, record)
    failed, begun, threads, parts, *values = (
        builder.load(cgutils.gep_inbounds(builder, shared, 0, i)) for i in range(len(record.pointee.elements)))
    call = compiled.signature
    callee = context.call_conv.get_function_type(call.return_type, call.args)
    callee = cgutils.get_or_insert_function(module, callee, compiled.fndesc.llvm_func_name)
    with cgutils.for_range(builder, threads) as (turn, _):
        owner = builder.urem(builder.add(number, turn), threads)
        first = builder.udiv(builder.mul(parts, owner), threads)
        own = builder.sub(builder.udiv(builder.mul(parts, builder.add(owner, _WORD(1))), threads), first)
        count = builder.gep(begun, [builder.mul(owner, _APART)])
        again, work, done = (builder.append_basic_block(block) for block in ("again", "work", "done"))
        builder.branch(again)
        builder.position_at_end(again)
        part = builder.atomic_rmw("add", count, _WORD(1), "monotonic")
        builder.cbranch(builder.icmp_signed("<", part, own), work, done)
        builder.position_at_end(work)
        status, _ = context.call_conv.call_function(builder, callee, call.return_type, call.args,
                                                    [builder.add(first, part), *[number] * numbered, *values])
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(status.code, failed)
        builder.branch(again)
        builder.position_at_end(done)
    builder.ret_void()
    return worker


def _start(builder, worker, threads, parts, data):
    """Have the worker called by so many threads, or if there is one part alone by this one."""
    # Stands for one array that begins at 0 and has an element of one byte for each thread: see `_worker`.
    arrays = cgutils.alloca_once_value(builder, cgutils.get_null_value(_BYTES))
    sizes = cgutils.alloca_once(builder, _WORD)
    builder.store(threads, sizes)
    steps = cgutils.alloca_once_value(builder, _WORD(1))
    with builder.if_else(builder.icmp_signed("<=", parts, _WORD(1))) as (alone, together):
        with alone:
            builder.call(worker, [arrays, sizes, steps, data])
        with together:
            pool = cgutils.get_or_insert_function(builder.module, _POOL, "numba_parallel_for")
            builder.call(pool, [*(builder.bitcast(x, _BYTES) for x in (worker, arrays, sizes, steps, data)),
                                _WORD(0), _WORD(1), threads])


def _keep(context, builder, worker, threads, parts, record):
    """Write this fork to the tape, if there is one and as far as it has room."""
    kind = ir.ArrayType(_WORD, len(TAPE))
    tape = builder.module.globals.get(_TAPE_NAME) or ir.GlobalVariable(builder.module, kind, _TAPE_NAME)
    address, room, taken, count = (cgutils.gep_inbounds(builder, tape, 0, i) for i in range(len(TAPE)))
    size = context.get_abi_sizeof(record.type.pointee)
    words = -(-size // 8)
    with builder.if_then(builder.icmp_signed("!=", builder.load(address), _WORD(0)), likely=False):
        builder.store(builder.add(builder.load(count), _WORD(1)), count)
        at = builder.load(taken)
        after = builder.add(at, _WORD(HEAD + words))
        with builder.if_then(builder.icmp_signed("<=", after, builder.load(room))):
            place = builder.gep(builder.inttoptr(builder.load(address), _WORD.as_pointer()), [at])
            for i, value in enumerate((builder.ptrtoint(worker, _WORD), threads, parts, _WORD(words))):
                builder.store(value, builder.gep(place, [_WORD(i)]))
            cgutils.raw_memcpy(builder, builder.bitcast(builder.gep(place, [_WORD(HEAD)]), _BYTES),
                               builder.bitcast(record, _BYTES), _WORD(size), _WORD(1))
            builder.store(after, taken)


@intrinsic
def start_again(typing, worker, record, threads, parts):
    """Make a fork that was kept, from the addresses of its worker and record."""
    def generate(context, builder, signature, values):
        numba.get_num_threads()  # as in `fork`
        worker, record, threads, parts = values
        _start(builder, builder.inttoptr(worker, _WORKER.as_pointer()), threads, parts,
               builder.inttoptr(record, _BYTES))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


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

    Each thread has parts that follow each other, whose numbers its caches may still hold, and when it is done takes
    those that others have not begun: one whose processor has other work, too, does fewer.  A function whose second
    argument is called `thread` is told which of them it is, from 0.  One part alone is done by the thread that asks.

    Raises    RuntimeError when a part raised anything
    """
    numbered = list(inspect.signature(function.dispatcher.py_func).parameters)[1:2] == [THREAD]
    call = function.get_call_type(typing, (types.intp, *[types.intp] * numbered, *arguments.types), {})

    def generate(context, builder, signature, values):
        numba.get_num_threads()  # starts the pool, without which its names are not known
        compiled = function.dispatcher.get_compile_result(call)
        context.active_code_library.add_linking_library(compiled.library)
        _, parts, given = values
        failed = cgutils.alloca_once_value(builder, ir.IntType(32)(0))
        count = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_WORD, []), "get_num_threads")
        threads = builder.call(count, [])
        threads = builder.select(builder.icmp_signed("<", parts, threads), parts, threads)
        begun = builder.alloca(_WORD, builder.mul(threads, _APART))
        with cgutils.for_range(builder, threads) as (thread, _):
            builder.store(_WORD(0), builder.gep(begun, [builder.mul(thread, _APART)]))
        given = [_borrowed(context, builder, kind, value)
                 for kind, value in zip(arguments.types, cgutils.unpack_tuple(builder, given), strict=True)]
        record = _stored(builder, [failed, begun, threads, parts, *given])
        worker = _worker(context, builder.module, f"{compiled.fndesc.llvm_func_name}.worker", compiled, record.type,
                         numbered)
        _keep(context, builder, worker, threads, parts, record)
        _start(builder, worker, threads, parts, builder.bitcast(record, _BYTES))
        with cgutils.if_unlikely(builder, builder.icmp_signed("!=", builder.load(failed), ir.IntType(32)(0))):
            context.call_conv.return_user_exc(builder, RuntimeError, ("a part of a parallel kernel failed",))
        return context.get_dummy_value()

    return types.void(function, types.intp, arguments), generate
