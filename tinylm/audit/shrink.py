"""A small copy of a model: the same options and parts, fewer of each, so that a check takes seconds."""
from __future__ import annotations

from collections.abc import Mapping

LIMITS = {"vocab": 11, "context": 12, "layers": 2, "heads": 3, "window": 5}
HEAD_SIZE = 6  # so that no size is a multiple of a vector; even, since rotations take channels in pairs


def shrink(config: Mapping[str, object]) -> dict[str, object]:
    """A model's options with the sizes cut down; what is on stays on, what is shared stays shared.

    A given feed-forward width keeps its ratio to the channels.
    """
    small = dict(config)
    for name, limit in LIMITS.items():
        if name in small:
            small[name] = min(small[name], limit)
    small.setdefault("vocab", LIMITS["vocab"])
    heads = config.get("heads", LIMITS["heads"])    # a model without heads gets as many channels as one with
    small["channels"] = small.get("heads", heads) * min(max(1, config["channels"] // heads), HEAD_SIZE)
    if small.get("hidden"):
        small["hidden"] = max(1, round(config["hidden"] * small["channels"] / config["channels"]))
    return small
