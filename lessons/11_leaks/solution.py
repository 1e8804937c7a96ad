"""Solutions of lesson 11: one way among others."""
import numpy as np


def reads(model, tokens, others):
    T = tokens.shape[1]
    before = np.array(model(tokens))
    found = np.zeros((T, T), bool)
    for s in range(T):
        swapped = tokens.copy()
        swapped[:, s] = others[:, s]
        moved = np.abs(model(swapped) - before)           # (B, T, V)
        found[:, s] = moved.max(axis=(0, 2)) > 1e-12      # one text and one score are enough
    return found


def below_the_floor(learn, score, batches, V):
    for batch in batches[:-1]:
        learn(batch[:, :-1], batch[:, 1:])
    # On a batch it was trained on, an honest model that learns by heart would fall below ln V too.
    losses = np.asarray(score(batches[-1][:, :-1], batches[-1][:, 1:]))
    below = np.log(V) - losses.mean()
    error = losses.std() / np.sqrt(losses.size)
    # NaN is above nothing and below nothing: a comparison alone would let it pass.
    accused = below > 5 * error + 1e-6 or not np.isfinite(losses).all()
    return below, error, bool(accused)


def _watch(layers, x):
    """What goes into the first layer, and what comes out of each."""
    seen = [np.array(x)]
    for layer in layers:
        seen.append(np.array(layer(seen[-1])))
    return seen


def first_leak(layers, inp, other):
    before = _watch(layers, inp)
    leaky = []
    for cut in range(1, len(inp)):
        after = _watch(layers, np.concatenate([inp[:cut], other[cut:]]))
        moved = [np.abs(x - y)[:cut].max() > 1e-12 for x, y in zip(before, after)]
        # Entry 0 is the input, entry i + 1 comes out of layer i.  Behind the first that moved, inputs have
        # moved too, and for those a later layer is not to blame.
        if any(moved):
            leaky.append(moved.index(True) - 1)
    return min(leaky, default=-1)
