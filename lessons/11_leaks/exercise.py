"""Exercises of lesson 11: the model that read the future.

Write the functions below and run `make check-11`.  NumPy is all you need.  Each function raises
NotImplementedError until you have written it: replace that line with your own.

You get models and layers as functions.  You can call them and cannot look into them, and you never need to.
"""
import numpy as np


def reads(model, tokens, others):
    """Which positions of a text does each position read?  The map of a model, from its behaviour alone.

    Replace the tokens at one position s (in all texts, and nowhere else) by others[:, s].  Position t reads
    position s if that moves any score at t, in any of the texts, by more than 1e-12.

    model    a function (B, T) integers -> (B, T, V) scores; the same answer each time
    tokens   (B, T) integers
    others   (B, T) integers, each different from the token it may replace
    returns  (T, T) truth values: row t, column s
    """
    raise NotImplementedError("TODO: exercise 11.1")


def below_the_floor(learn, score, batches, V):
    """Train a model on uniform random tokens, and say whether it predicts what nobody can.

    Each batch holds texts of T + 1 tokens; the inputs are the first T of each, the targets the last T.  Train
    once on every batch but the last, in order.  Then score the last batch, which the model has not seen.

        below   = ln V - mean of the scored losses
        error   = standard deviation of the scored losses / sqrt(how many there are)
        accused = below > 5 error + 1e-6, or a scored loss that is not finite

    learn    a function of (inputs, targets): one step of training; returns nothing
    score    a function of (inputs, targets): losses (B, T) in nats; trains nothing
    batches  (N, B, T + 1) integers, N at least 2, drawn uniformly from 0 .. V-1
    V        how many tokens there are
    returns  (below, error, accused): two numbers and a truth value
    """
    raise NotImplementedError("TODO: exercise 11.2")


def first_leak(layers, inp, other):
    """Which layer is to blame?  The first that leaks, in a model that is one layer after another.

    Choose a cut t, from 1 to T - 1, and replace rows t .. T-1 of inp by those of other.  For this cut a layer
    leaks if the rows before t of what comes out of it move, while the rows before t of what goes into it stand
    still.  "Move" is by more than 1e-12 anywhere.  One cut may show a leak that another does not.

    layers   a list of functions (T, C) -> (T, C); the output of each is the input of the next
    inp      (T, C) numbers, what goes into the first layer
    other    (T, C) numbers, different from inp everywhere
    returns  the smallest index of a layer that leaks for some cut; -1 if none does
    """
    raise NotImplementedError("TODO: exercise 11.3")
