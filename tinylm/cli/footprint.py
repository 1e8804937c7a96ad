"""How much memory decoding takes, measured in a process that does nothing else.

A process that has trained or packed a model keeps memory it no longer needs and hands it out again, so what
decoding adds to it says little.
"""
from __future__ import annotations

import gc
import os
import re
from pathlib import Path
from typing import NamedTuple

PROMPT = 6  # tokens; the small copy has a context of twelve


class Footprint(NamedTuple):
    """Bytes of resident memory beyond the interpreter, the libraries and compiled kernels.

    peak    the most from just before a model's folder is read until its last token is written
    after   what is still resident then
    base    what was resident before: all that is not counted above
    """

    peak: int
    after: int
    base: int


def measure(folder: Path, tokens: int, backend: str, cache_bits: int = 32) -> Footprint | None:
    """Of reading an exported model and writing so many tokens with it; None where the system does not tell."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    if not Path("/proc/self/clear_refs").exists():
        return None
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure, folder, tokens, backend, cache_bits).result()


def _measure(folder: Path, tokens: int, backend: str, cache_bits: int) -> Footprint:
    from .. import models
    from ..audit.shrink import shrink
    from ..generate import packed
    from ..kernels import together
    from ..layers import Parameters
    from ..text.tokenizer import Tokenizer
    from .loading import operations

    f, about = operations(backend), packed.read_about(folder)
    small = models.build(about["family"], shrink(about["config"]))
    params = Parameters(small.parameters())
    params.initialise(0)
    small, params = packed.pack(small, params)
    shared, together.SHARED_BYTES = together.SHARED_BYTES, 0  # a small model, too, with all threads
    every = placeholder(small.config.vocab), [0] * PROMPT, together.TRIAL, cache_bits
    write(small, params, f, *every)  # every kernel is loaded now
    together.SHARED_BYTES = shared
    del small, params
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    base = _resident("VmRSS")
    found = packed.read(folder)
    write(found.model, found.params, f, Tokenizer(found.tokenizer), [0] * PROMPT, tokens, cache_bits)
    return Footprint(_resident("VmHWM") - base, _resident("VmRSS") - base, base)


def write(model, params, f, tokenizer, prompt, tokens: int, cache_bits: int = 32) -> None:
    """One text, sampled, as long as asked for: a text that ends before is followed by another."""
    from ..generate.sampling import Options
    from ..generate.stream import stream

    left, sample = tokens, 0
    while left:
        for _ in stream(model, params, f, tokenizer, prompt, Options(temperature=0.8), seed=0, sample=sample,
                        max_tokens=left, judge=False, cache_bits=cache_bits):
            left -= 1
        sample += 1


def placeholder(vocab: int):
    """A tokenizer of so many characters and no end of text, for models whose text nobody reads."""
    from ..text.tokenizer import char_tokenizer

    return char_tokenizer("".join(chr(0x10000 + i) for i in range(vocab)), end_of_text=False)


def _resident(field: str) -> int:
    status = Path(f"/proc/{os.getpid()}/status").read_text("ascii")
    return 1024 * int(re.search(rf"^{field}:\s*(\d+) kB", status, re.MULTILINE)[1])
