# %% [markdown]
# # 9. Three values for a weight
#
# At the end of this lesson you have weights that are −1, 0 or 1, and that learn all the same. You know why no gradient
# can reach them, what is done about it, and how to see whether it works: in how many weights change their value.
#
# Why three values? A product with them needs no multiplication. For each output: add the inputs whose weight is 1,
# subtract those whose weight is −1, leave out the others.

# %%
from types import SimpleNamespace

import numpy as np

from tinylm import kernels, layers, ops
from tinylm.audit import gradients
from tinylm.classroom import show
from tinylm.text import stories
from tinylm.text.batches import batch
from tinylm.text.tokenizer import char_tokenizer
from tinylm.train.quality import TernaryQuality

rng = np.random.default_rng(0)
codes = rng.integers(-1, 2, (3, 8))
x = rng.integers(-9, 10, 8)
rows = []
for row in codes:
    added, taken = x[row == 1], x[row == -1]
    rows.append([" ".join(f"{c:+d}" if c else " 0" for c in row),
                 f"{added.sum():+d} - ({taken.sum():+d})",
                 int(added.sum() - taken.sum())])
print("inputs:", x.tolist())
show.table(["weights", "added - subtracted", "output"], rows)
assert [r[2] for r in rows] == (codes @ x).tolist()

# %% [markdown]
# Many of these sums come again. Three weights of three values can stand in 3 · 3 · 3 = 27 ways only, so of three inputs
# there are 27 sums, however many outputs want one. Make them once, and every output looks its own up: one addition for
# three weights. The kernel that multiplies ternary weights in float32 does this for 16 tokens at a time
# (`tinylm/kernels/sums.py`; the idea is that of T-MAC, Wei et al. 2024, arXiv:2407.00088).

# %%
three = np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij")
ways = np.array(three).reshape(3, 27).T                        # (27, 3)
print("three inputs:", x[:3].tolist(), "and their first sums:",
      (ways @ x[:3])[:6].tolist(), "...")
long_codes = rng.integers(-1, 2, (1000, 300))
long_x = rng.integers(-9, 10, 300)
looked_up = np.zeros(1000, int)
for first in range(0, 300, 3):
    sums = ways @ long_x[first:first + 3]                      # 27 sums
    place = (long_codes[:, first:first + 3] + 1) @ [9, 3, 1]   # 0 to 26
    looked_up += sums[place]
assert (looked_up == long_codes @ long_x).all()
one_by_one = np.count_nonzero(long_codes)
by_sums = 100 * (27 * 2 + 1000)
show.table(["1,000 outputs of 300 inputs", "additions"],
           [["one by one", one_by_one], ["sums looked up", by_sums]])
assert by_sums < 0.6 * one_by_one

# %% [markdown]
# A weight with three values holds log2 3 = 1.58 bits, where a float32 takes 32. That is the "1.58" of BitNet b1.58
# (Ma et al. 2024, arXiv:2402.17764), whose two formulas this lesson follows. How two bits a weight become a small file
# and a fast product is lesson 12. Here the question is whether such weights can learn.
#
# ## From floats to codes: absmean
#
#     scale = mean of |weight|
#     codes = round(weight / scale), cut to −1, 0, 1
#     weight_q = codes · scale
#
# One scale for the whole matrix, so the product of codes is scaled once per output. A weight becomes 0 if it is smaller
# than half the mean magnitude.

# %%
weight = 0.02 * rng.standard_normal((200, 300))
ternary = ops.ternarize(weight)
share = {c: float((ternary.codes == c).mean()) for c in (-1, 0, 1)}
entropy = -sum(p * np.log2(p) for p in share.values())
print("shares of the codes:", {c: round(p, 3) for c, p in share.items()})
print(f"bits in a weight: {entropy:.3f}, at most {np.log2(3):.3f}")
print(f"scale: {ternary.scale:.4f}, mean magnitude: "
      f"{np.abs(weight).mean():.4f}")
assert 0.29 < share[0] < 0.33 and entropy > 1.57
larger = ops.ternarize(8 * weight)
assert (larger.codes == ternary.codes).all(), "size is in the scale alone"

# %% [markdown]
# For weights from a bell curve the three values come out nearly equally often, so the 1.58 bits are used well.
#
# How much is lost? The error depends on where the border to zero lies. For each border take the best possible scale,
# and see whether absmean's border, half a mean magnitude, is a good one.

