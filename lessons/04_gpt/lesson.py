# %% [markdown]
# # 4. The character GPT
#
# At the end of this lesson you have trained a GPT on characters, with the blocks, the optimizer, the schedule and the
# training loop that tinylm ships. You know what each of them is for, you can stop a run and go on as if it had never
# stopped, and you know when two losses may be compared, and when not.
#
# The model is one of a published pair. Somebody trained it twice: a run with 28 symbols reached 1.31, a second one,
# larger and with 110 symbols, 0.72 (github.com/Eamon2009/Transformer-language-model). Both stood in one table. At the
# end of the lesson you will be able to say what is wrong with that.

# %%
import string
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from tinylm import config, models, ops
from tinylm.audit import causality, gradients
from tinylm.classroom import show
from tinylm.generate.sampling import Options
from tinylm.generate.stream import stream
from tinylm.layers import Parameters, Pass, Tape
from tinylm.models import describe
from tinylm.report import compare, record
from tinylm.text import batches, dataset
from tinylm.text.tokenizer import char_tokenizer
from tinylm.train import checkpoint
from tinylm.train.floor import FloorCheck
from tinylm.train.loop import Trainer, TrainingData
from tinylm.train.rundir import RunDir
from tinylm.train.schedule import Plan, learning_rate, warmup_steps

shape = config.load_preset("gpt-run1")["model"]
published = models.build("gpt", {k: v for k, v in shape.items()
                                 if k != "family"})
rows = [[c.name, c.layers, c.parameters]
        for c in describe.components(published, published.config.context)]
total = describe.parameters(published)["total"]
show.table(["part", "how many", "parameters"], rows + [["all", "", total]])
assert total == 815_388, "the number that was published"

# %% [markdown]
# ## The map
#
#     tokens -> embedding -> block -> block -> … -> norm -> head -> logits
#
# A vector of C numbers stands at every position. It is called the **residual stream**. The embedding writes the symbol
# and its position into it, each block reads from it and adds to it, and the head reads off which symbol comes next. A
# block has two branches: **attention** moves information between positions (lesson 3), the **feed-forward layer**
# works on each position by itself, through C → 4C → C.
#
#     middle = inp + attention(norm1(inp))
#     out    = middle + feed_forward(norm2(middle))
#
# (Vaswani et al. 2017, arXiv:1706.03762, section 3.1; with the norms inside the branches, Xiong et al. 2020,
# arXiv:2002.04745, figure 1b.)
#
# ## Why LayerNorm
#
# A branch should not care how large the stream has become. **LayerNorm** shifts and stretches each row of C numbers so
# that its mean is 0 and its variance 1, then gives each channel a weight and a bias of its own (Ba, Kiros and Hinton
# 2016, arXiv:1607.06450, section 3).

# %%
rng = np.random.default_rng(0)
C = 16
inp, weight, bias = rng.standard_normal((3, C)), np.ones(C), np.zeros(C)
out, cache = ops.layernorm_forward(inp, weight, bias)
print("mean", out.mean(1).round(6), "variance", out.var(1).round(3))
assert np.allclose(out.mean(1), 0)
assert np.allclose(out.var(1), 1, atol=1e-3)

again, _ = ops.layernorm_forward(1000 * inp + 7, weight, bias)
assert np.allclose(out, again, atol=1e-4), "neither shift nor stretch"

dinp, _, _ = ops.layernorm_backward(rng.standard_normal(out.shape), cache)
along_ones = dinp.sum(1)
along_inp = (dinp * (inp - inp.mean(1)[:, None])).sum(1)
print("slope along a shift  ", np.abs(along_ones).max())
print("slope along a stretch", np.abs(along_inp).max())
assert np.abs(along_ones).max() < 1e-12 and np.abs(along_inp).max() < 1e-3

# %% [markdown]
# The last two numbers are the backward pass in a sentence. What the forward pass ignores, the backward pass must have
# no slope for: a shift of the row, and a stretch of it (the second up to the small `eps`). Exercise 4.1 is about that.
#
# ## Why a stream
#
# Stack layers without a way around them, and each one multiplies the slope on its way back. After many of them little
# or nothing arrives. With `inp + branch(inp)` the slope has a path on which nothing happens to it (He et al. 2015,
# arXiv:1512.03385, section 3).

