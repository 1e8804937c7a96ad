"""Plausible wrong answers to lesson 8."""
import numpy as np

from tinylm.classroom.mutants import edit, other, wrong


def _divides(forget, value, state, chunk):
    """Right on paper: divide by the product of all gates so far, sum up, multiply again."""
    out = []
    for start in range(0, value.shape[1], chunk):
        f, v = forget[:, start:start + chunk], value[:, start:start + chunk]
        product = np.cumprod(f, axis=1)
        out.append(product * (state[:, None] + np.cumsum((1 - f) * v / product, axis=1)))
        state = out[-1][:, -1]
    return np.concatenate(out, axis=1)


def _smoothed_within_chunks(forget, value, state, chunk):
    """Takes the mean value of a chunk for each of its steps."""
    out = []
    for start in range(0, value.shape[1], chunk):
        f, v = forget[:, start:start + chunk], value[:, start:start + chunk].mean(1)
        for t in range(f.shape[1]):
            state = f[:, t] * state + (1 - f[:, t]) * v
            out.append(state)
    return np.stack(out, axis=1)


def scan_by_weights(forget, value, state):
    """The (T, T) table of how much of each value is in each output, as attention would have it."""
    T = value.shape[1]
    out = np.cumprod(forget, axis=1) * state[:, None]
    for s in range(T):
        kept = np.ones_like(forget[:, s:])
        kept[:, 1:] = np.cumprod(forget[:, s + 1:], axis=1)
        out[:, s:] += kept * ((1 - forget[:, s]) * value[:, s])[:, None]
    return out


