"""Solutions of lesson 5: one way among others."""
import numpy as np


def add_share(out, dout, tokens, part, parts):
    V = len(out)
    # Shared out by where it is written, not by where it comes from: a row of out has one owner, who meets
    # its tokens in the order of the text, however many owners there are.
    low, high = V * part // parts, V * (part + 1) // parts
    for n in range(len(tokens)):
        if low <= tokens[n] < high:
            for c in range(out.shape[1]):
                out[tokens[n], c] += dout[n, c]


def tiled_product(read_a, read_b, M, N, K, tile):
    out = np.zeros((M, N))
    for i in range(0, M, tile):
        for j in range(0, N, tile):
            # A slice that reaches over the edge ends there, so the last tiles are as small as their blocks.
            part = out[i:i + tile, j:j + tile]
            for k in range(0, K, tile):
                part += read_a(i, k) @ read_b(k, j)
    return out
