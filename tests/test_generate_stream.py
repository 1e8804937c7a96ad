"""Streaming: the cache, the sliding window, stop strings, characters made of several tokens."""
from __future__ import annotations

import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import tinylm.ops as ops
from tinylm import models
from tinylm.errors import UsageError
from tinylm.generate.sampling import Options, Uniforms, choose
from tinylm.generate.stream import Reader, Text, _judged, first_token, stream, write
from tinylm.layers import Parameters, Pass
from tinylm.ops.sampling import softmax
from tinylm.text.tokenizer import Tokenizer, char_tokenizer

CHARS = char_tokenizer("abcd \n", end_of_text=True)
PLAIN = char_tokenizer("abcd", end_of_text=False)


def tiny(vocab, context=8, seed=1):
    """A model with strong opinions, in float64."""
    model = models.build("gpt", {"vocab": vocab, "context": context, "channels": 8, "layers": 2, "heads": 2,
                                 "init_std": 0.5})
    params = Parameters(model.parameters(), np.float64)
    params.initialise(seed)
    return model, params


MODEL, PARAMS = tiny(CHARS.vocab_size)
ENDLESS, ENDLESS_PARAMS = tiny(PLAIN.vocab_size)


def uncached(model, params, tokenizer, prompt, options, seed, sample, max_tokens):
    """The definition: every token from `logits` of the window, which is read from scratch."""
    window, context = list(prompt)[-model.config.context:], model.config.context
    seen = np.zeros(tokenizer.vocab_size, bool)
    seen[list(prompt)] = True
    tokens, scores = [], []
    for i in range(max_tokens):
        if len(window) > context:
            window = window[-max(1, context // 2):]
        logits = model.logits(np.array([window], np.int32), Pass(f=ops, p=params))[0, -1]
        token = choose(logits, options, Uniforms(seed, sample)[i], seen)
        tokens.append(token)
        scores.append(softmax(logits)[token])
        seen[token] = True
        window.append(token)
        if token == tokenizer.end_of_text:
            break
    return tokens, scores


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 50),
       st.sampled_from([Options(0), Options(1.0), Options(1.5, 3, 0.9, 0.01, 1.3)]), st.integers(1, 9))
def test_cached_equals_uncached_through_a_sliding_window(prompt, seed, options, context):
    model, params = tiny(PLAIN.vocab_size, context)
    steps = list(stream(model, params, ops, PLAIN, prompt, options, seed=seed, max_tokens=3 * context + 2))
    tokens, scores = uncached(model, params, PLAIN, prompt, options, seed, 0, 3 * context + 2)
    assert [s.token for s in steps] == tokens
    assert np.allclose([s.probability for s in steps], scores, rtol=1e-9)
    assert "".join(s.text_piece for s in steps) == PLAIN.decode(tokens)
    assert [s.finish for s in steps] == [None] * (len(tokens) - 1) + ["length"]


def test_a_full_window_slides_to_its_last_half():
    reader = Reader(ENDLESS, ENDLESS_PARAMS, ops, 1)
    reader.read(np.arange(8)[None] % 4)
    assert reader.window.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]
    assert reader.state.length == 8
    reader.read(np.array([[2]]))
    assert reader.window.tolist() == [[1, 2, 3, 2]]
    assert reader.state.length == 4


def test_writing_goes_on_for_many_windows():
    steps = list(stream(ENDLESS, ENDLESS_PARAMS, ops, PLAIN, [0], Options(), seed=0, max_tokens=200))
    assert len(steps) == 200


@given(st.integers(0, 2**62), st.integers(0, 1000))
def test_the_same_seed_and_sample_write_the_same(seed, sample):
    def once(seed, sample):
        return [s.token for s in stream(ENDLESS, ENDLESS_PARAMS, ops, PLAIN, [1], Options(), seed=seed,
                                        sample=sample, max_tokens=40)]
    assert once(seed, sample) == once(seed, sample)
    assert once(seed, sample) != once(seed + 1, sample)
    assert once(seed, sample) != once(seed, sample + 1)


