# %% [markdown]
# # 5. From loops to machine speed
#
# At the end of this lesson you have written one and the same product five times: in Python, in NumPy, compiled with
# Numba, on several threads, and with vector registers. You have measured each on your own machine, next to the most
# that this machine can do. And you have a race before your eyes, and know how to write code that cannot have one.
#
# Nothing in this lesson changes a result. That is the rule of the whole project: an operation is written once to be
# read and once to be fast, and the two are proved equal.

# %%
import time
from functools import partial

import numba
import numpy as np
from numba import njit, prange

from tinylm import kernels, ops
from tinylm.classroom import show
from tinylm.kernels import machine

rng = np.random.default_rng(0)


def seconds(call, *args, least=0.05):
    """Best of at least three calls, and of as many as fit."""
    best, end, done = float("inf"), time.perf_counter() + least, 0
    while done < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call(*args)
        best, done = min(best, time.perf_counter() - start), done + 1
    return best


loop = seconds(lambda: sum(i * i for i in range(1000))) / 1000
array = np.arange(100_000.0)
vector = seconds(np.dot, array, array) / len(array)
show.bars("one-step", {"a loop in Python": 1e9 * loop,
                       "a dot product in NumPy": 1e9 * vector},
          unit="nanoseconds for one multiplication and addition")
assert sum(i * i for i in range(1000)) == array[:1000] @ array[:1000]

# %% [markdown]
# Why the best of several, and not the mean? Other programs can only make a call slower, never faster. The smallest
# time is the one with the least of them in it.
#
# ## The definition
#
# The work of a language model is matrix products. More than nine tenths of the multiplications in lesson 4's model were
# in them.
#
#     out[i, j] = sum over k of a[i, k] b[k, j]          2 M N K operations
#
# Three loops. This is what all that follows must equal.

# %%
def in_python(a, b):
    M, K, N = len(a), len(b), len(b[0])
    out = [[0.0] * N for _ in range(M)]
    for i in range(M):
        for j in range(N):
            total = 0.0
            for k in range(K):
                total += a[i][k] * b[k][j]
            out[i][j] = total
    return out


def matrices(n, m=None, k=None):
    m, k = m or n, k or n
    return (rng.standard_normal((n, k)).astype(np.float32),
            rng.standard_normal((k, m)).astype(np.float32))


a, b = matrices(48)
lists = a.tolist(), b.tolist()
rates = {"Python": 2 * 48 ** 3 / seconds(in_python, *lists) / 1e9}
print(f"Python: {rates['Python']:.4f} GFLOP/s "
      "(billions of operations a second)")
assert np.allclose(in_python(*lists), ops.matmul(a, b), atol=1e-4)

# %% [markdown]
# ## NumPy: the loop moves inside
#
# Python looks at every number as an object: which type is it, which addition belongs to it, where does the result go?
# NumPy asks once for a whole array. The same sum, one column of `a` and one row of `b` at a time:

# %%
def in_numpy(a, b):
    out = np.zeros((len(a), b.shape[1]), a.dtype)
    for k in range(len(b)):
        out += a[:, k:k + 1] * b[k]            # (M, 1) times (N,)
    return out


SIZE = show.choose(256, full=768, brief=96)
a, b = matrices(SIZE)
work = 2 * SIZE ** 3 / 1e9                     # in billions
rates["NumPy, a row at a time"] = work / seconds(in_numpy, a, b)
print(f"{rates['NumPy, a row at a time']:.3f} GFLOP/s")
assert np.allclose(in_numpy(a, b), ops.matmul(a, b), atol=1e-3)

# %% [markdown]
# Better, and still poor: for each k all of `out` is read and written. The work is one multiplication and one addition
# a number; the rest is carrying.
#
# ## Numba: the loop is compiled
#
# Numba translates a function to machine code when it is first called, for the types it is called with (Lam, Pitrou and
# Seibert 2015, "Numba: a LLVM-based Python JIT compiler"). Loops are as fast as in C then. But which loops? Here are
# two orders of the same three. In the first, the innermost loop goes down a column of `b`, from row to row. In the
# second it goes along a row of `b` and of `out`, number by number.

