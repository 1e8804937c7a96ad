"""What makes an answer to lesson 6 right.  The oracles are loops, and know nothing of the solution."""
import math
import time

import numpy as np

from tinylm.classroom.checking import Speed, check, claim, real, same, shaped, whole


# --------------------------------------------------------------------------------------- 6.1 nucleus
def slow_nucleus(prob, p):
    kept, total = [False] * len(prob), 0.0
    while True:
        best = None
        for v in range(len(prob)):
            if not kept[v] and (best is None or prob[v] > prob[best]):
                best = v
        if best is None:
            return np.array(kept)
        kept[best] = True
        total += prob[best]
        if total >= p:
            return np.array(kept)


def draw_prob(rng, V):
    """Probabilities in 16ths, so that sums are exact and equal ones occur."""
    cuts = np.sort(rng.integers(0, 17, V - 1))
    return np.diff(np.concatenate([[0], cuts, [16]])) / 16


@check("nucleus", "shapes")
def a_truth_value_for_each_token(yours):
    """nucleus gives an array (V,) of truth values"""
    shaped(kept=(yours.nucleus(np.array([0.5, 0.25, 0.25]), 0.6), (3,), "b"))


@check("nucleus", "worked case")
def four_tokens_by_hand(yours):
    """of 1/8, 1/2, 1/4, 1/8, the tokens 1 and 2 reach 0.7, and they reach 3/4 exactly; of two equal ones the lower
    number is taken"""
    prob = np.array([0.125, 0.5, 0.25, 0.125])
    for p in (0.7, 0.75):
        same(kept=(yours.nucleus(prob, p), np.array([False, True, True, False])))
    same(kept=(yours.nucleus(prob, 0.8), np.array([True, True, True, False])))


@check("nucleus", "definition", V=whole(1, 8), share=whole(1, 63), points=2,
       look="does the token with which the sum reaches p belong to the set?")
def likeliest_first(yours, rng, V, share):
    """tokens are taken from the likeliest on, equal ones by number, until their sum is at least p"""
    prob = draw_prob(rng, V)
    same(kept=(yours.nucleus(prob, share / 64), slow_nucleus(prob, share / 64)))


@check("nucleus", "property", V=whole(1, 12), share=whole(1, 63), look="the comparison with p, and when a sum equals p")
def the_set_reaches_p_and_is_minimal(yours, rng, V, share):
    """the kept probabilities sum to at least p, and without the least likely of them they would not"""
    prob, p = draw_prob(rng, V), share / 64
    kept = np.asarray(yours.nucleus(prob, p), bool)
    claim(kept.any(), "no token is kept")
    total, least = prob[kept].sum(), prob[kept].min()
    claim(total >= p, f"what is kept sums to {total:g}, p is {p:g}")
    claim(total - least < p, f"what is kept sums to {total:g}; without its least likely one, {total - least:g}, it "
          f"still reaches p = {p:g}")


@check("nucleus", "property", V=whole(2, 8), share=whole(1, 63), look="the order in which tokens are taken")
def nothing_likelier_is_left_out(yours, rng, V, share):
    """no token outside is likelier than one inside"""
    prob = draw_prob(rng, V)
    kept = np.asarray(yours.nucleus(prob, share / 64), bool)
    outside, inside = prob[~kept].max(initial=0.0), prob[kept].min(initial=1.0)
    claim(outside <= inside, f"one of {outside:g} is left out, one of {inside:g} is kept")


# ---------------------------------------------------------------------------------------- 6.2 choose
def slow_choose(logits, temperature, p, uniform):
    if temperature == 0:
        best = 0
        for v in range(len(logits)):
            if logits[v] > logits[best]:
                best = v
        return best
    top = max(logits)
    power = [math.exp(max((x - top) / temperature, -700.0)) for x in logits]
    prob = np.array([x / sum(power) for x in power])
    kept = slow_nucleus(prob, p)
    total, running = sum(x for x, k in zip(prob, kept) if k), 0.0
    for v in range(len(logits)):
        running += prob[v] if kept[v] else 0.0
        if running > uniform * total:
            return v
    return int(np.flatnonzero(kept)[-1])


