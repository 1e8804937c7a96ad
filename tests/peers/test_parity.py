"""tinylm against PyTorch: the same parameters give the same scores, gradients and optimizer steps.

Skipped where there is no PyTorch, which tinylm does not need; `make bench-peers` makes an environment that has it.
"""
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make bench-peers` has an environment with it")

import torch_models  # noqa: E402

from tinylm import config, kernels, models, ops  # noqa: E402
from tinylm.layers import Parameters, Pass, Tape  # noqa: E402
from tinylm.train.loop import Trainer, TrainingData  # noqa: E402

BATCH, STEPS = 3, 10
# Presets made small: every option of theirs stays but the sizes and dropout, whose masks cannot be the same.
SHAPES = {
    "gpt-run1": ("gpt-run1", {"vocab": 28, "context": 12, "channels": 24, "layers": 2, "heads": 4}),
    "gpt-run2": ("gpt-run2", {"vocab": 41, "context": 10, "channels": 36, "layers": 3, "heads": 6}),
    "gpt-shakespeare": ("gpt-shakespeare", {"vocab": 31, "context": 9, "channels": 16, "layers": 2, "heads": 4}),
    "thunderbolt, 8 bits": ("thunderbolt", {"vocab": 37, "context": 17, "channels": 32, "layers": 3, "heads": 4,
                                            "hidden": 80}),
    "thunderbolt, float": ("thunderbolt", {"vocab": 37, "context": 17, "channels": 32, "layers": 3, "heads": 4,
                                           "hidden": 80, "activation_bits": 0}),
}
# operations, dtype, and the largest difference allowed, as a share of the largest number of the tensor: for scores
# (gradients ten times that) and after ten steps.  AdamW's first steps have the sign of the gradient whatever its
# size, so that they make more of a difference.
KINDS = {"definitions in float64": (ops, np.float64, 1e-11, 1e-7),
         "kernels in float32": (kernels, np.float32, 2e-5, 2e-3)}
# A value that lies on the edge between two of its 8-bit codes may get one here and the other there.
FLOAT32_WITH_8_BITS = 2e-3, 2e-2


class Pair:
    """One model twice, with the same parameters."""

    def __init__(self, shape: str, f, dtype):
        preset, sizes = SHAPES[shape]
        self.f, self.dtype = f, dtype
        flags = {"dropout": 0.0, "batch_size": BATCH, "accumulate": 1}
        self.config = config.resolve(preset=preset, flags=flags, environ={})
        options = {**self.config.model, **sizes}
        self.model = models.build(options.pop("family"), options)
        self.params = Parameters(self.model.parameters(), dtype)
        self.params.initialise(0)
        rng = np.random.default_rng(1)
        for _, value in self.params.items():  # else biases are 0 and norms 1, and a swap of them is not seen
            value += 0.1 * rng.standard_normal(value.shape)
        self.torch = torch_models.build(self.model.family, self.model.config)
        self.torch.to(torch.float64 if dtype is np.float64 else torch.float32)
        torch_models.load(self.torch, self.params)
        shape = STEPS, 2, BATCH, self.model.config.context
        self.tokens = rng.integers(0, self.model.config.vocab, shape, np.int32)

    def batch(self, step: int = 1, micro: int = 0):
        return tuple(self.tokens[step - 1])


@pytest.fixture(params=[(shape, kind) for shape in SHAPES for kind in KINDS], ids=" · ".join)
def pair(request):
    shape, kind = request.param
    f, dtype, tolerance, drift = KINDS[kind]
    found = Pair(shape, f, dtype)
    found.tolerance, found.drift = FLOAT32_WITH_8_BITS if "8 bits" in shape and f is kernels else (tolerance, drift)
    return found


def assert_close(ours, theirs, tolerance, what):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    worst = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert worst <= tolerance, f"{what}: {worst:.1e} of the largest"


def test_scores_and_gradients_agree(pair):
    inputs, targets = pair.batch()
    ours = pair.model.logits(inputs, Pass(f=pair.f, p=pair.params))
    tokens, wanted = (torch.from_numpy(x).long() for x in (inputs, targets))
    assert_close(ours, pair.torch.logits(tokens), pair.tolerance, "logits")

    grads = pair.params.like()
    run = Pass(f=pair.f, p=pair.params, g=grads, tape=Tape())
    losses = pair.model.forward(inputs, targets, run)
    pair.model.backward(np.full(losses.shape, 1 / losses.size, pair.dtype), run)
    loss = pair.torch(tokens, wanted)
    loss.backward()
    assert losses.mean() == pytest.approx(loss.item(), rel=pair.tolerance)
    theirs = {torch_models.tinylm_name(name): p.grad for name, p in pair.torch.named_parameters()}
    assert set(theirs) == {name for name, _ in grads.items()}
    for name, grad in grads.items():
        assert_close(grad, theirs[name], 10 * pair.tolerance, f"the gradient of {name}")


def test_ten_steps_agree(pair):
    """The library's own training step against PyTorch's AdamW: losses, and parameters at the end."""
    ones = np.ones(pair.model.config.vocab, np.int64)
    data = TrainingData("random tokens", "", "", "", ones, ones, 1, pair.batch, [pair.batch()])
    trainer = Trainer(model=pair.model, data=data, config=pair.config, f=pair.f, dtype=pair.dtype)
    trainer.params.flat[:] = pair.params.flat
    trainer.prepare()
    recipe, optim = pair.config.recipe, torch_models.optimizer(pair.torch, pair.config.recipe)
    for step in range(1, STEPS + 1):
        sums, _ = trainer._optimize(step, recipe.lr)
        tokens, targets = (torch.from_numpy(x).long() for x in pair.batch(step))
        loss = torch_models.step(pair.torch, optim, tokens, targets, recipe.clip)
        assert sums.nats / sums.tokens == pytest.approx(loss.item(), rel=pair.drift), f"the loss of step {step}"
    theirs = {torch_models.tinylm_name(name): p for name, p in pair.torch.named_parameters()}
    for name, ours in trainer.params.items():
        assert_close(ours, theirs[name], pair.drift, name)


@pytest.mark.parametrize("shape", ["thunderbolt, 8 bits", "thunderbolt, float"])
def test_pytorch_reads_a_text_in_pieces(shape):
    """The step that decoding is compared with gives the scores of the whole text."""
    pair = Pair(shape, ops, np.float64)
    tokens = torch.from_numpy(pair.batch()[0]).long()
    whole = pair.torch.logits(tokens)
    state, parts = pair.torch.for_inference(torch.float64).start(), []
    for at, stop in ((0, 5), (5, 6), (6, 7), (7, 17)):
        part, state = pair.torch.extend(tokens[:, at:stop], state)
        parts.append(part)
    assert_close(torch.cat(parts, 1).numpy(), whole, 1e-12, "logits in pieces")
