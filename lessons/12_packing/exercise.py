"""Exercises of lesson 12: two bits a weight.

Write the functions below and run `make check-12`.  NumPy is all you need.  Each function raises
NotImplementedError until you have written it: replace that line with your own.

The layout of these exercises is the simplest there is.  A row of K codes takes ceil(K / 4) bytes.  Byte j holds
the codes of columns 4j, 4j + 1, 4j + 2, 4j + 3, each as code + 1 (so 0, 1 or 2) in two bits: column 4j + f in the
bits worth 4^f and 2 * 4^f.  Columns that are only padding hold the code 0.
"""
import numpy as np


def pack(codes):
    """Four codes in a byte.

    codes    (M, K) integers of any dtype, each -1, 0 or 1
    returns  (M, ceil(K / 4)) uint8, in the layout above
    raises   ValueError if there is any other code
    """
    raise NotImplementedError("TODO: exercise 12.1")


def unpack(packed, K):
    """The codes again.

    packed   (M, ceil(K / 4)) uint8, in the layout above; what padding holds does not matter
    K        how many columns there are
    returns  (M, K) int8 of -1, 0 and 1
    raises   ValueError if a field of a real column holds 3, which stands for no code
    """
    raise NotImplementedError("TODO: exercise 12.2")


def product(packed, inp):
    """out[n, m] = sum over k of code[m, k] inp[n, k], exactly.

    packed   (M, ceil(K / 4)) uint8, in the layout above, with the code 0 in its padding
    inp      (N, K) int8, from -127 to 127; K up to 100,000
    returns  (N, M) int32
    """
    raise NotImplementedError("TODO: exercise 12.3")
