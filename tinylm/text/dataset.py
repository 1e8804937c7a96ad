"""Prepared data: a corpus as two files of tokens that are mapped into memory, never loaded.

    <cache>/data/<name>-<digest>/
        train.bin, val.bin   token ids, uint16, little-endian
        tokenizer.json
        meta.json            what is in there, how it was made, and the digest of every file

A folder is written under a temporary name and renamed when it is complete, so what carries the
final name is whole; and because `meta.json` seals itself and the other files, damage is noticed.
"""
from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tinylm import config
from tinylm.errors import DataMissing, TinylmError, UsageError

from . import corpora
from .tokenizer import Tokenizer, bpe_tokenizer, char_tokenizer

FORMAT = 1
DTYPE = np.dtype("<u2")
SPLITS = ("train", "val")
_FILES = ("train.bin", "val.bin", "tokenizer.json")
_STALE_SECONDS = 24 * 3600
_TOGETHER = 512  # documents that are encoded at once


class Dataset:
    """Prepared data on the disk.

    name       of the corpus
    path       the folder
    tokenizer  the `Tokenizer` the ids belong to
    meta       the content of `meta.json`
    train, val read-only memory maps, uint16 (tokens,)
    floor      `stories.Floor`: entropy of the validation documents in bits/byte with its standard
               error, exact from their known probabilities; None where the source is not known
    digest     of tokens and tokenizer: equal digests mean equal training data
    notes      what a person should know about how it was made, one line each
    """

    def __init__(self, path: Path, meta: dict, tokenizer: Tokenizer, notes: tuple[str, ...] = ()):
        self.path, self.meta, self.tokenizer = path, meta, tokenizer
        self.name: str = meta["name"]
        self.digest: str = meta["digest"]
        self.floor = _floor(meta["floor"])
        self.notes = notes
        # Mapped now: whoever replaces the folder later cannot take these pages away.
        self.train, self.val = (
            np.memmap(path / f"{split}.bin", dtype=DTYPE, mode="r",
                      shape=(meta["splits"][split]["tokens"],)) for split in SPLITS)

    def __repr__(self) -> str:
        return f"<Dataset {self.name} {self.digest} {self.tokenizer.name}>"

    def split(self, name: str) -> np.ndarray:
        """The tokens of "train" or "val".  Raises UsageError for another name."""
        if name not in SPLITS:
            raise UsageError(f"split {name!r}: choose train or val")
        return self.train if name == "train" else self.val

    def documents(self, name: str, limit: int | None = None) -> Iterator[str]:
        """The texts of a split, decoded from its tokens; at most `limit` of them."""
        tokens, end = self.split(name), self.tokenizer.end_of_text
        if limit is not None and limit < 1:
            return
        if self.meta["single"] or end is None:
            yield self.tokenizer.decode(np.asarray(tokens))
            return
        start, given, block = 0, 0, 1 << 20
        pending: list[np.ndarray] = []
        while start < len(tokens) and (limit is None or given < limit):
            piece = np.asarray(tokens[start:start + block])
            ends = np.flatnonzero(piece == end)
            last = 0
            for stop in ends.tolist():
                if limit is not None and given >= limit:
                    return
                yield self.tokenizer.decode(np.concatenate([*pending, piece[last:stop]]))
                pending, last, given = [], stop + 1, given + 1
            pending.append(piece[last:])
            start += block


