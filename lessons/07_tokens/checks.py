"""What makes an answer to lesson 7 right.  The oracle is the library `tokenizers`; pairs are counted by position."""
import functools
import json

from hypothesis import strategies

from tinylm.classroom.checking import check, claim, compare_speed, same, text, whole

# ASCII, two bytes, three bytes and four: é and è begin with the same byte.
LETTERS = "ab éè漢😀"


@functools.cache
def library_bytes():
    """The byte behind each of the characters in which `tokenizers` writes bytes, in its order."""
    from tinylm.text.tokenizer import bpe_tokenizer

    learned = bpe_tokenizer(["a"], 257)
    names = json.loads(learned.to_json())["model"]["vocab"]
    return {name: learned.raw_bytes(i) for name, i in sorted(names.items(), key=lambda entry: entry[1]) if i}


def alphabet():
    return list(library_bytes().values())


def as_bytes(name):
    return b"".join(library_bytes()[c] for c in name)


def learned_by_the_library(words, times, most):
    """(tokenizer of `tokenizers`, merges as bytes): a word is a text, and the text is not cut further."""
    import tokenizers

    hf = tokenizers.Tokenizer(tokenizers.models.BPE())
    hf.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    # Two merges may make the same symbol, so a vocabulary of 256 + most could hold more than `most` merges.
    hf.train_from_iterator([w for w, n in zip(words, times) for _ in range(n)], tokenizers.trainers.BpeTrainer(
        vocab_size=256 + most, min_frequency=2, show_progress=False, initial_alphabet=sorted(library_bytes())))
    return hf, [(as_bytes(a), as_bytes(b)) for a, b in json.loads(hf.to_str())["model"]["merges"]]


@functools.cache
def some_merges():
    """(tokenizer, merges) of a fixed text with characters of one to four bytes."""
    lines = "the thé in the théâtre, a the, then 漢字 and 漢字; ab abab ababab 😀😀 😀"
    return learned_by_the_library([lines], [2], 60)


def draw_words(symbols="ab", most=6, length=8):
    """Lists of words of one to `length` characters, all different."""
    return strategies.lists(text(symbols, most=length, least=1), min_size=1, max_size=most, unique=True)


def times_of(rng, words):
    return rng.integers(1, 4, len(words)).tolist()


def a_list_of_symbols(found, name):
    claim(isinstance(found, list), f"{name} is {type(found).__name__}, not a list")
    for symbol in found:
        claim(isinstance(symbol, bytes), f"{name} holds {symbol!r}, which is {type(symbol).__name__}, not bytes")


def a_list_of_pairs(found):
    claim(isinstance(found, list), f"the merges are {type(found).__name__}, not a list")
    for pair in found:
        claim(isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(s, bytes) for s in pair),
              f"a merge is {pair!r}, not a tuple of two values of type bytes")


# ----------------------------------------------------------------------------------- 7.1 pair_counts
def slow_counts(words, times):
    """Every pair that occurs anywhere, looked for at every position of every word."""
    pairs = {(w[i], w[i + 1]) for w in words for i in range(len(w) - 1)}
    return {(a, b): sum(n * sum(w[i] == a and w[i + 1] == b for i in range(len(w) - 1)) for w, n in zip(words, times))
            for a, b in pairs}


def draw_cut(rng, W, n):
    """(words, times): W words of up to n symbols, of few kinds, so that pairs repeat within a word."""
    kinds = [b"a", b"b", b"ab", "é".encode()]
    return [[kinds[k] for k in rng.integers(0, 4, rng.integers(1, n + 1))] for _ in range(W)], times_of(rng, [0] * W)


def same_counts(found, want):
    claim(isinstance(found, dict), f"the counts are {type(found).__name__}, not a dictionary")
    for pair in sorted(set(found) | set(want), key=repr):
        claim(found.get(pair) == want.get(pair),
              f"the pair {pair!r} has {found.get(pair, 'no entry')!s}, expected {want.get(pair, 'no entry')!s}")


@check("pair_counts", "shapes")
def a_dictionary_of_pairs(yours):
    """pair_counts gives a dictionary whose keys are tuples of two symbols and whose values are whole numbers"""
    found = yours.pair_counts([[b"a", b"b"], [b"c"]], [1, 1])
    claim(isinstance(found, dict), f"{type(found).__name__}, not a dictionary")
    a_list_of_pairs(list(found))
    claim(all(isinstance(n, int) for n in found.values()), f"the values are {list(found.values())!r}")


