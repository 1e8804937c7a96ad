"""A run directory as somebody looking at it finds it: whole, unfinished, damaged or foreign.

Training and resuming need every file to be right and refuse otherwise.  Looking does not: `read`
takes what can be read and lists in `problems` what cannot.
"""
from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataMissing
from ..train import rundir
from .words import CHINCHILLA, clock, finite

_LONGEST_SAMPLE = 20_000  # bytes; a sample is a page, not a book


@dataclass
class Table:
    """Rows of metrics of one split, in the order of steps."""

    rows: list[dict] = field(default_factory=list)

    def column(self, key: str) -> list:
        """One value a row, None where it is absent."""
        return [row.get(key) for row in self.rows]

    @property
    def last(self) -> dict | None:
        return self.rows[-1] if self.rows else None


@dataclass
class Record:
    """What a run directory says.

    status       a word of `rundir.STATUSES`, "killed" or "unknown"; `status_text` is the rest of it
    config       {section: {name: value}}, keys without a table under ""
    origins      {"section.name": where that value came from}
    environment  the machine and what was trained on
    train, val   rows of metrics.jsonl
    samples      (step, text) through time
    state        of the last checkpoint
    problems     what could not be read, one line each
    """

    path: Path
    status: str = "unknown"
    status_text: str = ""
    config: dict = field(default_factory=dict)
    origins: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    train: Table = field(default_factory=Table)
    val: Table = field(default_factory=Table)
    samples: list[tuple[int, str]] = field(default_factory=list)
    state: dict = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    # -- names --------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def preset(self) -> str:
        return str(self.config.get("", {}).get("preset") or "?")

    @property
    def data(self) -> str:
        return str(self._fact("data") or self.config.get("", {}).get("data") or "?")

    @property
    def title(self) -> str:
        return f"{self.preset} on {self.data}"

    @property
    def tokenizer(self) -> str:
        """Digest of the tokenizer; losses per token belong to it."""
        return str(self._fact("tokenizer") or "?")

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer for a person: its digest and how many symbols it has."""
        vocab = self._fact("vocab")
        return self.tokenizer + (f" ({vocab:,} symbols)" if finite(vocab) else "")

    @property
    def validation_text(self) -> tuple | None:
        """Equal for runs of one tokenizer that were validated on the same tokens; None where nobody knows."""
        digest, tokens = self._fact("data_digest"), self._fact("val_tokens")
        return (digest, tokens) if isinstance(digest, str) and finite(tokens) else None

    @property
    def source(self) -> tuple:
        """What the text was made from: equal for the same text under different tokenizers."""
        top = self.config.get("", {})
        return tuple(str(top.get(name)) for name in ("data", "documents", "size"))

    @property
    def started(self) -> str | None:
        value = self._fact("started")
        return clock(value) if finite(value) else None

    # -- sizes --------------------------------------------------------------------------------------

    @property
    def steps(self) -> int | None:
        return self._newest("step")

    @property
    def tokens(self) -> int | None:
        return self._newest("tokens")

    @property
    def seconds(self) -> float | None:
        return self._newest("seconds")

    @property
    def tokens_per_second(self) -> float | None:
        """Over all training rows: tokens over the time their speeds say they took."""
        tokens = seconds = 0.0
        before = 0
        for row in self.train.rows:
            at, speed = row.get("tokens"), row.get("tokens_per_second")
            if finite(at) and finite(speed) and speed > 0 and at > before:
                tokens, seconds, before = tokens + at - before, seconds + (at - before) / speed, at
        return tokens / seconds if seconds else None

    @property
    def parameters(self) -> int | None:
        return self._size("parameters")

    @property
    def train_tokens(self) -> int | None:
        return self._size("train_tokens")

    @property
    def epochs(self) -> float | None:
        """How often the training text was read."""
        return self.tokens / self.train_tokens if self.tokens is not None and self.train_tokens else None

    @property
    def chinchilla(self) -> float | None:
        """Tokens seen over CHINCHILLA per parameter."""
        return self.tokens / (CHINCHILLA * self.parameters) if self.tokens is not None and self.parameters else None

    # -- losses -------------------------------------------------------------------------------------

    @property
    def best(self) -> dict | None:
        """The validation row of the lowest loss; that of the untrained model only where there is no other."""
        rows = [row for row in self.val.rows if finite(row.get("nats_per_token"))]
        return min(rows, key=lambda row: (row["step"] == 0, row["nats_per_token"])) if rows else None

    @property
    def best_bits_per_char(self) -> float | None:
        """Of the best evaluation; the checkpoint knows the characters, metrics.jsonl does not."""
        best, kept = self.best, self.state.get("best")
        if best is None or not isinstance(kept, dict) or kept.get("step") != best["step"]:
            return None
        value = kept["val"].get("bits_per_char") if isinstance(kept.get("val"), dict) else None
        return value if finite(value) else None

    @property
    def bits_per_byte_per_nat(self) -> float | None:
        """Bits/byte of the validation text for one nat/token: tokens ÷ bytes ÷ ln 2."""
        for row in reversed(self.val.rows or self.train.rows):
            nats, bits = row.get("nats_per_token"), row.get("bits_per_byte")
            if finite(nats) and finite(bits) and nats > 0 and bits > 0:
                return bits / nats
        return None

    @property
    def floor(self) -> float | None:
        """Entropy floor of the corpus, bits per byte."""
        value = self._fact("floor")
        value = value.get("bits_per_byte") if isinstance(value, dict) else value
        return value if finite(value) else None

    @property
    def floor_error(self) -> float | None:
        """Standard error of the distance to the floor, bits per byte."""
        value = (self.best or {}).get("floor_error")
        return value if finite(value) else None

    def above_floor(self, row: dict) -> float | None:
        """Bits per byte above the floor, as the trainer measured it where it did."""
        if finite(row.get("bits_per_byte_above_floor")):
            return row["bits_per_byte_above_floor"]
        if self.floor is None or not finite(row.get("bits_per_byte")):
            return None
        return row["bits_per_byte"] - self.floor

    @staticmethod
    def perplexity(row: dict) -> float | None:
        value = row.get("nats_per_token")
        return math.exp(min(value, 700.0)) if finite(value) else None

    # -- ternary weights ----------------------------------------------------------------------------

    def ternary(self, key: str) -> list[tuple[dict, float | None, list[float]]]:
        """(row, value over all weights, values of the layers) of the log lines that speak of ternary weights.

        key    "flips", "zeros", or "scale", which has no value over all weights: the mean of the layers

        The last line of a run may come after fewer steps than the others; its flips would look like a fall.
        """
        found = []
        entries = [(row, row["ternary"]) for row in self.train.rows if isinstance(row.get("ternary"), dict)]
        most = max((entry["steps"] for _, entry in entries if finite(entry.get("steps"))), default=0)
        for row, entry in entries:
            if key == "flips" and finite(entry.get("steps")) and entry["steps"] < most:
                continue
            values = [layer[key] for _, layer in ternary_layers(entry) if finite(layer.get(key))]
            total = entry.get(key)
            if not finite(total):
                total = sum(values) / len(values) if values else None
            found.append((row, total, values))
        return found

    # -- where things stand -------------------------------------------------------------------------

    def _fact(self, name: str):
        return self.environment.get(name)

    def _size(self, name: str):
        value = self._fact(name)
        value = value.get("total") if isinstance(value, dict) else value
        return value if finite(value) and value > 0 else None

    def _newest(self, name: str):
        values = [row.get(name) for table in (self.train, self.val) for row in table.rows]
        return max((v for v in values if finite(v)), default=None)


def ternary_layers(entry: dict) -> list[tuple[str, dict]]:
    """(name, {flips, zeros, scale}) of each layer that a log line speaks of."""
    layers = entry.get("layers")
    return [(str(name), layer) for name, layer in layers.items() if isinstance(layer, dict)] \
        if isinstance(layers, dict) else []


def read(path: str | Path) -> Record:
    """Everything that can be read in a run directory.

    Raises    DataMissing where there is no such folder, or nothing in it comes from a run
    """
    path = Path(path).resolve()
    if not path.is_dir():
        raise DataMissing(f"{path}: there is no such folder")
    record = Record(path)
    problems = record.problems
    table = _parse(path / "config.toml", lambda content: tomllib.loads(content.decode()), problems)
    origins = table.pop("origin", {})
    record.origins = {str(k): str(v) for k, v in origins.items()} if isinstance(origins, dict) else {}
    record.config = {"": {k: v for k, v in table.items() if not isinstance(v, dict)}}
    record.config |= {k: v for k, v in table.items() if isinstance(v, dict)}
    record.environment = _parse(path / "environment.json", json.loads, problems)
    # A run that was never saved has none, which is no damage.
    record.state = _parse(path / "checkpoints" / "last" / "state.json", json.loads, [])
    _metrics(record)
    _samples(record)
    try:
        record.status = rundir.status(path)
        record.status_text = " ".join((path / "STATUS").read_text("utf-8", errors="replace").split()[1:])
    except (OSError, ValueError):
        problems.append("STATUS: there is none that can be read")
    if not table and not record.environment and not record.train.rows and not record.val.rows:
        raise DataMissing(f"{path} is no run: " + ("; ".join(problems[:2]) or "it holds nothing of one"))
    return record


def _parse(path: Path, parse, problems: list[str]) -> dict:
    try:
        value = parse(path.read_bytes())
    except FileNotFoundError:
        problems.append(f"{path.name}: missing")
    except OSError as error:
        problems.append(f"{path.name}: {error.strerror or error}")
    except (ValueError, RecursionError):  # TOML, JSON and UTF-8 errors are ValueErrors
        problems.append(f"{path.name}: damaged")
    else:
        if isinstance(value, dict):
            return value
        problems.append(f"{path.name}: damaged")
    return {}


def _metrics(record: Record) -> None:
    """Rows by split; those without a step, or with numbers that are none, are counted as damaged."""
    file = record.path / "metrics.jsonl"
    try:
        rows = rundir.metrics(record.path)
        lines = sum(1 for line in file.read_bytes().split(b"\n") if line.strip()) if file.exists() else 0
    except (OSError, RecursionError) as error:
        record.problems.append(f"metrics.jsonl: cannot be read ({type(error).__name__})")
        return
    used = 0
    for row in rows:
        if row.get("split") not in ("train", "val") or not finite(row.get("step")):
            continue
        (record.train if row["split"] == "train" else record.val).rows.append(row)
        used += 1
    for table in (record.train, record.val):
        table.rows.sort(key=lambda row: row["step"])
    if used < lines:
        record.problems.append(f"metrics.jsonl: {lines - used} of {lines} lines cannot be read and are left out")
    strange = sum(1 for row in record.train.rows + record.val.rows if not finite(row.get("nats_per_token")))
    if strange:
        record.problems.append(f"metrics.jsonl: the loss is not a finite number in {strange} lines")


def _samples(record: Record) -> None:
    folder = record.path / "samples"
    try:
        files = sorted(f for f in folder.glob("*.txt") if f.stem.isdigit())
        for file in files:
            with file.open("rb") as handle:
                content = handle.read(_LONGEST_SAMPLE)
            record.samples.append((int(file.stem), content.decode("utf-8", errors="replace")))
    except OSError as error:
        record.problems.append(f"samples: {error.strerror or error}")
    record.samples.sort(key=lambda pair: pair[0])