def test_a_longer_text_begins_with_the_shorter_one():
    def once(n):
        return [s.token for s in stream(ENDLESS, ENDLESS_PARAMS, ops, PLAIN, [1], Options(), seed=5, max_tokens=n)]
    assert once(60)[:25] == once(25)


@given(st.integers(0, 1000), st.lists(st.integers(0, 20), min_size=1, max_size=5, unique=True))
def test_samples_side_by_side_are_those_written_alone(seed, samples):
    together = {row: [] for row in range(len(samples))}
    for row, step in write(MODEL, PARAMS, ops, CHARS, [0, 1], Options(), seed=seed, samples=samples, max_tokens=30):
        together[row].append(step)
    for row, sample in enumerate(samples):
        alone = list(stream(MODEL, PARAMS, ops, CHARS, [0, 1], Options(), seed=seed, sample=sample, max_tokens=30))
        assert [(s.token, s.text_piece, s.finish) for s in together[row]] == [
            (s.token, s.text_piece, s.finish) for s in alone]


def test_end_of_text_ends_and_is_not_written():
    ends = 0
    for seed in range(30):
        steps = list(stream(MODEL, PARAMS, ops, CHARS, [0], Options(), seed=seed, max_tokens=50))
        text = "".join(s.text_piece for s in steps)
        assert "endoftext" not in text
        assert CHARS.end_of_text not in [s.token for s in steps[:-1]]
        if steps[-1].finish == "end-of-text":
            ends += 1
            assert steps[-1].token == CHARS.end_of_text
    assert ends > 5


def test_without_a_prompt_the_text_begins_after_the_end_of_another():
    assert first_token(CHARS) == CHARS.end_of_text
    newline = char_tokenizer("ab\n", end_of_text=False)
    assert newline.decode([first_token(newline)]) == "\n"
    assert first_token(PLAIN) == 0
    implicit = [s.token for s in stream(MODEL, PARAMS, ops, CHARS, [], Options(0), seed=0, max_tokens=9)]
    explicit = [s.token for s in stream(MODEL, PARAMS, ops, CHARS, [CHARS.end_of_text], Options(0), seed=0,
                                        max_tokens=9)]
    assert implicit == explicit


@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 1)), min_size=1, max_size=300).map(np.array), st.data())
def test_the_five_likeliest_by_sorting_everything(logits, data):
    prob, token = softmax(logits), data.draw(st.integers(0, len(logits) - 1))
    probability, top = _judged(logits, token, ops)
    assert probability == prob[token]
    assert [p for _, p in top] == sorted(prob.tolist(), reverse=True)[:5]
    assert all(prob[t] == p for t, p in top)
    assert list(top) == sorted(top, key=lambda pair: (-pair[1], pair[0]))
    assert len({t for t, _ in top}) == len(top) == min(5, len(logits))


def test_alternatives_are_the_models_own_and_in_order():
    for step in stream(MODEL, PARAMS, ops, CHARS, [0], Options(0.5, 2), seed=1, max_tokens=20):
        probabilities = [p for _, p in step.top5]
        assert len(step.top5) == 5
        assert probabilities == sorted(probabilities, reverse=True)
        assert step.probability <= probabilities[0]
        assert dict(step.top5).get(step.token, step.probability) == step.probability
    prob = softmax(MODEL.logits(np.array([[0]], np.int32), Pass(f=ops, p=PARAMS))[0, -1])
    first = next(stream(MODEL, PARAMS, ops, CHARS, [0], Options(0.5, 2), seed=1, max_tokens=1))
    assert np.allclose([p for _, p in first.top5], sorted(prob, reverse=True)[:5])


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"max_tokens": -3}, {"max_tokens": 5, "stop": [""]}])
def test_bad_requests_are_one_line(options):
    with pytest.raises(UsageError) as error:
        list(stream(MODEL, PARAMS, ops, CHARS, [0], Options(), seed=0, **options))
    assert "\n" not in str(error.value)


# -- text ------------------------------------------------------------------------------------------

