"""What makes an answer to lesson 4 right.  The oracles are loops, and know nothing of the solution."""
import math

import numpy as np

from tinylm.classroom.checking import check, claim, compare_speed, gradient, real, same, shaped, whole


# ---------------------------------------------------------------------------- 4.1 layernorm_backward
def layernorm(inp, weight, bias, eps=1e-5):
    out = np.zeros(inp.shape)
    for n, row in enumerate(inp):
        mean = sum(row) / len(row)
        variance = sum((x - mean) ** 2 for x in row) / len(row)
        for c, x in enumerate(row):
            out[n, c] = (x - mean) / np.sqrt(variance + eps) * weight[c] + bias[c]
    return out


@check("layernorm_backward", "shapes")
def three_gradients(yours):
    """it returns dinp, dweight and dbias, each with the shape of what it belongs to"""
    got = yours.layernorm_backward(np.ones((2, 3)), np.arange(6.0).reshape(2, 3) ** 2, np.ones(3), 1e-5)
    got = tuple(got) + (None,) * (3 - len(got)) if isinstance(got, (tuple, list)) else (got, None, None)
    shaped(dinp=(got[0], (2, 3)), dweight=(got[1], (3,)), dbias=(got[2], (3,)))


@check("layernorm_backward", "worked case")
def two_channels_by_hand(yours):
    """two channels are always normalised to -1 and 1 (with a tiny eps), so nothing reaches the input: dinp is 0"""
    dinp, dweight, dbias = yours.layernorm_backward(np.array([[3.0, 5.0]]), np.array([[1.0, 5.0]]),
                                                    np.array([2.0, 7.0]), 1e-300)
    same(dinp=(dinp, np.zeros((1, 2))), dweight=(dweight, np.array([-3.0, 5.0])),
         dbias=(dbias, np.array([3.0, 5.0])), scale={"dinp": 35.0})


@check("layernorm_backward", "property", N=whole(1, 4), C=whole(2, 6),
       look="the mean and rstd of a row depend on all of its channels")
def a_shift_changes_nothing(yours, rng, N, C):
    """adding the same number to all channels of a row changes no output, so each row of dinp sums to zero"""
    dout, inp, weight = rng.standard_normal((N, C)), rng.standard_normal((N, C)), rng.standard_normal(C)
    dinp = np.asarray(yours.layernorm_backward(dout, inp, weight, 1e-5)[0])
    rstd = 1 / np.sqrt(inp.var(1) + 1e-5)
    same(row_sums=(dinp.sum(1), np.zeros(N)), scale={"row_sums": rstd * C * 9})


@check("layernorm_backward", "gradient", N=whole(1, 4), C=whole(1, 6), examples=15, points=2,
       look="which terms of the row's own mean and rstd are missing, and over which axis each sum runs")
def slopes_of_the_output(yours, rng, N, C):
    """each gradient is the slope of sum(out * dout), whatever dout is"""
    gradient(layernorm, lambda dout, inp, weight, bias: yours.layernorm_backward(dout, inp, weight, 1e-5),
             {"inp": rng.standard_normal((N, C)), "weight": rng.standard_normal(C),
              "bias": rng.standard_normal(C)}, rng)


@check("layernorm_backward", "speed")
def for_a_thousand_rows(yours):
    """information only"""
    from tinylm import ops
    rng = np.random.default_rng(0)
    dout, inp = rng.standard_normal((2, 1024, 128))
    weight, bias = rng.standard_normal((2, 128))
    return compare_speed(yours, "layernorm_backward", (dout, inp, weight, 1e-5),
                         lambda dout, inp, weight, eps: ops.layernorm_backward(
                             dout, ops.layernorm_forward(inp, weight, bias, eps)[1]),
                         "the definition in tinylm.ops, forward and backward,")


# ------------------------------------------------------------------------- 4.2 block, 4.3 block_backward
def parts(rng, T, C):
    """Four maps (T, C) -> (T, C), no two alike, that mix positions and channels and commute with nothing."""
    left, right = rng.standard_normal((4, T, T)) / math.sqrt(T), rng.standard_normal((4, C, C)) / math.sqrt(C)
    offset = rng.standard_normal((4, T, C))
    forward = [lambda x, i=i: np.tanh(left[i] @ x @ right[i] + offset[i]) for i in range(4)]

    def slope(i, at):
        out = forward[i](at)
        return lambda dout: left[i].T @ (dout * (1 - out ** 2)) @ right[i].T
    return forward, slope


def slow_block(inp, forward):
    norm1, attention, norm2, feed_forward = forward
    normal = norm1(inp)
    found = attention(normal)
    middle = np.zeros(inp.shape)
    for at in np.ndindex(inp.shape):
        middle[at] = inp[at] + found[at]
    found = feed_forward(norm2(middle))
    return normal, middle, np.array([[middle[t, c] + found[t, c] for c in range(inp.shape[1])]
                                     for t in range(inp.shape[0])])


