"""Prepared data: exact counts, the same bytes every time, and damage that does not go unnoticed."""
from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm.errors import DataMissing, TinylmError, UsageError
from tinylm.text import corpora, dataset
from tinylm.text.dataset import load, prepare, prepared
from tinylm.text.tokenizer import END_OF_TEXT, bpe_tokenizer, char_tokenizer

TEXTS = st.lists(st.text(st.sampled_from("ab é\n日😀"), min_size=1, max_size=30), min_size=1, max_size=8)


@pytest.fixture
def many(tmp_path):
    """A file of forty different documents."""
    path = tmp_path / "many.txt"
    path.write_text(f"\n{END_OF_TEXT}\n".join(f"story {i} café 😀" for i in range(40)), encoding="utf-8")
    return path


def raw(data):
    return {f.name: f.read_bytes() for f in sorted(data.path.iterdir())}


@given(TEXTS, st.integers(0, 50))
def test_counts_are_exact_and_nothing_is_lost(tmp_path_factory, texts, seed):
    folder = tmp_path_factory.mktemp("data")
    path = folder / "text.txt"
    path.write_bytes(f"\n{END_OF_TEXT}\n".join(texts).encode())
    documents = [t.strip("\n") for t in texts if t.strip()] if len(texts) > 1 else texts
    try:
        data = prepare(path, seed=seed, cache=folder / "cache")
    except DataMissing:
        assert len({t.strip() for t in documents} - {""}) < 2
        assert len(documents) != 1 or len(documents[0]) < 2 or not documents[0].strip()
        return
    single = len(documents) == 1
    for name in ("train", "val"):
        tokens, counts = data.split(name), data.meta["splits"][name]
        assert isinstance(tokens, np.memmap) and tokens.dtype == np.uint16
        assert len(tokens) == counts["tokens"] > 0
        # Three independent routes to the size of the raw text.
        pieces = list(data.documents(name))
        assert len(pieces) == counts["documents"]
        assert sum(len(p.encode()) for p in pieces) == counts["bytes"] == \
            data.tokenizer.token_bytes[tokens].sum()
        assert sum(map(len, pieces)) == counts["chars"] == data.tokenizer.token_chars[tokens].sum()
        with pytest.raises(ValueError):
            tokens[0] = 1
        if single:
            assert data.tokenizer.end_of_text is None
        else:
            ends = np.flatnonzero(tokens == data.tokenizer.end_of_text)
            assert len(ends) == counts["documents"] and ends[-1] == len(tokens) - 1
    train, val = (list(data.documents(name)) for name in ("train", "val"))
    if single:
        assert train + val == list(corpora.split_text(documents[0]))
    else:
        assert not {t.strip() for t in train} & {t.strip() for t in val}
        removed = data.meta["duplicates"]["removed_from_val"]
        assert len(train) + len(val) + removed == len(documents)
        assert {t.strip() for t in train + val} == {t.strip() for t in documents}
        order = {t: i for i, t in reversed(list(enumerate(documents)))}
        assert [order[t] for t in dict.fromkeys(train)] == sorted(order[t] for t in set(train))


def test_one_running_text_is_nanogpt_s(tmp_path):
    text = "To be, or not to be, that is the question:\n" * 50
    (tmp_path / "play.txt").write_text(text)
    data = prepare(tmp_path / "play.txt", cache=tmp_path)
    symbols = sorted(set(text))  # nanoGPT: prepare.py of shakespeare_char
    encoded = [symbols.index(c) for c in text]
    assert data.train.tolist() == encoded[:int(len(text) * 0.9)]
    assert data.val.tolist() == encoded[int(len(text) * 0.9):]
    assert data.tokenizer.vocab_size == len(symbols) and data.tokenizer.end_of_text is None
    assert data.name == "play" and data.floor is None


