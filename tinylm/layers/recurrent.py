"""The parts of the ternary models: ternary linear maps, and what looks back in the place of attention.

Each layer that looks back takes an optional `state`, a dictionary in which it finds what it has seen before and
leaves what it has seen now.  So a text may be read in pieces of any size, down to one token.
"""
from __future__ import annotations

import math
from functools import partial

from ..ops.gated_conv import last_values
from ..ops.packed import packed_shape
from .base import FLOAT_BYTES, Cost, Layer
from .basic import NORM_EPS, norm_cost
from .parameters import Parameter
from .transformer import activation_cost


class BitLinear(Layer):
    """out = inp (scale codes)^T with codes in -1, 0, 1: (..., K) -> (..., M), no bias.

    activation_bits   8: the input is rounded to 8 bits a token first; 0: it stays float
    """

    def __init__(self, name, k, m, activation_bits):
        self.name, self.activation_bits = name, activation_bits
        # Kaiming normal, fan out; the scale is divided out again by the codes.
        self.weight = Parameter(f"{name}.weight", (m, k), True, ("normal", math.sqrt(2 / m)), "ternary")

    def operand(self, run):
        """What to tell the operation that makes the input, by name: kernels may round it to 8 bits at once."""
        return {"operand": True} if self.activation_bits == 8 and run.alone else {}

    def own_parameters(self):
        return [self.weight]

    def ternary(self, run):
        """What the weight is multiplied as."""
        return run.once(self.weight.name, run.f.ternarize)

    def forward(self, inp, run, **residual):
        """residual: see `Residual.forward_of`"""
        out, cache = run.f.bitlinear_forward(inp, self.ternary(run), self.activation_bits, **residual)
        run.remember(self, cache)
        return run.seen(self, inp, out)

    def backward(self, dout, run):
        dinp, _ = run.f.bitlinear_backward(dout, run.recall(self), **run.into(self.weight))
        return dinp

    def multiplies(self, context):
        return self.weight.size

    def costs(self, context):
        M, K = self.weight.shape
        # A weight of 1 adds its input, -1 subtracts it, 0 does nothing and is counted all the same.
        product = Cost(0, M * (K - 1), 0, math.prod(packed_shape(M, K)))
        # Scaling: every output, and with 8 bits every input and twice the scale.
        scales = Cost(M + (K + 2 if self.activation_bits else 0), 0, 1 if self.activation_bits else 0, FLOAT_BYTES)
        return {"ternary products": product, "scales": scales}


class TokenShift(Layer):
    """Mixes each token with the one before, a learned share for each channel: (B, T, C) -> (B, T, C)."""

    def __init__(self, name, channels):
        self.name = name
        self.mix = Parameter(f"{name}.mix", (channels,), False, ("constant", 0.0))

    def own_parameters(self):
        return [self.mix]

    def forward(self, inp, run, state=None):
        before = None if state is None else state.get(self.name)
        out, cache = run.f.token_shift_forward(inp, run.p[self.mix.name], before)
        run.remember(self, cache)
        if state is not None:
            state[self.name] = inp[:, -1].copy()
        return run.seen(self, inp, out)

    def forward_of_norm(self, norm, inp, run, state=None, **operand):
        """`forward` of what a LayerNorm makes of inp, in one operation where nobody looks on."""
        if not run.alone:
            return self.forward(norm.forward(inp, run), run, state)
        before = None if state is None else state.get(self.name)
        out, cache = run.f.norm_shift_forward(inp, *norm.own(run.p), run.p[self.mix.name], before, NORM_EPS, **operand)
        run.remember(self, cache)
        if state is not None:
            state[self.name] = cache.last.copy()
        return out

    def backward_of_norm(self, norm, dout, run, residual):
        """Back through both; see `LayerNorm.backward` for residual."""
        if not run.alone:
            return norm.backward(self.backward(dout, run), run, residual=residual)
        dinp, *_ = run.f.norm_shift_backward(dout, run.recall(self), add_to=(
            *norm.own(run.g), run.g[self.mix.name]), residual=residual)
        return dinp

    def backward(self, dout, run):
        dinp, _ = run.f.token_shift_backward(dout, run.recall(self), add_to=(run.g[self.mix.name],))
        return dinp

    def costs(self, context):
        C = self.mix.size  # the share is a function of the weights alone: made once
        return {"token shifts": Cost(2 * C, C, 0, 2 * FLOAT_BYTES * C)}


