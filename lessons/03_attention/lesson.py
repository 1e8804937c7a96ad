# %% [markdown]
# # 3. Attention, and the future it must not see
#
# At the end of this lesson you have masked attention, forward and backward, and pictures of it: triangles, because
# no position may look ahead. You also have a detector that finds out from outside whether a layer reads the future.
# Every layer of tinylm must pass it.
#
# Lesson 1 predicted a character from the one before. More memory by counting needs a table for each combination of
# characters that ever occurred. Attention is another way: every position asks a question, and gets a mixture of what
# stood at earlier positions, weighted by how well they answer.

# %%
import numpy as np

from tinylm import ops
from tinylm.audit import gradients
from tinylm.classroom import show

text = "the hen and the hare"
symbols = sorted(set(text))
T = len(text)
one_hot = np.array([[float(s == c) for s in symbols] for c in text])

score = 6 * one_hot @ one_hot.T                 # (T, T): alike or not
score = np.where(np.tri(T, dtype=bool), score, -np.inf)
exp = np.exp(score - score.max(1, keepdims=True))
prob = exp / exp.sum(1, keepdims=True)
show.heatmap("same-letter", prob, rows=text, columns=text,
             unit="attention", down="query", across="key")

# %% [markdown]
# Read a row: "I am this letter; where did I stand before?" This head was made by hand, of questions and answers that
# are simply the letters themselves. A trained one finds its own questions.
#
# ## The formula
#
# Each position t has a **query** `q[t]`, a **key** `k[t]` and a **value** `v[t]`, vectors of D numbers.
#
#     score[t, s] = q[t] . k[s] / sqrt(D)      how well key s answers query t
#     prob[t]     = softmax over s <= t of score[t]
#     out[t]      = sum over s of prob[t, s] v[s]
#
# (Vaswani et al. 2017, arXiv:1706.03762, equation 1.) The division by `sqrt(D)` keeps the scores of random vectors
# at size 1: a sum of D products of random numbers has the size `sqrt(D)`, and a softmax of large scores is nearly
# 0 or 1, where it has no slope left.

# %%
rng = np.random.default_rng(0)
rows = []
for D in (4, 64, 1024):
    q, k = rng.standard_normal((2, 2000, D))
    raw = (q * k).sum(1)
    rows.append([D, raw.std(), (raw / np.sqrt(D)).std()])
show.table(["D", "spread of q . k", "of q . k / sqrt(D)"], rows)
assert all(0.9 < scaled < 1.1 for _, _, scaled in rows)

# %% [markdown]
# ## The mask
#
# The model learns by predicting the next symbol at **every** position of a text at once. Position t has the task
# "what is symbol t + 1?", and symbol t + 1 is right there, in the next row of the input. So nothing that is computed
# for position t may depend on a later one. For attention that means: scores above the diagonal become minus infinity,
# whose exponential is 0.

# %%
def attention(query, keys, value, mask=None):
    """One head, (T, D) each; returns out (T, D) and prob (T, T)."""
    T, D = query.shape
    mask = np.tri(T, dtype=bool) if mask is None else mask
    score = np.where(mask, query @ keys.T / np.sqrt(D), -np.inf)
    exp = np.exp(score - score.max(axis=1, keepdims=True))
    prob = exp / exp.sum(axis=1, keepdims=True)
    return prob @ value, prob


T, D = 12, 8
query, keys, value = rng.standard_normal((3, T, D))
out, prob = attention(query, keys, value)
show.heatmap("triangle", prob, unit="attention", down="query",
             across="key", top=1.0)
assert np.allclose(prob.sum(1), 1) and not np.triu(prob, 1).any()
assert np.allclose(out[0], value[0]), "the first can only see itself"

# %% [markdown]
# The library computes many heads and a whole batch together. For one head it must give the same.

# %%
side_by_side = np.concatenate([query, keys, value], axis=1)[None]
theirs, cache = ops.attention_forward(side_by_side, heads=1)
print("largest difference:", np.abs(theirs[0] - out).max())
assert np.allclose(theirs[0], out)