@check("choose", "shapes")
def one_whole_number(yours):
    """choose gives one integer, at temperature 0 and above"""
    logits = np.array([0.0, 2.0, 1.0])
    shaped(at_0=(yours.choose(logits, 0.0, 0.9, 0.5), (), "i"), at_1=(yours.choose(logits, 1.0, 0.9, 0.5), (), "i"))


@check("choose", "worked case")
def three_tokens_by_hand(yours):
    """with probabilities 1/8, 1/2, 3/8 and p = 0.7, tokens 1 and 2 are left, in proportion 4 to 3; a uniform number
    of 0 gives the first that is left"""
    logits = np.log(np.array([0.125, 0.5, 0.375]))
    for uniform, token in [(0.0, 1), (0.55, 1), (0.6, 2), (0.99, 2)]:
        same(token=(int(yours.choose(logits, 1.0, 0.7, uniform)), token))


@check("choose", "definition", V=whole(1, 8), temperature=real(0.25, 4), p=real(0.125, 0.96875), points=2,
       look="the order of the steps: temperature, then top-p, then the draw in the order of numbers")
def as_the_steps_say(yours, rng, V, temperature, p):
    """temperature, softmax, nucleus, and the draw from what is kept"""
    logits = 2 * rng.standard_normal(V)
    uniforms = (np.arange(4) + 0.013 + 0.97 * rng.random(4)) / 4.04
    for uniform in uniforms:
        same(token=(int(yours.choose(logits, temperature, p, uniform)), slow_choose(logits, temperature, p, uniform)))


@check("choose", "property", V=whole(2, 6), examples=10,
       look="what a division by a tiny temperature does to the scores, and to 0 / 0")
def cold_is_the_likeliest(yours, rng, V):
    """as the temperature goes to 0, and at 0, the token is that of the highest score"""
    logits, best = 300 * (rng.permutation(V) - V / 2), int(rng.integers(1, V))
    logits[best] = logits.max() + 100
    for temperature in (1.0, 1e-3, 1e-30, 1e-300, 0.0):
        token = int(yours.choose(logits, temperature, 0.9, rng.random()))
        claim(token == best, f"token {token} was chosen at temperature {temperature:g}; the highest score is "
              f"{logits.max():g}, of token {best}")


@check("choose", "property", V=whole(2, 5), temperature=real(0.5, 2), examples=4,
       look="is each token drawn as often as its share of what is kept?")
def drawn_as_often_as_likely(yours, rng, V, temperature):
    """over evenly spread uniforms, each kept token comes as often as its probability, divided by the kept sum"""
    logits = rng.standard_normal(V)
    prob = np.exp(logits / temperature)
    prob /= prob.sum()
    kept = np.where(slow_nucleus(prob, 0.8), prob, 0.0)
    n = 100
    found = [int(yours.choose(logits, temperature, 0.8, (i + 0.5) / n)) for i in range(n)]
    claim(min(found) >= 0 and max(found) < V, f"tokens from {min(found)} to {max(found)} of {V}")
    often = np.bincount(found, minlength=V) / n
    gap = np.abs(often - kept / kept.sum())
    worst = int(gap.argmax())
    claim(gap.max() < 2 / n, f"token {worst} came in {often[worst]:.0%} of the draws, its share is "
          f"{kept[worst] / kept.sum():.0%}")


@check("choose", "property", V=whole(1, 6), temperature=real(0.25, 4), shift=real(-1000, 1000),
       look="the exponential of a large number")
def a_shift_of_all_scores(yours, rng, V, temperature, shift):
    """raising all scores by the same number changes nothing, also by a thousand"""
    logits, uniform = rng.standard_normal(V), 0.2 + 0.03 * rng.random()
    same(token=(int(yours.choose(logits + shift, temperature, 0.9, uniform)),
                slow_choose(logits + shift, temperature, 0.9, uniform)))


