"""Weights of a block, drawn."""
import numpy as np


def draw(rng, C, F):
    """Random weights for `block`, none of them at a special place."""
    weights = {name: rng.standard_normal((C, C)) for name in ("forget", "value", "output", "proj")}
    weights |= {"up": rng.standard_normal((F, C)), "down": rng.standard_normal((C, F))}
    for name in ("norm1", "headnorm", "norm2"):
        weights |= {name + ".weight": 1 + 0.3 * rng.standard_normal(C), name + ".bias": 0.3 * rng.standard_normal(C)}
    for name in ("shift1", "shift2", "forget.bias"):
        weights[name] = rng.standard_normal(C)
    return {name: np.ascontiguousarray(value) for name, value in weights.items()}
