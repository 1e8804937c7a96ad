"""Tokenizers: text in, token ids out, and back without a lost byte.

Whatever its kind, a tokenizer is one file, `tokenizer.json`, in the format of Hugging Face's
`tokenizers`, so other programs can read it.  `Tokenizer` wraps such a file and adds what tinylm
needs: a digest for `units.Loss`, the raw text behind every token, and for characters an encoder
that is a table lookup.
"""
from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from tinylm.config import LARGEST_VOCAB, SMALLEST_VOCAB
from tinylm.errors import DataMissing, UsageError

END_OF_TEXT = "<|endoftext|>"

# Matches one character of any kind; "." would leave the newline out.
_ANY_CHARACTER = r"[\s\S]"

# A pair of symbols that occurs once is learned by heart: its merge would say nothing about other text.
RAREST_PAIR = 2


class Tokenizer:
    """A `tokenizer.json` and what tinylm derives from it.

    vocab_size   V, the ids are 0 … V−1
    kind         "char" for a character vocabulary, else the model's type ("bpe", …)
    digest       hexadecimal digest of vocabulary, merges and special tokens
    name         kind, size and the head of the digest: "char-65-1a2b3c"
    end_of_text  id of `<|endoftext|>`, or None
    token_bytes  int64 (V,): UTF-8 bytes of raw text a token stands for; special tokens: 0
    token_chars  int64 (V,): characters (code points) of raw text; special tokens: 0
    """

    def __init__(self, json_text: str):
        """Raises DataMissing where `json_text` is no tokenizer that `tokenizers` can load."""
        self._hf, self._json = _parse(json_text)
        vocabulary = self._hf.get_vocab(with_added_tokens=True)
        self.vocab_size = len(vocabulary)
        if sorted(vocabulary.values()) != list(range(self.vocab_size)):
            raise DataMissing("the token ids are not 0 … V−1 without gaps")
        self._tokens = sorted(vocabulary, key=vocabulary.get)
        self._added = {t["id"]: t for t in self._json.get("added_tokens") or []}
        self._special = {i for i, t in self._added.items() if t.get("special")}
        self.end_of_text = vocabulary.get(END_OF_TEXT)
        self._raw: dict[int, bytes] = {}
        self.kind = "char" if self._is_characters() else self._json["model"]["type"].lower()
        self.digest = self._digest()
        self.name = f"{self.kind}-{self.vocab_size}-{self.digest[:6]}"

    def __repr__(self) -> str:
        return f"<Tokenizer {self.name}>"

    # -- files ----------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a `tokenizer.json`; a folder stands for the one inside it.

        Raises DataMissing for a file that is missing, unreadable or not a tokenizer.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "tokenizer.json"
        try:
            text = path.read_bytes().decode("utf-8")
        except FileNotFoundError:
            raise DataMissing(f"{path}: no such tokenizer file") from None
        except UnicodeDecodeError:
            raise DataMissing(f"{path}: not UTF-8, so not a tokenizer.json") from None
        except OSError as error:
            raise DataMissing(f"{path}: cannot be read ({error.strerror})") from None
        try:
            return cls(text)
        except DataMissing as error:
            raise DataMissing(f"{path}: {error}") from None

    def to_json(self) -> str:
        """The content of `tokenizer.json`."""
        return self._hf.to_str(pretty=True)

    def save(self, path: str | Path) -> None:
        """Write `tokenizer.json`; the same tokenizer always writes the same bytes."""
        Path(path).write_bytes(self.to_json().encode("utf-8"))

    # -- text and tokens ------------------------------------------------------------------------

    def encode(self, text: str, literal: bool = False) -> np.ndarray:
        """Token ids of a text, int32 (tokens,); see `encode_all`."""
        return self.encode_all([text], literal)[0]

    def encode_all(self, texts: Sequence[str], literal: bool = False) -> list[np.ndarray]:
        """Token ids of each text, int32 (tokens,).

        The literal `<|endoftext|>` becomes the special token where the vocabulary has it; with
        `literal` it is text like any other, so that no byte of a document gets lost.
        Characters are looked up in a table by code point; that this equals `tokenizers` is tested.
        Raises UsageError where the vocabulary lacks a character, naming it.
        """
        if self.kind == "char":
            return [self._encode_marked(text, literal) for text in texts]
        self._hf.encode_special_tokens = literal
        try:
            found = self._hf.encode_batch(list(texts), add_special_tokens=False)
        except (ValueError, TypeError, UnicodeError):
            raise UsageError("the text is not valid Unicode") from None
        except Exception as error:  # `tokenizers` raises bare Exception
            raise UsageError(f"{self.name} cannot encode the text: {error}") from None
        return [np.asarray(one.ids, dtype=np.int32) for one in found]

    def _encode_marked(self, text: str, literal: bool) -> np.ndarray:
        if literal or self.end_of_text is None or END_OF_TEXT not in text:
            return self._encode_characters(text)
        pieces = [self._encode_characters(piece) for piece in text.split(END_OF_TEXT)]
        joint = np.array([self.end_of_text], dtype=np.int32)
        return np.concatenate([p for piece in pieces for p in (joint, piece)][1:])

    def decode(self, ids: Iterable[int] | np.ndarray, skip_special_tokens: bool = False) -> str:
        """The text of token ids: `decode(encode(text)) == text`.

        Raises UsageError for an id outside 0 … V−1.
        """
        ids = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids)).reshape(-1)
        if ids.size == 0:
            return ""
        if ids.dtype.kind not in "iu":
            raise UsageError("token ids must be integers")
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            bad = ids[(ids < 0) | (ids >= self.vocab_size)][0]
            raise UsageError(f"token id {bad} is outside the vocabulary (0 … {self.vocab_size - 1})")
        if self.kind != "char":
            return self._hf.decode(ids.tolist(), skip_special_tokens=skip_special_tokens)
        points = self._code_points[ids]
        specials = np.flatnonzero(points == 0xFFFFFFFF)
        if specials.size == 0:
            return _text(points)
        text, start = [], 0
        for at in specials.tolist():
            text.append(_text(points[start:at]))
            if not skip_special_tokens:
                text.append(self._tokens[ids[at]])
            start = at + 1
        return "".join(text) + _text(points[start:])

    def missing(self, text: str) -> dict[str, int]:
        """Characters of `text` that a character vocabulary lacks, with how often each occurs."""
        if self.kind != "char":
            return {}
        if self.end_of_text is not None:
            text = text.replace(END_OF_TEXT, "")
        points = _points(text)
        lacking = points[self._lookup[np.minimum(points, len(self._lookup) - 1)] < 0]
        found, counts = np.unique(lacking, return_counts=True)
        return {chr(p): int(n) for p, n in zip(found, counts, strict=True)}

    # -- what a token stands for ----------------------------------------------------------------

    @cached_property
    def token_bytes(self) -> np.ndarray:
        return self._measure(len)

    @cached_property
    def token_chars(self) -> np.ndarray:
        # A token of byte-level BPE may begin or end inside a character.  Counting the bytes that
        # start one (those not of the form 10xxxxxx) still adds up to the characters of the text.
        return self._measure(lambda raw: sum(byte & 0xC0 != 0x80 for byte in raw))

    def raw_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of raw text that one token stands for; b"" for a special token.

        Raises UsageError for a tokenizer that alters the text, where no token has such bytes.
        """
        raw = self._raw.get(token)
        if raw is None:  # kept, since text that is written asks for the same few again and again
            raw = self._raw[token] = self._find_raw_bytes(token)
        return raw

    def _find_raw_bytes(self, token: int) -> bytes:
        if token in self._special:
            return b""
        if token in self._added:
            return self._tokens[token].encode("utf-8")
        self._check_exact()
        if (self._json.get("decoder") or {}).get("type") == "ByteLevel":
            try:
                return bytes(_BYTE_OF[c] for c in self._tokens[token])
            except KeyError:
                raise UsageError(f"{self.name}: token {token} is not made of byte symbols") from None
        return self._tokens[token].encode("utf-8")

    def _measure(self, count) -> np.ndarray:
        sizes = np.array([count(self.raw_bytes(i)) for i in range(self.vocab_size)], dtype=np.int64)
        sizes.flags.writeable = False
        return sizes

    def _check_exact(self) -> None:
        """Refuse to count bytes where tokens do not concatenate to the raw text."""
        parts = self._json
        decoder = (parts.get("decoder") or {}).get("type")
        prefixed = '"add_prefix_space": true' in json.dumps(parts.get("pre_tokenizer"))
        if parts.get("normalizer") or prefixed or decoder not in ("ByteLevel", "Fuse"):
            raise UsageError(f"{self.name} changes the text (normalizer, prefix space or decoder "
                             f"{decoder}), so bytes per token are not defined")

    # -- inside ---------------------------------------------------------------------------------

    def _is_characters(self) -> bool:
        """Whether encoding is a lookup per character, as `char_tokenizer` makes it."""
        parts = self._json
        model = parts["model"]
        return bool(
            model.get("type") == "WordLevel"
            and model["vocab"] and all(len(symbol) == 1 for symbol in model["vocab"])
            # `tokenizers` would put the unknown token where we raise
            and model.get("unk_token") not in model["vocab"]
            and parts.get("normalizer") is None and parts.get("post_processor") is None
            and (parts.get("decoder") or {}).get("type") == "Fuse"
            and parts.get("pre_tokenizer") == {"type": "Split", "pattern": {"Regex": _ANY_CHARACTER},
                                               "behavior": "Isolated", "invert": False}
            and all(t == _end_of_text_entry(t["id"]) for t in self._added.values()))

    def _digest(self) -> str:
        """Depends on what the tokenizer does, not on how a version of `tokenizers` writes it."""
        parts = self._json
        content = {"tokens": self._tokens, "merges": parts["model"].get("merges"),
                   "special": sorted(self._special)}
        if self.kind != "char":
            content["type"] = parts["model"]["type"]
            content["normalizer"] = parts.get("normalizer")
            content["pre_tokenizer"] = parts.get("pre_tokenizer")
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def _code_points(self) -> np.ndarray:
        """uint32 (V,): the character of a token; 0xFFFFFFFF for a special one."""
        return np.array([0xFFFFFFFF if i in self._special else ord(t)
                         for i, t in enumerate(self._tokens)], dtype=np.uint32)

    @cached_property
    def _lookup(self) -> np.ndarray:
        """int32: the token of a code point, −1 for none; the last entry stands for all above."""
        points = self._code_points
        characters = np.flatnonzero(points != 0xFFFFFFFF)
        table = np.full(int(points[characters].max()) + 2, -1, dtype=np.int32)
        table[points[characters]] = characters
        return table

    def _encode_characters(self, text: str) -> np.ndarray:
        points = _points(text)
        ids = self._lookup[np.minimum(points, len(self._lookup) - 1)]
        if ids.size and ids.min() < 0:
            raise UsageError(self._complaint(self.missing(text)))
        return ids

    def _complaint(self, lacking: dict[str, int]) -> str:
        named = [_show(c) for c in sorted(lacking, key=lambda c: (-lacking[c], c))[:8]]
        if len(lacking) > len(named):
            named.append("…")
        total, different = sum(lacking.values()), len(lacking)
        return (f"the vocabulary {self.name} lacks {different} character"
                f"{'s' if different > 1 else ''} that the text uses {total} time"
                f"{'s' if total > 1 else ''}: {', '.join(named)}")


def char_tokenizer(characters: Iterable[str], end_of_text: bool) -> Tokenizer:
    """A tokenizer with one token per character, sorted by code point.

    With `end_of_text` the special token `<|endoftext|>` comes last.
    Raises UsageError where there are no characters, or a symbol is not one character.
    """
    symbols = sorted(set(characters))
    if not symbols:
        raise UsageError("a character vocabulary needs at least one character")
    for symbol in symbols:
        if len(symbol) != 1:
            raise UsageError(f"{symbol!r} is not one character")
        if "\ud800" <= symbol <= "\udfff":
            raise UsageError(f"U+{ord(symbol):04X} is half a surrogate pair, not a character")
    return Tokenizer(json.dumps({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [_end_of_text_entry(len(symbols))] if end_of_text else [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": _ANY_CHARACTER},
                          "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        # No unknown token: `tokenizers` then refuses a strange character instead of dropping it.
        "model": {"type": "WordLevel", "vocab": {c: i for i, c in enumerate(symbols)},
                  "unk_token": "<unk>"},
    }))


def bpe_tokenizer(texts: Iterable[str], vocab: int) -> Tokenizer:
    """A byte-level BPE learned from texts: `<|endoftext|>`, the 256 bytes, and merged pairs of symbols.

    Every text can be encoded, whatever it was learned from.  Words are parted by GPT-2's rule before
    pairs are counted; no space is put in front.  The same texts give the same tokenizer.  Pairs seen
    less than twice are not merged, so a small text gives fewer symbols than `vocab`.

    Raises UsageError for a vocab outside 257 … 65,535.
    Source: Radford et al. 2019 (GPT-2), section 2.2; Sennrich et al. 2016, arXiv:1508.07909, algorithm 1.
    """
    import tokenizers

    if not SMALLEST_VOCAB <= vocab <= LARGEST_VOCAB:
        raise UsageError(f"a byte-level vocabulary of {vocab:,} symbols: from {SMALLEST_VOCAB} (the bytes and "
                         f"end-of-text) to {LARGEST_VOCAB:,} are possible")
    hf = tokenizers.Tokenizer(tokenizers.models.BPE())
    hf.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    hf.decoder = tokenizers.decoders.ByteLevel()
    hf.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=vocab, min_frequency=RAREST_PAIR, special_tokens=[END_OF_TEXT], show_progress=False,
        initial_alphabet=sorted(_BYTE_OF)))
    return Tokenizer(hf.to_str())


def _end_of_text_entry(token: int) -> dict:
    return {"id": token, "content": END_OF_TEXT, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True}


def _parse(json_text: str):
    """(tokenizers.Tokenizer, its own JSON as a dictionary), or DataMissing."""
    import tokenizers

    try:
        given = json.loads(json_text)
    except (ValueError, RecursionError):
        raise DataMissing("not JSON, so not a tokenizer.json") from None
    if not isinstance(given, dict) or not isinstance(given.get("model"), dict):
        raise DataMissing("no tokenizer.json: it has no \"model\"")
    vocab, added = given["model"].get("vocab"), given.get("added_tokens")
    if isinstance(vocab, dict):
        most = len(vocab) + (len(added) if isinstance(added, list) else 0)
        # The Rust library would count up to whatever number stands here, for minutes.
        if not all(type(i) is int and 0 <= i < most for i in vocab.values()):
            raise DataMissing("the token ids are not 0 … V−1 without gaps")
    try:
        hf = tokenizers.Tokenizer.from_str(json_text)
        parts = json.loads(hf.to_str())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in the Rust library is no Exception
        reason = " ".join(str(error).split())[:120]
        raise DataMissing(f"`tokenizers` cannot load it: {reason}") from None
    if not hf.get_vocab_size():
        raise DataMissing("the vocabulary is empty")
    return hf, parts


def _points(text: str) -> np.ndarray:
    """uint32 code points; half surrogates pass, so that the vocabulary check can name them."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _text(points: np.ndarray) -> str:
    return points.astype("<u4", copy=False).tobytes().decode("utf-32-le")


def _show(character: str) -> str:
    """A character as a message shows it: itself if it can be seen, with its code point if not ASCII."""
    code = f"U+{ord(character):04X}"
    if character.isascii() or not character.isprintable() or unicodedata.combining(character):
        return repr(character) if character.isascii() else code
    return f"{character!r} ({code})"


def _byte_symbols() -> dict[str, int]:
    """The byte behind each symbol of byte-level BPE.

    Printable Latin-1 bytes stand for themselves, the others for U+0100 upwards in order.
    Source: Radford et al. 2019 (GPT-2), `bytes_to_unicode` of its released code.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in set(visible)]
    return {chr(b): b for b in visible} | {chr(0x100 + i): b for i, b in enumerate(hidden)}


_BYTE_OF = _byte_symbols()