# %%
def down_columns(out, a, b):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = out.dtype.type(0)
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            out[i, j] = total


def along_rows(out, a, b):
    for i in prange(out.shape[0]):             # a range, unless parallel
        for j in range(out.shape[1]):
            out[i, j] = 0
        for k in range(a.shape[1]):
            for j in range(out.shape[1]):
                out[i, j] += a[i, k] * b[k, j]


out = np.empty((SIZE, SIZE), np.float32)
compiled = {"down columns": njit(down_columns),
            "along rows": njit(along_rows)}
for name, product in compiled.items():
    start = time.perf_counter()
    product(out, a, b)
    first = time.perf_counter() - start
    rates[f"Numba, {name}"] = work / seconds(product, out, a, b)
    print(f"{name}: first call {first:.2f} s, of which nearly all is "
          "compiling")
    assert np.allclose(out, ops.matmul(a, b), atol=1e-3)
show.table(["loops", "GFLOP/s"],
           [[n, r] for n, r in rates.items() if n.startswith("Numba")])

# %% [markdown]
# Same additions, same machine code generator. Memory comes in lines of 64 bytes, 16 numbers of float32, and a vector
# instruction takes 4 to 16 neighbours at once. Along a row every number of a line is used and the compiler can use
# vectors by itself; down a column each line is fetched for one number.
#
# ## Threads
#
# The rows of `out` do not depend on each other, so they can be shared out. `prange` says so, and nobody checks whether
# it is true.

# %%
along_rows_parallel = njit(along_rows, parallel=True)
along_rows_parallel(out, a, b)
cores = numba.config.NUMBA_NUM_THREADS
bits, rows = set(), []
for threads in range(1, cores + 1):
    numba.set_num_threads(threads)
    spent = seconds(along_rows_parallel, out, a, b)
    rows.append([threads, work / spent])
    bits.add(out.tobytes())
rates[f"Numba, {cores} thread(s)"] = rows[-1][1]
show.table(["threads", "GFLOP/s"], rows)
assert len(bits) == 1, "the same bits for any number of threads"
assert np.allclose(out, ops.matmul(a, b), atol=1e-3)

# %% [markdown]
# The assertion with the bits is a promise of the whole library: a result never depends on how many threads computed
# it. It holds here because each number of `out` is computed by one thread, in one order.
#
# ## Tiles and vector registers
#
# `along_rows` still reads all of `b` from memory for every row. A number that has been fetched should be used as often
# as possible before it is thrown out: cut the product into **tiles** (Goto and van de Geijn 2008, "Anatomy of
# high-performance matrix multiplication"). With tiles of t × t, every number is fetched once per tile it meets, N / t
# times instead of N.
#
# `tinylm.kernels.matmul` does that on two levels. Six rows times a few registers of `out` stay in the registers of the
# processor while k runs; each multiply-add there works on a whole register.

# %%
product = kernels.matmul(a, b)
for threads in sorted({1, cores}):
    numba.set_num_threads(threads)
    rates[f"tinylm, {threads} thread(s)"] = work / seconds(
        kernels.matmul, a, b)
rates["BLAS through NumPy, 1 thread"] = work / seconds(np.matmul, a, b)
gap = np.abs(product - ops.matmul(a.astype(float), b.astype(float))).max()
print(f"largest difference from the definition in float64: {gap:.1e}")
assert gap < 1e-3

figure, axes = show.blank((7.0, 3.6))
axes.plot(list(rates.values()), list(rates), "o", markersize=9)
axes.set_xscale("log")
axes.invert_yaxis()
axes.set_xlabel("GFLOP/s (each line is a factor of ten)")
show.figure("ladder", figure)
show.table(["product", "GFLOP/s", "times Python"],
           [[n, r, r / rates["Python"]] for n, r in rates.items()])

# %% [markdown]
# That is the ladder, measured on your machine a moment ago. If something else was running, some rungs are too low; run
# it again on a quiet machine.
#
# A fast product that is wrong at the edges is worth nothing, and tiles have edges. So: all versions, against the
# definition, for shapes that divide by nothing.

