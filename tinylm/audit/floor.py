"""Can training make a model predict what nobody can?

On uniform random tokens no model may score below ln V nats.  One that does has read its targets, by whatever way:
training looks for leaks that nobody thought of.  So a small model is trained on fresh random tokens in every step,
where there is nothing to learn by heart, and scored on tokens it has not seen.
"""
from __future__ import annotations

import math
from types import ModuleType

import numpy as np

from ..layers import Layer, Parameters, Pass, Tape
from ..ops.random import generator
from ..threads import cpu_threads
from .causality import not_below_chance
from .result import Check

STEPS = 300
BATCH = 32
SCORED = 400        # texts at the end
RATE = 1e-2         # high, and small models bear it: a leak shall be found in a few hundred steps
CLIP = 1.0


def random_tokens(model: Layer, f: ModuleType, seed: int = 0, *, steps: int = STEPS) -> Check:
    """Train on `steps` batches of uniform random tokens; the loss on fresh ones must not fall below ln V.

    model   a small one: its weights are drawn here, and no dropout is used
    The mean loss may fall below ln V by five standard errors, by chance.
    """
    if model.config.vocab < 2:
        return Check("floor", False, math.inf, "with one token there is nothing to predict: nothing was checked")
    with cpu_threads(1):    # too small to be worth sharing out
        return _train_and_score(model, f, seed, steps)


def _train_and_score(model, f, seed, steps):
    vocab, context = model.config.vocab, model.config.context
    params = Parameters(model.parameters())
    params.initialise(seed)
    grads, first, second = params.like(), params.like(), params.like()
    for step in range(1, steps + 1):
        tokens, targets = _text(model, seed, step, BATCH)
        grads.flat[...] = 0
        run = Pass(f, params, grads, Tape())
        model.forward(tokens, targets, run)
        model.backward(np.full(tokens.size, 1 / tokens.size, np.float32), run)
        norm = f.global_norm(grads.flat)
        if not math.isfinite(norm):
            return Check("floor", False, math.inf, f"training on random tokens is no longer finite in step {step}")
        f.adamw_step(params.flat, grads.flat, first.flat, second.flat, step=step, lr=RATE * (1 - (step - 1) / steps),
                     beta2=0.95, scale=f.clip_scale(norm, CLIP))
    tokens, targets = _text(model, seed, 0, SCORED)
    check = not_below_chance("floor", model.forward(tokens, targets, Pass(f, params)), vocab)
    trained = f"after {steps} steps of {BATCH} x {context} others"
    return Check(check.name, check.ok, check.worst, f"{check.detail} ({trained})")


def _text(model, seed, step, rows):
    text = generator(seed, "audit floor", step).integers(0, model.config.vocab, (rows, model.config.context + 1))
    text = text.astype(np.int32)
    return text[:, :-1], text[:, 1:]
