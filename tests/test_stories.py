"""The corpus `stories`: one derivation for a text, the stated probabilities are the true ones, and the floor
follows from them."""

import functools
import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinylm.text import stories
from tinylm.text.stories.grammar import (
    Choice,
    Grammar,
    GrammarError,
    Let,
    Pool,
    Sequence,
    Slot,
    Text,
    count_derivations,
    cut,
    styled,
)
from tinylm.text.stories.notation import Translator, table, words

PLOTS = stories.plot_names()


@functools.cache
def sample_of(count: int, seed: int = 0) -> list[tuple[str, float]]:
    return list(stories.generate(count, seed))


@functools.cache
def plot_grammar(index: int) -> Grammar:
    return Grammar(stories.grammar().root.alternatives[index])


def toy(root) -> Grammar:
    return Grammar(root)


# A grammar with everything in it: two draws from one weighted pool, another pool, an empty alternative, weights.
NAMES = Pool(
    "names", ({"name": "Ada", "he": "she"}, {"name": "Ben", "he": "he"}, {"name": "Kit", "he": "she"}), (1.0, 2.0, 3.0)
)
COLOURS = words("colours", "red|amber")
TOY = Translator({"glad": "glad|very happy@2"}).plot(
    {"hero": NAMES, "friend": NAMES, "colour": COLOURS},
    """
    {hero} met {friend}.
    {friend} [|often ]greeted {hero}. @0.5

    {Hero.he} had {a colour} [hat|coat@3] and was <glad>.
    """,
)


def cut_story(seed: int, limit: int) -> Grammar:
    """A random plot cut down to at most `limit` derivations: the full tree, with one or two alternatives at every
    choice."""
    rng = np.random.default_rng(seed)
    plot = stories.grammar().root.alternatives[rng.integers(len(PLOTS))]
    chance = 0.06
    while True:

        def keep(n, chance=chance):
            return sorted(rng.choice(n, size=min(n, 1 + int(rng.random() < chance)), replace=False).tolist())

        small = cut(plot, keep)
        if count_derivations(small) <= limit:
            return Grammar(small)
        chance /= 1.5


# The corpus ----------------------------------------------------------------------------------------------------------


def test_there_are_at_least_forty_plots_with_names_of_their_own():
    assert len(PLOTS) >= 40
    assert len(set(PLOTS)) == len(PLOTS)


def test_no_story_is_told_twice():
    texts = [text for text, _ in sample_of(4000)]
    assert len(set(texts)) == len(texts)


def test_articles_are_left_to_the_notation():
    from tinylm.text.stories.plots import PLOTS as sources
    from tinylm.text.stories.words import PHRASES

    for source in (*(plot.beats for plot in sources), *PHRASES.values()):
        assert not re.search(r"\b[Aa]n?\]? [{<]", source), source


def test_at_least_fifteen_hundred_words_and_a_small_alphabet():
    texts = [text for text, _ in sample_of(4000)]
    assert len({word for text in texts for word in re.findall("[a-z'-]+", text.lower())}) >= 1500
    symbols = {symbol for text in texts for symbol in text}
    assert symbols <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz .,!?'\"-:\n")


def test_every_story_that_can_be_told_has_400_to_1200_characters():
    shortest, longest = stories.grammar().length_range()
    assert 400 <= shortest < longest <= 1200
    assert all(shortest <= len(text) <= longest for text, _ in sample_of(4000))


def test_the_text_is_tidy():
    for text, _ in sample_of(4000):
        assert not re.search(r"  | [.,!?]|\.\.| \n|\n |[^.!?\"]\n|[.!?]\"?[a-z]|,[^ \"]", text), text
        assert text[-1] in '.!?"' and text[0].isupper()
        assert text.count('"') % 2 == 0
        # Every sentence begins with a capital, and the article fits the sound of the next word.
        assert not re.search(r"[.] [a-z]", text), text
        assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiouh]", text), text