# %%
worst = {}
for m, n, k in [(1, 1, 1), (1, 7, 3), (5, 1, 9), (6, 16, 2), (7, 17, 5),
                (13, 65, 31), (6, 64, 0)]:
    a_, b_ = matrices(m, n, k) if k else (np.zeros((m, 0), np.float32),
                                          np.zeros((0, n), np.float32))
    exact = a_.astype(float) @ b_.astype(float)
    filled = np.empty((m, n), np.float32)
    along_rows_parallel(filled, a_, b_)
    for name, found in [("parallel", filled), ("NumPy", in_numpy(a_, b_)),
                        ("tinylm", kernels.matmul(a_, b_))]:
        size = np.abs(a_) @ np.abs(b_) + 1e-30   # what is added up
        share = (np.abs(found - exact) / size).max()
        worst[name] = max(worst.get(name, 0.0), float(share))
show.table(["version", "largest error, as a share of the terms"],
           list(worst.items()))
assert max(worst.values()) < 40 * 2.0 ** -24, "rounding, and nothing else"

# %% [markdown]
# ## The roof
#
# How fast could it be at all? Two limits: what the arithmetic units can do, and what memory can deliver. Which of them
# counts depends on the **intensity** of the work, operations per byte that must be fetched:
#
#     rate <= min(peak, intensity * bandwidth)
#
# (Williams, Waterman and Patterson 2009, "Roofline", Communications of the ACM 52). `tinylm.kernels.machine` measures
# both: the peak with a loop of nothing but multiply-adds in registers, the bandwidth by reading a large array. We copy
# one besides, and take the larger number.

# %%
peaks = {}
for threads in sorted({1, cores}):
    numba.set_num_threads(threads)
    peaks[threads] = machine.peak_flops(seconds=0.2) / 1e9
use = max(peaks, key=peaks.get)
numba.set_num_threads(use)
peak = peaks[use]
show.table(["threads", "peak, GFLOP/s"], list(peaks.items()))

megabytes = show.choose(128, full=256, brief=32)
bandwidth = machine.read_bandwidth(megabytes << 20, seconds=0.2) / 1e9
large = np.zeros(megabytes << 18, np.float32)
copied = 2 * large.nbytes / seconds(np.copyto, large.copy(), large) / 1e9
print(f"reading {bandwidth:.1f} GB/s, copying {copied:.1f} GB/s "
      f"with {use} thread(s)")
bandwidth = max(bandwidth, copied)
print(f"so from {peak / bandwidth:.0f} operations a byte on, arithmetic "
      "is the limit")

# %% [markdown]
# If all threads together reach less than one alone, other programs hold the cores, and the threads wait for each
# other. The lesson then goes on with one.

# %%
def point(operations, bytes_, call, *args):
    return operations / bytes_, operations / seconds(call, *args) / 1e9


P = show.choose(1 << 22, full=1 << 24, brief=1 << 18)
flat = [np.ones(P, np.float32) for _ in range(4)]
step = partial(kernels.adamw_step, step=1, lr=0.0)
# For each parameter 12 operations, and 7 numbers of 4 bytes moved.
points = {"AdamW step": point(12 * P, 28 * P, step, *flat)}
for n in show.choose((16, 64, 256, 512), brief=(16, 64)):
    a_, b_ = matrices(n)
    points[f"product, n = {n}"] = point(
        2 * n ** 3, 3 * 4 * n ** 2, kernels.matmul, a_, b_)
    assert np.isclose(points[f"product, n = {n}"][0], n / 6)
show.table(["work", "operations/byte", "GFLOP/s", "share of the roof"],
           [[name, i, r, r / min(peak, i * bandwidth)]
            for name, (i, r) in points.items()])

# %%
figure, axes = show.blank((7.0, 4.2))
intensity = np.geomspace(0.1, 1000, 200)
axes.plot(intensity, np.minimum(peak, intensity * bandwidth),
          color="#444444", label="roof of this machine")
for i, (name, (x, y)) in enumerate(points.items()):
    axes.plot([x], [y], "os^vD"[i % 5], markersize=7, label=name)
