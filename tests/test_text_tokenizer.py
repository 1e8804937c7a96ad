"""The tokenizer: equal to `tokenizers` itself, exact in bytes, and calm about broken files."""
from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

import tinylm.text.tokenizer as tokenizer_module
from tinylm.errors import DataMissing, TinylmError, UsageError
from tinylm.text.tokenizer import END_OF_TEXT, Tokenizer, bpe_tokenizer, char_tokenizer

# Any character a UTF-8 file can hold; the awkward ones often.
CHARACTERS = st.one_of(st.sampled_from("ab <|>endoftx\n\r\t é😀\u0301\u2028\ufeff\0\x85"),
                       st.characters(exclude_categories=["Cs"]))
TEXTS = st.text(CHARACTERS, min_size=1, max_size=60)


@given(TEXTS, st.booleans())
@example("a\n\n\r\n  \t\tb", True)
def test_equals_the_hugging_face_path_on_any_text(tmp_path_factory, text, end_of_text):
    tok = char_tokenizer(text, end_of_text)
    path = tmp_path_factory.mktemp("tok") / "tokenizer.json"
    tok.save(path)
    hf = tokenizers.Tokenizer.from_file(str(path))
    # The marker is in reach of both: once in a while the text is one, or has one put in.
    for sample in (text, text + END_OF_TEXT + text if end_of_text else text):
        ids = tok.encode(sample)
        assert ids.dtype == np.int32
        assert ids.tolist() == hf.encode(sample).ids
        assert tok.decode(ids) == sample
        assert hf.decode(ids.tolist(), skip_special_tokens=False) == sample
        assert tok.decode(ids, skip_special_tokens=True) == sample.replace(END_OF_TEXT, "" if end_of_text
                                                                           else END_OF_TEXT)


