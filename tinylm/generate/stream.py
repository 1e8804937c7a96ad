"""Writing text, one token at a time.

The model reads through its cache of keys and values (`model.start`, `model.extend`), so a token costs
one position and not the whole text.  When the cache is full, the window slides: the last half of it
is read again from position 0, and writing goes on.  So text has no maximum length, and the model
always sees at least half a context.
"""
from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from ..layers import Pass
from ..models.base import Attending
from .sampling import Options, Uniforms, choose

TOP = 5  # alternatives given with every token


class Step(NamedTuple):
    """One token written.

    token        its id
    text_piece   the text that becomes certain with it; "" where a character is not complete yet, and
                 for end-of-text and the tokens of a stop string.  The pieces of all steps together
                 are the text.
    probability  the model's own for this token: at temperature 1, without filters or penalty; None if not judged
    top5         (token, probability) of the five likeliest, likeliest first; empty if not judged
    finish       on the last step: "length", "stop" or "end-of-text"; else None
    """

    token: int
    text_piece: str
    probability: float | None
    top5: tuple[tuple[int, float], ...]
    finish: str | None = None


def stream(model, params, f, tokenizer, prompt_ids, options: Options, *, seed: int, sample: int = 0,
           max_tokens: int | None = None, stop: Sequence[str] = (), judge: bool = True,
           cache_bits: int = 32) -> Iterator[Step]:
    """Write after a prompt: one `Step` a token, as soon as its text is certain.

    f           the operations: `tinylm.ops` or `tinylm.kernels`
    prompt_ids  tokens to begin with, (T,); an empty prompt stands for `first_token`
    max_tokens  stop after so many; None writes until end-of-text, which may be never
    stop        strings that end the text; they do not appear in it
    judge       say how likely each token and its alternatives were, which is one more pass over the scores
    cache_bits  of a number in the cache of keys and values: see `check_cache`

    Raises      UsageError for an empty stop string, a number of tokens below one, or a cache there is none of
    """
    for _, step in write(model, params, f, tokenizer, prompt_ids, options, seed=seed, samples=(sample,),
                         max_tokens=max_tokens, stop=stop, judge=judge, cache_bits=cache_bits):
        yield step


def write(model, params, f, tokenizer, prompt_ids, options: Options, *, seed: int, samples: Sequence[int],
          max_tokens: int | None = None, stop: Sequence[str] = (), judge: bool = True,
          cache_bits: int = 32) -> Iterator[tuple[int, Step]]:
    """As `stream` for several samples of one prompt, which the model reads side by side.

    Yields (row, step): row is the place of a sample in `samples`.  A sample is the same text as if
    it were written alone, up to the rounding of the model's products.
    """
    if max_tokens is not None and max_tokens < 1:
        raise UsageError(f"--max-tokens {max_tokens}: at least 1 token is needed")
    if "" in stop:
        raise UsageError("--stop '': an empty text cannot be looked for")
    prompt = [int(token) for token in prompt_ids]
    reader = Reader(model, params, f, len(samples), cache_bits)
    logits = reader.read(np.tile(prompt or [first_token(tokenizer)], (len(samples), 1)))
    seen = np.zeros((len(samples), tokenizer.vocab_size), bool)
    seen[:, prompt] = True
    uniforms = [Uniforms(seed, sample) for sample in samples]
    texts = [Text(tokenizer, stop) for _ in samples]
    chosen = np.zeros((len(samples), 1), np.int32)
    count = 0
    while True:
        for row, text in enumerate(texts):
            if text.finish is not None:
                continue  # its row is still read along with the others, and nobody looks at it
            token = choose(logits[row], options, uniforms[row][count], seen[row], f)
            chosen[row], seen[row, token] = token, True
            judged = _judged(logits[row], token, f) if judge else (None, ())
            for step in text.add(token, *judged, last=count + 1 == max_tokens):
                yield row, step
        count += 1
        if all(text.finish is not None for text in texts):
            return
        logits = reader.read(chosen)


def _judged(logits, token, f):
    """The model's own probability of a token, and its TOP likeliest tokens."""
    prob, tokens, probs = f.likeliest(logits, token, TOP)
    return prob, tuple(zip(tokens.tolist(), probs.tolist()))


