# %% [markdown]
# # 10. Thunderbolt
#
# At the end of this lesson you have put together a language model without attention and, but for its head, without
# matrix products of floats: the recurrence of lesson 8, the ternary weights of lesson 9, and two small parts that are
# new. You know what it costs, and you have compared it with the GPT of lesson 4 in the only way that means anything.
#
# The design is FlashLM v5 "Thunderbolt" (github.com/changcheng967/FlashLM), with one repair that lesson 11 is about.
# This is it, in the shape that was published.

# %%
import math
import time

import numba
import numpy as np
from given import draw

from tinylm import kernels, models, ops
from tinylm.audit import suite
from tinylm.classroom import show
from tinylm.layers import Parameters, Pass, Tape
from tinylm.models import describe
from tinylm.text import stories
from tinylm.text.batches import batch, windows
from tinylm.text.tokenizer import char_tokenizer

numba.set_num_threads(1)     # these models are too small to be shared out
published = models.build("thunderbolt", {
    "vocab": 8192, "context": 256, "channels": 384, "layers": 18,
    "heads": 8, "hidden": 1152})
count = describe.parameters(published)
show.table(["kind", "parameters", "share"],
           [[kind, count[kind], count[kind] / count["total"]]
            for kind in ("ternary", "float", "total")])
assert (count["ternary"], count["float"]) == (26_542_080, 3_208_704)

# %% [markdown]
# ## The block
#
#     x = x + mixer(shift1(norm1(x)))
#     x = x + down(squared_relu(up(shift2(norm2(x)))))
#
#     mixer(x) = proj(headnorm(o * h))
#     f   = lower + (1 − lower) sigmoid(forget(x) + bias)
#     h_t = f_t h_{t−1} + (1 − f_t) value(x)_t          o = sigmoid(output(x))
#
# The scan is HGRN2's family (Qin et al. 2024, arXiv:2404.07904, section 3). `lower` rises from 0 in the first layer to
# 0.9 in the last (Qin et al. 2023, arXiv:2311.04823, section 3.2): low layers forget within a few tokens, high ones
# remember.
#
# ## New: token shift
#
# Every channel mixes each token with the one before: `x_t s + x_{t−1} (1 − s)`, with a learned share s (Peng et al.
# 2023, arXiv:2305.13048, section 3.1). So each map sees pairs of tokens, for two multiplications a channel.

# %%
x = np.zeros((1, 6, 3))
x[0, 2] = 1                                     # a pulse at position 2
out, _ = ops.token_shift_forward(x, np.array([-2.0, 0.0, 2.0]))
show.heatmap("token-shift", out[0].T, unit="share of the pulse",
             rows=["mix -2", "mix 0", "mix 2"], columns="012345",
             down="channel", across="position")
assert np.allclose(out.sum(1), 1) and not out[0, :2].any()

# %% [markdown]
# ## New: squared ReLU
#
# `max(x, 0)²` (So et al. 2021, arXiv:2109.08668, section 4). Between two ternary maps it is a single product, and it
# makes large values count more and leaves exact zeros: half of the hidden numbers, to begin with.

# %%
inp = np.random.default_rng(0).standard_normal((1000, 64))
hidden, _ = ops.squared_relu_forward(inp)
print(f"exactly zero: {(hidden == 0).mean():.3f} of all")
assert 0.48 < (hidden == 0).mean() < 0.52 and hidden.min() == 0

# %% [markdown]
# ## What it must remember
#
# To go on with a text, a block needs three vectors, however long the text is: what each token shift read last, and h.
# A GPT keeps keys and values of every position.

# %%
ages = np.array([1, 64, 256, 1024, 4096])
C, L, BYTES = 384, 18, 4
recurrent = np.full(len(ages), 3 * C * L * BYTES / 1024)
attention = 2 * C * L * BYTES * ages / 1024
show.lines("memory", {"keys and values": (ages, attention),
                      "Thunderbolt": (ages, recurrent)},
           x="tokens read", y="KiB of state, same width and depth")
assert attention[0] < recurrent[0] and attention[-1] > 1000 * recurrent[-1]

# %% [markdown]
# ## What it costs
#
# "MatMul-free" is a claim about multiplications, so let us count them (`tinylm info`). A ternary product adds and
# subtracts; it multiplies once for each output, to scale it.

