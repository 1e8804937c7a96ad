"""What makes an answer to lesson 10 right.  The oracle goes token by token, channel by channel of each head."""
import math

import numpy as np
from given import draw

from tinylm.classroom.checking import check, claim, one_of, real, same, shaped, whole


# ------------------------------------------------------------------------------------------- 10.1 block
def _norm(x, weight, bias):
    deviation = x - x.mean()
    return deviation / math.sqrt((deviation ** 2).mean() + 1e-5) * weight + bias


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _ternary(x, weight):
    scale = max(np.abs(weight).mean(), 1e-5)
    codes = np.clip(np.rint(weight / scale), -1, 1)
    top = np.abs(x).max()
    rounded = np.rint(x * (127 / top)) if top > 0 else np.zeros_like(x)
    return np.array([(row * rounded).sum() for row in codes]) * (top / 127 * scale)


def _shift(now, before, mix):
    return now * _sigmoid(mix) + before * (1 - _sigmoid(mix))


def slow_block(inp, w, heads, lower):
    """From the beginning of a text, one token after the other."""
    B, T, C = inp.shape
    out, size = np.zeros_like(inp), C // heads
    for b in range(B):
        before1, before2, h = np.zeros(C), np.zeros(C), np.zeros(C)
        for t in range(T):
            now = _norm(inp[b, t], w["norm1.weight"], w["norm1.bias"])
            x, before1 = _shift(now, before1, w["shift1"]), now
            f = lower + (1 - lower) * _sigmoid(_ternary(x, w["forget"]) + w["forget.bias"])
            h = f * h + (1 - f) * _ternary(x, w["value"])
            mixed = _sigmoid(_ternary(x, w["output"])) * h
            for i in range(0, C, size):
                part = slice(i, i + size)
                mixed[part] = _norm(mixed[part], w["headnorm.weight"][part], w["headnorm.bias"][part])
            middle = inp[b, t] + _ternary(mixed, w["proj"])
            now = _norm(middle, w["norm2.weight"], w["norm2.bias"])
            x, before2 = _shift(now, before2, w["shift2"]), now
            out[b, t] = middle + _ternary(np.maximum(_ternary(x, w["up"]), 0) ** 2, w["down"])
    return out


@check("block", "shapes")
def an_output_and_three_memories(yours):
    """block gives (B, T, C), and three arrays (B, C) to go on with"""
    rng = np.random.default_rng(0)
    answer = yours.block(rng.standard_normal((2, 3, 4)), draw(rng, 4, 6), 2, 0.5, None)
    claim(isinstance(answer, (tuple, list)) and len(answer) == 2, "block should return two things")
    out, state = answer
    claim(isinstance(state, (tuple, list)) and len(state) == 3, "the state should be three arrays")
    shaped(out=(out, (2, 3, 4)), shift1=(state[0], (2, 4)), hidden=(state[1], (2, 4)), shift2=(state[2], (2, 4)))


@check("block", "definition", B=whole(1, 2), T=whole(1, 6), heads=one_of(1, 2, 3), lower=real(0, 0.875), points=3,
       look="the order: norm, shift, maps, scan, head norm, map; and what is added to what")
def as_token_by_token(yours, rng, B, T, heads, lower):
    """the output is what a block gives that goes from token to token"""
    inp, weights = rng.standard_normal((B, T, 6)), draw(rng, 6, 9)
    out, _ = yours.block(inp, weights, heads, lower, None)
    same(out=(out, slow_block(inp, weights, heads, lower)))


@check("block", "property", T=whole(2, 8), heads=one_of(2, 1), lower=real(0, 0.875), points=2,
       look="what does each of the three memories hold: before or after the norm, before or after the gate?")
def streamed_is_parallel(yours, rng, T, heads, lower):
    """a text read in two pieces, with the state handed on, gives what the whole text gives; wherever it is cut"""
    inp, weights, cut = rng.standard_normal((2, T, 6)), draw(rng, 6, 9), int(rng.integers(1, T))
    whole_text = slow_block(inp, weights, heads, lower)
    first, state = yours.block(inp[:, :cut], weights, heads, lower, None)
    second, _ = yours.block(inp[:, cut:], weights, heads, lower, tuple(state))
    same(first=(first, whole_text[:, :cut]), second=(second, whole_text[:, cut:]))


