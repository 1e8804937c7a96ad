"""What makes an answer to lesson 9 right.  The oracles are loops over single numbers, with Python's own rounding."""
import numpy as np

from tinylm.classroom.checking import check, claim, gradient, same, shaped, whole


def slow_ternarize(weight):
    total, count = 0.0, 0
    for row in weight:
        for w in row:
            total, count = total + abs(float(w)), count + 1
    scale = max(total / count, 1e-5)
    codes = [[min(1, max(-1, round(float(w) / scale))) for w in row] for row in weight]
    return np.array(codes, np.int64), scale


def slow_quantize(inp):
    codes, scales = np.zeros(inp.shape, np.int64), np.zeros((len(inp), 1))
    for n, row in enumerate(inp):
        scales[n] = max(abs(float(x)) for x in row) / 127
        for k, x in enumerate(row):
            codes[n, k] = round(float(x) / scales[n, 0]) if scales[n, 0] else 0
    return codes, scales


def pair(found):
    """What should be codes and a scale, whatever was returned."""
    return found if isinstance(found, (tuple, list)) and len(found) == 2 else (found, None)


def draw_weight(rng, M, K):
    """Weights of some size and with a few zeros among them, as training gives them."""
    weight = np.exp(rng.uniform(-4, 3)) * rng.standard_normal((M, K))
    return weight * (rng.random((M, K)) < 0.9)


# ------------------------------------------------------------------------------------- 9.1 ternarize
@check("ternarize", "shapes")
def codes_and_one_scale(yours):
    """ternarize gives whole numbers in the shape of the weight, and one number as scale"""
    codes, scale = pair(yours.ternarize(np.array([[1.0, -2.0, 0.5], [0.0, 0.1, 3.0]])))
    shaped(codes=(codes, (2, 3), "i"), scale=(scale, ()))


@check("ternarize", "worked case", look="which mean is the scale: of what, and over what?")
def four_weights_by_hand(yours):
    """2, -1/2, 1/2, -1 have the mean magnitude 1: the codes are 1, 0, 0, -1, because halves go to the even number"""
    codes, scale = yours.ternarize(np.array([[2.0, -0.5], [0.5, -1.0]]))
    same(scales=(scale, 1.0), codes=(codes, np.array([[1, 0], [0, -1]])))


@check("ternarize", "worked case", look="what is divided by the scale of a matrix of zeros")
def zeros(yours):
    """a matrix of zeros has codes 0 and the smallest scale, 1e-5"""
    codes, scale = yours.ternarize(np.zeros((2, 2)))
    same(scales=(scale, 1e-5), codes=(codes, np.zeros((2, 2), int)))


@check("ternarize", "definition", M=whole(1, 5), K=whole(1, 6), points=2)
def absmean(yours, rng, M, K):
    """codes = round(weight / scale) cut to -1, 0, 1, with scale = mean |weight|"""
    weight = draw_weight(rng, M, K)
    codes, scale = yours.ternarize(weight)
    want_codes, want_scale = slow_ternarize(weight)
    same(scales=(scale, want_scale), codes=(codes, want_codes))


@check("ternarize", "property", M=whole(1, 8), K=whole(1, 8))
def three_values(yours, rng, M, K):
    """a code is -1, 0 or 1, and never has another sign than its weight"""
    weight = draw_weight(rng, M, K) + (rng.random((M, K)) < 0.1) * 1e3
    codes = np.asarray(yours.ternarize(weight)[0])
    strange = sorted(set(codes.ravel().tolist()) - {-1, 0, 1})
    claim(not strange, f"there is a code {strange[:1]}")
    claim((codes * weight >= 0).all(), "a code has the other sign than its weight")


@check("ternarize", "property", M=whole(1, 6), K=whole(1, 6), power=whole(-8, 8),
       look="what a larger matrix does to the scale, and what to weight / scale")
def the_scale_takes_the_size(yours, rng, M, K, power):
    """weights c times as large have the same codes and c times the scale; with the sign changed, the codes change
    theirs"""
    weight = rng.standard_normal((M, K)) + 0.1
    codes, scale = yours.ternarize(weight)
    for c in (2.0 ** power, -1.0):
        again, other = yours.ternarize(c * weight)
        same(scales=(other, abs(c) * scale), codes=(again, np.sign(c).astype(int) * np.asarray(codes, int)))


@check("ternarize", "property", M=whole(1, 6), K=whole(1, 6))
def twice_is_once(yours, rng, M, K):
    """what has been ternarised keeps its codes when it is ternarised again"""
    codes, scale = yours.ternarize(rng.standard_normal((M, K)))
    again, _ = yours.ternarize(np.asarray(codes) * scale)
    same(codes=(again, np.asarray(codes, int)))


# -------------------------------------------------------------------------- 9.2 quantize_activations
@check("quantize_activations", "shapes")
def a_scale_for_each_token(yours):
    """whole numbers in the shape of the input, and a scale for each row, as a column"""
    codes, scale = pair(yours.quantize_activations(np.array([[1.0, -2.0, 0.5], [0.0, 0.1, 3.0]])))
    shaped(codes=(codes, (2, 3), "i"), scale=(scale, (2, 1)))


