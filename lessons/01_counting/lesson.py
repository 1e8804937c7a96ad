# %% [markdown]
# # 1. Counting letters
#
# At the end of this lesson you have a language model: a table that says, for each character, which character
# is likely to come next. It was made by counting, it writes text of its own, and you can say how good it is
# in a unit that can be compared with any other model in this course.
#
# The only tools are NumPy and a text. The text is `stories`: children's stories that come from a grammar
# whose probabilities are known. That has an advantage no real text has. We know the best loss that any model
# can reach.

# %%
import numpy as np

from tinylm.classroom import show
from tinylm.text import stories
from tinylm.text.tokenizer import char_tokenizer
from tinylm.units import Loss

COUNT = show.choose(600, full=6000)
written = list(stories.generate(COUNT + 200, seed=1))
train = "\n".join(text for text, _ in written[:COUNT]) + "\n"
held_out = "\n".join(text for text, _ in written[COUNT:]) + "\n"
show.write(train[:300] + "…")

# %% [markdown]
# The last 200 stories are held out: the model never sees them while it counts, and they are what it is
# judged by.
#
# ## Symbols
#
# A model works with numbers, so every character gets one, its **token**. `V` is the number of different
# characters, the size of the vocabulary.

# %%
tokenizer = char_tokenizer(train + held_out, end_of_text=False)
V = tokenizer.vocab_size
symbols = [tokenizer.decode([i]) for i in range(V)]
tokens, val = tokenizer.encode(train), tokenizer.encode(held_out)
print(f"{len(tokens):,} tokens, V = {V}")
print("first 10 tokens:", tokens[:10].tolist())
assert tokenizer.decode(tokens) == train, "no character may get lost"

# %% [markdown]
# ## Counting pairs
#
# `counts[i, j]` is how often symbol `j` came right after symbol `i`. A text of `n` tokens has `n − 1` pairs.
# `np.add.at` adds once for every pair, also where a pair occurs again and again. (`counts[a, b] += 1` would
# not: it reads all values first and writes them back, so a repeated pair counts once.)

# %%
counts = np.zeros((V, V), np.int64)
np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
assert counts.sum() == len(tokens) - 1

lossy = np.zeros((V, V), np.int64)
lossy[tokens[:-1], tokens[1:]] += 1
print(f"pairs counted: {counts.sum():,}; with += instead: {lossy.sum():,}")
print(f"pairs that occur: {np.count_nonzero(counts):,} of {V * V:,}")

# %% [markdown]
# ## From counts to probabilities
#
# Dividing each row by its sum gives `p(next | this)`. But a pair that never occurred gets probability 0, and
# if it occurs once in the held-out text, the whole text becomes impossible: the loss is infinite. So we
# pretend that every pair was seen `alpha` times more than it was:
#
#     p(j | i) = (counts[i, j] + alpha) / (sum over k of counts[i, k] + alpha V)
#
# This is Laplace's rule of succession when `alpha` is 1. You will write this function yourself in exercise
# 1.1; here is what it gives.

# %%
def probabilities(counts, alpha):
    total = counts.sum(1, keepdims=True) + alpha * len(counts)    # (V, 1)
    return (counts + alpha) / total                               # (V, V)


table = probabilities(counts, alpha=0.1)
assert np.allclose(table.sum(1), 1) and table.min() > 0

# %% [markdown]
# The most common symbols of the table, as a picture. Read a row: "after this character comes …". After `q`
# there would be one full cell; after a space nearly everything is possible.

# %%
common = np.argsort(-counts.sum(1))[:26]
common = common[np.argsort([symbols[i] for i in common])]
names = [symbols[i] for i in common]
show.heatmap("bigram-table", table[np.ix_(common, common)],
             rows=names, columns=names, unit="probability",
             down="this character", across="next character")

# %% [markdown]
# ## Letting it write
#
# To draw the next symbol: add the probabilities of the row up one after the other, throw a number between 0
# and 1, and take the first symbol at which the sum exceeds it. One table look-up a character.

# %%
def write(table, first, length, rng):
    steps, out = table.cumsum(1), [first]
    for u in rng.random(length):
        drawn = np.searchsorted(steps[out[-1]], u, side="right")
        # Rounding may leave the last sum a hair below 1.
        out.append(min(int(drawn), len(table) - 1))
    return tokenizer.decode(out)


