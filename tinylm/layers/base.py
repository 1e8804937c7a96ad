"""What a layer is, and what it is given to work with."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..ops.precision import precision
from ..ops.random import DropoutKey
from .parameters import Parameter, Parameters

FLOAT_BYTES = 4  # float32


class Tape:
    """What the forward pass must remember, last in, first out."""

    def __init__(self):
        self._entries: list[tuple[str, Any]] = []

    def push(self, name: str, value: Any) -> None:
        self._entries.append((name, value))

    def pop(self, name: str) -> Any:
        """The newest entry.  Raises RuntimeError if another layer put it there: then a backward
        pass does not mirror its forward pass."""
        pushed, value = self._entries.pop()
        if pushed != name:
            raise RuntimeError(f"{name} went back where {pushed} is the last that went forward")
        return value

    def __len__(self) -> int:
        return len(self._entries)


@dataclass
class Pass:
    """One journey through a model: which operations, whose parameters, what to remember.

    f         the operations: `tinylm.ops` or `tinylm.kernels`
    p         parameters
    g         where parameter gradients are added, or None
    tape      what backward needs, or None when there will be no backward
    dropout   the key of this step's masks, or None: no dropout
    observe   called as observe(layer, inp, out) after each layer, or None
    dlosses   the gradient of each loss, where it is known before: then the head goes back while it goes forward
    made      what was computed from the parameters alone, such as ternary codes: once in a pass
    fresh     whether what g holds of ternary weights counts as 0, and is written over
    """

    f: ModuleType
    p: Parameters
    g: Parameters | None = None
    tape: Tape | None = None
    dropout: DropoutKey | None = None
    observe: Callable[[Layer, np.ndarray, np.ndarray], None] | None = None
    dlosses: np.ndarray | None = None
    made: dict[str, Any] = field(default_factory=dict)
    fresh: bool = False

    def once(self, name: str, make: Callable[[np.ndarray], Any]) -> Any:
        """make(the parameter called name), computed at its first use in this pass."""
        if name not in self.made:
            self.made[name] = make(self.p[name])
        return self.made[name]

    @property
    def alone(self) -> bool:
        """Whether these are the kernels, none of them replaced, and nobody looks on: then one operation may hand on
        what the next one multiplies.  (The kernels are known by name: to import them takes a while.)"""
        return (getattr(self.f, "__name__", "") == "tinylm.kernels" and self.p.flat.dtype == np.float32
                and self.observe is None)

    @property
    def plain(self) -> bool:
        """Whether, besides, products are of float32 and nothing is kept: then several operations may be one call."""
        return self.alone and precision() == "float32" and self.tape is None

    def into(self, *ternary: Parameter) -> dict[str, Any]:
        """Where the gradients of ternary weights go, as operations take it, by name."""
        add_to = [self.g[weight.name] for weight in ternary]
        return {"add_to": add_to, "fresh": True} if self.fresh else {"add_to": add_to}

    def remember(self, layer: Layer, value: Any) -> None:
        if self.tape is not None:
            self.tape.push(layer.name, value)

    def recall(self, layer: Layer) -> Any:
        return self.tape.pop(layer.name)

    def seen(self, layer: Layer, inp: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Tell the observer what went through a layer; returns out."""
        if self.observe is not None:
            self.observe(layer, inp, out)
        return out


class Replaced:
    """Operations of which a subclass replaces some; what is made of a replaced one is made of the new one, too."""

    def __init__(self, operations):
        self._operations = operations

    def __getattr__(self, name):
        if name == "__name__":  # these are no longer the operations of that name: see `Pass.alone`
            raise AttributeError(name)
        return getattr(self._operations, name)

    def bitlinears_forward(self, inp, ternaries, activation_bits=0):
        return zip(*(self.bitlinear_forward(inp, ternary, activation_bits) for ternary in ternaries))


class Cost(NamedTuple):
    """What one token costs at inference, counted by the definition and not by what a compiler makes of it.

    additions   subtractions too; comparisons and roundings are not counted
    functions   exponentials, square roots, divisions
    read        bytes of weights and of what is remembered
    """

    multiplications: float = 0
    additions: float = 0
    functions: float = 0
    read: float = 0

    def __add__(self, other):
        return Cost(*(x + y for x, y in zip(self, other)))


class Layer:
    """A piece of a model: declares its parameters, goes forward, goes backward.

    forward(inp, run) -> out and backward(dout, run) -> dinp; `run` is a `Pass`.
    Parameter gradients are added to run.g, never overwritten.
    """

    name: str

    def children(self) -> list[Layer]:
        """The layers inside, in the order in which data meets them."""
        return []

    def own_parameters(self) -> list[Parameter]:
        return []

    def walk(self) -> Iterator[Layer]:
        """This layer and all inside it."""
        yield self
        for child in self.children():
            yield from child.walk()

    def parameters(self) -> list[Parameter]:
        """The declaration of everything inside."""
        return [p for layer in self.walk() for p in layer.own_parameters()]

    def multiplies(self, context: int) -> float:
        """Multiplications a token in this layer's matrix products, forward, children not included.

        context  number of positions; attention counts the average causal half.
        """
        return 0

    def costs(self, context: int) -> dict[str, Cost]:
        """Inference of one token by the kind of work, children not included; sums of equal kinds add up.

        A layer that does more than a matrix product says so here itself.
        """
        products, own = self.multiplies(context), sum(p.size for p in self.own_parameters())
        return {"products": Cost(products, products, 0, FLOAT_BYTES * own)} if products or own else {}
