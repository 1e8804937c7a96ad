# %% [markdown]
# # 8. A recurrence instead of attention
#
# At the end of this lesson you have a layer that remembers without looking back: a gated linear recurrence, in three
# ways of computing it, forwards and backwards. Its memory is as large after a million characters as after ten. You
# will have seen what that saves, and what its gates learn.
#
# The layer is a running mixture. Each step keeps a share `f` of what was there and takes `1 − f` of what is new:
#
#     h[t] = f[t] h[t − 1] + (1 − f[t]) v[t]
#
# Let a single value 1 come in, then zeros, and watch how long it stays.

# %%
import time
from types import SimpleNamespace

import numpy as np

from tinylm import kernels, layers, ops
from tinylm.audit import causality, gradients
from tinylm.classroom import show
from tinylm.models.base import LanguageModel
from tinylm.ops.recurrence import scan_associative, scan_chunked, scan_loop
from tinylm.text import stories
from tinylm.text.batches import batch
from tinylm.text.tokenizer import char_tokenizer

rng = np.random.default_rng(0)
steps = np.arange(60)
value = np.zeros((1, 60, 1))
value[0, 0] = 1.0
kept = {}
for f in (0.5, 0.9, 0.98):
    forget = np.full((1, 60, 1), f)
    h = scan_loop(forget, value, np.zeros((1, 1)))[0, :, 0]
    kept[f"f = {f}"] = (steps, h / h[0])
show.lines("half-life", kept, x="step", y="share that is left",
           level=(0.5, "half"))
half = {f: np.log(0.5) / np.log(f) for f in (0.5, 0.9, 0.98)}
print("half-life:", ", ".join(f"{n:.1f}" for n in half.values()), "steps")
assert np.allclose(kept["f = 0.9"][1], 0.9 ** steps)

# %% [markdown]
# A fixed `f` is the running mean you know from optimizers. The point of a **gate** is that `f[t]` depends on the
# input: a number for each channel and each step, computed from the token that just came. So a channel can decide to
# hold a value as long as nothing important happens, and to take a new one when it does.
#
# Here the gate is made by hand: it opens (`f = 0`) at a capital letter and holds (`f = 1`) at all others. The channel
# always knows the last capital.

# %%
text = "Ann met Bob. then they saw Carla and all went home."
v = np.array([float(ord(c)) for c in text])[None, :, None]
f = np.array([0.0 if c.isupper() else 1.0 for c in text])[None, :, None]
h = scan_loop(f, v, np.full((1, 1), float(ord("?"))))[0, :, 0]
print(text)
print("".join(chr(int(x)) for x in h))
assert h[-1] == ord("C") and h[7] == ord("A")

# %% [markdown]
# Attention would have found the capital too, but it would have kept the whole text to look it up in. The recurrence
# kept one number.
#
# This form, in which only the input decides about the gates, is from quasi-recurrent networks (Bradbury et al. 2016,
# arXiv:1611.01576, section 2, "f-pooling"). HGRN made a language model of it (Qin et al. 2023, arXiv:2311.04823),
# HGRN2 and others followed (2404.07904). An LSTM computes its gates from `h` as well, and that makes a great
# difference: with gates that do not ask for `h`, the recurrence is *linear* in `h`.
#
# ## It is a triangle, too
#
# Unroll the recurrence, and each output is a sum over all values so far:
#
#     h[t] =   sum over s ≤ t of  (1 − f[s]) f[s + 1] … f[t]  v[s]
#            + f[0] f[1] … f[t] state
#
# The factors are positive and add up to one. So an output is a weighted mean, a **convex mixture**, of what came
# before, as it is in attention. Only the weights come about differently: there by asking every position, here by
# letting every step decide what to keep.

# %%
def mixture(forget):
    """weight[t, s] of value s in output t, and the state's share."""
    T = len(forget)
    one = np.eye(T)[None]                       # value s alone, (1, T, T)
    gates = np.repeat(forget[None, :, None], T, axis=2)
    return scan_loop(gates, one, np.zeros((1, T)))[0], np.cumprod(forget)


sentence = "the hen, the hare. she ran"
letters = np.array([0.97 if c.isalpha() else 0.6 for c in sentence])
letters[[sentence.index(c) for c in ",."]] = 0.1
weight, of_state = mixture(letters)
show.heatmap("mixture", weight, rows=sentence, columns=sentence,
             unit="weight", down="output", across="value")
