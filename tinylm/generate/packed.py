"""Exported models: a folder that says all there is to say about a model, and the model read back from it.

    model.safetensors    NAME.packed and NAME.scale of each ternary tensor (`ops.packed` has the layout),
                         NAME.codes and NAME.scale of a head with 8 bits (`ops.int8`), which is the embedding too
                         where they are one; float tensors under their own names
    config.json          format, family and options, layout, the run it comes from, its loss
    tokenizer.json
    README.md            the model card

Ternary weights stay packed in memory where activations have 8 bits: products are then exact, and the scores are
those of the model that was trained, to the bit.
"""
from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from .. import kernels, models
from ..errors import DataMissing, TinylmError, UsageError
from ..kernels import memory
from ..layers import Layer, Parameters, Pass
from ..layers.base import Replaced
from ..layers.basic import NORM_EPS
from ..models.base import Memory
from ..models.thunderbolt import Thunderbolt
from ..ops.decode import BEFORE1, BEFORE2, HIDDEN, DecodeWeights
from ..ops.int8 import Int8Weight, dequantize_rows
from ..ops.packed import LAYOUT, CodeError, check_packed, packed_shape, unpack_ternary
from ..ops.shapes import ShapeError
from ..ops.ternary import Ternary

FORMAT = 1
MODEL, CONFIG, TOKENIZER, CARD = "model.safetensors", "config.json", "tokenizer.json", "README.md"
_UNFINISHED = ".writing-"
HEAD_BITS = 32, 8  # float32, or int8 with a scale for each row
FEW = 16           # tokens that are read sooner one by one than together
_ROWS = 512        # tokens whose scores exist at a time when a loss is measured with a head of 8 bits


class PackedWeight(NamedTuple):
    """A ternary matrix as `ops.packed_bitlinear` takes it."""

    packed: np.ndarray   # uint8
    scale: np.float32
    rows: int


class _Operations(Replaced):
    """The operations f, with ternary layers that take packed weights, and a head with 8 bits if there is one."""

    def __init__(self, f, head=None):
        super().__init__(f)
        self._f, self._head = f, head

    def bitlinear_forward(self, inp, weight, activation_bits=0):
        if isinstance(weight, PackedWeight):
            return self._f.packed_bitlinear(inp, *weight), None
        return self._f.bitlinear_forward(inp, weight, activation_bits)

    def linear_forward(self, inp, weight, bias=None):
        if self._head is None or weight is not self._head:
            return self._f.linear_forward(inp, weight, bias)
        out = self._f.int8_linear(inp, weight)
        return (out if bias is None else out + bias), None

    def linear_cross_entropy_forward(self, inp, weight, bias, targets):
        if self._head is None:
            return self._f.linear_cross_entropy_forward(inp, weight, bias, targets)
        losses = [self._f.cross_entropy_forward(self.linear_forward(inp[at:at + _ROWS], self._head, bias)[0],
                                                targets[at:at + _ROWS])[0] for at in range(0, len(inp), _ROWS)]
        return np.concatenate(losses), None


@dataclasses.dataclass
class PackedState(Memory):
    """A Thunderbolt's state, either by layer (`memory`) or, between single tokens, as `rows` for `decode_step`."""

    rows: np.ndarray | None = None

    def to_rows(self, model: Thunderbolt) -> None:
        if self.rows is None:
            self.rows = np.zeros((len(model.blocks), 3, model.config.channels), np.float32)
            for row, name in self._places(model):
                if name in self.memory:
                    row[...] = self.memory[name][0]
            self.memory.clear()

    def to_memory(self, model: Thunderbolt) -> None:
        if self.rows is not None:
            for row, name in self._places(model):
                self.memory[name] = row[None].copy()
            self.rows = None

    def _places(self, model):
        for rows, block in zip(self.rows, model.blocks):
            yield from ((rows[BEFORE1], block.shift1.name), (rows[BEFORE2], block.shift2.name),
                        (rows[HIDDEN], block.mixer.name))


