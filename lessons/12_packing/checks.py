"""What makes an answer to lesson 12 right.  The oracles are loops over single weights."""
import numpy as np

from tinylm.classroom.checking import check, claim, compare_speed, one_of, same, shaped, whole


def slow_pack(codes):
    M, K = codes.shape
    out = np.zeros((M, -(-K // 4)), np.uint8)
    for m in range(M):
        for column in range(4 * out.shape[1]):
            stored = int(codes[m, column]) + 1 if column < K else 1
            out[m, column // 4] += stored * 4 ** (column % 4)
    return out


def _codes(rng, M, K, dtype=np.int8):
    return rng.integers(-1, 2, (M, K)).astype(dtype)


def _refuses(call):
    """Whether a call ends in a ValueError on the learner's side."""
    try:
        call()
    except Exception as error:
        return "ValueError" in f"{type(error).__name__} {error}"
    return False


# -------------------------------------------------------------------------------------------- 12.1 pack
@check("pack", "shapes", K=whole(1, 9), examples=9)
def a_quarter_of_the_bytes(yours, K):
    """K codes take ceil(K / 4) bytes"""
    packed = yours.pack(np.zeros((3, K), np.int8))
    shaped(packed=(packed, (3, -(-K // 4)), "i"))
    claim(packed.dtype == np.uint8, f"packed is {packed.dtype}: a byte is a uint8")


@check("pack", "worked case")
def one_byte_by_hand(yours):
    """-1, 0, 1, 1 are stored as 0, 1, 2, 2: the byte 0 + 1*4 + 2*16 + 2*64"""
    same(packed=(yours.pack(np.array([[-1, 0, 1, 1]], np.int8)), np.array([[164]], np.uint8)))


@check("pack", "definition", M=whole(1, 4), K=whole(1, 11), dtype=one_of("int8", "int64", "float32"), points=2,
       look="which column lies in the lowest two bits, and what lies behind the last column?")
def as_the_layout_says(yours, rng, M, K, dtype):
    """every field holds its code plus one, padding holds 1, whatever the dtype of the codes"""
    codes = _codes(rng, M, K, dtype)
    same(packed=(yours.pack(codes), slow_pack(codes)))


@check("pack", "property", bad=one_of(2, -2, 3, 127), K=whole(1, 6), examples=12,
       look="a code of 2 would be stored as 3, or run over into the next field")
def other_codes_are_refused(yours, rng, bad, K):
    """a matrix with a code that is not -1, 0 or 1 is refused with a ValueError"""
    codes = _codes(rng, 2, K)
    codes[1, int(rng.integers(K))] = bad
    claim(_refuses(lambda: yours.pack(codes)), f"a code of {bad} was packed as if it were one")


# ------------------------------------------------------------------------------------------ 12.2 unpack
@check("unpack", "shapes", K=whole(1, 9), examples=9)
def as_many_columns_as_there_were(yours, K):
    """unpack gives K columns of int8, not the padding"""
    codes = yours.unpack(np.full((2, -(-K // 4)), 0b01010101, np.uint8), K)
    shaped(codes=(codes, (2, K), "i"))
    claim(codes.dtype == np.int8, f"codes are {codes.dtype}, expected int8")


@check("unpack", "worked case")
def the_byte_again(yours):
    """164 = 0 + 1*4 + 2*16 + 2*64 holds -1, 0, 1, 1"""
    same(codes=(yours.unpack(np.array([[164]], np.uint8), 4), np.array([[-1, 0, 1, 1]], np.int8)))


@check("unpack", "property", M=whole(1, 5), K=whole(1, 13), points=2,
       look="the order of the fields in a byte, and of the bytes in a row")
def what_was_packed_comes_back(yours, rng, M, K):
    """unpack undoes packing, for any shape"""
    codes = _codes(rng, M, K)
    same(codes=(yours.unpack(slow_pack(codes), K), codes))


@check("unpack", "property", K=whole(1, 9), examples=16, look="which fields stand for columns that exist?")
def threes_are_refused(yours, rng, K):
    """a field of 3 is refused with a ValueError if it belongs to a column, and ignored in the padding"""
    codes, at = _codes(rng, 3, K), int(rng.integers(K))
    packed = slow_pack(codes)
    broken = packed.copy()
    broken[1, at // 4] |= 3 << 2 * (at % 4)
    claim(_refuses(lambda: yours.unpack(broken, K)), f"a field of 3 in column {at} of {K} was not refused")
    padded = packed.copy()
    for column in range(K, 4 * packed.shape[1]):
        padded[:, column // 4] |= 3 << 2 * (column % 4)
    same(codes=(yours.unpack(padded, K), codes))


# ----------------------------------------------------------------------------------------- 12.3 product
@check("product", "shapes")
def a_number_for_each_row_of_the_weight(yours):
    """out is (N, M) int32"""
    out = yours.product(np.full((3, 2), 0b01010101, np.uint8), np.ones((2, 5), np.int8))
    shaped(out=(out, (2, 3), "i"))
    claim(out.dtype == np.int32, f"out is {out.dtype}, expected int32")


@check("product", "worked case")
def add_subtract_or_leave(yours):
    """codes -1, 0, 1, 1 and inputs 5, 7, 11, 13 give -5 + 11 + 13"""
    same(out=(yours.product(np.array([[164]], np.uint8), np.array([[5, 7, 11, 13]], np.int8)),
              np.array([[19]], np.int32)))


@check("product", "definition", N=whole(1, 3), M=whole(1, 5), K=whole(1, 14), points=3,
       look="columns f, f + 4, f + 8, ... meet field f; what does the padding meet?")
def as_the_loops_say(yours, rng, N, M, K):
    """each code adds its input, subtracts it or leaves it, for any shape"""
    codes, inp = _codes(rng, M, K), rng.integers(-127, 128, (N, K)).astype(np.int8)
    want = np.zeros((N, M), np.int32)
    for n in range(N):
        for m in range(M):
            want[n, m] = sum(int(c) * int(x) for c, x in zip(codes[m], inp[n]))
    same(out=(yours.product(slow_pack(codes), inp), want))


@check("product", "property", look="the largest sum is 127 K: which dtype holds it?")
def long_sums_are_exact(yours):
    """sums of many equal terms are exact, however long and at both ends of the range"""
    for sign in (1, -1):
        for K in (2, 300, 1001, 100_000):
            codes, inp = np.ones((1, K), np.int8), np.full((1, K), 127 * sign, np.int8)
            packed = np.full((1, -(-K // 4)), 0b10101010, np.uint8)
            packed[:, -1:] = slow_pack(codes[:, 4 * (packed.shape[1] - 1):])
            same(**{f"out_for_K_{K}": (yours.product(packed, inp), np.array([[127 * sign * K]], np.int32))})


@check("product", "property", K=whole(2, 30), examples=10,
       look="integers may be added in any order")
def any_order_gives_the_same_bits(yours, rng, K):
    """exchanging columns in weight and input together changes no bit of the result"""
    codes, inp, order = _codes(rng, 4, K), rng.integers(-127, 128, (2, K)).astype(np.int8), rng.permutation(K)
    same(out=(yours.product(slow_pack(codes[:, order]), inp[:, order]), yours.product(slow_pack(codes), inp)),
         exact=True)


@check("product", "speed")
def for_a_layer_of_thunderbolt(yours):
    """information only"""
    rng = np.random.default_rng(0)
    codes, inp = _codes(rng, 1152, 384), rng.integers(-127, 128, (1, 384)).astype(np.int8)
    wide = codes.astype(np.float32)
    return compare_speed(yours, "product", (slow_pack(codes), inp),
                         lambda packed, inp: inp.astype(np.float32) @ wide.T, "a float product of NumPy")
