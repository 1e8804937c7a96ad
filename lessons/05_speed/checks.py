"""What makes an answer to lesson 5 right.  The oracles are loops, and know nothing of the solution.

The race is looked for without any threads: parts that never write to the same element cannot race, whatever the
machine does.  Running them at once and comparing would find it on some days.
"""
import numpy as np

from tinylm.classroom.checking import check, claim, compare_speed, one_of, same, shaped, whole


# ------------------------------------------------------------------------------------- 5.1 add_share
def slow_add(out, dout, tokens):
    out = out.copy()
    for n, token in enumerate(tokens):
        for c in range(dout.shape[1]):
            out[token, c] += dout[n, c]
    return out


def share(yours, out, dout, tokens, part, parts):
    """`out` after one part; the other arrays must be as they were."""
    _, after = yours.fills("add_share", out, dout, tokens, part, parts)
    claim(np.array_equal(after[1], dout) and np.array_equal(after[2], tokens), "dout or tokens were changed")
    claim(after[0].shape == out.shape, f"out has the shape {after[0].shape} afterwards")
    return after[0]


def all_parts(yours, out, dout, tokens, order):
    for part in order:
        out = share(yours, out, dout, tokens, int(part), len(order))
    return out


@check("add_share", "shapes")
def changed_in_place(yours):
    """add_share returns nothing and writes into out"""
    out = np.zeros((3, 2))
    result, (after, *_) = yours.fills("add_share", out, np.ones((4, 2)), np.array([0, 2, 1, 2]), 0, 1)
    claim(result is None, "something was returned")
    claim(bool((after != out).any()), "out is as it was before")


@check("add_share", "worked case")
def two_parts_by_hand(yours):
    """tokens 1, 0, 1 with slopes 1, 10, 100, in two parts: row 0 gets 10, row 1 gets 101"""
    out = all_parts(yours, np.zeros((2, 1)), np.array([[1.0], [10.0], [100.0]]), np.array([1, 0, 1]), [0, 1])
    same(out=(out, np.array([[10.0], [101.0]])))


@check("add_share", "definition", V=whole(1, 7), C=whole(1, 4), N=whole(1, 12), parts=whole(1, 6), points=2,
       look="the bounds of a share where the parts do not divide the whole")
def together_they_add_everything(yours, rng, V, C, N, parts):
    """after all parts, in any order, out[tokens[n]] += dout[n] is done for every n, on top of what was there"""
    out, dout, tokens = rng.standard_normal((V, C)), rng.standard_normal((N, C)), rng.integers(0, V, N)
    same(out=(all_parts(yours, out, dout, tokens, rng.permutation(parts)), slow_add(out, dout, tokens)),
         scale={"out": 3.0 * N})


@check("add_share", "property", V=whole(1, 6), C=whole(1, 3), N=whole(2, 16), parts=whole(2, 4), points=2,
       look="what is shared out: the tokens that are read, or the elements that are written?")
def nobody_writes_where_another_does(yours, rng, V, C, N, parts):
    """no element of out is written by two parts: each += reads, adds and writes, and what another part writes in
    between is lost"""
    dout, tokens = rng.random((N, C)) + 1, rng.integers(0, V, N)
    writers = np.zeros((V, C), int)
    for part in range(parts):
        writers += share(yours, np.zeros((V, C)), dout, tokens, part, parts) != 0
    v, c = np.unravel_index(writers.argmax(), writers.shape)
    claim(writers.max() <= 1, f"out[{v}, {c}] is written by {writers.max()} of {parts} parts")


@check("add_share", "property", parts=whole(2, 4), examples=4,
       look="how much each part has to do when all symbols occur")
def the_work_is_shared(yours, rng, parts):
    """with many rows and channels, every part writes something, and none writes much more than its share"""
    V = C = 12
    tokens = rng.permutation(np.repeat(np.arange(V), 2))
    dout = np.ones((len(tokens), C))
    written = [int((share(yours, np.zeros((V, C)), dout, tokens, part, parts) != 0).sum()) for part in range(parts)]
    claim(min(written) > 0 and max(written) <= 1.5 * V * C / parts,
          f"of {V * C} elements the {parts} parts write {written}")


@check("add_share", "threads", V=whole(1, 6), C=whole(1, 3), N=whole(1, 30), parts=whole(2, 5),
       look="the order in which one element collects what is added to it")
