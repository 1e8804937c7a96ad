"""Parameters are declared, not discovered: a list of names and shapes, and one flat buffer of numbers."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..ops.random import generator

ALIGNMENT = 16  # float32 values in 64 bytes, a cache line and the widest vector register


@dataclass(frozen=True)
class Parameter:
    """One tensor of a model.

    name     dotted path, such as "blocks.0.attention.qkv.weight"
    kind     "float" or "ternary"
    decayed  whether weight decay applies (matrices: yes; biases and norms: no)
    init     ("normal", std), ("constant", value)
    """

    name: str
    shape: tuple[int, ...]
    decayed: bool
    init: tuple[str, float]
    kind: str = "float"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Parameters:
    """Named views into one flat buffer.

    The decayed tensors come first, so that weight decay is a matter of one index.  Every tensor
    starts on a 64-byte boundary; the few elements between two tensors stay 0 and are not counted.
    Gradients and Adam's moments are buffers of the same layout (`like`).

    flat     (P,) the whole buffer
    decayed  how many elements at its start belong to decayed tensors
    """

    def __init__(self, declaration: Sequence[Parameter], dtype=np.float32):
        names = [p.name for p in declaration]
        if len(set(names)) != len(names):
            raise ValueError(f"declared twice: {sorted({n for n in names if names.count(n) > 1})}")
        self.declaration = tuple(declaration)
        self._offsets, end = {}, 0
        for p in sorted(declaration, key=lambda p: not p.decayed):  # stable: keeps the declared order
            if not p.decayed and "decayed" not in self.__dict__:
                self.decayed = end
            self._offsets[p.name] = end
            end += -(-p.size // ALIGNMENT) * ALIGNMENT
        self.__dict__.setdefault("decayed", end)
        self._set(_aligned_zeros(end, dtype))

    def _set(self, flat: np.ndarray) -> None:
        self.flat = flat
        self._views = {p.name: flat[self._offsets[p.name]:][:p.size].reshape(p.shape)
                       for p in self.declaration}

    def like(self) -> Parameters:
        """A buffer of zeros with the same layout, for gradients or moments."""
        other = object.__new__(Parameters)
        other.declaration, other._offsets, other.decayed = self.declaration, self._offsets, self.decayed
        other._set(_aligned_zeros(self.flat.size, self.flat.dtype))
        return other

    def initialise(self, seed: int) -> None:
        """Draw every tensor from (seed, its name), so that adding one changes no other."""
        for p in self.declaration:
            how, value = p.init
            if how == "normal":
                self[p.name][...] = value * generator(seed, "init:" + p.name).standard_normal(p.shape)
            elif how == "constant":
                self[p.name][...] = value
            else:
                raise ValueError(f"{p.name}: unknown initialiser {how!r}")

    def __getitem__(self, name: str) -> np.ndarray:
        return self._views[name]

    def __contains__(self, name: str) -> bool:
        return name in self._views

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """(name, view) in declared order."""
        return iter(self._views.items())

    def pieces(self, kind: str) -> list[np.ndarray]:
        """The flat buffer without tensors of this kind, in as few pieces as that takes."""
        left_out = sorted((self._offsets[p.name], p.size) for p in self.declaration if p.kind == kind)
        found, start = [], 0
        for offset, size in [*left_out, (self.flat.size, 0)]:
            if offset - start >= ALIGNMENT:  # else only what fills up a line
                found.append(self.flat[start:offset])
            start = offset + size
        return found

    def count(self, kind: str | None = None) -> int:
        """Number of parameters, of one kind or of all."""
        return sum(p.size for p in self.declaration if kind in (None, p.kind))


def _aligned_zeros(size: int, dtype) -> np.ndarray:
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + 64, np.uint8)
    return raw[-raw.ctypes.data % 64:][:size * dtype.itemsize].view(dtype)