# %%
mean = np.abs(weight).mean()
borders = np.linspace(0.0, 1.6, 33)
lost = []
for border in borders:
    sign = np.sign(weight) * (np.abs(weight) > border * mean)
    scale = (weight * sign).sum() / np.abs(sign).sum()    # least squares
    lost.append(((weight - scale * sign) ** 2).sum()
                / (weight ** 2).sum())
absmean = (((weight - ternary.codes * ternary.scale) ** 2).sum()
           / (weight ** 2).sum())
show.lines("border", {"best scale": (borders, lost)},
           x="border to zero, in mean magnitudes",
           y="squared error / squared weight", level=(absmean, "absmean"))
print(f"signs alone lose {lost[0]:.2f}, the best border "
      f"{borders[np.argmin(lost)]:.2f} loses {min(lost):.2f}")
assert min(lost) < absmean < lost[0], "good, though not the very best"

# %% [markdown]
# Two signs without a zero lose nearly twice what the best border loses. Absmean lies between: a border of 0.7 to 0.8
# and a larger scale would be closer to the weights (that is the rule of Li and Liu 2016, arXiv:1605.04711). But
# nobody wants to be close to given weights. The weights will be *trained* to work with this rounding.
#
# ## Activations: eight bits
#
# Inputs of a ternary layer are rounded, too, less harshly: to the whole numbers from −127 to 127, with a scale for
# each token. Then the whole product is one of integers, which any machine adds exactly.
#
#     scale[n]    = max over k of |inp[n, k]| / 127
#     codes[n, k] = round(inp[n, k] / scale[n])

# %%
inp = rng.standard_normal((500, 300)) * np.exp(rng.normal(0, 2, (500, 1)))
inp_codes, inp_scale = ops.quantize_activations(inp)
error = np.abs(inp_codes * inp_scale - inp) / inp_scale
relative = (np.sqrt(((inp_codes * inp_scale - inp) ** 2).mean(1))
            / np.sqrt((inp ** 2).mean(1)))
print(f"largest error: {error.max():.4f} of a token's scale")
print(f"typical error: {100 * np.median(relative):.2f} % of a token")
assert error.max() <= 0.5 + 1e-9 and relative.max() < 0.02
exact = inp_codes.astype(np.int64) @ ternary.codes.T.astype(np.int64)
out, _ = ops.bitlinear_forward(inp, ternary, activation_bits=8)
assert np.allclose(out, exact * inp_scale * ternary.scale, rtol=1e-12)

# %% [markdown]
# ## No slope to follow
#
# Move one weight, and watch the loss. (The loss here is a squared distance, the layer has 40 weights.) It is
# a staircase: most moves change no code. At the steps there is no slope, and between them there is little. What is left
# there comes from the scale, which every weight moves a bit (and which now and then carries another weight over its
# border).

# %%
many, small = rng.standard_normal((60, 20)), rng.standard_normal((2, 20))
small[0, 0] = -0.2
target = many @ (small + np.eye(2, 20)).T    # wants the first weight larger


def seen_at(value):
    """(loss, codes) with the first weight moved to value."""
    moved = small.copy()
    moved[0, 0] = value
    ternary = ops.ternarize(moved)
    out, _ = ops.bitlinear_forward(many, ternary)
    return ((out - target) ** 2).mean(), ternary.codes


at = small[0, 0]
out, cache = ops.bitlinear_forward(many, ops.ternarize(small))
_, dweight = ops.bitlinear_backward(2 * (out - target) / out.size, cache)
places = np.linspace(-1.5, 1.5, 301)
stairs, codes = zip(*map(seen_at, places))
line = seen_at(at)[0] + dweight[0, 0] * (places - at)
show.lines("staircase", {"the loss": (places, stairs),
                         "straight through": (places, line)},
           x="one weight", y="loss")
jumps = np.abs(np.diff(stairs))
flip = np.array([(a != b).any() for a, b in zip(codes, codes[1:])])
print(f"of {flip.size} small moves, {flip.sum()} change a code")
print(f"largest change of the loss with a flip {jumps[flip].max():.3f}, "
      f"without {jumps[~flip].max():.3f}")
assert 2 <= flip.sum() <= 8
assert jumps[flip].max() > 5 * jumps[~flip].max()
real = (seen_at(at + 1e-6)[0] - seen_at(at - 1e-6)[0]) / 2e-6
print(f"slopes at {at}: real {real:+.2f}, "
      f"straight through {dweight[0, 0]:+.2f}")
