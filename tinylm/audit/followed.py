"""A whole model in less than float32: kernels against definitions that round the very numbers kernels round.

Rounding is a jump.  Beside the middle between two codes the last bit of a float32 decides, and a code that falls the
other way moves everything after it by a step: a tolerance for that would be thousands of times as wide as float32's
and hide a step that is wrong.  So `Heard` keeps what enters each product of the kernels; `Followed`, the definitions in
float64, compares it with what they have come to themselves, within the rounding of float32, and goes on with the
kernels' number.  Both round the same, so that the codes are equal and the tolerance is that of float32.

One place rounds what cannot be heard: the fused head its dlogits.  There the bound counts those that lie so close to
the middle between two codes that the errors of float32 may decide, one by one, and allows a step to these alone.
"""
from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np

from .. import ops
from ..layers import Layer, Parameters
from ..layers.base import Replaced
from ..ops.precision import CHUNK, fixed_point, precision, rounded
from ..ops.ternary import Ternary
from . import parity, streaming
from .gradients import of_model, randomised
from .result import Check


def batch(model: Layer) -> int:
    """Texts enough for the columns of a product to have more chunks than one, the last of them short."""
    return CHUNK // model.config.context + 5


def check(model: Layer, kernels: ModuleType, rng: np.random.Generator) -> Check:
    """Losses and all gradients of a whole model at the present precision, dropout included."""
    fast = randomised(model, rng, np.float32)
    exact = Parameters(model.parameters(), np.float64)
    exact.flat[...] = fast.flat
    shape = batch(model), model.config.context
    tokens, targets = (rng.integers(0, model.config.vocab, shape).astype(np.int32) for _ in range(2))
    dlosses = rng.standard_normal(tokens.size).astype(np.float32)
    worst, wrong = 0.0, None

    def differs(what, got, want, more, rows=0):
        nonlocal worst, wrong
        tolerance = streaming.rounding(model, want.astype(np.float32), rows) + 1e-30
        gap = np.abs(got.astype(np.float64) - want)
        share = np.where(np.isfinite(gap), gap, np.inf) / (tolerance + more)
        worst = max(worst, float(share.max()))
        if wrong is None and worst > 1:
            at = np.unravel_index(int(share.argmax()), share.shape)
            wrong = (f"{what}[{', '.join(str(int(i)) for i in at)}] differs by {gap[at]:.3g} between kernels and "
                     f"definitions in {precision()}")

    heard = Heard(kernels)
    definitions = Followed(heard, exact, differs)
    found = []
    for f, params in ((heard, fast), (definitions, exact)):
        found.append(of_model(model, f, params, tokens, targets, dlosses))
    got, want = found
    for name, array in want.items():
        # The gradient of a parameter adds up a term for each token, beside what lies on the way to the scores.
        differs(name, got[name], array, definitions.allowed.get(name[1:], 0.0), 0 if name == "losses" else tokens.size)
    return Check("kernels", wrong is None, worst, wrong or (
        f"{len(heard.inputs)} inputs of products, losses and {len(want) - 1} gradients agree"))


class Heard(Replaced):
    """The kernels; inputs: what entered each product, forward and backward, and what came out of the head.

    None comes as an `operand`, of which nobody could hear the numbers; that is the same to the bit.
    """

    def __init__(self, kernels: ModuleType):
        super().__init__(kernels)
        self.inputs = []

    def _hear(self, *arrays):
        self.inputs.extend(array.copy() for array in arrays)  # kernels use their memory again
        return self._operations

    def linear_forward(self, inp, weight, bias=None):
        return self._hear(inp).linear_forward(inp, weight, bias)

    def linear_backward(self, dout, cache, add_to=None, positive=None, operand=False):
        return self._hear(dout).linear_backward(dout, cache, add_to, positive=positive)

    def linear_relu(self, inp, weight, bias=None, operand=False):
        return self._hear(inp).linear_relu(inp, weight, bias)

    def bitlinear_forward(self, inp, ternary, activation_bits=0):
        return self._hear(inp).bitlinear_forward(inp, ternary, activation_bits)

    def bitlinear_backward(self, dout, cache, add_to=None):
        return self._hear(dout).bitlinear_backward(dout, cache, add_to)

    def bitlinears_forward(self, inp, ternaries, activation_bits=0):
        return self._hear(inp).bitlinears_forward(inp, ternaries, activation_bits)

    def bitlinears_backward(self, douts, caches, add_to=None):
        return self._hear(*douts).bitlinears_backward(douts, caches, add_to)

    def linear_cross_entropy_forward(self, inp, weight, bias, targets):
        return self._hear(inp).linear_cross_entropy_forward(inp, weight, bias, targets)

    def linear_cross_entropy_backward(self, dlosses, cache, add_to=None):
        found = self._operations.linear_cross_entropy_backward(dlosses, cache, add_to)
        self._hear(found[0])
        return found


