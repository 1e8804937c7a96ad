# %% [markdown]
# # 12. Two bits a weight
#
# At the end of this lesson a ternary model takes up the space its name promises: a quarter of a byte for each weight,
# on disk and in memory. It multiplies by these bytes without turning them into numbers first, and its answers are those
# of the model that was trained, to the last bit.
#
# In lesson 9 weights learned to be −1, 0 or 1. But they were *kept* as float32, 32 bits for one of three values. Many a
# "ternary" release stops there: the file holds 16-bit floats, and it is no smaller and no faster than others
# (ridgerchu/matmulfreellm#18, fengfu-chris/caffe-twns#10).

# %%
import math
import time

import numba
import numpy as np

from tinylm import kernels, models, ops
from tinylm.classroom import show
from tinylm.generate import packed
from tinylm.layers import Parameters, Pass
from tinylm.ops.packed import CodeError, packed_shape

numba.set_num_threads(1)      # one token at a time has little to share
rng = np.random.default_rng(0)
M, K = 1152, 384              # "up" in a feed-forward layer of Thunderbolt
weight = rng.standard_normal((M, K)).astype(np.float32)
codes, scale = ops.ternarize(weight)
show.bars("bits", {"float32": 32, "float16": 16, "int8": 8,
                   "four in a byte": 2, "entropy bound": math.log2(3)},
          unit="bits a weight")
print(f"{weight.nbytes:,} bytes become {weight.nbytes // 16:,}")

# %% [markdown]
# ## Four codes in a byte
#
# A code needs log2(3) = 1.58 bits if all three are equally likely. Five codes fit into one byte (3⁵ = 243 ≤ 256), which
# is 1.6 bits each, but to read them one has to divide by 3. Two bits each waste a little and are read with a shift
# and a mask. That is the trade that nearly everybody makes (Ma et al. 2024, arXiv:2402.17764; Wang et al. 2024,
# arXiv:2410.16144, section 2, has both).
#
# A field holds the code **plus one**, so 0, 1 or 2. The value 3 stands for nothing: finding it means that a file is
# damaged.

# %%
row = np.array([-1, 0, 1, 1], np.int8)
byte = sum((int(code) + 1) << 2 * f for f, code in enumerate(row))
back = [(byte >> 2 * f & 3) - 1 for f in range(4)]
print(f"{row.tolist()} -> {byte} = {byte:08b} in binary -> {back}")
assert back == row.tolist()

# %% [markdown]
# The library's layout is the same idea in another order. It puts blocks of 16 rows × 16 columns into 64 bytes, one line
# of cache, so that a kernel reads the weights as one stream, in exactly the order in which it needs them
# (`tinylm/ops/packed.py`). In the picture: which byte of such a block holds which weight.

# %%
where = np.zeros((16, 16), int)
for r in range(16):
    for c in range(16):
        one = np.zeros((32, 16), np.int8)
        one[r, c] = 1
        where[r, c] = np.flatnonzero(ops.pack_ternary(one) != 0x55)[0]
show.heatmap("layout", where, unit="number of the byte in the block",
             down="row of the weight", across="column")
assert np.array_equal(where, 4 * np.arange(16)[:, None]
                      + np.arange(16) % 4)

# %% [markdown]
# Byte t of a row holds the columns t, t + 4, t + 8 and t + 12. So one shift and one mask of the whole block give four
# neighbouring columns of all 16 rows at once.
#
# What must be true of any layout: **unpacking undoes packing**, for any shape, also where rows and columns do not fill
# a block.

# %%
shapes = [(1, 1), (16, 16), (17, 33), (31, 100), (M, K)]
for shape in shapes:
    some = rng.integers(-1, 2, shape).astype(np.int8)
    stream = ops.pack_ternary(some)
    assert stream.shape == packed_shape(*shape)
    assert np.array_equal(ops.unpack_ternary(stream, shape), some)
show.table(["weight", "bytes", "bits a weight"],
           [[f"{m} x {k}", ops.pack_ternary(np.zeros((m, k), int)).nbytes,
             8 * math.prod(packed_shape(m, k)) / (m * k)]
            for m, k in shapes])

# %% [markdown]
# Small matrices pay for the padding, the sizes of real layers do not.
#
# ## A product without multiplications
#
# `out[m] = sum over k of code[m, k] x[k]`: each code adds `x[k]`, subtracts it, or leaves it. If `x` are floats, the
# sum still depends on the order in which it is taken, because every addition rounds. With 8-bit activations (lesson 9)
# `x` are integers from −127 to 127, and integers do not round.

# %%
x = rng.standard_normal(K).astype(np.float32)
values, x_scale = ops.quantize_activations(x)
orders = [rng.permutation(K) for _ in range(200)]


def in_order(terms, order):
    return terms[order].cumsum()[-1]        # one after the other