# %%
rows = []
for kind, cost in describe.costs(published, 256).items():
    rows.append([kind, cost["multiplications"], cost["additions"]])
show.table(["one token", "multiplications", "additions"], rows)
costs = {row[0]: row[1] for row in rows}
print(f"the float head: {costs['head'] / costs['total']:.0%} of all "
      "multiplications")
assert costs["ternary products"] == 0
assert costs["head"] > 0.5 * costs["total"]

# %% [markdown]
# So the name is right for what it names, and the head is the rest. Say both.
#
# ## Is it right?
#
# Before training comes the audit: every gradient, no look into the future, streamed as at once, and kernels like
# definitions. It is `tinylm audit` and takes seconds.

# %%
small = models.build("thunderbolt", {
    "vocab": 11, "context": 8, "channels": 12, "layers": 2, "heads": 3})
groups = ("gradients", "causality", "streaming", "kernels")
checks = list(suite.model_checks(small, kernels, groups))
show.table(["check", "holds", "worst / tolerance"],
           [[c.name, c.ok, c.worst] for c in checks])
assert all(c.ok for c in checks) and len(checks) > 6

# %% [markdown]
# ## Against the GPT
#
# Three rules for a fair race. **Equal parameters**: the same number, not the same width. **The same text, in
# bits/byte.** And **equal what?** Equal tokens asks who learns more from a text. Equal time asks who learns more from
# an hour. These are two questions, and the winner need not be the same. Every run has several seeds, since one run
# proves nothing.

# %%
text = "\n".join(t for t, _ in stories.generate(600, seed=1))
held_out = "\n".join(t for t, _ in stories.generate(40, seed=2))
tokenizer = char_tokenizer(text + held_out, end_of_text=False)
ids, val = tokenizer.encode(text), tokenizer.encode(held_out)
T, B, V = 48, 8, tokenizer.vocab_size
# Of four rates between 2e-3 and 2e-2, tried once with each model.
FIELD = {
    "gpt": (models.build("gpt", {
        "vocab": V, "context": T, "channels": 64, "layers": 2,
        "heads": 4, "tied_head": True}), 4e-3),
    "thunderbolt": (models.build("thunderbolt", {
        "vocab": V, "context": T, "channels": 70, "layers": 2,
        "heads": 5}), 1e-2)}
sizes = {n: describe.parameters(m)["total"] for n, (m, _) in FIELD.items()}
print(sizes)
assert max(sizes.values()) < 1.05 * min(sizes.values())

# %%
def train(model, steps, rate, seed):
    """(bits/byte of the held-out text, seconds)."""
    f, params = kernels, Parameters(model.parameters())
    params.initialise(seed)
    grads, first, second = params.like(), params.like(), params.like()
    start = time.perf_counter()
    slope = np.full(B * T, 1 / (B * T), np.float32)
    for step in range(1, steps + 1):
        inputs, targets = batch(ids, seed, step, B, T)
        grads.flat[...] = 0
        run = Pass(f, params, grads, Tape())
        model.forward(inputs, targets, run)
        model.backward(slope, run)
        warm = min(1, step / 20) * (1 - (step - 1) / steps)
        f.adamw_step(params.flat, grads.flat, first.flat, second.flat,
                     step=step, lr=rate * warm, beta2=0.95,
                     scale=f.clip_scale(f.global_norm(grads.flat), 1.0))
    seconds = time.perf_counter() - start
    run = Pass(f, params)
    nats = sum(model.forward(x, y, run).sum() for x, y
               in windows(val, T, show.choose(20_000, brief=2_000)))
    judged = min(show.choose(20_000, brief=2_000), len(val) - 1)
    size = tokenizer.token_bytes[val[1:judged + 1]].sum()
    return nats / size / math.log(2), seconds


STEPS = show.choose(300, full=3000, brief=15)
SEEDS = range(show.choose(3, full=5, brief=2))
for model, rate in FIELD.values():
    train(model, 3, rate, 0)                    # what is compiled once
tokens = {name: [train(model, STEPS, rate, seed) for seed in SEEDS]
          for name, (model, rate) in FIELD.items()}
taken = {n: np.median([s for _, s in r]) for n, r in tokens.items()}

# %% [markdown]
# Equal time: the faster one gets as many steps as fit into the time that the slower one took. The clock of your machine
# decides here, and what else it does; so this part of the result is yours, and may differ tomorrow.

