"""Exercises of lesson 4: the character GPT.

Write the functions below and run `make check-4`.  NumPy is all you need.  Each function raises
NotImplementedError until you have written it: replace that line with your own.
"""
import numpy as np


def layernorm_backward(dout, inp, weight, eps):
    """From the normalised output back to input, weight and bias.

    Forward, for each row n:  mean = mean of inp[n];  rstd = 1 / sqrt(mean of (inp[n] - mean)^2 + eps);
    norm = (inp[n] - mean) rstd;  out[n] = norm weight + bias.

    dout     (N, C), the slope of the loss at each output
    inp      (N, C), what went in
    weight   (C,)
    eps      a small number above 0
    returns  (dinp, dweight, dbias): (N, C), (C,) and (C,)
    """
    raise NotImplementedError("TODO: exercise 4.1")


def block(inp, norm1, attention, norm2, feed_forward):
    """A Transformer block out of its four parts, pre-norm: each branch normalises what it reads, and what it
    finds is added to the stream.

        middle = inp + attention(norm1(inp))
        out    = middle + feed_forward(norm2(middle))

    inp      (T, C)
    others   functions (T, C) -> (T, C)
    returns  out, (T, C)
    """
    raise NotImplementedError("TODO: exercise 4.2")


def block_backward(dout, norm1, attention, norm2, feed_forward):
    """The block backwards: from the slope at `out` to the slope at `inp`.

    dout     (T, C)
    others   the backward passes of the four parts, (T, C) -> (T, C): each takes the slope at its output and
             returns the slope at its input.  Each remembers one forward pass, so call it once.
    returns  dinp, (T, C)
    """
    raise NotImplementedError("TODO: exercise 4.3")


def adamw_step(param, grad, first, second, step, lr, beta1, beta2, eps, weight_decay):
    """One step of AdamW.

        first'  = beta1 first  + (1 - beta1) grad            a running mean of the gradient
        second' = beta2 second + (1 - beta2) grad^2          a running mean of its square
        param'  = param - lr weight_decay param - lr m / (sqrt(v) + eps)
        with      m = first' / (1 - beta1^step),  v = second' / (1 - beta2^step)

    param, grad, first, second   (P,); first and second are zeros before step 1
    step                         1, 2, 3, ...
    returns                      (param', first', second'), new arrays; the arguments are not changed
    """
    raise NotImplementedError("TODO: exercise 4.4")