floats = {float(in_order(x * codes[0], o)) for o in orders}
whole = (values.astype(np.int32) * codes[0]).astype(np.int32)
integers = {int(in_order(whole, o)) for o in orders}
print(f"200 orders: {len(floats)} float sums, {len(integers)} integer sum")
assert len(floats) > 1 and len(integers) == 1

# %% [markdown]
# This is worth more than it seems. A kernel may share the sum among lanes and threads as it likes; a packed model and
# the one that was trained give the same bits; a text can be written again on another machine. What can be lost is
# range: a sum of K terms needs room for 127 K.

# %%
longest = 127 * 1152
print(f"longest sum in Thunderbolt: {longest:,}")
print(f"int16 ends at 32,767, int32 at {2 ** 31 - 1:,}")
print(f"float32 is exact up to {2 ** 24:,}")
assert 32_767 < longest < 2 ** 24

# %% [markdown]
# The last number is why *training* may use float products: whole numbers below 2²⁴ are exact in float32. So the forward
# pass of training and the packed one are the same function:
#
#     out = (codes · x_int) · (x_scale · scale)

# %%
inp = rng.standard_normal((5, K)).astype(np.float32)
stream = kernels.pack_ternary(codes)
trained, _ = kernels.bitlinear_forward(inp, (codes, scale), 8)
shipped = kernels.packed_bitlinear(inp, stream, scale, M)
print("largest difference:", np.abs(trained - shipped).max())
assert np.array_equal(trained, shipped), "to the bit"

# %% [markdown]
# ## How fast?
#
# A model that writes reads **all** its weights for **one** token. It does a single addition with each, so the time goes
# into fetching bytes. First, what this machine can fetch, measured by copying something larger than its caches:

# %%
def best(f):
    """Seconds of the fastest call."""
    f()
    taken = []
    end = time.perf_counter() + show.choose(0.2, brief=0.02)
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        f()
        taken.append(time.perf_counter() - start)
    return min(taken)


big = np.ones(show.choose(16, brief=2) << 20, np.float32)
target = np.empty_like(big)
PEAK = 2 * big.nbytes / best(lambda: np.copyto(target, big)) / 1e9
print(f"copying {big.nbytes >> 20} MiB: {PEAK:.1f} GB/s read and written")

# %% [markdown]
# Now one product of a token with one matrix, four ways. The third column is the bytes of weights a second.

# %%
one = inp[:1]
as_float = codes.astype(np.float32) * scale
as_int = codes.astype(np.int32)
ways = {
    "float32, NumPy": (lambda: one @ as_float.T, as_float.nbytes),
    "int32, NumPy": (lambda: values.astype(np.int32) @ as_int.T,
                     as_int.nbytes),
    "packed, definition": (lambda: ops.packed_bitlinear(
        one, stream, scale, M), stream.nbytes),
    "packed, kernel": (lambda: kernels.packed_bitlinear(
        one, stream, scale, M), stream.nbytes),
}
rows, product_time = [], {}
for name, (f, size) in ways.items():
    seconds = product_time[name] = best(f)
    rows.append([name, size, 1e6 * seconds, size / seconds / 1e9])
show.table(["weights as", "bytes", "microseconds", "GB/s"], rows)
assert rows[3][1] * 16 == rows[0][1], "a sixteenth of the bytes"

# %% [markdown]
# Read the table with care. A matrix of this size fits into a cache, so its bytes come faster than the copy above. The
# definition unpacks everything each time, which no product can make up for: **packed is not fast by itself**. The
# kernel never makes a matrix. It takes 64 bytes, shifts and masks them in a register, and uses an instruction that
# multiplies and adds groups of four 8-bit numbers, where the machine has one. Its time includes the call and rounding
# the input to 8 bits; NumPy was given an input and floats that needed nothing.
#
# ## A whole model
#
# `tinylm.generate.packed.pack` makes of a trained model what would come back from an export. Floats remain where
# they matter: the embedding, which is also the head, and norms, token shifts, gate biases.

# %%
config = {"vocab": 512, "context": 64, "channels": 384, "heads": 8,
          "layers": show.choose(6, full=18, brief=1)}
model = models.build("thunderbolt", config)
params = Parameters(model.parameters())
params.initialise(0)
light, floats_only = packed.pack(model, params)

tensors = packed.tensors_of(model, params)
of_ternary = {n: t.nbytes for n, t in tensors.items()
              if n.endswith((".packed", ".scale"))}
rest = sum(t.nbytes for n, t in tensors.items() if n not in of_ternary)
ternary = params.count("ternary")
show.table(["", "weights", "bytes as float32", "bytes exported"],
           [["ternary", ternary, 4 * ternary, sum(of_ternary.values())],
            ["float", params.count("float"), 4 * params.count("float"),
             rest]])
assert sum(of_ternary.values()) / ternary < 0.26
assert rest == 4 * params.count("float")

