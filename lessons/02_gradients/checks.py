"""What makes an answer to lesson 2 right.  The oracles are loops and central differences in float64."""
import math

import numpy as np

from tinylm.classroom.checking import check, compare_speed, gradient, same, shaped, whole


# ------------------------------------------------------------------------- 2.1 cross_entropy_backward
def losses(logits, targets):
    """-ln softmax, row by row, through the logarithm of the sum of exponentials."""
    out = np.zeros(len(targets))
    for n, row in enumerate(logits):
        top = row.max()
        out[n] = top + np.log(np.exp(row - top).sum()) - row[targets[n]]
    return out


@check("cross_entropy_backward", "shapes")
def like_the_logits(yours):
    """dlogits has the shape of the logits"""
    shaped(dlogits=(yours.cross_entropy_backward(np.ones(2), np.zeros((2, 3)), np.array([0, 2])), (2, 3)))


@check("cross_entropy_backward", "worked case")
def two_equal_logits(yours):
    """logits 0 and 0 are probabilities 1/2 and 1/2: with an upstream slope of 3 the slopes are -3/2 and 3/2"""
    same(dlogits=(yours.cross_entropy_backward(np.array([3.0]), np.zeros((1, 2)), np.array([0])),
                  np.array([[-1.5, 1.5]])))


@check("cross_entropy_backward", "definition", look="what exp(1000) is, and what may be subtracted from a row unseen")
def large_logits(yours):
    """softmax does not change when a number is added to all logits of a row, so logits of 1000 are harmless"""
    logits = np.array([[1000.0, 1000.0 + math.log(3)], [-1000.0, -1000.0]])
    same(dlogits=(yours.cross_entropy_backward(np.array([1.0, 2.0]), logits, np.array([0, 1])),
                  np.array([[-0.75, 0.75], [1.0, -1.0]])), tolerance=1e-7)


@check("cross_entropy_backward", "property", N=whole(1, 5), V=whole(1, 7),
       look="raising all logits of a row by one changes no probability: what must the slopes of a row add up to?")
def slopes_sum_to_zero(yours, rng, N, V):
    """the logit gradients of each row sum to zero"""
    logits, targets = rng.standard_normal((N, V)), rng.integers(0, V, N)
    dlosses = rng.standard_normal(N)
    dlogits = yours.cross_entropy_backward(dlosses, logits, targets)
    same(row_sums=(np.asarray(dlogits).sum(1), np.zeros(N)), scale={"row_sums": np.abs(dlosses)})


@check("cross_entropy_backward", "gradient", N=whole(1, 5), V=whole(1, 7), examples=12, points=2,
       look="which probability is lowered by one, and what multiplies the row")
def slope_of_the_loss(yours, rng, N, V):
    """dlogits is the slope of sum(losses * dlosses), whatever dlosses is"""
    targets = rng.integers(0, V, N)
    gradient(lambda logits: losses(logits, targets),
             lambda dlosses, logits: yours.cross_entropy_backward(dlosses, logits, targets),
             {"logits": 2 * rng.standard_normal((N, V))}, rng)


# -------------------------------------------------------------------------------- 2.2 linear_backward
def linear(inp, weight, bias):
    out = np.zeros((len(inp), len(weight)))
    for n in range(len(inp)):
        for m in range(len(weight)):
            out[n, m] = (inp[n] * weight[m]).sum() + bias[m]
    return out


@check("linear_backward", "shapes")
def like_the_inputs(yours):
    """three gradients, each with the shape of what it belongs to"""
    got = yours.linear_backward(np.ones((2, 3)), np.ones((2, 4)), np.ones((3, 4)))
    got = tuple(got) + (None,) * (3 - len(got)) if isinstance(got, (tuple, list)) else (got, None, None)
    shaped(dinp=(got[0], (2, 4)), dweight=(got[1], (3, 4)), dbias=(got[2], (3,)))


@check("linear_backward", "worked case")
def one_row_by_hand(yours):
    """for one row and one output, dinp is dout times the weight, dweight is dout times the input, dbias is dout"""
    dinp, dweight, dbias = yours.linear_backward(np.array([[2.0]]), np.array([[3.0, 5.0]]), np.array([[7.0, 11.0]]))
    same(dinp=(dinp, np.array([[14.0, 22.0]])), dweight=(dweight, np.array([[6.0, 10.0]])),
         dbias=(dbias, np.array([2.0])))


