"""What every model here is: an embedding, blocks, a norm and a head, one after the other."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..config import PRECISIONS
from ..errors import UsageError
from ..layers import Layer
from ..ops.attention import Int8Rows


class LanguageModel(Layer):
    """tokens -> embedding -> blocks -> norm -> head.

    A family sets `embedding`, `blocks`, `norm` and `head`, and says how it streams: see `Attending`, `Remembering`.

    exact   whether all sums over channels are of integers, and every other one is added up in the order of a single
            token: then what enters the head is the same to the bit, however a text is cut
    """

    exact = False

    @property
    def precisions(self) -> tuple[str, ...]:
        """With how many bits it can be trained: int8 is for ternary maps of 8-bit activations alone."""
        return tuple(name for name in PRECISIONS if name != "int8" or getattr(self.config, "activation_bits", 0) == 8)

    def children(self):
        return [self.embedding, *self.blocks, self.norm, self.head]

    def _hidden(self, tokens, run, *state):
        """What enters the head.  `state`, if any, is handed to each block."""
        out = self.embedding.forward(tokens, run)                                   # (B, T) -> (B, T, C)
        for block in self.blocks:
            out = block.forward(out, run, *state)                                   # (B, T, C)
        return self.norm.forward(out, run)                                          # (B, T, C)

    def forward(self, tokens, targets, run):
        """Losses in nats of each target given the tokens up to its own position.

        Shapes    tokens, targets (B, T) int32 -> losses (B*T,)
        """
        return self.head.forward(self._hidden(tokens, run), targets, run)

    def backward(self, dlosses, run):
        """Add the gradient of sum(dlosses * losses) to run.g.   Shapes    dlosses (B*T,)"""
        dout = self.norm.backward(self.head.backward(dlosses, run), run)
        for block in reversed(self.blocks):
            dout = block.backward(dout, run)
        self.embedding.backward(dout, run)

    def logits(self, tokens, run):
        """Scores of the next token at every position.   Shapes    (B, T) -> (B, T, V)"""
        return self.head.logits(self._hidden(tokens, run), run)


@dataclass
class Past:
    """What has been read so far: keys and values of every block, and their number.

    cache     (L, 2, B, P, C)
    scales    None, or (L, 2, B, P, H) where the cache holds int8 codes: see `ops.attention.Int8Rows`
    """

    cache: np.ndarray
    scales: np.ndarray | None = None
    length: int = 0

    @property
    def capacity(self) -> int:
        return self.cache.shape[3]

    @property
    def past(self) -> list[tuple]:
        """(keys, values) of each block, (B, P, C) or Int8Rows: what `attention_extend` takes."""
        if self.scales is None:
            return [(keys, values) for keys, values in self.cache]
        return [tuple(map(Int8Rows, *block)) for block in zip(self.cache, self.scales)]


CACHE_BITS = 8, 32  # of a number of keys and values


class Attending(LanguageModel):
    """A model whose blocks look back at keys and values: it streams up to its context."""

    def start(self, batch: int, capacity: int | None = None, dtype=np.float32, bits: int = 32) -> Past:
        """An empty state for reading `batch` texts of up to `capacity` (default: context) tokens.

        bits      of a number in it: 8 for keys and values as int8 codes, a quarter of the memory; 32 for the dtype
        Raises    UsageError for other bits
        """
        if bits not in CACHE_BITS:
            raise UsageError(f"a cache of {bits} bits: there are those of {' and '.join(map(str, CACHE_BITS))}")
        capacity = min(capacity or self.config.context, self.config.context)
        shape = len(self.blocks), 2, batch, capacity
        if bits == 8:
            return Past(np.zeros((*shape, self.config.channels), np.int8),
                        np.zeros((*shape, self.config.heads), np.float32))
        return Past(np.zeros((*shape, self.config.channels), dtype))

    def extend(self, tokens, state: Past, run):
        """Read more tokens: the same scores as `logits` of the whole text, for the new positions.

        Shapes    tokens (B, T) -> (B, T, V); state.length grows by T
        Raises    ShapeError when the state has no room
        """
        out = self.embedding.forward(tokens, run, state.length)
        for block, past in zip(self.blocks, state.past):
            out = block.extend(out, past, state.length, run)
        state.length += tokens.shape[1]
        return self.head.logits(self.norm.forward(out, run), run)


@dataclass
class Memory:
    """What is remembered of the text read so far, by the name of the layer that remembers it.

    Its size does not depend on how much has been read.
    """

    memory: dict[str, np.ndarray] = field(default_factory=dict)
    length: int = 0
    capacity: None = None  # no limit


class Remembering(LanguageModel):
    """A model whose blocks keep a memory of fixed size: it streams without end."""

    @property
    def exact(self) -> bool:
        return self.config.activation_bits == 8

    def start(self, batch: int, capacity: int | None = None, dtype=np.float32) -> Memory:
        """The state before anything is read; batch, capacity and dtype follow from what will be."""
        return Memory()

    def extend(self, tokens, state: Memory, run):
        """Read more tokens: the same scores as `logits` of the whole text, for the new positions.

        Shapes    tokens (B, T) -> (B, T, V); state.length grows by T
        """
        out = self._hidden(tokens, run, state.memory)
        state.length += tokens.shape[1]
        return self.head.logits(out, run)


def at_least(config, low: int, *names: str, why: str = "") -> None:
    """Raises UsageError for an option of a model's config that is below `low`."""
    for name in names:
        if getattr(config, name) < low:
            raise UsageError(f"{name} is {getattr(config, name)}: it must be {why or f'at least {low}'}")


def checked_rate(rate: float) -> None:
    """Raises UsageError for a rate of dropout outside [0, 1)."""
    if not 0 <= rate < 1:
        raise UsageError(f"dropout is {rate}: it must be at least 0 and below 1")


def checked_heads(channels: int, heads: int) -> None:
    """Raises UsageError for channels that heads cannot share."""
    if channels % heads:
        raise UsageError(f"{channels} channels cannot be shared by {heads} heads: "
                         "channels must be a multiple of heads")


def checked_precision(model: LanguageModel, precision: str) -> None:
    """Raises UsageError for a precision in which the model cannot be trained."""
    if precision not in model.precisions:
        raise UsageError(f"precision {precision} is for ternary maps with 8-bit activations, and this model has none: "
                         f"there are {', '.join(model.precisions)}")


def checked_bits(bits: int) -> None:
    """Raises UsageError for activation bits that are neither 8 nor 0."""
    if bits not in (0, 8):
        raise UsageError(f"activation_bits is {bits}: it must be 8, or 0 for float")
