"""Plausible wrong answers to lesson 2."""
import numpy as np

from tinylm.classroom.mutants import edit, other, wrong


def _flat(dlosses, logits, targets):
    """The mean over the rows, given to every row."""
    exp = np.exp(logits - logits.max(1, keepdims=True))
    prob = exp / exp.sum(1, keepdims=True) - np.eye(logits.shape[1])[targets]
    return (prob * dlosses[:, None]).mean(0)


def cross_entropy_with_one_hot(dlosses, logits, targets):
    log_prob = logits - np.logaddexp.reduce(logits, axis=1)[:, None]
    return np.einsum("n,nv->nv", dlosses, np.exp(log_prob) - np.eye(logits.shape[1])[targets])


def linear_with_einsum(dout, inp, weight):
    return (np.einsum("nm,mk->nk", dout, weight), np.einsum("nm,nk->mk", dout, inp), np.ones(len(dout)) @ dout)


def embedding_with_one_hot(dout, tokens, V):
    return np.eye(V)[:, tokens] @ dout




MUTANTS = [
    edit("cross_entropy_backward", "upstream forgotten", "prob * dlosses[:, None]", "prob"),
    edit("cross_entropy_backward", "the one is not subtracted", "-= 1", "-= 0"),
    edit("cross_entropy_backward", "the one is subtracted in every row at once",
         "prob[np.arange(len(targets)), targets]", "prob[:, targets]"),
    edit("cross_entropy_backward", "one minus p", "prob * dlosses", "-prob * dlosses"),
    edit("cross_entropy_backward", "divided by the number of rows", "prob * dlosses[:, None]",
         "prob * dlosses[:, None] / len(targets)"),
    edit("cross_entropy_backward", "softmax over the batch", "exp.sum(axis=1, keepdims=True)", "exp.sum(axis=0)"),
    edit("cross_entropy_backward", "no maximum subtracted", "logits - logits.max(axis=1, keepdims=True)", "logits"),
    edit("cross_entropy_backward", "the maximum of the whole batch", "logits.max(axis=1, keepdims=True)",
         "logits.max()"),
    edit("cross_entropy_backward", "probabilities of sigmoids", "exp / exp.sum(axis=1, keepdims=True)",
         "1 / (1 + np.exp(-logits))"),
    wrong("cross_entropy_backward", "the mean over the rows", _flat, at="shapes"),
    wrong("cross_entropy_backward", "zero", lambda dlosses, logits, targets: np.zeros(logits.shape)),
    edit("linear_backward", "mean over the rows", "dout.T @ inp", "dout.T @ inp / len(inp)"),
    edit("linear_backward", "dweight transposed", "dout.T @ inp", "inp.T @ dout", at="shapes"),
    edit("linear_backward", "dweight of the first row", "dout.T @ inp", "np.outer(dout[0], inp[0])"),
    edit("linear_backward", "bias: the mean, not the sum", "dout.sum(axis=0)", "dout.mean(axis=0)"),
    edit("linear_backward", "bias: of the first row", "dout.sum(axis=0)", "dout[0].copy()"),
    edit("linear_backward", "bias: not summed at all", "dout.sum(axis=0)", "dout", at="shapes"),
    edit("linear_backward", "dinp and dweight exchanged", "return dinp, dweight", "return dweight, dinp"),
    edit("linear_backward", "dinp ignores the upstream", "dout @ weight", "np.ones_like(dout) @ weight"),
    edit("linear_backward", "dinp is zero", "dout @ weight", "np.zeros(inp.shape)"),
    edit("embedding_backward", "repeated symbols count once", "np.add.at(dweight, tokens, dout)",
         "dweight[tokens] += dout"),
    edit("embedding_backward", "overwritten, not added", "np.add.at(dweight, tokens, dout)", "dweight[tokens] = dout"),
    edit("embedding_backward", "mean of the occurrences", "return dweight",
         "return dweight / np.maximum(np.bincount(tokens, minlength=V), 1)[:, None]"),
    edit("embedding_backward", "only rows up to the largest token", "np.zeros((V,", "np.zeros((tokens.max() + 1,"),
    edit("embedding_backward", "a symbol counts when it first comes", "np.add.at(dweight, tokens, dout)",
         "first = np.unique(tokens, return_index=True)[1]\n    dweight[tokens[first]] = dout[first]"),
    edit("embedding_backward", "gathered again", "return dweight", "return dweight[tokens]"),
    edit("embedding_backward", "off by one", "np.add.at(dweight, tokens, dout)",
         "np.add.at(dweight, (tokens + 1) % V, dout)"),
]

ALTERNATIVES = [
    other("cross_entropy_backward", "through log-probabilities and one-hot rows", cross_entropy_with_one_hot),
    other("linear_backward", "with einsum", linear_with_einsum),
    other("embedding_backward", "as a matrix product with one-hot columns", embedding_with_one_hot),
]
