"""Exercises of lesson 5: from loops to machine speed.

Write the functions below and run `make check-5`.  Loops and NumPy are all you need.  Each function raises
NotImplementedError until you have written it: replace that line with your own.
"""
import numpy as np


def racy_share(out, dout, tokens, part, parts):
    """The patient of exercise 5.1: given, and wrong when several parts run at once."""
    N = len(tokens)
    for n in range(N * part // parts, N * (part + 1) // parts):
        for c in range(out.shape[1]):
            out[tokens[n], c] += dout[n, c]


def add_share(out, dout, tokens, part, parts):
    """What thread number `part` of `parts` does of  out[tokens[n]] += dout[n]  for all n.

    All parts run at the same time on the same `out`, in any order, and once all are through, everything has
    been added.  No two parts may write to the same element of `out`, the work must be shared among them, and
    the result must have the same bits for any number of parts.

    out      (V, C), changed in place; what is in it stays, and is added to
    dout     (N, C)
    tokens   (N,) integers from 0 to V - 1, some of them more than once
    part     0, 1, ..., parts - 1
    returns  None
    """
    raise NotImplementedError("TODO: exercise 5.1")


def tiled_product(read_a, read_b, M, N, K, tile):
    """out = a b, where a (M, K) and b (K, N) lie in a slow memory that is read block by block.

    read_a(i, k)   the block a[i:i + tile, k:k + tile], smaller at the edges; i and k are multiples of tile
    read_b(k, j)   the block b[k:k + tile, j:j + tile], likewise
    returns        out, (M, N) float64

    Each call is a trip to the slow memory.  For every tile of `out` one trip for each block in its row of a,
    and one for each block in its column of b, is enough.
    """
    raise NotImplementedError("TODO: exercise 5.2")