class HeadNorm(Layer):
    """LayerNorm of each head of each token: (..., C) -> (..., C)."""

    def __init__(self, name, channels, heads):
        self.name, self.heads = name, heads
        self.weight = Parameter(f"{name}.weight", (channels,), False, ("constant", 1.0))
        self.bias = Parameter(f"{name}.bias", (channels,), False, ("constant", 0.0))

    def own_parameters(self):
        return [self.weight, self.bias]

    def _of(self, source):
        return source[self.weight.name], source[self.bias.name]

    def forward(self, inp, run, **operand):
        out, cache = run.f.headnorm_forward(inp, self.heads, *self._of(run.p), NORM_EPS, **operand)
        run.remember(self, cache)
        return run.seen(self, inp, out)

    def backward(self, dout, run):
        dinp, _, _ = run.f.headnorm_backward(dout, run.recall(self), add_to=self._of(run.g))
        return dinp

    def costs(self, context):
        return {"norms": norm_cost(self.weight.size, self.heads, True)}


class Recurrence(Layer):
    """Three projections, the gated scan, a norm for each head, a projection: (B, T, C) -> (B, T, C).

    lower       the least share of the state that is kept: near 0 forgets fast, near 1 remembers
    gate_bias   what the forget gate starts from, before its sigmoid
    """

    def __init__(self, name, channels, heads, *, lower, gate_bias, activation_bits):
        self.name, self.lower = name, lower
        self.forget = BitLinear(f"{name}.forget", channels, channels, activation_bits)
        self.value = BitLinear(f"{name}.value", channels, channels, activation_bits)
        self.output = BitLinear(f"{name}.output", channels, channels, activation_bits)
        self.bias = Parameter(f"{name}.forget.bias", (channels,), False, ("constant", gate_bias))
        self.norm = HeadNorm(f"{name}.norm", channels, heads)
        self.proj = BitLinear(f"{name}.proj", channels, channels, activation_bits)

    def children(self):
        return [self.forget, self.value, self.output, self.norm, self.proj]

    def own_parameters(self):
        return [self.bias]

    def forward(self, inp, run, state=None, **residual):
        layers = self.forget, self.value, self.output
        gates, caches = run.f.bitlinears_forward(inp, [layer.ternary(run) for layer in layers],
                                                 self.value.activation_bits)
        run.remember(self, caches)
        gates = [run.seen(layer, inp, gate) for layer, gate in zip(layers, gates, strict=True)]
        before = None if state is None else state.get(self.name)
        mixed, cache = run.f.recurrence_forward(*gates, run.p[self.bias.name], before, self.lower)
        run.remember(self, cache)
        if state is not None:
            state[self.name] = cache.hidden[:, -1].copy()
        normed = self.norm.forward(mixed, run, **self.proj.operand(run))
        return run.seen(self, inp, self.proj.forward(normed, run, **residual))

    def backward(self, dout, run):
        dmixed = self.norm.backward(self.proj.backward(dout, run), run)
        over = {"overwrite": True} if run.alone else {}
        *dgates, _ = run.f.recurrence_backward(dmixed, run.recall(self), add_to=(run.g[self.bias.name],), **over)
        dinp, _ = run.f.bitlinears_backward(dgates, run.recall(self), **run.into(
            self.forget.weight, self.value.weight, self.output.weight))
        return dinp

    def costs(self, context):
        C = self.bias.size
        # lower + (1 - lower) s: 1 product; f h + (1 - f) v: 2; o h: 1.  A sigmoid is an exponential and a division.
        return {"gates and scan": Cost(4 * C, 6 * C, 4 * C, 2 * FLOAT_BYTES * C)}