def test_preparing_twice_finds_the_first_and_making_it_anew_gives_the_same_bytes(many, tmp_path):
    first = prepare(many, cache=tmp_path / "a")
    stamp = (first.path / "train.bin").stat().st_mtime_ns
    again = prepare(many, cache=tmp_path / "a")
    assert again.path == first.path and (again.path / "train.bin").stat().st_mtime_ns == stamp
    elsewhere = prepare(many, cache=tmp_path / "b")
    assert raw(elsewhere) == raw(first) and elsewhere.digest == first.digest
    assert load(first.path).digest == first.digest
    assert prepare(first.path).path == first.path  # a prepared folder stands for itself
    assert [p["path"] for p in prepared(tmp_path / "a")] == [str(first.path)]
    assert not list((tmp_path / "a").glob(".building-*"))


def test_other_requests_are_other_data(many, tmp_path):
    found = [prepare(many, cache=tmp_path / "c", **options)
             for options in ({}, {"seed": 1}, {"documents": "whole"})]
    assert len({d.path for d in found}) == len({d.digest for d in found}) == 3
    many.write_text(many.read_text(encoding="utf-8") + "more", encoding="utf-8")
    assert prepare(many, cache=tmp_path / "c").path not in {d.path for d in found}


def test_the_cache_folder_follows_the_environment(many, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYLM_CACHE_DIR", str(tmp_path / "here"))
    assert prepare(many).path.parent == tmp_path / "here" / "data"


def test_duplicates_leave_validation_and_are_counted(tmp_path):
    texts = [f"story {i // 2}" for i in range(200)]  # everything twice, apart from white space
    texts[1::2] = [t + " " for t in texts[1::2]]
    (tmp_path / "t.txt").write_text(f"\n{END_OF_TEXT}\n".join(texts))
    data = prepare(tmp_path / "t.txt", cache=tmp_path)
    same = data.meta["duplicates"]
    train, val = ([t.strip() for t in data.documents(name)] for name in ("train", "val"))
    assert not set(train) & set(val)
    assert same["removed_from_val"] == 20 - len(val) > 0
    assert same["repeated_in_train"] == len(train) - len(set(train)) > 0


def test_a_given_tokenizer_is_used(many, tmp_path):
    tok = char_tokenizer("story0123456789 café😀xyz", end_of_text=True)
    data = prepare(many, cache=tmp_path, tokenizer=tok)
    assert data.tokenizer.digest == tok.digest
    assert data.path != prepare(many, cache=tmp_path).path
    with pytest.raises(UsageError, match="lacks .*😀"):
        prepare(many, cache=tmp_path, tokenizer=char_tokenizer("story0123456789 café", True))
    with pytest.raises(UsageError, match="endoftext"):
        prepare(many, cache=tmp_path, tokenizer=char_tokenizer("story0123456789 café😀", False))


@given(TEXTS, st.integers(257, 300))
def test_byte_pairs_count_the_raw_text_exactly(tmp_path_factory, texts, vocab):
    folder = tmp_path_factory.mktemp("data")
    path = folder / "text.txt"
    path.write_bytes(f"\n{END_OF_TEXT}\n".join(texts).encode())
    try:
        letters = prepare(path, cache=folder / "cache")
    except DataMissing:
        with pytest.raises(DataMissing):
            prepare(path, vocab=vocab, cache=folder / "cache")
        return
    data = prepare(path, vocab=vocab, cache=folder / "cache")
    assert data.tokenizer.kind == "bpe" and 257 <= data.tokenizer.vocab_size <= vocab
    assert data.train.dtype == np.uint16 and data.path != letters.path
    for name in ("train", "val"):
        tokens, counts, pieces = data.split(name), data.meta["splits"][name], list(letters.documents(name))
        # The same documents on the same side, whatever the vocabulary.
        assert list(data.documents(name)) == pieces or letters.meta["single"]
        assert counts["tokens"] == len(tokens) and counts["documents"] == len(pieces)
        assert counts["bytes"] == sum(len(p.encode()) for p in pieces) == data.tokenizer.token_bytes[tokens].sum()
        assert counts["chars"] == sum(map(len, pieces)) == data.tokenizer.token_chars[tokens].sum()
        if letters.meta["single"]:
            assert [data.tokenizer.decode(np.asarray(tokens))] == pieces
            assert data.tokenizer.end_of_text not in tokens.tolist()
        else:
            assert (np.asarray(tokens) == data.tokenizer.end_of_text).sum() == len(pieces)


def test_byte_pairs_are_learned_from_the_training_text_alone(tmp_path):
    """Words that only validation has must not be in the vocabulary."""
    texts = [f"number {i} " + (f"word{i} " * 20) for i in range(40)]
    (tmp_path / "t.txt").write_text(f"\n{END_OF_TEXT}\n".join(texts))
    data = prepare(tmp_path / "t.txt", vocab=2000, cache=tmp_path)
    symbols = {data.tokenizer.raw_bytes(i).decode("latin-1") for i in range(data.tokenizer.vocab_size)}
    for name in ("train", "val"):
        numbers = {t.split()[1] for t in data.documents(name)}
        assert {f"{n}" in symbols for n in numbers if len(n) == 2} == {name == "train"}
    assert data.tokenizer.digest == bpe_tokenizer(data.documents("train"), 2000).digest


def test_byte_pairs_are_made_once_and_again_with_the_same_bytes(many, tmp_path):
    first = prepare(many, vocab=300, cache=tmp_path / "a")
    assert raw(first) == raw(prepare(many, vocab=300, cache=tmp_path / "b"))
    assert prepare(many, vocab=300, cache=tmp_path / "a").path == first.path
    assert len({prepare(many, vocab=v, cache=tmp_path / "a").path for v in (None, 265, 300)}) == 3
    assert prepare(first.path).digest == prepare(first.path, vocab=300).digest == first.digest
    with pytest.raises(UsageError, match="prepared with bpe-2.*, not with vocab 258"):
        prepare(first.path, vocab=258)
    with pytest.raises(UsageError, match="learned or given"):
        prepare(many, vocab=300, tokenizer=first.tokenizer)


def test_a_text_too_small_for_its_vocabulary_says_so_every_time(many, tmp_path):
    for _ in range(2):
        data = prepare(many, vocab=5000, cache=tmp_path)
        assert data.notes == (f"many: a vocabulary of {data.tokenizer.vocab_size:,} symbols, not 5,000: the "
                              "training text has no more pairs that occur twice",)
    assert 257 < data.tokenizer.vocab_size < 5000 and data.meta["vocabulary"]["asked"] == 5000
    assert prepare(many, vocab=260, cache=tmp_path).notes == ()
    assert prepare(data.path, vocab=5000).path == data.path


def test_the_marker_inside_a_whole_file_is_text(many, tmp_path):
    data = prepare(many, documents="whole", vocab=300, cache=tmp_path)
    text = many.read_text(encoding="utf-8")
    assert END_OF_TEXT in text and "".join(t for s in ("train", "val") for t in data.documents(s)) == text
    assert data.tokenizer.token_bytes[data.train].sum() == data.meta["splits"]["train"]["bytes"]


@pytest.mark.parametrize("vocab", [-1, 0, 256, 65_536])
def test_vocabularies_that_are_too_small_or_large(many, tmp_path, vocab):
    with pytest.raises(UsageError, match="from 257"):
        prepare(many, vocab=vocab, cache=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_more_symbols_than_16_bits(tmp_path):
    points = [c for c in map(chr, range(0x100, 0x11000)) if not "\ud800" <= c <= "\udfff"]
    (tmp_path / "all.txt").write_text("".join(points), encoding="utf-8")
    with pytest.raises(UsageError, match="different characters"):
        prepare(tmp_path / "all.txt", cache=tmp_path)
    assert not list(tmp_path.glob(".building-*"))


def test_ids_need_all_16_bits_to_survive(tmp_path):
    text = "".join(chr(p) for p in range(0x4E00, 0x4E00 + 40_000) if not 0xD800 <= p <= 0xDFFF)
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    data = prepare(tmp_path / "t.txt", cache=tmp_path)
    assert data.tokenizer.decode(np.concatenate([data.train, data.val])) == text
    assert max(data.val) > 2**15


# -- the floor ----------------------------------------------------------------------------------------

def test_the_floor_is_that_of_the_validation_documents(monkeypatch, tmp_path):
    from tinylm.text import stories

    def generate(count, seed):  # a source so simple that its entropy is known by heart
        rng = np.random.default_rng(seed)
        for _ in range(count):
            text = "".join(rng.choice(list("abcd"), size=20))
            yield text, -20 * math.log(4)

    monkeypatch.setattr(stories, "generate", generate)
    data = prepare("stories", size=50, seed=3, cache=tmp_path)
    assert data.floor.bits_per_byte == pytest.approx(2.0, abs=1e-12)
    assert data.floor.documents == data.meta["splits"]["val"]["documents"] == 5
    assert data.floor.standard_error == pytest.approx(0, abs=1e-9)
    assert load(data.path).floor == data.floor


def test_the_floor_of_real_stories_is_recomputed_from_their_texts(tmp_path):
    from tinylm.text import stories

    data = prepare("stories", size=60, seed=7, cache=tmp_path)
    known = dict(stories.generate(60, 7))
    val = list(data.documents("val"))
    bits = -sum(known[text] for text in val) / math.log(2)
    size = sum(len(text.encode()) for text in val)
    assert data.floor.bits_per_byte == pytest.approx(bits / size, rel=1e-12)
    assert data.floor.documents == len(val)
    # Not the floor of everything: that would be another number.
    every = -sum(known.values()) / math.log(2) / sum(len(t.encode()) for t in known)
    assert abs(data.floor.bits_per_byte - every) > 1e-6


def test_one_validation_story_gives_no_floor(tmp_path):
    assert prepare("stories", size=2, cache=tmp_path).floor is None
    with pytest.raises(UsageError):
        prepare("stories", size=1, cache=tmp_path)


# -- damage -------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "text.txt"
    path.write_text(f"\n{END_OF_TEXT}\n".join(f"story {i}" for i in range(20)))
    return path, prepare(path, cache=folder / "cache")


FILES = ["train.bin", "val.bin", "tokenizer.json", "meta.json"]


@given(st.sampled_from(FILES), st.integers(0, 3000), st.binary(max_size=4), st.booleans())
def test_any_changed_byte_is_noticed(whole, tmp_path_factory, name, at, junk, truncate):
    _, data = whole
    copy = tmp_path_factory.mktemp("copy") / "data"
    shutil.copytree(data.path, copy)
    file = copy / name
    before = file.read_bytes()
    at %= len(before)
    after = before[:at] + junk + (b"" if truncate else before[at + len(junk):])
    file.write_bytes(after)
    if name == "meta.json":
        try:  # white space and the like may change, the content may not
            if json.loads(after) == json.loads(before):
                return
        except ValueError:
            pass
    if after == before:
        assert load(copy).digest == data.digest
        return
    with pytest.raises(DataMissing) as caught:
        load(copy)
    assert "\n" not in str(caught.value) and "prepare the data again" in str(caught.value)


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]),
                   st.just({}))


