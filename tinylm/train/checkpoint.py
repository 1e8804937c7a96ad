"""Checkpoints: everything a run needs to go on, on the disk as a whole or not at all.

    checkpoints/
        000600-5e1f03/              a version: written under another name, flushed, renamed
            model.safetensors       parameters by name
            optimizer.safetensors   AdamW's moments: first.<name>, second.<name>; codes.<name> of
                                    ternary parameters at the last log line, from which flips are counted
            config.json             family and options of the model
            tokenizer.json
            state.json              step, plan, counters, and a digest of every tensor and file
        last -> 000600-5e1f03
        best -> 000400-c2a977

`last` and `best` are symbolic links and change in one rename, so at every moment each leads to a
complete checkpoint.  Versions no link leads to are deleted.  Reading checks every digest: what was
damaged later is noticed and named.
"""
from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..errors import DataMissing, TinylmError
from ..layers import Parameters

FORMAT = 1
LINKS = ("last", "best")
MODEL, OPTIMIZER, CONFIG, TOKENIZER, STATE = ("model.safetensors", "optimizer.safetensors", "config.json",
                                              "tokenizer.json", "state.json")
MOMENTS = ("first", "second")
_CODES = "codes."
_UNFINISHED = ".writing-"


@dataclass(frozen=True)
class Checkpoint:
    """What was read: complete, finite, and with the digests it was written with.

    path       the folder
    family     of the model; `config` are its options: `models.build(family, config)`
    tokenizer  content of tokenizer.json
    state      what the loop keeps: see `tinylm.train.loop`
    model      parameters by name
    optimizer  moments by name ("first.<name>", "second.<name>") and "codes.<name>", or None where not
               asked for
    """

    path: Path
    family: str
    config: dict
    tokenizer: str
    state: dict
    model: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray] | None

    @property
    def step(self) -> int:
        return self.state["step"]

    @property
    def codes(self) -> dict[str, np.ndarray]:
        """Ternary codes at the last log line, by parameter; empty where none were kept."""
        return {name.removeprefix(_CODES): codes for name, codes in (self.optimizer or {}).items()
                if name.startswith(_CODES)}

    def fill(self, params: Parameters, first: Parameters | None = None,
             second: Parameters | None = None) -> None:
        """Put the tensors into parameters and moments.

        Raises    DataMissing where names, shapes or number formats are not those declared
        """
        _fill(params, self.model, "", self.path / MODEL)
        for name, moments in zip(MOMENTS, (first, second)):
            if moments is not None:
                of_it = {k: v for k, v in self.optimizer.items() if k.startswith(name + ".")}
                _fill(moments, of_it, name + ".", self.path / OPTIMIZER)


def _fill(params: Parameters, tensors: Mapping[str, np.ndarray], prefix: str, path: Path) -> None:
    wanted = {prefix + name: view for name, view in params.items()}
    for name, view in wanted.items():
        if name not in tensors:
            raise DataMissing(f"{path}: tensor {name} is missing")
        have = tensors[name]
        if have.shape != view.shape:
            raise DataMissing(f"{path}: tensor {name} has shape {have.shape}, the model wants {view.shape}")
        if have.dtype != view.dtype:
            raise DataMissing(f"{path}: tensor {name} holds {have.dtype}, the model wants {view.dtype}")
    extra = sorted(set(tensors) - set(wanted))
    if extra:
        raise DataMissing(f"{path}: tensor {extra[0]} belongs to no part of the model")
    for name, view in wanted.items():
        view[...] = tensors[name]


# -- writing ----------------------------------------------------------------------------------------

def write(folder: Path, *, family: str, config: dict, tokenizer: str, state: dict,
          params: Parameters, first: Parameters, second: Parameters, best: bool,
          codes: Mapping[str, np.ndarray] | None = None) -> Path:
    """Write a version into `folder` and lead `last` to it, and `best` too where asked.

    state    JSON values; its "step" names the version
    codes    of ternary parameters, as `train.quality` keeps them

    Raises   TinylmError where that fails; what `last` and `best` lead to is then as before
    """
    final = folder / f"{state['step']:06d}-{os.urandom(4).hex()}"
    building = folder / (_UNFINISHED + final.name)
    tensors = {MODEL: dict(params.items()),
               OPTIMIZER: {f"{prefix}.{name}": view for prefix, moments in zip(MOMENTS, (first, second))
                           for name, view in moments.items()}
               | {_CODES + name: view for name, view in (codes or {}).items()}}
    try:
        building.mkdir(parents=True)
        digests: dict = {}
        for name, content in ((CONFIG, _json({"format": FORMAT, "family": family, "config": config})),
                              (TOKENIZER, tokenizer.encode())):
            _write_file(building / name, content)
            digests[name] = _digest(content)
        for name, arrays in tensors.items():
            _write_file(building / name, save(arrays))
            digests[name] = {k: _tensor_digest(v) for k, v in arrays.items()}
        content = {"format": FORMAT, **state, "digests": digests}
        _write_file(building / STATE, _json({**content, "seal": _seal(content)}))
        _sync_folder(building)
        building.rename(final)
        # `best` first: killed between the two, the run goes on from `last` and meets this best again.
        for link in (["best"] if best else []) + ["last"]:
            _point(folder / link, final.name)
        _sync_folder(folder)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)  # best effort: `tidy` takes what is left
        raise TinylmError(f"the checkpoint of step {state['step']:,} could not be saved in {folder}: "
                          f"{error.strerror or error}; {_last_good(folder)}") from error
    tidy(folder)
    return final


