"""The two halves of a Transformer block, and the block."""
from __future__ import annotations

from .base import FLOAT_BYTES, Cost, Layer
from .basic import Linear


class Attention(Layer):
    """Causal multi-head self-attention: (B, T, C) -> (B, T, C)."""

    def __init__(self, name, channels, heads, *, qkv_bias, proj_bias, rate, site, std, proj_std):
        self.name, self.channels, self.heads, self.rate, self.site = name, channels, heads, rate, site
        self.qkv = Linear(f"{name}.qkv", channels, 3 * channels, qkv_bias, std)
        self.proj = Linear(f"{name}.proj", channels, channels, proj_bias, proj_std)

    def children(self):
        return [self.qkv, self.proj]

    def forward(self, inp, run):
        qkv = self.qkv.forward(inp, run)
        key = run.dropout.at(self.site) if run.dropout else None
        mixed, cache = run.f.attention_forward(qkv, self.heads, self.rate, key)
        run.remember(self, cache)
        return run.seen(self, inp, self.proj.forward(mixed, run))

    def backward(self, dout, run):
        dmixed = self.proj.backward(dout, run)
        (dqkv,) = run.f.attention_backward(dmixed, run.recall(self))
        return self.qkv.backward(dqkv, run)

    def extend(self, inp, past, length, run):
        """As forward for positions length, length + 1, ...; `past` is (keys, values), each (B, P, C),
        and takes the new ones."""
        mixed = run.f.attention_extend(self.qkv.forward(inp, run), *past, length, self.heads)
        return self.proj.forward(mixed, run)

    def multiplies(self, context):
        # q.k and prob.v, each C multiplications for each position that may be seen: 1 .. context
        return 2 * self.channels * (context + 1) / 2

    def costs(self, context):
        scores = self.heads * (context + 1) / 2  # each is scaled, shifted, exponentiated, summed and normalised
        products = self.multiplies(context)
        return {"attention": Cost(products + 2 * scores, products + 2 * scores, scores + self.heads,
                                  FLOAT_BYTES * products)}


class FeedForward(Layer):
    """Linear up, activation, linear down: (..., C) -> (..., C)."""

    def __init__(self, name, channels, hidden, *, activation, bias, std, down_std):
        self.name, self.activation = name, activation
        self.up = Linear(f"{name}.up", channels, hidden, bias, std)
        self.down = Linear(f"{name}.down", hidden, channels, bias, down_std)

    def children(self):
        return [self.up, self.down]

    def forward(self, inp, run):
        hidden, cache = getattr(run.f, self.activation + "_forward")(self.up.forward(inp, run))
        run.remember(self, cache)
        return run.seen(self, inp, self.down.forward(hidden, run))

    def backward(self, dout, run):
        dhidden = self.down.backward(dout, run)
        (dhidden,) = getattr(run.f, self.activation + "_backward")(dhidden, run.recall(self))
        return self.up.backward(dhidden, run)

    def costs(self, context):
        F = self.up.weight.shape[0]
        # GELU: x / 2 (1 + tanh(s (x + c x x x)))
        return {"activations": Cost(6 * F, 2 * F, F) if self.activation == "gelu" else Cost()}


class Block(Layer):
    """x += dropout(attention(norm1(x)));  x += dropout(ffn(norm2(x)))."""

    def __init__(self, name, norm1, attention, residual1, norm2, ffn, residual2):
        self.name = name
        self.norm1, self.attention, self.residual1 = norm1, attention, residual1
        self.norm2, self.ffn, self.residual2 = norm2, ffn, residual2

    def children(self):
        return [self.norm1, self.attention, self.residual1, self.norm2, self.ffn, self.residual2]

    def forward(self, inp, run):
        mixed = self.attention.forward(self.norm1.forward(inp, run), run)
        middle = self.residual1.forward(inp, mixed, run)
        fed = self.ffn.forward(self.norm2.forward(middle, run), run)
        return run.seen(self, inp, self.residual2.forward(middle, fed, run))

    def backward(self, dout, run):
        dmiddle, dfed = self.residual2.backward(dout, run)
        dmiddle = dmiddle + self.norm2.backward(self.ffn.backward(dfed, run), run)
        dinp, dmixed = self.residual1.backward(dmiddle, run)
        return dinp + self.norm1.backward(self.attention.backward(dmixed, run), run)

    def extend(self, inp, past, length, run):
        """The block for positions that follow `length` earlier ones; see Attention.extend."""
        middle = inp + self.attention.extend(self.norm1.forward(inp, run), past, length, run)
        return run.seen(self, inp, middle + self.ffn.forward(self.norm2.forward(middle, run), run))

    def costs(self, context):
        return {"residuals": Cost(0, 2 * self.norm1.weight.size)}