@given(st.data())
def test_a_meta_with_any_field_changed_is_refused_even_if_it_is_json(whole, tmp_path_factory, draw):
    _, data = whole
    copy = tmp_path_factory.mktemp("copy") / "data"
    shutil.copytree(data.path, copy)
    meta = json.loads((copy / "meta.json").read_text())
    node, keys = meta, sorted(meta)
    key = draw.draw(st.sampled_from(keys))
    while isinstance(node[key], dict) and node[key] and draw.draw(st.booleans()):
        node = node[key]
        key = draw.draw(st.sampled_from(sorted(node)))
    value = draw.draw(LEAVES)
    if json.dumps(node[key]) == json.dumps(value):
        return
    node[key] = value
    (copy / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataMissing) as caught:
        load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(whole, tmp_path, name):
    shutil.copytree(whole[1].path, tmp_path / "data")
    (tmp_path / "data" / name).unlink()
    with pytest.raises(DataMissing, match=f"{name} is missing"):
        load(tmp_path / "data")


def test_what_is_not_prepared_data(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(DataMissing):
            load(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataMissing):
        load(tmp_path / "file")


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff", b"3", b'{"format": 99}', b""])
def test_metas_that_are_none(whole, tmp_path, content):
    shutil.copytree(whole[1].path, tmp_path / "data")
    (tmp_path / "data" / "meta.json").write_bytes(content)
    with pytest.raises(DataMissing) as caught:
        load(tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert prepared(tmp_path) == []


@pytest.mark.parametrize("name", FILES)
def test_damage_in_the_cache_is_repaired_with_a_note(many, tmp_path, name):
    data = prepare(many, cache=tmp_path / "c")
    good = raw(data)
    (data.path / name).write_bytes(b"garbage")
    again = prepare(many, cache=tmp_path / "c")
    assert raw(again) == good and "prepared again" in again.notes[0] and "\n" not in again.notes[0]
    assert prepare(many, cache=tmp_path / "c").notes == ()
    assert os.listdir(tmp_path / "c") == [data.path.name]


def test_a_reader_keeps_its_data_while_another_process_repairs(many, tmp_path):
    data = prepare(many, cache=tmp_path / "c")
    tokens, before = data.train, data.train.tolist()
    (data.path / "meta.json").write_text("{}")
    prepare(many, cache=tmp_path / "c")
    assert tokens.tolist() == before


def test_left_overs_of_killed_processes_go_after_a_day(many, tmp_path):
    old, new = tmp_path / ".building-old", tmp_path / ".building-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    prepare(many, cache=tmp_path)
    assert not old.exists() and new.exists()


def test_an_error_while_writing_leaves_nothing_behind(many, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset, "_write_meta", full)
    with pytest.raises(TinylmError, match="No space left.*TINYLM_CACHE_DIR"):
        prepare(many, cache=tmp_path / "c")
    assert os.listdir(tmp_path / "c") == []


def test_a_cache_that_is_a_file(many, tmp_path):
    (tmp_path / "c").write_text("")
    with pytest.raises(TinylmError, match="TINYLM_CACHE_DIR"):
        prepare(many, cache=tmp_path / "c")


# -- two at once --------------------------------------------------------------------------------------

def _prepare_in_process(path, cache, barrier, queue):
    barrier.wait()
    try:
        queue.put(prepare(path, cache=cache).digest)
    except BaseException as error:
        queue.put(repr(error))


@pytest.mark.parametrize("damaged", [False, True])
def test_processes_that_prepare_at_once_all_succeed(many, tmp_path, damaged):
    cache = tmp_path / "c"
    if damaged:
        (prepare(many, cache=cache).path / "val.bin").write_bytes(b"")
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_prepare_in_process, args=(many, cache, barrier, queue))
               for _ in range(3)]
    for worker in workers:
        worker.start()
    digests = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert set(digests) == {prepare(many, cache=cache).digest}
    assert len(os.listdir(cache)) == 1


