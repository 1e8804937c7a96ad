"""What makes an answer to lesson 3 right.  The oracles are loops and central differences in float64."""
import math

import numpy as np

from tinylm.classroom.checking import check, claim, compare_speed, gradient, same, shaped, whole


# ------------------------------------------------------------------------------- 3.1 softmax_backward
def softmax(score):
    """Row by row; minus infinity gives 0."""
    out = np.zeros(score.shape)
    for index in np.ndindex(score.shape[:-1]):
        exp = np.array([math.exp(s - score[index].max()) for s in score[index]])
        out[index] = exp / exp.sum()
    return out


@check("softmax_backward", "shapes")
def like_the_scores(yours):
    """dscore has the shape of the probabilities, with any number of axes in front"""
    prob = softmax(np.zeros((2, 3, 4)))
    shaped(dscore=(yours.softmax_backward(np.ones((2, 3, 4)), prob), (2, 3, 4)))


@check("softmax_backward", "worked case")
def two_halves(yours):
    """at probabilities 1/2 and 1/2, upstream slopes 1 and 0 become 1/4 and -1/4"""
    same(dscore=(yours.softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])), np.array([[0.25, -0.25]])))


@check("softmax_backward", "definition", T=whole(1, 6),
       look="d prob[i] / d score[j] is prob[i] (1 if i = j, else 0) - prob[i] prob[j]: what is summed over i?")
def as_the_jacobian_says(yours, rng, T):
    """dscore[j] = sum over i of dprob[i] prob[i] ((1 if i = j else 0) - prob[j]), also where some prob are 0"""
    score = 2 * rng.standard_normal((2, T))
    score[rng.random((2, T)) < 0.3] = -np.inf
    score[:, 0] = 0.0
    prob, dprob = softmax(score), rng.standard_normal((2, T))
    dscore = np.zeros((2, T))
    for n in range(2):
        for j in range(T):
            for i in range(T):
                dscore[n, j] += dprob[n, i] * prob[n, i] * ((i == j) - prob[n, j])
    same(dscore=(yours.softmax_backward(dprob, prob), dscore), scale={"dscore": np.abs(dprob).max()})


@check("softmax_backward", "property", T=whole(1, 6), look="what a softmax does when all scores rise by one")
def rows_sum_to_zero(yours, rng, T):
    """the score gradients of a row sum to zero"""
    prob, dprob = softmax(rng.standard_normal((2, 2, T))), rng.standard_normal((2, 2, T))
    same(row_sums=(np.asarray(yours.softmax_backward(dprob, prob)).sum(-1), np.zeros((2, 2))),
         scale={"row_sums": np.abs(dprob).max()})


@check("softmax_backward", "gradient", T=whole(1, 6), examples=12, points=2)
def slope_of_the_softmax(yours, rng, T):
    """dscore is the slope of sum(prob * dprob), whatever dprob is"""
    gradient(softmax, lambda dprob, score: yours.softmax_backward(dprob, softmax(score)),
             {"score": rng.standard_normal((2, T))}, rng)


# ----------------------------------------------------------------------------- 3.2 attention_backward
def attention(query, keys, value):
    """One head, one query at a time, over the keys it may see."""
    T, D = query.shape
    out = np.zeros((T, D))
    for t in range(T):
        score = np.array([query[t] @ keys[s] / math.sqrt(D) for s in range(t + 1)])
        prob = np.exp(score - score.max())
        prob = prob / prob.sum()
        for s in range(t + 1):
            out[t] += prob[s] * value[s]
    return out


def draw_head(rng, T, D):
    return [1.5 * rng.standard_normal((T, D)) for _ in range(3)]


@check("attention_backward", "shapes")
def three_gradients(yours):
    """three gradients (T, D), for query, keys and value"""
    got = yours.attention_backward(np.ones((3, 2)), *(np.ones((3, 2)) for _ in range(3)))
    got = tuple(got) + (None,) * (3 - len(got)) if isinstance(got, (tuple, list)) else (got, None, None)
    shaped(dquery=(got[0], (3, 2)), dkeys=(got[1], (3, 2)), dvalue=(got[2], (3, 2)))


@check("attention_backward", "worked case")
def equal_scores(yours):
    """with equal keys, position 0 attends to itself and position 1 to both by half: value 0 gets dout[0] and half of
    dout[1], value 1 gets half of dout[1]"""
    dout, one = np.array([[1.0], [10.0]]), np.ones((2, 1))
    _, _, dvalue = yours.attention_backward(dout, one, one, one)
    same(dvalue=(dvalue, np.array([[6.0], [5.0]])))


@check("attention_backward", "property", T=whole(2, 6), D=whole(1, 4),
       look="the mask: who may look at whom, when row t of the scores is query t?")
def nothing_from_the_future(yours, rng, T, D):
    """a slope that enters at outputs up to t reaches no key and no value after t, and no other query"""
    head, t = draw_head(rng, T, D), T // 2 - 1
    dout = np.zeros((T, D))
    dout[t] = rng.standard_normal(D)
    dquery, dkeys, dvalue = (np.asarray(g) for g in yours.attention_backward(dout, *head))
    same(dkeys_later=(dkeys[t + 1:], np.zeros((T - t - 1, D))), dvalue_later=(dvalue[t + 1:], np.zeros((T - t - 1, D))),
         dquery_others=(np.delete(dquery, t, 0), np.zeros((T - 1, D))), exact=True)


