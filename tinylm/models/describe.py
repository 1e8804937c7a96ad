"""What a model is made of, before or while it runs: parameters, operations, memory, shapes, time.

Operations are counted as the field does: one multiplication with its addition is two flops, and only
matrix products count, those of the parameters and the two inside attention (q k^T and prob v).  Norms,
activations, softmax, lookups and sums are left out; they are few.
"""
from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers import Cost, Layer, Parameters, Pass, Tape
from ..layers.base import FLOAT_BYTES
from ..ops.packed import packed_shape

BACKWARD = 2         # every product has two in the backward pass: one for each of its factors
MOMENTS = 2          # Adam keeps two numbers a parameter
PASSES = 3           # timed by `trace`
AT_ONCE = 3 << 18    # numbers in an activation of a training pass, 3 MB: 2,048 tokens of 384 channels


@dataclass(frozen=True)
class Component:
    """All layers of one kind, such as the attention of every block.

    layers      how many there are
    parameters  how many numbers they own
    ternary     how many of those are ternary
    multiplies  multiplications a token in their matrix products, forward
    """

    name: str
    layers: int
    parameters: int
    ternary: int
    multiplies: float


def component_of(name: str) -> str:
    """The component a layer or parameter belongs to: "blocks.3.norm2.weight" -> "norm"."""
    return re.sub(r"\d+$", "", re.sub(r"^blocks\.\d+\.", "", name).split(".")[0])


def components(model: Layer, context: int) -> list[Component]:
    """The kinds of layers in the order in which data meets them; multiplications at this context."""
    tops: dict[str, set[str]] = {}
    sums: dict[str, list[float]] = {}
    for layer in _inside(model):
        component = component_of(layer.name)
        tops.setdefault(component, set()).add(_top(layer.name))
        total = sums.setdefault(component, [0, 0, 0])
        for p in layer.own_parameters():
            total[0] += p.size
            total[1] += p.size * (p.kind == "ternary")
        total[2] += layer.multiplies(context)
    return [Component(name, len(tops[name]), *sums[name]) for name in sums]


def _inside(model: Layer) -> Iterator[Layer]:
    """Every layer below the model but the blocks, which only hold others."""
    for layer in model.walk():
        if layer is not model and not re.fullmatch(r"blocks\.\d+", layer.name):
            yield layer


def _top(name: str) -> str:
    """The outermost layer of a component: "blocks.3.ffn.up" -> "blocks.3.ffn"."""
    return re.match(r"(?:blocks\.\d+\.)?[^.]+", name).group()


def parameters(model: Layer) -> dict[str, int]:
    """{total, ternary, float}"""
    declared = model.parameters()
    ternary = sum(p.size for p in declared if p.kind == "ternary")
    total = sum(p.size for p in declared)
    return {"total": total, "ternary": ternary, "float": total - ternary}


def multiplies(model: Layer, context: int) -> dict[str, float]:
    """Multiplications a token, forward: of every component that has some, and "total".

    context   attention looks back at half of it on average: a token at position t sees t + 1
    """
    found = {c.name: c.multiplies for c in components(model, context) if c.multiplies}
    return found | {"total": sum(found.values())}


def flops(model: Layer, context: int) -> dict[str, float]:
    """Operations a token {forward, backward}: 2 a multiplication, and twice as many going back."""
    forward = 2 * multiplies(model, context)["total"]
    return {"forward": forward, "backward": BACKWARD * forward}


def costs(model: Layer, context: int) -> dict[str, dict[str, float]]:
    """Inference of one token by the kind of work, and "total": each the fields of a `layers.Cost`.

    context   attention looks back at half of it on average; a recurrence costs the same at any position
    """
    found: dict[str, Cost] = {}
    for layer in model.walk():
        for kind, cost in layer.costs(context).items():
            found[kind] = found.get(kind, Cost()) + cost
    found["total"] = sum(found.values(), Cost())
    return {kind: cost._asdict() for kind, cost in found.items()}


