"""Plausible wrong answers to lesson 3."""
import numpy as np

from tinylm.classroom.mutants import edit, other, wrong


def softmax_by_jacobian(dprob, prob):
    eye = np.eye(prob.shape[-1])
    jacobian = prob[..., :, None] * (eye - prob[..., None, :])
    return np.einsum("...i,...ij->...j", dprob, jacobian)


def attention_in_loops(dout, query, keys, value):
    (T, D), root = query.shape, np.sqrt(query.shape[1])
    dquery, dkeys, dvalue = np.zeros((T, D)), np.zeros((T, D)), np.zeros((T, D))
    for t in range(T):
        seen = slice(0, t + 1)
        score = keys[seen] @ query[t] / root
        prob = np.exp(score - score.max())
        prob = prob / prob.sum()
        dvalue[seen] += prob[:, None] * dout[t]
        dprob = value[seen] @ dout[t]
        dscore = prob * (dprob - prob @ dprob) / root
        dquery[t] = dscore @ keys[seen]
        dkeys[seen] += dscore[:, None] * query[t]
    return dquery, dkeys, dvalue


def leaks_one_input_at_a_time(mixer, inp):
    """Moves each input alone, by a lot and by a little, and marks every earlier output that moves."""
    found, before = np.zeros(len(inp), bool), mixer(inp)
    for s in range(1, len(inp)):
        for c in range(inp.shape[1]):
            for by in (10.0, -10.0, 0.3):
                moved = inp.copy()
                moved[s, c] += by
                found[:s] |= (np.abs(mixer(moved) - before).max(1) > 1e-12)[:s]
    return found


def leaks_by_poison(mixer, inp):
    """NaN in the suffix: 0 * NaN is NaN, so honest attention is accused."""
    found = np.zeros(len(inp), bool)
    for cut in range(1, len(inp)):
        poisoned = inp.copy()
        poisoned[cut:] = np.nan
        found[cut - 1] = np.isnan(mixer(poisoned)[cut - 1]).any()
    return found


MUTANTS = [
    edit("softmax_backward", "the common part is not taken away", "(dprob - common)", "dprob"),
    edit("softmax_backward", "the plain mean is taken away", "(dprob * prob).sum(axis=-1, keepdims=True)",
         "dprob.mean(axis=-1, keepdims=True)"),
    edit("softmax_backward", "as for a sigmoid, element by element", "prob * (dprob - common)",
         "dprob * prob * (1 - prob)"),
    edit("softmax_backward", "sum over the rows", "axis=-1", "axis=0"),
    edit("softmax_backward", "the sign", "prob * (dprob - common)", "prob * (common - dprob)"),
    edit("softmax_backward", "upstream of ones: zero", "prob * (dprob - common)", "np.zeros_like(prob)"),
    edit("softmax_backward", "one number a row", "return prob * (dprob - common)", "return common[..., 0]",
         at="shapes"),
    edit("attention_backward", "no mask", "np.tri(T, dtype=bool)", "True"),
    edit("attention_backward", "the triangle upside down", "np.tri(T, dtype=bool)", "np.tri(T, dtype=bool).T"),
    edit("attention_backward", "the mask one too wide", "np.tri(T, dtype=bool)", "np.tri(T, k=1, dtype=bool)"),
    edit("attention_backward", "the scale forgotten on the way back", "softmax_backward(dprob, prob) / np.sqrt(D)",
         "softmax_backward(dprob, prob)"),
    edit("attention_backward", "no scale at all forwards", "keys.T / np.sqrt(D)", "keys.T"),
    edit("attention_backward", "dkeys not transposed", "dscore.T @ query", "dscore @ query"),
    edit("attention_backward", "dvalue not transposed", "prob.T @ dout", "prob @ dout"),
    edit("attention_backward", "the softmax is passed straight through", "softmax_backward(dprob, prob)", "dprob"),
    edit("attention_backward", "keys get the gradient of queries", "return dquery, dkeys", "return dkeys, dquery"),
    edit("attention_backward", "two gradients", "return dquery, dkeys, dvalue", "return dquery, dkeys", at="shapes"),
    edit("leaks", "one cut, in the middle", "range(1, T)", "range(max(T // 2, 1), min(T // 2 + 1, T))"),
    edit("leaks", "the last position only is changed", "range(1, T)", "range(T - 1, T)"),
    edit("leaks", "only the next position is changed", "swapped[cut:] = 3 * np.cos(np.arange(inp[cut:].size) + cut)"
         ".reshape(inp[cut:].shape) - inp[cut:]", "swapped[cut] += 1.7"),
    edit("leaks", "any movement anywhere is a leak", "moved[cut - 1] >", "moved.max() >"),
    edit("leaks", "what is at the cut may not move either", "found[cut - 1] = moved[cut - 1]",
         "found[cut] = moved[cut]"),
    edit("leaks", "small leaks are forgiven", "> 1e-12", "> 1e-3"),
    edit("leaks", "one verdict for the whole mixer", "return found", "return np.full(T, found.any())"),
    edit("leaks", "one truth value", "return found", "return bool(found.any())", at="shapes"),
    edit("leaks", "nothing ever leaks", "return found", "return np.zeros(T, bool)"),
    wrong("leaks", "poison with NaN", leaks_by_poison),
]

ALTERNATIVES = [
    other("softmax_backward", "with the whole Jacobian", softmax_by_jacobian),
    other("attention_backward", "one query at a time", attention_in_loops),
    other("leaks", "one input at a time, all outputs at once", leaks_one_input_at_a_time),
]
