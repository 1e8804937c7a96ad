"""Events and run directories to look at, made without training anything."""
from __future__ import annotations

import json
import math
import random
from pathlib import Path

from tinylm.train.events import (
    Evaluated,
    Finished,
    Interrupted,
    Logged,
    Note,
    Planned,
    Sampled,
    Saved,
    Started,
    Stepped,
)
from tinylm.units import Loss

TOKENIZER = "char-28-0123456789ab"
HOSTILE = "<script>alert(1)</script> \x1b[2J\x07 \u202eevil \"q\" 'q' &amp; ]]> <!-- http://x.example -->\n\ttab\r\n"


def loss(nats_per_token: float, tokens: int = 1536, tokenizer: str = TOKENIZER, bytes_per_token: float = 1.0) -> Loss:
    size = round(tokens * bytes_per_token)
    return Loss(nats_per_token * tokens, tokens, size, size, tokenizer)


def events(steps: int = 600, *, floor: float | None = 1.0, stop_at: int | None = None, eval_every: int = 200,
           sample: str = "Once upon a time\n", run: Path = Path("runs/x"), planned: bool = True):
    """A run as the trainer reports it, with a clock of its own; interrupted after `stop_at` steps."""
    rng = random.Random(7)
    yield Started(0, 0, 0.0, run, "gpt-tiny", "stories", False, 815_388, 28, TOKENIZER, 1536, 1_200_000, 20_000,
                  4.9e6, None, floor, 2, "numba")
    yield Note(0, 0, 0.0, "two documents were taken out of the validation text")
    if planned:
        yield Planned(0, 0, 0.0, steps, None)
    val = train = None
    for step in range(1, steps + 1):
        where = (step, step * 1536, 0.05 * step)
        train = loss(1.1 + 2.3 * math.exp(-step / 90) + rng.gauss(0, 0.03))
        yield Stepped(*where, train, 3e-3, 0.5, step / steps)
        if step % 10 == 0:
            yield Logged(*where, train, 3e-3, 0.5, 30_720.0)
        if step % eval_every == 0 or step == steps:
            val = loss(1.14 + 2.3 * math.exp(-step / 90), 20_000)
            above = val.bits_per_byte - floor if floor is not None else None
            yield Evaluated(*where, val, True, above, 0.004 if floor is not None else None)
            yield Sampled(*where, sample, run / "samples" / f"{step:06d}.txt")
            yield Saved(*where, run / "checkpoints" / "last", True)
        if step == stop_at:
            yield Interrupted(*where, 30_720.0, train, val, "tinylm train --resume runs/x")
            return
    yield Finished(*where, 30_720.0, train, val, steps, val)


def make_run(folder: Path, *, steps: int = 600, status: str = "finished", preset: str = "gpt-tiny",
             data: str = "stories", floor: float | None = 1.0, sample: str = "Once upon a time\n",
             tokenizer: str = TOKENIZER, bytes_per_token: float = 1.0, val_data: str = "aa11",
             lr: float = 3e-3, parameters: int = 815_388, level: float = 1.14, batch_size: int = 12,
             ternary: bool = False) -> Path:
    """A run directory as `tinylm train` leaves it (without tensors)."""
    folder.mkdir(parents=True)
    (folder / "STATUS").write_text(status + "\n")
    (folder / "config.toml").write_text(
        f'preset = "{preset}"\ndata = "{data}"\nseed = 0\n\n[model]\nfamily = "gpt"\ncontext = 128\nchannels = 128\n\n'
        f'[train]\nsteps = {steps}\nbatch_size = {batch_size}\nlr = {lr}\n\n'
        '[origin]\npreset = "flag --preset"\ndata = "default"\nseed = "default"\n"model.context" = "preset gpt-tiny"\n'
        'lr = "flag --lr"\nsteps = "variable TINYLM_STEPS"\n')
    environment = {"started": 1_700_000_000.0, "command": ["tinylm", "train", "--preset", preset], "python": "3.11",
                   "processor": "a <b>fast</b> one", "processors": 2, "memory_bytes": 2**33, "backend": "numba",
                   "threads": 2, "data": data, "data_digest": val_data + tokenizer, "tokenizer": tokenizer, "vocab": 28,
                   "train_tokens": 1_200_000, "val_tokens": 20_000, "tokens_per_step": 1536,
                   "parameters": {"total": parameters, "ternary": 0, "float": parameters},
                   "floor": floor and {"bits_per_byte": floor, "standard_error": 0.002}}
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "samples").mkdir()
    lines, lowest = [], math.inf
    for step in range(steps + 1):
        here = {"step": step, "tokens": step * 1536, "seconds": 0.05 * step}
        if step and (step % 10 == 0 or step == steps):
            value = level - 0.04 + 2.3 * math.exp(-step / 90) + 0.05 * math.sin(step)
            now = loss(value, 1536, tokenizer, bytes_per_token)
            lines.append({**here, "split": "train", **_units(now), "lr": lr, "grad_norm": 0.5 + 0.1 * math.sin(step),
                          "tokens_per_second": 30_720.0})
            if ternary:
                layers = {f"blocks.{i}.mixer.forget": {"flips": 0.01 * (i + 1) / step, "zeros": 0.3 + i / 100,
                                                       "scale": 0.05 * (i + 1)} for i in range(2)}
                lines[-1] |= {"grad_norms": {"ternary": 0.3, "float": 0.4},
                              "ternary": {"steps": (step - 1) % 10 + 1, "flips": 0.015 / step, "zeros": 0.305,
                                          "layers": layers}}
        if step % 200 == 0 or step == steps:
            now = loss(level + 2.3 * math.exp(-step / 90), 20_000, tokenizer, bytes_per_token)
            line = {**here, "split": "val", **_units(now)}
            if floor is not None:
                line |= {"bits_per_byte_above_floor": now.bits_per_byte - floor, "floor_error": 0.004}
            lines.append({**line, "best": step > 0 and now.nats_per_token < lowest})
            lowest = now.nats_per_token if step else lowest
            (folder / "samples" / f"{step:06d}.txt").write_text(sample, encoding="utf-8")
    last = folder / "checkpoints" / "last"
    last.mkdir(parents=True)
    (last / "state.json").write_text(json.dumps({"step": steps, "best": {"step": steps, "val": now.to_json()}}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return folder


def _units(now: Loss) -> dict:
    return {"nats_per_token": now.nats_per_token, "bits_per_byte": now.bits_per_byte}
