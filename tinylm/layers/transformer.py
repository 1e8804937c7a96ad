"""The two halves of a Transformer block, and the block."""
from __future__ import annotations

from .base import FLOAT_BYTES, Cost, Layer
from .basic import Linear


class Attention(Layer):
    """Causal multi-head self-attention: (B, T, C) -> (B, T, C).

    scale     of the scores; None for 1/sqrt(D)
    window    how many positions each sees, its own included; 0 for all
    rotary    the base of rotary positions, None for none: queries and keys are turned by their position
    """

    def __init__(self, name, channels, heads, *, qkv_bias, proj_bias, rate, site, std, proj_std, scale=None, window=0,
                 rotary=None):
        self.name, self.channels, self.heads, self.rate, self.site = name, channels, heads, rate, site
        self.window, self.rotary = window, rotary
        # Said only where it is unusual: the operation has defaults, and so do its stand-ins.
        self._options = {k: v for k, v in {"scale": scale, "window": window}.items() if v}
        self.qkv = Linear(f"{name}.qkv", channels, 3 * channels, qkv_bias, std)
        self.proj = Linear(f"{name}.proj", channels, channels, proj_bias, proj_std)

    def children(self):
        return [self.qkv, self.proj]

    def forward(self, inp, run):
        qkv, turned = self._queries_and_keys(inp, run, 0)
        key = run.dropout.at(self.site) if run.dropout else None
        mixed, cache = run.f.attention_forward(qkv, self.heads, self.rate, key, **self._options)
        run.remember(self, (turned, cache))
        return run.seen(self, inp, self.proj.forward(mixed, run))

    def _queries_and_keys(self, inp, run, start):
        """(query, key and value side by side, what turning back needs)"""
        qkv = self.qkv.forward(inp, run)
        return (qkv, None) if self.rotary is None else run.f.rope_forward(qkv, self.heads, self.rotary, start)

    def backward(self, dout, run):
        dmixed = self.proj.backward(dout, run)
        turned, cache = run.recall(self)
        (dqkv,) = run.f.attention_backward(dmixed, cache)
        if turned is not None:
            (dqkv,) = run.f.rope_backward(dqkv, turned)
        return self.qkv.backward(dqkv, run)

    def extend(self, inp, past, length, run):
        """As forward for positions length, length + 1, ...; `past` is (keys, values), each (B, P, C),
        and takes the new ones."""
        qkv, _ = self._queries_and_keys(inp, run, length)
        mixed = run.f.attention_extend(qkv, *past, length, self.heads, **self._options)
        return self.proj.forward(mixed, run)

    def _seen(self, context):
        """Positions that one looks at, on average: 1, 2, ... up to the window, and that many from there on."""
        window = min(self.window or context, context)
        return window - window * (window - 1) / (2 * context)

    def multiplies(self, context):
        # q.k and prob.v, each C multiplications for each position that is seen
        return 2 * self.channels * self._seen(context)

    def costs(self, context):
        scores = self.heads * self._seen(context)  # each is scaled, shifted, exponentiated, summed and normalised
        products = self.multiplies(context)
        found = {"attention": Cost(products + 2 * scores, products + 2 * scores, scores + self.heads,
                                   FLOAT_BYTES * products)}
        if self.rotary is not None:  # of queries and keys, each channel is the sum of two products; angles are a table
            C = self.channels
            found["rotations"] = Cost(4 * C, 2 * C, 0, FLOAT_BYTES * C // self.heads)
        return found


class FeedForward(Layer):
    """Linear up, activation, linear down: (..., C) -> (..., C)."""

    def __init__(self, name, channels, hidden, *, activation, bias, std, down_std):
        self.name, self.activation = name, activation
        self.up = Linear(f"{name}.up", channels, hidden, bias, std)
        self.down = Linear(f"{name}.down", hidden, channels, bias, down_std)

    def children(self):
        return [self.up, self.down]

    def forward(self, inp, run):
        if self.activation == "relu":  # so cheap that it is done where a product leaves its numbers
            hidden, positive = self.up.forward_relu(inp, run)
            out = self.down.forward(hidden, run)
            run.remember(self, positive)
        else:
            hidden, cache = getattr(run.f, self.activation + "_forward")(self.up.forward(inp, run))
            run.remember(self, cache)
            out = self.down.forward(hidden, run)
        return run.seen(self, inp, out)

    def backward(self, dout, run):
        if self.activation == "relu":
            return self.up.backward(self.down.backward(dout, run, positive=run.recall(self), operand=True), run)
        dhidden = self.down.backward(dout, run)
        (dhidden,) = getattr(run.f, self.activation + "_backward")(dhidden, run.recall(self))
        return self.up.backward(dhidden, run)

    def costs(self, context):
        return {"activations": activation_cost(self.activation, self.up.weight.shape[0])}


def activation_cost(name, hidden) -> Cost:
    """Of one activation function, or gated unit, for `hidden` outputs."""
    one = {"relu": Cost(), "squared_relu": Cost(1), "gelu": Cost(6, 2, 1),      # x / 2 (1 + tanh(s (x + c x x x)))
           "swiglu": Cost(2, 1, 2), "geglu": Cost(7, 2, 1)}[name]  # a sigmoid is an exponential and a division
    return Cost(*(hidden * count for count in one))


class GatedFeedForward(Layer):
    """down(act(gate(x)) up(x)): (..., C) -> (..., C).

    activation      "swiglu" or "geglu"
    gate, up, down  linear maps, float or ternary: C -> F, C -> F and F -> C
    """

    def __init__(self, name, gate, up, down, *, activation):
        self.name, self.gate, self.up, self.down, self.activation = name, gate, up, down, activation

    def children(self):
        return [self.gate, self.up, self.down]

    def forward(self, inp, run):
        gate, value = self.gate.forward(inp, run), self.up.forward(inp, run)
        hidden, cache = getattr(run.f, self.activation + "_forward")(gate, value)
        run.remember(self, cache)
        return run.seen(self, inp, self.down.forward(hidden, run))

    def backward(self, dout, run):
        dhidden = self.down.backward(dout, run)
        dgate, dvalue = getattr(run.f, self.activation + "_backward")(dhidden, run.recall(self))
        dinp = self.up.backward(dvalue, run)
        return run.f.add(dinp, self.gate.backward(dgate, run))

    def costs(self, context):
        return {"activations": activation_cost(self.activation, self.up.weight.shape[0])}


class Block(Layer):
    """x += dropout(mixer(norm1(x)));  x += dropout(ffn(norm2(x)))."""

    def __init__(self, name, norm1, mixer, residual1, norm2, ffn, residual2):
        self.name = name
        self.norm1, self.mixer, self.residual1 = norm1, mixer, residual1
        self.norm2, self.ffn, self.residual2 = norm2, ffn, residual2

    def children(self):
        return [self.norm1, self.mixer, self.residual1, self.norm2, self.ffn, self.residual2]

    def forward(self, inp, run, state=None):
        """`state`, if any, is handed to the mixer; attention has none and is continued by `extend`."""
        normed = self.norm1.forward(inp, run)
        mixed = self.mixer.forward(normed, run) if state is None else self.mixer.forward(normed, run, state)
        middle = self.residual1.forward(inp, mixed, run)
        fed = self.ffn.forward(self.norm2.forward(middle, run), run)
        return run.seen(self, inp, self.residual2.forward(middle, fed, run))

    def backward(self, dout, run):
        dmiddle, dfed = self.residual2.backward(dout, run)
        dmiddle = self.norm2.backward(self.ffn.backward(dfed, run), run, residual=dmiddle)
        dinp, dmixed = self.residual1.backward(dmiddle, run)
        return self.norm1.backward(self.mixer.backward(dmixed, run), run, residual=dinp)

    def extend(self, inp, past, length, run):
        """The block for positions that follow `length` earlier ones; see Attention.extend."""
        middle = inp + self.mixer.extend(self.norm1.forward(inp, run), past, length, run)
        return run.seen(self, inp, middle + self.ffn.forward(self.norm2.forward(middle, run), run))

    def costs(self, context):
        return {"residuals": Cost(0, 2 * self.norm1.weight.size)}
