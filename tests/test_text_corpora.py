"""Corpora: what counts as a document, what is refused, and how documents are split."""
from __future__ import annotations

import os
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm.errors import DataMissing, TinylmError, UsageError
from tinylm.text import corpora
from tinylm.text.corpora import given_split, open_corpus, split_documents, split_text, text_key
from tinylm.text.tokenizer import END_OF_TEXT

PIECES = st.text(st.sampled_from("ab é\n\r<|>endoftx😀"), max_size=12)


def texts_of(path, mode="auto"):
    return [document.text for document in open_corpus(path, mode).documents()]


def write(tmp_path, content, name="text.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- documents of a file ----------------------------------------------------------------------------

def test_documents_end_at_markers(tmp_path):
    end = END_OF_TEXT
    path = write(tmp_path, f"one\nline\n{end}\n\ntwo \n{end}\n  \n{end}three{end}")
    assert texts_of(path) == ["one\nline", "two ", "three"]
    assert not open_corpus(path).single
    assert texts_of(path, "whole") == [path.read_text()]
    assert open_corpus(path, "whole").single


def test_documents_end_at_blank_lines_on_request(tmp_path):
    path = write(tmp_path, "\n\none\nline\n\n \t\ntwo\r\n\r\nthree")
    assert texts_of(path, "blank-line") == ["one\nline", "two", "three"]
    assert texts_of(path) == [path.read_bytes().decode()]
    assert open_corpus(path).single


def test_one_document_has_no_end_even_behind_a_marker(tmp_path):
    assert open_corpus(write(tmp_path, f"alone\n{END_OF_TEXT}\n")).single
    corpus = open_corpus(write(tmp_path, "alone\n"), "blank-line")
    assert corpus.single and "one document" in corpus.notes[0]


def test_a_byte_order_mark_is_not_text(tmp_path):
    assert texts_of(write(tmp_path, b"\xef\xbb\xbfabc")) == ["abc"]


@given(st.lists(PIECES, min_size=1, max_size=6), st.integers(1, 40))
def test_cutting_at_markers_equals_split_whatever_the_block_size(tmp_path_factory, pieces, block):
    """The reader sees the file in blocks; a marker may lie across the edge of one."""
    text = END_OF_TEXT.join(pieces)
    path = write(tmp_path_factory.mktemp("text"), text)
    expected = [p.strip("\r\n") for p in text.split(END_OF_TEXT)]
    before, corpora._BLOCK = corpora._BLOCK, block
    try:
        if not text.strip() or not any(p.strip() for p in expected):
            with pytest.raises(DataMissing):
                texts_of(path)
        elif END_OF_TEXT in text:
            assert texts_of(path) == [p for p in expected if p.strip()]
        else:
            assert texts_of(path) == [text]
    finally:
        corpora._BLOCK = before


@given(st.lists(PIECES, max_size=6), st.integers(0, 200), st.sampled_from(["auto", "blank-line", "whole"]),
       st.binary(min_size=1, max_size=3))
def test_the_offset_of_the_first_bad_byte(tmp_path_factory, pieces, at, mode, junk):
    raw = bytearray((f"x{END_OF_TEXT}\n\n".join(pieces) + "x").encode())
    raw[min(at, len(raw)):min(at, len(raw))] = junk
    path = write(tmp_path_factory.mktemp("text"), bytes(raw))
    try:
        bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        with pytest.raises(DataMissing) as caught:
            texts_of(path, mode)
        message = str(caught.value)
        if "offset" in message and "zero byte" not in message:
            # A marker can part a broken sequence, and then its second half is what does not fit.
            found = int(message.split("offset ")[1].split()[0])
            assert error.start <= found <= error.start + 3 and raw[found] >= 0x80
    else:
        try:
            texts_of(path, mode)
        except TinylmError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("content, message", [
    (b"", "is empty"),
    (b" \n\t\n", "nothing but white space"),
    (b"abc\0def", "binary.*offset 3"),
    (b"abcd\xff", "not UTF-8: byte 0xff at offset 4"),
    (b"\xff\xfea\0b\0", "UTF-16"),
    (b"ab\xc3", "offset 2"),
])
def test_unusable_files(tmp_path, content, message):
    with pytest.raises(DataMissing, match=message) as caught:
        texts_of(write(tmp_path, content))
    assert "\n" not in str(caught.value) and "text.txt" in str(caught.value)


def test_a_bad_byte_in_a_late_document_is_found_with_its_offset_in_the_file(tmp_path):
    raw = (f"good\n{END_OF_TEXT}\n" * 10).encode()
    with pytest.raises(DataMissing, match=f"offset {len(raw) + 2}"):
        texts_of(write(tmp_path, raw + b"ab\xffc"))


def test_what_is_no_file(tmp_path):
    with pytest.raises(DataMissing, match="is a folder"):
        open_corpus(tmp_path)
    with pytest.raises(DataMissing, match="no such file"):
        open_corpus(tmp_path / "nothing.txt")
    with pytest.raises(UsageError, match="did you mean 'stories'"):
        open_corpus("storys")
    for name in ("", "   ", "a\0b", "x" * 10_000, "nothing/at/all"):
        with pytest.raises(TinylmError) as caught:
            open_corpus(name)
        assert len(str(caught.value)) < 400
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataMissing, match="not an ordinary file"):
        open_corpus(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = write(tmp_path, "abc")
    path.chmod(0)
    with pytest.raises(DataMissing, match="cannot be read"):
        open_corpus(path)


def test_a_file_that_grows_while_it_is_read(tmp_path):
    path = write(tmp_path, f"one{END_OF_TEXT}two")
    corpus = open_corpus(path)
    path.write_text("other")
    with pytest.raises(DataMissing, match="changed while it was read"):
        list(corpus.documents())


@pytest.mark.parametrize("options", [
    {"documents": "lines"}, {"size": 0}, {"size": -5}, {"seed": -1}, {"seed": 2**64}])
def test_absurd_options(options):
    with pytest.raises(UsageError):
        open_corpus("stories", **options)


def test_options_that_do_not_fit_the_corpus(tmp_path):
    with pytest.raises(UsageError, match="text files"):
        open_corpus("stories", documents="blank-line")
    with pytest.raises(UsageError, match="stories"):
        open_corpus("stories", size=10**9)
    with pytest.raises(UsageError):
        open_corpus("python", size=5)
    with pytest.raises(UsageError):
        open_corpus(write(tmp_path, "abc"), size=5)


def test_a_path_with_a_corpus_name_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "my own text", "stories")
    assert texts_of("./stories") == ["my own text"]


