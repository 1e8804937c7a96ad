"""Exercises of lesson 10: Thunderbolt.

Write the functions below and run `make check-10`.  Each function raises NotImplementedError until you have
written it: replace that line with your own.

You may use the operations of `tinylm.ops`: layernorm_forward, token_shift_forward, ternarize, bitlinear_forward,
recurrence_forward, headnorm_forward, squared_relu_forward.  Each gives (out, cache).
"""
from tinylm import ops  # noqa: F401


def block(inp, weights, heads, lower, state):
    """One block of Thunderbolt, forward.

        middle = inp + mixer(shift1(norm1(inp)))
        out    = middle + down(squared_relu(up(shift2(norm2(middle)))))
        mixer(x) = proj(headnorm(recurrence(forget(x), value(x), output(x))))

    forget, value, output, proj, up and down are ternary linear maps with 8-bit activations; what `weights` holds
    are the floats that they are made from.  "forget.bias" goes into the recurrence.

    inp      (B, T, C)
    weights  a dictionary of arrays: "norm1.weight", "norm1.bias", "shift1", "forget", "forget.bias", "value",
             "output", "headnorm.weight", "headnorm.bias", "proj", "norm2.weight", "norm2.bias", "shift2" (all (C,)
             or (C, C)), "up" (F, C), "down" (C, F)
    heads    number of heads of the head norm
    lower    the least share of the recurrent state that is kept
    state    None before a text begins, else what `block` returned for the text so far
    returns  (out, state): (B, T, C), and a tuple of three arrays (B, C): what shift1 read last, the recurrence's
             hidden state h (`cache.hidden` has all of them), what shift2 read last
    """
    raise NotImplementedError("TODO: exercise 10.1")


def footprint(parameters):
    """What stays float, and what an export of a model weighs.

    A weight becomes ternary if it is a matrix that activations are multiplied by, and is nothing else besides.
    A table whose rows are looked up stays float, also where it is the head too; so does every vector.

    parameters  a list of (name, shape, uses); uses is a list of words out of "product" (activations are multiplied
                by the matrix), "lookup" (tokens choose a row), "scale" (channel by channel), "add" (a bias)
    returns     (ternary, floats, size): how many numbers of each kind, and the bytes of the export.  A float takes
                4 bytes.  A ternary matrix (M, K) takes ceil(K / 4) bytes for each of its M rows, and 4 for its scale.
    """
    raise NotImplementedError("TODO: exercise 10.2")