@check("quantize_activations", "worked case")
def two_tokens_by_hand(yours):
    """254, -127, 3 has the scale 2 and the codes 127, -64, 2 (63.5 and 1.5 go to the even number); a row of zeros has
    scale 0 and codes 0"""
    codes, scale = yours.quantize_activations(np.array([[254.0, -127.0, 3.0], [0.0, 0.0, 0.0]]))
    same(scales=(scale, np.array([[2.0], [0.0]])), codes=(codes, np.array([[127, -64, 2], [0, 0, 0]])))


@check("quantize_activations", "definition", N=whole(1, 5), K=whole(1, 8), points=2)
def absmax(yours, rng, N, K):
    """scale = max |inp| / 127 of the row, codes = round(inp / scale)"""
    inp = np.exp(rng.uniform(-3, 3, (N, 1))) * rng.standard_normal((N, K))
    codes, scale = yours.quantize_activations(inp)
    want_codes, want_scale = slow_quantize(inp)
    same(scales=(scale, want_scale), codes=(codes, want_codes))


@check("quantize_activations", "property", N=whole(1, 5), K=whole(1, 12))
def half_a_step_at_most(yours, rng, N, K):
    """codes * scale is never further than half a scale from what was rounded, and the largest of a token gets 127"""
    inp = np.exp(rng.uniform(-3, 3, (N, 1))) * rng.standard_normal((N, K))
    codes, scale = yours.quantize_activations(inp)
    codes = np.asarray(codes, float)
    off = (np.abs(codes * scale - inp) / scale).max()
    claim(off < 0.5 + 1e-9, f"a number is {off:.3g} scales away from its code")
    same(largest=(np.abs(codes).max(1), np.full(N, 127.0)))


@check("quantize_activations", "property", N=whole(2, 6), K=whole(1, 6), look="over which axis the maximum goes")
def tokens_keep_to_themselves(yours, rng, N, K):
    """the codes and the scale of a token do not change when the other tokens do"""
    inp, other = rng.standard_normal((N, K)), 9 * rng.standard_normal((N, K))
    at = int(rng.integers(0, N))
    other[at] = inp[at]
    codes, scale = yours.quantize_activations(inp)
    codes2, scale2 = yours.quantize_activations(other)
    same(codes=(np.asarray(codes2)[at], np.asarray(codes, int)[at]), scales=(np.asarray(scale2)[at], scale[at]))


# ---------------------------------------------------------------------------- 9.3 bitlinear_backward
@check("bitlinear_backward", "shapes")
def like_the_inputs(yours):
    """two gradients, each with the shape of what it belongs to"""
    dinp, dweight = pair(yours.bitlinear_backward(np.ones((2, 3)), np.ones((2, 4)), np.ones((3, 4))))
    shaped(dinp=(dinp, (2, 4)), dweight=(dweight, (3, 4)))


@check("bitlinear_backward", "worked case")
def one_row_by_hand(yours):
    """weights 3, 1/5 and -2.8 become 2, 0 and -2, inputs 127, 0.7 and 0.3 become 127, 1 and 0: a slope of 2 gives dinp
    4, 0, -4 and dweight 254, 2, 0, each by the other factor alone"""
    dinp, dweight = yours.bitlinear_backward(np.array([[2.0]]), np.array([[127.0, 0.7, 0.3]]),
                                             np.array([[3.0, 0.2, -2.8]]))
    same(dinp=(dinp, np.array([[4.0, 0.0, -4.0]])), dweight=(dweight, np.array([[254.0, 2.0, 0.0]])))


@check("bitlinear_backward", "property", N=whole(1, 4), M=whole(1, 4), K=whole(1, 5),
       look="does the slope of a product with respect to one factor depend on that factor?")
def straight_through(yours, rng, N, M, K):
    """dweight does not depend on the weight, nor dinp on the input: no weight is shut out because of its size"""
    dout, inp, other = rng.standard_normal((N, M)), rng.standard_normal((N, K)), rng.standard_normal((N, K))
    weight, heavy = rng.standard_normal((M, K)), np.exp(2 * rng.standard_normal((M, K)))
    first = yours.bitlinear_backward(dout, inp, weight)
    same(dweight=(yours.bitlinear_backward(dout, inp, heavy)[1], first[1]),
         dinp=(yours.bitlinear_backward(dout, other, weight)[0], first[0]))


@check("bitlinear_backward", "gradient", N=whole(1, 4), M=whole(1, 4), K=whole(1, 5), examples=12, points=2,
       look="which matrices were multiplied in the forward pass: the float ones or the rounded ones?")
def slope_of_the_surrogate(yours, rng, N, M, K):
    """the gradients are the slopes of (inp_q + inp - inp0) (weight_q + weight - weight0)^T at inp0, weight0, where the
    rounded parts stand still"""
    inp0, weight0 = draw_weight(rng, N, K) + 1e-3 * rng.standard_normal((N, K)), draw_weight(rng, M, K)
    (codes, scale), (inp_codes, inp_scale) = slow_ternarize(weight0), slow_quantize(inp0)
    gradient(lambda inp, weight: (inp_codes * inp_scale + inp - inp0) @ (codes * scale + weight - weight0).T,
             yours.bitlinear_backward, {"inp": inp0, "weight": weight0}, rng)