def texts_at_once(model: Layer, batch_size: int, context: int) -> int:
    """How many texts of a batch go through the model together in training; the gradients of such parts add up.

    As many as have about AT_ONCE numbers in an activation, so that it stays in cache from one layer to the next, and
    no batch is too large for memory.  All parts are of one size: a batch that has no such part is not cut.
    """
    most = max(1, AT_ONCE // (model.config.channels * context))
    return next((texts for texts in range(most, most // 2, -1) if batch_size % texts == 0), batch_size)


def memory(model: Layer, f, batch_size: int, context: int) -> dict[str, int]:
    """Bytes that training needs: {weights, packed, gradients, optimizer, activations}.

    weights      parameters as float32
    packed       parameters for inference: ternary ones at four codes a byte, with what pads them, and a scale each
    gradients    one number a parameter
    optimizer    Adam's two moments
    activations  what one forward pass keeps for the backward pass: measured on one text of `context`
                 tokens with the operations `f`, times those of a batch that go through the model together
    """
    declared, count = model.parameters(), parameters(model)
    codes = sum(math.prod(packed_shape(*p.shape)) + FLOAT_BYTES for p in declared if p.kind == "ternary")
    return {"weights": FLOAT_BYTES * count["total"], "packed": codes + FLOAT_BYTES * count["float"],
            "gradients": FLOAT_BYTES * count["total"], "optimizer": MOMENTS * FLOAT_BYTES * count["total"],
            "activations": texts_at_once(model, batch_size, context) * activations(model, f, 1, context)}


def activations(model: Layer, f, batch: int, context: int) -> int:
    """Bytes on the tape after a forward pass over (batch, context) tokens, parameters left out."""
    params, tape = Parameters(model.parameters()), OpenTape()
    params.initialise(0)
    tokens = _any_tokens(model, batch, context)
    # The targets are an array of their own, as a batch's are.
    model.forward(tokens, tokens.copy(), Pass(f=f, p=params, g=params.like(), tape=tape))
    return kept_bytes(tape.values, params)


class OpenTape(Tape):
    """A tape for one forward pass that shows what is on it: `values`."""

    def __init__(self):
        super().__init__()
        self.values: list[Any] = []

    def push(self, name, value):
        super().push(name, value)
        self.values.append(value)


def kept_bytes(values: Any, params: Parameters) -> int:
    """Bytes of memory that nested tuples keep alive: every buffer once, whole, and no parameter."""
    buffers: dict[int, int] = {}
    for array in _arrays(values):
        if np.may_share_memory(array, params.flat):
            continue
        while isinstance(array.base, np.ndarray):  # a view keeps all of its buffer
            array = array.base
        buffers[array.ctypes.data] = array.nbytes
    return sum(buffers.values())


def _arrays(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _arrays(inner)


def _any_tokens(model, batch, context):
    return (np.arange(batch * context, dtype=np.int32) % model.config.vocab).reshape(batch, context)


@dataclass
class LayerTrace:
    """One layer of a forward pass.

    depth        0 for the model, 1 for what it calls, ...
    inp, out     shapes; for the model's and the embedding's input that of the tokens
    inp_axes, out_axes   their names: "B", "T", "C", "3C", "F", "V", or the number
    parameters   own ones and those inside
    flops        a token, forward, those inside included
    seconds      those inside included; None for maps of one input that their layer does together
    """

    name: str
    kind: str
    depth: int
    inp: tuple[int, ...]
    inp_axes: tuple[str, ...]
    out: tuple[int, ...]
    out_axes: tuple[str, ...]
    parameters: int
    flops: float
    seconds: float | None


def trace(model: Layer, params: Parameters, f, batch: int, context: int) -> list[LayerTrace]:
    """Every layer a (batch, context) pass to the logits goes through, in the order of the diagram.

    Times are the shortest of PASSES passes, since other work on the machine only ever adds to one.
    """
    shapes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    seconds: dict[str, float] = {}

    def observe(layer, inp, out):
        shapes[layer.name] = inp.shape, out.shape

    tokens = _any_tokens(model, batch, context)
    model.logits(tokens, Pass(f=f, p=params))  # kernels are compiled, memory has been touched
    for _ in range(PASSES):
        once: dict[str, float] = {}
        with _timed(model.walk(), once):
            out = model.logits(tokens, Pass(f=f, p=params, observe=observe))
        seconds = {name: min(took, seconds.get(name, took)) for name, took in once.items()}
    shapes[model.name] = tokens.shape, out.shape

    def visit(layer, depth):
        inp, out = shapes[layer.name]
        yield LayerTrace(
            layer.name, type(layer).__name__, depth, inp, _axes(model, layer, inp, False),
            out, _axes(model, layer, out, True), sum(p.size for p in layer.parameters()),
            2 * sum(part.multiplies(context) for part in layer.walk()), seconds.get(layer.name))
        for child in layer.children():
            yield from visit(child, depth + 1)

    return list(visit(next(iter(model.walk())), 0))  # of a packed model, what is inside


@contextmanager
def _timed(layers, seconds: dict[str, float]):
    """Within this block, how long each layer took is added to `seconds`."""
    shadowed = []

    def timed(name, go):
        def call(*args, **kwargs):
            start = time.perf_counter()
            try:
                return go(*args, **kwargs)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
        return call

    for layer in layers:
        for method in ("forward", "logits"):
            if hasattr(layer, method):
                setattr(layer, method, timed(layer.name, getattr(layer, method)))
                shadowed.append((layer, method))
    try:
        yield
    finally:
        for layer, method in shadowed:
            delattr(layer, method)  # the class has the real one


def axis_sizes(model: Layer) -> dict[str, int]:
    """The sizes of the channel axes by name; "B" and "T" are the pass's own."""
    c = model.config
    return {"C": c.channels, "3C": 3 * c.channels, "F": c.hidden or 4 * c.channels, "V": c.vocab}


def _axes(model: Layer, layer: Layer, shape: tuple[int, ...], is_out: bool) -> tuple[str, ...]:
    """("B", "T") and, where there is a third axis, its name; its number if no name fits."""
    sizes, part = axis_sizes(model) | {"2C": 2 * model.config.channels}, layer.name.rpartition(".")[2]
    # Sizes may be equal by chance, so ask first what the layer is known for.
    known = {("qkv", True): "3C", ("gate", True): "F", ("up", True): "F", ("down", False): "F",
             ("head", True): "V", (model.name, True): "V"}.get((part, is_out), "C")
    return ("B", "T", *(next((name for name in (known, *sizes) if sizes[name] == size), str(size))
                        for size in shape[2:]))
