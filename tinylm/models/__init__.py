"""Models: assemblies that read like the diagram in a paper.

A model is a `Layer` with
    config                        its shape, a frozen dataclass
    forward(tokens, targets, run) -> losses (B*T,)    backward(dlosses, run)
    logits(tokens, run)           -> (B, T, V)
    start(batch, capacity)        -> state;  extend(tokens, state, run) -> (B, T, V)
    exact                         whether the two ways of reading agree to the bit
`run` is a `tinylm.layers.Pass`.
"""
from __future__ import annotations

import dataclasses

from ..errors import UsageError, nearest
from .bolt import Bolt, BoltConfig
from .gpt import GPT, GPTConfig
from .nova import Nova, NovaConfig
from .thunderbolt import Thunderbolt, ThunderboltConfig

FAMILIES = {"gpt": (GPT, GPTConfig), "thunderbolt": (Thunderbolt, ThunderboltConfig), "bolt": (Bolt, BoltConfig),
            "nova": (Nova, NovaConfig)}


def build(family: str, config: dict):
    """The model of a family and the options of its config.

    Raises    UsageError for an unknown family, an unknown, missing or misfit option
    """
    if family not in FAMILIES:
        raise UsageError(f"unknown model family {family!r}" + nearest(family, FAMILIES))
    model, config_class = FAMILIES[family]
    fields = {f.name: f for f in dataclasses.fields(config_class)}
    for name, value in config.items():
        if name not in fields:
            raise UsageError(f"{family} has no option {name!r}" + nearest(name, fields))
        wanted = {"int": int, "float": (int, float), "bool": bool, "str": str}[fields[name].type]
        if not isinstance(value, wanted) or (isinstance(value, bool) and fields[name].type != "bool"):
            raise UsageError(f"{family}: {name} should be {fields[name].type}, not {value!r}")
    missing = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in config]
    if missing:
        raise UsageError(f"{family} needs {', '.join(missing)}")
    return model(config_class(**config))


__all__ = ["FAMILIES", "GPT", "Bolt", "BoltConfig", "GPTConfig", "Nova", "NovaConfig", "Thunderbolt",
           "ThunderboltConfig", "build"]
