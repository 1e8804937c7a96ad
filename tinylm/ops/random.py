"""Randomness that is counted, not consumed.

Every random number is a pure function of (seed, purpose, counters), so a resumed run needs the step
number and nothing else, and the order in which threads work cannot matter.
"""
from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np


def _digest(seed: int, purpose: str, size: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=size).digest()


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """A NumPy generator that depends on (seed, purpose, counters) and on nothing else.

    purpose   what the numbers are for ("init", "batch", ...): different purposes never share numbers
    counters  up to three non-negative integers, such as the step

    Raises    ValueError for more than three counters
    Source    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox4x64-10)
    """
    if len(counters) > 3:
        raise ValueError(f"at most three counters, not {len(counters)}")
    key = np.frombuffer(_digest(seed, purpose, 16), np.uint64)
    # The first word is the one the generator itself advances: 2**64 draws before two could meet.
    counter = np.array([0, *counters] + [0] * (3 - len(counters)), np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


PHILOX_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
PHILOX_WEYL = 0x9E3779B9, 0xBB67AE85
PHILOX_ROUNDS = 10


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10: four random 32-bit words for each 128-bit counter.

    Shapes    counter (..., 4) uint32 -> (..., 4) uint32; key is two 32-bit words
    Source    Salmon et al. 2011, section 3.3; checked against the vectors of Random123
    """
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(PHILOX_ROUNDS):
        product0, product1 = c0 * np.uint64(PHILOX_MULTIPLIERS[0]), c2 * np.uint64(PHILOX_MULTIPLIERS[1])
        low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
        c0, c1, c2, c3 = ((product1 >> shift) ^ c1 ^ np.uint64(k0), product1 & low,
                          (product0 >> shift) ^ c3 ^ np.uint64(k1), product0 & low)
        k0, k1 = (k0 + PHILOX_WEYL[0]) & 0xFFFFFFFF, (k1 + PHILOX_WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


class DropoutKey(NamedTuple):
    """Names one dropout mask: the seed of the run, the optimizer step, and which layer asks."""

    key0: int
    key1: int
    step: int
    site: int

    def at(self, site: int) -> DropoutKey:
        """The key of another place in the same step."""
        return self._replace(site=site)


def dropout_key(seed: int, step: int, micro: int = 0) -> DropoutKey:
    """The key for one forward pass: micro counts the passes of a step."""
    key0, key1 = np.frombuffer(_digest(seed, f"dropout:{micro}", 8), np.uint32)
    return DropoutKey(int(key0), int(key1), step & 0xFFFFFFFF, 0)


DROPOUT_LEVELS = 1 << 16  # a rate is rounded to a multiple of 2**-16


def dropout_scale(rate: float) -> tuple[int, float]:
    """(threshold, scale): a 16-bit number below the threshold drops, what stays is scaled."""
    threshold = round(rate * DROPOUT_LEVELS)
    return threshold, DROPOUT_LEVELS / (DROPOUT_LEVELS - threshold)


def dropout_mask(shape: tuple[int, ...], rate: float, key: DropoutKey) -> np.ndarray:
    """0 with probability `rate`, else 1/(1 - rate): the factor that dropout multiplies with.

    A row of C elements uses C/8 counters (block, row, step, site), each worth eight 16-bit numbers.
    Number (half, word) of block j belongs to column (4 half + word) ceil(C/8) + j, so that a kernel
    writes eight unbroken streams.

    Shapes    shape (..., C) -> float64 array of that shape
    """
    columns, rows = shape[-1], int(np.prod(shape[:-1], dtype=np.int64))
    blocks = -(-columns // 8)
    counter = np.empty((rows, blocks, 4), np.uint32)
    counter[..., 0] = np.arange(blocks)
    counter[..., 1] = np.arange(rows)[:, None]
    counter[..., 2], counter[..., 3] = key.step, key.site
    words = philox(counter, (key.key0, key.key1))                                  # (rows, blocks, 4)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=1)                       # (rows, 2, blocks, 4)
    numbers = halves.transpose(0, 1, 3, 2).reshape(rows, 8 * blocks)[:, :columns]  # (rows, C)
    threshold, scale = dropout_scale(rate)
    return np.where(numbers < threshold, 0.0, scale).reshape(shape)