class Followed(Replaced):
    """The definitions in float64, going on with what the kernels rounded.

    heard    the kernels after their run
    params   the parameters, in float64
    differs  differs(what, got, want, more) compares the kernels' array with the definitions', where `more` is
             tolerated beside the rounding of float32
    allowed  more for the gradients of the head, filled on the way back: {name: largest error of each element}
    """

    def __init__(self, heard: Heard, params: Parameters,
                 differs: Callable[[str, np.ndarray, np.ndarray, np.ndarray | float], None]):
        super().__init__(ops)
        self._inputs, self._differs = iter(heard.inputs), differs
        self._names = {id(array): name for name, array in params.items()}
        self.allowed = {}

    def _follow(self, want, what, of, more=0.0):
        """The kernels' float32 in place of `want`, once they are found to agree."""
        got = next(self._inputs)
        self._differs(f"{what} {self._names[id(of)]}", got, want, more)
        return got

    def ternarize(self, weight):
        codes, scale = ops.ternarize(weight.astype(np.float32))
        self._names[id(codes)] = self._names[id(weight)]
        return Ternary(codes, float(scale))

    def linear_forward(self, inp, weight, bias=None):
        inp = self._follow(inp, "the input of", weight).astype(np.float64)
        return ops.linear_forward(inp, weight, bias)

    def linear_backward(self, dout, cache, add_to=None, positive=None, operand=False):
        dout = self._follow(dout, "the gradient entering", cache.weight).astype(np.float64)
        return ops.linear_backward(dout, cache, add_to, positive)

    def linear_relu(self, inp, weight, bias=None, operand=False):
        inp = self._follow(inp, "the input of", weight).astype(np.float64)
        return ops.linear_relu(inp, weight, bias)

    def bitlinear_forward(self, inp, ternary, activation_bits=0):
        (out,), (cache,) = self.bitlinears_forward(inp, [ternary], activation_bits)
        return out, cache

    def bitlinear_backward(self, dout, cache, add_to=None):
        dinp, (dweight,) = self.bitlinears_backward([dout], [cache], add_to)
        return dinp, dweight

    def bitlinears_forward(self, inp, ternaries, activation_bits=0):
        # Codes of 8 bits are made of float32, by definitions as by kernels; float activations are float64 from here.
        inp = self._follow(inp, "the input of", ternaries[0].codes)
        outs, caches = ops.bitlinears_forward(inp if activation_bits else inp.astype(np.float64), ternaries,
                                              activation_bits)
        return [out.astype(np.float64) for out in outs], [
            cache._replace(inp_scale=cache.inp_scale.astype(np.float64)) if activation_bits else cache
            for cache in caches]

    def bitlinears_backward(self, douts, caches, add_to=None):
        douts = [self._follow(dout, "the gradient entering", cache.ternary.codes)
                 for dout, cache in zip(douts, caches, strict=True)]
        in_bytes = caches[0].inp_scale is not None and fixed_point()
        dinp, dweights = ops.bitlinears_backward(douts if in_bytes else [dout.astype(np.float64) for dout in douts],
                                                 caches, add_to)
        return dinp.astype(np.float64), dweights

    def linear_cross_entropy_forward(self, inp, weight, bias, targets):
        inp = self._follow(inp, "the input of", weight).astype(np.float64)
        return ops.linear_cross_entropy_forward(inp, weight, bias, targets)

    def linear_cross_entropy_backward(self, dlosses, cache, add_to=None):
        dinp, dweight, dbias = ops.linear_cross_entropy_backward(dlosses, cache, add_to)
        inp, weight, bias = cache.linear
        off = parity.dlogits_error(inp, weight, bias, cache.cross_entropy.targets, dlosses)
        (dlogits,) = ops.cross_entropy_backward(dlosses, cache.cross_entropy)
        self.allowed[self._names[id(weight)]] = parity.rounding_error(dlogits, off, 0).T @ np.abs(rounded(inp, 0))
        if bias is not None:
            self.allowed[self._names[id(bias)]] = off.sum(0)
        more = parity.rounding_error(dlogits, off, 1) @ np.abs(rounded(weight, 0))
        dinp = self._follow(dinp, "the gradient leaving", weight, more).astype(np.float64)
        return dinp, dweight, dbias