def test_threads_that_meet_at_the_rename_all_succeed(many, tmp_path, monkeypatch):
    """Every builder waits until all have built, so that all but one find the place taken."""
    barrier, build = threading.Barrier(4), dataset._build
    monkeypatch.setattr(dataset, "_build", lambda *a: (build(*a), barrier.wait(timeout=30)))
    found = []
    workers = [threading.Thread(target=lambda: found.append(prepare(many, cache=tmp_path / "c").digest))
               for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4 and len(set(found)) == 1
    assert len(os.listdir(tmp_path / "c")) == 1


def test_a_folder_discarded_under_our_hands_is_made_again(many, tmp_path, monkeypatch):
    """A slower process may take our fresh folder for the damaged one it has just looked at."""
    loads = []

    def load_once_gone(path):
        loads.append(path)
        if len(loads) == 1:
            shutil.rmtree(path)
        return load(path)

    monkeypatch.setattr(dataset, "load", load_once_gone)
    assert prepare(many, cache=tmp_path / "c").digest == load(loads[0]).digest
    assert len(loads) == 2


def test_unknown_splits(whole):
    with pytest.raises(UsageError):
        whole[1].split("test")


def test_documents_can_be_limited(whole):
    every = list(whole[1].documents("train"))
    assert [list(whole[1].documents("train", limit=n)) for n in (0, 1, 3, 99)] == \
        [[], every[:1], every[:3], every]
