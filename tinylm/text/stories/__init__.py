"""The built-in corpus `stories`: short children's stories from a grammar, so that the exact probability of every
story is known.

A story is drawn from a probabilistic attribute grammar (`grammar`): first a plot, then its attributes (hero,
friend, place, thing, ...), then the words of every sentence. Every text has one derivation only, so p(text) is the
product of the probabilities of its draws,
and -log2 p(text), summed over a corpus and divided by its bytes, is the entropy floor of the corpus: the bits per
byte that the true model reaches and no other model can beat on average.

The grammar is built when it is first used.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from tinylm.text.stories.grammar import Choice, Grammar

__all__ = [
    "Floor",
    "SEPARATOR",
    "entropy_floor",
    "expected_floor",
    "generate",
    "grammar",
    "log_probability",
    "plot_names",
    "sample",
]

# The line between two stories in a file, and the token between two documents of a corpus.
SEPARATOR = "<|endoftext|>"
# Randomness is counted, not consumed: this number keeps the stories apart from every other use of the same seed.
_PURPOSE = 0x53544F52494553


@dataclass(frozen=True)
class Floor:
    """The entropy floor of some stories: bits per byte of UTF-8, its standard error over documents, and their
    number."""

    bits_per_byte: float
    standard_error: float
    documents: int


@cache
def grammar() -> Grammar:
    """The grammar of all stories: a choice between the plots. Built once, at the first call."""
    from tinylm.text.stories.notation import Translator
    from tinylm.text.stories.plots import PLOTS
    from tinylm.text.stories.words import PHRASES

    translate = Translator(PHRASES)
    return Grammar(
        Choice(tuple(translate.plot(plot.draws, plot.beats) for plot in PLOTS), tuple(plot.weight for plot in PLOTS))
    )


def plot_names() -> tuple[str, ...]:
    """The names of the plots, in the order of the alternatives of `grammar().root`."""
    from tinylm.text.stories.plots import PLOTS

    return tuple(plot.name for plot in PLOTS)


def sample(rng: np.random.Generator) -> tuple[str, float]:
    """Draw a story; return (text, ln p(text)), the log-probability in nats."""
    return grammar().sample(rng)


def log_probability(text: str) -> float:
    """ln p(text), in nats: the text is parsed and the probabilities of its one derivation are multiplied.

    Raises: ValueError when the grammar cannot produce the text.
    """
    return grammar().log_probability(text)


def generate(count: int, seed: int) -> Iterator[tuple[str, float]]:
    """Yield `count` stories as (text, ln p(text)). Story i is a function of (seed, i) alone, so a longer list
    begins with the shorter one.

    Raises: ValueError when `count` is negative or `seed` is not in [0, 2^64).
    """
    if count < 0:
        raise ValueError(f"count is {count}, but there is no negative number of stories")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed is {seed}, but it must be in [0, 2^64)")
    return itertools.islice(_all_stories(seed), count)


def _all_stories(seed: int) -> Iterator[tuple[str, float]]:
    draw = grammar().sample
    for i in itertools.count():
        # The counter of story i begins at i * 2^128, so the numbers of two stories never overlap.
        yield draw(np.random.Generator(np.random.Philox(key=seed | _PURPOSE << 64, counter=i << 128)))


def entropy_floor(stories: Iterable[tuple[str, float]], separator_bytes: int = 0) -> Floor:
    """sum(-log2 p) / sum(bytes) over (text, ln p) pairs, with the standard error of a ratio of means over documents.

    `separator_bytes` are added to the length of every document. A separator costs no bits, because the grammar
    knows where a story ends, but it has bytes if the loss counts them.

    Raises: ValueError for fewer than two stories: one has no standard error.
    """
    pairs = [(-log_p / math.log(2), len(text.encode()) + separator_bytes) for text, log_p in stories]
    if len(pairs) < 2:
        raise ValueError("the standard error needs at least two stories")
    bits, sizes = np.array(pairs, dtype=np.float64).T
    ratio = bits.sum() / sizes.sum()
    # The ratio estimator: its residuals bits - ratio * bytes have mean zero (Cochran, Sampling Techniques, 1977,
    # section 6.4).
    residual_variance = ((bits - ratio * sizes) ** 2).sum() / (len(pairs) - 1)
    return Floor(float(ratio), float(math.sqrt(residual_variance / len(pairs)) / sizes.mean()), len(pairs))


def expected_floor(separator_bytes: int = 0) -> float:
    """E[-log2 p] / E[bytes], in bits per byte: the limit of `entropy_floor` for more and more stories, computed
    from the tree without sampling."""
    nats, characters = grammar().expectations()
    return nats / math.log(2) / (characters + separator_bytes)
