"""The layers every model is made of."""
from __future__ import annotations

from ..ops.precision import precision
from .base import FLOAT_BYTES, Cost, Layer
from .parameters import Parameter

NORM_EPS = 1e-5


class Embedding(Layer):
    """Tokens and learned positions: (B, T) -> (B, T, C); 0 positions for none."""

    def __init__(self, name, vocab, positions, channels, std=0.02):
        self.name = name
        self.tokens = Parameter(f"{name}.tokens", (vocab, channels), True, ("normal", std))
        self.positions = Parameter(f"{name}.positions", (positions, channels), True,
                                   ("normal", std)) if positions else None

    def own_parameters(self):
        return [self.tokens] + [self.positions] * (self.positions is not None)

    def _of(self, source):
        return source[self.tokens.name], source[self.positions.name] if self.positions else None

    def forward(self, tokens, run, start=0):
        out, cache = run.f.embedding_forward(tokens, *self._of(run.p), start)
        run.remember(self, cache)
        return run.seen(self, tokens, out)

    def backward(self, dout, run):
        run.f.embedding_backward(dout, run.recall(self), add_to=self._of(run.g))

    def costs(self, context):
        C, tables = self.tokens.shape[1], len(self.own_parameters())
        return {"embedding": Cost(0, C * (tables - 1), 0, FLOAT_BYTES * C * tables)}


class Linear(Layer):
    """out = inp weight^T + bias: (..., K) -> (..., M)."""

    def __init__(self, name, k, m, bias=True, std=0.02):
        self.name = name
        self.weight = Parameter(f"{name}.weight", (m, k), True, ("normal", std))
        self.bias = Parameter(f"{name}.bias", (m,), False, ("constant", 0.0)) if bias else None

    def own_parameters(self):
        return [self.weight] + [self.bias] * (self.bias is not None)

    def _of(self, source):
        return source[self.weight.name], source[self.bias.name] if self.bias else None

    def _packed(self, run):
        return run.once(self.weight.name, run.f.pack), run.p[self.bias.name] if self.bias else None

    def forward(self, inp, run):
        out, cache = run.f.linear_forward(inp, *self._packed(run))
        run.remember(self, cache)
        return run.seen(self, inp, out)

    def forward_relu(self, inp, run):
        """(max(forward, 0) for the map that comes next, where it is positive for the `backward` of that).

        Observers see what came out of the ReLU.
        """
        out, cache = run.f.linear_relu(inp, *self._packed(run), operand=run.observe is None)
        run.remember(self, cache.linear)
        return run.seen(self, inp, out), cache.positive

    def backward(self, dout, run, **through):
        """dinp; through: `positive` from a `forward_relu` that inp came from, for the gradient of what was before its
        ReLU, and `operand`, if that is only for the `backward` of that map
        """
        dinp, _, _ = run.f.linear_backward(dout, run.recall(self), add_to=self._of(run.g), **through)
        return dinp

    def multiplies(self, context):
        return self.weight.size

    def costs(self, context):
        M, K = self.weight.shape
        own = self.weight.size + (M if self.bias else 0)
        return {self._kind: Cost(M * K, M * (K - 1) + (M if self.bias else 0), 0, FLOAT_BYTES * own)}

    _kind = "products"


class LayerNorm(Layer):
    """Normalises the channels of each token: (..., C) -> (..., C)."""

    def __init__(self, name, channels, bias=True):
        self.name = name
        self.weight = Parameter(f"{name}.weight", (channels,), False, ("constant", 1.0))
        self.bias = Parameter(f"{name}.bias", (channels,), False, ("constant", 0.0)) if bias else None

    own_parameters, own = Linear.own_parameters, Linear._of  # own(source): weight and bias of that

    def forward(self, inp, run):
        out, cache = run.f.layernorm_forward(inp, *self.own(run.p), NORM_EPS)
        run.remember(self, cache)
        return run.seen(self, inp, out)

    def backward(self, dout, run, residual=None):
        """`residual`, if any, is the gradient that came past the norm: it is added to what comes through it."""
        dinp, _, _ = run.f.layernorm_backward(dout, run.recall(self), add_to=self.own(run.g), residual=residual)
        return dinp

    def costs(self, context):
        return {"norms": norm_cost(self.weight.size, 1, self.bias is not None)}