def zero(x):
    return 0 * x


def unchanged(x):
    return +x


@check("block", "shapes")
def like_its_input(yours):
    """block gives an array of the input's shape"""
    shaped(out=(yours.block(np.ones((3, 2)), unchanged, unchanged, unchanged, unchanged), (3, 2)))


@check("block", "worked case")
def numbers_by_hand(yours):
    """norm1 adds 1, attention doubles, norm2 adds 10, the feed-forward layer triples: 1 becomes
    1 + 2 (1 + 1) = 5, then 5 + 3 (5 + 10) = 50"""
    out = yours.block(np.array([[1.0]]), lambda x: x + 1, lambda x: 2 * x, lambda x: x + 10, lambda x: 3 * x)
    same(out=(out, np.array([[50.0]])))


@check("block", "definition", T=whole(1, 5), C=whole(1, 5), points=2,
       look="what each branch reads, and what its result is added to")
def as_the_formula_says(yours, rng, T, C):
    """middle = inp + attention(norm1(inp)); out = middle + feed_forward(norm2(middle))"""
    forward, _ = parts(rng, T, C)
    inp = rng.standard_normal((T, C))
    same(out=(yours.block(inp, *forward), slow_block(inp, forward)[2]))


@check("block", "property", T=whole(1, 5), C=whole(1, 5), look="what is added to the stream as it is, not normalised")
def branches_that_find_nothing(yours, rng, T, C):
    """with branches that give zero the block gives back its input: the stream passes through untouched"""
    (norm1, _, norm2, _), _ = parts(rng, T, C)
    inp = rng.standard_normal((T, C))
    same(out=(yours.block(inp, norm1, zero, norm2, zero), inp))


@check("block_backward", "shapes")
def a_slope_for_each_input(yours):
    """block_backward gives an array of the shape of dout"""
    shaped(dinp=(yours.block_backward(np.ones((3, 2)), unchanged, unchanged, unchanged, unchanged), (3, 2)))


@check("block_backward", "worked case")
def slopes_by_hand(yours):
    """parts with slopes 2, 3, 5, 7: the block's slope is (1 + 3 * 2) (1 + 7 * 5) = 252"""
    dinp = yours.block_backward(np.array([[1.0]]), lambda d: 2 * d, lambda d: 3 * d, lambda d: 5 * d,
                                lambda d: 7 * d)
    same(dinp=(dinp, np.array([[252.0]])))


@check("block_backward", "property", T=whole(1, 4), C=whole(1, 4),
       look="the slope that goes around a branch, along the stream")
def the_stream_carries_it_through(yours, rng, T, C):
    """with branches whose slope is zero, dinp is dout: nothing is lost along the stream"""
    dout = rng.standard_normal((T, C))
    same(dinp=(yours.block_backward(dout, unchanged, zero, unchanged, zero), dout))


@check("block_backward", "property", T=whole(1, 4), C=whole(1, 4), examples=8,
       look="name what you need twice, and compute it once")
def each_part_once(yours, rng, T, C):
    """each part is called once: in a real model its backward pass also adds to the gradients of its weights"""
    calls = [0, 0, 0, 0]

    def counted(i):
        def part(dout):
            calls[i] += 1
            return 0.5 * dout
        return part
    yours.block_backward(rng.standard_normal((T, C)), *(counted(i) for i in range(4)))
    claim(calls == [1, 1, 1, 1], f"norm1, attention, norm2, feed_forward were called {calls} times")


@check("block_backward", "gradient", T=whole(1, 4), C=whole(1, 4), examples=10, points=2,
       look="the order: a backward pass goes through the parts from the last to the first")
def slope_of_the_block(yours, rng, T, C):
    """dinp is the slope of sum(block(inp) * dout), whatever dout is"""
    forward, slope = parts(rng, T, C)

    def backward(dout, inp):
        normal, middle, _ = slow_block(inp, forward)
        return yours.block_backward(dout, slope(0, inp), slope(1, normal), slope(2, middle),
                                    slope(3, forward[2](middle)))

    gradient(lambda inp: slow_block(inp, forward)[2], backward, {"inp": rng.standard_normal((T, C))}, rng)


# ------------------------------------------------------------------------------------ 4.4 adamw_step
def slow_adamw(param, grad, first, second, step, lr, beta1, beta2, eps, weight_decay):
    out = [np.zeros(len(param)) for _ in range(3)]
    for i in range(len(param)):
        g = float(grad[i])
        m, v = beta1 * first[i] + (1 - beta1) * g, beta2 * second[i] + (1 - beta2) * g * g
        move = (m / (1 - beta1 ** step)) / (math.sqrt(v / (1 - beta2 ** step)) + eps)
        out[0][i] = param[i] - lr * weight_decay * param[i] - lr * move
        out[1][i], out[2][i] = m, v
    return out