# %%
slow = max(taken, key=taken.get)
fast = min(taken, key=taken.get)
more = int(STEPS * taken[slow] / taken[fast])
model, rate = FIELD[fast]
timed = {slow: tokens[slow],
         fast: [train(model, more, rate, seed) for seed in SEEDS]}
rows = []
for what, runs, steps in (("tokens", tokens, {fast: STEPS, slow: STEPS}),
                          ("time", timed, {fast: more, slow: STEPS})):
    for name, found in runs.items():
        bits = [b for b, _ in found]
        rows.append([what, name, steps[name], np.mean(bits),
                     np.std(bits, ddof=1),
                     float(np.median([s for _, s in found]))])
show.table(["equal", "model", "steps", "bits/byte", "spread", "seconds"],
           rows)
show.bars("race", {f"{r[1]}, equal {r[0]}": r[3] for r in rows},
          unit="bits/byte of held-out text, mean over seeds")
assert all(0.3 < r[3] < math.log2(V) + 0.5 for r in rows)

# %%
def verdict(a, b):
    """A difference counts if it is over two standard errors of it."""
    error = math.sqrt((a[4] ** 2 + b[4] ** 2) / len(SEEDS))
    if abs(a[3] - b[3]) < 2 * error:
        return "no difference that these seeds can show"
    better, worse = sorted((a, b), key=lambda r: r[3])
    return (f"{better[1]} is ahead by {worse[3] - better[3]:.3f} ± "
            f"{error:.3f} bits/byte")


for i in (0, 2):
    show.write(f"equal {rows[i][0]}:", verdict(rows[i], rows[i + 1]))
same = verdict(rows[0], [*rows[0][:3], rows[0][3] + 1e-9, *rows[0][4:]])
assert same.startswith("no difference")

# %% [markdown]
# Whoever won: this was a race of a few seconds, over a text of small words, with windows of 48 characters. In a short
# race the model that learns neighbours first is ahead, and token shift and a short memory are made for that. Whether it
# stays ahead is another question. `--full` runs ten times as long.
#
# ## Exercises
#
# `make check-10` makes `work/10_thunderbolt.py`. You may use `tinylm.ops` in it.
#
# - **10.1 `block`**: assemble the block, and what it must remember to go on.
# - **10.2 `footprint`**: decide what stays float, and weigh the rest.
#
# `make hint-10` gives a hint, one at a time.
#
# ## What would fool you here
#
# **One seed.** Here are the same model and the same text, and nothing but the seed differs. Pick the best of one column
# and the worst of the other, and you have a paper.

# %%
for name, found in tokens.items():
    bits = sorted(b for b, _ in found)
    print(f"{name}: from {bits[0]:.3f} to {bits[-1]:.3f} bits/byte")
    assert bits[-1] > bits[0], "seeds matter"

# %% [markdown]
# **A memory that is one vector short.** A block that forgets what its token shift read last is right at every position
# but the first of each piece. Read at once, there is one piece, and no test of training sees it:

# %%
weights = draw(np.random.default_rng(0), 12, 24)
inp = np.random.default_rng(1).standard_normal((1, 8, 12))
whole, _ = ops.token_shift_forward(inp, weights["shift1"])
later, _ = ops.token_shift_forward(inp[:, 4:], weights["shift1"])
wrong = np.abs(later - whole[:, 4:]).max((0, 2))
print("error by position of the second piece:", wrong.round(3))
assert wrong[0] > 0.1 and not wrong[1:].any()

# %% [markdown]
# More that fools people:
#
# - **Equal width instead of equal parameters.** A block of Thunderbolt has fewer parameters than a GPT's of that width.
# - **A rate that was tuned for one of two.** The best rate differs between the two; a comparison at one rate is a
#   comparison of rates.
# - **"MatMul-free"**, without saying what the head costs.
# - **Speed on a busy machine.** Equal time is only fair if nothing else runs.
#
# ## Two further questions
#
# 1. Where should `lower` begin and end? Train with 0, with 0.9 everywhere, and as it is, and look at what single
#    channels forget. (Qin et al. 2023, arXiv:2311.04823, section 4)
# 2. What can attention do that a state of fixed size cannot? Let both copy a word of random letters from far back, and
#    find the length at which each fails. (Jelassi et al. 2024, arXiv:2402.01032)