def norm_cost(channels, rows, bias) -> Cost:
    """Of normalising `channels` numbers in `rows` rows: mean, variance, (x - mean) rstd weight + bias."""
    # Additions: the mean C - 1, deviations C, variance C - 1, eps 1, each for a row; then the bias.
    additions = 3 * channels - rows + (channels if bias else 0)
    return Cost(3 * channels, additions, 4 * rows, FLOAT_BYTES * channels * (2 if bias else 1))


class RMSNorm(Layer):
    """Scales the channels of each token to a mean square of 1: (..., C) -> (..., C)."""

    def __init__(self, name, channels):
        self.name = name
        self.weight = Parameter(f"{name}.weight", (channels,), False, ("constant", 1.0))

    def own_parameters(self):
        return [self.weight]

    def forward(self, inp, run):
        out, cache = run.f.rmsnorm_forward(inp, run.p[self.weight.name], NORM_EPS)
        run.remember(self, cache)
        return run.seen(self, inp, out)

    def backward(self, dout, run, residual=None):
        """See `LayerNorm.backward`."""
        dinp, _ = run.f.rmsnorm_backward(dout, run.recall(self), add_to=(run.g[self.weight.name],), residual=residual)
        return dinp

    def costs(self, context):
        C = self.weight.size  # squares, and inp rrms weight; their sum and eps; division, square root, reciprocal
        return {"norms": Cost(3 * C, C, 3, FLOAT_BYTES * C)}


class Residual(Layer):
    """inp + dropout(branch); `site` tells this mask from all others of the step."""

    def __init__(self, name, rate, site):
        self.name, self.rate, self.site = name, rate, site

    def forward(self, inp, branch, run):
        key = run.dropout.at(self.site) if run.dropout else None
        out, cache = run.f.residual_forward(inp, branch, self.rate, key)
        run.remember(self, cache)
        return run.seen(self, inp, out)

    def forward_of(self, inp, branch, run):
        """`forward` of what branch() makes; with residual=inp it adds that itself, where nothing is dropped and nobody
        looks on.
        """
        if not run.alone or self.rate and run.dropout is not None:
            return self.forward(inp, branch(), run)
        out = branch(residual=inp)
        run.remember(self, None)  # no mask
        return out

    def backward(self, dout, run):
        """Return (dinp, dbranch)."""
        return run.f.residual_backward(dout, run.recall(self))


class Head(Layer):
    """The last linear map and the loss in one, so that not all logits need exist at once.

    tied_to   a parameter to use as weight (the token embedding), or None for one of its own
    """

    def __init__(self, name, channels, vocab, bias=True, std=0.02, tied_to=None):
        self.name = name
        self.tied = tied_to is not None
        self.weight = tied_to or Parameter(f"{name}.weight", (vocab, channels), True, ("normal", std))
        self.bias = Parameter(f"{name}.bias", (vocab,), False, ("constant", 0.0)) if bias else None

    _of, _packed, multiplies, costs = Linear._of, Linear._packed, Linear.multiplies, Linear.costs
    _kind = "head"

    def own_parameters(self):
        return [self.weight] * (not self.tied) + [self.bias] * (self.bias is not None)

    def logits(self, inp, run):
        """(..., C) -> (..., V); remembers nothing."""
        return run.seen(self, inp, run.f.linear_forward(inp, *self._packed(run))[0])

    def forward(self, inp, targets, run):
        """(B, T, C) and targets (B, T) -> losses (B*T,) in nats."""
        rows = inp.reshape(-1, inp.shape[-1])
        weight = self._of(run.p) if precision() == "int8" else self._packed(run)  # what is packed has 16 bits, not 8
        if run.dlosses is None:
            losses, cache = run.f.linear_cross_entropy_forward(rows, *weight, targets.reshape(-1))
            run.remember(self, (cache, inp.shape))
        else:
            losses, dinp, _, _ = run.f.linear_cross_entropy(rows, *weight, targets.reshape(-1), run.dlosses,
                                                            add_to=self._of(run.g))
            run.remember(self, dinp.reshape(inp.shape))
        return run.seen(self, inp, losses)

    def backward(self, dlosses, run):
        if run.dlosses is not None:
            if dlosses is not run.dlosses:
                raise RuntimeError(f"{self.name} went back with other dlosses than those it was promised")
            return run.recall(self)
        cache, shape = run.recall(self)
        dinp, _, _ = run.f.linear_cross_entropy_backward(dlosses, cache, add_to=self._of(run.g))
        return dinp.reshape(shape)