@given(TEXTS, st.booleans())
def test_save_and_load_change_nothing(tmp_path_factory, text, end_of_text):
    folder = tmp_path_factory.mktemp("tok")
    tok = char_tokenizer(text, end_of_text)
    tok.save(folder / "tokenizer.json")
    again = Tokenizer.load(folder)
    assert (again.name, again.digest, again.end_of_text, again.kind) == \
        (tok.name, tok.digest, tok.end_of_text, "char")
    again.save(folder / "second.json")
    assert (folder / "second.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


@given(TEXTS, st.booleans())
def test_token_bytes_and_characters_add_up(text, end_of_text):
    tok = char_tokenizer(text, end_of_text)
    sample = text + (END_OF_TEXT if end_of_text else "")
    ids = tok.encode(sample)
    raw = text.replace(END_OF_TEXT, "") if end_of_text else text
    assert tok.token_bytes[ids].sum() == len(raw.encode())
    assert tok.token_chars[ids].sum() == len(raw)
    assert tok.token_bytes.dtype == tok.token_chars.dtype == np.int64


def test_symbols_are_sorted_and_the_special_token_is_last():
    tok = char_tokenizer("zaé\nb", end_of_text=True)
    assert tok.decode(np.arange(5)) == "\nabzé"
    assert tok.end_of_text == 5 == tok.vocab_size - 1
    assert tok.name == f"char-6-{tok.digest[:6]}"
    assert char_tokenizer("zaé\nb", end_of_text=False).end_of_text is None


def test_the_digest_tells_vocabularies_apart_and_is_stable():
    assert char_tokenizer("abc", True).digest == char_tokenizer("cba", True).digest
    assert len({char_tokenizer("abc", True).digest, char_tokenizer("abc", False).digest,
                char_tokenizer("abd", True).digest}) == 3
    # Written into runs and checkpoints: it must not change with a version of anything.
    assert char_tokenizer("abc", True).digest == "3b119148b4ea10e6"


def test_a_lacking_character_is_named_and_counted():
    tok = char_tokenizer("abc", end_of_text=True)
    with pytest.raises(UsageError, match=r"lacks 2 characters .* uses 3 times: 'z', 'é' \(U\+00E9\)"):
        tok.encode("azéz")
    assert tok.missing("azéz" + END_OF_TEXT) == {"z": 2, "é": 1}
    with pytest.raises(UsageError, match="U\\+D800"):
        tok.encode("a\ud800")
    many = "".join(map(chr, range(0x4E00, 0x4E40)))
    with pytest.raises(UsageError, match="lacks 64 characters.*…") as caught:
        tok.encode(many)
    assert len(str(caught.value)) < 300


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_encode_either_round_trips_or_names_what_is_missing(known, text):
    if any("\ud800" <= c <= "\udfff" for c in known):
        with pytest.raises(UsageError):
            char_tokenizer(known, False)
        return
    tok = char_tokenizer(known, False)
    if set(text) <= set(known):
        assert tok.decode(tok.encode(text)) == text
    else:
        with pytest.raises(UsageError):
            tok.encode(text)
        assert set(tok.missing(text)) == set(text) - set(known)


@pytest.mark.parametrize("characters", ["", ["ab"], ["\ud800"], [""]])
def test_impossible_vocabularies(characters):
    with pytest.raises(UsageError):
        char_tokenizer(characters, end_of_text=False)


@pytest.mark.parametrize("ids", [[-1], [3], [0, 99], np.array([2**40]), np.array([0.5])])
def test_impossible_ids(ids):
    with pytest.raises(UsageError):
        char_tokenizer("abc", end_of_text=False).decode(ids)


def test_nothing_in_nothing_out():
    tok = char_tokenizer("abc", end_of_text=True)
    assert tok.encode("").tolist() == [] and tok.encode("").dtype == np.int32
    assert tok.decode([]) == ""


@given(st.text(st.one_of(st.sampled_from("the é日😀\n "), st.characters(exclude_categories=["Cs"])),
               max_size=40))
def test_byte_level_bpe_counts_every_byte_and_character_once(text):
    tok = BPE
    assert tok.kind == "bpe" and tok.end_of_text is not None
    text = text.replace(END_OF_TEXT, "")
    ids = tok.encode(text)
    assert b"".join(tok.raw_bytes(i) for i in ids.tolist()) == text.encode()
    assert tok.token_bytes[ids].sum() == len(text.encode())
    assert tok.token_chars[ids].sum() == len(text)
    assert tok.token_bytes[tok.end_of_text] == 0
    assert tok.decode(ids) == text


BPE = bpe_tokenizer(["the quick brown fox é日😀 jumps over the lazy dog "] * 20, 300)


@given(TEXTS)
@example(END_OF_TEXT)
@example(f"a{END_OF_TEXT}b<|endoftext|")
def test_literal_text_loses_no_byte_to_the_marker(text):
    for tok in (BPE, char_tokenizer(text + END_OF_TEXT, end_of_text=True)):
        ids = tok.encode(text, literal=True)
        assert tok.end_of_text not in ids.tolist()
        assert tok.token_bytes[ids].sum() == len(text.encode()) and tok.decode(ids) == text
        assert tok.encode(text).tolist().count(tok.end_of_text) == text.count(END_OF_TEXT)


def test_texts_together_are_encoded_as_each_alone():
    texts = ["the quick", "", f"fox {END_OF_TEXT} dog", "\U0001f600 é"]
    for tok in (BPE, char_tokenizer("".join(texts), True)):
        for literal in (False, True):
            together = tok.encode_all(texts, literal)
            assert [ids.tolist() for ids in together] == [tok.encode(t, literal).tolist() for t in texts]
            assert all(ids.dtype == np.int32 for ids in together)
    with pytest.raises(UsageError, match="not valid Unicode"):
        BPE.encode("a\ud800")


def naive_merges(texts, count):
    """Sennrich's algorithm 1 as it is written there: recount all pairs after every merge.

    For ASCII text without line breaks or apostrophes; of equally frequent pairs the one with the
    lowest ids is merged.
    """
    symbols = {c: i for i, c in enumerate(sorted(tokenizer_module._BYTE_OF), 1)}  # 0 is end-of-text
    words = {}
    for text in texts:
        for word in re.findall(r" ?[a-z]+| ?[0-9]+| ?[^a-z0-9\s]+|\s+(?!\S)|\s+", text):
            key = tuple(word.replace(" ", "\u0120"))
            words[key] = words.get(key, 0) + 1
    merges = []
    while len(merges) < count:
        pairs = {}
        for word, times in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] = pairs.get(pair, 0) + times
        best = min(pairs, key=lambda p: (-pairs[p], symbols[p[0]], symbols[p[1]]), default=None)
        if best is None or pairs[best] < 2:
            break
        merges.append(list(best))
        symbols.setdefault("".join(best), len(symbols) + 1)
        joined = {}
        for word, times in words.items():
            out, i = [], 0
            while i < len(word):
                step = 2 if word[i:i + 2] == best else 1
                out.append("".join(word[i:i + step]))
                i += step
            joined[tuple(out)] = joined.get(tuple(out), 0) + times
        words = joined
    return merges


@given(st.lists(st.text("abc 12,", min_size=1, max_size=60), min_size=1, max_size=4), st.integers(0, 30))
def test_merges_are_those_of_the_algorithm_as_published(texts, count):
    tok = bpe_tokenizer(texts, 257 + count)
    merges = naive_merges(texts, count)
    assert json.loads(tok.to_json())["model"]["merges"] == merges
    assert tok.vocab_size == 257 + len({"".join(pair) for pair in merges}) and tok.end_of_text == 0


