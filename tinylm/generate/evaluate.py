"""The loss of a model on a text, with its units."""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import DataMissing, TinylmError
from ..layers import Pass
from ..units import Loss


def evaluate(model, params, f, tokenizer, windows: Iterable[tuple[np.ndarray, np.ndarray]]) -> Loss:
    """Sum of -ln p(target | the tokens before it in its window), and the text the targets stand for.

    f         the operations: `tinylm.ops` or `tinylm.kernels`
    windows   (inputs, targets), each (B, T) int32; a target is counted where it occurs
    Raises    DataMissing where the targets stand for no text at all, TinylmError where the loss is
              not finite
    """
    nats, tokens, bytes_, chars = 0.0, 0, 0, 0
    run = Pass(f=f, p=params)
    for inputs, targets in windows:
        nats += float(model.forward(inputs, targets, run).sum(dtype=np.float64))
        tokens += targets.size
        bytes_ += int(tokenizer.token_bytes[targets].sum())
        chars += int(tokenizer.token_chars[targets].sum())
    if not np.isfinite(nats):
        raise TinylmError("the model's loss is not finite: its parameters are damaged")
    if not (tokens and bytes_ and chars):
        raise DataMissing("there is no text to evaluate on")
    return Loss(nats, tokens, bytes_, chars, tokenizer.digest)