def prepare(source: str | os.PathLike, *, documents: str = "auto", size: int | None = None, seed: int = 0,
            vocab: int | None = None, cache: str | Path | None = None,
            tokenizer: Tokenizer | None = None) -> Dataset:
    """Turn a corpus into tokens on the disk, or find it there; the same request gives the same bytes.

    source     name of a corpus, path of a text file, or folder of data prepared before
    documents  how a file is cut into documents, see `corpora.open_corpus`
    size       stories to generate, or bytes of TinyStories to use
    seed       of the split by document and of the generated stories
    vocab      symbols of a byte-level BPE; None: a symbol for each character
    cache      folder for prepared data; default `config.cache_dir()/data`
    tokenizer  encode with this one (to evaluate a model on another text) instead of one made for
               the corpus

    A character vocabulary covers training **and** validation text, as nanoGPT's does, so validation
    has no unknown symbol.  It tells a model which characters exist, not where they stand.  A
    byte-level BPE has no unknown symbol anyway, and is learned from the training text alone.  A text
    too small for `vocab` gives fewer symbols and a note.

    Every document ends with `<|endoftext|>`, a token of zero bytes.  A file that is one document
    gets none, and a character vocabulary made for it has no such symbol.

    Raises DataMissing for data that is absent or unusable, UsageError for a request that makes no
    sense, TinylmError where the cache folder cannot be written.
    """
    if isinstance(source, os.PathLike) or source not in corpora.DESCRIPTIONS:
        try:
            if (Path(source) / "meta.json").is_file():
                return _as_asked(load(source), vocab)
        except (OSError, ValueError):
            pass  # not a path at all; open_corpus says so
    if vocab is not None:
        if tokenizer is not None:
            raise UsageError("a vocabulary is learned or given, not both")
        if not config.SMALLEST_VOCAB <= vocab <= config.LARGEST_VOCAB:
            raise UsageError(f"vocab {vocab:,}: from {config.SMALLEST_VOCAB} (the bytes and end-of-text) to "
                             f"{config.LARGEST_VOCAB:,} symbols are possible")
    corpus = corpora.open_corpus(source, documents, size, seed)
    if tokenizer is not None and not corpus.single and tokenizer.end_of_text is None:
        raise UsageError(f"{corpus.name} has several documents, but {tokenizer.name} has no "
                         "<|endoftext|> to end them with; --documents whole takes a file as one")
    request = [FORMAT, corpus.digest, corpus.single, seed, tokenizer and tokenizer.digest]
    request += [] if vocab is None else [vocab]
    key = hashlib.sha256(json.dumps(request).encode()).hexdigest()[:12]
    root = Path(cache) if cache is not None else config.cache_dir() / "data"
    final = root / f"{corpus.name}-{key}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        return _prepare(corpus, final, seed, tokenizer, vocab)
    except OSError as error:
        raise TinylmError(f"cannot keep prepared data in {root}: {error.strerror or error}; "
                          "set TINYLM_CACHE_DIR to a folder with room") from None


def load(path: str | Path) -> Dataset:
    """Open prepared data, checking every file against the digests in `meta.json`.

    Raises DataMissing for a folder that is missing, incomplete or damaged.
    """
    path = Path(path)
    advice = "delete the folder and prepare the data again"
    try:
        meta = _read_meta(path / "meta.json")
        for name in _FILES:
            file, want = path / name, meta["files"][name]
            have = file.stat().st_size
            if have != want["size"]:
                raise DataMissing(f"{name} has {have} bytes instead of {want['size']}")
            if _digest_of(file) != want["sha256"]:
                raise DataMissing(f"the content of {name} has changed")
        tokenizer = Tokenizer.load(path / "tokenizer.json")
        if tokenizer.digest != meta["vocabulary"]["digest"]:
            raise DataMissing("tokenizer.json is another one")
        return Dataset(path, meta, tokenizer)
    except FileNotFoundError as error:
        what = Path(error.filename).name if path.is_dir() else "the folder"
        raise DataMissing(f"{path}: no prepared data, {what} is missing; {advice}") from None
    except OSError as error:
        raise DataMissing(f"{path}: prepared data cannot be read: {error.strerror}") from None
    except (DataMissing, ValueError) as error:
        raise DataMissing(f"{path}: damaged data: {error}; {advice}") from None


def prepared(cache: str | Path | None = None) -> list[dict]:
    """What is prepared on this machine: name, path, tokens, vocabulary of each folder that is whole
    by its `meta.json`; the token files are not read."""
    root = Path(cache) if cache is not None else config.cache_dir() / "data"
    found = []
    for path in sorted(root.glob("*/meta.json")):
        try:
            meta = _read_meta(path)
        except (DataMissing, OSError):
            continue
        found.append({"name": meta["name"], "path": str(path.parent),
                      "tokens": sum(meta["splits"][s]["tokens"] for s in SPLITS),
                      "vocabulary": meta["vocabulary"]["name"]})
    return found