# %%
DEPTH = 24
weights = 0.15 * rng.standard_normal((DEPTH, C, C))


def slopes(stream, norm):
    """Size of the slope that arrives below each of the layers."""
    x, caches, sizes = rng.standard_normal((8, C)), [], []
    for w in weights:
        normal, c1 = ops.layernorm_forward(x, weight, bias)
        inside, _ = ops.linear_forward(normal if norm else x, w)
        found, c2 = ops.relu_forward(inside)
        caches.append((c1, c2, w))
        x = x + found if stream else found
    d = rng.standard_normal(x.shape)
    for c1, c2, w in reversed(caches):
        back = ops.relu_backward(d, c2)[0] @ w
        if norm:
            back = ops.layernorm_backward(back, c1)[0]
        d = d + back if stream else back
        sizes.append(np.log10(np.linalg.norm(d)))
    return sizes


ways = {"x + layer(norm(x))": slopes(True, True),
        "x + layer(x)": slopes(True, False),
        "layer(x)": slopes(False, False)}
show.lines("slope-through-depth", {
    name: (np.arange(1, DEPTH + 1), s) for name, s in ways.items()},
    x="layers passed on the way back", y="log10(size of the slope)")
spread = {name: max(s) - min(s) for name, s in ways.items()}
assert spread["layer(x)"] > 4, "four orders of magnitude are lost"
assert spread["x + layer(norm(x))"] < 1.5

# %% [markdown]
# With the stream the slope arrives, and the norm in the branch slows its growth with depth. The stream also makes a
# good beginning: a branch that has learned nothing yet does no harm.
#
# ## The whole model, checked
#
# A model in tinylm is a list of layers. Each has `forward`, which may push what it needs onto a tape, and `backward`,
# which pops it. So the backward pass of the model is its forward pass in reverse, line for line (open
# `tinylm/models/base.py`). Here are its three proofs, on a small copy: the gradient of every parameter tensor against
# central differences, no position that sees a later one, and a first loss of about ln V, since it knows nothing yet.

# %%
small = models.build("gpt", {"vocab": 11, "context": 6, "channels": 8,
                             "layers": 2, "heads": 2})
tokens, targets = rng.integers(0, 11, (2, 2, 6)).astype(np.int32)
tokens[:, 0] = 3, 8          # two texts that differ from the start on
report = gradients.model(small, tokens, targets, rng)
print(f"{len(report.tensors)} tensors, worst error / tolerance: "
      f"{report.worst_tensor.worst:.2g}")
assert report.ok

exact = gradients.randomised(small, rng)
honest = causality.suffix_swap(small, exact, ops, rng)
print("causal:", honest.ok)
assert honest.ok

params = Parameters(small.parameters(), np.float64)
params.initialise(seed=0)
losses = small.forward(tokens, targets, Pass(f=ops, p=params))
print(f"first loss {losses.mean():.4f}, ln V {np.log(11):.4f} nats/token")
assert abs(losses.mean() - np.log(11)) < 0.1

# %% [markdown]
# ## AdamW
#
# Gradient descent takes the same rate for all parameters. But the slopes of an embedding row that occurs once a
# thousand tokens and of a norm's weight differ by orders of magnitude. **Adam** divides each slope by its own usual
# size (Kingma and Ba 2014, arXiv:1412.6980, algorithm 1):
#
#     first  <- beta1 first  + (1 - beta1) grad         running mean
#     second <- beta2 second + (1 - beta2) grad^2       running mean of squares
#     step   =  lr * (first, corrected) / (root of second, corrected, + eps)
#
# "Corrected" means divided by `1 − beta^t`: both start at zero and would be too small at first. AdamW lets the weights
# decay beside that and not through it (Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 2). You write it in
# exercise 4.4.
#
# A valley that is a thousand times steeper across than along:

# %%
steep = np.array([1000.0, 1.0])


