"""What this machine can do at most, measured: the yardstick for every speed that tinylm reports.

`INSTRUCTIONS` has the vector instructions that kernels are made of.  Another one is a function that repeats it
in registers, a driver that runs that on every thread, and a line in the table.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from . import memory
from .fork import thread_count
from .jit import parallel, serial
from .simd import (
    ROWS,
    TILE,
    TILE_SHAPES,
    TILE_WORDS,
    WIDE,
    add,
    add_field_pairs,
    add_fields,
    add_pairs,
    clear_tiles,
    field_dot0,
    field_pairs0,
    has_bfloat_pairs,
    has_byte_dot,
    has_byte_pairs,
    has_tiles,
    load,
    load_eight,
    load_integers,
    load_words,
    multiply_add,
    multiply_tiles,
    no_pairs,
    no_sums,
    no_words,
    spread,
    spread_integer,
    store,
    store_block,
    store_eight,
    store_words,
    tiles_begin,
    tiles_end,
    wide,
)

TURNS = 20_000         # of a loop in registers in one window: about a tenth of a millisecond
WORDS, BYTES = 16, 64  # int32 lanes of a register of words, and its bytes
FACTORS = 1024         # words that a loop of 16-bit products reads in turn: a power of two
BYTE_SUMS = 12         # registers that byte products are summed in: enough to hide how long one takes
PAIR_SUMS = 6          # the same where a register is half as wide, and its products have a factor each
STREAM = ROWS * WIDE   # numbers that a turn of a memory stream reads
ENOUGH = 1 << 24       # bytes in a window of a stream, so that starting threads does not count


@serial
def _spin(out, at, x, turns):
    """ROWS independent sums of WIDE lanes that never leave the registers: `turns` multiply-adds each."""
    a, b = spread(x, 0, wide()), spread(x, 1, wide())
    c0, c1, c2, c3, c4, c5 = wide(), wide(), wide(), wide(), wide(), wide()
    for _ in range(turns):
        c0, c1, c2 = multiply_add(c0, a, b), multiply_add(c1, a, b), multiply_add(c2, a, b)
        c3, c4, c5 = multiply_add(c3, a, b), multiply_add(c4, a, b), multiply_add(c5, a, b)
    store(out, at, multiply_add(multiply_add(c0, c1, c2), multiply_add(c3, c4, c5), c5))


@parallel
def _spin_all(part, out, x, turns, parts):
    _spin(out, part * WIDE, x, turns)


@serial
def _spin_bytes(out, at, x, turns):
    """BYTE_SUMS independent sums of byte products; what they mask does not change, so that is done once."""
    # Not spread: from equal lanes LLVM 22 tries to prove equal sums, and does not come to an end.
    a, b = load_words(x, 0), load_words(x, 0)
    c0, c1, c2, c3 = no_words(), no_words(), no_words(), no_words()
    c4, c5, c6, c7 = no_words(), no_words(), no_words(), no_words()
    c8, c9, c10, c11 = no_words(), no_words(), no_words(), no_words()
    for _ in range(turns):
        c0, c1, c2, c3 = field_dot0(c0, a, b), field_dot0(c1, a, b), field_dot0(c2, a, b), field_dot0(c3, a, b)
        c4, c5, c6, c7 = field_dot0(c4, a, b), field_dot0(c5, a, b), field_dot0(c6, a, b), field_dot0(c7, a, b)
        c8, c9, c10, c11 = field_dot0(c8, a, b), field_dot0(c9, a, b), field_dot0(c10, a, b), field_dot0(c11, a, b)
    # All sums are stored, so that none is left out.
    store_words(out, at, add_fields(c0, c1, c2, c3))
    store_words(out, at + WORDS, add_fields(c4, c5, c6, c7))
    store_words(out, at + 2 * WORDS, add_fields(c8, c9, c10, c11))


@parallel
def _spin_bytes_all(part, out, x, turns, parts):
    _spin_bytes(out, part * 3 * WORDS, x, turns)


@serial
def _spin_pairs(out, at, x, turns):
    """PAIR_SUMS independent sums of byte products where two of them are added in 16 bits, which is an instruction more.

    One factor is read anew in each turn: what does not change would be multiplied once.
    """
    b0, b1, b2, b3 = load_eight(x, 0), load_eight(x, 1), load_eight(x, 2), load_eight(x, 3)
    b4, b5 = load_eight(x, 4), load_eight(x, 5)
    c0, c1, c2, c3, c4, c5 = no_pairs(), no_pairs(), no_pairs(), no_pairs(), no_pairs(), no_pairs()
    for turn in range(turns):
        a = load_eight(x, turn & 7)
        c0, c1, c2 = field_pairs0(c0, a, b0), field_pairs0(c1, a, b1), field_pairs0(c2, a, b2)
        c3, c4, c5 = field_pairs0(c3, a, b3), field_pairs0(c4, a, b4), field_pairs0(c5, a, b5)
    store_eight(out, at, add_field_pairs(b0, c0, c1))
    store_eight(out, at + 8, add_field_pairs(b0, c2, c3))
    store_eight(out, at + 16, add_field_pairs(b0, c4, c5))


@parallel
def _spin_pairs_all(part, out, x, turns, parts):
    _spin_pairs(out, part * 3 * WORDS // 2, x, turns)


@serial
def _spin_words(out, at, x, turns):
    """ROWS independent sums, WIDE lanes each, of two products of 16-bit integers or bfloat16.

    One factor is read anew each time, as a tile does, from more words than LLVM unrolls and no word by two turns: a
    product that comes again would be computed once.
    """
    b = load_integers(x, 0)
    c0, c1, c2, c3, c4, c5 = no_sums(x), no_sums(x), no_sums(x), no_sums(x), no_sums(x), no_sums(x)
    for turn in range(turns):
        i = turn * ROWS & (FACTORS - 1)
        c0, c1 = add_pairs(c0, spread_integer(x, i), b), add_pairs(c1, spread_integer(x, i + 1), b)
        c2, c3 = add_pairs(c2, spread_integer(x, i + 2), b), add_pairs(c3, spread_integer(x, i + 3), b)
        c4, c5 = add_pairs(c4, spread_integer(x, i + 4), b), add_pairs(c5, spread_integer(x, i + 5), b)
    store(out, at, add(add(add(c0, c1), add(c2, c3)), add(c4, c5)))


@parallel
def _spin_words_all(part, out, x, turns, parts):
    _spin_words(out, part * WIDE, x, turns)


@serial
def _spin_tiles(out, at, x, shapes, turns):
    """A block of tiles += a product of 32 x 32 x 32 numbers, `turns` times; its operands stay in the nearest cache."""
    tiles_begin(shapes)
    clear_tiles()
    for _ in range(turns):
        multiply_tiles(x, 0, x, 0)
    store_block(out, at, 2 * TILE)
    tiles_end()


@parallel
def _spin_tiles_parts(part, out, x, shapes, turns, parts):
    _spin_tiles(out, part * 4 * TILE_WORDS, x, shapes, turns)


def _spin_tiles_all(out, x, turns, parts):
    _spin_tiles_parts(out.view(np.float32), x, TILE_SHAPES, turns, parts)


class Instruction(NamedTuple):
    """A vector instruction to measure.

    name        in words
    runs        whether numba's target has it
    spin        spin(out, x, turns, parts): `turns` turns in each of `parts` threads
    inp         x: what is multiplied
    room        elements of out that a thread writes
    operations  of one turn in one thread; a multiplication and an addition are two
    """

    name: str
    runs: Callable[[], bool]
    spin: Callable
    inp: np.ndarray
    room: int
    operations: int


INSTRUCTIONS = {
    "float32": Instruction("float32 multiply-adds", lambda: True, _spin_all, np.full(2, 1e-3, np.float32), WIDE,
                           2 * ROWS * WIDE),
    "int8": (Instruction("products of bytes", has_byte_dot, _spin_bytes_all, np.full(WORDS, 0x01010101, np.int32),
                         3 * WORDS, 2 * BYTE_SUMS * BYTES) if has_byte_dot() else
             Instruction("products of bytes, added in 16 bits", has_byte_pairs, _spin_pairs_all,
                         np.full(WORDS, 0x01010101, np.int32), 3 * WORDS // 2, 2 * PAIR_SUMS * BYTES // 2)),
    "int16": Instruction("products of 16 bits, two added", lambda: True, _spin_words_all,
                         np.full(FACTORS + WIDE, 0x00010001, np.int32), WIDE, 4 * ROWS * WIDE),
    "bfloat16": (Instruction("tiles of bfloat16", has_tiles, _spin_tiles_all,
                             np.full(2 * TILE_WORDS, 0x3C003C00, np.int32), 4 * TILE_WORDS, 2 * (2 * TILE)**3)
                 if has_tiles() else
                 Instruction("products of bfloat16, two added", has_bfloat_pairs, _spin_words_all,
                             np.full(FACTORS + WIDE, 0x3C003C00, np.uint32), WIDE, 4 * ROWS * WIDE)),
}


def has(instruction: str) -> bool:
    """Whether the table has this instruction, and numba's target too."""
    return instruction in INSTRUCTIONS and INSTRUCTIONS[instruction].runs()


