"""How numbers, times and foreign text are written, the same in every view."""
from __future__ import annotations

import math
import time
import unicodedata

CHINCHILLA = 20  # tokens per parameter; Hoffmann et al. 2022, arXiv:2203.15556, as usually rounded

UNITS = {
    "nats/token": "What training minimises: the mean of −ln(probability the model gave to the token that came "
                  "next). 0 means always certain and right; guessing evenly among V tokens gives ln V. It depends "
                  "on the tokenizer, because a long token is harder to guess than a short one.",
    "bits/byte": "The same surprise per byte of the raw text, in bits: nats ÷ bytes ÷ ln 2. It does not depend on "
                 "the tokenizer, so it compares any two models on the same text. A perfect compressor driven by "
                 "the model would store each byte of the text in this many bits.",
    "perplexity": "exp(nats/token): between how many equally likely tokens the model hesitates on average. "
                  "It means nothing without naming the tokenizer.",
    "above the floor": "Some corpora are drawn from a source whose probabilities are known exactly. Its entropy is "
                       "the floor: no model predicts that source better on average. What matters is the distance "
                       "that is left. A loss clearly below the floor means that validation text leaked into training.",
}


def finite(value) -> bool:
    """Whether this is a number one can draw: an int or float, not NaN and not infinite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value, digits: int = 4) -> str:
    """A measured number with fixed decimals; what is absent or not finite is a dash or says so."""
    if value is None:
        return "–"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return str(value)
    return f"{value:.{digits}f}" if math.isfinite(value) else str(float(value))


def count(value) -> str:
    """A count with thousands separated: 1,234,567."""
    return f"{value:,.0f}" if finite(value) else "–"


def short(value) -> str:
    """A count or factor with three significant digits: 0.031, 950, 12.3k, 4.56M, 1.2G."""
    if not finite(value):
        return "–"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999,999.6 rounds to 1000k, which is better written 1M.
        if abs(value) >= limit * 0.9995:
            return f"{float(f'{value / limit:.3g}'):g}{unit}"
    return f"{float(f'{value:.3g}'):g}"


def percent(share) -> str:
    """A share of 1 with three significant digits: 28.3 %, 0.00942 %, 340 %."""
    return f"{float(f'{100 * share:.3g}'):,.10g} %" if finite(share) else "–"


def chinchilla(tokens, parameters) -> str:
    """How far a model is trained, as a share of CHINCHILLA tokens a parameter, with that number."""
    if not (finite(tokens) and finite(parameters) and parameters):
        return "–"
    wanted = CHINCHILLA * parameters
    return f"{percent(tokens / wanted)} of {short(wanted)} tokens, {CHINCHILLA} per parameter"


def duration(seconds) -> str:
    """A time a person can grasp: 0.4s, 12s, 3m05s, 2h07m, 3d04h."""
    if not finite(seconds) or seconds < 0:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d{hours % 24:02d}h"


def clock(seconds: float) -> str:
    """A moment, from seconds since 1970, the same in every time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    except (OverflowError, OSError, ValueError):
        return "–"  # a number, but no moment: a damaged file


def ratio(value) -> str:
    """A factor: ×1, ×2.5, ×0.031, ×3k."""
    return "×" + short(value) if finite(value) else "–"


def printable(text: str, lines: bool = True) -> str:
    """Text that cannot steer a terminal: control, direction and private characters become visible.

    Line breaks and tabs are kept where `lines` is true, else they are shown as ⏎ and a space.
    """
    out = []
    for c in text.replace("\r\n", "\n"):
        if c == "\n":
            out.append(c if lines else " ⏎ ")
        elif c == "\t":
            out.append("    " if lines else " ")
        elif c < " ":
            out.append(chr(0x2400 + ord(c)))  # the Unicode pictures of the control characters
        elif unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            out.append("�")
        else:
            out.append(c)
    return "".join(out)


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) inside [low, high], at most `about` + 1 of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or about < 1:
        return [low] if math.isfinite(low) else []
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]
