"""Causal multi-head attention: each position looks at itself and at what came before."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .random import DropoutKey, dropout_mask


class AttentionCache(NamedTuple):
    inp: np.ndarray          # (B, T, 3C)
    heads: int
    prob: np.ndarray         # (B, H, T, T)
    rate: float
    key: DropoutKey | None
    scale: float | None = None


def _split(inp, heads):
    """(B, T, 3C) -> query, key, value, each (B, H, T, D)."""
    B, T, width = inp.shape
    return inp.reshape(B, T, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)


def _join(per_head):
    """(B, H, T, D) -> (B, T, C)."""
    B, H, T, D = per_head.shape
    return per_head.transpose(0, 2, 1, 3).reshape(B, T, H * D)


def _softmax(score):
    top = np.exp(score - score.max(-1, keepdims=True))
    return top / top.sum(-1, keepdims=True)


def _scaled(score, scale, D):
    return score * score.dtype.type(1 / np.sqrt(D) if scale is None else scale)


def _seen(steps, stop, length, window):
    """(T, stop): whether the query at position length + t sees each position; the last `window` of them, 0 for all."""
    seen = np.tri(steps, stop, length, dtype=bool)
    return seen & ~np.tri(steps, stop, length - window, dtype=bool) if window else seen


def attention_forward(inp, heads, rate=0.0, key=None, scale=None, window=0):
    """out = dropout(softmax(mask(scale q k^T))) v, for each head.

    Shapes    inp (B, T, 3C): query, key and value side by side, each H heads of D -> out (B, T, C)
              scale: of the scores, None for 1/sqrt(D); window: how many positions a query sees, its own
              included, 0 for all there are
    Caches    the probabilities before dropout; scores are not needed again
    Raises    ShapeError
    Source    Vaswani et al. 2017, arXiv:1706.03762, eq. 1 and section 3.2.3; the window: Child et al. 2019,
              arXiv:1904.10509, section 4.2
    """
    shapes.attention(inp, heads)
    query, keys, value = _split(inp, heads)                                         # (B, H, T, D) each
    T, D = query.shape[2:]
    score = _scaled(query @ keys.swapaxes(-1, -2), scale, D)                        # (B, H, T, T)
    score = np.where(_seen(T, T, 0, window), score, -np.inf)
    prob = _softmax(score)                                                          # (B, H, T, T)
    weight = prob * _mask(prob, rate, key)
    return _join(weight @ value), AttentionCache(inp, heads, prob, rate, key, scale)  # (B, T, C)


def attention_backward(dout, cache):
    """Return (dinp,): the gradients of query, key and value side by side, (B, T, 3C)."""
    inp, heads, prob, rate, key, scale = cache
    query, keys, value = _split(inp, heads)
    B, H, T, D = query.shape
    dout = dout.reshape(B, T, H, D).transpose(0, 2, 1, 3)                           # (B, H, T, D)
    mask = _mask(prob, rate, key)
    dvalue = (prob * mask).swapaxes(-1, -2) @ dout      # out = (prob * mask) @ value
    dprob = (dout @ value.swapaxes(-1, -2)) * mask                                  # (B, H, T, T)
    dscore = prob * (dprob - (dprob * prob).sum(-1, keepdims=True))  # prob = softmax(score)
    dscore = _scaled(dscore, scale, D)
    dquery = dscore @ keys                              # score = scale query @ keys^T
    dkeys = dscore.swapaxes(-1, -2) @ query
    return (np.concatenate([_join(dquery), _join(dkeys), _join(dvalue)], axis=-1),)


def _mask(prob, rate, key):
    if key is None or rate == 0:
        return prob.dtype.type(1)
    return dropout_mask(prob.shape, rate, key).astype(prob.dtype)


def attention_extend(inp, past_keys, past_values, length, heads, scale=None, window=0):
    """Attention for T new positions that follow `length` earlier ones kept in a cache.

    The new keys and values are written to past_keys[:, length:length + T] and past_values likewise.

    Shapes    inp (B, T, 3C), past_keys and past_values (B, P, C) with P >= length + T -> out (B, T, C)
              scale and window as in `attention_forward`
    Raises    ShapeError
    """
    shapes.attention(inp, heads)
    B, T, C = inp.shape[0], inp.shape[1], inp.shape[2] // 3
    stop = length + T
    if stop > past_keys.shape[1]:
        raise shapes.ShapeError(f"the cache holds {past_keys.shape[1]} positions, {stop} are needed")
    past_keys[:, length:stop] = inp[..., C:2 * C]
    past_values[:, length:stop] = inp[..., 2 * C:]

    def per_head(x):
        return x.reshape(B, -1, heads, C // heads).transpose(0, 2, 1, 3)            # (B, H, ., D)

    score = per_head(inp[..., :C]) @ per_head(past_keys[:, :stop]).swapaxes(-1, -2)
    score = _scaled(score, scale, C // heads)                                       # (B, H, T, length + T)
    score = np.where(_seen(T, stop, length, window), score, -np.inf)
    return _join(_softmax(score) @ per_head(past_values[:, :stop]))                 # (B, T, C)