# -------------------------------------------------------------------------------------- 6.3 read_one
def slow_attention(query, key, value):
    """Without a cache: position t looks at 0 … t.  (T, D) each -> (T, D)"""
    T, D = query.shape
    out = np.zeros((T, D))
    for t in range(T):
        score = [sum(query[t, d] * key[s, d] for d in range(D)) / math.sqrt(D) for s in range(t + 1)]
        power = [math.exp(x - max(score)) for x in score]
        for s in range(t + 1):
            out[t] += power[s] / sum(power) * value[s]
    return out


@check("read_one", "shapes")
def one_vector(yours):
    """read_one gives an array (D,)"""
    out, _ = yours.fills("read_one", *np.ones((3, 2)), np.zeros((4, 2)), np.zeros((4, 2)), 0)
    shaped(out=(out, (2,)))


@check("read_one", "worked case")
def the_first_and_the_second_token(yours):
    """the first token sees itself only, so out is its value; the second, with equal scores, is the mean of both"""
    zero, cache = np.zeros(1), np.zeros((2, 1))
    out, (*_, keys, values) = yours.fills("read_one", zero, np.array([5.0]), np.array([8.0]), cache, cache, 0)
    same(out=(out, np.array([8.0])))
    out, _ = yours.fills("read_one", zero, np.array([1.0]), np.array([2.0]), keys, values, 1)
    same(out=(out, np.array([5.0])))


@check("read_one", "definition", T=whole(1, 6), D=whole(1, 4), spare=whole(0, 3), points=3,
       look="how many positions the new token sees, itself counted")
def cached_is_uncached(yours, rng, T, D, spare):
    """reading T tokens one after the other gives what attention over the whole text gives"""
    query, key, value = rng.standard_normal((3, T, D))
    uncached = slow_attention(query, key, value)
    keys, values = np.zeros((2, T + spare, D))
    for t in range(T):
        out, (*_, keys, values) = yours.fills("read_one", query[t], key[t], value[t], keys, values, t)
        same(out=(out, uncached[t]), scale={"out": 3.0})


@check("read_one", "property", length=whole(0, 4), D=whole(1, 3), spare=whole(1, 3),
       look="what stands in the cache behind the new token")
def what_is_left_over_means_nothing(yours, rng, length, D, spare):
    """whatever stands behind the new token in the cache, even nan, changes nothing"""
    query, key, value = rng.standard_normal((3, D))
    keys, values = rng.standard_normal((2, length + 1 + spare, D))
    clean, _ = yours.fills("read_one", query, key, value, keys, values, length)
    keys, values = keys.copy(), values.copy()
    keys[length + 1:], values[length + 1:] = np.nan, np.nan
    dirty, _ = yours.fills("read_one", query, key, value, keys, values, length)
    same(exact=True, out=(dirty, clean))


@check("read_one", "property", length=whole(0, 4), D=whole(1, 3), spare=whole(0, 3),
       look="which rows of the cache change")
def only_its_own_row_is_written(yours, rng, length, D, spare):
    """keys[length] and values[length] are the new ones afterwards, all other rows are as they were"""
    query, key, value = rng.standard_normal((3, D))
    keys, values = rng.standard_normal((2, length + 1 + spare, D))
    _, (*_, new_keys, new_values) = yours.fills("read_one", query, key, value, keys, values, length)
    keys, values = keys.copy(), values.copy()
    keys[length], values[length] = key, value
    same(exact=True, keys=(new_keys, keys), values=(new_values, values))


@check("read_one", "speed")
def at_a_length_of_a_thousand(yours):
    """information only"""
    rng = np.random.default_rng(0)
    query, key, value = rng.standard_normal((3, 64))
    keys, values = rng.standard_normal((2, 1025, 64))

    def without(query, key, value, keys, values, length):
        score = keys @ keys.T / 8
        exp = np.where(np.tri(len(keys), dtype=bool), np.exp(score - score.max(1, keepdims=True)), 0)
        return exp / exp.sum(1, keepdims=True) @ values

    mine = []
    for _ in range(5):
        yours.fills("read_one", query, key, value, keys, values, 1024)
        mine.append(yours.seconds)
    start = time.perf_counter()
    without(query, key, value, keys, values, 1024)
    spent = time.perf_counter() - start
    return Speed([f"yours {1e3 * min(mine):.3g} ms, all of attention over again {1e3 * spent:.3g} ms"])