start = int(tokenizer.encode("\n")[0])
show.write(write(table, start, 240, np.random.default_rng(0)).strip())

# %% [markdown]
# The words are no words, yet they can nearly be pronounced: the model knows which letters follow each other,
# and nothing else.
#
# Does it write what it believes? A long text that it writes must have the pair frequencies of the table.

# %%
long = write(table, start, 200_000, np.random.default_rng(1))
sample = tokenizer.encode(long)
again = np.zeros((V, V))
np.add.at(again, (sample[:-1], sample[1:]), 1)
space = int(tokenizer.encode(" ")[0])
seen, said = again[space] / again[space].sum(), table[space]
gap = np.abs(seen - said).max()
print(f"after a space: written and believed differ by at most {gap:.4f}")
assert gap < 0.02

# %% [markdown]
# ## How good is it? One model, four numbers
#
# A model is judged by the probability it gives to text it has not seen. For each held-out character we take
# `−ln p(character | the one before)`: its **surprise**, in nats. Everything else is a change of units:
#
# - **nats/token**: the mean surprise. This is the training loss of every model in this course.
# - **bits/token**: nats ÷ ln 2.
# - **bits/byte**: all the bits, divided by the bytes of the text. It does not depend on how the text was cut
#   into tokens, so two models with different vocabularies can be compared. It is also the size of the text
#   when it is compressed with this model (Shannon 1948).
# - **perplexity**: e to the power of nats/token. The model hesitates as if between that many equally likely
#   symbols.

# %%
def loss_of(table, tokens, text):
    """Of tokens[1:], each given the one before; `text` is the text."""
    nats = -np.log(table[tokens[:-1], tokens[1:]]).sum()
    predicted = text[1:]
    return Loss(float(nats), tokens=len(tokens) - 1,
                bytes=len(predicted.encode()), chars=len(predicted),
                tokenizer=tokenizer.name)


loss = loss_of(table, val, held_out)
show.table(["unit", "value", "what it is"], [
    ["nats/token", loss.nats_per_token, "mean of −ln p"],
    ["bits/token", loss.nats_per_token / np.log(2), "the same ÷ ln 2"],
    ["bits/byte", loss.bits_per_byte, "total bits ÷ bytes of text"],
    ["perplexity", loss.perplexity_per_token, "e^(nats/token)"],
])

# %% [markdown]
# Two anchors tell whether such a number can be right. A model that knows nothing gives `1/V` to every symbol:
# `ln V` nats, `log2 V` bits. And here bits/token equals bits/byte, because each character of this text is one
# byte. (With one `é` in it they would part.)

# %%
uniform = loss_of(np.full((V, V), 1 / V), val, held_out)
print(f"uniform: {uniform.nats_per_token:.4f} nats/token")
print(f"ln V:    {np.log(V):.4f}")
assert abs(uniform.nats_per_token - np.log(V)) < 1e-9
assert np.isclose(loss.bits_per_byte, loss.nats_per_token / np.log(2))
assert loss.nats_per_token < uniform.nats_per_token

# %% [markdown]
# ## How much to pretend
#
# `alpha` is a choice, so let the data choose it: with the training text alone, a tiny `alpha` is always best
# (nothing unseen ever happens there). The held-out text shows the price.

# %%
powers = np.arange(-14, 9)
small = np.zeros((V, V), np.int64)
np.add.at(small, (tokens[:3000], tokens[1:3001]), 1)
on_train, on_val = [], []
for power in powers:
    guess = probabilities(small, 2.0 ** power)
    counted = loss_of(guess, tokens[:3001], train[:3001])
    on_train.append(counted.bits_per_byte)
    on_val.append(loss_of(guess, val, held_out).bits_per_byte)

show.lines("smoothing", {"counted": (powers, on_train),
                         "held out": (powers, on_val)},
           x="log2(alpha)", y="bits/byte")
best = 2.0 ** powers[np.argmin(on_val)]
print(f"best alpha for a table of 3,000 characters: {best:g}")
assert np.argmin(on_train) == 0 < np.argmin(on_val) < len(powers) - 1

