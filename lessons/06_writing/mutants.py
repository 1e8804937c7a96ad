"""Plausible wrong answers to lesson 6."""
import numpy as np
from solution import nucleus

from tinylm.classroom.mutants import edit, other, wrong


def nucleus_one_by_one(prob, p):
    kept, total = np.zeros(len(prob), bool), 0.0
    for v in sorted(range(len(prob)), key=lambda v: (-prob[v], v)):
        kept[v] = True
        total += prob[v]
        if total >= p:
            break
    return kept


def nucleus_by_searchsorted(prob, p):
    order = np.argsort(-prob, kind="stable")
    count = np.searchsorted(np.cumsum(prob[order]), p) + 1
    return np.isin(np.arange(len(prob)), order[:count])


def choose_with_lists(logits, temperature, p, uniform):
    best = int(np.argmax(logits))
    if temperature == 0:
        return best
    score = (logits - logits[best]) / temperature
    prob = np.exp(score - np.logaddexp.reduce(score))
    mine = np.flatnonzero(nucleus(prob, p))
    reached = np.cumsum(prob[mine])
    return int(mine[np.searchsorted(reached, uniform * reached[-1], side="right")])


def read_one_in_a_loop(query, key, value, keys, values, length):
    keys[length], values[length] = key, value
    score = [float(keys[s] @ query) / len(query) ** 0.5 for s in range(length + 1)]
    power = [np.exp(x - max(score)) for x in score]
    return sum(w * values[s] for s, w in enumerate(power)) / sum(power)


MUTANTS = [
    edit("nucleus", "the token that reaches p is left out", "before < p", "reached <= p"),
    edit("nucleus", "as above, but one is always kept", "kept[order[before < p]] = True",
         "kept[order[reached <= p]] = True\n    kept[order[0]] = True", at="worked case"),
    edit("nucleus", "one too many where a sum equals p", "before < p", "before <= p", at="worked case"),
    edit("nucleus", "from the unlikeliest on", "np.argsort(-prob", "np.argsort(prob"),
    edit("nucleus", "in the order of numbers", "np.argsort(-prob, kind=\"stable\")", "np.arange(len(prob))"),
    edit("nucleus", "of equal ones the higher number", "np.argsort(-prob, kind=\"stable\")",
         "np.argsort(prob, kind=\"stable\")[::-1]", at="worked case"),
    edit("nucleus", "ranks are taken for tokens", "kept[order[before < p]]", "kept[before < p]"),
    edit("nucleus", "the numbers of the tokens", "return kept", "return np.flatnonzero(kept)", at="shapes"),
    edit("nucleus", "the least likely p", "before < p", "before >= 1 - p"),
    wrong("nucleus", "tokens at least p times as likely as the likeliest: that is min-p",
          lambda prob, p: prob >= p * prob.max()),
    wrong("nucleus", "tokens of probability p", lambda prob, p: prob >= min(p, prob.max())),

    edit("choose", "always the likeliest", "if temperature == 0", "if True"),
    edit("choose", "temperature 0 is not treated at all", "if temperature == 0", "if False"),
    edit("choose", "multiplied by the temperature", "/ temperature)", "* temperature)"),
    edit("choose", "no temperature", " / temperature)", ")"),
    edit("choose", "the maximum is not subtracted", "logits - logits.max()", "logits"),
    edit("choose", "the draw does not know that something was left out", "uniform * running[-1]", "uniform"),
    edit("choose", "what is kept is drawn evenly", "prob, 0.0)", "1.0, 0.0)"),
    edit("choose", "no nucleus", "np.where(nucleus(prob, p), prob, 0.0)", "prob"),
    edit("choose", "the nucleus is found before the temperature acts",
         "nucleus(prob, p)", "nucleus(np.exp(logits - np.logaddexp.reduce(logits)), p)"),
    edit("choose", "the last that does not exceed", "np.argmax(running > uniform * running[-1])",
         "np.argmax(running >= uniform * running[-1]) - 1"),
    edit("choose", "a token that was left out can come", "running > uniform", "running >= uniform"),
    edit("choose", "a float", "return int(np.argmax(running", "return float(np.argmax(running", at="shapes"),
    edit("choose", "at temperature 0 the lowest score", "return int(np.argmax(logits))",
         "return int(np.argmin(logits))"),

    edit("read_one", "the new token does not see itself", "seen = length + 1", "seen = max(length, 1)"),
    edit("read_one", "all of the cache is seen", "seen = length + 1", "seen = len(keys)"),
    edit("read_one", "the last row is always written", "keys[length], values[length]", "keys[-1], values[-1]"),
    edit("read_one", "everything from its row on is overwritten", "keys[length], values[length] = key, value",
         "keys[length:], values[length:] = key, value"),
    edit("read_one", "the cache is copied, not written", "    keys[length], values[length] = key, value",
         "    keys, values = keys.copy(), values.copy()\n    keys[length], values[length] = key, value"),
    edit("read_one", "keys and values exchanged", "= key, value", "= value, key"),
    edit("read_one", "not divided by sqrt(D)", " / np.sqrt(len(query))", ""),
    edit("read_one", "divided by the root of the length", "np.sqrt(len(query))", "np.sqrt(seen)"),
    edit("read_one", "no softmax", "np.exp(score - score.max())", "score - score.min() + 1"),
    edit("read_one", "the weights do not sum to one", "prob / prob.sum() @", "prob @"),
    edit("read_one", "as a row", "return prob / prob.sum() @ values[:seen]",
         "return (prob / prob.sum() @ values[:seen])[None]", at="shapes"),
    edit("read_one", "the row is cleared for the next text", "keys[length], values[length] = key, value",
         "keys[length], values[length] = key, value\n    keys[length + 1:] = 0"),
]

ALTERNATIVES = [
    other("nucleus", "one by one", nucleus_one_by_one),
    other("nucleus", "by looking p up in the running sum", nucleus_by_searchsorted),
    other("choose", "among the kept ones only", choose_with_lists),
    other("read_one", "in a loop", read_one_in_a_loop),
]