# %% [markdown]
# ## Backwards
#
# The forward pass has three lines, so the backward pass has three steps, in reverse:
#
# 1. `out = prob value` is a linear map in both factors: `dvalue = prob^T dout`, `dprob = dout value^T`.
# 2. `prob = softmax(score)`, row by row.
# 3. `score = query keys^T / sqrt(D)` is a product again: `dquery = dscore keys / sqrt(D)`,
#    `dkeys = dscore^T query / sqrt(D)`.
#
# The softmax is the new part. If `score[j]` rises, `prob[j]` rises and all others fall, because they share one sum:
#
#     d prob[i] / d score[j] = prob[i] ((1 if i = j else 0) − prob[j])
#
# Exercise 3.1 turns this T × T table into one line without the table. What must come out has two properties that
# need no formula: each row sums to zero (raising all scores changes nothing), and where `prob` is 0, behind the
# mask, so is the gradient. That is why no backward line ever mentions the mask.

# %%
dout = rng.standard_normal(theirs.shape)
(dinp,) = ops.attention_backward(dout, cache)
report = gradients.operation(
    lambda inp: ops.attention_forward(inp, 1), ops.attention_backward,
    {"inp": side_by_side}, rng)
print(f"error / tolerance of the library's backward pass: "
      f"{report.worst_tensor.worst:.2g}")
assert report.ok

# %% [markdown]
# ## Where information flows
#
# Slopes say who depends on whom: if `d out[t] / d inp[s]` is zero, the output at t does not use the input at s. So
# the backward pass, fed with a slope at one output only, shows what that output has seen. Do it for every t, and
# the picture is the map of information flow. For honest attention it is a triangle.

# %%
def flow(forward, backward, inp):
    """size[t, s]: how strongly out[t] depends on inp[s], (T, T)."""
    out, cache = forward(inp)
    size = np.zeros((out.shape[1], inp.shape[1]))
    for t in range(out.shape[1]):
        dout = np.zeros_like(out)
        dout[0, t] = rng.standard_normal(out.shape[2])
        (dinp,) = backward(dout, cache)
        size[t] = np.abs(dinp[0]).sum(1)
    return size


size = flow(lambda inp: ops.attention_forward(inp, 2),
            ops.attention_backward, side_by_side[:, :, :12])
show.heatmap("flow", size / size.max(), unit="relative slope",
             down="output position", across="input position")
assert not np.triu(size, 1).any(), "to the bit: nothing comes from later"
assert (np.diag(size) > 0).all()

# %% [markdown]
# ## Five mixers
#
# Whatever moves information between positions is a **mixer**; attention is one of many. Here are five, some of them
# found in real projects. Which of them may be used in a language model?

# %%
def over_channels(x):
    return (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)


def over_time(x):
    return (x - x.mean(0)) / x.std(0)


def flipped(x):
    """Attention; the triangle is right for scores laid out [key, query]."""
    return attention(x, x, x, mask=np.tri(len(x), dtype=bool).T)[0]


def chunk_mean(x, size=4):
    parts = [x[i:i + size] for i in range(0, len(x), size)]
    return np.concatenate([p.mean(0) + 0 * p for p in parts])


def running_mean(x):
    return x.cumsum(0) / np.arange(1, len(x) + 1)[:, None]


MIXERS = [over_channels, over_time, flipped, chunk_mean, running_mean]

# %% [markdown]
# All five run, all five can be differentiated, and none prints a warning. Reading their code is one way to find the
# leaks; it has been tried by the people who wrote them. The better way looks from outside: **exchange the suffix**.
# Change everything from some position on. What comes out before that position must not move.

# %%
x = rng.standard_normal((12, 4))
cut = 6
other = x.copy()
other[cut:] = rng.standard_normal(other[cut:].shape)
moved = {m.__name__: np.abs(m(other) - m(x)).max(1) for m in MIXERS}
show.heatmap("suffix-swap", np.array(list(moved.values())), top=1.0,
             rows=list(moved), unit="movement of the output",
             down="mixer", across="position; inputs change from 6 on")
show.table(["mixer", "moves before the cut"],
           [[name, bool(m[:cut].any())] for name, m in moved.items()])
honest = [name for name, m in moved.items() if not m[:cut].any()]
assert honest == ["over_channels", "running_mean"]

# %% [markdown]
# Everything left of the cut should be blank. `over_time` and `flipped` move everywhere, `chunk_mean` only inside the
# chunk that holds the cut, here positions 4 and 5. With the cut at 4 or 8 it would have looked honest:

# %%
def moves_before(mixer, cut):
    other = x.copy()
    other[cut:] = rng.standard_normal(other[cut:].shape)
    return bool(np.abs(mixer(other) - mixer(x))[:cut].max() > 1e-12)


found = {cut: moves_before(chunk_mean, cut) for cut in range(1, 12)}
print("chunk_mean leaks at cuts", [cut for cut in found if found[cut]])
assert not found[4] and not found[8] and found[5] and found[6]

# %% [markdown]
# So one cut is not enough, and neither is one length: try them all when the layer is small. The detector you write
# in exercise 3.3 says for each position whether it leaks. `tinylm audit` does the same to whole models, layer by
# layer, names the first that leaks, and asks the backward pass as well.
#
# ## Why it matters
#
# A model that reads the future gets a wonderful loss. It copies the answer. And it cannot write, since when it
# generates there is no future to copy from. Here in its smallest form: the next symbol is to be predicted, by a model
# without any parameter. It averages the one-hot vectors of what it sees, and adds a little of everything.

# %%
V, T = 16, 400
tokens = rng.integers(0, V, T + 1)              # uniform: nobody can guess
rows = np.eye(V)[tokens[:-1]]


def loss(mixer):
    guess = 0.98 * mixer(rows) + 0.02 / V       # a distribution over V
    return -np.log(guess[np.arange(T), tokens[1:]]).mean()


def next_one(x):
    return np.concatenate([x[1:], np.full((1, V), 1 / V)])


found = {"nothing (1 / V)": loss(lambda x: np.full_like(x, 1 / V)),
         "running mean": loss(running_mean),
         "chunk mean": loss(chunk_mean),
         "the next one": loss(next_one)}
show.bars("impossible", found, unit="nats/token on random tokens")
print(f"ln V = {np.log(V):.4f}: below it lies only the future")
assert found["running mean"] > np.log(V) > found["chunk mean"]
assert found["the next one"] < 0.1

# %% [markdown]
# The tokens are uniform random numbers. The best possible loss is ln V, and every number below it is proof of a
# leak. No knowledge of the model is needed for that proof. Lesson 11 is about real models that failed it.
#
# ## Exercises
#
# `make check-3` makes `work/03_attention.py`.
#
# - **3.1 `softmax_backward`**: from probabilities back to scores.
# - **3.2 `attention_backward`**: one head, backwards; it uses 3.1.
# - **3.3 `leaks`**: a mixer is handed to you as a function you can call and not read. Where does it leak? The check has
#   fourteen of them.
#
# `make hint-3` gives a hint, one at a time.
#
# ## What would fool you here
#
# **A test at T = 1, or with equal inputs.** With one position there is no future, and with equal inputs an exchange
# changes nothing. A test of causality must itself be shown to fail.

# %%
def looks_honest(mixer, x, other, cut):
    return np.allclose(mixer(x)[:cut], mixer(other)[:cut])


same = np.ones((8, 4))
shifted = same.copy()
shifted[4:] += 1e-9                             # "changed" the suffix
print("next_one, with inputs that hardly differ:",
      looks_honest(lambda x: np.roll(x, -1, 0), same, shifted, 4))
assert looks_honest(lambda x: np.roll(x, -1, 0), same, shifted, 4)
assert not looks_honest(lambda x: np.roll(x, -1, 0), x, other, cut)

# %% [markdown]
# More that fools people:
#
# - **A good loss.** See above: it may be the best sign of a leak.
# - **A mask that is right for the other layout.** `score[query, key]` wants the lower triangle, `score[key, query]`
#   the upper one. Both run without complaint.
# - **Leaks that are no mask.** A norm over time, a mean over a chunk, statistics of a batch that holds pieces of one
#   text: no triangle shows them.
# - **A leak in training only**, for example a mask that is lost whenever dropout is on: test the layer in the mode
#   in which it trains.
#
# ## Two further questions
#
# 1. The softmax can be computed over keys in blocks, without ever holding the T × T scores, if a running maximum and
#    sum are kept. How must they be corrected when a block brings a larger maximum? (Milakov and Gimelshein 2018,
#    arXiv:1805.02867; Dao, Fu, Ermon, Rudra and Ré 2022, arXiv:2205.14135)
# 2. Take the weights of a head as a picture of what a model "looks at": when is that justified, and when not? (Jain and
#    Wallace 2019, arXiv:1902.10186; Wiegreffe and Pinter 2019, arXiv:1908.04626)
