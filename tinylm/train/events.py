"""What a training run reports: the loop yields these and prints nothing.

    Started, Planned*, (Stepped, Logged?, Evaluated?, Sampled?, Saved*, Planned?, Note*)*, Finished

or Interrupted instead of Finished.  A run that fails raises (`Diverged`, `CheckFailed`, …) after the
events that led to it.  Every event says where it happened:

    step      optimizer steps done, counted from 0 (0: before the first step)
    tokens    training tokens seen
    seconds   time the run has taken up to here, evaluation, samples and saving included, and time
              before an interruption too
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..units import Loss


@dataclass(frozen=True)
class Event:
    """Where in the run something happened."""

    step: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Started(Event):
    """The first event; `step` is above 0 when a run is resumed.

    run                  the run directory
    preset, data         their names
    resumed              whether this continues an earlier run
    parameters           how many the model has
    vocab                V
    tokenizer            name or digest of the tokenizer, as in every Loss of this run
    tokens_per_step      B · T · accumulated batches
    train_tokens         tokens in the training split (for epochs)
    val_tokens           tokens of the fixed validation set
    flops_per_token      operations of one training token, forward and backward (a multiply-add is two)
    time_budget          seconds, or None
    floor                entropy floor of the corpus in bits per byte, or None where nobody knows it
    threads, backend     how it is computed
    """

    run: Path
    preset: str
    data: str
    resumed: bool
    parameters: int
    vocab: int
    tokenizer: str
    tokens_per_step: int
    train_tokens: int
    val_tokens: int
    flops_per_token: float
    time_budget: float | None
    floor: float | None
    threads: int
    backend: str


@dataclass(frozen=True)
class Planned(Event):
    """The number of the last step is now known, or known better (time budgets are planned again).

    steps             the step at which training will end
    seconds_per_step  measured, evaluation included; None where nothing had to be measured
    """

    steps: int
    seconds_per_step: float | None


@dataclass(frozen=True)
class Stepped(Event):
    """One optimizer step; comes after every step, so draw it as rarely as you like.

    train      loss of this step's batches
    lr         learning rate used
    grad_norm  2-norm of the mean gradient before clipping
    fraction   of the planned training that is done, 0 to 1
    """

    train: Loss
    lr: float
    grad_norm: float
    fraction: float


@dataclass(frozen=True)
class Logged(Event):
    """A train line of metrics.jsonl; comes every `log_every` steps and at the end.

    train              mean loss of all batches since the last such line
    lr, grad_norm      of the newest step
    tokens_per_second  since the last such line, in training steps alone
    """

    train: Loss
    lr: float
    grad_norm: float
    tokens_per_second: float


@dataclass(frozen=True)
class Evaluated(Event):
    """A val line of metrics.jsonl: the loss on the fixed validation set.

    val                the same tokens every time
    best               lower than at every earlier evaluation after step 0
    above_floor        bits per byte above the entropy floor, or None without a floor
    floor_error        standard error of above_floor that comes from evaluating a part of the text
    """

    val: Loss
    best: bool
    above_floor: float | None = None
    floor_error: float | None = None


@dataclass(frozen=True)
class Sampled(Event):
    """What the model writes now; also in `path`."""

    text: str
    path: Path


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint is on the disk.   best: checkpoints/best is this one too"""

    path: Path
    best: bool


@dataclass(frozen=True)
class Note(Event):
    """One plain sentence a person should read."""

    text: str


@dataclass(frozen=True)
class Finished(Event):
    """The last event of a run that reached its end.

    tokens_per_second    in training steps alone, over the whole run
    train, val           last losses
    best_step, best_val  of the best evaluation
    """

    tokens_per_second: float
    train: Loss
    val: Loss
    best_step: int
    best_val: Loss


@dataclass(frozen=True)
class Interrupted(Event):
    """The last event of a run that was asked to stop; everything is saved.

    tokens_per_second  as in Finished
    train, val         last losses, None where there was none yet
    resume             the command that continues it
    """

    tokens_per_second: float
    train: Loss | None
    val: Loss | None
    resume: str
