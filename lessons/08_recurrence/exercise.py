"""Exercises of lesson 8: a recurrence instead of attention.

Write the functions below and run `make check-8`.  NumPy is all you need.  B sequences of T steps with C channels are
computed at once; no sequence and no channel has to do with another one.
"""
import numpy as np


def scan(forget, value, state):
    """The gated linear recurrence, one step after the other.

        h[t] = forget[t] h[t - 1] + (1 - forget[t]) value[t],    h[-1] = state

    forget   (B, T, C), each between 0 and 1, both included; T >= 1
    value    (B, T, C)
    state    (B, C): h before the first step
    returns  (B, T, C): h of every step
    """
    raise NotImplementedError("TODO: exercise 8.1")


def scan_chunked(forget, value, state, chunk):
    """The same in chunks of `chunk` steps: only the state goes from one chunk to the next.

    Within a chunk there is no loop over steps, but one over rounds of doubling.  A step is the map h -> a h + b with
    a = forget and b = (1 - forget) value.  The map (a1, b1) and then (a2, b2) are together (a1 a2, a2 b1 + b2).
    In the round with span 1, 2, 4, ... each position takes in the map that stands `span` positions before it in the
    chunk, where there is one; afterwards it stands for twice as many steps.  When the span reaches the length of the
    chunk, position t has the map of all steps of the chunk up to t, to be applied to the state.

    forget, value, state    as for `scan`
    chunk    whole number >= 1; T need not be a multiple of it
    returns  (B, T, C): what `scan` gives
    """
    raise NotImplementedError("TODO: exercise 8.2")


def scan_backward(dout, forget, value, state, out):
    """From the slopes of the outputs back to gates, values and the first state.

    dout     (B, T, C): slope of the loss with respect to every out[t], by its direct uses
    forget, value, state    as given to `scan`
    out      (B, T, C): what `scan` gave
    returns  dforget (B, T, C), dvalue (B, T, C), dstate (B, C)
    """
    raise NotImplementedError("TODO: exercise 8.3")