# -- the named corpora ------------------------------------------------------------------------------

def test_python_is_the_standard_library_in_one_fixed_order(monkeypatch, tmp_path):
    lib = tmp_path / "lib"
    for name, content in {"b.py": b"b = 1\n", "a/x.py": b"x = 1\n", "a/latin.py": b"# caf\xe9\n",
                          "empty.py": b"", "test/t.py": b"no", "site-packages/p.py": b"no",
                          "mark.py": END_OF_TEXT.encode(), "note.txt": b"no"}.items():
        (lib / name).parent.mkdir(parents=True, exist_ok=True)
        (lib / name).write_bytes(content)
    monkeypatch.setattr(corpora.sysconfig, "get_path", lambda _: str(lib))
    corpus = open_corpus("python")
    assert [d.text for d in corpus.documents()] == ["x = 1\n", "b = 1\n"]
    assert corpus.skipped == {"not UTF-8": 1, "empty": 1, "contains a marker": 1}
    (lib / "b.py").write_text("b = 2\n")
    assert open_corpus("python").digest != corpus.digest
    (lib / "b.py").unlink()
    with pytest.raises(DataMissing, match="no standard library sources"):
        open_corpus("python")


def test_the_real_standard_library_is_a_corpus():
    corpus = open_corpus("python")
    documents = [d.text for d in corpus.documents()]
    assert len(documents) > 100 and any("def namedtuple(" in d for d in documents)
    assert corpus.digest == open_corpus("python").digest


# -- splitting --------------------------------------------------------------------------------------

KEYS = st.lists(st.integers(0, 30), min_size=1, max_size=80).map(lambda ns: [text_key(str(n)) for n in ns])


@given(KEYS, st.integers(0, 2**64 - 1))
def test_split_invariants(keys, seed):
    if len(set(keys)) < 2:
        with pytest.raises(DataMissing):
            split_documents(keys, seed)
        return
    split = split_documents(keys, seed)
    train, val = split.train.tolist(), split.val.tolist()
    assert train and val
    assert train == sorted(set(train)) and val == sorted(set(val))
    assert not set(train) & set(val)
    assert len(train) + len(val) + split.removed == len(keys)
    assert not {keys[i] for i in train} & {keys[i] for i in val}  # no text on both sides
    assert split.repeated == len(train) - len({keys[i] for i in train})
    again = split_documents(keys, seed)
    assert again.train.tolist() == train and again.val.tolist() == val


@given(st.integers(2, 500), st.integers(0, 1000))
def test_a_tenth_goes_to_validation_when_all_differ(count, seed):
    split = split_documents([text_key(str(i)) for i in range(count)], seed)
    assert len(split.val) == max(1, round(count / 10)) and split.removed == split.repeated == 0


def test_the_seed_deals_and_every_document_gets_its_turn():
    keys = [text_key(str(i)) for i in range(40)]
    vals = [set(split_documents(keys, seed).val.tolist()) for seed in range(200)]
    assert len(set(map(frozenset, vals))) > 150
    counts = np.bincount([i for v in vals for i in v], minlength=40)
    assert counts.min() > 4 and counts.max() < 45  # 20 expected of each


def test_surrounding_white_space_makes_no_other_text():
    assert text_key("  a story\n") == text_key("a story") != text_key("a  story")


@given(st.lists(st.integers(0, 5), max_size=10), st.lists(st.integers(0, 9), max_size=10))
def test_a_given_split_loses_only_what_training_has(train, val):
    keys = [text_key(str(n)) for n in train], [text_key(str(n)) for n in val]
    own = [n for n in val if n not in train]
    if not own or not train:
        with pytest.raises(DataMissing):
            given_split(*keys)
        return
    split = given_split(*keys)
    assert [val[i - len(train)] for i in split.val] == own
    assert split.train.tolist() == list(range(len(train)))
    assert split.removed == len(val) - len(own) and split.repeated == len(train) - len(set(train))


@given(st.text(max_size=200))
def test_one_text_is_cut_at_nine_tenths(text):
    if len(text) < 2:
        with pytest.raises(DataMissing):
            split_text(text)
        return
    train, val = split_text(text)
    assert train + val == text and len(train) == int(len(text) * 0.9) and val


def test_the_streaming_reader_on_many_random_documents(tmp_path):
    rng = random.Random(5)
    documents = ["".join(rng.choices("abc <|>", k=rng.randint(1, 300))) + "." for _ in range(500)]
    path = write(tmp_path, f"\n{END_OF_TEXT}\n".join(documents))
    assert texts_of(path) == documents