@check("attention_backward", "gradient", T=whole(1, 6), D=whole(1, 4), examples=12, points=3,
       look="go through the forward pass from its last line to its first; each line has one line of backward")
def slopes_of_the_output(yours, rng, T, D):
    """each gradient is the slope of sum(out * dout), whatever dout is"""
    query, keys, value = draw_head(rng, T, D)
    gradient(attention, lambda dout, query, keys, value: yours.attention_backward(dout, query, keys, value),
             {"query": query, "keys": keys, "value": value}, rng)


@check("attention_backward", "speed")
def for_a_longer_text(yours):
    """information only"""
    from tinylm import ops
    rng = np.random.default_rng(0)
    dout, *head = (rng.standard_normal((256, 16)) for _ in range(4))

    def reference(dout, query, keys, value):
        _, cache = ops.attention_forward(np.concatenate([query, keys, value], axis=1)[None], 1)
        return ops.attention_backward(dout[None], cache)

    return compare_speed(yours, "attention_backward", (dout, *head), reference, "tinylm.ops, forward included,")


# ------------------------------------------------------------------------------------------ 3.3 leaks
def _tri(T, k=0):
    return np.tri(T, k=k, dtype=bool)


def _attend(x, mask):
    score = np.where(mask, x @ x.T, -np.inf)
    exp = np.exp(score - score.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True) @ x


def _before(x):
    return np.concatenate([np.zeros_like(x[:1]), x[:-1]])


def _state(x):
    out, h = np.zeros_like(x), np.zeros(x.shape[1])
    for t, now in enumerate(x):
        h = 0.8 * h + now
        out[t] = h
    return out


def _chunk_mean(x, size):
    return np.concatenate([np.broadcast_to(c.mean(0), c.shape)
                           for c in np.split(x, range(size, len(x), size))])


def _nth_peek(x, at):
    out = x.copy()
    if at + 1 < len(x):
        out[at] += x[at + 1]
    return out


# name: (mixer, where it leaks as a function of T)
HONEST = {
    "attention": lambda x: _attend(x, _tri(len(x))),
    "the token before": _before,
    "running mean": lambda x: x.cumsum(0) / np.arange(1, len(x) + 1)[:, None],
    "recurrence": _state,
    "norm over channels": lambda x: (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-3),
    "running maximum": lambda x: np.maximum.accumulate(x, axis=0),
}
LEAKY = {
    "attention, the triangle upside down": (lambda x: _attend(x, _tri(len(x)).T), lambda T: np.arange(T) < T - 1),
    "attention that sees one too many": (lambda x: _attend(x, _tri(len(x), 1)), lambda T: np.arange(T) < T - 1),
    "norm over time": (lambda x: (x - x.mean(0)) / (x.std(0) + 1e-3), lambda T: np.arange(T) < T - 1),
    "mean of chunks of four": (lambda x: _chunk_mean(x, 4),
                               lambda T: (np.arange(T) % 4 < 3) & (np.arange(T) < T - 1)),
    "a scan from both ends": (lambda x: _state(x) + _state(x[::-1])[::-1], lambda T: np.arange(T) < T - 1),
    "position 2 peeks at position 3": (lambda x: _nth_peek(x, 2), lambda T: (np.arange(T) == 2) & (T > 3)),
    "a millionth of the last input's square": (lambda x: x + 1e-6 * x[-1:] ** 2, lambda T: np.arange(T) < T - 1),
    "three steps ahead": (lambda x: x + np.concatenate([x[3:], np.zeros((min(3, len(x)), x.shape[1]))]),
                          lambda T: np.arange(T) < T - 3),
}


def _flags(found, T):
    """What was found, as truth values of the right shape, or a claim that fails."""
    found = np.asarray(found)
    claim(found.shape == (T,), f"leaks has the shape {found.shape}, expected {(T,)}")
    return found.astype(bool)


@check("leaks", "shapes")
def a_truth_value_for_each_position(yours):
    """leaks gives T truth values"""
    shaped(leaks=(yours.leaks(HONEST["the token before"], np.random.default_rng(0).standard_normal((5, 2))), (5,), "b"))


@check("leaks", "worked case")
def one_position_peeks(yours):
    """a mixer whose position 2 adds position 3, and which is honest elsewhere, leaks at 2 only"""
    inp = np.random.default_rng(0).standard_normal((5, 1))
    found = _flags(yours.leaks(lambda x: _nth_peek(x, 2), inp), 5)
    same(leaks=(found.tolist(), [False, False, True, False, False]))


@check("leaks", "property", T=whole(1, 9), C=whole(1, 3), examples=8, points=2,
       look="out[t] may move with everything up to and including inp[t]")
def honest_mixers_are_not_accused(yours, rng, T, C):
    """a mixer that reads nothing later leaks nowhere, whatever the length"""
    inp = rng.standard_normal((T, C))
    for name, mixer in HONEST.items():
        same(**{name: (_flags(yours.leaks(mixer, inp), T).tolist(), [False] * T)})


@check("leaks", "property", T=whole(1, 9), C=whole(1, 3), examples=8, points=3,
       look="one cut tells about one position; and how large must a movement be to count?")
def every_leak_is_found(yours, rng, T, C):
    """each position that reads a later one is found, however far away and however small"""
    inp = rng.standard_normal((T, C))
    for name, (mixer, where) in LEAKY.items():
        same(**{name: (_flags(yours.leaks(mixer, inp), T).tolist(), where(T).tolist())})
