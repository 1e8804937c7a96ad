# %% [markdown]
# # 11. The model that read the future
#
# At the end of this lesson you have two detectors, and a museum of real models that they catch. Each of them
# was trained, measured and published by people who knew what they did. Each had a wonderful loss. And each
# had, somewhere, a line through which a position could see what it was asked to predict.
#
# We begin with the most beautiful piece. FlashLM v5, "Thunderbolt", is the model of lesson 10, and it was
# announced with a validation perplexity of 1.36. Here is its block, in miniature, with its head norm exactly as
# it was published. It shall predict **uniform random tokens**: a fair die with 16 sides.

# %%
import math

import numba
import numpy as np
from given import HONEST, LEAKY, PUBLISHED

from tinylm import kernels, models
from tinylm.audit import causality, floor, gradients
from tinylm.classroom import show
from tinylm.layers import Parameters, Pass, Tape
from tinylm.ops.random import generator
from tinylm.text import stories
from tinylm.text.batches import batch, windows
from tinylm.text.tokenizer import char_tokenizer

numba.set_num_threads(1)     # these models are too small to be shared out


class Replaced:
    """The operations f, some of them replaced."""

    def __init__(self, f, new):
        self.f, self.new = f, new

    def __getattr__(self, name):
        return self.new[name] if name in self.new else getattr(self.f, name)


published = Replaced(kernels, PUBLISHED)

# %%
def train(model, f, batch_of, steps, rate=1e-2):
    """Parameters and the loss of each step; batch_of(step) gives texts."""
    params = Parameters(model.parameters())
    params.initialise(0)
    grads, first, second = params.like(), params.like(), params.like()
    curve = []
    for step in range(1, steps + 1):
        inputs, targets = batch_of(step)
        grads.flat[...] = 0
        run = Pass(f, params, grads, Tape())
        losses = model.forward(inputs, targets, run)
        slope = np.full(losses.size, 1 / losses.size, np.float32)
        model.backward(slope, run)
        f.adamw_step(params.flat, grads.flat, first.flat, second.flat,
                     step=step, lr=rate * (1 - (step - 1) / steps),
                     beta2=0.95,
                     scale=f.clip_scale(f.global_norm(grads.flat), 1.0))
        curve.append(float(losses.mean()))
    return params, curve


V, T = 16, 8


def die(step, rows=32):
    """Fresh throws for every step: there is nothing to learn by heart."""
    throws = generator(0, "die", step).integers(0, V, (rows, T + 1))
    throws = throws.astype(np.int32)
    return throws[:, :-1], throws[:, 1:]

# %%
small = models.build("thunderbolt", {
    "vocab": V, "context": T, "channels": 64, "layers": 2, "heads": 8,
    "activation_bits": 0})
STEPS = show.choose(500, full=3000, brief=60)
leaking, leak_curve = train(small, published, die, STEPS)
honest, honest_curve = train(small, kernels, die, STEPS)
at = np.arange(1, STEPS + 1)
show.lines("the-die", {"norm as published": (at, leak_curve),
                       "norm per token": (at, honest_curve)},
           x="step", y="nats/token on random tokens",
           level=(math.log(V), "ln V"))


def losses_of(params, f, inputs, targets):
    losses = small.forward(inputs, targets, Pass(f, params))
    return losses.reshape(inputs.shape)                  # (B, T)


fresh = die(0, rows=1000)                                # step 0: unseen
seen = losses_of(leaking, published, *fresh)
fair = losses_of(honest, kernels, *fresh)
show.table(["head norm", "nats/token", "perplexity"],
           [["as published", seen.mean(), math.exp(seen.mean())],
            ["per token", fair.mean(), math.exp(fair.mean())]])
assert abs(fair.mean() - math.log(V)) < 0.02
assert seen.mean() < math.log(V) - (0.1 if STEPS < 100 else 1.5)

# %% [markdown]
# ## Why that is impossible
#
# A die has no memory. Whatever has been thrown so far, each side has the probability 1/V next. Let an honest model
# give them q(1), …, q(V). Its expected loss is
#
#     − sum over v of (1/V) ln q(v)  =  ln V + KL(uniform ‖ q)  ≥  ln V
#
# because a Kullback-Leibler divergence is never negative (Gibbs' inequality). This needs no knowledge of the model. No
# architecture, no training, no size helps. A mean loss of fresh random tokens **below ln V is a proof**, up to the
# chance that a finite sample allows.
#
# The model with the norm per token knows this: it found out that there is nothing to find out, and stays on the
# line. The other one sees its targets.
#
# ## How it sees them
#
# The block normalises each head: subtract the mean, divide by the deviation. The published code handed a tensor of
# shape (batch, channels, time) to a GroupNorm, and a GroupNorm takes its statistics over everything but the batch
# and the groups. So the mean of a head runs **over time**, and every position is told something about all later
# ones. Watch what each position alone gets to know:

# %%
by_position = {"norm as published": (np.arange(T), seen.mean(0)),
               "norm per token": (np.arange(T), fair.mean(0))}
show.lines("by-position", by_position, x="position in the text",
           y="nats/token", level=(math.log(V), "ln V"))
last = seen[:, -1].mean()
print(f"last position: {last:.3f}; the others: {seen[:, :-1].mean():.3f}")
assert last > math.log(V) - 0.1, "nobody tells the last position"
assert seen[:, :-1].mean() < last

# %% [markdown]
# This is its fingerprint. All positions have nearly solved the puzzle, but the last. Its target is not part of the
# input, so nobody can whisper it. There the model is even *worse* than ln V, because it believes in whispers.
#
# It also explains the number. Suppose a model knows every target but the last of T: its mean loss is (ln V) / T, and
# its perplexity `V^(1/T)`:

# %%
all_but_one = V ** (1 / T)
print(f"perplexity of perfect whispers: {all_but_one:.3f}")
print(f"here: {math.exp(seen.mean()):.3f}; announced: 1.36")
assert math.exp(seen.mean()) > all_but_one, "it cannot do better either"
if show.size() != "brief":
    assert math.exp(seen.mean()) < 2.2, "and it comes close"

# %% [markdown]
# The announcement had a second number, "0.44 bits per character". It is log2(1.36): bits per *token*, of a
# tokenizer with several characters a token (lesson 1). The third, "eleven times better than v4", divides two
# perplexities, of which one is not a perplexity of anything.

# %%
print(f"log2(1.36) = {math.log2(1.36):.2f}")
assert round(math.log2(1.36), 2) == 0.44

# %% [markdown]
# ## The same model, writing
#
# When a model writes, there is no future to read. Train the same two on stories, and look at three things: the
# validation loss, the loss at the last position of a window only, and what they write.

# %%
text = "\n".join(t for t, _ in stories.generate(400, seed=1))
held_out = "\n".join(t for t, _ in stories.generate(30, seed=2))
tokenizer = char_tokenizer(text + held_out, end_of_text=False)
ids, val = tokenizer.encode(text), tokenizer.encode(held_out)
WINDOW = 16
writer = models.build("thunderbolt", {
    "vocab": tokenizer.vocab_size, "context": WINDOW, "channels": 64,
    "layers": 2, "heads": 8, "activation_bits": 0})


def write(params, f, length, temperature=0.7):
    """Append one character after the other, from the last WINDOW ones."""
    out = list(tokenizer.encode("Once upon a time"))
    for u in generator(0, "writing").random(length):
        window = np.array([out[-WINDOW:]], np.int32)
        score = writer.logits(window, Pass(f, params))[0, -1] / temperature
        reached = np.exp(score - score.max()).cumsum()
        out.append(int(np.searchsorted(reached, u * reached[-1])))
    return tokenizer.decode(out)