axes.set_xscale("log")
axes.set_yscale("log")
axes.set_xlabel("intensity, operations per byte")
axes.set_ylabel("GFLOP/s")
axes.legend(frameon=False, fontsize=9)
show.figure("roofline", figure)
assert points["AdamW step"][0] < 1 < points["product, n = 64"][0]

# %% [markdown]
# The optimizer step does few operations with each number, so it lies under the slanted part: no cleverness with
# arithmetic helps it, only moving fewer bytes. The product's intensity grows with its size, n / 6, and under the flat
# part of the roof it is a matter of registers and tiles. A point may lie above the slanted line: its numbers were in
# the cache, which is faster than the memory the roof was measured with.
#
# ## When parallel is slower
#
# Threads must be woken and waited for, which costs some microseconds, however little there is to do. So there is a
# size from which on it pays. Here the first terms of the exponential function, `1 + x + x^2/2 + …`, on arrays of
# growing size. NumPy walks over the array once for every operation; the loop does them all while it holds the number.

# %%
def in_numpy_too(x):
    return 1 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4)))


ONE, TWO, THREE, FOUR = (np.float32(n) for n in (1, 2, 3, 4))


def in_a_loop(out, x):
    for i in prange(x.size):
        v = x[i]
        out[i] = ONE + v * (ONE + v / TWO * (
            ONE + v / THREE * (ONE + v / FOUR)))


numba.set_num_threads(cores)
alone, together = njit(in_a_loop), njit(in_a_loop, parallel=True)
powers = np.arange(4, show.choose(21, full=23, brief=13))
speedup = {"one thread": [], f"{cores} thread(s), prange": []}
for power in powers:
    x = rng.standard_normal(1 << power).astype(np.float32)
    y, z = np.empty_like(x), np.empty_like(x)
    alone(y, x), together(z, x)
    assert np.allclose(y, in_numpy_too(x), rtol=1e-4, atol=1e-5)
    assert np.allclose(z, y, rtol=1e-4, atol=1e-5)
    plain = seconds(in_numpy_too, x, least=0.01)
    for name, call in zip(speedup, (alone, together)):
        speedup[name].append(plain / seconds(call, z, x, least=0.01))
show.lines("break-even", {n: (powers, s) for n, s in speedup.items()},
           x="log2(numbers in the array)", y="speed-up over NumPy",
           level=(1.0, "NumPy"))

# %%
one, many = (np.array(s) for s in speedup.values())


def pays_from(faster):
    """The first size from which on it is always faster, or None."""
    slower = np.flatnonzero(~faster)
    place = slower[-1] + 1 if len(slower) else 0
    return 2 ** int(powers[place]) if place < len(powers) else None


for name, size in [("compiling pays from", pays_from(one > 1)),
                   ("threads pay from", pays_from(many > one))]:
    print(name, f"{size:,} numbers on" if size
          else "no size that was tried on")
example = pays_from(np.arange(len(powers)) >= 3)
assert example == 2 ** int(powers[3])

# %% [markdown]
# With one thread, or with another program on the other core, there is nothing to gain from `prange`, and you see only
# its price. Small work is for one thread.
#
# ## A race
#
# `prange` does what it is told. Here is the gradient of an embedding from lesson 2, `dweight[token] += dout`, with its
# tokens shared out among threads. The `+=` is three steps: read, add, write. To see what can happen between them we
# need no threads, only two workers that take turns:

# %%
def worker(out, tokens):
    for token in tokens:
        value = out[token]          # read
        yield
        out[token] = value + 1      # add and write
        yield


def in_turns(tokens):
    out = np.zeros(2)
    both = [worker(out, tokens[:2]), worker(out, tokens[2:])]
    while both:
        both = [w for w in both if next(w, "done") != "done"]
    return out


print("tokens 0 1 | 1 0:", in_turns([0, 1, 1, 0]))
print("tokens 0 1 | 0 1:", in_turns([0, 1, 0, 1]))
assert in_turns([0, 1, 1, 0]).sum() == 4, "went well, by luck"
assert in_turns([0, 1, 0, 1]).sum() == 2, "half of it is lost"

