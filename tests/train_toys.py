"""A text and a model so small that a training run takes a fraction of a second."""
from __future__ import annotations

from functools import partial

import numpy as np

import tinylm.ops as ops
from tinylm import config, models
from tinylm.text.batches import batch, windows
from tinylm.train import checkpoint
from tinylm.train.events import Finished, Interrupted
from tinylm.train.loop import Trainer, TrainingData
from tinylm.train.rundir import RunDir, metrics

V, T, B = 11, 8, 4
TOKENS = np.concatenate([np.random.default_rng(0).integers(0, 3, 400) + np.arange(400) % 9]).astype(np.uint16)


def options(**flags):
    """A resolved configuration; give what differs."""
    flags = {"steps": "24", "batch_size": str(B), "context": str(T), "backend": "numpy", "warmup": "4",
             "eval_every": "8", "eval_tokens": "64", "sample_every": "0", "lr": "0.01"} | {
                 k: str(v) for k, v in flags.items()}
    if "time_budget" in flags or "tokens" in flags:
        del flags["steps"]
    return config.resolve(preset="gpt-tiny", flags=flags, environ={})


def text(cfg, tokens=TOKENS, **changes):
    draw = partial(draw_batch, tokens[:300], cfg.setup.seed, cfg.recipe.batch_size)
    return TrainingData(**{
        "name": "toy", "digest": "d1", "tokenizer": "t1", "tokenizer_json": "{}", "token_bytes": np.full(V, 2),
        "token_chars": np.ones(V, int), "train_tokens": 300, "batch": draw,
        "validation": list(windows(tokens[300:], T, cfg.recipe.eval_tokens, B)), **changes})


def draw_batch(tokens, seed, size, step, micro):
    return batch(tokens, seed, step, size, T, micro)


def model(dropout=0.0):
    return models.build("gpt", {"vocab": V, "context": T, "channels": 8, "layers": 1, "heads": 2,
                                "dropout": dropout})


def trainer(folder, cfg=None, *, data=None, resume=False, dropout=0.1, **how):
    """A trainer of a new run in `folder`, or of the one there."""
    run = RunDir(folder) if resume else RunDir.create("toy", folder)
    try:
        return _trainer(run, cfg, data, resume, dropout, how)
    except BaseException:
        run.close()
        raise


def _trainer(run, cfg, data, resume, dropout, how):
    if resume:
        how["checkpoint"] = checkpoint.read(run.checkpoints / "last", optimizer=True)
        cfg = cfg or config.Config.from_toml(how["checkpoint"].state["config"])
    cfg = cfg or options()
    return Trainer(model=model(dropout), data=data or text(cfg), config=cfg, f=ops, run=run, **how)


def train(folder, cfg=None, stop_at=None, **how):
    """Run to the end, or stop after a step; returns the trainer and its events."""
    made, events = trainer(folder, cfg, **how), []
    for event in made.events():
        events.append(event)
        if stop_at is not None and event.step == stop_at:
            made.stop()
    assert isinstance(events[-1], Interrupted if made._stop and made.step < made.plan.end else Finished)
    return made, events


def crash(folder, cfg=None, *, at, **how):
    """A run that dies after event number `at`: nothing of it is finished, saved or closed in order."""
    made = trainer(folder, cfg, **how)
    events = made._events()
    for _ in range(at):
        if next(events, None) is None:
            break
    made.run.close()  # what the system does for a killed process
    return made


def numbers(folder):
    """metrics.jsonl without what a clock decides."""
    return [{k: v for k, v in line.items() if k not in ("seconds", "tokens_per_second")} for line in metrics(folder)]


def bits(made):
    """Everything that training changes, as bytes."""
    return tuple(buffer.flat.tobytes() for buffer in (made.params, made.first, made.second))
