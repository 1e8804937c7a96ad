# %% [markdown]
# # 6. Writing text
#
# At the end of this lesson you know how a list of scores becomes a text: temperature, top-p, a random number. You can
# see for each character how sure the model was. And you have a key-value cache, which makes the next character cost
# the same at the end of a text as at its beginning, nearly.
#
# First a model to write with: the shape of `gpt-tiny`, trained as in lesson 4, with kernels as in lesson 5. On a
# machine that has not compiled them yet this takes a minute longer; `tinylm warmup` does it beforehand and says what
# it does.

# %%
import math
import time

import numpy as np
from matplotlib import cm

from tinylm import config, kernels, models, ops
from tinylm.classroom import show
from tinylm.generate import sampling
from tinylm.generate.sampling import Options
from tinylm.generate.stream import Reader, stream
from tinylm.layers import Parameters, Pass, Tape
from tinylm.text import batches, dataset
from tinylm.train.schedule import Plan, learning_rate

data = dataset.prepare("stories", size=2000)
tok, V = data.tokenizer, data.tokenizer.vocab_size
shape = config.load_preset("gpt-tiny")["model"] | {"vocab": V}
model = models.build(shape.pop("family"), shape)
params = Parameters(model.parameters())
params.initialise(seed=0)


def write(options, prompt="One day ", seed=0, length=160, how=kernels):
    """The steps of a text: each knows its piece and its probability."""
    return list(stream(model, params, how, tok, tok.encode(prompt), options,
                       seed=seed, max_tokens=length))


def text_of(steps):
    return "".join(s.text_piece for s in steps)


show.write("untrained:", text_of(write(Options(), length=60)))

# %%
STEPS = show.choose(900, full=8000, brief=80)
recipe = config.Recipe(steps=STEPS, lr=6e-3, min_lr=6e-4)
plan = Plan.of(STEPS, warmup=10)
grads, first, second = params.like(), params.like(), params.like()
B, T, curve = 12, model.config.context, []
dlosses = np.full(B * T, 1 / (B * T), np.float32)
for step in range(1, STEPS + 1):
    inputs, targets = batches.batch(data.train, 0, step, B, T)
    grads.flat[:] = 0
    run = Pass(f=kernels, p=params, g=grads, tape=Tape())
    losses = model.forward(inputs, targets, run)
    model.backward(dlosses, run)
    kernels.adamw_step(
        params.flat, grads.flat, first.flat, second.flat, step=step,
        lr=learning_rate(recipe, plan, step), beta2=0.99,
        scale=kernels.clip_scale(kernels.global_norm(grads.flat), 1.0))
    curve.append(float(losses.mean()))
print(f"{curve[0]:.3f} -> {np.mean(curve[-20:]):.3f} nats/token")
assert abs(curve[0] - math.log(V)) < 0.1, "at first it knows nothing"
assert np.mean(curve[-20:]) < curve[0] - 0.8
show.write(text_of(write(Options(temperature=0.8))))

# %% [markdown]
# ## From scores to probabilities
#
# The model gives a score (a **logit**) for each of V symbols. The softmax makes probabilities of them, and a
# **temperature** in front of it makes them bolder or safer:
#
#     prob = softmax(logits / temperature)
#
# (Ackley, Hinton and Sejnowski 1985, Cognitive Science 9, section 2.) At 1 they are the model's own. Towards 0 all of
# it goes to the highest score; towards infinity every symbol becomes equally likely. The **entropy** says it in one
# number: how many bits of surprise there are on average.

# %%
def logits_after(prompt):
    tokens = tok.encode(prompt)[None].astype(np.int32)
    return model.logits(tokens, Pass(f=kernels, p=params))[0, -1]


def entropy(prob):
    prob = prob[prob > 0]
    return float(-(prob * np.log2(prob)).sum())


temperatures = np.geomspace(1e-4, 100, 31)
curves = {}
for prompt in ("One day ", "One day the li"):
    logits = logits_after(prompt).astype(float)
    curves[repr(prompt)] = [entropy(sampling.softmax(
        sampling.temper(logits, t))) for t in temperatures]
show.lines("temperature",
           {p: (np.log10(temperatures), c) for p, c in curves.items()},
           x="log10(temperature)", y="entropy, bits",
           level=(math.log2(V), "log2 V"))
for bits in curves.values():
    assert bits[0] < 0.2 and math.log2(V) - bits[-1] < 0.2
    assert (np.diff(bits) > -1e-9).all(), "warmer is never surer"

# %% [markdown]
# Two limits, and both are exact. As the temperature goes to 0 the choice is the `argmax`. Computed carelessly this
# limit crashes: dividing by 0, or by something so small that the scores become infinite. The cure is to subtract the
# highest score first. It becomes 0, and stays 0 whatever it is divided by.