# %% [markdown]
# Both workers read 0, both write 1. It depends on the order of the tokens and on who is faster, so a test may pass for
# weeks. The cure is to share out what is **written**: every row of the result has one owner. With real threads:

# %%
@njit(parallel=True)
def racy(out, tokens):
    for n in prange(tokens.size):
        out[tokens[n]] += 1


@njit(parallel=True)
def owned(out, tokens, parts):
    for part in prange(parts):
        low = out.size * part // parts
        high = out.size * (part + 1) // parts
        for n in range(tokens.size):
            if low <= tokens[n] < high:
                out[tokens[n]] += 1


COUNT = show.choose(1_000_000, brief=20_000)
tokens = rng.integers(0, 8, COUNT)
found = {"racy": [], "owned": []}
for _ in range(5):
    for name in found:
        counts = np.zeros(8, np.int64)
        racy(counts, tokens) if name == "racy" else owned(
            counts, tokens, max(2, cores))
        found[name].append(COUNT - int(counts.sum()))
show.table(["version", "lost in five runs"],
           [[name, str(lost)] for name, lost in found.items()])
assert found["owned"] == [0] * 5

# %% [markdown]
# If the first row shows zeros as well, your machine gave this lesson one thread, or you were lucky; that is the
# trouble with races. Exercise 5.1 is checked without any threads: it looks at who writes where.
#
# ## Exercises
#
# `make check-5` makes `work/05_speed.py`.
#
# - **5.1 `add_share`**: fix the race. What does one of several parts do, so that no two write to the same element?
# - **5.2 `tiled_product`**: a product of matrices that lie in slow memory. The check counts the trips.
#
# `make hint-5` gives a hint, one at a time.
#
# ## What would fool you here
#
# **A sum that depends on the number of threads.** Let every thread sum its share, and add the shares: no race, every
# number is added once, and yet the result is another one on another machine. Floating-point addition rounds, so the
# order counts.

# %%
x = (rng.standard_normal(100_003) * 10.0 ** rng.integers(-3, 4, 100_003)
     ).astype(np.float32)


def by_threads(x, threads):
    shares = np.array_split(x, threads)
    return np.float32(sum(np.float32(s.sum()) for s in shares))


def by_chunks(x, threads, chunk=4096):
    """Chunks of fixed size; threads only decide who does which."""
    sums = np.zeros(-(-len(x) // chunk), np.float32)
    for thread in range(threads):
        for i in range(thread, len(sums), threads):
            sums[i] = x[i * chunk:(i + 1) * chunk].sum()
    return sums.sum()


shares = {t: by_threads(x, t) for t in (1, 2, 3, 4, 8)}
chunks = {t: by_chunks(x, t) for t in shares}
show.table(["threads", "a share each", "fixed chunks"],
           [[t, f"{shares[t]:.6f}", f"{chunks[t]:.6f}"] for t in shares])
assert len(set(shares.values())) > 1, "another machine, another number"
assert len(set(chunks.values())) == 1

# %% [markdown]
# More that fools people:
#
# - **Timing the compiler.** The first call of a Numba function is mostly compiling. Above, it was printed by itself.
# - **Timing nothing.** A compiler may remove work whose result nobody uses.
# - **A speed-up over the wrong thing.** "A hundred times faster than Python" says how slow Python loops are. The
#   honest question is: what share of the roof?
# - **Two pools of threads.** BLAS has threads of its own. Two pools that wait for each other's cores are slower than
#   one; tinylm gives BLAS one thread while its kernels run.
# - **Reading outside.** Compiled loops do not check bounds. `NUMBA_BOUNDSCHECK=1` does, but not inside `prange`.
#
# ## Two further questions
#
# 1. Any order of the computations needs of the order of `n^3 / sqrt(M)` words from slow memory if M words fit into the
#    fast one. Which tile size does that suggest, and how does the number of trips of `tiled_product` compare? (Hong and
#    Kung 1981, "I/O complexity: the red-blue pebble game")
# 2. If one twentieth of the work cannot be shared out, how much faster can it become with 2, 8 and infinitely many
#    threads? Find that twentieth in a training step with `tinylm trace`. (Amdahl 1967, "Validity of the single
#    processor approach")
