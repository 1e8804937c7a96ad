"""A probabilistic attribute grammar: one tree that samples, scores, enumerates and is proved unambiguous.

A grammar is a tree of five kinds of node:

- `Text` writes a fixed string;
- `Sequence` writes its parts one after the other;
- `Choice` writes one of its alternatives, drawn by their weights, independently of everything else;
- `Let` draws attributes (a hero, a place, a colour) and then writes its body;
- `Slot` writes one form of an attribute that an enclosing `Let` has drawn (the hero's name, "she", "her").

A derivation is the list of all draws and choices. Its probability is the product of theirs, so if a text has one
derivation only, the probability of the text is known exactly: p(text) = p(derivation).
`Grammar.check` proves that for the whole grammar, and `Grammar.parse` counts the derivations of one text.

There is no recursion: every derivation is finite and so is the set of texts.
"""

import heapq
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


class GrammarError(ValueError):
    """The grammar itself is wrong: an unknown name, a weight that is not positive, a second derivation."""


@dataclass(frozen=True, eq=False)
class Pool:
    """A table of values to draw from; every value is a row of named forms, for example name, he, his.

    Raises: GrammarError when the pool is empty, the rows have different forms or a weight is not positive.
    """

    name: str
    rows: tuple[Mapping[str, str], ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.rows:
            raise GrammarError(f"pool {self.name!r} is empty")
        if any(row.keys() != self.rows[0].keys() for row in self.rows):
            raise GrammarError(f"the rows of pool {self.name!r} have different forms")
        object.__setattr__(self, "weights", _checked_weights(self.weights, len(self.rows), f"pool {self.name!r}"))


@dataclass(frozen=True, eq=False)
class Text:
    """Write `text`."""

    text: str
    closed = True


@dataclass(frozen=True, eq=False)
class Slot:
    """Write the form `form` of the attribute `attribute`, in one of the styles of `styled`."""

    attribute: str
    form: str
    style: str = ""
    closed = False


@dataclass(frozen=True, eq=False)
class Sequence:
    """Write `parts` in order."""

    parts: tuple["Node", ...]

    @cached_property
    def closed(self) -> bool:
        """Whether the text does not depend on attributes, so that the node means the same everywhere."""
        return all(part.closed for part in self.parts)


@dataclass(frozen=True, eq=False)
class Choice:
    """Write alternative i with probability weights[i] / sum(weights).

    Raises: GrammarError when there is no alternative or a weight is not positive.
    """

    alternatives: tuple["Node", ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.alternatives:
            raise GrammarError("a choice without alternatives")
        object.__setattr__(self, "weights", _checked_weights(self.weights, len(self.alternatives), "a choice"))

    @cached_property
    def closed(self) -> bool:
        """Whether the text does not depend on attributes, so that the node means the same everywhere."""
        return all(alternative.closed for alternative in self.alternatives)


@dataclass(frozen=True, eq=False)
class Let:
    """Draw the attributes in order, then write `body`. Draws from one pool are without replacement: two heroes
    never share a name.

    Raises: GrammarError when more is drawn from a pool than it has.
    """

    draws: tuple[tuple[str, Pool], ...]
    body: "Node"
    closed = False

    def __post_init__(self) -> None:
        for _, pool in self.draws:
            if sum(other is pool for _, other in self.draws) > len(pool.rows):
                raise GrammarError(f"more is drawn from pool {pool.name!r} than it has")


Node = Text | Slot | Sequence | Choice | Let
# An attribute in scope: its place in the environment, its pool, and the places of the attributes that must differ
# from it.
Scope = Mapping[str, tuple[int, Pool, tuple[int, ...]]]
UNBOUND = -1


def _checked_weights(weights: SequenceOf[float], count: int, owner: str) -> tuple[float, ...]:
    weights = tuple(weights) or (1.0,) * count
    if len(weights) != count:
        raise GrammarError(f"{owner} has {count} alternatives and {len(weights)} weights")
    if not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise GrammarError(f"{owner} has a weight that is not positive")
    return weights


def styled(text: str, style: str) -> str:
    """Return `text` as it is (""), with a capital ("cap"), with its article ("a") or with a capital article ("A").

    Raises: GrammarError for another style, or when an article is asked for an empty text.
    """
    if style == "":
        return text
    if style == "cap":
        return text[:1].upper() + text[1:]
    if style in ("a", "A"):
        if not text:
            raise GrammarError("an article needs a word after it")
        spoken_as_consonant = text.startswith(("uni", "use", "usu", "one"))
        spoken_as_vowel = text[0] in "aeiou" or text.startswith(("hour", "honest"))
        return style + ("n " if spoken_as_vowel and not spoken_as_consonant else " ") + text
    raise GrammarError(f"unknown style {style!r}")


def _slot_texts(slot: Slot, scope: Scope) -> list[str]:
    """The text of the slot for every row of its pool."""
    if slot.attribute not in scope:
        raise GrammarError(f"attribute {slot.attribute!r} is used but not drawn")
    pool = scope[slot.attribute][1]
    if slot.form not in pool.rows[0]:
        raise GrammarError(f"pool {pool.name!r} has no form {slot.form!r}")
    return [styled(row[slot.form], slot.style) for row in pool.rows]


def _inner_scope(node: Let, scope: Scope) -> dict[str, tuple[int, Pool, tuple[int, ...]]]:
    base = len(scope)
    inner = dict(scope)
    for i, (name, pool) in enumerate(node.draws):
        if name in inner:
            raise GrammarError(f"attribute {name!r} is drawn twice")
        same_pool = tuple(base + j for j, (_, other) in enumerate(node.draws) if other is pool and j != i)
        inner[name] = (base + i, pool, same_pool)
    return inner


def _log_weights(weights: SequenceOf[float]) -> tuple[float, ...]:
    total = math.fsum(weights)
    return tuple(math.log(weight / total) for weight in weights)


def _draw_log_probability(pool: Pool, taken: SequenceOf[int], value: int) -> float:
    """ln p(value | taken): the weight of `value` over the weights of what is left in the pool."""
    left = math.fsum(weight for i, weight in enumerate(pool.weights) if i not in taken)
    return math.log(pool.weights[value] / left)


# Sampling ------------------------------------------------------------------------------------------------------------

Writer = Callable[[list[str], list[int], Callable[[], float]], float]


def _picker(weights: SequenceOf[float]) -> Callable[[float], int]:
    """A function from a uniform number in [0, 1) to an index, by inversion of the cumulative weights."""
    count = len(weights)
    if all(weight == weights[0] for weight in weights):
        return lambda uniform: int(uniform * count)
    total = math.fsum(weights)
    # Without its last entry (which rounding could put below 1) the table can never give an index too high.
    table = [math.fsum(weights[: i + 1]) / total for i in range(count - 1)]
    return lambda uniform: bisect_right(table, uniform)


def _writer(node: Node, scope: Scope, memo: dict[Node, Writer]) -> Writer:
    """Compile `node` to a function that appends its text to `out` and returns the log-probability of what it drew;
    closed nodes once."""
    if not node.closed:
        return _new_writer(node, scope, memo)
    if node not in memo:
        memo[node] = _new_writer(node, scope, memo)
    return memo[node]


def _new_writer(node: Node, scope: Scope, memo: dict[Node, Writer]) -> Writer:
    if isinstance(node, Text):
        text = node.text

        def write_text(out, env, uniform):
            out.append(text)
            return 0.0

        return write_text
    if isinstance(node, Slot):
        texts = _slot_texts(node, scope)
        place = scope[node.attribute][0]

        def write_slot(out, env, uniform):
            out.append(texts[env[place]])
            return 0.0

        return write_slot
    if isinstance(node, Sequence):
        writers = tuple(_writer(part, scope, memo) for part in node.parts)

        def write_sequence(out, env, uniform):
            total = 0.0
            for write in writers:
                total += write(out, env, uniform)
            return total

        return write_sequence
    if isinstance(node, Choice):
        logs = _log_weights(node.weights)
        pick = _picker(node.weights)
        # Most choices are between words: they need no call for the alternative, which doubles the speed of sampling.
        if all(isinstance(alternative, Text) for alternative in node.alternatives):
            texts = [alternative.text for alternative in node.alternatives]

            def write_word(out, env, uniform):
                i = pick(uniform())
                out.append(texts[i])
                return logs[i]

            return write_word
        alternatives = [_writer(alternative, scope, memo) for alternative in node.alternatives]

        def write_choice(out, env, uniform):
            i = pick(uniform())
            return logs[i] + alternatives[i](out, env, uniform)

        return write_choice
    inner = _inner_scope(node, scope)
    body = _writer(node.body, inner, memo)
    base = len(scope)
    draws = [(pool, [p for p in inner[name][2] if p < base + i]) for i, (name, pool) in enumerate(node.draws)]
    tables: dict[tuple[int, tuple[int, ...]], tuple[list[int], Callable[[float], int], list[float]]] = {}

    def table(i, pool, taken):
        left = [value for value in range(len(pool.rows)) if value not in taken]
        logs = [_draw_log_probability(pool, taken, value) for value in left]
        tables[i, taken] = entry = left, _picker([pool.weights[value] for value in left]), logs
        return entry

    def write_let(out, env, uniform):
        total = 0.0
        for i, (pool, earlier) in enumerate(draws):
            taken = tuple(env[place] for place in earlier)
            left, pick, logs = tables.get((i, taken)) or table(i, pool, taken)
            j = pick(uniform())
            env.append(left[j])
            total += logs[j]
        total += body(out, env, uniform)
        del env[base:]
        return total

    return write_let


def _most_draws(node: Node) -> int:
    """The largest number of uniform numbers that one derivation consumes."""
    if isinstance(node, Sequence):
        return sum(_most_draws(part) for part in node.parts)
    if isinstance(node, Choice):
        return 1 + max(_most_draws(alternative) for alternative in node.alternatives)
    if isinstance(node, Let):
        return len(node.draws) + _most_draws(node.body)
    return 0


# Parsing -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parse:
    """All derivations of one text together: how many there are, and ln of the sum of their probabilities (nats)."""

    derivations: int
    log_probability: float


# A state of the parser is (position in the text, environment); its value is (number of derivations, ln of their
# probability).
State = tuple[int, tuple[int, ...]]
States = dict[State, tuple[int, float]]
Reader = Callable[[str, int, tuple[int, ...]], States]


def _add(states: States, state: State, count: int, log_p: float) -> None:
    if state in states:
        old_count, old_log_p = states[state]
        high, low = max(old_log_p, log_p), min(old_log_p, log_p)
        states[state] = old_count + count, high + math.log1p(math.exp(low - high))
    else:
        states[state] = count, log_p


def _first(node: Node, scope: Scope) -> tuple[set[str], bool]:
    """The characters a text of `node` can begin with, and whether it can be empty."""
    if isinstance(node, Text):
        return set(node.text[:1]), not node.text
    if isinstance(node, Slot):
        texts = _slot_texts(node, scope)
        return {text[0] for text in texts if text}, "" in texts
    if isinstance(node, Sequence):
        characters: set[str] = set()
        for part in node.parts:
            more, empty = _first(part, scope)
            characters |= more
            if not empty:
                return characters, False
        return characters, True
    if isinstance(node, Choice):
        firsts = [_first(alternative, scope) for alternative in node.alternatives]
        return set().union(*(characters for characters, _ in firsts)), any(empty for _, empty in firsts)
    return _first(node.body, _inner_scope(node, scope))


def _reader(node: Node, scope: Scope, memo: dict[Node, Reader]) -> Reader:
    """Compile `node` to a function that finds every way to read it at a position (the forward algorithm).

    An attribute is bound where it is first read, not where it is drawn, so that the parser need not try every hero
    with every place. An attribute that is never read stays open, and all of its values are counted at the end.
    """
    if not node.closed:
        return _new_reader(node, scope, memo)
    if node not in memo:
        memo[node] = _new_reader(node, scope, memo)
    return memo[node]


def _new_reader(node: Node, scope: Scope, memo: dict[Node, Reader]) -> Reader:
    if isinstance(node, Text):
        fixed, length = node.text, len(node.text)

        def read_text(text, position, env):
            return {(position + length, env): (1, 0.0)} if text.startswith(fixed, position) else {}

        return read_text
    if isinstance(node, Slot):
        texts = _slot_texts(node, scope)
        place, _, rivals = scope[node.attribute]

        def read_slot(text, position, env):
            value = env[place]
            if value != UNBOUND:
                form = texts[value]
                return {(position + len(form), env): (1, 0.0)} if text.startswith(form, position) else {}
            states: States = {}
            for value, form in enumerate(texts):
                if text.startswith(form, position) and not any(env[rival] == value for rival in rivals):
                    states[position + len(form), env[:place] + (value,) + env[place + 1 :]] = 1, 0.0
            return states

        return read_slot
    if isinstance(node, Sequence):
        readers = tuple(_reader(part, scope, memo) for part in node.parts)

        def read_sequence(text, position, env):
            states: States = {(position, env): (1, 0.0)}
            for read in readers:
                following: States = {}
                for (position, env), (count, log_p) in states.items():
                    for state, (more, more_log_p) in read(text, position, env).items():
                        _add(following, state, count * more, log_p + more_log_p)
                if not following:
                    return following
                states = following
            return states

        return read_sequence
    if isinstance(node, Choice):
        by_first: dict[str, list[tuple[Reader, float]]] = {}
        can_be_empty: list[tuple[Reader, float]] = []
        for alternative, log_weight in zip(node.alternatives, _log_weights(node.weights)):
            entry = _reader(alternative, scope, memo), log_weight
            characters, empty = _first(alternative, scope)
            if empty:
                can_be_empty.append(entry)
            else:
                for character in characters:
                    by_first.setdefault(character, []).append(entry)

        def read_choice(text, position, env):
            states: States = {}
            for read, log_weight in itertools.chain(by_first.get(text[position : position + 1], ()), can_be_empty):
                for state, (count, log_p) in read(text, position, env).items():
                    _add(states, state, count, log_weight + log_p)
            return states

        return read_choice
    inner = _inner_scope(node, scope)
    body = _reader(node.body, inner, memo)
    base, size = len(scope), len(node.draws)
    pools = [pool for _, pool in node.draws]
    rivals = [inner[name][2] for name, _ in node.draws]

    def complete(env: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Every environment that gives the open attributes a value."""
        if UNBOUND not in env[base:]:
            yield env
            return
        place = env.index(UNBOUND, base)
        for value in range(len(pools[place - base].rows)):
            if not any(env[rival] == value for rival in rivals[place - base]):
                yield from complete(env[:place] + (value,) + env[place + 1 :])

    def read_let(text, position, env):
        states: States = {}
        for (end, opened), (count, log_p) in body(text, position, env + (UNBOUND,) * size).items():
            for bound in complete(opened):
                drawn = 0.0
                for i, pool in enumerate(pools):
                    taken = [bound[rival] for rival in rivals[i] if rival < base + i]
                    drawn += _draw_log_probability(pool, taken, bound[base + i])
                _add(states, (end, bound[:base]), count, drawn + log_p)
        return states

    return read_let


# Enumeration and exact sums ------------------------------------------------------------------------------------------


def _enumerate(node: Node, scope: Scope, env: tuple[int, ...]) -> Iterator[tuple[str, float]]:
    """Every derivation of `node` as (text, log-probability)."""
    if isinstance(node, Text):
        yield node.text, 0.0
    elif isinstance(node, Slot):
        yield _slot_texts(node, scope)[env[scope[node.attribute][0]]], 0.0
    elif isinstance(node, Sequence):
        if not node.parts:
            yield "", 0.0
            return
        rest = Sequence(node.parts[1:])
        for head, head_log_p in _enumerate(node.parts[0], scope, env):
            for tail, tail_log_p in _enumerate(rest, scope, env):
                yield head + tail, head_log_p + tail_log_p
    elif isinstance(node, Choice):
        for alternative, log_weight in zip(node.alternatives, _log_weights(node.weights)):
            for text, log_p in _enumerate(alternative, scope, env):
                yield text, log_weight + log_p
    else:
        inner = _inner_scope(node, scope)
        for values in itertools.product(*(range(len(pool.rows)) for _, pool in node.draws)):
            bound = env + values
            log_drawn = 0.0
            for i, (name, pool) in enumerate(node.draws):
                taken = [bound[rival] for rival in inner[name][2] if rival < len(env) + i]
                if values[i] in taken:
                    break
                log_drawn += _draw_log_probability(pool, taken, values[i])
            else:
                for text, log_p in _enumerate(node.body, inner, bound):
                    yield text, log_drawn + log_p


def count_derivations(node: Node) -> int:
    """The exact number of derivations of `node`; of different texts, if the grammar is unambiguous."""
    if isinstance(node, Sequence):
        return math.prod(count_derivations(part) for part in node.parts)
    if isinstance(node, Choice):
        return sum(count_derivations(alternative) for alternative in node.alternatives)
    if isinstance(node, Let):
        drawn: dict[int, int] = {}
        ways = 1
        for _, pool in node.draws:
            ways *= len(pool.rows) - drawn.get(id(pool), 0)
            drawn[id(pool)] = drawn.get(id(pool), 0) + 1
        return ways * count_derivations(node.body)
    return 1


def _draw_moments(node: Let) -> tuple[float, dict[str, list[float]]]:
    """The entropy of the draws of a `Let` (nats) and the marginal distribution of every attribute."""
    entropy = 0.0
    marginals: dict[str, list[float]] = {}
    for pool in dict.fromkeys(pool for _, pool in node.draws):
        names = [name for name, other in node.draws if other is pool]
        size = len(pool.rows)
        if len(set(pool.weights)) == 1:
            entropy += math.fsum(math.log(size - i) for i in range(len(names)))
            marginals.update((name, [1 / size] * size) for name in names)
            continue
        marginals.update((name, [0.0] * size) for name in names)
        for values in itertools.permutations(range(size), len(names)):
            log_p = math.fsum(_draw_log_probability(pool, values[:i], value) for i, value in enumerate(values))
            entropy -= math.exp(log_p) * log_p
            for name, value in zip(names, values):
                marginals[name][value] += math.exp(log_p)
    return entropy, marginals


def _expectations(node: Node, scope: Scope, marginals: Mapping[str, list[float]]) -> tuple[float, float]:
    """E[-ln p] (nats) and E[length] (characters) of `node`, by linearity of the expectation."""
    if isinstance(node, Text):
        return 0.0, float(len(node.text))
    if isinstance(node, Slot):
        return 0.0, math.fsum(p * len(text) for p, text in zip(marginals[node.attribute], _slot_texts(node, scope)))
    if isinstance(node, Sequence):
        parts = [_expectations(part, scope, marginals) for part in node.parts]
        return math.fsum(entropy for entropy, _ in parts), math.fsum(length for _, length in parts)
    if isinstance(node, Choice):
        entropy = length = 0.0
        for alternative, log_p in zip(node.alternatives, _log_weights(node.weights)):
            inner_entropy, inner_length = _expectations(alternative, scope, marginals)
            entropy += math.exp(log_p) * (inner_entropy - log_p)
            length += math.exp(log_p) * inner_length
        return entropy, length
    drawn_entropy, drawn_marginals = _draw_moments(node)
    entropy, length = _expectations(node.body, _inner_scope(node, scope), {**marginals, **drawn_marginals})
    return drawn_entropy + entropy, length


# Length --------------------------------------------------------------------------------------------------------------


@dataclass
class _Linear:
    """A length as a function of the attributes: constant + sum over slots + sum over choices of the least
    alternative."""

    constant: int = 0
    slots: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    choices: list[list["_Linear"]] = field(default_factory=list)

    def least(self, allowed: Mapping[str, SequenceOf[int]]) -> int:
        """A lower bound when attribute a may be any of allowed[a]; exact when each has one value left."""
        total = self.constant
        for name, lengths in self.slots:
            values = allowed[name]
            total += lengths[values[0]] if len(values) == 1 else min(lengths[value] for value in values)
        for alternatives in self.choices:
            total += min(alternative.least(allowed) for alternative in alternatives)
        return total

    def lengths_of(self, name: str) -> list[tuple[int, ...]]:
        """All the slots of one attribute, also those inside choices."""
        found = [lengths for other, lengths in self.slots if other == name]
        for alternatives in self.choices:
            for alternative in alternatives:
                found += alternative.lengths_of(name)
        return found


def _linear(node: Node, scope: Scope, sign: int) -> _Linear:
    if isinstance(node, Text):
        return _Linear(sign * len(node.text))
    if isinstance(node, Slot):
        return _Linear(0, [(node.attribute, tuple(sign * len(text) for text in _slot_texts(node, scope)))])
    if isinstance(node, Sequence):
        out = _Linear()
        for part in node.parts:
            inner = _linear(part, scope, sign)
            out.constant += inner.constant
            out.slots += inner.slots
            out.choices += inner.choices
        return out
    if isinstance(node, Choice):
        alternatives = [_linear(alternative, scope, sign) for alternative in node.alternatives]
        fixed = [a for a in alternatives if not a.slots and not a.choices]
        open_ones = [a for a in alternatives if a.slots or a.choices]
        # Only the shortest of the alternatives of fixed length can ever be the least.
        alternatives = open_ones + ([min(fixed, key=lambda a: a.constant)] if fixed else [])
        return alternatives[0] if len(alternatives) == 1 else _Linear(0, [], [alternatives])
    return _Linear(_least_of_let(node, scope, sign))


def _least_of_let(node: Let, scope: Scope, sign: int) -> int:
    """The exact least of sign * length over all derivations of a `Let`, by best-first branch and bound over its
    draws."""
    if scope:
        raise GrammarError("the length of a nested Let is not supported")
    inner = _inner_scope(node, scope)
    length = _linear(node.body, inner, sign)
    choices: dict[str, list[int]] = {}
    for name, pool in node.draws:
        relatives = [other for other, other_pool in node.draws if other_pool is pool]
        tables = [table for relative in relatives for table in length.lengths_of(relative)]
        # Values with the same lengths everywhere are interchangeable; keep as many as draws without replacement can
        # use up.
        kept: dict[tuple[int, ...], list[int]] = {}
        for value in range(len(pool.rows)):
            group = kept.setdefault(tuple(table[value] for table in tables), [])
            if len(group) < len(relatives):
                group.append(value)
        choices[name] = [value for group in kept.values() for value in group]
    names = [name for name, _ in node.draws]
    heap = [(length.least(choices), 0, ())]
    while True:
        bound, depth, values = heapq.heappop(heap)
        if -depth == len(names):
            return bound
        name = names[-depth]
        rivals = inner[name][2]
        for value in choices[name]:
            if any(rival < len(values) and values[rival] == value for rival in rivals):
                continue
            chosen = values + (value,)
            allowed = {**choices, **{other: [v] for other, v in zip(names, chosen)}}
            heapq.heappush(heap, (length.least(allowed), depth - 1, chosen))


# The proof that a text has one derivation ----------------------------------------------------------------------------


def _unidentified(node: Node, scope: Scope) -> set[str]:
    """The attributes in scope that some text of `node` does not pin down by a form that differs between all values."""
    if isinstance(node, Slot):
        texts = _slot_texts(node, scope)
        return set(scope) - ({node.attribute} if len(set(texts)) == len(texts) else set())
    if isinstance(node, Sequence):
        return set(scope).intersection(*(_unidentified(part, scope) for part in node.parts))
    if isinstance(node, Choice):
        return set().union(*(_unidentified(alternative, scope) for alternative in node.alternatives))
    if isinstance(node, Let):
        inner = _inner_scope(node, scope)
        missing = _unidentified(node.body, inner)
        drawn = {name for name, _ in node.draws}
        if missing & drawn:
            raise GrammarError(f"attribute {sorted(missing & drawn)[0]!r} cannot be recovered from every text")
        return missing & set(scope)
    return set(scope)


class _Automaton:
    """The grammar as a finite automaton that forgets what the attributes are bound to.

    It accepts every text of the grammar, along at least as many paths as the text has derivations (`_unidentified`
    makes sure that a derivation is known from its path). So if no text has two paths, no text has two derivations.
    An option is an edge (text, target); a state is a list of options; state 0 accepts.
    """

    def __init__(self, root: Node) -> None:
        self.options: list[tuple[str, int]] = []
        self.states: list[list[int]] = [[]]
        self.start = self._state(self._build(root, 0, {}))

    def _state(self, options: list[int]) -> int:
        self.states.append(options)
        return len(self.states) - 1

    def _option(self, text: str, target: int) -> int:
        self.options.append((text, target))
        return len(self.options) - 1

    def _build(self, node: Node, target: int, scope: Scope) -> list[int]:
        if isinstance(node, Text):
            return [self._option(node.text, target)]
        if isinstance(node, Slot):
            return [self._option(text, target) for text in dict.fromkeys(_slot_texts(node, scope))]
        if isinstance(node, Choice):
            return [option for alternative in node.alternatives for option in self._build(alternative, target, scope)]
        if isinstance(node, Let):
            return self._build(node.body, target, _inner_scope(node, scope))
        options = [self._option("", target)]
        for i, part in enumerate(reversed(node.parts)):
            if i:
                target = self._state(options)
            options = self._build(part, target, scope)
        return options

    def _items(self, options: SequenceOf[int]) -> list[tuple[int, int]]:
        """The items (option, offset) reached without reading a character; accepting is the item (-1, 0)."""
        items: list[tuple[int, int]] = []
        for option in options:
            text, target = self.options[option]
            if text:
                items.append((option, 0))
            elif target == 0:
                items.append((-1, 0))
            else:
                items += self._items(self.states[target])
        return items

    def ambiguity(self) -> str | None:
        """A piece of text that two paths read from one state to one state, or None.

        Two different paths with the same text part at some state and meet again at another, so it is enough to
        follow, from every state, all paths at once (the subset construction) and to look for an item that is
        reached twice.
        Where a text is read by one path only there is no rival, and nothing to follow.
        """
        seen: set[tuple[tuple[int, int], ...]] = set()
        for options in self.states:
            if len(options) < 2:
                continue
            stack = [("", self._items(options))]
            while stack:
                read, items = stack.pop()
                if len(set(items)) < len(items):
                    return read
                by_character: dict[str, list[tuple[int, int]]] = {}
                for option, offset in items:
                    if option >= 0:
                        by_character.setdefault(self.options[option][0][offset], []).append((option, offset))
                for character, rivals in by_character.items():
                    if len(rivals) < 2:
                        continue
                    following: list[tuple[int, int]] = []
                    for option, offset in rivals:
                        text, target = self.options[option]
                        if offset + 1 < len(text):
                            following.append((option, offset + 1))
                        elif target == 0:
                            following.append((-1, 0))
                        else:
                            following += self._items(self.states[target])
                    key = tuple(sorted(following))
                    if key not in seen or len(set(key)) < len(key):
                        seen.add(key)
                        stack.append((read + character, following))
        return None


# The grammar ---------------------------------------------------------------------------------------------------------


class Grammar:
    """A probabilistic attribute grammar with the root `root`; compiled when it is first used.

    Raises: GrammarError when an attribute is used but not drawn, or a form does not exist.
    """

    def __init__(self, root: Node) -> None:
        self.root = root
        self._write: Writer | None = None
        self._read: Reader | None = None
        self._uniforms = _most_draws(root)

    def sample(self, rng: np.random.Generator) -> tuple[str, float]:
        """Draw a text; return it with its log-probability in nats. Always consumes the same number of uniform
        numbers."""
        if self._write is None:
            self._write = _writer(self.root, {}, {})
        out: list[str] = []
        log_p = self._write(out, [], iter(rng.random(self._uniforms).tolist()).__next__)
        return "".join(out), log_p

    def parse(self, text: str) -> Parse:
        """Count all derivations of `text` and add up their probabilities; a text that is not in the grammar has
        none and ln p = -inf."""
        if self._read is None:
            self._read = _reader(self.root, {}, {})
        count, log_p = self._read(text, 0, ()).get((len(text), ()), (0, -math.inf))
        return Parse(count, log_p)

    def log_probability(self, text: str) -> float:
        """ln p(text), in nats.

        Raises: ValueError when the grammar cannot produce the text, or produces it in more than one way.
        """
        parse = self.parse(text)
        if parse.derivations != 1:
            what = "has no derivation" if not parse.derivations else f"has {parse.derivations} derivations"
            raise ValueError(f"the text {text[:40]!r}... {what} in this grammar")
        return parse.log_probability

    def enumerate(self) -> Iterator[tuple[str, float]]:
        """Every derivation as (text, log-probability). Only for a small grammar: see `count_derivations`."""
        return _enumerate(self.root, {}, ())

    def length_range(self) -> tuple[int, int]:
        """The exact lengths of the shortest and of the longest text, in characters."""
        return _linear(self.root, {}, 1).least({}), -_linear(self.root, {}, -1).least({})

    def expectations(self) -> tuple[float, float]:
        """The exact entropy of a text, in nats, and its expected length, in characters."""
        return _expectations(self.root, {}, {})

    def check(self) -> None:
        """Prove that every text of the grammar has exactly one derivation.

        Raises: GrammarError with the attribute that cannot be recovered, or with a piece of text that can be read
        in two ways. The check is strict: it ignores what the attributes are bound to, so it may refuse an
        unambiguous grammar, and never accepts an ambiguous one.
        """
        _unidentified(self.root, {})
        piece = _Automaton(self.root).ambiguity()
        if piece is not None:
            raise GrammarError(f"the piece of text {piece!r} can be read in two ways")


def cut(node: Node, keep: Callable[[int], SequenceOf[int]], pools: dict[int, Pool] | None = None) -> Node:
    """The same tree with fewer alternatives: keep(n) says which of n alternatives, or rows of a pool, stay; their
    weights are shared out among them.

    The rows of a pool are cut once, so that two attributes of one pool still draw from one pool.
    """
    pools = {} if pools is None else pools
    if isinstance(node, Sequence):
        return Sequence(tuple(cut(part, keep, pools) for part in node.parts))
    if isinstance(node, Choice):
        kept = keep(len(node.alternatives))
        return Choice(tuple(cut(node.alternatives[i], keep, pools) for i in kept), tuple(node.weights[i] for i in kept))
    if isinstance(node, Let):
        for _, pool in node.draws:
            if id(pool) not in pools:
                needed = sum(other is pool for _, other in node.draws)
                kept = list(keep(len(pool.rows)))
                kept += [i for i in range(len(pool.rows)) if i not in kept][: max(0, needed - len(kept))]
                pools[id(pool)] = Pool(
                    pool.name, tuple(pool.rows[i] for i in kept), tuple(pool.weights[i] for i in kept)
                )
        return Let(tuple((name, pools[id(pool)]) for name, pool in node.draws), cut(node.body, keep, pools))
    return node