# %%
for t in (1e-3, 1e-30, 1e-300):
    prob = sampling.softmax(sampling.temper(logits, t))
    assert prob.argmax() == logits.argmax() and prob.max() == 1
greedy = sampling.choose(logits, Options(temperature=0), uniform=0.7)
print("after 'One day the li', the likeliest:", repr(tok.decode([greedy])))
assert greedy == logits.argmax()

# %% [markdown]
# ## What is left out
#
# Each symbol of the tail is unlikely, but there are many of them: together they are drawn every few words, and one
# wrong letter spoils the word. So one cuts the tail off.
#
# - **top-k** keeps the k likeliest (Fan, Lewis and Dauphin 2018, arXiv:1805.04833, section 5.4).
# - **top-p** keeps the fewest that together reach probability p (Holtzman et al. 2019, arXiv:1904.09751, section 3.1).
# - **min-p** keeps those at least p times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082, section
#   3).
#
# Top-k keeps the same number whether the model is sure or not. Top-p does not: where one letter must follow it keeps
# one, where a word begins it keeps many. Here is the size of its set, through a text.

# %%
story = tok.decode(data.val[:300]).split(".")[0][:60]
tokens = tok.encode(story)
run = Pass(f=kernels, p=params)
scores = model.logits(tokens[None].astype(np.int32), run)[0].astype(float)
sizes = [int(np.isfinite(sampling.top_p(s, 0.9)).sum()) for s in scores]
print("text:     ", story)
print("how many:  ", " " + "".join(str(min(n, 9)) for n in sizes[:-1]))
for s in scores:
    prob, kept = sampling.softmax(s), np.isfinite(sampling.top_p(s, 0.9))
    assert prob[kept].sum() >= 0.9, "it reaches p"
    assert prob[kept].sum() - prob[kept].min() < 0.9, "and is minimal"
    assert prob[~kept].max(initial=0) <= prob[kept].min()
show.bars("set-sizes", {f"{low} to {high}": float(np.mean(
    [low <= n <= high for n in sizes])) for low, high in
    [(1, 1), (2, 3), (4, 7), (8, 15), (16, V)]},
    unit="share of positions whose set has so many symbols")

# %% [markdown]
# The digit below a symbol says how many symbols could have stood there, had top-p chosen: 9 means nine or more. You
# write this function in exercise 6.1.
#
# ## A random number decides
#
# Add up what is kept, symbol by symbol, throw a number between 0 and 1, take the first symbol at which the sum exceeds
# it (lesson 1). In tinylm the number is a pure function of (seed, sample, position). So a text can be written again,
# and a sample shown to others.

# %%
again = [text_of(write(Options(temperature=0.8), seed=s, length=60))
         for s in (0, 0, 1)]
assert again[0] == again[1] != again[2]
uniforms = sampling.Uniforms(seed=0)
prob = sampling.distribution(logits, Options(top_p=0.9))
drawn = np.bincount([sampling.draw(prob, uniforms[i]) for i in range(5000)],
                    minlength=V) / 5000
gap = np.abs(drawn - prob).max()
print(f"drawn and believed differ by at most {gap:.3f}")
assert gap < 0.04
assert (drawn[prob == 0] == 0).all(), "what is left out never comes"

# %% [markdown]
# ## How sure was it?
#
# Every step of `stream` carries the probability that the model gave to what it wrote. Below the text: 9 for 0.9 and
# more, 0 for less than 0.1. The figure shows the same in colour, and `tinylm generate --probabilities` colours a text
# in the terminal.

# %%
def digits(steps, width=72):
    """The text, and a row of digits below each line."""
    shown = text_of(steps).replace("\n", " ")
    sure = "".join(str(min(9, int(10 * s.probability)))
                   for s in steps if s.text_piece)
    for at in range(0, len(shown), width):
        print(shown[at:at + width])
        print(sure[at:at + width])


steps = write(Options(temperature=0.8, top_p=0.95), seed=3, length=216)
digits(steps)
letters = [s for s in steps if s.text_piece]
assert len(text_of(steps)) == len(letters), "one digit a character"
assert all(0 < s.probability <= 1 for s in steps)

# %%
figure, axes = show.blank((8.0, 2.6))
colours, columns = cm.cividis, 54
for i, s in enumerate(letters):
    row, column = divmod(i, columns)
    dark = s.probability < 0.55
    axes.text(column, -row, s.text_piece.replace("\n", "↵"),
              family="monospace", fontsize=10, ha="center", va="center",
              color="white" if dark else "black", bbox={
                  "facecolor": colours(s.probability), "pad": 1.5,
                  "edgecolor": "none"})
axes.set_xlim(-1, columns)
axes.set_ylim(-math.ceil(len(letters) / columns) + 0.4, 0.6)
axes.set_axis_off()
figure.colorbar(cm.ScalarMappable(cmap="cividis"), ax=axes,
                label="probability")