@check("linear_backward", "definition", N=whole(1, 4), M=whole(1, 4), K=whole(1, 4),
       look="each number of dweight collects from every row that used that weight")
def as_the_loops_say(yours, rng, N, M, K):
    """each product inp[n, k] weight[m, k] sends dout[n, m] times the one factor back to the other"""
    dout, inp, weight = (rng.standard_normal(s) for s in ((N, M), (N, K), (M, K)))
    dinp, dweight, dbias = np.zeros((N, K)), np.zeros((M, K)), np.zeros(M)
    for n in range(N):
        for m in range(M):
            dbias[m] += dout[n, m]
            for k in range(K):
                dinp[n, k] += dout[n, m] * weight[m, k]
                dweight[m, k] += dout[n, m] * inp[n, k]
    got = yours.linear_backward(dout, inp, weight)
    size = {"dinp": M * 9.0, "dweight": N * 9.0, "dbias": N * 3.0}
    same(dinp=(got[0], dinp), dweight=(got[1], dweight), dbias=(got[2], dbias), scale=size)


@check("linear_backward", "gradient", N=whole(1, 4), M=whole(1, 4), K=whole(1, 4), examples=12, points=2)
def slopes_of_the_output(yours, rng, N, M, K):
    """each gradient is the slope of sum(out * dout), whatever dout is"""
    gradient(linear, lambda dout, inp, weight, bias: yours.linear_backward(dout, inp, weight),
             {"inp": rng.standard_normal((N, K)), "weight": rng.standard_normal((M, K)),
              "bias": rng.standard_normal(M)}, rng)


@check("linear_backward", "speed")
def for_a_thousand_rows(yours):
    """information only"""
    from tinylm import ops
    rng = np.random.default_rng(0)
    dout, inp, weight = (rng.standard_normal(s) for s in ((1024, 96), (1024, 64), (96, 64)))
    return compare_speed(yours, "linear_backward", (dout, inp, weight),
                         lambda dout, inp, weight: ops.linear_backward(dout, ops.linear_forward(inp, weight)[1]),
                         "the definition in tinylm.ops, which has no bias to sum here,")


# ----------------------------------------------------------------------------- 2.3 embedding_backward
@check("embedding_backward", "shapes")
def like_the_weight(yours):
    """dweight has a row for each of the V symbols, also for those that do not occur"""
    shaped(dweight=(yours.embedding_backward(np.ones((2, 3)), np.array([1, 0]), 5), (5, 3)))


@check("embedding_backward", "worked case")
def a_symbol_that_comes_twice(yours):
    """a row that was used twice collects both slopes; a row that was not used gets zero"""
    dout = np.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]])
    same(dweight=(yours.embedding_backward(dout, np.array([2, 0, 2]), 4),
                  np.array([[10.0, 20.0], [0.0, 0.0], [101.0, 202.0], [0.0, 0.0]])))


@check("embedding_backward", "property", N=whole(1, 12), V=whole(1, 4), C=whole(1, 3),
       look="what a += does with an index that occurs more than once")
def nothing_is_lost(yours, rng, N, V, C):
    """the slopes of all rows of the weight add up to the slopes of all outputs"""
    dout, tokens = rng.standard_normal((N, C)), rng.integers(0, V, N)
    same(total=(np.asarray(yours.embedding_backward(dout, tokens, V)).sum(0), dout.sum(0)), scale={"total": 3.0 * N})


@check("embedding_backward", "gradient", N=whole(1, 8), V=whole(1, 4), C=whole(1, 3), examples=12, points=2)
def slope_of_the_rows(yours, rng, N, V, C):
    """dweight is the slope of sum(weight[tokens] * dout), whatever dout is"""
    tokens = rng.integers(0, V, N)
    gradient(lambda weight: np.stack([weight[t] for t in tokens]),
             lambda dout, weight: yours.embedding_backward(dout, tokens, V),
             {"weight": rng.standard_normal((V, C))}, rng)
