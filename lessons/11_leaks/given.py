"""The museum: how models came to read the future, each reduced to a few lines, and some that never did.

An exhibit is a function (..., T, C) -> (..., T, C): what it does between the positions of a text.
"""
import numpy as np

from tinylm.ops.layernorm import LayerNormCache


def _softmax(score):
    exp = np.exp(score - score.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def _attend(x, mask):
    # Scores of directions lie between -1 and 1, so no probability is too small to be seen.
    unit = x / (np.sqrt((x ** 2).sum(-1, keepdims=True)) + 1e-6)
    return _softmax(np.where(mask, unit @ np.swapaxes(unit, -1, -2), -np.inf)) @ x


def _scan(x, keep=0.5):
    """h_t = keep h_{t-1} + (1 - keep) x_t."""
    out, state = np.empty_like(x), np.zeros_like(x[..., 0, :])
    for t in range(x.shape[-2]):
        state = keep * state + (1 - keep) * x[..., t, :]
        out[..., t, :] = state
    return out


# -------------------------------------------------------------------------------------------- they leak
def norm_over_time(x):
    """Mean and variance taken over all positions (FlashLM v5; there of 48 channels together, here of each)."""
    mean = x.mean(-2, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-2, keepdims=True) + 1e-5)


def planner_summary(x):
    """The mean over all positions, handed to the next block (FlashLM v6)."""
    return x + x.mean(-2, keepdims=True)


def flipped_triangle(x):
    """Scores laid out [query, key], under the triangle that was right for [key, query] (FlashLM v7.4 to v9.2)."""
    return _attend(x, np.tri(x.shape[-2], dtype=bool).T)


def bidirectional_scan(x):
    """A second scan that starts at the end (CPUFlow v4)."""
    return _scan(x) + _scan(x[..., ::-1, :])[..., ::-1, :]


def chunk_mean(x, size=4):
    """The mean of a chunk, given to every position in it (karpathy/nanochat#844; there 16 and 64 positions)."""
    parts = [x[..., i:i + size, :] for i in range(0, x.shape[-2], size)]
    return np.concatenate([np.broadcast_to(p.mean(-2, keepdims=True), p.shape) for p in parts], axis=-2)


# ---------------------------------------------------------------------------------------- they do not
def attention(x):
    return _attend(x, np.tri(x.shape[-2], dtype=bool))


def recurrence(x):
    return _scan(x)


def token_shift(x):
    before = np.concatenate([np.zeros_like(x[..., :1, :]), x[..., :-1, :]], axis=-2)
    return 0.6 * x + 0.4 * before


def norm_per_token(x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)


def chunks_before(x, size=4):
    """The mean of the chunk before this one, which is over: what `chunk_mean` should have been."""
    means = np.zeros_like(x)
    for i in range(size, x.shape[-2], size):
        means[..., i:i + size, :] = x[..., i - size:i, :].mean(-2, keepdims=True)
    return x + means


LEAKY = {f.__name__: f for f in (norm_over_time, planner_summary, flipped_triangle, bidirectional_scan, chunk_mean)}
HONEST = {f.__name__: f for f in (attention, recurrence, token_shift, norm_per_token, chunks_before)}


# ------------------------------------------------------------------- the first exhibit, as it was published
OVER = 1, 3  # of (B, T, H, D): GroupNorm of (B, C, T) with one group for each head


def _heads(x, heads):
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def headnorm_over_time_forward(inp, heads, weight, bias, eps=1e-5, operand=False):
    rows = _heads(inp, heads)
    mean = rows.mean(OVER, keepdims=True)
    rstd = 1 / np.sqrt(((rows - mean) ** 2).mean(OVER, keepdims=True) + eps)
    return ((rows - mean) * rstd).reshape(inp.shape) * weight + bias, LayerNormCache(inp, weight, bias, mean, rstd)


def headnorm_over_time_backward(dout, cache, add_to=None):
    inp, weight, bias, mean, rstd = cache
    heads = mean.shape[2]
    norm, dnorm = (_heads(inp, heads) - mean) * rstd, _heads(dout * weight, heads)
    dinp = rstd * (dnorm - dnorm.mean(OVER, keepdims=True) - norm * (dnorm * norm).mean(OVER, keepdims=True))
    dweight, dbias = (dout * norm.reshape(inp.shape)).sum((0, 1)), dout.sum((0, 1))
    if add_to:
        add_to[0][...] += dweight
        add_to[1][...] += dbias
        dweight, dbias = add_to
    return dinp.reshape(inp.shape), dweight, dbias


PUBLISHED = {"headnorm_forward": headnorm_over_time_forward, "headnorm_backward": headnorm_over_time_backward}