@check("block", "property", T=whole(2, 7), heads=one_of(2, 3), points=2,
       look="does anything take a mean, a maximum or a scale over more than one token?")
def no_position_sees_a_later_one(yours, rng, T, heads):
    """with other inputs from a cut on, no output before the cut moves"""
    inp, weights, cut = rng.standard_normal((2, T, 6)), draw(rng, 6, 9), int(rng.integers(1, T))
    other = inp.copy()
    other[:, cut:] = 5 * rng.standard_normal(other[:, cut:].shape)
    same(before_the_cut=(yours.block(other, weights, heads, 0.5, None)[0][:, :cut],
                         yours.block(inp, weights, heads, 0.5, None)[0][:, :cut]))


# --------------------------------------------------------------------------------------- 10.2 footprint
def thunderbolt(V, C, L, F):
    """Every parameter of a Thunderbolt, and what it is used for."""
    found = [("embedding", (V, C), ["lookup", "product"]), ("norm.weight", (C,), ["scale"]),
             ("norm.bias", (C,), ["add"])]
    for i in range(L):
        found += [(f"{i}.{n}", (C, C), ["product"]) for n in ("forget", "value", "output", "proj")]
        found += [(f"{i}.up", (F, C), ["product"]), (f"{i}.down", (C, F), ["product"])]
        found += [(f"{i}.{n}.weight", (C,), ["scale"]) for n in ("norm1", "norm2", "headnorm")]
        found += [(f"{i}.{n}", (C,), ["add"]) for n in ("norm1.bias", "norm2.bias", "headnorm.bias", "forget.bias")]
        found += [(f"{i}.{n}", (C,), ["scale"]) for n in ("shift1", "shift2")]
    return found


@check("footprint", "shapes")
def three_numbers(yours):
    """footprint gives three whole numbers"""
    answer = yours.footprint([("up", (2, 3), ["product"])])
    claim(isinstance(answer, (tuple, list)) and len(answer) == 3, f"{answer!r} was returned, not three numbers")


@check("footprint", "worked case")
def one_of_each(yours):
    """a matrix (2, 5) is 2 rows of 2 bytes and a scale, 8 bytes; a table (3, 2) is 6 floats; a bias (2,) is 2"""
    same(footprint=(yours.footprint([("up", (2, 5), ["product"]), ("table", (3, 2), ["lookup"]),
                                     ("bias", (2,), ["add"])]), [10, 8, 40]))


@check("footprint", "definition", V=whole(2, 40), C=whole(1, 11), L=whole(0, 3), F=whole(1, 13), points=2,
       look="the embedding is the head too; and a row that does not fill its last byte")
def of_any_thunderbolt(yours, V, C, L, F):
    """six matrices a block become ternary, all else stays float, the tied embedding too"""
    ternary, floats = L * (4 * C * C + 2 * C * F), V * C + 2 * C + L * 9 * C
    size = 4 * floats + L * (4 * (C * math.ceil(C / 4) + 4) + F * math.ceil(C / 4) + 4 + C * math.ceil(F / 4) + 4)
    same(footprint=(yours.footprint(thunderbolt(V, C, L, F)), [ternary, floats, size]))


@check("footprint", "property", V=whole(2, 9), C=whole(1, 9), examples=10,
       look="what decides: the number of axes, the name, or what the parameter is used for?")
def use_decides_and_not_shape(yours, V, C):
    """a table that is only looked up stays float, though it is a matrix; a head of its own does not"""
    same(positions=(yours.footprint([("positions", (V, C), ["lookup"])]), [0, V * C, 4 * V * C]),
         head=(yours.footprint([("head", (V, C), ["product"])]), [V * C, 0, V * math.ceil(C / 4) + 4]))


@check("footprint", "property")
def of_the_published_model(yours):
    """the published shape has 26,542,080 ternary and 3,208,704 float parameters"""
    ternary, floats, _ = yours.footprint(thunderbolt(8192, 384, 18, 1152))
    same(ternary=(ternary, 26_542_080), floats=(floats, 3_208_704))