# %% [markdown]
# Now the question that a user of the small file has: is it the same model? Both read the same tokens, the small one
# also one token at a time, as when it writes.

# %%
tokens = rng.integers(0, 512, (1, 24)).astype(np.int32)
before = model.logits(tokens, Pass(kernels, params))
after = light.logits(tokens, Pass(kernels, floats_only))
assert np.array_equal(before, after), "the same bits, read at once"

run, state = Pass(kernels, floats_only), light.start(1)
pieces = [light.extend(tokens[:, t:t + 1], state, run)
          for t in range(tokens.shape[1])]
streamed = np.concatenate(pieces, axis=1)
print("packed against trained, at once:     ",
      np.abs(after - before).max())
print("packed against trained, one by one:  ",
      np.abs(streamed - before).max())
assert np.array_equal(before, streamed), "and one by one"

# %% [markdown]
# Tokens a second, one after the other: with the definitions in NumPy, with kernels and a byte for each code, and
# packed.

# %%
def tokens_a_second(model, params, f, count):
    run, state = Pass(f, params), model.start(1)
    token = np.array([[7]], np.int32)
    model.extend(token, state, run)          # what is made once is made now
    start = time.perf_counter()
    for _ in range(count):
        score = model.extend(token, state, run)[0, -1]
        token[0, 0] = score.argmax()
    return count / (time.perf_counter() - start)


COUNT = show.choose(60, brief=4)
speed = {
    "definitions": tokens_a_second(model, params, ops, COUNT // 4),
    "kernels": tokens_a_second(model, params, kernels, COUNT),
    "packed": tokens_a_second(light, floats_only, kernels, 4 * COUNT)}
show.bars("tokens", speed, unit="tokens a second, one thread")
needed = sum(t.nbytes for t in tensors.values())
print(f"packed: {needed:,} bytes a token; {PEAK:.1f} GB/s would "
      f"allow {1e9 * PEAK / needed:,.0f} tokens/s")
assert min(speed.values()) > 0

# %% [markdown]
# How far the last bar is from the last number says what is left to win: sigmoids and norms that are no products, the
# float head, and calls. A small model may even exceed it, since its weights stay in the cache from token to token.
#
# ## Exercises
#
# `make check-12` makes `work/12_packing.py`. The layout there is the simplest one: rows of bytes, four columns each.
#
# - **12.1 `pack`**: four codes in a byte.
# - **12.2 `unpack`**: and the codes again; a 3 is refused.
# - **12.3 `product`**: exact integer sums from packed weights.
#
# `make hint-12` gives a hint, one at a time.
#
# ## What would fool you here
#
# **Sums that wrap around.** NumPy keeps the type of what it adds. A product of int8 with int8 is int8, and says
# nothing:

# %%
ones = np.ones((1, 4), np.int8)
activations = np.full(4, 100, np.int8)
wrapped = int((ones @ activations)[0])
right = int((ones.astype(np.int32) @ activations)[0])
print(f"100 + 100 + 100 + 100 = {wrapped} in int8, {right} in int32")
assert right == 400 and wrapped == 400 - 512

# %% [markdown]
# **A file that is damaged and loads.** Three of four values of a field mean something, so a flipped bit is often
# another valid weight. The fourth gives some of them away, which is why the reader looks at every field. It is no
# checksum:

# %%
caught, trials = 0, 200
for bit in rng.choice(8 * stream.size, trials, replace=False):
    damaged = stream.copy()
    damaged.reshape(-1)[bit // 8] ^= 1 << bit % 8
    try:
        ops.unpack_ternary(damaged, (M, K))
    except CodeError:
        caught += 1
print(f"{caught} of {trials} flipped bits were noticed")
assert 0 < caught < trials

# %% [markdown]
# More that fools people:
#
# - **Ternary in name only.** Ask for the bytes of the file, divided by the weights. Above 0.26 for the ternary part,
#   something is not packed.
# - **Rounding a model that was not trained for it.** Every matrix can be packed. That does not mean that the model
#   survives it: lesson 9 measured what training with the codes is good for.
# - **Tokens a second with a cold start**, or with a model that fits the cache. Say which, and on how many threads.
# - **"Free of multiplications".** The ternary products are. The head is not, and in a small model it is a large part:
#   `tinylm info MODEL` counts.
#
# ## Two further questions
#
# 1. Five codes in a byte save a fifth of the memory traffic. Can they be read without divisions? Find a multiplication
#    and a shift that give the next digit in base 3. (Wang et al. 2024, arXiv:2410.16144; Warren 2012, "Hacker's
#    Delight", chapter 10)
# 2. Instead of shifting and masking, a kernel can look up the sums of all 3⁴ combinations of four activations, once for
#    a token, and use the packed byte as an index. When does that win? (Wei et al. 2024, T-MAC, arXiv:2407.00088)