class PackedModel:
    """A ternary model for inference whose ternary weights are given as they were exported.

    It has what `tinylm.models` asks of a model but `backward`; its parameters are the float ones.

    model    as it was declared, with all of its parameters; the layers in it do the work
    stream   all packed weights in the order in which a token meets them: what those in `weights` are views of;
             None where the weights are not packed
    int8     the head's weight with 8 bits, or None where it is among the float parameters
    """

    def __init__(self, model: Layer, weights: Mapping[str, PackedWeight | Ternary], stream: np.ndarray | None,
                 int8: Int8Weight | None = None):
        self.model, self.weights, self.stream, self.int8 = model, dict(weights), stream, int8
        self.name, self.family, self.config = model.name, model.family, model.config
        self.head, self.exact = model.head, model.exact
        self._made, self._made_of = {}, None

    @property
    def _decodes(self) -> bool:
        return self.stream is not None and isinstance(self.model, Thunderbolt)

    def parameters(self):
        return [p for p in self.model.parameters() if p.kind == "float"]

    def walk(self):
        """The model as declared and every layer inside it."""
        return self.model.walk()

    def unpacked(self) -> PackedModel:
        """The same model with its codes as bytes, which the operations of training multiply."""
        return PackedModel(self.model, {
            name: Ternary(unpack_ternary(w.packed, _shape(self.model, name)), w.scale)
            if isinstance(w, PackedWeight) else w for name, w in self.weights.items()}, None, self.int8)

    def _inside(self, run: Pass) -> Pass:
        run.made.update(self.weights)  # where layers look for codes before they make them
        return dataclasses.replace(run, f=_Operations(run.f, self._packed_head(run) if self.int8 else None))

    def _kept(self, run: Pass, name: str, make):
        """make(), kept for all texts: unlike those of a model in training, these parameters do not change."""
        if self._made_of is not run.p:
            self._made, self._made_of = {}, run.p
        if (name, run.f) not in self._made:
            self._made[name, run.f] = make()
        return self._made[name, run.f]

    def _packed_head(self, run: Pass):
        """The head as products take it, with 8 bits or 32."""
        name = self.head.weight.name
        if self.int8 is None:
            return run.once(name, run.f.pack)
        return run.once(name, lambda _: self._kept(run, name, lambda: run.f.pack_int8(self.int8)))

    def forward(self, tokens, targets, run):
        return self.model.forward(tokens, targets, self._inside(run))

    def logits(self, tokens, run):
        return self.model.logits(tokens, self._inside(run))

    def start(self, batch: int, capacity: int | None = None, dtype=np.float32):
        return PackedState()

    def extend(self, tokens, state, run):
        """As the model's own; few tokens of one text of a Thunderbolt go through `decode_step`, with the same bits."""
        if len(tokens) == 1 and tokens.size <= FEW and run.f is kernels and self._decodes:
            weights = self._kept(run, "decode", lambda: self.decode_weights(run))
            state.to_rows(self.model)
            state.length += tokens.size
            scores = [kernels.decode_step(token, weights, state.rows) for token in tokens[0]]
            return (scores[0][None] if len(scores) == 1 else np.stack(scores))[None]
        state.to_memory(self.model)
        return self.model.extend(tokens, state, self._inside(run))

    def decode_weights(self, run: Pass):
        """What `decode_step` takes."""
        p, model, blocks = run.p, self.model, self.model.blocks

        def of(*layers):
            """weight and bias of norms, stacked."""
            return [np.stack([p[layer.weight.name], p[layer.bias.name]]) for layer in layers]

        matrices = [[b.mixer.forget, b.mixer.value, b.mixer.output, b.mixer.proj, b.ffn.up, b.ffn.down] for b in blocks]
        weights = [[self.weights[layer.weight.name] for layer in block] for block in matrices]
        return run.f.pack_decode(DecodeWeights(
            embedding=p[model.embedding.tokens.name],
            norms=np.stack([np.stack(of(b.norm1, b.norm2)) for b in blocks]),
            mixes=np.stack([np.stack([p[b.shift1.mix.name], p[b.shift2.mix.name]]) for b in blocks]),
            gate_bias=np.stack([p[b.mixer.bias.name] for b in blocks]),
            head_norm=np.stack(of(*(b.mixer.norm for b in blocks))),
            lower=np.array([b.mixer.lower for b in blocks], np.float32), packed=self.stream,
            scales=np.array([[w.scale for w in block] for block in weights], np.float32),
            last_norm=of(model.norm)[0], head=self._packed_head(run),
            heads=self.config.heads, hidden=matrices[0][4].weight.shape[0], eps=NORM_EPS))


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was read from a folder.

    about    config.json: among others `run`, `step`, and `run_config`, the resolved options as TOML
    """

    path: Path
    model: PackedModel | Layer
    params: Parameters
    tokenizer: str
    about: dict


def pack(model: Layer, params: Parameters, head_bits: int = 32) -> tuple[PackedModel | Layer, Parameters]:
    """(model, parameters) for inference, as they would come back from an export; a float model as it is."""
    if not _ternary(model):
        return model, params
    return _for_inference(model, tensors_of(model, params, head_bits), Path("memory"), head_bits)


def reference(model: Layer, params: Parameters, head_bits: int) -> Pass:
    """What an export must agree with: the training forward, with the head rounded where the export's is."""
    if head_bits == 32:
        return Pass(f=kernels, p=params)
    name, rounded = model.head.weight.name, params.like()
    rounded.flat[:] = params.flat
    codes = kernels.quantize_rows(params[name])
    rounded[name][...] = dequantize_rows(codes)
    head = kernels.pack_int8(codes)
    return Pass(f=_Operations(kernels, head), p=rounded, made={name: head})