assert np.allclose(weight.sum(1) + of_state, 1) and weight.min() >= 0
assert not np.triu(weight, 1).any(), "nothing comes from later"

# %% [markdown]
# With these gates a comma and a full stop wipe the memory, a space dims it, letters keep it.
#
# ## Three scans
#
# The loop needs T rounds, one after the other. That is right for reading one token after the other. In training all
# gates and values of a text are known at once, and a machine that can do many things at a time would be idle. Because
# the recurrence is linear in `h`, it can be regrouped. A step is a map:
#
#     h → a h + b,    a = f,  b = (1 − f) v
#
# Two maps in a row are one map of the same kind: first `(a1, b1)`, then `(a2, b2)`, is `(a1 a2, a2 b1 + b2)`.
# Combining is **associative**, so any grouping gives the same, and prefix sums of any associative operation can be
# computed in `log2 T` rounds (Blelloch 1990, section 1.4; for recurrent networks Martin and Cundy 2018,
# arXiv:1709.04057).

# %%
def combine(first, second):
    (a1, b1), (a2, b2) = first, second
    return a1 * a2, a2 * b1 + b2


x, y, z = rng.standard_normal((3, 2))
left, right = combine(combine(x, y), z), combine(x, combine(y, z))
print("((x y) z):", np.round(left, 4), " (x (y z)):", np.round(right, 4))
assert np.allclose(left, right)
assert not np.allclose(combine(x, y), combine(y, x)), "order matters"

# %% [markdown]
# **Doubling.** In round r every position takes in what stands `2^r` positions before it. After the first round it
# stands for two steps, then for four, for eight. Watch position 11 of 16, and what it has taken in.

# %%
T = 16
reach = np.eye(T, dtype=bool)
rounds = [reach]
span = 1
while span < T:
    shifted = np.zeros_like(reach)
    shifted[span:] = reach[:-span]
    reach = reach | shifted
    rounds.append(reach)
    span *= 2
show.heatmap("doubling", np.array([r[11] for r in rounds], float),
             rows=["start", "span 1", "span 2", "span 4", "span 8"],
             columns=[str(i % 10) for i in range(T)],
             unit="taken in by position 11", across="step")
assert [int(r[11].sum()) for r in rounds] == [1, 2, 4, 8, 12]
assert (rounds[-1] == np.tri(T, dtype=bool)).all()

# %% [markdown]
# Doubling does `T log2 T` combinations where the loop did T: more work in fewer rounds. The third way takes the best
# of both. Cut the text into **chunks**, double within each, and hand only the state from chunk to chunk.