def same_bits_for_any_number_of_parts(yours, rng, V, C, N, parts):
    """one part or several, in any order: the same bits, in float32, where (a + b) + c and a + (b + c) differ"""
    dout = rng.standard_normal((N, C)).astype(np.float32) * np.float32(10.0) ** rng.integers(-3, 4, (N, 1))
    dout, tokens = dout.astype(np.float32), rng.integers(0, V, N)
    alone = all_parts(yours, np.zeros((V, C), np.float32), dout, tokens, [0])
    several = all_parts(yours, np.zeros((V, C), np.float32), dout, tokens, rng.permutation(parts))
    same(exact=True, out=(several, alone))


# --------------------------------------------------------------------------------- 5.2 tiled_product
class Slow:
    """A matrix in slow memory, which counts its readers."""

    def __init__(self, matrix, tile):
        self.matrix, self.tile, self.trips = matrix, tile, 0

    def read(self, i, k):
        i, k = int(i), int(k)
        M, K = self.matrix.shape
        if i % self.tile or k % self.tile:
            raise ValueError(f"a block begins at ({i}, {k}): {self.tile} divides both")
        if not (0 <= i < M and 0 <= k < K):
            raise ValueError(f"there is no block at ({i}, {k}) of a matrix ({M}, {K})")
        self.trips += 1
        return self.matrix[i:i + self.tile, k:k + self.tile].copy()


def slow_product(a, b):
    out = np.zeros((len(a), b.shape[1]))
    for i in range(len(a)):
        for j in range(b.shape[1]):
            for k in range(a.shape[1]):
                out[i, j] += a[i, k] * b[k, j]
    return out


def multiply(yours, a, b, tile):
    """(out, trips for a, trips for b)"""
    slow_a, slow_b = Slow(a, tile), Slow(b, tile)
    out = yours.tiled_product(slow_a.read, slow_b.read, len(a), b.shape[1], a.shape[1], tile)
    return out, slow_a.trips, slow_b.trips


@check("tiled_product", "shapes")
def a_row_for_each_row_of_a(yours):
    """out is (M, N), floats"""
    shaped(out=(multiply(yours, np.ones((4, 2)), np.ones((2, 6)), 2)[0], (4, 6)))


@check("tiled_product", "worked case")
def four_blocks_by_hand(yours):
    """[[1, 2], [3, 4]] times [[5, 6], [7, 8]], in tiles of one element, is [[19, 22], [43, 50]]"""
    out, _, _ = multiply(yours, np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]]), 1)
    same(out=(out, np.array([[19.0, 22.0], [43.0, 50.0]])))


@check("tiled_product", "definition", M=whole(1, 6), N=whole(1, 6), K=whole(1, 6), tile=whole(1, 4), points=2,
       look="the last tile of a row where the tile size does not divide the matrix")
def any_shape(yours, rng, M, N, K, tile):
    """out[i, j] = sum over k of a[i, k] b[k, j], also where the tile does not divide M, N or K"""
    a, b = rng.standard_normal((M, K)), rng.standard_normal((K, N))
    same(out=(multiply(yours, a, b, tile)[0], slow_product(a, b)), scale={"out": 9.0 * K})


@check("tiled_product", "property", rows=whole(1, 3), columns=whole(1, 3), inner=whole(1, 3), tile=one_of(1, 2, 3),
       examples=12, points=2, look="which reads stand inside a loop that they do not depend on")
def no_trip_too_many(yours, rng, rows, columns, inner, tile):
    """a matrix of rows x inner blocks times one of inner x columns blocks takes rows x columns x inner trips to
    each of the two, and no more"""
    a, b = rng.standard_normal((rows * tile, inner * tile)), rng.standard_normal((inner * tile, columns * tile))
    _, trips_a, trips_b = multiply(yours, a, b, tile)
    enough = rows * columns * inner
    claim(max(trips_a, trips_b) <= enough, f"{trips_a} trips to a and {trips_b} to b, where {enough} are enough")


@check("tiled_product", "speed")
def tiles_of_64(yours):
    """information only"""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 256, 256))
    slow_a, slow_b = Slow(a, 64), Slow(b, 64)
    return compare_speed(yours, "tiled_product", (slow_a.read, slow_b.read, 256, 256, 256, 64),
                         lambda *_: a @ b, "a @ b without any trips", repeats=3)