@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(257, 320), TEXTS)
def test_any_text_can_be_written_with_any_byte_level_vocabulary(texts, vocab, other):
    tok = bpe_tokenizer(texts, vocab)
    assert 257 <= tok.vocab_size <= vocab
    ids = tok.encode(other, literal=True)
    assert tok.decode(ids) == other
    assert (tok.token_bytes[ids].sum(), tok.token_chars[ids].sum()) == (len(other.encode()), len(other))
    assert sorted(b for i in range(tok.vocab_size) if len(b := tok.raw_bytes(i)) == 1) == \
        [bytes([b]) for b in range(256)]


def test_the_same_texts_give_the_same_vocabulary_in_every_process():
    texts = [f"{a} and {b} went to {c}, é日 {i}" for i, (a, b, c) in enumerate(itertools.product(
        ("Ann", "Bob", "Cid"), ("Dan", "Eve"), ("town", "sea", "school")))]
    program = ("import json, sys; from tinylm.text.tokenizer import bpe_tokenizer; "
               "print(bpe_tokenizer(json.loads(sys.argv[1]), 400).to_json(), end='')")
    want = bpe_tokenizer(texts, 400)
    for seed in ("1", "2"):
        found = subprocess.run([sys.executable, "-c", program, json.dumps(texts)], capture_output=True, check=True,
                               env={**os.environ, "PYTHONHASHSEED": seed, "RAYON_RS_NUM_CPUS": seed})
        assert found.stdout.decode() == want.to_json()


def test_an_error_while_texts_are_read_comes_through():
    def texts():
        yield "a text"
        raise DataMissing("the file changed while it was read")
    with pytest.raises(DataMissing, match="changed while"):
        bpe_tokenizer(texts(), 300)


@pytest.mark.parametrize("vocab", [-1, 0, 256, 65_536, 10**12])
def test_vocabularies_that_are_too_small_or_large(vocab):
    with pytest.raises(UsageError, match="257 .* to 65,535 are possible"):
        bpe_tokenizer(["text"], vocab)


def test_bytes_are_refused_where_tokens_do_not_join_to_the_text():
    hf = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    hf.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tok = Tokenizer(hf.to_str())
    assert tok.kind == "wordlevel"
    with pytest.raises(UsageError, match="not defined"):
        _ = tok.token_bytes


def test_a_lookalike_takes_the_slow_path_and_stays_equal():
    """A vocabulary with an unknown token must not go through the table, which would raise."""
    parts = json.loads(char_tokenizer("ab?", False).to_json())
    parts["model"]["unk_token"] = "?"
    tok = Tokenizer(json.dumps(parts))
    assert tok.kind != "char"
    assert tok.encode("axb").tolist() == tokenizers.Tokenizer.from_str(json.dumps(parts)).encode("axb").ids


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b'{"model": 3}', b'{"model": {}}', b"\xff\xfe", b"[" * 100_000,
    b'{"model": {"type": "WordLevel", "vocab": {}, "unk_token": "x"}}'])
def test_files_that_are_no_tokenizer(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataMissing) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataMissing, match="no such"):
        Tokenizer.load(tmp_path / "nothing.json")
    with pytest.raises(DataMissing, match="no such"):
        Tokenizer.load(tmp_path)


JSON = json.loads(char_tokenizer("abc\n", True).to_json())
PATHS = ["version", "added_tokens", "model", "pre_tokenizer", "decoder", "normalizer"]
VALUES = st.recursive(st.none() | st.booleans() | st.integers(-2**40, 2**40) | st.text(max_size=5),
                      lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
                      max_leaves=4)


@given(st.sampled_from(PATHS), VALUES)
def test_a_mangled_part_is_an_error_of_ours_or_still_a_tokenizer(part, value):
    _survives(json.dumps(JSON | {part: value}))


@given(st.dictionaries(st.text(max_size=2), st.integers(-2, 2**33), max_size=5))
def test_a_mangled_vocabulary(vocab):
    _survives(json.dumps(JSON | {"model": JSON["model"] | {"vocab": vocab}}))


def test_a_huge_id_is_refused_at_once():
    with pytest.raises(DataMissing, match="without gaps"):
        Tokenizer(json.dumps(JSON | {"model": JSON["model"] | {"vocab": {"a": 0, "b": 2**33}}}))


@given(st.integers(0, 400), st.binary(max_size=6))
def test_mangled_bytes(tmp_path_factory, at, junk):
    raw = bytearray(json.dumps(JSON).encode())
    raw[at:at + len(junk)] = junk
    path = tmp_path_factory.mktemp("tok") / "tokenizer.json"
    path.write_bytes(raw)
    try:
        tok = Tokenizer.load(path)
    except TinylmError as error:
        assert "\n" not in str(error)
    else:
        _use(tok)


def _survives(text: str) -> None:
    try:
        tok = Tokenizer(text)
    except TinylmError as error:
        assert "\n" not in str(error)
    else:
        _use(tok)


def _use(tok: Tokenizer) -> None:
    for attempt in (lambda: tok.encode("abc"), lambda: tok.decode([0]), lambda: tok.token_bytes):
        with contextlib.suppress(TinylmError):
            attempt()