def instruction_of(precision: str) -> str:
    """The fastest instruction that training in a precision runs on: that of its own name, if this machine has it."""
    return precision if has(precision) else "int16" if precision == "int8" else "float32"


def _best(work: Callable[[], None], amount: float, seconds: float) -> float:
    """amount / the time of the fastest of many calls: other work on the machine can only make one slower."""
    work()
    best, end = 0.0, time.perf_counter() + seconds
    while best == 0.0 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = max(best, amount / (time.perf_counter() - start))
    return best


def peak(instruction: str, seconds: float = 0.3) -> float | None:
    """Operations a second of all threads together when nothing but this instruction is done; the best window.

    None where numba's target lacks it.
    """
    if not has(instruction):
        return None
    what = INSTRUCTIONS[instruction]
    threads = thread_count()
    out = memory.empty(threads * what.room, what.inp.dtype)
    return _best(lambda: what.spin(out, what.inp, TURNS, threads), what.operations * TURNS * threads, seconds)


def peak_flops(seconds: float = 0.3) -> float:
    """`peak` of float32, which every machine has."""
    return peak("float32", seconds)


@serial
def _read(out, at, x, first, last, passes):
    """Turns first … last-1 of a stream, `passes` times: reads STREAM numbers of x in each, and adds them up."""
    one = spread(x, 0, wide())
    c0, c1, c2, c3, c4, c5 = wide(), wide(), wide(), wide(), wide(), wide()
    for _ in range(passes):
        for turn in range(first, last):
            i = turn * STREAM
            c0, c1 = multiply_add(c0, load(x, i, one), one), multiply_add(c1, load(x, i + WIDE, one), one)
            i += 2 * WIDE
            c2, c3 = multiply_add(c2, load(x, i, one), one), multiply_add(c3, load(x, i + WIDE, one), one)
            i += 2 * WIDE
            c4, c5 = multiply_add(c4, load(x, i, one), one), multiply_add(c5, load(x, i + WIDE, one), one)
    store(out, at, multiply_add(multiply_add(multiply_add(c0, c1, one), multiply_add(c2, c3, one), one),
                                multiply_add(c4, c5, one), one))