def _as_asked(found: Dataset, vocab: int | None) -> Dataset:
    """Prepared data has the vocabulary it has.   Raises UsageError where another is asked for"""
    have = found.meta["vocabulary"]
    if vocab is not None and vocab not in (have.get("asked"), have["size"]):
        raise UsageError(f"{found.path} is prepared with {have['name']}, not with vocab {vocab}: "
                         "give the text itself to prepare it again")
    return found


def _floor(stored: dict | None):
    if stored is None:
        return None
    from .stories import Floor

    return Floor(**stored)


# -- building ---------------------------------------------------------------------------------------

def _prepare(corpus: corpora.Corpus, final: Path, seed: int, tokenizer: Tokenizer | None,
             vocab: int | None) -> Dataset:
    notes = corpus.notes
    for first in (True, False, False, False):  # again where another process repairs the same folder
        if final.exists():
            try:
                return _with_notes(load(final), notes)
            except DataMissing as error:
                if first:
                    reason = str(error).removeprefix(f"{final}: ").split(";")[0]
                    notes += (f"{final.name} was prepared again ({reason})",)
                _discard(final)
        building = Path(tempfile.mkdtemp(prefix=f".building-{final.name}-", dir=final.parent))
        try:
            _build(corpus, building, seed, tokenizer, vocab)
            building.rename(final)
        except OSError:
            if not final.exists():
                raise
            # Another process was faster; its data is as good as ours.
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return _with_notes(load(final), notes)


def _build(corpus: corpora.Corpus, folder: Path, seed: int, tokenizer: Tokenizer | None,
           vocab: int | None) -> None:
    if corpus.single:
        # All of them, not the first: only at its end does the reader notice a file that changed.
        text = [document.text for document in corpus.documents()][0]
        characters = set(text)
        parts: dict[str, Callable[[], Iterator[corpora.Document]]] = {
            name: (lambda part=part: iter([corpora.Document(part)]))
            for name, part in zip(SPLITS, corpora.split_text(text, corpus.name), strict=True)}
        removed = repeated = 0
    else:
        characters, split = _survey(corpus, seed)
        removed, repeated = split.removed, split.repeated
        parts = {"train": lambda: _chosen(corpus, split.train), "val": lambda: _chosen(corpus, split.val)}
    if vocab is not None:
        tok = bpe_tokenizer((document.text for document in parts["train"]()), vocab)
    else:
        tok = tokenizer or _character_vocabulary(characters, end_of_text=not corpus.single)
    if tok.vocab_size > np.iinfo(DTYPE).max + 1:
        raise UsageError(f"{tok.vocab_size} symbols do not fit into 16 bits: use a smaller vocabulary")
    end = None if corpus.single else tok.end_of_text
    splits, known = {}, {}
    for name in SPLITS:
        splits[name], known[name] = _write_tokens(folder / f"{name}.bin", parts[name](), tok, end)
    floor = None
    if len(known["val"]) == splits["val"]["documents"] > 1:  # one document has no standard error
        from .stories import entropy_floor

        floor = asdict(entropy_floor(known["val"]))
    tok.save(folder / "tokenizer.json")
    _sync(folder / "tokenizer.json")
    files = {name: {"size": (folder / name).stat().st_size, "sha256": _digest_of(folder / name)}
             for name in _FILES}
    digest = hashlib.sha256(json.dumps([tok.digest, files["train.bin"], files["val.bin"]],
                                       sort_keys=True).encode()).hexdigest()[:16]
    _write_meta(folder / "meta.json", {
        "format": FORMAT, "name": corpus.name, "source": corpus.source, "dtype": "uint16",
        "digest": digest, "single": corpus.single, "seed": seed, "splits": splits,
        "duplicates": {"removed_from_val": removed, "repeated_in_train": repeated},
        "skipped": corpus.skipped, "floor": floor,
        "vocabulary": {"name": tok.name, "size": tok.vocab_size, "digest": tok.digest,
                       "end_of_text": tok.end_of_text, "asked": vocab},
        "files": files})


