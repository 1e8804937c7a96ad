"""The notation the stories are written in, and its translation to the nodes of `grammar`.

| written | means |
|---|---|
| `[ran\\|raced@2\\|]` | one of the alternatives; `@2` is a weight (1 when nothing is said); the last one is empty |
| `{hero}`, `{hero.his}` | the attribute `hero`: its first form, or another form by name |
| `{Hero}`, `{hero.His}` | the same with a capital |
| `{a thing}`, `{A thing}` | the same with its article |
| `<glad>`, `<Glad>`, `<a glad>`, `<A glad>` | a phrase from the table, as it is, with a capital, with its article |

A plot is a text of beats. A blank line ends a beat, a line of its own is an alternative of the beat, and `//`
between two beats starts a new paragraph.
"""

import re
from collections.abc import Mapping

from tinylm.text.stories.grammar import Choice, GrammarError, Let, Node, Pool, Sequence, Slot, Text, styled


def table(name: str, rows: str) -> Pool:
    """A pool from lines of forms separated by `|`; the first line names the forms.

    Raises: GrammarError when a line has another number of forms than the first one.
    """
    header, *lines = [[cell.strip() for cell in line.split("|")] for line in rows.strip().splitlines()]
    if any(len(line) != len(header) for line in lines):
        raise GrammarError(f"a line of table {name!r} has another number of forms than its header")
    return Pool(name, tuple(dict(zip(header, line)) for line in lines))


def words(name: str, listing: str) -> Pool:
    """A pool of words with one form, separated by `|` or by new lines."""
    return Pool(name, tuple({"name": word.strip()} for word in re.split(r"[|\n]", listing) if word.strip()))


def _split(text: str, separators: str) -> list[str]:
    """Split at separators outside of brackets."""
    pieces, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character in separators and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    if depth:
        raise GrammarError(f"brackets do not match in {text!r}")
    return pieces


def _tidy(line: str) -> str:
    """Without the spaces around a line and before its weight."""
    return re.sub(r"\s+(@[0-9.]+)$", r"\1", line.strip())


def _with_style(node: Node, style: str) -> Node:
    """Give the first word of `node` a capital or an article."""
    if isinstance(node, Text):
        return Text(styled(node.text, style))
    if isinstance(node, Slot):
        if node.style:
            raise GrammarError(f"the slot {node.attribute!r} has a style already")
        return Slot(node.attribute, node.form, style)
    if isinstance(node, Choice):
        return Choice(tuple(_with_style(alternative, style) for alternative in node.alternatives), node.weights)
    if isinstance(node, Sequence) and node.parts:
        return Sequence((_with_style(node.parts[0], style), *node.parts[1:]))
    raise GrammarError("only a text can have a capital or an article")


class Translator:
    """Translates the notation, given the pools of the attributes in scope and the table of phrases.

    Raises (all methods): GrammarError for an unknown name or brackets that do not match.
    """

    def __init__(self, phrases: Mapping[str, str]) -> None:
        self._sources = phrases
        # A phrase may use attributes, whose first form depends on the pool, so it is translated anew for other pools.
        self._phrases: dict[tuple[str, tuple[tuple[str, int], ...]], Node] = {}
        self._closed_phrases: dict[str, Node] = {}

    def plot(self, draws: Mapping[str, Pool], source: str) -> Let:
        """A plot: its attributes and its beats."""
        parts: list[Node] = []
        separator = ""
        for beat in re.split(r"\n\s*\n", source.strip()):
            lines = [_tidy(line) for line in beat.splitlines()]
            if lines == ["//"]:
                separator = "\n"
                continue
            if separator:
                parts.append(Text(separator))
            parts.append(self._alternation(lines, draws))
            separator = " "
        return Let(tuple(draws.items()), _sequence(parts))

    def _alternation(self, sources: list[str], draws: Mapping[str, Pool]) -> Node:
        nodes, weights = [], []
        for source in sources:
            match = re.fullmatch(r"(.*)@([0-9.]+)", source, re.DOTALL)
            nodes.append(self._line(match[1] if match else source, draws))
            weights.append(float(match[2]) if match else 1.0)
        return nodes[0] if len(nodes) == 1 else Choice(tuple(nodes), tuple(weights))

    def _line(self, source: str, draws: Mapping[str, Pool]) -> Node:
        parts: list[Node] = []
        while source:
            opener = source[0]
            if opener == "[":
                depth = 0
                for end, character in enumerate(source):  # noqa: B007 (used after the loop)
                    depth += (character == "[") - (character == "]")
                    if depth == 0:
                        break
                else:
                    raise GrammarError(f"brackets do not match in {source!r}")
                parts.append(self._alternation(_split(source[1:end], "|"), draws))
            elif opener in "{<":
                end = source.find("}" if opener == "{" else ">")
                if end < 0:
                    raise GrammarError(f"brackets do not match in {source!r}")
                make = self._slot if opener == "{" else self._phrase
                parts.append(make(source[1:end], draws))
            else:
                end = re.match(r"[^\[{<]+", source).end() - 1
                if re.search(r"[|\]}>@]", source[: end + 1]):
                    raise GrammarError(f"a stray mark in {source!r}")
                parts.append(Text(source[: end + 1]))
            source = source[end + 1 :]
        return _sequence(parts)

    def _slot(self, name: str, draws: Mapping[str, Pool]) -> Node:
        article, _, rest = name.rpartition(" ")
        attribute, _, form = rest.partition(".")
        key = attribute[:1].lower() + attribute[1:]
        if key not in draws:
            raise GrammarError(f"no attribute for {{{name}}}")
        forms = draws[key].rows[0]
        exact = form or next(iter(forms))
        capital = attribute[:1].isupper() or (form not in forms and form[:1].isupper())
        if exact not in forms:
            exact = exact[:1].lower() + exact[1:]
        if exact not in forms:
            raise GrammarError(f"pool {draws[key].name!r} has no form for {{{name}}}")
        return Slot(key, exact, article or ("cap" if capital else ""))

    def _phrase(self, name: str, draws: Mapping[str, Pool]) -> Node:
        article, _, rest = name.rpartition(" ")
        key = rest[:1].lower() + rest[1:]
        if key not in self._sources:
            raise GrammarError(f"no phrase for <{name}>")
        if name in self._closed_phrases:
            return self._closed_phrases[name]
        memo = (name, tuple((attribute, id(pool)) for attribute, pool in draws.items()))
        if memo not in self._phrases:
            sources = [_tidy(piece) for piece in _split(self._sources[key], "|\n") if piece.strip()]
            node = self._alternation(sources, draws)
            style = article or ("cap" if rest[:1].isupper() else "")
            node = _with_style(node, style) if style else node
            if node.closed:
                self._closed_phrases[name] = node
                return node
            self._phrases[memo] = node
        return self._phrases[memo]


def _sequence(parts: list[Node]) -> Node:
    """Join the parts, neighbouring texts and nested sequences into as few nodes as possible."""
    flat: list[Node] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Sequence) else (part,):
            if isinstance(piece, Text) and flat and isinstance(flat[-1], Text):
                flat[-1] = Text(flat[-1].text + piece.text)
            else:
                flat.append(piece)
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))
