"""Causal multi-head attention: each position looks at itself and at what came before."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import shapes
from .random import DropoutKey, dropout_mask
from .ternary import quantize_activations


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


class Int8Rows(NamedTuple):
    """Keys or values of positions as scale[b, p, h] codes[b, p, h D ...]: a byte a number, and 4 for each head.

    Source    Dettmers et al. 2022, arXiv:2208.07339, section 2.1 (absmax), each head of each position by itself
    """

    codes: np.ndarray    # (B, P, C) int8 in -127 .. 127
    scale: np.ndarray    # (B, P, H) float32


def attention_extend(inp, past_keys, past_values, length, heads, scale=None, window=0):
    """Attention for T new positions that follow `length` earlier ones kept in a cache.

    The new keys and values are written to past_keys[:, length:length + T] and past_values likewise.  Into `Int8Rows`
    go codes of them in float32, made once; also the new positions themselves then see what was kept.

    Shapes    inp (B, T, 3C), past_keys and past_values (B, P, C) with P >= length + T, or Int8Rows -> out (B, T, C)
              scale and window as in `attention_forward`
    Raises    ShapeError
    """
    stop = check_extend(inp, past_keys, length, heads)
    B, T, C = inp.shape[0], inp.shape[1], inp.shape[2] // 3
    keep(past_keys, inp[..., C:2 * C], length)
    keep(past_values, inp[..., 2 * C:], length)

    def per_head(x):
        return x.reshape(B, -1, heads, C // heads).transpose(0, 2, 1, 3)            # (B, H, ., D)

    score = per_head(inp[..., :C]) @ per_head(kept(past_keys, stop)).swapaxes(-1, -2)
    score = _scaled(score, scale, C // heads)                                       # (B, H, T, length + T)
    score = np.where(_seen(T, stop, length, window), score, -np.inf)
    return _join(_softmax(score) @ per_head(kept(past_values, stop)))               # (B, T, C)


def check_extend(inp, past_keys, length, heads):
    """Where the new positions end.   Raises    ShapeError"""
    shapes.attention(inp, heads)
    stop, room = length + inp.shape[1], capacity(past_keys)
    if stop > room:
        raise shapes.ShapeError(f"the cache holds {room} positions, {stop} are needed")
    return stop


def capacity(past):
    """P of keys or values: how many positions they have room for."""
    return (past.codes if isinstance(past, Int8Rows) else past).shape[1]


def keep(past, new, length):
    """Write the keys or values of new positions (B, T, C) where `length` are kept already."""
    stop = length + new.shape[1]
    if not isinstance(past, Int8Rows):
        past[:, length:stop] = new
        return
    heads = past.scale.shape[2]
    per_head = new.astype(np.float32).reshape(*new.shape[:2], heads, new.shape[2] // heads)
    codes, scale = quantize_activations(per_head)                                   # (B, T, H, D), (B, T, H, 1)
    past.scale[:, length:stop] = scale[..., 0]
    with np.errstate(invalid="ignore"):  # where a number is not finite the scale is not, either
        past.codes[:, length:stop] = codes.reshape(new.shape)


def kept(past, stop):
    """The first `stop` positions.   Shapes    (B, P, C) or Int8Rows -> (B, stop, C)"""
    if not isinstance(past, Int8Rows):
        return past[:, :stop]
    codes, scale = past.codes[:, :stop], past.scale[:, :stop]
    return (codes.reshape(*scale.shape, -1) * scale[..., None]).reshape(codes.shape)
