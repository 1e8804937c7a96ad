"""Plausible wrong answers to lesson 10."""
import numpy as np
from solution import footprint

from tinylm import ops
from tinylm.classroom.mutants import edit, other, wrong


def block_token_by_token(inp, weights, heads, lower, state):
    w, rows = weights, []
    one, h, two = state if state is not None else [np.zeros_like(inp[:, 0])] * 3

    def linear(name, x):
        return ops.bitlinear_forward(x[:, None], ops.ternarize(w[name]), 8)[0][:, 0]

    def share(mix):
        return 1 / (1 + np.exp(-w[mix]))

    for t in range(inp.shape[1]):
        now = ops.layernorm_forward(inp[:, t], w["norm1.weight"], w["norm1.bias"])[0]
        x, one = now * share("shift1") + one * (1 - share("shift1")), now
        f = lower + (1 - lower) / (1 + np.exp(-linear("forget", x) - w["forget.bias"]))
        h = f * h + (1 - f) * linear("value", x)
        mixed = h / (1 + np.exp(-linear("output", x)))
        mixed = ops.headnorm_forward(mixed, heads, w["headnorm.weight"], w["headnorm.bias"])[0]
        middle = inp[:, t] + linear("proj", mixed)
        now = ops.layernorm_forward(middle, w["norm2.weight"], w["norm2.bias"])[0]
        x, two = now * share("shift2") + two * (1 - share("shift2")), now
        rows.append(middle + linear("down", np.maximum(linear("up", x), 0) ** 2))
    return np.stack(rows, axis=1), (one, h, two)


def footprint_with_ceil(parameters):
    ternary = [s for _, s, uses in parameters if "product" in uses and "lookup" not in uses]
    floats = sum(int(np.prod(s)) for _, s, uses in parameters if "product" not in uses or "lookup" in uses)
    return (sum(m * k for m, k in ternary), floats,
            4 * floats + sum(int(np.ceil(k / 4)) * m + 4 for m, k in ternary))


OVER_TIME = """heads_of = mixed.reshape(*mixed.shape[:2], heads, -1)
    heads_of = heads_of - heads_of.mean((1, 3), keepdims=True)
    heads_of = heads_of / np.sqrt((heads_of ** 2).mean((1, 3), keepdims=True) + 1e-5)
    mixed = heads_of.reshape(mixed.shape) * weights["headnorm.weight"] + weights["headnorm.bias"]"""
PER_HEAD = 'mixed = ops.headnorm_forward(mixed, heads, weights["headnorm.weight"], weights["headnorm.bias"])[0]'

MUTANTS = [
    edit("block", "head norm over time, as it was published", PER_HEAD, "import numpy as np\n    " + OVER_TIME),
    edit("block", "one norm for all heads", "mixed, heads,", "mixed, 1,"),
    edit("block", "no head norm", PER_HEAD, "pass"),
    edit("block", "activations stay float", "ops.ternarize(weights[name]), 8)", "ops.ternarize(weights[name]), 0)"),
    edit("block", "weights stay float", "ops.bitlinear_forward(x, ops.ternarize(weights[name]), 8)[0]",
         "x @ weights[name].T"),
    edit("block", "the second branch starts from the input", 'normed("norm2", middle)', 'normed("norm2", inp)'),
    edit("block", "the second sum forgets the first", "out = middle +", "out = inp +"),
    edit("block", "shift before norm", 'read1 = normed("norm1", inp)',
         'read1 = inp', at="definition"),
    edit("block", "forget and value exchanged", 'ternary("forget", x), ternary("value", x)',
         'ternary("value", x), ternary("forget", x)'),
    edit("block", "no lower bound", "hidden, lower)", "hidden)"),
    edit("block", "ReLU, not squared", 'ops.squared_relu_forward(ternary("up", x))[0]', 'ternary("up", x).clip(0)'),
    edit("block", "the state is forgotten", "state or (None, None, None)", "(None, None, None)", at="property"),
    edit("block", "the first shift forgets", 'weights["shift1"], shift1)', 'weights["shift1"])', at="property"),
    edit("block", "the second shift forgets", 'weights["shift2"], shift2)', 'weights["shift2"])', at="property"),
    edit("block", "shifts remember what came before the norm", "(read1[:, -1],", "(inp[:, -1],", at="property"),
    edit("block", "the gated output as hidden state", "cache.hidden[:, -1]", "mixed[:, -1]", at="property"),
    edit("block", "the state of all positions", "(read1[:, -1], cache.hidden[:, -1], read2[:, -1])",
         "(read1, cache.hidden, read2)", at="shapes"),
    edit("footprint", "every matrix is ternary", 'list(uses) == ["product"]', "len(shape) == 2"),
    edit("footprint", "every factor of a product is ternary", 'list(uses) == ["product"]', '"product" in uses'),
    edit("footprint", "what is not a table is ternary", 'list(uses) == ["product"]', '"lookup" not in uses'),
    edit("footprint", "rows are rounded down", "-(-shape[1] // 4)", "(shape[1] // 4)"),
    edit("footprint", "packed across rows", "shape[0] * -(-shape[1] // 4)", "-(-shape[0] * shape[1] // 4)"),
    edit("footprint", "columns for rows", "shape[0] * -(-shape[1] // 4)", "shape[1] * -(-shape[0] // 4)"),
    edit("footprint", "no scale", "// 4) + 4", "// 4)"),
    edit("footprint", "floats of two bytes", "size += 4 * math", "size += 2 * math"),
    wrong("footprint", "the size alone", lambda parameters: footprint(parameters)[2], at="shapes"),
]

ALTERNATIVES = [
    other("block", "token by token", block_token_by_token),
    other("footprint", "with ceil", footprint_with_ceil),
]
