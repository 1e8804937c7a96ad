"""The training loop.  It yields events and prints nothing.

What a step computes depends on the recipe, the seed, the data, the step number and the plan, and on
nothing else: batches and dropout masks are counted, the plan of a time budget is saved before it is
used.  So a run that is stopped or killed and resumed has the same bits as one that never was.
"""
from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shlex
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save

from .. import kernels
from ..config import PRECISIONS, Config
from ..errors import DataMissing, Diverged, TinylmError, UsageError
from ..kernels import memory
from ..layers import Parameters, Pass, Tape
from ..models import describe
from ..ops.precision import CHUNK, autocast
from ..ops.random import dropout_key
from ..units import Loss, Sums
from . import checkpoint as checkpoints
from .checkpoint import Checkpoint
from .events import (
    Evaluated,
    Event,
    Finished,
    Interrupted,
    Logged,
    Note,
    Planned,
    Sampled,
    Saved,
    Started,
    Stepped,
)
from .floor import FloorCheck
from .numerics import numerics
from .quality import TernaryQuality, gradient_norms
from .replay import Passes
from .rundir import RunDir, metrics
from .schedule import Plan, learning_rate, warmup_steps

clock = time.perf_counter
PROBE_SECONDS = 1.0    # of real steps before a time budget is planned, and at most
PROBE_SHARE = 0.02     # of the budget
FAR_OFF = 2.0          # times slower than planned: too slow to wait for the next planned look at the clock
SAVE_SECONDS = 300.0   # a checkpoint at least this often; saving changes no number

_ALL_FINITE = "every tensor is finite, but their sum is not"

Batch = tuple[np.ndarray, np.ndarray]  # inputs, targets: (B, T) int32


@dataclass(frozen=True)
class TrainingData:
    """What the loop needs of a text.

    digest          equal digests mean equal data
    tokenizer       digest, for `Loss`; `tokenizer_json` is the file
    token_bytes, token_chars    of raw text that each token stands for, (V,)
    train_tokens    in the training split
    batch           batch(step, micro), a pure function
    validation      the fixed validation set
    floor           where the true probabilities of the text are known
    """

    name: str
    digest: str
    tokenizer: str
    tokenizer_json: str
    token_bytes: np.ndarray
    token_chars: np.ndarray
    train_tokens: int
    batch: Callable[[int, int], Batch]
    validation: Sequence[Batch]
    floor: FloorCheck | None = None


class Speed(NamedTuple):
    """Measured before training: seconds of a step and of an evaluation."""

    step: float
    evaluation: float


