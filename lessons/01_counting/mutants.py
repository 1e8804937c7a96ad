"""Plausible wrong answers to lesson 1."""
import numpy as np

from tinylm.classroom.mutants import edit, other, wrong


def smoothed_by_einsum(counts, alpha):
    raised = counts.astype(float) + alpha
    return np.einsum("ij,i->ij", raised, 1 / raised.sum(1))


def bits_in_a_loop(prob, tokens, sizes):
    bits = [np.log(prob[a, b]) for a, b in zip(tokens[:-1], tokens[1:])]
    return -sum(bits) / np.log(2) / sum(sizes[b] for b in tokens[1:])


MUTANTS = [
    edit("smoothed", "columns sum to one, not rows", "axis=1, keepdims=True", "axis=0"),
    edit("smoothed", "row sums lie along the columns", ", keepdims=True", "", at="worked case"),
    edit("smoothed", "alpha added to the sum once, not V times", " * len(counts)", ""),
    edit("smoothed", "probabilities of pairs, not of what follows",
         "counts.sum(axis=1, keepdims=True) + alpha * len(counts)", "(counts + alpha).sum()"),
    edit("smoothed", "alpha forgotten above", "(counts + alpha)", "counts"),
    edit("smoothed", "no smoothing at all", "(counts + alpha) / total", "counts / np.maximum(total - 1, 1)"),
    edit("smoothed", "only rows that are empty are smoothed", "(counts + alpha) / total",
         "np.where(counts.any(1)[:, None], counts / np.maximum(counts.sum(1)[:, None], 1), 1 / len(counts))"),
    edit("smoothed", "symbols with a high number get more than others",
         "alpha * len(counts)\n    return (counts + alpha)",
         "alpha * len(counts) * (len(counts) + 1) / 2\n    return (counts + alpha * np.arange(1, len(counts) + 1))"),
    edit("smoothed", "one row only", "(counts + alpha) / total", "((counts + alpha) / total)[0]", at="shapes"),
    edit("bits_per_byte", "nats, not bits", "np.log2", "np.log", at="worked case"),
    edit("bits_per_byte", "per token, not per byte", "sizes[following].sum()", "len(following)"),
    edit("bits_per_byte", "the bytes of the first token count too", "sizes[following].sum()", "sizes[tokens].sum()"),
    edit("bits_per_byte", "bytes of what was given, not of what was predicted", "sizes[following]", "sizes[this]"),
    edit("bits_per_byte", "this and next exchanged", "prob[this, following]", "prob[following, this]"),
    edit("bits_per_byte", "the sign", "-np.log2", "np.log2"),
    edit("bits_per_byte", "mean of the ratios, not ratio of the sums", "bits / sizes[following].sum()",
         "(-np.log2(prob[this, following]) / sizes[following]).mean()"),
    edit("bits_per_byte", "sizes taken in the order of the text", "sizes[following].sum()",
         "np.resize(sizes, len(following)).sum()"),
    edit("bits_per_byte", "a value for each token", ").sum()\n    return", ")\n    return", at="shapes"),
    wrong("bits_per_byte", "right for a uniform model only",
          lambda prob, tokens, sizes: float(np.log2(len(prob)))),
]

ALTERNATIVES = [
    other("smoothed", "raise first, then divide by the row's own sum", smoothed_by_einsum),
    other("bits_per_byte", "a loop over natural logarithms", bits_in_a_loop),
]