def descend(how, steps=150):
    """Losses 0.5 sum(steep x^2) on the way down from (1, 1)."""
    x, first, second, curve = np.ones(2), np.zeros(2), np.zeros(2), []
    for step in range(1, steps + 1):
        curve.append(np.log10(0.5 * (steep * x * x).sum()))
        grad = steep * x
        if how == "AdamW":
            ops.adamw_step(x, grad, first, second, step=step,
                           lr=0.1 * (1 - step / (steps + 1)), beta2=0.99)
        else:
            x -= 1.9 / steep.max() * grad          # 2 / steep diverges
    return curve


ways = {how: descend(how) for how in ("gradient descent", "AdamW")}
show.lines("valley", {how: (np.arange(150), c) for how, c in ways.items()},
           x="step", y="log10(loss)")
assert ways["AdamW"][-1] < ways["gradient descent"][-1] - 0.5

# %% [markdown]
# Gradient descent is held back by the steepest direction; along the valley it hardly moves. Adam moves by about `lr`
# in each direction, whatever its slope. Its rate must fall, or it would never come to rest: that is the next thing.
#
# ## A schedule
#
# At the start the moments are guesses, so the rate rises over some steps (warm-up). At the end, small steps settle
# what large ones stirred up (cosine). The rate of every step is a function of the step alone, so it can be drawn
# before anything is trained. Do that: a schedule given in the wrong unit is seen here, and nowhere else.

# %%
recipe = config.Recipe(steps=200, lr=3e-3, min_lr=3e-4, schedule="cosine",
                       warmup=config.Warmup(20, "steps"))
plan = Plan.of(200, warmup_steps(recipe, 256, None))
rates = [learning_rate(recipe, plan, step) for step in range(1, 201)]
show.lines("schedule", {"rate": (np.arange(1, 201), rates)},
           x="step", y="learning rate")
assert max(rates) == recipe.lr and rates[0] == recipe.lr / 21
assert rates[-1] < 1.01 * recipe.min_lr

# %% [markdown]
# ## Learn one batch by heart
#
# The first test of any training code: can it learn **one** small batch completely? If the loss does not go to nearly
# zero there, no amount of data will help. It takes seconds, and finds a gradient that is not added, an upstream that
# is forgotten, a step that is not taken. It does not find everything: a mask on the wrong side of the diagonal, or
# targets that are not shifted, only make it easier. Those are what the causality check above is for, and the assertion
# on the batches below.

# %%
def step_of(model, params, grads, first, second, batch, step, lr):
    """One training step; returns the mean loss before it."""
    tape, grads.flat[:] = Tape(), 0
    run = Pass(f=ops, p=params, g=grads, tape=tape)
    losses = model.forward(*batch, run)
    model.backward(np.full(losses.size, 1 / losses.size), run)
    ops.adamw_step(params.flat, grads.flat, first.flat, second.flat,
                   step=step, lr=lr)
    return losses.mean()


grads, first, second = params.like(), params.like(), params.like()
curve = [step_of(small, params, grads, first, second, (tokens, targets),
                 step, lr=0.01) for step in range(1, 151)]
show.lines("one-batch", {"one batch": (np.arange(150), curve)},
           x="step", y="nats/token", level=(np.log(11), "ln V"))
print(f"from {curve[0]:.3f} to {curve[-1]:.4f} nats/token")
assert curve[-1] < 0.1, "random targets, and it knows them all"

# %% [markdown]
# ## Run 1, at classroom size
#
# Now the real loop: the preset `gpt-run1`, made smaller so that it takes seconds, with a higher rate that falls again,
# because it gets few steps (`--full` gives it more). The text is `stories` again. `tinylm train --preset gpt-run1`
# does what the next cells do; the `Trainer` yields events and prints nothing, so anybody can look at a run as they
# like.

# %%
STORIES = 2000
data = dataset.prepare("stories", size=STORIES)
place = tempfile.TemporaryDirectory()
folder = Path(place.name)
print(f"{len(data.train):,} training tokens, "
      f"{data.tokenizer.vocab_size} symbols")


def options(data, source, **train):
    """The preset, at classroom size."""
    table = config.load_preset("gpt-run1")
    table |= {"data": source, "size": str(STORIES), "backend": "numpy"}
    table["model"] |= {"vocab": data.tokenizer.vocab_size, "context": 32,
                       "channels": 64, "layers": 2, "dropout": 0.0}
    table["train"] |= {"batch_size": 12, "lr": 6e-3, "beta2": 0.99,
                       "schedule": "cosine", "warmup": "10 steps",
                       "eval_tokens": 8000, "sample_every": 0} | train
    return config.resolve(preset="gpt-run1", table=table, environ={})