def tidy(folder: Path) -> None:
    """Delete what no link leads to: older versions, and what a killed process left half-written."""
    keep = {os.path.basename(os.readlink(folder / link)) for link in LINKS if (folder / link).is_symlink()}
    for entry in folder.iterdir():
        if entry.is_symlink():
            if entry.name not in LINKS:
                entry.unlink(missing_ok=True)
        elif entry.name not in keep and entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)


def _write_file(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a folder: they need no sync
            raise
    finally:
        os.close(handle)


def _point(link: Path, target: str) -> None:
    """Lead a symbolic link to another target in one step."""
    new = link.with_name(f"{_UNFINISHED}{link.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    os.replace(new, link)


def _last_good(folder: Path) -> str:
    try:
        step = int(os.readlink(folder / "last").split("-")[0])
    except (OSError, ValueError):
        return "there is no earlier one"
    return f"the one of step {step:,} is untouched"


# -- reading ----------------------------------------------------------------------------------------

def read(path: str | Path, optimizer: bool = False) -> Checkpoint:
    """Read a checkpoint folder, or what `last` or `best` lead to.

    optimizer    read the moments too

    Raises    DataMissing, in one line that names the file and the tensor, where anything is missing,
              damaged, not finite, or of a newer format
    """
    path = Path(path)
    for attempt in range(20):
        version = Path(os.path.realpath(path))
        try:
            return _read(version, optimizer)
        except FileNotFoundError as error:
            # A training run may have moved on to its next version while this one was being read.
            if Path(os.path.realpath(path)) == version or attempt == 19:
                what = Path(error.filename).name if version.is_dir() else "the folder"
                raise DataMissing(f"{path}: no complete checkpoint, {what} is missing") from None
        except OSError as error:
            raise DataMissing(f"{path}: the checkpoint cannot be read: {error.strerror or error}") from None
    raise AssertionError("unreachable")


def _read(path: Path, optimizer: bool) -> Checkpoint:
    state = _read_json(path / STATE, (path / STATE).read_bytes())
    seal = state.pop("seal", None)
    try:
        sealed = seal == _seal(state)
    except (ValueError, RecursionError):
        sealed = False
    if not sealed:
        raise DataMissing(f"{path / STATE}: the content has changed since it was written")
    digests = state.pop("digests")
    contents = {name: (path / name).read_bytes() for name in (CONFIG, TOKENIZER)}
    for name, content in contents.items():
        if _digest(content) != digests[name]:
            raise DataMissing(f"{path / name}: the content has changed since it was written")
    config = _read_json(path / CONFIG, contents[CONFIG])
    names = (MODEL, OPTIMIZER) if optimizer else (MODEL,)
    tensors = {name: _read_tensors(path / name, digests[name]) for name in names}
    return Checkpoint(path, config["family"], config["config"], contents[TOKENIZER].decode(), state,
                      tensors[MODEL], tensors.get(OPTIMIZER))


def _read_json(path: Path, content: bytes) -> dict:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise DataMissing(f"{path}: not JSON, so damaged or cut off") from None
    found = value.get("format") if isinstance(value, dict) else None
    if not isinstance(found, int):
        raise DataMissing(f"{path}: not part of a checkpoint: it states no format")
    if found > FORMAT:
        raise DataMissing(f"{path}: format {found} is newer than this tinylm reads ({FORMAT}): update tinylm")
    if found < FORMAT:
        raise DataMissing(f"{path}: there is no format {found}")
    return value


def _read_tensors(path: Path, digests: dict[str, str]) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    try:
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise DataMissing(f"{path}: not a whole safetensors file ({error})") from None
    for name in digests:
        if name not in tensors:
            raise DataMissing(f"{path}: tensor {name} is missing")
    for name, tensor in tensors.items():
        if name not in digests:
            raise DataMissing(f"{path}: tensor {name} was not there when the checkpoint was written")
        if not np.all(np.isfinite(tensor)):
            raise DataMissing(f"{path}: tensor {name} holds numbers that are not finite")
        if _tensor_digest(tensor) != digests[name]:
            raise DataMissing(f"{path}: tensor {name} has changed since it was written")
    return tensors


def _json(value: dict) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tensor_digest(tensor: np.ndarray) -> str:
    """Of number format, shape and content."""
    digest = hashlib.sha256(f"{tensor.dtype.str}{tensor.shape}".encode())
    digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


def _seal(content: dict) -> str:
    """Of a JSON object that has not yet been sealed; what it says after a round trip is what counts."""
    return _digest(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode())
