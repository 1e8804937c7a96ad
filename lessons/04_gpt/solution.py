"""Solutions of lesson 4: one way among others."""
import numpy as np


def layernorm_backward(dout, inp, weight, eps):
    centred = inp - inp.mean(axis=1, keepdims=True)
    rstd = 1 / np.sqrt((centred ** 2).mean(axis=1, keepdims=True) + eps)
    norm = centred * rstd
    dnorm = dout * weight
    # Mean and rstd depend on every channel of the row: what moves all channels together, or stretches
    # them all, changes nothing, so these two shares of the slope are taken out.
    shift = dnorm.mean(axis=1, keepdims=True)
    stretch = norm * (dnorm * norm).mean(axis=1, keepdims=True)
    return rstd * (dnorm - shift - stretch), (dout * norm).sum(axis=0), dout.sum(axis=0)


def block(inp, norm1, attention, norm2, feed_forward):
    middle = inp + attention(norm1(inp))
    return middle + feed_forward(norm2(middle))


def block_backward(dout, norm1, attention, norm2, feed_forward):
    # A value that is used twice collects a slope from each use: the stream, and the branch.
    dmiddle = dout + norm2(feed_forward(dout))
    return dmiddle + norm1(attention(dmiddle))


def adamw_step(param, grad, first, second, step, lr, beta1, beta2, eps, weight_decay):
    first = beta1 * first + (1 - beta1) * grad
    second = beta2 * second + (1 - beta2) * grad ** 2
    # The moments start at zero, so they are too small at first, by exactly this factor.
    mean = first / (1 - beta1 ** step)
    square = second / (1 - beta2 ** step)
    kept = param * (1 - lr * weight_decay)
    return kept - lr * mean / (np.sqrt(square) + eps), first, second