known = set(text.split())
results = {}
for name, f in [("as published", published), ("per token", kernels)]:
    params, _ = train(writer, f, lambda s: batch(ids, 0, s, 32, WINDOW),
                      STEPS)
    losses = np.concatenate([
        writer.forward(x, y, Pass(f, params)).reshape(x.shape)
        for x, y in windows(val, WINDOW, len(val) // WINDOW * WINDOW - 16)])
    results[name] = losses, write(params, f, 600)

# %%
rows = []
for name, (losses, sample) in results.items():
    words = sample.split()[4:-1]
    share = sum(w in known for w in words) / len(words)
    rows.append([name, losses.mean(), losses[:, -1].mean(), share])
    show.write(f"{name}:", " ".join(sample.split())[:300] + " …\n")
show.table(["head norm", "validation, nats/char", "last position only",
            "real words"], rows)
(_, loss, at_end, words), (_, fair_loss, fair_end, fair_words) = rows
if show.size() != "brief":
    assert loss < fair_loss - 0.5, "the leak wins the table by far"
    assert at_end > fair_end + 0.2, "it loses where there is no future"
    assert words < fair_words, "and it cannot write"

# %% [markdown]
# Only the second and third column are about a language model. The validation text was held out as it should be, and
# that did not help: the leak is not from training into validation, but from each target into its own input.
#
# A check that costs nothing follows: **a validation loss by position**. In an honest model it falls, or stays,
# towards
# the end of the window, as there is more to go by. A last position that jumps up is an alarm.
#
# ## The museum
#
# Five ways, all found in public code. Each is reduced to what it does between the positions of a text
# (`given.py`, beside this file).
#
# - **norm over time**: FlashLM v5, as above.
# - **planner summary**: FlashLM v6. The mean over all positions was handed to the next block, as a plan.
# - **flipped triangle**: FlashLM v7.4 to v9.2. Scores were laid out [query, key], and the mask was the one that
#   had been right for [key, query].
# - **bidirectional scan**: CPUFlow v4. A second scan starts at the end.
# - **chunk mean**: karpathy/nanochat#844, where three generated architectures got down to 0.0018 bits/byte by
#   summaries of blocks of 16 or 64 positions, and by a filter over all frequencies that wraps around.
#
# Their neighbours in the picture never leaked: attention, recurrence, token shift, a norm per token, and the mean of
# the chunk *before*. What tells them apart is a **map**: replace one token, and see which positions notice.

# %%
N, MUSEUM = 12, LEAKY | HONEST
rng = np.random.default_rng(0)


def map_of(mixer):
    """moved[t, s]: how far out[t] moves when row s is replaced."""
    x, moved = rng.standard_normal((N, 8)), np.zeros((N, N))
    before = mixer(x)
    for s in range(N):
        other = x.copy()
        other[s] = rng.standard_normal(8)
        moved[:, s] = np.abs(mixer(other) - before).max(1)
    return moved


maps = {name: map_of(mixer) for name, mixer in MUSEUM.items()}
figure, _ = show.blank((9.0, 4.2))
figure.clear()
for i, (name, moved) in enumerate(maps.items()):
    axes = figure.add_subplot(2, 5, i + 1)
    axes.imshow(np.log10(moved + 1e-6), cmap="cividis", vmin=-4, vmax=0.5)
    axes.set_title(name.replace("_", " "), fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
    if i % 5 == 0:
        axes.set_ylabel("output position", fontsize=8)
    if i > 4:
        axes.set_xlabel("replaced position", fontsize=8)
show.figure("museum", figure, "log10 of the movement; upper row: leaks")
ahead = {name: np.triu(moved, 1).max() for name, moved in maps.items()}
assert all(ahead[name] > 1e-6 for name in LEAKY)
assert all(ahead[name] == 0 for name in HONEST)

# %% [markdown]
# In the terminal, three of them. Above the diagonal lies the future.

# %%
for name in ("norm_over_time", "chunk_mean", "chunks_before"):
    print(name)
    for row in maps[name] > 0:
        print("   ", "".join("██" if seen else "· " for seen in row))
assert (maps["chunk_mean"][3] > 0).tolist() == [True] * 4 + [False] * 8

# %% [markdown]
# ## Detector one: exchange the suffix
#
# Lesson 3 had it for a mixer. In a model of many layers a leak moves everything behind it, so the question is which
# layer began: the first **whose input stood still while its output moved**. That is `tinylm.audit.causality`, and
# exercise 11.3. It needs no training, any weights will do, and it names the culprit.

# %%
exact = gradients.randomised(small, rng)                  # float64
rough = gradients.randomised(small, rng, np.float32)
for name, f in [("as published", published), ("per token", kernels)]:
    check = causality.suffix_swap(small, rough, f, rng)
    show.write(f"{name}: {'passes' if check.ok else 'FAILS'}:",
               check.detail)
    assert check.ok == (f is kernels)

# %% [markdown]
# ## Detector two: the floor of random tokens
#
# The suffix swap looks where it looks: at these lengths, in this mode, with these weights. A leak that appears only
# beyond 512 tokens, or only while dropout is on (keras-team/keras#23038), passes it. The second detector does not look
# at all. It **trains**, and training looks for leaks that nobody thought of. If the loss of fresh random tokens falls
# below ln V, there is one.
#
# Here for the whole museum: one linear map learns to read what a mixer gives, together with the token itself. It is
# the smallest model that can use a whisper.

# %%
SIDES = 8
roll = np.random.default_rng(1)


def probed(mixer, rate=4.0):
    """Loss of each unseen token, after training on random ones."""
    steps = show.choose(300, brief=150)
    weight = np.zeros((SIDES, 2 * SIDES))
    for step in range(steps + 1):
        texts = roll.integers(0, SIDES, (256, 9))
        rows, targets = np.eye(SIDES)[texts[:, :-1]], texts[:, 1:]
        rows = np.concatenate([rows, mixer(rows)], axis=-1)
        score = rows @ weight.T
        exp = np.exp(score - score.max(-1, keepdims=True))
        prob = exp / exp.sum(-1, keepdims=True)
        slope = (prob - np.eye(SIDES)[targets]) / targets.size
        if step < steps:                 # the last batch is only judged
            weight -= rate * np.einsum("btv,btc->vc", slope, rows)
    picked = np.take_along_axis(prob, targets[..., None], -1)
    return -np.log(picked)


found = {name: probed(mixer) for name, mixer in MUSEUM.items()}
show.bars("floor", {n.replace("_", " "): losses.mean()
                    for n, losses in found.items()},
          unit="nats/token on random tokens")
print(f"ln {SIDES} = {math.log(SIDES):.4f}")
for name, losses in found.items():
    error = losses.std() / math.sqrt(losses.size)
    below = math.log(SIDES) - losses.mean()
    assert (below > 5 * error) == (name in LEAKY), (name, below, error)

# %% [markdown]
# `tinylm audit MODEL --floor` does it to whole models, with the training loop of the project. On the published
# block, and on ours:

# %%
tiny = models.build("thunderbolt", {
    "vocab": 7, "context": 8, "channels": 12, "layers": 2, "heads": 3})
for f in (published, kernels):
    check = floor.random_tokens(tiny, f, steps=show.choose(300, brief=200))
    show.write("passes:" if check.ok else "FAILS:", check.detail)
    assert check.ok == (f is kernels)

# %% [markdown]
# ## Exercises
#
# `make check-11` makes `work/11_leaks.py`. The checks hand you models as functions, and nothing else.
#
# - **11.1 `reads`**: the map of a model, from its behaviour alone.
# - **11.2 `below_the_floor`**: train on random tokens, and accuse whoever predicts them, but nobody else.
# - **11.3 `first_leak`**: which of many layers is to blame.
#
# `make hint-11` gives a hint, one at a time.
#
# ## What would fool you here
#
# **Random tokens that were seen before.** ln V is the floor for *fresh* ones. An honest model can learn a fixed set of
# random texts by heart, and then be far below it. Here our own, causal to the bit, on one batch again and again:

# %%
params, curve = train(small, kernels, lambda step: die(1), STEPS)
by_heart = losses_of(params, kernels, *die(1)).mean()
unseen = losses_of(params, kernels, *fresh).mean()
print(f"on the texts it was trained on: {by_heart:.3f} nats/token")
print(f"on fresh ones: {unseen:.3f}; ln V = {math.log(V):.3f}")
assert by_heart < math.log(V) - (0.02 if STEPS < 100 else 0.5)
assert unseen > math.log(V) - 0.02, "honest, for all its memory"

# %% [markdown]
# **A right gradient.** The leak is no slip in a derivative. The published norm, with its backward pass, passes every
# gradient check of lesson 2:

# %%
over_time, over_time_back = PUBLISHED.values()
point = {"inp": rng.standard_normal((2, 5, 6)),
         "weight": rng.standard_normal(6), "bias": rng.standard_normal(6)}
report = gradients.operation(
    lambda inp, weight, bias: over_time(inp, 2, weight, bias),
    over_time_back, point, rng)
print("gradient check of the published norm:",
      "passes" if report.ok else "fails")
assert report.ok, "a right gradient of the wrong function"

# %% [markdown]
# More that fools people:
#
# - **A held-out text.** It protects from learning by heart. It does not protect from reading the answer.
# - **A mask that can be outbid.** In karpathy/minGPT#75 the mask was a large negative number, and training drove the
#   scores below it. Detector one, at initialisation, passes such a model; detector two does not.
# - **One cut, at a chunk's edge.** There a chunk's mean looks honest. Several cuts, and lengths that divide nothing.
# - **A sample that reads well.** Pick the best of twenty from a leaking model and it looks like any small model.
# - **A success.** A bug that makes the loss worse is looked for within the hour. One that makes it better is announced.
#
# ## Two further questions
#
# 1. By how much may an honest model be below ln V by luck? Bound the chance that it saves c nats in total over a random
#    text, whatever it does. (Hint: the expected value of q(text) / p(text) is at most 1, and Markov's inequality.
#    Compare `tinylm/train/floor.py`; Grünwald 2007, "The Minimum Description Length Principle", section 3.3)
# 2. A convolution over all positions can be computed with a Fourier transform, and is causal only if its kernel is and
#    the text is padded. Build the spectral leak of nanochat#844, see what its map looks like, and repair it. (Poli et
#    al. 2023, arXiv:2302.10866, section 3.2)