assert dweight[0, 0] < 0 < real, "downhill is to the right"

# %% [markdown]
# The **straight-through estimator** (Bengio, Léonard and Courville 2013, arXiv:1308.3432, section 4, after a lecture
# by Hinton) does something bold: it computes the slope at the rounded weight and hands it to the float weight, as if
# rounding were not there. The line in the figure is what it believes. It goes down where the stairs go down, though at
# that very place the stair slopes the other way.
#
#     forward:   out = inp_q weight_q^T
#     backward:  dinp = dout weight_q,     dweight = dout^T inp_q
#
# So training keeps a float weight, the **latent** weight. Only its code is used; the float part is a memory of how
# strongly the slopes of many steps have pushed. When they have pushed far enough, the code flips.
#
# This is not the gradient of the loss. It is the gradient of a **surrogate**: the same product, with the roundings
# frozen at this point and the identity beside them. Against that it can be checked exactly:
#
#     out = (inp_q + inp − inp0) (weight_q + weight − weight0)^T

# %%
report = gradients.operation(
    gradients.bitlinear, ops.bitlinear_backward,
    {"inp": rng.standard_normal((5, 7)),
     "weight": rng.standard_normal((4, 7))},
    rng, options={"activation_bits": 8}, through_roundings=True)
show.table(["gradient", "error / tolerance"],
           [[f"d{t.name}", t.worst] for t in report.tensors])
assert report.ok

# %% [markdown]
# ## Learning
#
# A small model: the last eight characters, a vector for each, two layers, the next character. The two layers are
# ternary with eight-bit inputs, or float for comparison. Embedding, norms and head stay float in both.

# %%
class Window(layers.Layer):
    """Eight characters -> 256 squared ReLUs -> 64 -> the next one."""

    def __init__(self, vocab, ternary):
        self.name = "window"
        self.embedding = layers.Embedding("tokens", vocab, 0, 16, 0.5)
        self.norm1 = layers.LayerNorm("norm1", 128)
        self.up, self.down = (
            layers.BitLinear(name, k, m, activation_bits=8) if ternary
            else layers.Linear(name, k, m, bias=False, std=np.sqrt(2 / m))
            for name, k, m in (("up", 128, 256), ("down", 256, 64)))
        self.norm2 = layers.LayerNorm("norm2", 64)
        self.head = layers.Head("head", 64, vocab)

    def children(self):
        return [self.embedding, self.norm1, self.up, self.down,
                self.norm2, self.head]

    def forward(self, tokens, targets, run):
        x = self.embedding.forward(tokens, run).reshape(len(tokens), 128)
        x = self.up.forward(self.norm1.forward(x, run), run)
        x, cache = run.f.squared_relu_forward(x)
        run.remember(self, cache)
        x = self.norm2.forward(self.down.forward(x, run), run)
        return self.head.forward(x, targets, run)

    def backward(self, dlosses, run):
        dx = self.norm2.backward(self.head.backward(dlosses, run), run)
        dx = self.down.backward(dx, run)
        (dx,) = run.f.squared_relu_backward(dx, run.recall(self))
        dx = self.norm1.backward(self.up.backward(dx, run), run)
        self.embedding.backward(dx.reshape(len(dx), 8, 16), run)

# %%
text = "\n".join(t for t, _ in stories.generate(500, seed=9))
tokenizer = char_tokenizer(text, end_of_text=False)
tokens, V = tokenizer.encode(text), tokenizer.vocab_size
train, val = tokens[:-20_000], tokens[-20_000:]
STEPS = show.choose(600, full=6000, brief=60)
EVERY = STEPS // 30