# %% [markdown]
# ## The floor
#
# Because `stories` comes from a grammar, we can compute how many bits a story really holds: `−log2` of the
# probability with which the grammar writes it. No model can do better on average. That is the **entropy
# floor**, and it turns "is this loss good?" into a number: how far above the floor?

# %%
floor = stories.entropy_floor(written[COUNT:], separator_bytes=1)
frequency = np.bincount(tokens, minlength=V) + 0.1
same_everywhere = np.tile(frequency / frequency.sum(), (V, 1))
unigram = loss_of(same_everywhere, val, held_out)
ladder = {"uniform": uniform.bits_per_byte,
          "letter frequencies": unigram.bits_per_byte,
          "pairs (this lesson)": loss.bits_per_byte,
          "floor": floor.bits_per_byte}
show.bars("ladder", ladder, unit="bits/byte of held-out text")
above = loss.bits_per_byte - floor.bits_per_byte
print(f"floor {floor.bits_per_byte:.3f} ± {floor.standard_error:.3f}; "
      f"pairs are {above:.2f} above it")
assert list(ladder.values()) == sorted(ladder.values(), reverse=True)

# %% [markdown]
# Most of the way is still to go. The rest of the course is about going it: longer memory (lessons 3 and 8),
# larger symbols (7), cheaper weights (9 and 12).
#
# ## Exercises
#
# `make check-1` makes the file `work/01_counting.py` for you. It holds two functions to write, and each
# raises an error until you have written it, so the first check fails. That is as it should be.
#
# - **1.1 `smoothed`**: from counts to probabilities.
# - **1.2 `bits_per_byte`**: the loss of a text, where symbols may be several bytes long.
#
# `make hint-1` gives a hint, one at a time; `tinylm lesson watch 1` checks whenever you save.
#
# ## What would fool you here
#
# **A perplexity without its symbols.** Take the same text and the same kind of model, letter frequencies,
# once for single characters and once for pairs of characters as one symbol each.

# %%
def frequencies_only(seen, unseen, text):
    """The loss of `unseen` symbols by their frequency in `seen` ones."""
    known = sorted(set(seen) | set(unseen))
    number = {s: i for i, s in enumerate(known)}
    found = np.bincount([number[s] for s in seen], minlength=len(known))
    p = (found + 0.1) / (found + 0.1).sum()
    nats = -np.log(p[[number[s] for s in unseen]]).sum()
    return Loss(float(nats), tokens=len(unseen),
                bytes=len(text.encode()), chars=len(text),
                tokenizer=f"{len(known)} symbols")


def in_pairs(text):
    return [text[i:i + 2] for i in range(0, len(text) - 1, 2)]


even = held_out[:len(held_out) // 2 * 2]
ones = frequencies_only(train, even, even)
twos = frequencies_only(in_pairs(train), in_pairs(even), even)
show.table(["symbols", "perplexity", "nats/token", "bits/byte"],
           [[one.tokenizer, one.perplexity_per_token,
             one.nats_per_token, one.bits_per_byte]
            for one in (ones, twos)])
assert twos.perplexity_per_token > 5 * ones.perplexity_per_token
assert twos.bits_per_byte < ones.bits_per_byte

# %% [markdown]
# The model with the far worse perplexity is the better one. Only bits/byte says so. Two `Loss` values of
# different tokenizers therefore refuse to be ranked:

# %%
try:
    print(ones < twos)
except TypeError as error:
    show.write("refused:", error)

# %% [markdown]
# Two more that fool people:
#
# - **Judging on the text that was counted.** The curve of `alpha` above shows it: the loss on the counted
#   text only falls, while the model gets worse.
# - **A loss below the floor.** It would not mean a brilliant model. It would mean that held-out text got into
#   training, or that bytes were miscounted, or that the model saw the character it should predict.
#
# ## Two further questions
#
# 1. How low can people go? Shannon let people guess the next letter of English and bounded its entropy
#    between 0.6 and 1.3 bits a letter. How would you run that experiment on `stories`, and what should come
#    out? (Shannon 1951, "Prediction and entropy of printed English", Bell System Technical Journal 30)
# 2. Adding `alpha` to every pair treats all unseen pairs alike. What would be a better guess, and by how much
#    does it help when the table has three characters of memory instead of one? (Chen and Goodman 1996, "An
#    empirical study of smoothing techniques for language modeling", arXiv:cmp-lg/9606011)