def _ternary(model: Layer) -> bool:
    return any(p.kind == "ternary" for p in model.parameters())


# -- writing ----------------------------------------------------------------------------------------

def tensors_of(model: Layer, params: Parameters, head_bits: int = 32) -> dict[str, np.ndarray]:
    """What model.safetensors holds.  The codes are those that training with the kernels multiplies.

    Raises    UsageError for a head with 8 bits where nothing is ternary
    """
    if head_bits == 8 and not _ternary(model):
        raise UsageError(f"--head-bits 8: only ternary models have such a head, and {model.name} is float")
    found = {}
    for p in model.parameters():
        if p.kind == "ternary":
            codes, scale = kernels.ternarize(params[p.name])
            found[p.name + ".packed"] = kernels.pack_ternary(codes)
            found[p.name + ".scale"] = np.array([scale], np.float32)
        elif head_bits == 8 and p.name == model.head.weight.name:
            found[p.name + ".codes"], found[p.name + ".scale"] = kernels.quantize_rows(params[p.name])
        else:
            found[p.name] = np.ascontiguousarray(params[p.name])
    return found


def about_of(model: Layer, about: Mapping, head_bits: int = 32) -> dict:
    """The content of config.json."""
    return {"format": FORMAT, "family": model.family, "config": dataclasses.asdict(model.config), "layout": LAYOUT,
            "head_bits": head_bits, **about}


class Writing:
    """A folder that comes into being as a whole, or not at all.

    Within the block `path` is a folder with another name beside the final one; leaving it in order gives it its
    name, and an error deletes it.

    Raises    UsageError where there is something of that name already, TinylmError where it cannot be written
    """

    def __init__(self, final: Path):
        self.final = Path(os.path.abspath(final))
        if self.final.exists() and (not self.final.is_dir() or any(self.final.iterdir())):
            raise UsageError(f"{final} exists already: name a new folder, or delete it")
        self.path = self.final.with_name(f"{_UNFINISHED}{self.final.name}-{os.urandom(3).hex()}")

    def __enter__(self) -> Writing:
        try:
            self.final.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()
        except OSError as error:
            raise TinylmError(f"{self.final} cannot be written: {error.strerror or error}") from error
        return self

    def write(self, name: str, content: bytes) -> None:
        try:
            with (self.path / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TinylmError(f"{self.final / name} cannot be written: {error.strerror or error}") from error

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                os.replace(self.path, self.final)  # takes the place of an empty folder, of nothing else
        except OSError as failed:
            raise TinylmError(f"{self.final} cannot be written: {failed.strerror or failed}") from failed
        finally:
            shutil.rmtree(self.path, ignore_errors=True)  # it is gone already if all went well


def write_model(writing: Writing, model: Layer, params: Parameters, tokenizer: str, about: Mapping,
                head_bits: int = 32) -> None:
    """All but the model card."""
    writing.write(MODEL, save(tensors_of(model, params, head_bits)))
    writing.write(CONFIG, json.dumps(about_of(model, about, head_bits), indent=1, allow_nan=False).encode())
    writing.write(TOKENIZER, tokenizer.encode())


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.iterdir())


# -- reading ----------------------------------------------------------------------------------------

def is_export(folder: Path) -> bool:
    """Whether this looks like an exported model, and not like a run or a checkpoint: it need not be a whole one."""
    return any((folder / name).is_file() for name in (CONFIG, MODEL)) and not any(
        (folder / name).exists() for name in ("state.json", "config.toml"))