@parallel
def _read_all(part, out, x, passes, parts):
    turns = x.size // STREAM
    _read(out, part * WIDE, x, turns * part // parts, turns * (part + 1) // parts, passes)


@serial
def _copy(out, x):
    for i in range(out.size):
        out[i] = x[i]


@parallel
def _copy_all(part, out, x, passes, parts):
    low, high = x.size * part // parts, x.size * (part + 1) // parts
    for _ in range(passes):
        _copy(out[low:high], x[low:high])


def _ones(size: int) -> np.ndarray:
    """At least `size` bytes of float32, whole turns of a stream, on a 64-byte boundary; given back after use."""
    count = -(-size // (4 * STREAM)) * STREAM
    raw = np.ones(count + 16, np.float32)
    return raw[-raw.ctypes.data % 64 // 4:][:count]


def read_bandwidth(size: int = 1 << 28, seconds: float = 0.3) -> float:
    """Bytes a second that all threads together read, again and again, from `size` bytes; the best window.

    A size that fits into a cache gives the speed of that cache.
    """
    threads, x = thread_count(), _ones(size)
    passes, out = max(1, ENOUGH // x.nbytes), memory.empty(threads * WIDE)
    return _best(lambda: _read_all(out, x, passes, threads), passes * x.nbytes, seconds)


def copy_bandwidth(size: int = 1 << 28, seconds: float = 0.3) -> float:
    """Bytes a second, read and written ones together, when half of `size` bytes is copied to the other half."""
    threads, x, out = thread_count(), _ones(size // 2), _ones(size // 2)
    passes = max(1, ENOUGH // x.nbytes)
    return _best(lambda: _copy_all(out, x, passes, threads), passes * 2 * x.nbytes, seconds)