def chunked_by_halves(forget, value, state, chunk):
    """Combines the maps of a chunk by divide and conquer."""
    def prefix(a, b):
        n = a.shape[1]
        if n == 1:
            return a, b
        (a1, b1), (a2, b2) = prefix(a[:, :n // 2], b[:, :n // 2]), prefix(a[:, n // 2:], b[:, n // 2:])
        return (np.concatenate([a1, a2 * a1[:, -1:]], axis=1), np.concatenate([b1, a2 * b1[:, -1:] + b2], axis=1))

    out = np.zeros_like(value)
    for start in range(0, value.shape[1], chunk):
        f = forget[:, start:start + chunk]
        a, b = prefix(f, (1 - f) * value[:, start:start + chunk])
        out[:, start:start + chunk] = a * state[:, None] + b
        state = out[:, min(start + chunk, value.shape[1]) - 1]
    return out


def backward_as_a_scan(dout, forget, value, state, out):
    """The recurrence of the slopes, written with all gates of one later step side by side."""
    B, T, C = dout.shape
    after = np.concatenate([forget[:, 1:], np.zeros((B, 1, C))], axis=1)
    slopes = [np.zeros((B, C))]
    for t in range(T - 1, -1, -1):
        slopes.insert(0, dout[:, t] + after[:, t] * slopes[0])
    slope = np.stack(slopes[:-1], axis=1)
    previous = np.stack([state, *out[:, :-1].swapaxes(0, 1)], axis=1)
    return slope * previous - slope * value, slope - slope * forget, forget[:, 0] * slope[:, 0]


MUTANTS = [
    edit("scan", "gate and one minus gate exchanged", "forget[:, t] * state + (1 - forget[:, t])",
         "(1 - forget[:, t]) * state + forget[:, t]", at="worked case"),
    edit("scan", "the value is not weighted", "(1 - forget[:, t]) * value", "value", at="worked case"),
    edit("scan", "starts from zero", "out = np.empty_like(value)", "out, state = np.empty_like(value), 0 * state"),
    edit("scan", "the state before the step", "state = forget[:, t] * state + (1 - forget[:, t]) * value[:, t]\n"
         "        out[:, t] = state",
         "out[:, t] = state\n        state = forget[:, t] * state + (1 - forget[:, t]) * value[:, t]"),
    edit("scan", "from the end to the beginning", "in range(value.shape[1])", "in reversed(range(value.shape[1]))"),
    edit("scan", "the gate of the step before", "forget[:, t] * state + (1 - forget[:, t])",
         "forget[:, t - 1] * state + (1 - forget[:, t - 1])"),
    edit("scan", "the value of the next step", "* value[:, t]", "* value[:, (t + 1) % value.shape[1]]"),
    edit("scan", "the last state only", "return out", "return out[:, -1]", at="shapes"),
    edit("scan", "one gate for all channels", "forget[:, t] * state", "forget[:, t].mean(1, keepdims=True) * state",
         at="definition"),
    edit("scan", "one state for all sequences", "out[:, t] = state", "out[:, t] = state = state[:1] + 0 * state",
         at="definition"),
    edit("scan", "reset after sixteen steps", "out[:, t] = state",
         "out[:, t] = state if t < 16 else 1.5 * value[:, t]"),
    edit("scan_chunked", "the state is not handed on", "state = part[:, -1]", "state = state"),
    edit("scan_chunked", "the state of the first step of a chunk", "state = part[:, -1]", "state = part[:, 0]"),
    edit("scan_chunked", "a shorter last chunk is left out", "range(0, value.shape[1], chunk)",
         "range(0, value.shape[1] - chunk + 1, chunk)", at="shapes"),
    edit("scan_chunked", "a shorter last chunk starts from zero", "part = a * state[:, None] + b",
         "part = a * (state[:, None] if a.shape[1] == chunk else 0) + b", at="definition"),
    edit("scan_chunked", "b is combined with the new a", "a, b = a_before * a, a * b_before + b",
         "a = a_before * a\n            b = a * b_before + b"),
    edit("scan_chunked", "the two maps in the other order", "a * b_before + b", "a_before * b + b_before",
         at="worked case"),
    edit("scan_chunked", "one round", "while span < a.shape[1]", "if span < a.shape[1]", at="definition"),
    edit("scan_chunked", "the span grows by one", "span *= 2", "span += 1", at="definition"),
    edit("scan_chunked", "the last round is missing", "while span < a.shape[1]", "while 2 * span < a.shape[1]"),
    edit("scan_chunked", "where nothing is before, everything is forgotten", "np.ones_like", "np.zeros_like"),
    edit("scan_chunked", "cyclic: the end comes before the beginning", "np.zeros_like(b[:, :span])", "b[:, -span:]"),
    edit("scan_chunked", "the value is not weighted", "b = (1 - a) * value", "b = value"),
    edit("scan_chunked", "right for one sequence only", "a * state[:, None] + b", "a * state[:1, None] + b"),
    wrong("scan_chunked", "divides by the product of the gates", _divides),
    wrong("scan_chunked", "the mean of the chunk", _smoothed_within_chunks),
    edit("scan_backward", "through h[t] only as an output", "dout[:, t] + later", "dout[:, t]"),
    edit("scan_backward", "the gate of the step itself", "later = forget[:, t] * dhidden[:, t]",
         "later = forget[:, t - 1] * dhidden[:, t]"),
    edit("scan_backward", "the gate is not passed", "later = forget[:, t] * dhidden[:, t]", "later = dhidden[:, t]"),
    edit("scan_backward", "forwards", "in reversed(range(dout.shape[1]))", "in range(dout.shape[1])"),
    edit("scan_backward", "h[t], not h[t - 1]", "dhidden * (before - value)", "dhidden * (out - value)"),
    edit("scan_backward", "the value's part of the gate is forgotten", "dhidden * (before - value)",
         "dhidden * before"),
    edit("scan_backward", "before the first step there is zero", "[state[:, None], out[:, :-1]]",
         "[0 * state[:, None], out[:, :-1]]"),
    edit("scan_backward", "the value takes all", "dhidden * (1 - forget), later", "dhidden, later"),
    edit("scan_backward", "dstate without the first gate", "(1 - forget), later", "(1 - forget), dhidden[:, 0]"),
    edit("scan_backward", "dstate is zero", "(1 - forget), later", "(1 - forget), 0 * later"),
    edit("scan_backward", "summed over the batch", "(1 - forget), later", "(1 - forget), later.sum(0)", at="shapes"),
    edit("scan_backward", "upstream ignored", "dout[:, t] + later", "1 + later"),
    edit("scan_backward", "slopes of the mean", "dhidden[:, t] = dout[:, t] + later",
         "dhidden[:, t] = dout[:, t] / dout.shape[1] + later"),
    edit("scan_backward", "detached gate", "dhidden * (before - value), ", "np.zeros_like(dhidden), "),
]

ALTERNATIVES = [
    other("scan", "as a table of weights", scan_by_weights),
    other("scan_chunked", "by halves", chunked_by_halves),
    other("scan_backward", "with shifted gates", backward_as_a_scan),
]