show.figure("coloured-text", figure)
begins = [b.probability for a, b in zip(letters, letters[1:])
          if a.text_piece == " "]
inside = [b.probability for a, b in zip(letters, letters[1:])
          if a.text_piece.isalpha() and b.text_piece.isalpha()]
print(f"mean probability: first letters of words {np.mean(begins):.2f}, "
      f"later letters {np.mean(inside):.2f}")
if show.size() != "brief":
    assert np.mean(begins) < np.mean(inside)

# %% [markdown]
# The doubt sits where words begin. There the story is decided; afterwards there is only spelling.
#
# ## Too cold, too hot
#
# Cold text repeats itself, hot text falls apart. Two numbers, over fixed seeds: the share of different four-letter
# pieces among all of them (**distinct-4**), and the share of words that occur in the training text.

# %%
known = set(tok.decode(data.train[:300_000]).split())
settings = [0.0, 0.3, 0.6, 0.9, 1.2, 1.6]
distinct, exist = [], []
for t in settings:
    texts = [text_of(write(Options(temperature=t), seed=s))
             for s in range(show.choose(4, brief=2))]
    joined = "\n".join(texts)
    pieces = [joined[i:i + 4] for i in range(len(joined) - 3)]
    distinct.append(len(set(pieces)) / len(pieces))
    words = joined.split()
    exist.append(np.mean([w in known for w in words]))
show.lines("temperature-trade", {"distinct-4": (settings, distinct),
                                 "words that exist": (settings, exist)},
           x="temperature", y="share")
assert distinct[0] < distinct[-1]
if show.size() != "brief":
    assert exist[-1] < max(exist[:4])

# %% [markdown]
# ## The cache
#
# To choose the next symbol the model needs the output at the last position. That attends to keys and values of all
# earlier positions, and those do not change any more: no position sees a later one (lesson 3). So keep them. Reading
# one more token then costs one position: its query against all kept keys, its key and value appended (exercise 6.3).
#
# Two ways to the same scores. They must agree, at every position, in every split of the text into pieces:

# %%
tokens = np.asarray(data.val[:T], np.int32)[None]
for f, dtype, limit in ((ops, np.float64, 1e-10),
                        (kernels, np.float32, 1e-3)):
    wide = Parameters(model.parameters(), dtype)
    wide.flat[:] = params.flat
    run = Pass(f=f, p=wide)
    uncached = model.logits(tokens, run)
    worst = 0.0
    for pieces in ([T], [1] * T, [10, 1, 1, 20, T - 32]):
        state, at, cached = model.start(1, dtype=dtype), 0, []
        for size in pieces:
            cached.append(model.extend(tokens[:, at:at + size], state, run))
            at += size
        gap = np.abs(np.concatenate(cached, axis=1) - uncached).max()
        worst = max(worst, float(gap))
    print(f"{f.__name__}: cached and uncached differ by {worst:.1e}")
    assert worst < limit * max(1, np.abs(uncached).max())

# %% [markdown]
# ## What it costs
#
# Without a cache a token at position t costs a forward pass over t tokens; with it, one position and t dot products.
# The price is memory, which grows with the text: for each token a key and a value of C numbers in every block.
#
#     bytes = 2 * L * C * 4 * length * texts
#
# A model with a longer context (its weights do not matter here):

# %%
LONG = show.choose(512, full=1024, brief=64)
long = models.build("gpt", shape | {"context": LONG})
weights = Parameters(long.parameters())
weights.initialise(seed=0)
run = Pass(f=kernels, p=weights)
some = np.zeros((1, LONG), np.int32)


def best_of(times, call, *args):
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        call(*args)
        spent.append(time.perf_counter() - start)
    return min(spent)


def one_more(length):
    state.length = length - 1           # the last token, again and again
    long.extend(some[:, :1], state, run)


lengths = [n for n in (16, 32, 64, 128, 256, 512, 1024) if n <= LONG]
state = long.start(1)
long.extend(some, state, run)
speed = {"cached": [], "uncached": []}
for n in lengths:
    speed["cached"].append(1 / best_of(20, one_more, n))
    speed["uncached"].append(1 / best_of(4, long.logits, some[:, :n], run))
show.lines("tokens-per-second", {
    name: (np.log2(lengths), np.log10(s)) for name, s in speed.items()},
    x="log2(length of the text)", y="log10(tokens/s)")

# %%
def cache_bytes(length):
    state = long.start(1, capacity=length)
    return sum(k.nbytes + v.nbytes for k, v in state.past)


c = long.config
size = [cache_bytes(n) for n in lengths]
assert size == [2 * c.layers * c.channels * 4 * n for n in lengths]
show.table(["length", "cached, tokens/s", "uncached, tokens/s",
            "cache, bytes"],
           list(zip(lengths, speed["cached"], speed["uncached"], size)))