def fit(ternary, top=4e-3):
    """Train; returns model, parameters, losses, flips and pictures."""
    model = Window(V, ternary)
    params = layers.Parameters(model.parameters())
    params.initialise(0)
    grads, first, second = (params.like() for _ in range(3))
    watch, kept = TernaryQuality(params, kernels), SimpleNamespace(
        model=model, params=params, losses=[], flips=[], weights={})
    watch.begin()
    for step in range(1, STEPS + 1):
        if step in (1, STEPS // 2, STEPS):
            kept.weights[step] = params["up.weight"].copy()
        inputs, targets = batch(train, 0, step, 256, 8)
        run = layers.Pass(kernels, params, grads, layers.Tape())
        losses = model.forward(inputs, targets[:, -1], run)
        grads.flat[:] = 0
        model.backward(np.full(256, 1 / 256, np.float32), run)
        lr = top * (1 + np.cos(np.pi * step / STEPS)) / 2
        kernels.adamw_step(params.flat, grads.flat, first.flat, second.flat,
                           step=step, lr=lr * min(1, step / 20))
        kept.losses.append(losses.mean())
        if ternary and step % EVERY == 0:
            kept.flips.append(watch.measure(EVERY))
    return kept

# %%
floats, threes = fit(ternary=False), fit(ternary=True)


def smooth(losses, width=10):
    return np.convolve(losses, np.ones(width) / width, "valid")


show.lines("training", {name: (np.arange(STEPS - 9), smooth(run.losses))
                        for name, run in (("float", floats),
                                          ("ternary", threes))},
           x="step", y="nats/token, mean of ten",
           level=(np.log(V), "ln V"))
end = {name: np.mean(run.losses[-STEPS // 20:])
       for name, run in (("float", floats), ("ternary", threes))}
print({name: round(float(x), 3) for name, x in end.items()}, "nats/token")
assert end["ternary"] < threes.losses[0] - 0.5, "it learns"
if show.size() != "brief":
    assert -0.05 < end["ternary"] - end["float"] < 0.35, "at some price"

# %% [markdown]
# The ternary layers learn, and pay something for having so few values. The gap shrinks as models grow (Ma et al. 2024
# report none from three billion parameters on; here there are fifty thousand).
#
# ## What happens to the weights
#
# The latent weights, in units of their scale, at the start, half-way and at the end. Codes change at ±0.5.

# %%
edges = np.linspace(-3, 3, 61)
centres = (edges[1:] + edges[:-1]) / 2
pictures, rows = {}, []
for step, weight in threes.weights.items():
    scaled = weight / np.abs(weight).mean()
    found, _ = np.histogram(scaled, edges)
    pictures[f"step {step}"] = (centres, 100 * found / weight.size)
    codes = ops.ternarize(weight).codes
    rows.append([step, *(100 * float((codes == c).mean())
                         for c in (-1, 0, 1)), np.abs(weight).mean()])
show.lines("weights", pictures, x="latent weight / scale",
           y="% of the weights in a bin of 0.1")
show.table(["step", "% at -1", "% at 0", "% at 1", "scale"], rows)
assert all(abs(sum(r[1:4]) - 100) < 1e-6 and r[2] > 15 for r in rows)

# %% [markdown]
# Two towers rise at the borders. The slope is taken at the code: at 0 it may ask for more, and at 1 for less. Then the
# weight is pushed to and fro over its border, and stays near it. This is known from all training through roundings
# (Nagel et al. 2022, arXiv:2203.11086, section 3).

# %%
def at_the_border(weight):
    size = np.abs(weight) / np.abs(weight).mean()
    return (np.abs(size - 0.5) < 0.1).mean()


near = {step: at_the_border(w) for step, w in threes.weights.items()}
print("% within 0.1 of a border, by step:",
      {step: round(100 * float(n), 1) for step, n in near.items()})
if show.size() != "brief":
    assert near[STEPS] > 1.2 * near[1]

# %% [markdown]
# A weight learns only when its code changes. So count the changes: **flips**.

# %%
at = EVERY * np.arange(1, len(threes.flips) + 1)
flips = {name: [100 * entry["layers"][name]["flips"] / EVERY
                for entry in threes.flips] for name in ("up", "down")}
show.lines("flips", {name: (at, f) for name, f in flips.items()},
           x="step", y="% of the codes that flip in a step")
before = ops.ternarize(threes.weights[1]).codes
after = ops.ternarize(threes.weights[STEPS]).codes
print(f"changed between start and end: {100 * (before != after).mean():.0f}"
      f" % of {before.size:,} codes")
assert flips["up"][-1] < 0.5 * max(flips["up"]), "they settle with the rate"
assert 0.05 < (before != after).mean() < 0.95

# %% [markdown]
# Flips rise with the learning rate and die out with it. That makes them a good instrument: flips that die out early
# mean a rate that is too low (or a run that is done), flips that stay high mean weights that cannot decide.
# `tinylm train` writes them into every log line of a ternary model.
#
# ## Rounding afterwards is not the same
#
# The float model was trained without knowing of any rounding. Round its weights now, and compare on held-out text:

# %%
def held_out(model, params):
    inputs, targets = batch(val, 1, 0, 4000, 8)
    run = layers.Pass(kernels, params)
    return float(model.forward(inputs, targets[:, -1], run).mean())


rounded = floats.params.like()
rounded.flat[:] = floats.params.flat
for name in ("up.weight", "down.weight"):
    codes, scale = ops.ternarize(floats.params[name])
    rounded[name][...] = codes * scale
results = {"float": held_out(floats.model, floats.params),
           "trained ternary": held_out(threes.model, threes.params),
           "rounded afterwards": held_out(floats.model, rounded)}
show.bars("afterwards", results, unit="nats/token, held out")
assert results["rounded afterwards"] != results["float"]
if show.size() != "brief":
    assert max(results, key=results.get) == "rounded afterwards"

# %% [markdown]
# ## Exercises
#
# `make check-9` makes `work/09_ternary.py`, with three functions to write.
#
# - **9.1 `ternarize`**: from float weights to codes and a scale.
# - **9.2 `quantize_activations`**: eight bits, a scale for each token.
# - **9.3 `bitlinear_backward`**: straight through both roundings.
#
# `make hint-9` gives a hint, one at a time.
#
# ## What would fool you here
#
# **The latent weights are not the model.** A checkpoint of a ternary model holds floats, and they look like weights.
# Used as weights they make another model, one that was never trained:

# %%
as_floats = layers.Parameters(Window(V, ternary=False).parameters())
for name, array in threes.params.items():
    as_floats[name][...] = array
latent = held_out(Window(V, ternary=False), as_floats)
print(f"codes: {results['trained ternary']:.3f}   "
      f"latent floats in their place: {latent:.3f} nats/token")
assert latent != results["trained ternary"]
if show.size() != "brief":
    assert latent > results["trained ternary"]

# %% [markdown]
# More digits, and worse. And a file of these floats is as large as any float model: ternary in name only. Ask for the
# bytes of the file.
#
# **A gradient check of the real function.** Central differences of the ternary layer are right: they measure the
# staircase, between its steps. There every weight of a matrix has the same slope but for its sign, because all it does
# is move the common scale. Following it would never change a code for a reason.

# %%
weight, point = rng.standard_normal((2, 4)), rng.standard_normal((9, 4))
dout = rng.standard_normal((9, 2))
measured = np.zeros_like(weight)
for i in np.ndindex(weight.shape):
    ends = []
    for h in (1e-6, -1e-6):
        moved = weight.copy()
        moved[i] += h
        out, _ = ops.bitlinear_forward(point, ops.ternarize(moved))
        ends.append((out * dout).sum())
    measured[i] = (ends[0] - ends[1]) / 2e-6
_, cache = ops.bitlinear_forward(point, ops.ternarize(weight))
_, through = ops.bitlinear_backward(dout, cache)
show.table(["weight", "real slope", "straight through"],
           [[w, m, t] for w, m, t in zip(
               weight.ravel(), measured.ravel(), through.ravel())])
assert np.allclose(np.abs(measured), np.abs(measured[0, 0]), rtol=1e-4)
assert not np.allclose(np.abs(through), np.abs(through[0, 0]), rtol=0.1)

# %% [markdown]
# **One scale for all tokens.** If the largest activation of the whole batch set the scale, the code of every token
# would depend on all others, also on later ones: a leak of the future through a rounding. Change the last token only:

# %%
def one_scale(inp):
    top = np.abs(inp).max()
    return np.round(inp * 127 / top) * top / 127


def own_scale(inp):
    codes, scale = ops.quantize_activations(inp)
    return codes * scale


sequence = rng.standard_normal((6, 32))
changed = sequence.copy()
changed[-1] *= 5
for name, rounding in (("one", one_scale), ("own", own_scale)):
    moved = np.abs(rounding(changed) - rounding(sequence))[:-1].max()
    print(f"{name} scale: earlier tokens move by {moved:.4f}")
    assert (moved > 1e-3) == (name == "one")

# %% [markdown]
# ## Two further questions
#
# 1. The straight-through slope is not the gradient of the loss. Why does it go downhill at all, and for which
#    roundings is that proved? (Yin et al. 2019, arXiv:1903.05662)
# 2. Absmean computes the scale from the weights. It could be a parameter with a gradient of its own. Which one, and
#    does it help? (Esser et al. 2019, arXiv:1902.08153; for ternary weights Zhu et al. 2016, arXiv:1612.01064)