def draw_state(rng, P):
    """(param, grad, first, second) somewhere in the middle of a run."""
    return rng.standard_normal(P), rng.standard_normal(P), rng.standard_normal(P), rng.random(P) + 0.1


@check("adamw_step", "shapes")
def parameters_and_moments(yours):
    """it returns the parameters and both moments, all of one shape"""
    got = yours.adamw_step(*np.ones((4, 3)), 1, 0.1, 0.9, 0.999, 1e-8, 0.0)
    got = tuple(got) + (None,) * (3 - len(got)) if isinstance(got, (tuple, list)) else (got, None, None)
    shaped(param=(got[0], (3,)), first=(got[1], (3,)), second=(got[2], (3,)))


@check("adamw_step", "worked case")
def the_first_step_by_hand(yours):
    """at step 1 the corrected mean is the gradient and the corrected square its square: each parameter moves by lr,
    against the sign of its gradient, however large that is"""
    got = yours.adamw_step(np.array([1.0, 1.0]), np.array([4.0, -0.5]), np.zeros(2), np.zeros(2), 1, 0.1, 0.5, 0.84,
                           1e-300, 0.0)
    same(param=(got[0], np.array([0.9, 1.1])), first=(got[1], np.array([2.0, -0.25])),
         second=(got[2], np.array([2.56, 0.04])))


@check("adamw_step", "definition", P=whole(1, 5), step=whole(1, 30), weight_decay=real(0, 0.5), points=2,
       look="which numbers the moments are multiplied with, and which the step divides by")
def as_the_formulas_say(yours, rng, P, step, weight_decay):
    """moments, correction, decay and step as in the docstring"""
    state = draw_state(rng, P)
    settings = step, 0.01, 0.9, 0.99, 1e-3, weight_decay
    got, want = yours.adamw_step(*state, *settings), slow_adamw(*state, *settings)
    same(param=(got[0], want[0]), first=(got[1], want[1]), second=(got[2], want[2]), scale={"param": 1.0})


@check("adamw_step", "property", P=whole(1, 5), step=whole(1, 9),
       look="AdamW differs from Adam in this: the decay does not go through the moments")
def decay_stands_beside_the_gradient(yours, rng, P, step):
    """weight decay takes lr weight_decay param away, whatever the gradient is, and leaves the moments alone"""
    state = draw_state(rng, P)
    with_it = yours.adamw_step(*state, step, 0.1, 0.9, 0.99, 1e-8, 0.3)
    without = yours.adamw_step(*state, step, 0.1, 0.9, 0.99, 1e-8, 0.0)
    same(taken=(np.asarray(without[0]) - with_it[0], 0.1 * 0.3 * state[0]), first=(with_it[1], without[1]),
         second=(with_it[2], without[2]), scale={"taken": 1.0})


def train(yours, steps, state, targets, begin=0):
    """Full steps of AdamW on the logits of one batch, from `begin` on; returns (state, loss)."""
    (param, first, second), V = state, 5
    rows = np.arange(len(targets))
    for step in range(begin + 1, steps + 1):
        exp = np.exp(np.clip(param.reshape(len(targets), V), -300, 300))
        prob = exp / exp.sum(1, keepdims=True)
        grad = prob.copy()
        grad[rows, targets] -= 1
        param, first, second = (np.asarray(x, float) for x in yours.adamw_step(
            param, grad.ravel() / len(targets), first, second, step, 0.1, 0.9, 0.99, 1e-8, 0.0))
    exp = np.exp(np.clip(param.reshape(len(targets), V), -300, 300))
    return (param, first, second), -np.log(exp[rows, targets] / exp.sum(1)).mean()


@check("adamw_step", "property", N=whole(1, 4), examples=3)
def it_learns_one_batch_by_heart(yours, rng, N):
    """100 steps on one and the same batch bring its loss from ln 5 to nearly nothing"""
    _, loss = train(yours, 100, np.zeros((3, 5 * N)), rng.integers(0, 5, N))
    claim(loss < 0.05, f"the loss is {loss:.3g} nats after 100 steps; it began at {math.log(5):.3g}")


@check("adamw_step", "property", stop=whole(1, 7), examples=6,
       look="everything that a step needs comes in as an argument: nothing may be remembered elsewhere")
def resumed_is_never_stopped(yours, rng, stop):
    """8 steps, and some steps, a stop and the rest, are the same to the bit, also with another run in between"""
    targets = rng.integers(0, 5, 3)
    whole_run, _ = train(yours, 8, np.zeros((3, 15)), targets)
    half, _ = train(yours, stop, np.zeros((3, 15)), targets)
    train(yours, 3, rng.random((3, 15)), targets)
    resumed, _ = train(yours, 8, half, targets, begin=stop)
    same(exact=True, param=(resumed[0], whole_run[0]), first=(resumed[1], whole_run[1]),
         second=(resumed[2], whole_run[2]))
