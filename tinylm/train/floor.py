"""How far a loss is above the entropy floor of its corpus, and when it is impossibly far below."""
from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import CheckFailed
from ..units import Loss

ERRORS = 4       # standard errors
LUCK_BITS = 64   # for the whole text; see `FloorCheck`


@dataclass(frozen=True)
class FloorCheck:
    """The floor of a validation text whose true probabilities p are known.

    bits_per_byte   -log2 p of the whole validation split, over its bytes
    standard_error  of that, over the documents
    bytes           of the whole validation split

    A model q that has not seen the text cannot beat p on it by much: since E[q/p] <= 1, the chance
    that it saves c bits **in total** is at most 2^-c, however long the text (Markov's inequality).
    That is the whole allowance, LUCK_BITS, when all of the split is evaluated, and it also covers the
    first token, which no window predicts.

    When only the first n of N bytes are evaluated, their own floor is not known.  The split's floor
    stands in for it, and differs from it by sampling: both are means over the same kind of
    documents, one a part of the other, so the variance of the difference is
    standard_error^2 (N/n - 1).  (The spread of the model's own loss does not enter: what makes a
    document hard for q makes it hard for p.)
    """

    bits_per_byte: float
    standard_error: float
    bytes: int

    def error(self, loss: Loss) -> float:
        """Standard error of the floor of the evaluated part, bits per byte; 0 for the whole split."""
        return self.standard_error * math.sqrt(max(0.0, self.bytes / loss.bytes - 1))

    def above(self, loss: Loss) -> float:
        """Bits per byte above the floor."""
        return loss.bits_per_byte - self.bits_per_byte

    def check(self, loss: Loss, step: int) -> None:
        """Raises    CheckFailed for a loss that no honest model can reach"""
        allowance = ERRORS * self.error(loss) + LUCK_BITS / loss.bytes
        if self.above(loss) < -allowance:
            raise CheckFailed(
                f"step {step:,}: the validation loss, {loss.bits_per_byte:.4f} bits/byte, is "
                f"{-self.above(loss):.4f} below the entropy floor of the corpus, {self.bits_per_byte:.4f} (chance "
                f"explains {allowance:.4f}): this can only mean a leak, of the future into the past or of "
                "validation text into training; tinylm audit looks for the first")
