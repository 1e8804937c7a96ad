"""What a plot is."""

from collections.abc import Mapping
from dataclasses import dataclass

from tinylm.text.stories.grammar import Pool


@dataclass(frozen=True)
class Plot:
    """A plot: its name, the attributes it draws, its beats in the notation of `notation`, and how often it is told (relative to 1)."""

    name: str
    draws: Mapping[str, Pool]
    beats: str
    weight: float = 1.0