show.lines("cache-memory", {"cache": (lengths, np.array(size) / 1024)},
           x="tokens in the text", y="KiB",
           level=(weights.flat.nbytes / 1024, "weights"))

# %% [markdown]
# The uncached speed falls with the length. The cached one hardly moves as long as the matrices weigh more than the
# attention. But the line of memory does not end, and it is there for each text that is written at the same time.
# Lesson 8 has a model whose memory does not grow.
#
# ## When the window is full
#
# This model has learned T positions and knows no position T + 1. `Reader` lets the window slide: it forgets the first
# half, reads the second half again from position 0, and goes on. So a text has no longest length, but the model has a
# shortest memory: half a window.

# %%
reader = Reader(model, params, kernels, batch=1)
filled = []
for token in data.val[:3 * T]:
    reader.read(np.array([[token]], np.int32))
    filled.append(reader.state.length)
show.lines("sliding-window", {"in the cache": (np.arange(3 * T), filled)},
           x="tokens read", y="tokens", height=8)
assert max(filled) == T and min(filled[T:]) >= T // 2

# %% [markdown]
# ## Exercises
#
# `make check-6` makes `work/06_writing.py`.
#
# - **6.1 `nucleus`**: which tokens does top-p keep? The set must reach p, and must be minimal.
# - **6.2 `choose`**: from scores to a token; at temperature 0, near 0 and above.
# - **6.3 `read_one`**: attention that reads one token more; it must give what attention over the whole text gives.
#
# `make hint-6` gives a hint, one at a time.
#
# ## What would fool you here
#
# **The model's own opinion of its text.** How good is a text? One could ask the model: the mean surprise, which lesson
# 1 used for held-out text. Then the best text is the one it finds least surprising, and that is a loop.

# %%
def surprise(prompt, text):
    """Nats a token of `text` after `prompt`, in the model's opinion."""
    tokens = tok.encode(prompt + text)[:T + 1][None].astype(np.int32)
    run = Pass(f=kernels, p=params)
    losses = model.forward(tokens[:, :-1], tokens[:, 1:], run)
    return float(losses[len(prompt) - 1:].mean())


texts = {"a held-out story": tok.decode(data.val[8:8 + T]),
         "temperature 1": text_of(write(Options(), length=T)),
         "temperature 0": text_of(write(Options(temperature=0), length=T))}
for name, text in texts.items():
    show.write(f"{name}: {text.strip()[:60]!r}")
found = {name: surprise("One day ", text) for name, text in texts.items()}
show.bars("own-opinion", found, unit="nats/token, by the model itself")
assert found["temperature 0"] == min(found.values())

# %% [markdown]
# Real text is surprising now and then; that is why one reads it (Holtzman et al. 2019, arXiv:1904.09751, figure 2). A
# low surprise of a model's own text says that it was written cold, and nothing about quality.
#
# Second trap: **a cache that is one off.** Take back one position, as after a bug in the bookkeeping. Nothing crashes,
# all probabilities sum to one, and the text still looks like text.

# %%
run = Pass(f=kernels, p=params)
right, off = model.start(1), model.start(1)
for state_ in (right, off):
    model.extend(tokens[:, :20], state_, run)
off.length -= 1                          # the next token overwrites one
after = [sampling.softmax(model.extend(tokens[:, 20:21], s, run)[0, -1])
         for s in (right, off)]
print("sums:", [f"{p.sum():.6f}" for p in after],
      f"largest difference: {np.abs(after[0] - after[1]).max():.3f}")
assert all(abs(p.sum() - 1) < 1e-6 for p in after)
assert np.abs(after[0] - after[1]).max() > 1e-4

# %% [markdown]
# Only the comparison with the uncached scores finds it. So that comparison is a test, and not a matter of reading
# samples.
#
# More that fools people:
#
# - **The best of twenty samples.** Fix prompts and seeds before you look, and show all of them.
# - **"Temperature 0 is reproducible."** On one machine with the same code, yes. Two nearly equal scores may change
#   places when a sum is computed in another order.
# - **tokens/s without a length.** Of which text, with how many texts side by side, prompt included or not?
# - **Top-p of a filtered list.** The order of the filters matters: temperature first, or after? Say which.
#
# ## Two further questions
#
# 1. Heads can share their keys and values. By how much does the cache shrink, and what does it cost in loss? (Shazeer
#    2019, arXiv:1911.02150; Ainslie et al. 2023, arXiv:2305.13245)
# 2. A small model can write ahead and a large one check many tokens at once. How must they be combined so that the
#    text has exactly the distribution of the large one? (Leviathan, Kalman and Matias 2022, arXiv:2211.17192,
#    algorithm 1)