# %%
def trainer(data, chosen, run, **how):
    """What `tinylm train` puts together."""
    tok, recipe = data.tokenizer, chosen.recipe
    shape = {k: v for k, v in chosen.model.items() if k != "family"}
    draw = partial(batches.batch, data.train, chosen.setup.seed)
    size = recipe.batch_size, shape["context"]
    floor = data.floor and FloorCheck(
        data.floor.bits_per_byte, data.floor.standard_error,
        data.meta["splits"]["val"]["bytes"])
    text = TrainingData(
        name=data.name, digest=data.digest, tokenizer=tok.digest,
        tokenizer_json=tok.to_json(), token_bytes=tok.token_bytes,
        token_chars=tok.token_chars, train_tokens=len(data.train),
        batch=lambda step, micro: draw(step, *size, micro), floor=floor,
        validation=list(batches.windows(data.val, size[1],
                                        recipe.eval_tokens, size[0])))
    return Trainer(model=models.build("gpt", shape), data=text,
                   config=chosen, f=ops, run=run, **how)


batch = partial(batches.batch, data.train, 0, batch_size=12, context=32)
inputs, targets = batch(step=7)
assert (inputs[:, 1:] == targets[:, :-1]).all(), "one symbol further on"
assert (batch(step=7)[0] == inputs).all(), "a function of the step alone"

# %% [markdown]
# The last line is worth a look. The batch of step 7 is a pure function of (seed, step). So a run needs no memory of
# which batches it has seen, and a resumed run cannot see the same ones again. Train:

# %%
STEPS = show.choose(1500, full=12_000, brief=60)
chosen = options(data, "stories", steps=STEPS,
                 eval_every=STEPS // 6, log_every=5)
with RunDir.create("main", folder / "main") as run:
    main = trainer(data, chosen, run)
    events = list(main.events())

of = {kind: [e for e in events if type(e).__name__ == kind]
      for kind in ("Logged", "Evaluated")}
show.table(["step", "tokens seen", "nats/token", "bits/byte", "perplexity"],
           [[e.step, e.tokens, e.val.nats_per_token, e.val.bits_per_byte,
             e.val.perplexity_per_token] for e in of["Evaluated"]])
start, end = of["Evaluated"][0].val, of["Evaluated"][-1].val
assert abs(start.nats_per_token - np.log(data.tokenizer.vocab_size)) < 0.1
assert end < start

# %%
floor = data.floor.bits_per_byte
often = np.bincount(data.train, minlength=data.tokenizer.vocab_size)
often = often[often > 0] / often.sum()
letters_only = -(often * np.log2(often)).sum()   # bits/symbol
show.lines("run-1", {
    "training": ([e.step for e in of["Logged"]],
                 [e.train.bits_per_byte for e in of["Logged"]]),
    "validation": ([e.step for e in of["Evaluated"]],
                   [e.val.bits_per_byte for e in of["Evaluated"]])},
    x="step", y="bits/byte", level=(floor, "floor of the grammar"))
print(f"{end.bits_per_byte - floor:.3f} bits/byte above the floor; "
      f"letter frequencies alone: {letters_only:.3f}")
assert end.bits_per_byte > floor, "below it would be a leak"
if show.size() != "brief":
    assert end.bits_per_byte < letters_only - 0.5

# %% [markdown]
# ## What it writes
#
# One sample, picked by hand, proves nothing. So: fixed prompts, fixed seeds, and one number beside them, the share of
# written words that occur in the training text at all. Here are the untrained model and the trained one.

# %%
known = set(data.tokenizer.decode(data.train[:200_000]).split())
blank = Parameters(main.model.parameters())
blank.initialise(seed=0)


def sample(params, prompt, seed):
    steps = stream(main.model, params, ops, data.tokenizer,
                   data.tokenizer.encode(prompt), Options(temperature=0.8),
                   seed=seed, max_tokens=100)
    return "".join(s.text_piece for s in steps)


share = {}
for name, params in [("untrained", blank), ("trained", main.params)]:
    texts = [sample(params, "One day the ", seed) for seed in range(4)]
    words = " ".join(texts).split()
    share[name] = np.mean([w in known for w in words])
    show.write(f"{name}: One day the {texts[0]}")
show.bars("known-words", share, unit="share of written words that exist")
if show.size() != "brief":
    assert share["trained"] > share["untrained"]

# %% [markdown]
# ## Resume is not "load the weights"
#
# A run is stopped, by you or by the battery, and goes on later. What must be kept so that **nothing** differs from a
# run that was never stopped? The weights, of course. Both moments of AdamW. The step, because of the correction, the
# schedule and the batch. The plan. And nothing else, since everything random is a function of (seed, step). The
# promise is the strictest there is: the same bits.

# %%
PART = show.choose(60, brief=20)
short = options(data, "stories", steps=PART, eval_every=PART // 2)


def end_of(name, stop_at=None, forget=False):
    """Parameters at the end; stopped and resumed on the way."""
    with RunDir.create("r", folder / name) as run:
        first = trainer(data, short, run)
        for event in first.events():
            if stop_at is not None and event.step == stop_at:
                first.stop()
        if stop_at is None:
            return first.params.flat.copy()
    with RunDir(folder / name) as run:
        saved = checkpoint.read(run.checkpoints / "last", optimizer=True)
        second = trainer(data, short, run, checkpoint=saved)
        if forget:                   # weights and step, but no moments
            second.first.flat[:] = second.second.flat[:] = 0
        list(second.events())
        return second.params.flat.copy()


never = end_of("never")
stopped = end_of("stopped", stop_at=PART // 3)
print("differing parameters:", int((never != stopped).sum()))
assert never.tobytes() == stopped.tobytes(), "to the bit"

# %% [markdown]
# And with the weights only, as many a script does it:

# %%
forgot = end_of("forgot", stop_at=PART // 3, forget=True)
differ = (never != forgot).mean()
print(f"moments forgotten: {differ:.0%} of the parameters differ")
assert differ > 0.5

# %% [markdown]
# It trains on without complaint, and its loss looks plausible. Only a comparison with the run that never stopped shows
# that it is another run. nanoGPT's issue 467 is such a case: resumed with the same seed, it drew the same batches
# again.
#
# ## Comparing runs
#
# Back to the published pair, 28 symbols against 110. We make such a pair. Run A sees the stories in small letters,
# with everything else removed: 26 letters, space, newline. Run B sees the stories as they are, in a vocabulary of 110
# symbols: printable ASCII, newline, some typographic characters, and end-of-text.

# %%
letters = char_tokenizer(string.ascii_lowercase + " \n", end_of_text=False)
printable = "".join(map(chr, range(32, 127))) + "\n"
many = char_tokenizer(printable + "‘’“”–—…éèêäöü", end_of_text=True)
print(letters.vocab_size, "and", many.vocab_size, "symbols")

text = data.tokenizer.decode(data.train[:400_000], skip_special_tokens=True)
kept = "".join(c if c in string.ascii_lowercase + "\n" else " "
               for c in text.lower())
lines = [" ".join(line.split()) for line in kept.split("\n")]
(folder / "letters.txt").write_text("\n".join(lines), "utf-8")
A = dataset.prepare(folder / "letters.txt", documents="whole",
                    tokenizer=letters, cache=folder)
B = dataset.prepare("stories", size=STORIES, tokenizer=many, cache=folder)
assert (A.tokenizer.vocab_size, B.tokenizer.vocab_size) == (28, 110)

# %%
LESS = show.choose(150, full=1000, brief=20)
for name, corpus, source in [("A-28", A, str(folder / "letters.txt")),
                             ("B-110", B, "stories"),
                             ("C-own", data, "stories")]:
    with RunDir.create(name, folder / name) as run:
        list(trainer(corpus, options(corpus, source, steps=LESS,
                                     eval_every=LESS), run).events())

runs = {name: record.read(folder / name)
        for name in ("A-28", "B-110", "C-own")}
show.table(["run", "symbols", "nats/token", "bits/byte"],
           [[name, r.tokenizer_name.split("(")[1].split()[0],
             r.best["nats_per_token"], r.best["bits_per_byte"]]
            for name, r in runs.items()])

on = compare.scale([runs["A-28"], runs["B-110"]])
show.write("A and B:", on.reason)
assert not on.ranked and compare.ranking(list(runs.values()), on) == []

# %% [markdown]
# `tinylm runs compare` refuses to rank A and B, and this is the sentence it says. Two things are wrong with such a
# pair at once. The symbols differ: among 28 there is less to choose from. And the **texts** differ: without capitals,
# digits and punctuation there is less to predict. The first can be repaired by a common unit. The second cannot.
#
# B and C have read the same text with different symbols. There bits/byte decide:

# %%
on = compare.scale([runs["B-110"], runs["C-own"]])
show.write("B and C:", on.reason)
assert on.ranked and on.unit == "bits_per_byte"
for place_, r in enumerate(
        compare.ranking([runs["B-110"], runs["C-own"]], on), 1):
    print(f"{place_}. {r.name}: {r.best['bits_per_byte']:.4f} bits/byte")

same_kind = [record.read(folder / name) for name in ("never", "stopped")]
on = compare.scale(same_kind)
show.write("a run and its resumed copy:", on.reason)
assert on.ranked and on.unit == "nats_per_token"
assert same_kind[0].best == same_kind[1].best | {
    "seconds": same_kind[0].best["seconds"]}

# %% [markdown]
# What was wrong with the published table is now easy to say: 1.31 nats among 28 symbols of one text, and 0.72 nats
# among 110 symbols of another, stand on two scales. The second model is likely the better one, since it is larger and
# trained longer. The table does not show it.
#
# ## Exercises
#
# `make check-4` makes `work/04_gpt.py`, with four functions to write.
#
# - **4.1 `layernorm_backward`**: back to the row, the weight, the bias.
# - **4.2 `block`**: assemble it from its four parts, which the check hands you as functions.
# - **4.3 `block_backward`**: the same, in reverse.
# - **4.4 `adamw_step`**: it must learn one batch by heart, and must not remember anything by itself.
#
# `make hint-4` gives a hint, one at a time.
#
# ## What would fool you here
#
# **A validation text that is no other text.** If documents occur twice, in training and in validation, or the split
# cuts through them, the validation loss praises memory. tinylm splits by document; here is what a copy does to a model
# that can only remember.

# %%
train_text = data.tokenizer.decode(data.train[:60_000])
fresh = data.tokenizer.decode(data.val[:6_000])
copied = train_text[20_000:26_000]
LENGTH = 12
seen = {train_text[i:i + LENGTH] for i in range(len(train_text))}


def remembered(text):
    """How much of it a parrot with 12 characters of memory has heard."""
    pieces = [text[i:i + LENGTH] for i in range(len(text) - LENGTH)]
    return np.mean([p in seen for p in pieces])


print(f"a copy: {remembered(copied):.0%}; "
      f"held-out stories: {remembered(fresh):.0%}")
assert remembered(copied) == 1 > remembered(fresh)
place.cleanup()

# %% [markdown]
# The held-out number is not zero: the grammar of `stories` likes its phrases. On such a text a good loss shows less
# than it seems to, and the floor says how much there is to learn.
#
# More that fools people:
#
# - **The last point of a noisy curve.** The training loss jumps from batch to batch. Compare evaluations on one fixed
#   text.
# - **The best of many evaluations.** The minimum of twenty noisy numbers is lower than any of them deserves.
# - **A short run that says "better".** A larger learning rate nearly always wins at step 100.
# - **One seed.** Train twice with different seeds before believing in a difference.
#
# ## Two further questions
#
# 1. With the norm after the addition, as in the Transformer of 2017, training needs a long warm-up; with the norm
#    inside the branch, hardly one. Why? Look at the slopes at the start. (Xiong et al. 2020, arXiv:2002.04745, section
#    3)
# 2. Adam divides by the root of a mean of squares. What is left of it if both betas are 0, and why does that, with a
#    mean in front, work nearly as well? (Balles and Hennig 2018, arXiv:1705.07774; Chen et al. 2023, arXiv:2302.06675)