class GatedConv(Layer):
    """Ternary up to gate and value, a causal convolution of the value, the product, ternary down: (B, T, C) -> same.

    kernel   how many tokens the convolution sees, each channel for itself
    """

    def __init__(self, name, channels, kernel, activation_bits):
        self.name = name
        self.up = BitLinear(f"{name}.up", channels, 2 * channels, activation_bits)
        # Kaiming normal, fan out, counted over all channels: what comes out is small at first.
        self.filters = Parameter(f"{name}.filters", (kernel, channels), True,
                                 ("normal", math.sqrt(2 / (kernel * channels))))
        self.down = BitLinear(f"{name}.down", channels, channels, activation_bits)

    def children(self):
        return [self.up, self.down]

    def own_parameters(self):
        return [self.filters]

    def forward(self, inp, run, state=None):
        filters, before = run.p[self.filters.name], None if state is None else state.get(self.name)
        both = self.up.forward(inp, run)
        mixed, cache = run.f.gated_conv_forward(both, filters, before)
        run.remember(self, cache)
        if state is not None:
            state[self.name] = last_values(both, filters, before)
        return run.seen(self, inp, self.down.forward(mixed, run))

    def backward(self, dout, run):
        dmixed = self.down.backward(dout, run)
        dboth, _ = run.f.gated_conv_backward(dmixed, run.recall(self), add_to=(run.g[self.filters.name],))
        return self.up.backward(dboth, run)

    def costs(self, context):
        K, C = self.filters.shape  # a sigmoid is an exponential and a division
        return {"convolutions": Cost(K * C, (K - 1) * C, 0, FLOAT_BYTES * (2 * K - 1) * C),
                "gates": Cost(C, C, 2 * C)}


class TernaryFeedForward(Layer):
    """Ternary up, squared ReLU, ternary down: (..., C) -> (..., C)."""

    def __init__(self, name, channels, hidden, activation_bits):
        self.name = name
        self.up = BitLinear(f"{name}.up", channels, hidden, activation_bits)
        self.down = BitLinear(f"{name}.down", hidden, channels, activation_bits)

    def children(self):
        return [self.up, self.down]

    def forward(self, inp, run, **residual):
        if run.alone:  # in one operation
            out, cache = run.f.feed_forward_forward(inp, self.up.ternary(run), self.down.ternary(run),
                                                    self.up.activation_bits, **residual)
            run.remember(self, cache)
            return out
        hidden, cache = run.f.squared_relu_forward(self.up.forward(inp, run))
        run.remember(self, cache)
        return run.seen(self, inp, self.down.forward(hidden, run, **residual))

    def backward(self, dout, run):
        if run.alone:
            dinp, _, _ = run.f.feed_forward_backward(dout, run.recall(self),
                                                     **run.into(self.up.weight, self.down.weight))
            return dinp
        (dhidden,) = run.f.squared_relu_backward(self.down.backward(dout, run), run.recall(self))
        return self.up.backward(dhidden, run)

    def costs(self, context):
        return {"activations": activation_cost("squared_relu", self.up.weight.shape[0])}


class RecurrentBlock(Layer):
    """x += mixer(shift1(norm1(x)));  x += ffn(shift2(norm2(x)))."""

    def __init__(self, name, norm1, shift1, mixer, residual1, norm2, shift2, ffn, residual2):
        self.name = name
        self.norm1, self.shift1, self.mixer, self.residual1 = norm1, shift1, mixer, residual1
        self.norm2, self.shift2, self.ffn, self.residual2 = norm2, shift2, ffn, residual2

    def children(self):
        return [self.norm1, self.shift1, self.mixer, self.residual1,
                self.norm2, self.shift2, self.ffn, self.residual2]

    def forward(self, inp, run, state=None):
        shifted = self.shift1.forward_of_norm(self.norm1, inp, run, state, **self.mixer.value.operand(run))
        middle = self.residual1.forward_of(inp, partial(self.mixer.forward, shifted, run, state), run)
        shifted = self.shift2.forward_of_norm(self.norm2, middle, run, state, **self.ffn.up.operand(run))
        return run.seen(self, inp, self.residual2.forward_of(middle, partial(self.ffn.forward, shifted, run), run))

    def backward(self, dout, run):
        """dout may be overwritten: see `norm_shift_backward`."""
        dmiddle, dfed = self.residual2.backward(dout, run)
        dmiddle = self.shift2.backward_of_norm(self.norm2, self.ffn.backward(dfed, run), run, dmiddle)
        dinp, dmixed = self.residual1.backward(dmiddle, run)
        return self.shift1.backward_of_norm(self.norm1, self.mixer.backward(dmixed, run), run, dinp)

    def costs(self, context):
        return {"residuals": Cost(0, 2 * self.norm1.weight.size)}