class Trainer:
    """Trains a model.

        for event in Trainer(...).events(): ...

    params            the parameters, as trained so far
    sample            sample(step) -> str, or None; may be set before `events` is started
    checkpoint        go on from there, with the plan and the counters in it
    steps             end at this step instead (with a checkpoint)
    notes             sentences to yield after Started
    accept_other_code resume although the code has changed since

    Raises    UsageError, DataMissing where a checkpoint does not fit
    """

    def __init__(self, *, model, data: TrainingData, config: Config, f: ModuleType, threads: int = 1,
                 run: RunDir | None = None, checkpoint: Checkpoint | None = None, steps: int | None = None,
                 sample: Callable[[int], str] | None = None, notes: Sequence[str] = (),
                 accept_other_code: bool = False, dtype=np.float32):
        self.model, self.data, self.config, self.f, self.run = model, data, config, f, run
        self.recipe, self.seed, self.threads = config.recipe, config.setup.seed, threads
        self.sample, self.notes = sample, list(notes)
        self.context = model.config.context
        self.texts = describe.texts_at_once(model, self.recipe.batch_size, self.context)  # of a pass
        self.tokens_per_step = self.recipe.batch_size * self.context * self.recipe.accumulate
        self.passes_per_step = self.recipe.accumulate * self.recipe.batch_size // self.texts
        self.numerics = numerics(config.setup.backend)
        self.params = Parameters(model.parameters(), dtype)
        self.grads, self.first, self.second = (self.params.like() for _ in range(3))
        self.decayed = self.params.flat.size if self.recipe.decay_all else self.params.decayed
        self.quality = TernaryQuality(self.params, f)
        self.passes = Passes(
            lambda *arguments: self._backward(*arguments), self.grads, vocab=model.config.vocab, records=f is kernels,
            key=lambda step, micro: dropout_key(self.seed, step, micro))
        self._dlosses: np.ndarray | None = None
        self._validation = [(inputs, targets, self._sums(targets)) for inputs, targets in data.validation]
        self._codes: dict[str, np.ndarray] = {}  # from the checkpoint
        self._stop = False

        self.step, self.tokens = 0, 0
        self.plan: Plan | None = None
        self.best: tuple[int, Loss] | None = None
        self.train: Loss | None = None
        self.val: Loss | None = None
        self._since, self._since_seconds = Sums(), 0.0
        self._train_seconds, self._before, self._began = 0.0, 0.0, None
        self._saved_step, self._saved_at = None, 0.0
        self._marks: list[tuple[int, float]] = []  # (step, seconds) at the start and at every new plan
        self._repeated = 0  # the last step an earlier session is known to have done
        self._costs = {"evaluation": 0.0, "saving": 0.0, "sample": 0.0}
        self._resumed, self._new_end = checkpoint is not None, False
        if checkpoint is not None:
            self._restore(checkpoint, steps, accept_other_code)
        else:
            self.params.initialise(self.seed)

    # -- what a caller uses -------------------------------------------------------------------------

    def stop(self) -> bool:
        """Finish the step, save, yield Interrupted.  May be called from a signal handler.

        Returns whether anything has begun that will be saved; nothing has while kernels are compiled at the start.
        """
        self._stop = True
        return self._began is not None

    def events(self) -> Iterator[Event]:
        """Train; see `tinylm.train.events`.

        Raises    Diverged for a number that is not finite, CheckFailed for a loss below the floor,
                  TinylmError where the run cannot be written; the last checkpoint is then as it was
        """
        try:
            self.run.say("running", f"since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            yield from self._events()
        except BaseException as error:
            word = "diverged" if isinstance(error, Diverged) else \
                "interrupted" if isinstance(error, (KeyboardInterrupt, GeneratorExit)) else "failed"
            if self._saved_step is None and not self._resumed:
                self.run.abandon()  # it never came to its first checkpoint: there is nothing to keep
            else:
                with contextlib.suppress(TinylmError):  # on a full disk STATUS cannot be written either
                    self.run.say(word, f"at step {self.step}" + (f": {error}" if str(error) else ""))
            raise
        finally:
            self.run.close()

    def prepare(self) -> None:
        """Compile what is not compiled yet, with as few texts as that takes and none of the run's numbers changed.

        Raises    UsageError for a run that needs more memory than there is
        """
        # First what is needed last: meanwhile a helper may compile what a forward pass is slow at (`ahead`).
        scratch = np.zeros((4, 16), self.params.flat.dtype)
        self.f.adamw_step(*scratch, step=1, lr=1.0)
        self.f.global_norm(scratch[0])
        with memory.lent_from({}):  # nothing the run asks for has these sizes
            need = describe.memory(self.model, self.f, self.recipe.batch_size, self.context)
        total, have = sum(need.values()) - need["packed"], _memory()
        if have and total > have:
            raise UsageError(f"this training needs about {total / 2**30:,.1f} GiB, the machine has "
                             f"{have / 2**30:,.1f}: a smaller --batch-size or --context needs less "
                             "(--accumulate makes up for it)")
        rows = self.texts * self.context
        self._dlosses = np.full(rows, 1 / rows, self.params.flat.dtype)
        # Gradients are rounded to 16 bits by other kernels as soon as there is a chunk of rows for each thread.
        rows = CHUNK * (self.threads - 1) if self.config.setup.precision != PRECISIONS[0] else 0
        texts = min(self.texts, rows // self.context + 1)
        inputs, targets = (part[:texts] for part in self.data.batch(1, 0))
        with memory.lent_from({}):
            self._backward(inputs, targets, 1, 0, {})
            self.model.forward(inputs, targets, Pass(f=self.f, p=self.params))

    def settle(self) -> None:
        """Take steps, as `measure` does, until they take as long as those that follow: the first ones take longer."""
        self.measure(0, least=1 if self.passes.settled else 2)

    def measure(self, seconds: float, least: int = 1) -> Speed:
        """Take real steps, `least` or more, and evaluate a little, then put everything back as it was at step 0.

        Call `prepare` and `settle` before.

        Raises    ValueError after step 0
        """
        if self.step:
            raise ValueError("measuring would change a run that has begun")
        steps, began = [], clock()
        while len(steps) < least or clock() - began < seconds:
            start = clock()
            self._optimize(len(steps) + 1, self.recipe.lr / 100)
            steps.append(clock() - start)
        start = clock()
        measured = self._evaluate(self._validation[:2]).tokens
        evaluation = (clock() - start) * (self.validation_tokens / measured)
        for buffer in (self.params, self.first, self.second):
            buffer.flat.fill(0)
        self.params.initialise(self.seed)
        return Speed(statistics.median(steps), evaluation)

    def steps_for(self, speed: Speed | None) -> int:
        """How many steps the recipe asks for; a time budget needs the speed."""
        recipe = self.recipe
        if recipe.steps is not None:
            return recipe.steps
        if recipe.tokens is not None:
            return -(-recipe.tokens // self.tokens_per_step)
        # The first and the last evaluation, and one every eval_every steps.
        left = recipe.time_budget - self.seconds - 2 * speed.evaluation
        return max(1, int(left / (speed.step + speed.evaluation / recipe.eval_every)))

    @property
    def validation_tokens(self) -> int:
        return sum(sizes.tokens for _, _, sizes in self._validation)

    @property
    def seconds(self) -> float:
        """Time this run has taken, earlier sessions included."""
        return self._before + (clock() - self._began if self._began is not None else 0.0)

    # -- the run ------------------------------------------------------------------------------------

    def _events(self) -> Iterator[Event]:
        yield self._started()
        yield from (Note(*self._here(), text) for text in self.notes)
        if self._resumed:
            self._repeated = max((line.get("step", 0) for line in metrics(self.run.path)), default=0)
            self.run.forget_after(self.step)
        self.run.add_environment(self._facts())
        self.prepare()
        budget = self.recipe.time_budget
        timed = self.plan is None and (budget is not None or self.recipe.warmup.unit == "s")
        if timed:  # before the clock starts, like all that happens once
            self.settle()
            if self.sample is not None and self.recipe.sample_every:
                self.sample(self.step)  # its kernels, too, are compiled
        self._began = clock()
        self._saved_at = self.seconds
        if self.plan is None:
            speed = self.measure(min(PROBE_SECONDS, PROBE_SHARE * (budget or math.inf))) if timed else None
            self.plan = Plan.of(self.steps_for(speed), warmup_steps(
                self.recipe, self.tokens_per_step, speed and speed.step))
            yield Planned(*self._here(), self.plan.end, speed and speed.step)
        else:
            yield Planned(*self._here(), self.plan.end, None)
        if self.plan.warmup >= self.plan.end:
            yield Note(*self._here(), f"the warm-up of {self.plan.warmup:,} steps is not over before training ends")
        self._marks.append((self.step, self.seconds))
        self.quality.begin(self._codes)
        if not self._resumed:
            yield from self._after_step()
        elif self._saved_step is None:  # another end was asked for: have it on the disk before it is used
            yield self._save()
        yield from self._keep_config()
        while self.step < self.plan.end and not self._stop:
            yield self._take_step()
            yield from self._after_step()
        speed = self.tokens / self._train_seconds if self._train_seconds else 0.0
        if self.step >= self.plan.end:
            self.run.say("finished", f"after {self.step} steps")
            yield Finished(*self._here(), speed, self.train, self.val, *self.best)
            return
        if self._saved_step != self.step:
            yield self._save()
        self.run.say("interrupted", f"at step {self.step}")
        yield Interrupted(*self._here(), speed, self.train, self.val, self.resume_command)

    def _take_step(self) -> Stepped:
        start = clock()
        lr = learning_rate(self.recipe, self.plan, self.step + 1)
        sums, norm = self._optimize(self.step + 1, lr)
        spent = clock() - start
        self.step += 1
        self.tokens += sums.tokens
        self._since, self._since_seconds = self._since + sums, self._since_seconds + spent
        self._train_seconds += spent
        self._lr, self._norm = lr, norm
        return Stepped(*self._here(), self._loss(sums), lr, norm, self.plan.fraction(self.step))

    def _after_step(self) -> Iterator[Event]:
        """What is due between two steps: log, evaluate, sample, plan again, save; in this order."""
        recipe, step, last, best = self.recipe, self.step, self.step == self.plan.end, False
        if step and (step % recipe.log_every == 0 or last):
            yield self._log()
        epochs, before = (n // self.data.train_tokens for n in (self.tokens, self.tokens - self.tokens_per_step))
        if step and epochs.bit_length() > before.bit_length():  # at 1, 2, 4, 8, … of them
            yield Note(*self._here(), f"{epochs:,} epoch{'s' * (epochs > 1)}: so many tokens have been seen as "
                       f"the training text has{f', {epochs:,} times over' * (epochs > 1)}")
        due = step % recipe.eval_every == 0 or last
        if due:
            evaluated = self._validate()
            best = evaluated.best
            yield evaluated
        if self.sample is not None and recipe.sample_every and (step % recipe.sample_every == 0 or last):
            start = clock()
            text = self.sample(step)
            self._costs["sample"] = clock() - start
            yield Sampled(*self._here(), text, self.run.write_sample(step, text))
        again = recipe.time_budget is not None and 0 < step < self.plan.end and (
            self.plan.due(step) or self._far_off())
        if again:
            yield self._plan_again()
        if due or again or self.seconds - self._saved_at > SAVE_SECONDS:
            yield self._save(best)

    def _log(self) -> Logged:
        self.train = self._loss(self._since)
        speed = self._since.tokens / self._since_seconds if self._since_seconds else 0.0
        event = Logged(*self._here(), self.train, self._lr, self._norm, speed)
        line = {**self._line("train", self.train), "lr": self._lr, "grad_norm": self._norm,
                "tokens_per_second": round(speed, 1)}
        if self.quality:
            line["grad_norms"] = gradient_norms(self.grads, self.f, self.passes_per_step)
            line["ternary"] = self.quality.measure(self._since.tokens // self.tokens_per_step)
        self.run.add_metrics(line)
        self._since, self._since_seconds = Sums(), 0.0
        return event

    def _validate(self) -> Evaluated:
        start = clock()
        self.val = self._loss(self._evaluate(self._validation))
        self._costs["evaluation"] = clock() - start
        floor, line = self.data.floor, self._line("val", self.val)
        best = self.step > 0 and (self.best is None or self.val < self.best[1])
        above = error = None
        if floor is not None:
            above, error = floor.above(self.val), floor.error(self.val)
            line |= {"bits_per_byte_above_floor": above, "floor_error": error}
        self.run.add_metrics({**line, "best": best})
        if floor is not None:
            floor.check(self.val, self.step)
        if best:
            self.best = self.step, self.val
        return Evaluated(*self._here(), self.val, best, above, error)

    def _far_off(self) -> bool:
        """Whether the machine has become much slower than the plan assumes.

        Not while lost steps are repeated: they are to come again as they were.
        """
        if self.step <= self._repeated:
            return False
        (step, seconds), budget = self._marks[-1], self.recipe.time_budget
        taken, left = self.seconds - seconds, budget - seconds
        planned = left * (self.step - step) / max(1, self.plan.end - step)
        return taken > FAR_OFF * planned + 0.05 * budget

    def _plan_again(self) -> Planned:
        """Fit the number of steps to the time that is left, by the speed of the newer half of the run."""
        halfway, now, budget = (self._marks[0][0] + self.step) / 2, self.seconds, self.recipe.time_budget
        step, seconds = self._marks[-1] if self._far_off() else next(
            m for m in reversed(self._marks) if m[0] <= halfway)
        pace = (now - seconds) / (self.step - step)
        self._marks.append((self.step, now))
        left = budget - now - sum(self._costs.values())
        self.plan = self.plan.again(self.step, self.step + max(1, int(left / pace)), min(1.0, now / budget))
        return Planned(*self._here(), self.plan.end, pace)

    # -- numbers ------------------------------------------------------------------------------------

    def _optimize(self, step: int, lr: float) -> tuple[Sums, float]:
        """One step of AdamW; returns the losses and the norm of the mean gradient."""
        recipe, sums, parts = self.recipe, Sums(), self._parts(step)
        for micro, nats in enumerate(self.passes.gradients(step, parts)):
            if not math.isfinite(nats):
                self._diverge(step, micro, "the loss")
            sums += self._sums(parts[micro][1], nats)
        norm = self.f.global_norm(self.grads.flat) / len(parts)
        if not math.isfinite(norm):
            self._diverge(step, len(parts) - 1, "the gradient norm")
        self.f.adamw_step(self.params.flat, self.grads.flat, self.first.flat, self.second.flat, step=step, lr=lr,
                          beta1=recipe.beta1, beta2=recipe.beta2, eps=recipe.eps,
                          weight_decay=recipe.weight_decay, decayed=self.decayed,
                          scale=self.f.clip_scale(norm, recipe.clip) / len(parts))
        return sums, norm

    def _parts(self, step: int) -> list[Batch]:
        """The texts of a step, those together that go through the model together."""
        return [(inputs[at:at + self.texts], targets[at:at + self.texts])
                for inputs, targets in (self.data.batch(step, micro) for micro in range(self.recipe.accumulate))
                for at in range(0, len(inputs), self.texts)]

    def _pass(self, step: int, micro: int, **options) -> Pass:
        return Pass(f=self.f, p=self.params, dropout=dropout_key(self.seed, step, micro), **options)

    def _backward(self, inputs, targets, step, micro, made) -> np.ndarray:
        """Add the gradient of the mean loss of a part of full size to grads; returns the losses (B*T,).

        Only here --precision counts: validation is always measured in float32, as `tinylm eval` does it later.

        made    what earlier passes over the same parameters have computed from them: see `Pass`
        """
        dlosses = self._dlosses[:targets.size]
        run = self._pass(step, micro, g=self.grads, tape=Tape(), dlosses=dlosses, made=made,
                         fresh=self.passes.records and micro == 0)
        # What is not finite is looked for, and named better.
        with np.errstate(all="ignore"), autocast(self.config.setup.precision):
            losses = self.model.forward(inputs, targets, run)
            self.model.backward(dlosses, run)
        return losses

    def _evaluate(self, validation) -> Sums:
        run, total = Pass(f=self.f, p=self.params), Sums()
        for inputs, targets, sizes in validation:
            # All memory is given back before a step is made again.
            with np.errstate(all="ignore"), memory.lent_from(self.passes.shelves):
                nats = float(self.model.forward(inputs, targets, run).sum(dtype=np.float64))
            if not math.isfinite(nats):
                where = self._first_bad_layer(inputs, targets, run) or _ALL_FINITE
                raise Diverged(f"step {self.step:,}: the validation loss is not finite; {where}")
            total += sizes._replace(nats=nats)
        return total

    def _sums(self, targets: np.ndarray, nats: float = 0.0) -> Sums:
        return Sums.of(targets, self.data.token_bytes, self.data.token_chars, nats)

    def _loss(self, sums: Sums) -> Loss:
        # A batch of one token can be an end-of-text, which has no bytes; it then counts as one.
        return sums._replace(bytes=max(1, sums.bytes), chars=max(1, sums.chars)).loss(self.data.tokenizer)

    # -- when a number is not finite ----------------------------------------------------------------

    def _diverge(self, step: int, micro: int, what: str):
        """Find where it began, keep the batches, and raise Diverged."""
        parts = self._parts(step)
        where = self._first_bad_layer(*parts[micro], self._pass(step, micro)) or self._first_bad_gradient()
        kept = ""
        if self.run is not None:
            path = self.run.path / f"batch-{step}.safetensors"
            try:
                path.write_bytes(save({"inputs": np.stack([i for i, _ in parts]),
                                       "targets": np.stack([t for _, t in parts])}))
                kept = f"; its batch is kept in {path}"
            except OSError as error:
                kept = f"; its batch could not be kept: {error.strerror or error}"
        last = f"; the checkpoint of step {self._saved_step:,} is good" if self._saved_step is not None else ""
        raise Diverged(f"step {step:,}: {what} is not finite; {where}{kept}{last}; a smaller --lr usually helps")

    def _first_bad_layer(self, inputs, targets, run: Pass) -> str | None:
        """The first parameter, else the first layer's output, that is not finite; or None."""
        for name, value in self.params.items():
            if not np.isfinite(value).all():
                return f"the parameter {name} is the first bad tensor"
        found: list[str] = []

        def observe(layer, inp, out):
            bad = ~np.isfinite(out)
            if not found and bad.any():
                row, time_ = divmod(int(np.argwhere(bad.reshape(inputs.size, -1))[0][0]), inputs.shape[1])
                found.append(f"the output of {layer.name} is the first bad tensor, at row {row}, position {time_}")

        run.observe = observe
        with np.errstate(all="ignore"):
            self.model.forward(inputs, targets, run)
        return found[0] if found else None

    def _first_bad_gradient(self) -> str:
        """Of those not finite the one that was computed first: backward goes from the last layer on."""
        bad = [name for name, value in self.grads.items() if not np.isfinite(value).all()]
        return f"the gradient of {bad[-1]} is the first bad tensor" if bad else _ALL_FINITE

    # -- what is kept -------------------------------------------------------------------------------

    def _here(self) -> tuple[int, int, float]:
        return self.step, self.tokens, self.seconds

    def _line(self, split: str, loss: Loss) -> dict:
        return {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds, 3), "split": split,
                "nats_per_token": loss.nats_per_token, "bits_per_byte": loss.bits_per_byte}

    def _keep_config(self) -> Iterator[Event]:
        """Write config.toml.  What counts is the copy in the checkpoint; this one is for people."""
        wanted, path = self.config.to_toml(), self.run.path / "config.toml"
        found = path.read_text("utf-8", errors="replace") if path.is_file() else wanted
        if found != wanted and not self._new_end:
            yield Note(*self._here(), "config.toml was changed after the run began; the run keeps to its own "
                       "options, and config.toml says them again")
        self.run.write("config.toml", wanted)

    def _facts(self) -> dict:
        """For environment.json: what this session runs on, and the sizes of things."""
        floor = self.data.floor
        return {"backend": self.config.setup.backend, "threads": self.threads, "numerics": self.numerics,
                "data": self.data.name, "data_digest": self.data.digest, "tokenizer": self.data.tokenizer,
                "vocab": self.model.config.vocab, "train_tokens": self.data.train_tokens,
                "val_tokens": self.validation_tokens, "tokens_per_step": self.tokens_per_step,
                "parameters": describe.parameters(self.model), "step": self.step,
                "floor": floor and {"bits_per_byte": floor.bits_per_byte, "standard_error": floor.standard_error}}

    def _started(self) -> Started:
        floor = self.data.floor
        return Started(
            *self._here(), run=self.run.path, preset=self.config.preset, data=self.data.name, resumed=self._resumed,
            parameters=self.params.count(), vocab=self.model.config.vocab, tokenizer=self.data.tokenizer,
            tokens_per_step=self.tokens_per_step, train_tokens=self.data.train_tokens,
            val_tokens=self.validation_tokens,
            flops_per_token=sum(describe.flops(self.model, self.context).values()),
            time_budget=self.recipe.time_budget, floor=floor and floor.bits_per_byte, threads=self.threads,
            backend=self.config.setup.backend)

    def _save(self, best: bool = False) -> Saved:
        start = clock()
        if not math.isfinite(float(self.f.global_norm(self.params.flat))):
            raise Diverged(f"step {self.step:,}: {self._first_bad_layer(*self.data.batch(self.step, 0), None)}")
        self.run.sync_metrics()
        path = checkpoints.write(
            self.run.checkpoints, family=self.model.family, config=dataclasses.asdict(self.model.config),
            tokenizer=self.data.tokenizer_json, state=self._state(), params=self.params, first=self.first,
            second=self.second, best=best, codes=self.quality.codes)
        if self._saved_step is None:
            self.run.publish()
        self._saved_step, self._saved_at = self.step, self.seconds
        self._costs["saving"] = clock() - start
        return Saved(*self._here(), path, best)

    def _state(self) -> dict:
        return {
            "step": self.step, "tokens": self.tokens, "seconds": self.seconds,
            "train_seconds": self._train_seconds, "plan": self.plan.to_json(),
            "best": self.best and {"step": self.best[0], "val": self.best[1].to_json()},
            "train": self.train and self.train.to_json(), "val": self.val and self.val.to_json(),
            "since": [*self._since, self._since_seconds], "config": self.config.to_toml(),
            "data": {"name": self.data.name, "digest": self.data.digest, "tokenizer": self.data.tokenizer},
            "numerics": self.numerics}

    def _restore(self, saved: Checkpoint, steps: int | None, accept_other_code: bool) -> None:
        state = saved.state
        if state["data"]["digest"] != self.data.digest:
            raise DataMissing(f"this run was trained on {state['data']['name']} (digest {state['data']['digest']}), "
                              f"not on {self.data.name} as it is now ({self.data.digest})")
        if state["numerics"] != self.numerics:
            if not accept_other_code:
                raise UsageError(
                    f"this run was made by other code ({state['numerics']}, now {self.numerics}), so the rest would "
                    "not have the same bits: --accept-other-code goes on all the same")
            self.notes.append("the code has changed since this run began: the rest may differ in the last bits")
        saved.fill(self.params, self.first, self.second)
        self._codes = saved.codes
        self.step, self.tokens = state["step"], state["tokens"]
        self._before, self._train_seconds = state["seconds"], state["train_seconds"]
        self.plan = Plan.from_json(state["plan"])
        if state["best"]:
            self.best = state["best"]["step"], Loss.from_json(state["best"]["val"])
        self.train, self.val = (state[k] and Loss.from_json(state[k]) for k in ("train", "val"))
        *sums, self._since_seconds = state["since"]
        self._since, self._saved_step = Sums(*sums), self.step
        if steps is not None and steps != self.plan.end:
            if steps <= self.step:
                raise UsageError(f"--steps {steps:,}: this run has done {self.step:,} steps already")
            self.plan, self._saved_step, self._new_end = self.plan.again(self.step, steps), None, True
            self.notes.append(f"training now ends at step {steps:,}; the learning rate goes on from where it is")
        elif self.step >= self.plan.end:
            raise UsageError(f"this run is finished, at step {self.step:,}: a larger --steps trains on")

    @property
    def resume_command(self) -> str:
        path = self.run.path
        near = Path(os.path.relpath(path))
        return shlex.join(["tinylm", "train", "--resume", str(near if len(str(near)) < len(str(path)) else path)])


def _memory() -> int | None:
    """Bytes of memory this machine has, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
