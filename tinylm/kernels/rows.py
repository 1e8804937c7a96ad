"""How rows are shared among threads, and how sums over rows stay the same for any number of threads."""
from __future__ import annotations

import numpy as np

from . import memory
from .fork import thread_count
from .jit import parallel, serial

CHUNK_ROWS = 64     # rows summed by one thread before partial sums are added in order; never depends
                    # on the number of threads
MIN_ELEMENTS = 16_384  # below this, starting a second thread costs more than it saves
PIECES = 4          # parts for each thread, of much work: a thread whose processor is slower for a while takes fewer


def parts_for(elements: int, least: int = MIN_ELEMENTS, pieces: int = PIECES) -> int:
    """How many parts to cut `elements` of light work into, each of `least` or more: a multiple of the threads.

    pieces    parts for each thread, at most
    """
    threads, parts = thread_count(), elements // least
    return max(1, parts) if parts < threads else threads * min(pieces, parts // threads)


def threads_of(parts: int) -> int:
    """How many threads share so many parts: for each of them there is scratch memory."""
    return min(parts, thread_count())


def chunks_of(rows: int) -> int:
    """Number of fixed chunks in `rows` rows, at least one."""
    return max(1, -(-rows // CHUNK_ROWS))


@serial
def add_row(total, row):
    for i in range(row.size):
        total[i] += row[i]


@parallel
def _clear(part, out, parts):
    out[out.size * part // parts:out.size * (part + 1) // parts] = 0


def clear(out):
    """Make all of a flat array 0, each thread a part of it."""
    _clear(out, parts_for(out.size))


@parallel
def sums_of_chunks(part, partial, inp, parts):
    """partial (chunks, M): sums of CHUNK_ROWS rows each of inp (N, M)."""
    rows, chunks = inp.shape[0], partial.shape[0]
    for chunk in range(chunks * part // parts, chunks * (part + 1) // parts):
        partial[chunk] = 0.0
        for n in range(chunk * CHUNK_ROWS, min((chunk + 1) * CHUNK_ROWS, rows)):
            add_row(partial[chunk], inp[n])


def add_column_sums(out, inp):
    """out (M,) += the sum of the rows of inp (N, M)."""
    partial = memory.empty((chunks_of(len(inp)), inp.shape[1]))
    sums_of_chunks(partial, inp, min(len(partial), parts_for(inp.size)))
    add_in_order(out, partial)


@parallel
def _add_in_order(part, out, partial, parts):
    low, high = out.size * part // parts, out.size * (part + 1) // parts
    for chunk in range(partial.shape[0]):
        add_row(out[low:high], partial[chunk, low:high])


def add_in_order(out, partial):
    """out += the rows of partial, first to last."""
    _add_in_order(out, partial, parts_for(partial.size))


_ONCE = np.int64(1)                  # typed: a literal number would be a type of its own
RELU, WHERE = 1, 2                   # what may come after a product: see `finish_rows`
PLAIN = 0, np.zeros(0, np.bool_)     # (nothing, no marks)


@serial
def _relu(row, positive):
    for i in range(row.size):
        positive[i] = row[i] > np.float32(0.0)
        # Written so that NaN passes through, as in NumPy: a spike must not be hidden.
        row[i] = np.float32(0.0) if row[i] < np.float32(0.0) else row[i]


@serial
def _where(row, positive):
    for i in range(row.size):
        row[i] = row[i] if positive[i] else np.float32(0.0)


@serial
def finish_rows(out, positive, after, at, apart, rows, columns):
    """What comes after a product, done to some of its rows while they are in the cache.

    after       RELU: what is below 0 becomes 0, and `positive` is written: whether a number is above 0.
                WHERE: what is not `positive` becomes 0, a ReLU's way back
    at, apart   where the first begins in out and positive, both flat, and from row to row
    columns     of each that are done
    """
    for r in range(rows):
        low, high = at + r * apart, at + r * apart + columns
        if after == RELU:
            _relu(out[low:high], positive[low:high])
        else:
            _where(out[low:high], positive[low:high])


@parallel
def _finish_all(part, out, positive, after, parts):
    low, high = out.size * part // parts, out.size * (part + 1) // parts
    finish_rows(out, positive, after, low, _ONCE, _ONCE, high - low)


def finish(out, after, positive):
    """As `finish_rows`, for all of flat out."""
    _finish_all(out, positive, after, parts_for(out.size))
