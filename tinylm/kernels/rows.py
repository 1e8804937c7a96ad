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


def parts_for(elements: int, least: int = MIN_ELEMENTS) -> int:
    """How many parts to cut `elements` of light work into, each of `least` or more: a multiple of the threads."""
    threads, parts = thread_count(), elements // least
    return max(1, parts) if parts < threads else threads * min(PIECES, parts // threads)


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


@serial
def _relu(row):
    for i in range(row.size):
        # Written so that NaN passes through, as in NumPy: a spike must not be hidden.
        row[i] = np.float32(0.0) if row[i] < np.float32(0.0) else row[i]


@serial
def _marked_relu(row, positive):
    for i in range(row.size):
        positive[i] = row[i] > np.float32(0.0)
        row[i] = np.float32(0.0) if row[i] < np.float32(0.0) else row[i]


@serial
def relu_block(out, positive, at, apart, rows, columns):
    """Within flat out, 0 for what is below in a block of rows, `apart` from row to row; from `at` on.

    positive    like out, for whether a number is positive, or empty
    """
    for r in range(rows):
        low, high = at + r * apart, at + r * apart + columns
        if positive.size:
            _marked_relu(out[low:high], positive[low:high])
        else:
            _relu(out[low:high])


@parallel
def _relu_all(part, out, positive, parts):
    low, high = out.size * part // parts, out.size * (part + 1) // parts
    relu_block(out, positive, low, 0, 1, high - low)


NO_MARKS = np.zeros(0, np.bool_)


def relu_all(out, positive):
    """As `relu_block`, for all of flat out."""
    _relu_all(out, positive, parts_for(out.size))