def pieces(tokens, stop, tokenizer=CHARS):
    """Feed tokens by hand: (text, finish, pieces)."""
    text, out = Text(tokenizer, stop), []
    for i, token in enumerate(tokens):
        out += text.add(int(token), 0.5, (), last=i == len(tokens) - 1)
        if text.finish:
            break
    return "".join(s.text_piece for s in out), text.finish, out


def naive(full, stop):
    """The text up to the first stop string that is complete; of those that end together the longest."""
    for n in range(len(full) + 1):
        ending = [s for s in stop if full[:n].endswith(s)]
        if ending:
            return full[:n - max(map(len, ending))], "stop"
    return full, "length"


STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)


@given(st.text("abc", min_size=1, max_size=30), STOPS)
def test_stop_strings_never_leak_and_nothing_else_is_lost(full, stop):
    text, finish, out = pieces(CHARS.encode(full), stop)
    assert (text, finish) == naive(full, stop)
    assert len(out) <= len(full)


@given(st.text("abc", min_size=1, max_size=30), STOPS)
def test_text_is_not_held_back_longer_than_needed(full, stop):
    text, given_out, read = Text(CHARS, stop), "", ""
    for token in CHARS.encode(full):
        read += CHARS.decode([token])
        given_out += "".join(s.text_piece for s in text.add(int(token), 0.5, ()))
        if text.finish:
            return
        held = read[len(given_out):]
        assert read.startswith(given_out)
        assert not held or any(s.startswith(held) for s in stop)


def bpe(text):
    """A byte-level BPE tokenizer whose merges are learned from `text`: tokens cut characters in two."""
    hf = tokenizers.Tokenizer(tokenizers.models.BPE())
    hf.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    hf.decoder = tokenizers.decoders.ByteLevel()
    hf.train_from_iterator([text], tokenizers.trainers.BpeTrainer(
        vocab_size=290, show_progress=False, special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    return Tokenizer(json.dumps(json.loads(hf.to_str())))


BPE = bpe("über den Wölken 東京 東京都 naïve naïf 😀😀😃 the the then there")


@given(st.text("aübe東京都😀 then", min_size=1, max_size=12),
       st.lists(st.text("e東n😀", min_size=1, max_size=3), max_size=2))
def test_pieces_of_byte_level_tokens_are_whole_characters(full, stop):
    tokens = BPE.encode(full)
    text, finish, out = pieces(tokens, stop, BPE)
    assert (text, finish) == naive(full, stop)
    for step in out:
        assert "\N{REPLACEMENT CHARACTER}" not in step.text_piece
        step.text_piece.encode("utf-8")


@given(st.lists(st.sampled_from(["the", " the", " then", " there", "e", " t"]), min_size=1, max_size=8).map("".join),
       st.lists(st.text("then ", min_size=1, max_size=7), min_size=1, max_size=2))
def test_stop_strings_may_begin_and_end_inside_tokens(full, stop):
    tokens = BPE.encode(full)
    text, finish, _ = pieces(tokens, stop, BPE)
    assert (text, finish) == naive(full, stop)


@given(st.lists(st.integers(0, BPE.vocab_size - 1), min_size=1, max_size=20))
def test_any_tokens_at_all_give_valid_text(tokens):
    text, _, out = pieces(tokens, ["ab"], BPE)
    text.encode("utf-8")
    assert "ab" not in text
    assert "endoftext" not in text
    assert len(out) <= len(tokens)


def test_text_that_nobody_judges_is_the_same_text():
    judged, plain = (list(stream(ENDLESS, ENDLESS_PARAMS, ops, PLAIN, [0, 1], Options(1.0), seed=3, max_tokens=12,
                                 judge=judge)) for judge in (True, False))
    assert [(s.token, s.text_piece, s.finish) for s in judged] == [(s.token, s.text_piece, s.finish) for s in plain]
    assert all(s.probability > 0 and len(s.top5) == PLAIN.vocab_size for s in judged)
    assert all(s.probability is None and s.top5 == () for s in plain)
