"""What two or more runs have in common, where they differ, and whether their losses can be ranked."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .record import Record
from .words import count, duration, number, ratio, short


@dataclass(frozen=True)
class Scale:
    """How far the validation losses of some runs can be compared.

    unit      "nats_per_token" (one tokenizer, one text), else "bits_per_byte"
    ranked    whether an order in that unit means anything
    reason    one or two sentences for a person
    """

    unit: str
    ranked: bool
    reason: str


def scale(records: Sequence[Record]) -> Scale:
    """What the losses of these runs have in common.

    Losses per token of different tokenizers are on different scales: a long token is harder to guess
    than a short one.  Bits per byte are on one scale as long as the text is the same.  On different
    texts even they say as much about the texts as about the models.
    """
    if any(r.best is None for r in records):
        names = ", ".join(r.name for r in records if r.best is None)
        return Scale("bits_per_byte", False, f"No ranking: no validation loss of {names} is known.")
    unknown = [r.name for r in records if r.tokenizer == "?" or r.validation_text is None]
    if unknown:
        return Scale("bits_per_byte", False, "No ranking: it is not known on which text and with which tokenizer "
                     f"{', '.join(unknown)} was validated. Bits per byte compare only as a hint.")
    one_tokenizer = len({r.tokenizer for r in records}) == 1
    if one_tokenizer and len({r.validation_text for r in records}) == 1:
        return Scale("nats_per_token", True, "One tokenizer and one validation text: the losses are on one scale.")
    if one_tokenizer and len({r.validation_text[0] for r in records}) == 1:
        return Scale("bits_per_byte", False, "No ranking: these runs were validated on parts of different length of "
                     "one text, so even bits per byte compare only as a hint. tinylm eval measures both on the same.")
    if not one_tokenizer and len({r.source for r in records}) == 1:
        return Scale("bits_per_byte", True, "Ranked in bits per byte only: the tokenizers differ, so losses per token "
                     "and perplexities are on different scales. The text comes from the same source.")
    also = "" if one_tokenizer else " and with different tokenizers"
    return Scale("bits_per_byte", False, f"No ranking: these runs were validated on different texts{also}. One text is "
                 "harder to predict than another, so even bits per byte compare only as a hint. tinylm eval measures "
                 "both models on one text.")


def ranking(records: Sequence[Record], on: Scale) -> list[Record]:
    """The runs from the lowest best validation loss to the highest; empty where no order means anything."""
    return sorted(records, key=lambda r: r.best[on.unit]) if on.ranked else []


def differences(records: Sequence[Record]) -> list[tuple[str, list]]:
    """Options whose values are not the same in all runs: (name, value in each run or None)."""
    flat = [{(f"{section}.{name}" if section else name): value for section, values in r.config.items()
             for name, value in values.items()} for r in records]
    names = dict.fromkeys(name for one in flat for name in one)
    rows = [(name, [one.get(name) for one in flat]) for name in names]
    return [(name, values) for name, values in rows if any(v != values[0] for v in values)]


def measures(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Sizes, times and losses, with the factor to the first run where one makes sense."""
    def factors(values, write):
        first = values[0]
        return [write(v) + (f"  {ratio(v / first)}" if i and v is not None and first else "")
                for i, v in enumerate(values)]

    def best(key, digits=4):
        return [number((r.best or {}).get(key), digits) for r in records]

    rows = [("status", [r.status for r in records]),
            ("parameters", factors([r.parameters for r in records], count)),
            ("steps", factors([r.steps for r in records], count)),
            ("tokens", factors([r.tokens for r in records], short)),
            ("time", factors([r.seconds for r in records], duration)),
            ("tokens/s", factors([r.tokens_per_second for r in records], count)),
            ("tokenizer", [r.tokenizer_name for r in records]),
            ("best at step", [count((r.best or {}).get("step")) for r in records]),
            ("val nats/token", best("nats_per_token")),
            ("val bits/byte", best("bits_per_byte")),
            ("val perplexity", [number(r.perplexity(r.best or {}), 3) for r in records])]
    if any(r.floor is not None for r in records):
        rows.append(("above floor, bits/byte", [number(r.above_floor(r.best or {})) for r in records]))
    return rows
