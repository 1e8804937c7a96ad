"""Plausible wrong answers to lesson 7."""
from collections import Counter

from solution import pair_counts as right_counts
from solution import replaced

from tinylm.classroom.mutants import edit, other, wrong


def _across_words(words, times):
    """The words of the text in a row, as if there were no borders."""
    return dict(Counter(pair for whole in [[s for w, n in zip(words, times) for s in w * n]]
                        for pair in zip(whole, whole[1:])))


def _longest_match(text, merges):
    """At each place the longest symbol that fits."""
    raw, known, out, at = text.encode(), {a + b for a, b in merges}, [], 0
    while at < len(raw):
        size = max(n for n in range(1, len(raw) - at + 1) if n == 1 or raw[at:at + n] in known)
        out.append(raw[at:at + size])
        at += size
    return out


def _one_pass(text, merges):
    """From left to right, merging what can be merged with the symbol before."""
    raw, known, out = text.encode(), set(merges), []
    for i in range(len(raw)):
        out.append(raw[i:i + 1])
        while len(out) > 1 and (out[-2], out[-1]) in known:
            out[-2:] = [out[-2] + out[-1]]
    return out


def counts_with_a_counter(words, times):
    counts = Counter()
    for symbols, n in zip(words, times):
        for i in range(1, len(symbols)):
            counts[symbols[i - 1], symbols[i]] += n
    return dict(counts)


def learn_with_numbers(words, times, most, alphabet):
    """Symbols as numbers: the number is the age."""
    number = {s: i for i, s in enumerate(alphabet)}
    symbols = list(alphabet)
    rows = [[number[bytes([b])] for b in w] for w in words]
    merges = []
    for _ in range(most):
        counts = right_counts(rows, times)
        if not counts or max(counts.values()) < 2:
            break
        a, b = min(pair for pair, n in counts.items() if n == max(counts.values()))
        merges.append((symbols[a], symbols[b]))
        made = symbols[a] + symbols[b]
        if made not in number:
            number[made] = len(symbols)
            symbols.append(made)
        for row in rows:
            i = 0
            while i + 1 < len(row):
                if (row[i], row[i + 1]) == (a, b):
                    row[i:i + 2] = [number[made]]
                i += 1
    return merges


def encode_through_the_history(text, merges):
    """Every merge in its turn; again from the start after a round that changed something."""
    symbols = [bytes([b]) for b in text.encode()]
    at = 0
    while at < len(merges):
        shorter = replaced(symbols, merges[at])
        at = at + 1 if len(shorter) == len(symbols) else 0
        symbols = shorter
    return symbols


MUTANTS = [
    edit("pair_counts", "the count of the word is forgotten", ", 0) + n", ", 0) + 1"),
    edit("pair_counts", "overwritten, not added", "counts.get(pair, 0) + n", "n"),
    edit("pair_counts", "starts at one", ".get(pair, 0)", ".get(pair, 1)"),
    edit("pair_counts", "every second pair", "zip(symbols, symbols[1:])", "zip(symbols[::2], symbols[1::2])"),
    edit("pair_counts", "the last pair is missing", "symbols[1:]", "symbols[1:-1]"),
    edit("pair_counts", "left and right exchanged", "zip(symbols, symbols[1:])", "zip(symbols[1:], symbols)"),
    edit("pair_counts", "a pair counts once a word", "in zip(symbols, symbols[1:])",
         "in set(zip(symbols, symbols[1:]))"),
    edit("pair_counts", "keys are the made symbols", "return counts",
         "return {a + b: n for (a, b), n in counts.items()}",
         at="shapes"),
    edit("pair_counts", "pairs of equal symbols are left out", "counts[pair] =",
         "if pair[0] != pair[1]: counts[pair] ="),
    wrong("pair_counts", "from one word into the next", _across_words),
    edit("learn", "times forgotten", "counts = pair_counts(words, times)",
         "counts = pair_counts(words, [1] * len(words))"),
    edit("learn", "ties by bytes", "(-counts[pair], age[pair[0]], age[pair[1]])", "(-counts[pair], pair)"),
    edit("learn", "ties to what was seen first", "(-counts[pair], age[pair[0]], age[pair[1]])", "-counts[pair]"),
    edit("learn", "ties by the right symbol first", "age[pair[0]], age[pair[1]]", "age[pair[1]], age[pair[0]]"),
    edit("learn", "ties to the newer symbol", "(-counts[pair], age[pair[0]], age[pair[1]])",
         "(-counts[pair], -age[pair[0]], -age[pair[1]])"),
    edit("learn", "a pair that occurs once is merged too", "counts[best] < 2", "counts[best] < 1", at="shapes"),
    edit("learn", "stops at three", "counts[best] < 2", "counts[best] <= 2"),
    edit("learn", "one merge too many", "len(merges) < most", "len(merges) <= most"),
    edit("learn", "rarest first", "-counts[pair]", "counts[pair]"),
    edit("learn", "the newest merge stands first", "merges.append(best)", "merges.insert(0, best)"),
    edit("learn", "made symbols, not pairs", "merges.append(best)", "merges.append(best[0] + best[1])", at="shapes"),
    edit("learn", "counted once, never again", "while len(merges) < most:\n        counts = pair_counts(words, times)",
         "counts = pair_counts(words, times)\n    while len(merges) < most:\n"
         "        counts = {p: n for p, n in counts.items() if p not in merges}"),
    edit("learn", "overlapping pairs are both merged", "at += 2 ", "at += 1 ", within="replaced", at="worked case"),
    edit("learn", "only the first occurrence in a word", "tuple(symbols[at:at + 2]) == pair",
         "tuple(symbols[at:at + 2]) == pair and len(out) == at", within="replaced"),
    edit("encode", "the merge learned last", "min(known", "max(known"),
    edit("encode", "the leftmost pair that is a merge", "min(known, key=rank.get)", "known[0]"),
    edit("encode", "the longest pair", "key=rank.get", "key=lambda pair: -len(pair[0] + pair[1])"),
    edit("encode", "one merge and no more", "while True:", "for _ in range(2):"),
    edit("encode", "characters, not bytes", "symbols = [raw[i:i + 1] for i in range(len(raw))]",
         "symbols = [c.encode() for c in text]", at="worked case"),
    edit("encode", "bytes that ASCII lacks are dropped", 'text.encode("utf-8")', 'text.encode("ascii", "ignore")'),
    edit("encode", "numbers, not bytes", "raw[i:i + 1]", "raw[i]", at="shapes"),
    edit("encode", "spaces at the ends are stripped", "text.encode", "text.strip().encode", at="definition"),
    wrong("encode", "the longest symbol that fits", _longest_match),
    wrong("encode", "one pass from left to right", _one_pass),
    wrong("encode", "no merging at all", lambda text, merges: [bytes([b]) for b in text.encode()]),
]

ALTERNATIVES = [
    other("pair_counts", "with a Counter, by position", counts_with_a_counter),
    other("learn", "with numbers for symbols, in place", learn_with_numbers),
    other("encode", "through the whole history", encode_through_the_history),
]