# %%
B, T, C = 2, 1000, 8
forget = 1 / (1 + np.exp(-2 * rng.standard_normal((B, T, C))))
value, state = rng.standard_normal((B, T, C)), rng.standard_normal((B, C))
loop = scan_loop(forget, value, state)
rows = [["loop", T, T, 0.0]]
for chunk in (16, 64, 1000):
    r = int(np.ceil(np.log2(chunk)))
    out = scan_chunked(forget, value, state, chunk)
    rows.append([f"chunks of {chunk}", -(-T // chunk) * r, T * r,
                 np.abs(out - loop).max()])
show.table(["scan", "rounds", "combinations", "largest difference"], rows)
assert all(gap < 1e-12 for *_, gap in rows)
assert np.allclose(scan_associative(forget, value, state), loop)

# %% [markdown]
# tinylm's kernel takes the loop: with a few cores, channels and sequences are enough to keep all of them busy, and the
# loop touches each number once. A machine with thousands of lanes would idle, and takes chunks. The result is the same,
# and that is what your exercise 8.2 will be checked for: any length, any chunk.
#
# ## Cut anywhere
#
# A chunk may be as short as one token. So text can be read in pieces of any size, and the state is all there is to
# remember. The kernel that trains and the reading of one token at a time give the same:

# %%
gates = [rng.standard_normal((1, 300, 32)).astype(np.float32)
         for _ in range(3)]                       # forget, value, output
bias = np.zeros(32, np.float32)
whole, _ = kernels.recurrence_forward(*gates, bias)
pieces, state, at = [], None, 0
for n in (1, 1, 98, 200):
    part = [g[:, at:at + n] for g in gates]
    out, cache = kernels.recurrence_forward(*part, bias, state)
    pieces.append(out)
    state, at = cache.hidden[:, -1].copy(), at + n
gap = np.abs(np.concatenate(pieces, axis=1) - whole).max()
print(f"in pieces and in one go differ by {gap:g}")
assert gap == 0, "each number is computed by the same steps"

# %% [markdown]
# ## Backwards
#
# `h[t]` is used twice: as an output, and as a part of `h[t + 1]`. So the slope `g[t]` of the loss with respect to
# `h[t]` has two parts:
#
#     g[t] = dout[t] + f[t + 1] g[t + 1]
#
# The same kind of recurrence, from the end to the beginning. Whatever scans the forward pass scans the backward pass.
# From `g` everything follows by looking at one step, `h[t] = f h[t − 1] + (1 − f) v`:
#
#     dv[t] = (1 − f[t]) g[t]        df[t] = (h[t − 1] − v[t]) g[t]
#
# The layer of the library wraps this in two sigmoids, one for the forget gate and one for an **output gate**, which
# decides how much of `h` is shown. Its backward pass must be the slope of its forward pass:

# %%
inputs = {n: rng.standard_normal((2, 7, 3))
          for n in ("forget", "value", "output")}
inputs |= {"bias": rng.standard_normal(3)}
report = gradients.operation(ops.recurrence_forward,
                             ops.recurrence_backward, inputs, rng)
show.table(["gradient", "error / tolerance"],
           [[f"d{t.name}", t.worst] for t in report.tensors])
assert report.ok

# %% [markdown]
# ## What it saves
#
# Attention compares each position with all before it: twice the context, four times the work, and when it writes it
# must keep the keys and values of everything it has read. The recurrence does the same work for each token, wherever
# it stands. Measured on this machine, forward passes of one sequence with 64 channels:

# %%
def seconds(function, *args):
    function(*args)                                   # compiles, warms up
    best = np.inf
    for _ in range(3):
        started = time.perf_counter()
        function(*args)
        best = min(best, time.perf_counter() - started)
    return best


lengths = show.choose([128, 256, 512, 1024, 2048], brief=[64, 128],
                      full=[128, 256, 512, 1024, 2048, 4096])
measured, C = {"attention": [], "recurrence": []}, 64
for T in lengths:
    inp = rng.standard_normal((1, T, 3 * C)).astype(np.float32)
    thirds = [np.ascontiguousarray(p) for p in np.split(inp, 3, axis=2)]
    zero = np.zeros(C, np.float32)
    measured["attention"].append(
        1e6 / T * seconds(kernels.attention_forward, inp, 4))
    measured["recurrence"].append(
        1e6 / T * seconds(kernels.recurrence_forward, *thirds, zero))
show.lines("time", {n: (lengths, m) for n, m in measured.items()},
           x="context, tokens", y="microseconds a token")

# %%
caches = {"attention": [2 * T * C * 4 for T in lengths],
          "recurrence": [C * 4 for T in lengths]}
show.table(["context", "attention: bytes kept", "recurrence: bytes kept"],
           [[T, a, r] for T, a, r in zip(lengths, *caches.values())])
past = np.zeros((2, 1, lengths[-1], C), np.float32)   # keys and values
assert past.nbytes == caches["attention"][-1]
assert state.nbytes == 32 * 4, "the state of the reading above"

# %% [markdown]
# ## What the gates learn
#
# Now a language model: blocks as in lesson 4, with the recurrence in the place of attention. A layer in tinylm has a
# forward and a backward pass that mirror each other, and what forward remembers, backward recalls.

# %%
class Mixer(layers.Layer):
    """Three projections in one, the gated scan, a projection."""

    def __init__(self, name, C):
        self.name, self.bias = name, np.zeros(C, np.float32)
        self.gates = layers.Linear(f"{name}.gates", C, 3 * C, std=0.1)
        self.proj = layers.Linear(f"{name}.proj", C, C)

    def children(self):
        return [self.gates, self.proj]

    def forward(self, inp, run):
        three = np.split(self.gates.forward(inp, run), 3, axis=-1)
        mixed, cache = run.f.recurrence_forward(*three, self.bias)
        run.remember(self, cache)
        self.forget = three[0]
        return run.seen(self, inp, self.proj.forward(mixed, run))

    def backward(self, dout, run):
        dmixed = self.proj.backward(dout, run)
        *three, _ = run.f.recurrence_backward(dmixed, run.recall(self))
        return self.gates.backward(np.concatenate(three, axis=-1), run)

# %%
def block(i, C, mixer):
    """x += mixer(norm1(x));  x += ffn(norm2(x))."""
    name = f"blocks.{i}"
    ffn = layers.FeedForward(f"{name}.ffn", C, 4 * C, activation="gelu",
                             bias=True, std=0.1, down_std=0.05)
    return layers.Block(
        name, layers.LayerNorm(f"{name}.norm1", C), mixer,
        layers.Residual(f"{name}.residual1", 0.0, site=2 * i),
        layers.LayerNorm(f"{name}.norm2", C), ffn,
        layers.Residual(f"{name}.residual2", 0.0, site=2 * i + 1))


class Reader(LanguageModel):
    """Embedding, L blocks, norm, head."""

    def __init__(self, vocab, C, L):
        self.name = "reader"
        self.embedding = layers.Embedding("embedding", vocab, 0, C)
        self.mixers = [Mixer(f"blocks.{i}.mixer", C) for i in range(L)]
        self.blocks = [block(i, C, m) for i, m in enumerate(self.mixers)]
        self.norm = layers.LayerNorm("norm", C)
        self.head = layers.Head("head", C, vocab, bias=False,
                                tied_to=self.embedding.tokens)


tiny = Reader(vocab=5, C=4, L=2)
report = gradients.model(tiny, rng.integers(0, 5, (2, 6)),
                         rng.integers(0, 5, (2, 6)), rng)
print(f"{len(report.tensors)} tensors, error / tolerance at most "
      f"{report.worst_tensor.worst:.2g}")
assert report.ok

# %% [markdown]
# No line about positions: the recurrence knows the order of its own accord. Now train it on stories.

# %%
text = "\n".join(t for t, _ in stories.generate(400, seed=8))
tokenizer = char_tokenizer(text, end_of_text=False)
tokens, V = tokenizer.encode(text), tokenizer.vocab_size
STEPS = show.choose(300, full=2000, brief=20)
model = Reader(V, C=64, L=3)
params = layers.Parameters(model.parameters())
params.initialise(0)
grads, first, second = (params.like() for _ in range(3))
curve = []
for step in range(1, STEPS + 1):
    run = layers.Pass(kernels, params, grads, layers.Tape())
    losses = model.forward(*batch(tokens, 0, step, 8, 96), run)
    curve.append(losses.mean())
    grads.flat[:] = 0
    model.backward(np.full(len(losses), 1 / len(losses), np.float32), run)
    kernels.adamw_step(params.flat, grads.flat, first.flat, second.flat,
                       step=step, lr=4e-3 * min(1, step / 30))
show.lines("training", {"recurrence": (np.arange(STEPS), curve)},
           x="step", y="nats/token", level=(np.log(V), "ln V"))
assert abs(curve[0] - np.log(V)) < 0.3
assert np.mean(curve[-5:]) < curve[0] - 0.5

# %% [markdown]
# Is it honest? Change the end of a text, and nothing before the change may move; lesson 11 is about this test.

# %%
model.config = SimpleNamespace(vocab=V, context=96)
report = causality.suffix_swap(model, params, kernels, rng)
show.write(report.detail)
assert report.ok

# %% [markdown]
# And the gates? One number for each layer, channel and character. Mean over a text, channels sorted, a curve for each
# layer. All began near 0.5.

# %%
from_text, _ = batch(tokens, 1, 0, 4, 256)
model.logits(from_text, layers.Pass(kernels, params))
gate = [1 / (1 + np.exp(-mixer.forget)) for mixer in model.mixers]
by_channel = [np.sort(g.mean((0, 1))) for g in gate]
show.lines("gates-by-layer",
           {f"layer {i + 1}": (np.arange(64), g)
            for i, g in enumerate(by_channel)},
           x="channel, sorted", y="mean forget gate", level=(0.5, "start"))
show.table(["layer", "mean gate", "longest half-life",
            "spread from token to token"],
           [[i + 1, g.mean(), np.log(0.5) / np.log(m[-1]),
             g.std((0, 1)).mean()]
            for i, (g, m) in enumerate(zip(gate, by_channel))])
if show.size() != "brief":
    assert max(m[-1] for m in by_channel) > 0.7, "some channels hold"
    assert min(m[0] for m in by_channel) < 0.45, "some let go"
    assert all(g.std((0, 1)).mean() > 0.01 for g in gate)

# %% [markdown]
# The channels have shared the work: some change with every character, some hold on. And they do it by what they read.
# Which characters open the gates of the first layer, and which hold? The ends of words and sentences should matter.

# %%
mean = {tokenizer.decode([i]): gate[0][from_text == i].mean()
        for i in np.unique(from_text) if (from_text == i).sum() > 4}
order = sorted(mean, key=mean.get)
chosen = order[:5] + order[-5:]
show.bars("gates-by-character", {repr(c)[1:-1]: mean[c] for c in chosen},
          unit="mean forget gate of the first layer")
if show.size() != "brief":
    ends = np.mean([mean[c] for c in " ,."])
    assert ends < np.mean([mean[c] for c in "etaoinhr"]), "it lets go"

# %% [markdown]
# ## Exercises
#
# `make check-8` makes `work/08_recurrence.py`, with three functions to write.
#
# - **8.1 `scan`**: the recurrence, one step after the other.
# - **8.2 `scan_chunked`**: the same in chunks, without a loop over steps.
# - **8.3 `scan_backward`**: from outputs back to gates, values and the first state.
#
# `make hint-8` gives a hint, one at a time.
#
# ## What would fool you here
#
# **A formula that is right on paper.** Let `P[t]` be the product of all gates up to t. Then
# `h[t] = P[t] (state + sum over s of b[s] / P[s])`: two cumulative operations of NumPy, no loop at all. It passes every
# test with short texts and gates near one.

# %%
def by_division(forget, value, state):
    product = np.cumprod(forget, axis=1)
    inside = np.cumsum((1 - forget) * value / product, axis=1)
    return product * (state[:, None] + inside)


rows = []
for T in (8, 32, 128, 512):
    f = rng.uniform(0.3, 0.9, (1, T, 4)).astype(np.float32)
    v = rng.standard_normal((1, T, 4)).astype(np.float32)
    start = np.zeros((1, 4), np.float32)
    with np.errstate(all="ignore"):
        gap = np.abs(by_division(f, v, start) - scan_loop(f, v, start))
    rows.append([T, np.cumprod(f, axis=1).min(), str(gap.max())])
show.table(["T", "smallest product", "largest error"], rows)
assert float(rows[0][2]) < 1e-5
assert not float(rows[-1][2]) < 1e-5, "not a number, or wrong"

# %% [markdown]
# The product of 512 gates is 0 in float32, and dividing by it gives infinity. Doubling multiplies and adds, and never
# divides: numbers that are too small are simply forgotten, as they should be.
#
# **Tests no longer than a chunk.** A chunked scan that forgets to hand the state on is right for every T up to the
# size of the chunk. With the default chunk of 16 and a test at T = 16 it would be published:

# %%
def without_carry(forget, value, state, chunk=16):
    parts = [scan_chunked(forget[:, i:i + chunk], value[:, i:i + chunk],
                          state) for i in range(0, value.shape[1], chunk)]
    return np.concatenate(parts, axis=1)


def wrong_by(T):
    f, v = rng.random((1, T, 4)), rng.standard_normal((1, T, 4))
    state = rng.standard_normal((1, 4))
    return np.abs(without_carry(f, v, state) - scan_loop(f, v, state)).max()


print(f"T = 16: {wrong_by(16):.1e}   T = 17: {wrong_by(17):.1e}")
assert wrong_by(16) < 1e-12 and wrong_by(17) > 1e-3

# %% [markdown]
# More that fools people:
#
# - **A gate of 0.9 sounds like a long memory.** Its half-life is under seven steps. For a thousand steps it takes
#   0.9993, and a sigmoid gets there only at a logit above 7. So models begin with gates that cannot forget everything
#   (a lower bound that rises from layer to layer: Qin et al. 2023, arXiv:2311.04823, section 3.2).
# - **A bidirectional scan.** Running the recurrence over the text from both ends gives a wonderful training loss, and
#   a model that has read the answer. Lesson 11 has that exhibit.
#
# ## Two further questions
#
# 1. A state of C numbers cannot hold a telephone book, and attention can look one up. On which task would you see the
#    difference first, and how large must the state be? (Jelassi et al. 2024, arXiv:2402.01032; Arora et al. 2023,
#    arXiv:2312.04927)
# 2. If every channel keeps a whole row of numbers instead of one (the outer product of a key and a value), the state
#    has C D numbers for the same parameters. What happens to the three scans? (Katharopoulos et al. 2020,
#    arXiv:2006.16236, section 3.4; Yang et al. 2023, arXiv:2312.06635)
