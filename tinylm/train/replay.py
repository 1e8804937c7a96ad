"""The passes of a step, recorded once and then made again without the Python around their kernels.

The first full step is recorded (`tinylm.kernels.recording`).  Another one is made twice, from the recording and by the
layers: only if losses and gradients have the same bits is the recording used from then on.  So a layer that works on
arrays with NumPy, which no recording would contain, costs speed.  Steps are made twice again later, ever more rarely,
for what changes only then: that ends the run with an error, and steps since the last comparison may have been wrong.
"""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from ..errors import CheckFailed
from ..kernels import memory
from ..kernels.fork import thread_count
from ..kernels.recording import Recording
from ..kernels.rows import clear
from ..kernels.tape import Tape
from ..layers import Parameters
from ..ops import shapes
from ..ops.random import DropoutKey

# Of a step's batches the first makes what all use (ternary codes), the others are like the second.
KINDS = 2
CHECKED = 8  # steps from the recording are compared with the layers when there were 1, 8, 64, 512, ... of them

Batch = tuple[np.ndarray, np.ndarray]


class Passes:
    """Forward and backward over the batches of a step.

    passes    passes(inputs, targets, step, micro, made) adds to grads and returns losses (B*T,) in nats; `made` is
              what earlier batches of the step have computed from the parameters.  Where steps are recorded, the first
              batch writes the gradients of ternary weights, whatever they were
    key       key(step, micro) of the dropout masks
    vocab     tokens are below it
    records   whether steps are recorded: only kernels can be
    """

    def __init__(self, passes: Callable[..., np.ndarray], grads: Parameters, *, key: Callable[[int, int], DropoutKey],
                 vocab: int, records: bool):
        self._passes, self._grads, self._key, self._vocab = passes, grads, key, vocab
        self._inputs = self._targets = np.zeros((0, 0), np.int32)  # where recorded kernels find them
        self.shelves: memory.Shelves = {}  # nobody may keep what was lent from here while a recording is made again
        self._recordings: list[tuple[Recording, np.ndarray]] = []  # with the losses they write
        self.records, self._replayed, self._threads, self._recorded = records, 0, 0, 0
        self._added_to = grads.pieces("ternary")

    @property
    def replays(self) -> bool:
        """Whether steps come from recordings now."""
        return self.records and self._replayed > 0

    @property
    def settled(self) -> bool:
        """Whether it is known how steps are made, so that the next one takes as long as most that follow."""
        return not self.records or self._replayed > 0

    def gradients(self, step: int, batches: Sequence[Batch]) -> list[float]:
        """The sum of the losses of each batch; grads then hold the gradient of all, whatever they held before.

        Raises    CheckFailed when a recording stops agreeing with the layers
        """
        if not self.records:
            return self._by_layers(step, batches)
        if self._threads != thread_count():  # recorded calls have scratch memory for so many
            self._threads, self._replayed = thread_count(), 0
            self._recordings.clear()
        if not self._recordings:
            self._recorded = step
            return self._by_layers(step, batches, min(KINDS, len(batches)))
        if self._replayed == 0 and step == self._recorded:  # the same numbers again would prove nothing
            return self._by_layers(step, batches)
        again = self._again(step, batches)
        self._replayed += 1
        if not _is_power(self._replayed, CHECKED):
            return again
        gradients = self._digest()
        sums = self._by_layers(step, batches)
        if again != sums or gradients != self._digest():
            if self._replayed > 1:
                raise CheckFailed(f"step {step:,}: the recorded kernels give other numbers than the layers; a layer "
                                  "computes something outside kernels that changed only now")
            self.records = False
        return sums

    def _by_layers(self, step, batches, recorded=0):
        """As `gradients`, by the layers; the first `recorded` batches are recorded meanwhile."""
        self._clear()
        sums, made = [], {}
        for micro, batch in enumerate(batches):
            self._take(batch)
            if micro < recorded:
                recording = Tape(self.shelves)
                with recording.taking():
                    losses = self._passes(self._inputs, self._targets, step, micro, made)
                self._recordings.append((recording, memory.unlent(losses)))
            else:
                with memory.lent_from(self.shelves):
                    losses = self._passes(self._inputs, self._targets, step, micro, made)
            sums.append(_sum(losses))
            del losses  # its memory goes back to the shelves
        return sums

    def _again(self, step, batches):
        """As `gradients`, from the recordings."""
        self._clear()
        sums = []
        for micro, batch in enumerate(batches):
            self._take(batch)
            shapes.tokens(self._inputs, self._vocab)  # kernels do not look
            shapes.tokens(self._targets, self._vocab, "targets")
            recording, losses = self._recordings[min(micro, KINDS - 1)]
            with np.errstate(all="ignore"):  # what is not finite is looked for, and named better
                recording.play(self._key(step, micro))
            sums.append(_sum(losses))
        return sums

    def _clear(self):
        """Gradients are added to what there is."""
        if self.records:
            for piece in self._added_to:
                clear(piece)
        else:
            self._grads.flat.fill(0)

    def _take(self, batch):
        """Put tokens where the recorded kernels find them.  Raises ValueError for a batch of another size."""
        if not self._recordings and self._inputs.shape != batch[0].shape:
            self._inputs, self._targets = (np.zeros(part.shape, np.int32) for part in batch)
        for place, part in zip((self._inputs, self._targets), batch, strict=True):
            if part.shape != place.shape:
                raise ValueError(f"a batch of {part.shape} after batches of {place.shape}")
            place[:] = part

    def _digest(self):
        return hashlib.blake2b(self._grads.flat).digest()


def _is_power(number, base):
    while number % base == 0:
        number //= base
    return number == 1


def _sum(losses):
    return float(losses.sum(dtype=np.float64))