def first_token(tokenizer) -> int:
    """What stands before a text without a prompt: end-of-text, after which documents begin; else a
    newline; else the first symbol of the vocabulary."""
    if tokenizer.end_of_text is not None:
        return tokenizer.end_of_text
    try:
        return int(tokenizer.encode("\n")[0])
    except UsageError:  # the vocabulary has no newline
        return 0


def check_cache(model, cache_bits: int) -> None:
    """Raises UsageError for 8 bits a number where a model keeps no keys and values."""
    if cache_bits != 32 and not isinstance(model, Attending):
        raise UsageError(f"--cache-bits {cache_bits}: {model.family} keeps no keys and values, "
                         "and what it remembers of a text does not grow")


class Reader:
    """Reads texts through the cache of keys and values, sliding the window when it is full."""

    def __init__(self, model, params, f, batch: int, cache_bits: int = 32):
        check_cache(model, cache_bits)
        self.model, self.run = model, Pass(f=f, p=params)
        bits = {"bits": cache_bits} if cache_bits != 32 else {}
        self.state = model.start(batch, dtype=params.flat.dtype, **bits)
        self._window = np.empty((batch, self.state.capacity or 0), np.int32)

    @property
    def window(self) -> np.ndarray:
        """What the state has read, (B, length)."""
        return self._window[:, :self.state.length]

    def read(self, tokens: np.ndarray) -> np.ndarray:
        """Scores of the token that follows.

        Of more tokens than fit into an empty window, only the last are read.

        Shapes    tokens (B, T), T >= 1 -> (B, V)
        """
        capacity, length = self.state.capacity, self.state.length
        if capacity is not None:  # a recurrent state has no limit, and nothing need be read again
            if length + tokens.shape[1] > capacity:
                keep = max(1, capacity // 2) if length else capacity
                tokens = np.concatenate([self.window, tokens], axis=1)[:, -keep:]
                self.state.length = length = 0
            self._window[:, length:length + tokens.shape[1]] = tokens
        return self.model.extend(np.ascontiguousarray(tokens, np.int32), self.state, self.run)[:, -1]


@dataclass
class Text:
    """The text of one sample as it grows: whole characters only, and no beginning of a stop string.

    finish    why it ended, or None
    """

    tokenizer: object
    stop: Sequence[str] = ()
    finish: str | None = None
    _held: list[Step] = field(default_factory=list)

    def __post_init__(self):
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int, probability: float, top5, last: bool = False) -> list[Step]:
        """Take the next token; return the steps whose text is now certain, in order.

        last    nothing follows: what was held back is text after all
        """
        piece = self._decoder.decode(self.tokenizer.raw_bytes(token))
        if not (self.stop or last or token == self.tokenizer.end_of_text):
            return [Step(token, piece, probability, top5)]  # nothing that it could be the beginning of
        self._held.append(Step(token, piece, probability, top5))
        text = "".join(step.text_piece for step in self._held)
        found = [(at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0]
        if token == self.tokenizer.end_of_text:
            return self._release(len(self._held), "end-of-text")
        if found:
            _, at = min(found)  # the stop string that is complete first; of several the longest
            self._cut(at)
            return self._release(len(self._held), "stop")
        if last:
            return self._release(len(self._held), "length")
        certain, end, count = len(text) - self._doubtful(text), 0, 0
        for step in self._held:
            end += len(step.text_piece)
            if end > certain:
                break
            count += 1
        return self._release(count)

    def _doubtful(self, text: str) -> int:
        """How many characters at the end of `text` might be the beginning of a stop string."""
        return max((n for stop in self.stop for n in range(1, len(stop)) if text.endswith(stop[:n])),
                   default=0)

    def _cut(self, at: int) -> None:
        """Take away the text from character `at` of what is held."""
        for i, step in enumerate(self._held):
            self._held[i] = step._replace(text_piece=step.text_piece[:max(at, 0)])
            at -= len(step.text_piece)

    def _release(self, count: int, finish: str | None = None) -> list[Step]:
        steps, self._held = self._held[:count], self._held[count:]
        if finish is not None:
            self.finish = finish
            steps[-1] = steps[-1]._replace(finish=finish)
        return steps
