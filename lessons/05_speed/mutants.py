"""Plausible wrong answers to lesson 5."""
import numpy as np
from solution import tiled_product

from tinylm.classroom.mutants import edit, other, wrong


def share_of_the_columns(out, dout, tokens, part, parts):
    C = out.shape[1]
    mine = slice(C * part // parts, C * (part + 1) // parts)
    for n, token in enumerate(tokens):
        out[token, mine] += dout[n, mine]


def every_nth_row(out, dout, tokens, part, parts):
    for v in range(part, len(out), parts):
        for row in dout[tokens == v]:
            out[v] += row


def racy(out, dout, tokens, part, parts):
    N = len(tokens)
    for n in range(N * part // parts, N * (part + 1) // parts):
        out[tokens[n]] += dout[n]


def one_for_all(out, dout, tokens, part, parts):
    if part == 0:
        for n, token in enumerate(tokens):
            out[token] += dout[n]


def sum_depends_on_parts(out, dout, tokens, part, parts):
    """Owns its rows, but adds up in as many pieces as there are parts."""
    V, N = len(out), len(tokens)
    for v in range(V * part // parts, V * (part + 1) // parts):
        for p in range(parts):
            total = np.zeros_like(out[v])
            for n in range(N * p // parts, N * (p + 1) // parts):
                if tokens[n] == v:
                    total += dout[n]
            out[v] += total


def returns_a_new_one(out, dout, tokens, part, parts):
    out = out.copy()
    np.add.at(out, tokens, dout)
    return out


def product_with_k_outside(read_a, read_b, M, N, K, tile):
    out = np.zeros((M, N))
    for k in range(0, K, tile):
        for i in range(0, M, tile):
            left = read_a(i, k)
            for j in range(0, N, tile):
                right = read_b(k, j)
                out[i:i + len(left), j:j + right.shape[1]] += np.einsum("ik,kj->ij", left, right)
    return out


def product_row_by_row(read_a, read_b, M, N, K, tile):
    out = np.zeros((M, N))
    for i in range(M):
        for j in range(0, N, tile):
            for k in range(0, K, tile):
                out[i, j:j + tile] += read_a(i // tile * tile, k)[i % tile] @ read_b(k, j)
    return out


def padded(read_a, read_b, M, N, K, tile):
    rows, columns = -(-M // tile) * tile + tile, -(-N // tile) * tile
    out = np.zeros((rows, columns))
    out[:M, :N] = tiled_product(read_a, read_b, M, N, K, tile)
    return out


MUTANTS = [
    wrong("add_share", "the tokens are shared out: the patient", racy, at="property"),
    wrong("add_share", "one part does everything", one_for_all, at="property"),
    wrong("add_share", "the order of the sum depends on the number of parts", sum_depends_on_parts, at="threads"),
    wrong("add_share", "a new array is returned", returns_a_new_one, at="shapes"),
    edit("add_share", "rows that are left over belong to nobody",
         "V * part // parts, V * (part + 1) // parts", "V // parts * part, V // parts * (part + 1)"),
    edit("add_share", "shares overlap by a row", "low <= tokens[n] < high", "low <= tokens[n] <= high"),
    edit("add_share", "the first row of a share is left out", "low <= tokens[n] < high", "low < tokens[n] < high"),
    edit("add_share", "parts counted from 1", "V * part // parts, V * (part + 1) // parts",
         "V * (part - 1) // parts, V * part // parts"),
    edit("add_share", "overwritten, not added", "+= dout[n, c]", "= dout[n, c]"),
    edit("add_share", "every part adds everything", "if low <= tokens[n] < high:", "if True:"),
    edit("add_share", "a share begins with zeros", "    for n in range(len(tokens)):",
         "    out[low:high] = 0\n    for n in range(len(tokens)):"),
    edit("tiled_product", "rows that fill no tile are left out", "range(0, M, tile)", "range(0, M - tile + 1, tile)"),
    edit("tiled_product", "inner blocks that fill no tile are left out", "range(0, K, tile)",
         "range(0, K - tile + 1, tile)"),
    edit("tiled_product", "the last block only", "part +=", "part[...] ="),
    edit("tiled_product", "element by element", "@ read_b(k, j)", "* read_b(k, j)"),
    edit("tiled_product", "b read at the wrong place", "read_b(k, j)", "read_b(j, k)"),
    edit("tiled_product", "the first inner block only", "read_a(i, k)", "read_a(i, 0)"),
    edit("tiled_product", "b fetched twice, to look at its shape first", "                part += read_a",
         "                if read_b(k, j).size == 0:\n                    continue\n                part += read_a",
         at="property"),
    edit("tiled_product", "transposed", "return out", "return out.T", at="shapes"),
    wrong("tiled_product", "a block read again for each of its rows", product_row_by_row, at="property"),
    wrong("tiled_product", "out padded to whole tiles", padded, at="shapes"),
]

ALTERNATIVES = [
    other("add_share", "columns have owners", share_of_the_columns),
    other("add_share", "every n-th row", every_nth_row),
    other("tiled_product", "the inner blocks outside, blocks of a kept", product_with_k_outside),
]