@check("pair_counts", "worked case")
def the_book_example(yours):
    """low twice and lower once: l-o three times, o-w three times, w-e once, e-r once; and aaa has a-a twice"""
    same_counts(yours.pair_counts([[b"l", b"o", b"w"], [b"l", b"o", b"w", b"e", b"r"]], [2, 1]),
                {(b"l", b"o"): 3, (b"o", b"w"): 3, (b"w", b"e"): 1, (b"e", b"r"): 1})
    same_counts(yours.pair_counts([[b"a", b"a", b"a"]], [1]), {(b"a", b"a"): 2})


@check("pair_counts", "definition", W=whole(1, 4), n=whole(1, 8), points=2,
       look="what a word that occurs n times adds, and what happens where a pair was seen before")
def at_every_position(yours, rng, W, n):
    """counts[left, right] is the sum over words of times * positions at which left is followed by right"""
    words, times = draw_cut(rng, W, n)
    same_counts(yours.pair_counts(words, times), slow_counts(words, times))


@check("pair_counts", "property", W=whole(1, 4), n=whole(1, 8),
       look="a word of n symbols has n - 1 pairs; a word of one symbol has none")
def all_in_all(yours, rng, W, n):
    """the counts add up to times * (symbols - 1), summed over the words: nothing is lost, no word touches the next"""
    words, times = draw_cut(rng, W, n)
    same(total=(sum(yours.pair_counts(words, times).values()),
                sum(count * (len(w) - 1) for w, count in zip(words, times))))


# ----------------------------------------------------------------------------------------- 7.2 learn
@check("learn", "shapes")
def a_list_of_merges(yours):
    """learn gives a list of tuples of two symbols, and an empty list where nothing repeats"""
    a_list_of_pairs(yours.learn([b"aab", b"ab"], [1, 2], 3, alphabet()))
    same(merges=(yours.learn([b"abc", b"d"], [1, 1], 3, alphabet()), []))


@check("learn", "worked case")
def two_merges_by_hand(yours):
    """in abab and ab, a-b occurs 3 times and is merged; then (ab)-(ab) occurs once, which is not enough"""
    same(merges=(yours.learn([b"abab", b"ab"], [1, 1], 9, alphabet()), [(b"a", b"b")]))


@check("learn", "worked case",
       look="a symbol is used once, so aaa becomes aa a; and of equally frequent pairs, whose symbols are older?")
def a_run_of_one_letter(yours):
    """aaaaa, seen twice, becomes aa aa a; then (aa)-a goes before (aa)-(aa), because a is older; then (aa)-(aaa)"""
    same(merges=(yours.learn([b"aaaaa"], [2], 9, alphabet()),
                 [(b"a", b"a"), (b"aa", b"a"), (b"aa", b"aaa")]))


@check("learn", "definition", words=draw_words(), most=whole(0, 12), examples=30, points=2,
       look="equal counts: what is older is not what comes first in the alphabet of bytes, nor what was seen first")
def the_merges_of_the_library(yours, rng, words, most):
    """the merges are those that `tokenizers` learns from the same words"""
    times = times_of(rng, words)
    _, want = learned_by_the_library(words, times, most + 50)
    same(merges=(yours.learn([w.encode() for w in words], times, most, alphabet()), want[:most]))


@check("learn", "property", words=draw_words(LETTERS, length=6), most=whole(0, 12))
def of_any_bytes(yours, rng, words, most):
    """characters of several bytes and spaces are learned from like any others, as the library does"""
    times = times_of(rng, words)
    _, want = learned_by_the_library(words, times, most + 50)
    same(merges=(yours.learn([w.encode() for w in words], times, most, alphabet()), want[:most]))


@check("learn", "property", words=draw_words("abc"), most=whole(1, 8), look="what stops the loop")
def more_merges_begin_with_fewer(yours, rng, words, most):
    """asking for more merges changes none of the first ones, and there are never more than asked for"""
    raw, times = [w.encode() for w in words], times_of(rng, words)
    few, many = yours.learn(raw, times, most, alphabet()), yours.learn(raw, times, 2 * most, alphabet())
    claim(len(few) <= most, f"{len(few)} merges, where at most {most} were asked for")
    same(first_merges=(few, many[:most]))