def read(folder: Path) -> Exported:
    """The model in a folder.

    Raises    DataMissing, in one line that names the file and the tensor, where anything is missing, damaged,
              outside the layout, or of a newer format
    """
    about = read_about(folder)
    try:
        model = models.build(about["family"], about["config"])
    except UsageError as error:
        raise DataMissing(f"{folder / CONFIG}: no model can be built from it: {error}") from None
    try:
        tokenizer = (folder / TOKENIZER).read_bytes().decode("utf-8")
        tensors = load_file(folder / MODEL)
    except FileNotFoundError as error:
        raise DataMissing(f"{error.filename or folder / MODEL}: missing, so this is no whole model") from None
    except OSError as error:
        raise DataMissing(f"{folder}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataMissing(f"{folder / TOKENIZER}: not UTF-8, so damaged") from None
    except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise DataMissing(f"{folder / MODEL}: not a whole safetensors file ({error})") from None
    model, params = _for_inference(model, tensors, folder / MODEL, about["head_bits"])
    return Exported(folder, model, params, tokenizer, about)


def _for_inference(model: Layer, tensors: dict[str, np.ndarray], path: Path, head_bits: int):
    params, weights, stream, head = _fill(model, tensors, path, head_bits)
    if not weights:
        return model, params
    found = PackedModel(model, weights, stream, head)
    return found if model.config.activation_bits else found.unpacked(), params  # a float product wants the codes


def read_about(folder: Path) -> dict:
    """The content of config.json.   Raises DataMissing"""
    path = folder / CONFIG
    try:
        about = json.loads(path.read_bytes())
    except OSError as error:
        raise DataMissing(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise DataMissing(f"{path}: not JSON, so damaged or cut off") from None
    found = about.get("format") if isinstance(about, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise DataMissing(f"{path}: not part of an exported model: it states no format")
    if found > FORMAT:
        raise DataMissing(f"{path}: format {found} is newer than this tinylm reads ({FORMAT}): update tinylm")
    if found < FORMAT:
        raise DataMissing(f"{path}: there is no format {found}")
    for name, kind in (("family", str), ("config", dict), ("layout", str), ("run", str), ("step", int),
                       ("run_config", str), ("head_bits", int)):
        if not isinstance(about.get(name), kind):
            raise DataMissing(f"{path}: {name} is missing or damaged")
    if about["head_bits"] not in HEAD_BITS:
        raise DataMissing(f"{path}: a head of {about['head_bits']} bits is unknown; there are those of 8 and of 32")
    if about["layout"] != LAYOUT:
        raise DataMissing(f"{path}: the layout {about['layout']!r} is unknown; this tinylm reads {LAYOUT}")
    return about


def _shape(model: Layer, name: str) -> tuple[int, int]:
    return next(p.shape for p in model.parameters() if p.name == name)


def _fill(model: Layer, tensors: dict[str, np.ndarray], path: Path, head_bits: int):
    """(float parameters, {name: PackedWeight}, what these are views of, the head if it has 8 bits) after every
    tensor has been checked."""
    declared, wanted = model.parameters(), {}
    head = model.head.weight.name if head_bits == 8 else None
    for p in declared:
        if p.kind == "ternary":
            wanted[p.name + ".packed"] = np.uint8, packed_shape(*p.shape)
            wanted[p.name + ".scale"] = np.float32, (1,)
        elif p.name == head:
            wanted[p.name + ".codes"] = np.int8, p.shape
            wanted[p.name + ".scale"] = np.float32, p.shape[:1]
        else:
            wanted[p.name] = np.float32, p.shape
    for name, (dtype, shape) in wanted.items():
        if name not in tensors:
            raise DataMissing(f"{path}: tensor {name} is missing")
        have = tensors[name]
        if have.dtype != dtype or have.shape != tuple(shape):
            raise DataMissing(f"{path}: tensor {name} is {have.dtype} {have.shape}, "
                              f"the model wants {np.dtype(dtype)} {tuple(shape)}")
        if dtype is np.float32 and not np.isfinite(have).all():
            raise DataMissing(f"{path}: tensor {name} holds numbers that are not finite")
    extra = sorted(set(tensors) - set(wanted))
    if extra:
        raise DataMissing(f"{path}: tensor {extra[0]} belongs to no part of the model")
    params = Parameters([p for p in declared if p.kind == "float"])
    int8_head = None
    for name, view in params.items():
        if name == head:
            int8_head = Int8Weight(tensors[name + ".codes"], tensors[name + ".scale"])
            if (int8_head.codes == -128).any():
                raise DataMissing(f"{path}: tensor {name}.codes holds -128, which stands for no weight")
            view[...] = dequantize_rows(int8_head)
        else:
            view[...] = tensors[name]
    ternary = [p for p in declared if p.kind == "ternary"]
    stream = memory.empty(sum(tensors[p.name + ".packed"].size for p in ternary), np.uint8)
    weights, at = {}, 0
    for p in ternary:  # one after the other, in the order in which a token meets them
        packed = tensors[p.name + ".packed"]
        try:
            check_packed(packed, p.shape)
        except (CodeError, ShapeError) as error:
            raise DataMissing(f"{path}: tensor {p.name}.packed: {error}") from None
        view = stream[at:at + packed.size].reshape(packed.shape)
        view[...], at = packed, at + packed.size
        weights[p.name] = PackedWeight(view, tensors[p.name + ".scale"][0], p.shape[0])
    return params, weights, stream, int8_head
