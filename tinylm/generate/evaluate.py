"""The loss of a model on a text, with its units."""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import DataMissing, TinylmError
from ..layers import Pass
from ..units import Loss, Sums


def evaluate(model, params, f, tokenizer, windows: Iterable[tuple[np.ndarray, np.ndarray]]) -> Loss:
    """Sum of -ln p(target | the tokens before it in its window), and the text the targets stand for.

    f         the operations: `tinylm.ops` or `tinylm.kernels`
    windows   (inputs, targets), each (B, T) int32; a target is counted where it occurs
    Raises    DataMissing where the targets stand for no text at all, TinylmError where the loss is
              not finite
    """
    run, total = Pass(f=f, p=params), Sums()
    for inputs, targets in windows:
        nats = float(model.forward(inputs, targets, run).sum(dtype=np.float64))
        total += Sums.of(targets, tokenizer.token_bytes, tokenizer.token_chars, nats)
    if not np.isfinite(total.nats):
        raise TinylmError("the model's loss is not finite: its parameters are damaged")
    if not (total.tokens and total.bytes and total.chars):
        raise DataMissing("there is no text to evaluate on")
    return total.loss(tokenizer.digest)