# Probabilities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(PLOTS)), ids=PLOTS)
def test_a_sampled_story_has_one_derivation_with_the_stated_probability(index):
    rng = np.random.default_rng(index)
    for _ in range(8):
        text, log_p = plot_grammar(index).sample(rng)
        parse = plot_grammar(index).parse(text)
        assert parse.derivations == 1
        assert parse.log_probability == pytest.approx(log_p, rel=1e-12)
        # Of all plots, only this one tells the story.
        assert stories.log_probability(text) == pytest.approx(log_p - math.log(len(PLOTS)), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_scoring_agrees_with_sampling(seed):
    text, log_p = stories.sample(np.random.default_rng(seed))
    assert stories.log_probability(text) == pytest.approx(log_p, rel=1e-12)


def test_the_whole_grammar_is_proved_unambiguous():
    stories.grammar().check()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_the_probabilities_of_a_cut_story_grammar_sum_to_one(seed):
    grammar = cut_story(seed, 400)
    listed = list(grammar.enumerate())
    assert math.fsum(math.exp(log_p) for _, log_p in listed) == pytest.approx(1.0, abs=1e-12)
    assert len({text for text, _ in listed}) == len(listed) == count_derivations(grammar.root)
    for text, log_p in listed[:: 1 + len(listed) // 20]:
        assert grammar.log_probability(text) == pytest.approx(log_p, rel=1e-12)


def test_the_toy_grammar_by_hand():
    # p(Ada, Ben) = 1/6 * 2/5; second form 1/3, "often " 1/2; amber 1/2; coat 3/4; very happy 2/3.
    expected = 1 / 6 * 2 / 5 * 1 / 3 * 1 / 2 * 1 / 2 * 3 / 4 * 2 / 3
    assert toy(TOY).log_probability(
        "Ben often greeted Ada. She had an amber coat and was very happy."
    ) == pytest.approx(math.log(expected))


def test_the_toy_grammar_sums_to_one_and_every_text_scores_as_listed():
    grammar = toy(TOY)
    listed = list(grammar.enumerate())
    assert math.fsum(math.exp(log_p) for _, log_p in listed) == pytest.approx(1.0, abs=1e-12)
    assert len({text for text, _ in listed}) == len(listed) == count_derivations(TOY) == 6 * 2 * 3 * 2 * 2
    assert all(grammar.log_probability(text) == pytest.approx(log_p, rel=1e-12) for text, log_p in listed)
    grammar.check()


@pytest.mark.parametrize("make", [lambda: toy(TOY), lambda: cut_story(3, 60)], ids=["toy", "story"])
def test_sampled_frequencies_match_the_probabilities(make):
    grammar = make()
    expected = {text: math.exp(log_p) for text, log_p in grammar.enumerate()}
    assert len(expected) >= 8
    rng, count = np.random.default_rng(1), 8000
    seen = dict.fromkeys(expected, 0)
    for _ in range(count):
        seen[grammar.sample(rng)[0]] += 1
    chi_square = sum((seen[text] - count * p) ** 2 / (count * p) for text, p in expected.items())
    freedom = len(expected) - 1
    # Mean of chi-square: the degrees of freedom; variance: twice as many. Five standard deviations, at a fixed seed.
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


# What the grammar cannot say -----------------------------------------------------------------------------------------


def tampered(text: str) -> list[str]:
    names = re.search(r"\b[A-Z][a-z]+\b(?=.*\b[A-Z][a-z]+\b)", text, re.DOTALL)
    return [
        text[:-1],
        text + " ",
        text + text[-1],
        text[1:],
        text.replace(" ", "  ", 1),
        text.swapcase(),
        text[: len(text) // 2],
        "Zed" + text[names.end() :],
    ]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_a_text_that_was_tampered_with_is_refused(seed):
    text, _ = stories.sample(np.random.default_rng(seed))
    for wrong in tampered(text):
        with pytest.raises(ValueError, match="no derivation"):
            stories.log_probability(wrong)


def test_a_hero_who_changes_name_or_pronoun_is_refused():
    grammar = toy(TOY)
    assert grammar.parse("Ada met Ben. She had a red hat and was glad.").derivations == 1
    assert grammar.parse("Ada met Ben. He had a red hat and was glad.").derivations == 0
    assert grammar.parse("Ada met Ada. She had a red hat and was glad.").derivations == 0
    assert grammar.parse("Ada met Ben. She had an red hat and was glad.").derivations == 0
    with pytest.raises(ValueError):
        stories.log_probability("")


AMBIGUOUS = {
    "the same word twice": (Choice((Text("a"), Text("a"))), "a", 2),
    "a prefix of another alternative": (
        Sequence((Choice((Text("a"), Text("ab"))), Choice((Text("bc"), Text("c"))))),
        "abc",
        2,
    ),
    "two ways to leave something out": (
        Sequence((Choice((Text(""), Text("x"))), Choice((Text(""), Text("x"))))),
        "x",
        2,
    ),
    "an attribute that never surfaces": (Let((("hero", NAMES),), Text("hello")), "hello", 3),
    "an attribute that only shows its pronoun": (Let((("hero", NAMES),), Slot("hero", "he")), "she", 2),
    "an attribute that surfaces on one path only": (
        Let((("hero", NAMES),), Choice((Slot("hero", "name"), Text("x")))),
        "x",
        3,
    ),
    "two attributes nobody can tell apart": (
        Let((("a", COLOURS), ("b", COLOURS)), Choice((Slot("a", "name"), Slot("b", "name")))),
        "red",
        2,
    ),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_grammar_is_found_out(name):
    root, text, derivations = AMBIGUOUS[name]
    parse = toy(root).parse(text)
    assert parse.derivations == derivations
    # The probabilities of the derivations add up to the probability of the text.
    listed = [log_p for other, log_p in toy(root).enumerate() if other == text]
    assert math.exp(parse.log_probability) == pytest.approx(math.fsum(map(math.exp, listed)))
    with pytest.raises(ValueError, match="derivations"):
        toy(root).log_probability(text)
    with pytest.raises(GrammarError):
        toy(root).check()


small_trees = st.recursive(
    st.sampled_from(["", "a", "b", "ab", "ba"]).map(Text),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Sequence(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Choice(tuple(parts))),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(root=small_trees)
def test_the_proof_agrees_with_counting_every_derivation(root):
    grammar = toy(root)
    texts = [text for text, _ in grammar.enumerate()]
    for text in set(texts):
        assert grammar.parse(text).derivations == texts.count(text)
    try:
        grammar.check()
        proved = True
    except GrammarError:
        proved = False
    # Without attributes the check is exact: it refuses all ambiguous grammars and no other.
    assert proved == (len(set(texts)) == len(texts))


# Determinism ---------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), counts=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_more_stories_begin_with_the_same_stories(seed, counts):
    few, many = sorted(counts)
    assert list(stories.generate(many, seed))[:few] == list(stories.generate(few, seed))


def test_another_seed_tells_other_stories():
    assert not {text for text, _ in sample_of(50, 1)} & {text for text, _ in sample_of(50, 2)}


def test_sampling_consumes_the_same_number_of_uniforms_for_every_story():
    used = set()
    for seed in range(20):
        rng = np.random.Generator(np.random.Philox(key=seed))
        stories.sample(rng)
        state = rng.bit_generator.state
        used.add((tuple(state["state"]["counter"].tolist()), state["buffer_pos"]))
    assert len(used) == 1


@pytest.mark.parametrize("count, seed", [(-1, 0), (1, -1), (1, 2**64)])
def test_impossible_requests_are_refused(count, seed):
    with pytest.raises(ValueError):
        stories.generate(count, seed)


# The entropy floor ---------------------------------------------------------------------------------------------------


def test_the_floor_of_three_documents_by_hand():
    floor = stories.entropy_floor([("abcd", -4 * math.log(2)), ("ab", -math.log(2)), ("abcdef", -7 * math.log(2))])
    assert floor.bits_per_byte == pytest.approx(12 / 12)
    # Residuals bits - 1 * bytes: 0, -1, 1; their variance is 1, the mean size is 4.
    assert floor.standard_error == pytest.approx(math.sqrt(1 / 3) / 4)
    assert floor.documents == 3
    assert stories.entropy_floor([("ab", -2 * math.log(2))] * 2, separator_bytes=2).bits_per_byte == pytest.approx(0.5)
    with pytest.raises(ValueError):
        stories.entropy_floor([("abcd", -1.0)])


def test_the_sampled_floor_agrees_with_the_one_computed_from_the_tree():
    floor = stories.entropy_floor(sample_of(4000))
    assert abs(floor.bits_per_byte - stories.expected_floor()) < 4 * floor.standard_error
    assert 0.2 < floor.bits_per_byte < 0.9
    assert floor.standard_error < 0.01 * floor.bits_per_byte


def test_expectations_of_the_toy_grammar_by_enumeration():
    listed = [(text, math.exp(log_p), log_p) for text, log_p in toy(TOY).enumerate()]
    entropy, length = toy(TOY).expectations()
    assert entropy == pytest.approx(-math.fsum(p * log_p for _, p, log_p in listed))
    assert length == pytest.approx(math.fsum(p * len(text) for text, p, _ in listed))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**63))
def test_the_length_range_is_exact(seed):
    grammar = cut_story(seed, 400)
    lengths = [len(text) for text, _ in grammar.enumerate()]
    assert grammar.length_range() == (min(lengths), max(lengths))


def test_the_length_range_respects_draws_without_replacement():
    pool = words("pool", "a|bbbb|cccc|ddddddd")
    grammar = toy(
        Let((("x", pool), ("y", pool)), Sequence((Slot("x", "name"), Text("-"), Slot("y", "name"), Slot("x", "name"))))
    )
    lengths = [len(text) for text, _ in grammar.enumerate()]
    assert grammar.length_range() == (min(lengths), max(lengths)) == (7, 19)


# The notation --------------------------------------------------------------------------------------------------------


def test_articles_and_capitals():
    assert [styled("owl", style) for style in ("", "cap", "a", "A")] == ["owl", "Owl", "an owl", "An owl"]
    assert [styled(word, "a") for word in ("unicorn", "useful hat", "honest boy", "umbrella", "one-eyed cat")] == [
        "a unicorn",
        "a useful hat",
        "an honest boy",
        "an umbrella",
        "a one-eyed cat",
    ]


@pytest.mark.parametrize(
    "beats",
    ["[a|b", "a|b", "{nobody} sat.", "{hero.nothing} sat.", "<nothing> sat.", "{hero sat.", "a ] b", "[|x]<a empty>"],
)
def test_a_mistake_in_the_notation_is_named(beats):
    with pytest.raises(GrammarError):
        toy(Translator({"empty": "[|x]"}).plot({"hero": NAMES}, beats)).sample(np.random.default_rng(0))


def test_a_mistake_in_a_grammar_is_named():
    with pytest.raises(GrammarError):
        table("t", "name|he\nAda")
    with pytest.raises(GrammarError):
        Pool("empty", ())
    with pytest.raises(GrammarError):
        Choice((Text("a"), Text("b")), (1.0, -1.0))
    with pytest.raises(GrammarError):
        Let(tuple((name, COLOURS) for name in "abc"), Text(""))
    with pytest.raises(GrammarError):
        toy(Slot("hero", "name")).sample(np.random.default_rng(0))


def test_the_committed_sample_is_from_the_generator():
    from pathlib import Path

    path = Path(__file__).parents[1] / "data" / "stories-sample.txt"
    told = path.read_text(encoding="ascii").split(f"\n{stories.SEPARATOR}\n")
    assert [text.rstrip("\n") for text in told] == [
        text for text, _ in itertools.islice(stories.generate(10, 0), len(told))
    ]
    assert len(told) == 10