@check("learn", "property", words=draw_words("abc"), most=whole(1, 8))
def a_word_listed_twice(yours, rng, words, most):
    """listing every word once more is the same as doubling its count"""
    raw, times = [w.encode() for w in words], times_of(rng, words)
    same(merges=(yours.learn(raw + raw, times + times, most, alphabet()),
                 yours.learn(raw, [2 * n for n in times], most, alphabet())))


# ---------------------------------------------------------------------------------------- 7.3 encode
MERGES = [(b"a", b"b"), (b"c", b"d"), (b"b", b"c"), (b"ab", b"cd")]


@check("encode", "shapes")
def a_list_of_bytes(yours):
    """encode gives a list of values of type bytes; of an empty text, an empty list"""
    a_list_of_symbols(yours.encode("abc", MERGES), "the answer")
    same(tokens=(yours.encode("", MERGES), []))


@check("encode", "worked case", look="which of the pairs in the text was learned first?")
def in_the_order_of_learning(yours):
    """with merges a-b, c-d, b-c, (ab)-(cd): abcd is one token, and bcd is b and cd although b-c is a merge too"""
    same(tokens=(yours.encode("abcd", MERGES), [b"abcd"]))
    same(tokens=(yours.encode("bcdbc", MERGES), [b"b", b"cd", b"bc"]))


@check("encode", "worked case")
def without_merges(yours):
    """without merges the tokens are the bytes of UTF-8: é has two"""
    same(tokens=(yours.encode("é!", []), [b"\xc3", b"\xa9", b"!"]))


def draw_merges(rng, M):
    """(tokenizer, merges): merges of random symbols, as no text would teach them; no symbol is made twice."""
    import tokenizers

    name = {raw: c for c, raw in library_bytes().items()}
    symbols, merges = ["a", "b", name[b" "]], []
    for _ in range(M):
        pair = tuple(symbols[i] for i in rng.integers(0, min(len(symbols), 6), 2))
        if "".join(pair) not in symbols:
            merges.append(pair)
            symbols.append("".join(pair))
    hf = tokenizers.Tokenizer(tokenizers.models.BPE({s: i for i, s in enumerate(symbols)}, merges))
    hf.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return hf, [(as_bytes(a), as_bytes(b)) for a, b in merges]


@check("encode", "definition", M=whole(2, 12), n=whole(2, 24), examples=40, points=2,
       look="of all pairs that are merges, the one learned first, until none is left")
def the_tokens_of_the_library(yours, rng, M, n):
    """the tokens are those of `tokenizers` with the same merges"""
    library, merges = draw_merges(rng, M)
    written = "".join(rng.choice(list("ab "), n))
    same(tokens=(yours.encode(written, merges), [as_bytes(t) for t in library.encode(written).tokens]))


@check("encode", "property", written=text(most=20), examples=30, look="str.encode")
def nothing_is_lost(yours, written):
    """the tokens of any text, put together, are the text in UTF-8"""
    _, merges = some_merges()
    found = yours.encode(written, merges)
    a_list_of_symbols(found, "the answer")
    claim(b"".join(found) == written.encode(), f"{b''.join(found)!r} came back, {written.encode()!r} went in")


@check("encode", "property", written=text("the a漢字😀b", most=24))
def nothing_is_left_to_merge(yours, written):
    """no two neighbours of the answer are a merge, and every token is a byte or was made by one"""
    _, merges = some_merges()
    found = yours.encode(written, merges)
    left = [pair for pair in zip(found, found[1:]) if pair in set(merges)]
    claim(not left, f"{left[:1]!r} could still be merged")
    made = {a + b for a, b in merges}
    strange = [t for t in found if len(t) != 1 and t not in made]
    claim(not strange, f"{strange[:1]!r} is no symbol")


@check("encode", "speed")
def a_page(yours):
    """information only"""
    library, merges = some_merges()
    page = "the thé in the théâtre, then 漢字 " * 20
    return compare_speed(yours, "encode", (page, merges), lambda page, merges: library.encode(page), "the library's")
