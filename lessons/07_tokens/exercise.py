"""Exercises of lesson 7: bytes to tokens.

Write the functions below and run `make check-7`.  Plain Python is all you need.  A symbol is a value of type
`bytes`, such as b"t" or b" the"; the symbol that a pair makes is left + right.
"""


def pair_counts(words, times):
    """How often each symbol stands right before each other one, within words.

    Pairs do not reach from one word into the next.  Neighbours overlap: b"a", b"a", b"a" has the pair
    (b"a", b"a") twice.

    words    list of words, each a list of symbols
    times    list of whole numbers: how often each word occurs in the text
    returns  dictionary {(left, right): count}; pairs that do not occur are not in it
    """
    raise NotImplementedError("TODO: exercise 7.1")


def learn(words, times, most, alphabet):
    """Byte-level BPE: merge the most frequent pair, count again, and so on.

    Every word begins as its single bytes.  Then, over and over: count the pairs of neighbouring symbols,
    choose the one with the highest count, and make one symbol of it wherever it occurs in any word, going
    from left to right and using no symbol twice (b"a", b"a", b"a" becomes b"aa", b"a").

    Where counts are equal, the pair with the older left symbol is chosen, and among those the one with the
    older right symbol.  The alphabet is oldest, in its order; after it come the made symbols in the order in
    which they were first made.  (The same symbol may be made in two ways; it is as old as the first.)

    Stop after `most` merges, or earlier, when no pair occurs at least twice.

    words     list of words, each of type bytes: the bytes of a piece of text
    times     list of whole numbers: how often each word occurs in the text
    most      how many merges at most
    alphabet  list of the 256 single-byte symbols, oldest first
    returns   list of merges in the order of learning, each a tuple (left, right) of symbols
    """
    raise NotImplementedError("TODO: exercise 7.2")


def encode(text, merges):
    """The tokens of a text: its UTF-8 bytes, with the merges done in the order in which they were learned.

    As long as a pair of neighbours is among the merges: of all those take the one that was learned first,
    and make one symbol of it wherever it occurs, from left to right.  The text is one word here.

    text     str, of any characters
    merges   list of tuples (left, right), in the order of learning
    returns  list of symbols: b"".join of it is the text in UTF-8
    """
    raise NotImplementedError("TODO: exercise 7.3")
