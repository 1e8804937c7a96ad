"""What makes an answer to lesson 1 right.  The oracles are loops, and know nothing of the solution."""
import math

import numpy as np

from tinylm.classroom.checking import check, claim, real, same, shaped, whole


# --------------------------------------------------------------------------------------- 1.1 smoothed
def slow_smoothed(counts, alpha):
    V = len(counts)
    prob = np.zeros((V, V))
    for i in range(V):
        seen = sum(int(counts[i, k]) for k in range(V))
        for j in range(V):
            prob[i, j] = (int(counts[i, j]) + alpha) / (seen + alpha * V)
    return prob


def draw_counts(rng, V):
    """Counts as texts give them: many zeros, and now and then a row without a single pair."""
    counts = rng.integers(0, 30, (V, V)) * (rng.random((V, V)) < 0.6)
    counts[rng.random(V) < 0.2] = 0
    return counts


@check("smoothed", "shapes")
def a_table_of_floats(yours):
    """smoothed gives an array (V, V) of floats"""
    shaped(prob=(yours.smoothed(np.array([[2, 1, 0], [0, 0, 5], [1, 1, 1]]), 0.5), (3, 3)))


@check("smoothed", "worked case")
def two_symbols_by_hand(yours):
    """with alpha = 1, counts 3 and 1 become 4/6 and 2/6, and a row without counts becomes 1/2 and 1/2"""
    same(prob=(yours.smoothed(np.array([[3, 1], [0, 0]]), 1.0), np.array([[4 / 6, 2 / 6], [1 / 2, 1 / 2]])))


@check("smoothed", "definition", V=whole(1, 8), alpha=real(0.125, 4), points=2,
       look="the denominator: what is added to one row, all in all, when each of its pairs gets alpha?")
def as_the_formula_says(yours, rng, V, alpha):
    """prob[i, j] = (counts[i, j] + alpha) / (sum over k of counts[i, k] + alpha V)"""
    counts = draw_counts(rng, V)
    same(prob=(yours.smoothed(counts, alpha), slow_smoothed(counts, alpha)))


@check("smoothed", "property", V=whole(1, 20), alpha=real(0.125, 4), look="the axis of your sum")
def rows_sum_to_one(yours, rng, V, alpha):
    """each row sums to one and nothing in it is zero: something always comes next"""
    prob = np.asarray(yours.smoothed(draw_counts(rng, V), alpha))
    same(row_sums=(prob.sum(1), np.ones(V)))
    claim(prob.min() > 0, f"the smallest probability is {prob.min():g}")


@check("smoothed", "property", V=whole(2, 8), alpha=real(0.125, 4))
def relabelling_changes_nothing(yours, rng, V, alpha):
    """numbering the symbols differently renumbers the table and changes nothing else"""
    counts, order = draw_counts(rng, V), rng.permutation(V)
    same(prob=(yours.smoothed(counts[np.ix_(order, order)], alpha),
               np.asarray(yours.smoothed(counts, alpha))[np.ix_(order, order)]))


# ---------------------------------------------------------------------------------- 1.2 bits_per_byte
def slow_bits_per_byte(prob, tokens, sizes):
    bits, bytes_predicted = 0.0, 0
    for t in range(len(tokens) - 1):
        bits -= math.log2(prob[tokens[t], tokens[t + 1]])
        bytes_predicted += int(sizes[tokens[t + 1]])
    return bits / bytes_predicted


def draw_text(rng, V, n):
    """(prob, tokens, sizes): a random table, a text, and symbols of one to four bytes."""
    prob = rng.random((V, V)) + 0.01
    return prob / prob.sum(1, keepdims=True), rng.integers(0, V, n), rng.integers(1, 5, V)


@check("bits_per_byte", "shapes")
def one_number(yours):
    """bits_per_byte gives one number, whatever the length of the text"""
    shaped(bits_per_byte=(yours.bits_per_byte(np.full((2, 2), 0.5), np.array([0, 1, 1, 0]), np.array([1, 2])), ()))


@check("bits_per_byte", "worked case")
def three_tokens_by_hand(yours):
    """0 then 1 then 0, at probabilities 1/4 and 1/2, is 2 + 1 bits; with symbols of 2 and 1 bytes, 3 bits
    for 3 bytes"""
    prob = np.array([[0.75, 0.25], [0.5, 0.5]])
    same(bits_per_byte=(yours.bits_per_byte(prob, np.array([0, 1, 0]), np.array([2, 1])), 1.0))


@check("bits_per_byte", "definition", V=whole(1, 6), n=whole(2, 12), points=2,
       look="which tokens are predicted, and from which: slices that leave out the first and the last")
def as_the_definition_says(yours, rng, V, n):
    """the sum of -log2 prob[this, next] over all pairs, divided by the bytes of the symbols predicted"""
    prob, tokens, sizes = draw_text(rng, V, n)
    same(bits_per_byte=(yours.bits_per_byte(prob, tokens, sizes), slow_bits_per_byte(prob, tokens, sizes)))


@check("bits_per_byte", "property", V=whole(2, 64), n=whole(2, 40))
def uniform_is_log2_V(yours, rng, V, n):
    """a model that gives 1/V to everything needs log2 V bits for a symbol of one byte"""
    tokens = rng.integers(0, V, n)
    same(bits_per_byte=(yours.bits_per_byte(np.full((V, V), 1 / V), tokens, np.ones(V, int)), math.log2(V)))


@check("bits_per_byte", "property", V=whole(2, 6), n=whole(2, 12))
def relabelling_the_symbols(yours, rng, V, n):
    """numbering the symbols differently changes nothing: the loss belongs to the text, not to its numbers"""
    prob, tokens, sizes = draw_text(rng, V, n)
    order = rng.permutation(V)
    place = np.argsort(order)
    same(bits_per_byte=(yours.bits_per_byte(prob[np.ix_(order, order)], place[tokens], sizes[order]),
                        yours.bits_per_byte(prob, tokens, sizes)))
