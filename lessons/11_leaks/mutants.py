"""Plausible wrong answers to lesson 11."""
import numpy as np
from solution import _watch

from tinylm.classroom.mutants import edit, other, wrong


def reads_one_text_at_a_time(model, tokens, others):
    B, T = tokens.shape
    found = np.zeros((T, T), bool)
    for b in range(B):
        before = model(tokens[b:b + 1])[0]
        for s in range(T):
            swapped = np.where(np.arange(T) == s, others[b:b + 1], tokens[b:b + 1])
            found[:, s] |= (np.abs(model(swapped)[0] - before) > 1e-12).any(1)
    return found


def floor_with_sums(learn, score, batches, V):
    *training, last = list(batches)
    for batch in training:
        learn(batch[:, :-1], batch[:, 1:])
    losses = np.ravel(score(last[:, :-1], last[:, 1:]))
    if not np.isfinite(losses.sum()):
        return float("inf"), 0.0, True
    mean = losses.sum() / len(losses)
    error = np.sqrt(((losses - mean) ** 2).sum()) / len(losses)
    return np.log(V) - mean, error, bool(np.log(V) - mean > 5 * error + 1e-6)


def leak_layer_by_layer(layers, inp, other):
    """Each layer by itself, on what the layers before it make of the two inputs."""
    def out_of(x, count):
        for layer in layers[:count]:
            x = layer(x)
        return np.asarray(x)

    for i in range(len(layers)):
        for cut in range(1, len(inp)):
            swapped = np.where(np.arange(len(inp))[:, None] < cut, inp, other)
            stood = np.allclose(out_of(swapped, i)[:cut], out_of(inp, i)[:cut], rtol=0, atol=1e-12)
            still = np.allclose(out_of(swapped, i + 1)[:cut], out_of(inp, i + 1)[:cut], rtol=0, atol=1e-12)
            if stood and not still:
                return i
    return -1


def _middle_cut(layers, inp, other):
    return _with_cuts(layers, inp, other, [len(inp) // 2] if len(inp) > 1 else [])


def _with_cuts(layers, inp, other, cuts):
    before, leaky = _watch(layers, inp), []
    for cut in cuts:
        after = _watch(layers, np.concatenate([inp[:cut], other[cut:]]))
        moved = [np.abs(x - y)[:cut].max() > 1e-12 for x, y in zip(before, after)]
        leaky += [moved.index(True) - 1] * any(moved)
    return min(leaky, default=-1)


def _stops_at_the_first_cut_that_shows_one(layers, inp, other):
    for cut in range(1, len(inp)):
        if (found := _with_cuts(layers, inp, other, [cut])) >= 0:
            return found
    return -1


def _nothing_if_the_end_stands_still(layers, inp, other):
    x, y = _watch(layers, inp)[-1], _watch(layers, np.concatenate([inp[:1], other[1:]]))[-1]
    return -1 if np.abs(x - y)[:1].max(initial=0) < 1e-12 else _with_cuts(layers, inp, other, range(1, len(inp)))


MUTANTS = [
    edit("reads", "everything from s on is replaced", "swapped[:, s] = others[:, s]",
         "swapped[:, s:] = others[:, s:]"),
    edit("reads", "rows and columns exchanged", "return found", "return found.T"),
    edit("reads", "the first text only", "moved.max(axis=(0, 2))", "moved[0].max(axis=1)"),
    edit("reads", "all texts must show it", "moved.max(axis=(0, 2))", "moved.max(axis=2).min(axis=0)"),
    edit("reads", "the first score only", "moved.max(axis=(0, 2))", "moved[:, :, 0].max(axis=0)"),
    edit("reads", "small movements are forgiven", "> 1e-12", "> 1e-3"),
    edit("reads", "only positions before are compared", "return found", "return np.triu(found)"),
    edit("reads", "the replaced position is left out", "return found", "return found & ~np.eye(T, dtype=bool)"),
    edit("reads", "what was replaced stays so", "swapped = tokens.copy()",
         "swapped = tokens.copy() if s == 0 else swapped"),
    edit("reads", "ones and zeros as floats", "np.zeros((T, T), bool)", "np.zeros((T, T))", at="shapes"),
    edit("below_the_floor", "judged on what it was trained on", "score(batches[-1][:, :-1], batches[-1][:, 1:])",
         "score(batches[0][:, :-1], batches[0][:, 1:])"),
    edit("below_the_floor", "trained on the judged batch too", "in batches[:-1]", "in batches"),
    edit("below_the_floor", "the target is the token itself", "learn(batch[:, :-1], batch[:, 1:])",
         "learn(batch[:, :-1], batch[:, :-1])"),
    edit("below_the_floor", "in bits", "np.log(V)", "np.log2(V)"),
    edit("below_the_floor", "the sign is wrong", "np.log(V) - losses.mean()", "losses.mean() - np.log(V)"),
    edit("below_the_floor", "the deviation of one loss", " / np.sqrt(losses.size)", ""),
    edit("below_the_floor", "divided by the number, not its root", "np.sqrt(losses.size)", "losses.size"),
    edit("below_the_floor", "divided by the texts", "np.sqrt(losses.size)", "np.sqrt(len(losses))"),
    edit("below_the_floor", "chance is not thought of", "below > 5 * error + 1e-6", "below > 0"),
    edit("below_the_floor", "a tenth of a nat, however many tokens", "below > 5 * error + 1e-6", "below > 0.1"),
    edit("below_the_floor", "NaN passes", " or not np.isfinite(losses).all()", ""),
    edit("below_the_floor", "nobody is accused", "bool(accused)", "False"),
    edit("below_the_floor", "the verdict alone", "return below, error, bool(accused)", "return bool(accused)",
         at="shapes"),
    edit("below_the_floor", "without training", "learn(batch[:, :-1], batch[:, 1:])", "pass"),
    wrong("first_leak", "one cut, in the middle", _middle_cut),
    wrong("first_leak", "the first cut that shows a leak decides", _stops_at_the_first_cut_that_shows_one),
    wrong("first_leak", "nothing leaks if the last output stands still", _nothing_if_the_end_stands_still),
    edit("first_leak", "over all cuts, the latest", "min(leaky", "max(leaky"),
    edit("first_leak", "the last layer whose output moved", "moved.index(True) - 1",
         "len(moved) - 2 - moved[::-1].index(True)"),
    edit("first_leak", "the stage, not the layer", "moved.index(True) - 1", "moved.index(True)"),
    edit("first_leak", "from the second position on", "range(1, len(inp))", "range(2, len(inp))"),
    edit("first_leak", "the cut row counts too", "[:cut].max()", "[:cut + 1].max()"),
    edit("first_leak", "all rows count", "[:cut].max()", ".max()"),
    edit("first_leak", "rows before the cut are replaced", "[inp[:cut], other[cut:]]", "[other[:cut], inp[cut:]]"),
    edit("first_leak", "0 for none", "default=-1", "default=0"),
    edit("first_leak", "as a list", "return min(leaky, default=-1)", "return [min(leaky, default=-1)]", at="shapes"),
]

ALTERNATIVES = [
    other("reads", "one text at a time", reads_one_text_at_a_time),
    other("below_the_floor", "from sums", floor_with_sums),
    other("first_leak", "layer by layer, from the start each time", leak_layer_by_layer),
]
