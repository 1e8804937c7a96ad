"""Solutions of lesson 7: one way among others."""


def pair_counts(words, times):
    counts = {}
    for symbols, n in zip(words, times):
        for pair in zip(symbols, symbols[1:]):
            counts[pair] = counts.get(pair, 0) + n
    return counts


def replaced(symbols, pair):
    """The symbols with each occurrence of the pair made one, from left to right."""
    out, at = [], 0
    while at < len(symbols):
        if tuple(symbols[at:at + 2]) == pair:
            out.append(pair[0] + pair[1])
            at += 2            # both are used up: in b"aaa" the pair occurs once, not twice
        else:
            out.append(symbols[at])
            at += 1
    return out


def learn(words, times, most, alphabet):
    # Slices of bytes are bytes, single elements would be numbers.
    words = [[word[i:i + 1] for i in range(len(word))] for word in words]
    age = {symbol: i for i, symbol in enumerate(alphabet)}
    merges = []
    while len(merges) < most:
        counts = pair_counts(words, times)
        # Most frequent first; among equals the older left symbol, then the older right one.
        best = min(counts, key=lambda pair: (-counts[pair], age[pair[0]], age[pair[1]]), default=None)
        if best is None or counts[best] < 2:
            break
        merges.append(best)
        age.setdefault(best[0] + best[1], len(age))   # one symbol may be made in two ways: it keeps its age
        words = [replaced(symbols, best) for symbols in words]
    return merges


def encode(text, merges):
    raw = text.encode("utf-8")
    symbols = [raw[i:i + 1] for i in range(len(raw))]
    rank = {pair: i for i, pair in enumerate(merges)}
    while True:
        known = [pair for pair in zip(symbols, symbols[1:]) if pair in rank]
        if not known:
            return symbols
        # The merge that was learned first, not the longest symbol: encoding repeats the history of learning.
        symbols = replaced(symbols, min(known, key=rank.get))