def _survey(corpus: corpora.Corpus, seed: int) -> tuple[set[str], corpora.Split]:
    """First pass: the characters in use, and which document goes where."""
    characters: set[str] = set()

    def keys(documents: Iterator[corpora.Document]) -> list[bytes]:
        found = []
        for document in documents:
            characters.update(document.text)
            found.append(corpora.text_key(document.text))
        return found

    train = keys(corpus.documents())
    if corpus.validation is None:
        return characters, corpora.split_documents(train, seed, corpus.name)
    return characters, corpora.given_split(train, keys(corpus.validation()))


def _chosen(corpus: corpora.Corpus, numbers: np.ndarray) -> Iterator[corpora.Document]:
    """The documents with these ascending numbers; a given validation part counts on after training."""
    def every() -> Iterator[corpora.Document]:
        yield from corpus.documents()
        if corpus.validation is not None:
            yield from corpus.validation()

    wanted = iter(numbers.tolist())
    number = next(wanted, None)
    for at, document in enumerate(every()):
        if at == number:
            yield document
            number = next(wanted, None)


def _character_vocabulary(characters: set[str], end_of_text: bool) -> Tokenizer:
    if len(characters) + end_of_text > np.iinfo(DTYPE).max + 1:
        raise UsageError(f"the text uses {len(characters)} different characters; 65,535 are possible")
    return char_tokenizer(characters, end_of_text)


def _write_tokens(path: Path, documents: Iterator[corpora.Document], tok: Tokenizer,
                  end: int | None) -> tuple[dict, list[tuple[str, float]]]:
    """Second pass: encode one split.  Returns its counts, and the texts whose log-probability is known."""
    counts = {"tokens": 0, "bytes": 0, "chars": 0, "documents": 0}
    known: list[tuple[str, float]] = []
    closing = np.array([] if end is None else [end], dtype=DTYPE)
    with path.open("wb") as file:
        while together := list(itertools.islice(documents, _TOGETHER)):
            encoded = tok.encode_all([document.text for document in together], literal=True)
            for document, ids in zip(together, encoded, strict=True):
                file.write(np.concatenate([ids.astype(DTYPE), closing]).tobytes())
                counts["tokens"] += len(ids) + len(closing)
                counts["bytes"] += len(document.text.encode("utf-8"))
                counts["chars"] += len(document.text)
                counts["documents"] += 1
                if document.logp is not None:
                    known.append((document.text, document.logp))
        file.flush()
        os.fsync(file.fileno())
    return counts, known


# -- files ------------------------------------------------------------------------------------------

def _seal(meta: dict) -> str:
    content = {k: v for k, v in meta.items() if k != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_meta(path: Path, meta: dict) -> None:
    meta = json.loads(json.dumps(meta))
    with path.open("w", encoding="utf-8") as file:
        json.dump(meta | {"seal": _seal(meta)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _read_meta(path: Path) -> dict:
    """The sealed content.  Raises DataMissing where it is not what `_write_meta` wrote."""
    try:
        meta = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise DataMissing("meta.json is not JSON") from None
    if not isinstance(meta, dict):
        raise DataMissing("meta.json is not an object")
    if meta.get("format") != FORMAT:
        raise DataMissing(f"meta.json has format {str(meta.get('format'))[:20]}, this tinylm reads {FORMAT}")
    try:
        sealed = meta.get("seal") == _seal(meta)
    except (RecursionError, ValueError):
        sealed = False
    if not sealed:
        raise DataMissing("the content of meta.json has changed")
    return meta


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _discard(folder: Path) -> None:
    """Take a damaged folder away at once, then delete it; a reader that has it mapped keeps its pages."""
    aside = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    with contextlib.suppress(FileNotFoundError):  # another process did it
        folder.rename(aside / folder.name)
    shutil.rmtree(aside, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Delete what a killed process left behind a day ago or earlier."""
    for left in root.glob(".building-*"):
        try:
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue


def _with_notes(dataset: Dataset, notes: tuple[str, ...]) -> Dataset:
    have = dataset.meta["vocabulary"]
    if have.get("asked") is not None and have["size"] < have["asked"]:
        notes += (f"{dataset.name}: a vocabulary of {have['size']:,} symbols, not {have['asked']:,}: the training "
                  "text has no more pairs that occur twice",)
    dataset.notes = notes
    return dataset
