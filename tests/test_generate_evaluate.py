"""The loss of a text: against a sum over tokens by hand, with its sizes."""
from __future__ import annotations

import math

import numpy as np
import pytest

import tinylm.ops as ops
from tinylm import models
from tinylm.errors import DataMissing, TinylmError
from tinylm.generate.evaluate import evaluate
from tinylm.layers import Parameters, Pass
from tinylm.ops.sampling import softmax
from tinylm.text.batches import windows
from tinylm.text.tokenizer import char_tokenizer

TOKENIZER = char_tokenizer("abcé\n", end_of_text=True)
CONTEXT = 6


@pytest.fixture
def model():
    built = models.build("gpt", {"vocab": TOKENIZER.vocab_size, "context": CONTEXT, "channels": 8, "layers": 1,
                                 "heads": 2, "init_std": 0.5})
    params = Parameters(built.parameters(), np.float64)
    params.initialise(2)
    return built, params


def test_every_token_but_the_first_counts_once(model):
    tokens = TOKENIZER.encode("ébécé\nab<|endoftext|>caéab\ncab")
    loss = evaluate(*model, ops, TOKENIZER, windows(tokens, CONTEXT, batch_size=2))
    nats = 0.0
    for i in range(1, len(tokens)):
        start = (i - 1) // CONTEXT * CONTEXT  # its window begins here
        logits = model[0].logits(tokens[None, start:i].astype(np.int32), Pass(f=ops, p=model[1]))[0, -1]
        nats -= math.log(softmax(logits)[tokens[i]])
    text = TOKENIZER.decode(tokens[1:], skip_special_tokens=True)
    assert math.isclose(loss.nats, nats, rel_tol=1e-9)
    assert (loss.tokens, loss.bytes, loss.chars) == (len(tokens) - 1, len(text.encode()), len(text))
    assert loss.tokenizer == TOKENIZER.digest


def test_damaged_parameters_and_empty_texts_are_refused(model):
    with pytest.raises(DataMissing, match="no text"):
        evaluate(*model, ops, TOKENIZER, [])
    ends = np.full((1, 3), TOKENIZER.end_of_text, np.int32)
    with pytest.raises(DataMissing, match="no text"):
        evaluate(*model, ops, TOKENIZER, [(ends, ends)])
    model[1].flat[0] = np.nan
    zeros = np.zeros((1, 3), np.int32)
    with pytest.raises(TinylmError, match="not finite"):
        evaluate(*model, ops, TOKENIZER, [(zeros, zeros)])
