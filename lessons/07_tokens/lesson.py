# %% [markdown]
# # 7. Bytes to tokens
#
# At the end of this lesson you have a byte-level BPE that learns, from any text, the same merges as the library
# that everybody uses, and that gives back every byte of every text. And you know which numbers of a model change
# with its vocabulary, and which one does not.
#
# So far a token was a character. Here is what a token will be.

# %%
import json
from collections import Counter

import numpy as np
import tokenizers

from tinylm.classroom import show
from tinylm.text import stories
from tinylm.text.tokenizer import bpe_tokenizer
from tinylm.units import Loss

COUNT = show.choose(400, full=3000, brief=80)
written = [t for t, _ in stories.generate(COUNT + COUNT // 4, seed=7)]
train, held_out = written[:COUNT], "\n".join(written[COUNT:])


def cut(tokenizer, text):
    """The tokens of a text, as bytes."""
    return [tokenizer.raw_bytes(int(i)) for i in tokenizer.encode(text)]


tokenizer = bpe_tokenizer(train, 600)
first = held_out[:120]
show.write("│".join(t.decode() for t in cut(tokenizer, first)))
assert b"".join(cut(tokenizer, first)).decode() == first

# %% [markdown]
# ## Start from bytes
#
# A vocabulary of characters is never complete: tomorrow's text has an emoji that the training text did not have.
# Bytes are complete. Every text is a sequence of bytes (in UTF-8, one to four a character), and there are only 256
# of them. So a vocabulary that contains all 256 can write anything.

# %%
rows = []
for character in "té漢😀":
    raw = character.encode("utf-8")
    rows.append([character, len(raw), " ".join(f"{b:02x}" for b in raw)])
show.table(["character", "bytes", "in hexadecimal"], rows)
strange = "Füße, 漢字 and 😀: not one of these is in a story."
assert tokenizer.decode(tokenizer.encode(strange)) == strange

# %% [markdown]
# The price is length: a model that reads bytes has to look back much further to see as many words. **Byte-pair
# encoding** buys the length back. It was a compression method (Gage 1994), came to language by Sennrich et al.
# (2016, arXiv:1508.07909, section 3.2) and to bytes by Radford et al. (2019, GPT-2, section 2.2). The idea is one
# sentence: *make one symbol of the pair of symbols that occurs most often, and repeat.*
#
# Here it is on the four words of Sennrich's own example, with the number of times each occurs. A word is written
# with a space between its symbols, and a merge removes that space.

# %%
words = {"l o w": 5, "l o w e r": 2, "n e w e s t": 6, "w i d e s t": 3}
seen = []
for _ in range(8):
    pairs = Counter()
    for word, times in words.items():
        symbols = word.split()
        for pair in zip(symbols, symbols[1:]):
            pairs[pair] += times
    best, count = pairs.most_common(1)[0]
    words = {f" {w} ".replace(f" {' '.join(best)} ", f" {''.join(best)} ")
             .strip(): n for w, n in words.items()}
    seen.append([" + ".join(best), count, ", ".join(words)])
show.table(["merge", "count", "words afterwards"], seen)
assert seen[0][1] == 9 and "newest" in words

# %% [markdown]
# After eight merges `newest` and `low` are symbols of their own, and `est`, which two words share, was found
# on the way. Nobody said what a word or an ending is.
#
# ## Words first, then pairs
#
# If pairs could reach over spaces, frequent phrases would become symbols, and `dog.` and `dog,` would each get one.
# So GPT-2 cuts the text into words by a fixed rule, and pairs are counted within words. A space belongs to the word
# after it. The rule loses nothing: the words, put together, are the text.

# %%
rule = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)


def words_of(text):
    return [text[a:b] for _, (a, b) in rule.pre_tokenize_str(text)]


show.write(words_of("Tim's dog ran.\n\nIt  was 12:30!"))
vocabulary = Counter(w for text in train for w in words_of(text))
print(f"{sum(vocabulary.values()):,} words in the text, "
      f"{len(vocabulary):,} different ones")
assert all("".join(words_of(text)) == text for text in written)

# %% [markdown]
# That makes learning cheap, too. A pair inside `" the"` need not be counted once for every `the` in the text, but
# once, times the number of its occurrences. All counting is done over the *different* words.
#
# ## The first fifty merges
#
# `tokenizers` learned 343 merges above (600 symbols less 256 bytes and one special symbol). Do we believe it? We
# replay them: before each merge, count all pairs ourselves. The pair it chose must be one of the most frequent.

# %%
parts = json.loads(tokenizer.to_json())["model"]
number = parts["vocab"]
merges = [tuple(tokenizer.raw_bytes(number[s]) for s in pair)
          for pair in parts["merges"]]


def joined(symbols, pair):
    """One word after a merge, from left to right."""
    out = []
    for symbol in symbols:
        # A symbol that was just made (True) is not used again.
        if out and not out[-1][1] and (out[-1][0], symbol) == pair:
            out[-1] = (pair[0] + pair[1], True)
        else:
            out.append((symbol, False))
    return [symbol for symbol, _ in out]


state = [([bytes([b]) for b in w.encode()], n)
         for w, n in vocabulary.items()]
counts = []
for pair in merges[:50]:
    pairs = Counter()
    for symbols, n in state:
        for two in zip(symbols, symbols[1:]):
            pairs[two] += n
    assert pairs[pair] == max(pairs.values()), "a more frequent pair"
    counts.append(pairs[pair])
    state = [(joined(symbols, pair), n) for symbols, n in state]

# %%
def look(raw):
    return raw.decode().replace(" ", "␣")


shown = [[i + 1, look(a) + " + " + look(b), counts[i]]
         for i, (a, b) in enumerate(merges[:50])]
show.table(["", "merge", "count"] * 2,
           [shown[i] + shown[i + 25] for i in range(25)])
assert counts == sorted(counts, reverse=True)

# %% [markdown]
# The counts only fall. They must: a pair with the new symbol in it cannot occur more often than the new symbol, and
# no other pair became more frequent.
#
# Where two pairs are equally frequent, somebody must decide. The library takes the pair with the older left symbol.
# An own BPE with another rule is no worse, but its tokens are not the library's, and a model trained with the one
# cannot read the other. In exercise 7.2 you will follow the rule to the letter.
#
# ## Bytes per token
#
# More merges, shorter texts. A tokenizer of 512 symbols is the beginning of one of 2,048: the first merges do not
# know how many will follow.

# %%
SIZES = show.choose([257, 320, 512, 1024, 2048], brief=[257, 512, 1024])
made = {V: bpe_tokenizer(train, V) for V in SIZES}
unlike = ("def mean(values):\n    return sum(values) / len(values)\n\n"
          "Am Morgen kam die Füchsin zurück und fraß die Würstchen.\n")


def bytes_per_token(tokenizer, text):
    return len(text.encode()) / len(tokenizer.encode(text))


ids = [tok.vocab_size for tok in made.values()]
measured = {name: [bytes_per_token(tok, text) for tok in made.values()]
            for name, text in (("stories", held_out),
                               ("Python and German", unlike))}
show.lines("bytes-per-token",
           {name: (np.log2(ids), m) for name, m in measured.items()},
           x="log2(vocabulary)", y="bytes/token")
large = json.loads(made[SIZES[-1]].to_json())["model"]["merges"]
small = json.loads(made[512].to_json())["model"]["merges"]
assert large[:len(small)] == small
assert measured["stories"] == sorted(measured["stories"])
assert measured["Python and German"][-1] < measured["stories"][-1] / 1.5

# %% [markdown]
# Two things to see. The gain shrinks: on this scale every step to the right *doubles* the vocabulary. And a
# vocabulary is fitted to a text. What stories made short, Python and German hardly gain from.
#
# ## Three vocabularies, three perplexities
#
# Now the same kind of model as in lesson 1, a table of pairs, for three vocabularies. With 1,024 symbols there are a
# million pairs and most never occur, so instead of the same `alpha` for each we pretend `strength` further
# occurrences that are spread as the symbols are in general (MacKay and Peto 1995):
#
#     p(j | i) = (counts[i, j] + strength p(j)) / (row sum i + strength)

# %%
def bigram(tokenizer, text, strength=5.0):
    """Train on the training stories, judge on `text`; returns a Loss."""
    V, seen = tokenizer.vocab_size, tokenizer.encode("\n".join(train))
    counts = np.zeros((V, V))
    np.add.at(counts, (seen[:-1], seen[1:]), 1)
    general = (np.bincount(seen, minlength=V) + 0.1) / (len(seen) + 0.1 * V)
    table = counts + strength * general
    table /= table.sum(1, keepdims=True)
    tokens = tokenizer.encode("\n" + text)      # begins where stories begin
    assert tokenizer.raw_bytes(int(tokens[0])) == b"\n"
    nats = -np.log(table[tokens[:-1], tokens[1:]]).sum()
    return Loss(float(nats), tokens=len(tokens) - 1, chars=len(text),
                bytes=len(text.encode()), tokenizer=tokenizer.name)


three = [SIZES[0], 512, SIZES[-1]]
losses = {V: bigram(made[V], held_out) for V in three}
show.table(["symbols", "tokens", "perplexity", "bits/byte"],
           [[V, loss.tokens, loss.perplexity_per_token,
             loss.bits_per_byte] for V, loss in losses.items()])
perplexities = [loss.perplexity_per_token for loss in losses.values()]
bits = [loss.bits_per_byte for loss in losses.values()]
assert perplexities == sorted(perplexities)
assert bits == sorted(bits, reverse=True)

# %% [markdown]
# The perplexity gets worse while the model gets better. A token of the large vocabulary is a bigger thing to guess,
# and there are fewer of them.
#
# How little the perplexity says is seen best with one single model. Take the last of the three. It gives the
# held-out text one probability, hence one number of nats. Nothing stops us from dividing these nats by the tokens of
# another tokenizer: "perplexity per symbol of that vocabulary".

# %%
model = losses[three[-1]]
views = [Loss(model.nats, tokens=losses[V].tokens, bytes=model.bytes,
              chars=model.chars, tokenizer=f"tokens of {V} symbols")
         for V in three]
show.table(["the same nats, counted in", "perplexity", "bits/byte"],
           [[v.tokenizer, v.perplexity_per_token, v.bits_per_byte]
            for v in views])
show.bars("one-model", {v.tokenizer: v.perplexity_per_token for v in views},
          unit="perplexity of one and the same model")
assert len({v.bits_per_byte for v in views}) == 1
assert views[0].perplexity_per_token < views[-1].perplexity_per_token / 3

# %% [markdown]
# Same model, same text, same probability: three perplexities and one bits/byte. That is why every loss in tinylm
# carries the name of its tokenizer, and why runs with different vocabularies are ranked by bits/byte alone.
#
# ## Exercises
#
# `make check-7` makes `work/07_tokens.py`, with three functions to write. The checks ask the library `tokenizers` what
# is right.
#
# - **7.1 `pair_counts`**: how often two symbols are neighbours.
# - **7.2 `learn`**: the merges of a text, the same as the library's, ties included.
# - **7.3 `encode`**: any text as tokens, and not a byte lost.
#
# `make hint-7` gives a hint, one at a time.
#
# ## What would fool you here
#
# **The longest symbol that fits.** It looks like encoding, and gives other tokens. BPE does the merges in the order
# in which they were learned; a symbol that would fit may never arise, because an earlier merge took one of its parts.

# %%
known = {tokenizer.raw_bytes(i) for i in range(tokenizer.vocab_size)}


def longest_first(raw):
    out = []
    while raw:
        size = max(n for n in range(1, len(raw) + 1) if raw[:n] in known)
        out.append(raw[:size])
        raw = raw[size:]
    return out


unlike_bpe = []
for word in sorted(set(words_of(held_out))):
    greedy, right = longest_first(word.encode()), cut(tokenizer, word)
    if greedy != right:
        unlike_bpe.append([repr(word), "│".join(map(look, right)),
                           "│".join(map(look, greedy))])
print(f"{len(unlike_bpe)} of {len(set(words_of(held_out)))} words differ")
show.table(["word", "BPE", "longest symbol first"], unlike_bpe[:5])
assert unlike_bpe

# %% [markdown]
# Both would decode to the right text, so a round trip does not notice. A model does: it has never seen those tokens
# in that order.
#
# **One token is not a text.** A token may end inside a character. Decoded one by one, its bytes are no UTF-8; only
# all together they are. Whoever streams text to a screen has to wait for the rest of the character.

# %%
pieces = tokenizer.encode("é")
print([tokenizer.decode([int(i)]) for i in pieces],
      "but together", repr(tokenizer.decode(pieces)))
assert tokenizer.decode(pieces) == "é"
assert "".join(tokenizer.decode([int(i)]) for i in pieces) != "é"

# %% [markdown]
# **A space at the end of a prompt.** A space belongs to the word after it. So a prompt that ends with a space ends
# with a token that hardly ever stands there in training. Tokens of two pieces are not
# the tokens of the whole:

# %%
whole = cut(tokenizer, "Once upon a time")
apart = cut(tokenizer, "Once upon a ") + cut(tokenizer, "time")
print("whole:", "│".join(map(look, whole)))
print("apart:", "│".join(map(look, apart)))
assert whole != apart and b"".join(whole) == b"".join(apart)

# %% [markdown]
# **A large vocabulary is not free.** Every symbol needs a row in the embedding, and the last merges are rare: their
# rows are trained on a handful of occurrences.

# %%
last = made[SIZES[-1]]
often = np.bincount(np.concatenate(last.encode_all(train)),
                    minlength=last.vocab_size)
order = np.sort(often[often > 0])[::-1]
show.lines("how-often", {"symbols": (np.log10(np.arange(1, len(order) + 1)),
                                     np.log10(order))},
           x="log10(rank of the symbol)", y="log10(times in the text)")
print(f"{(often == 0).sum()} of {last.vocab_size} symbols never occur; "
      f"half of the others occur at most {int(np.median(order))} times")
assert np.median(order) < order[0] / 50

# %% [markdown]
# Symbols that never occur are bytes that the text does not use, and parts that were always merged further.
#
# ## Two further questions
#
# 1. A text can be cut into tokens in many ways, and a model gives a probability to each; we count only the one that
#    BPE makes. Is the bits/byte of this lesson then too high or too low, and how would you estimate by how much?
#    (Cao and Rimell 2021, arXiv:2109.02550)
# 2. If the vocabulary grows, texts get shorter and rows get rarer. Where is the best size, and does it grow with the
#    model? (Tao et al. 2024, arXiv:2407.13623)
