"""Twin of `tinylm.ops.decode_gpt`: all blocks in one call, from the row functions of the training kernels.

Called one by one from Python, the operations of a small GPT take ten times as long as computing.  Each part has
some of the heads, with their queries, keys, values and cache, so that nobody waits for them; for what comes after,
parts meet four times a block: see `together`.
"""
from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from ..ops.decode_gpt import GPTWeights, check_gpt
from . import memory
from .activations import _gelu_forward_range, _relu_forward_range
from .attention import _scale, extend_query
from .jit import parallel, serial
from .layernorm import forward_row
from .matmul import Packed, pack_into, packed_columns
from .quantize import quantize_row
from .recording import contiguous
from .residual import _sum
from .together import Pace, columns_of, copy, few_rows, in_one_call, meet

_NO_SCALES = np.zeros((0,) * 5, np.float32)
# Panels of a block by what they are of: one head's query, key and value; the three other maps.
OF_HEAD, PROJ, UP, DOWN = range(4)


class PackedGPT(NamedTuple):
    """GPTWeights in the order in which a token meets them."""

    weights: GPTWeights
    panels: np.ndarray       # flat: of each block those of each head, proj, up and down; then the head's
    sizes: np.ndarray        # numbers in the panels OF_HEAD, PROJ, UP and DOWN
    vectors: np.ndarray      # (L, 9C + F): norm1 (2C), biases of qkv by heads and of proj, norm2 (2C), of up, down
    last: np.ndarray         # (2C + V,): the last norm, the bias of the head
    norm_bias: bool
    windows: np.ndarray      # (L,)
    scale: np.float32
    hidden: int              # F
    maps: list[Packed]       # see `pack_gpt`
    pace: Pace
    spare: defaultdict[tuple[int, int], list[_Scratch]]  # by the numbers of texts and parts


def _by_head(x, heads):
    """Rows of query, key and value (3C, ...) as (H, 3D, ...)."""
    rest = x.shape[1:]
    return x.reshape(3, heads, -1, *rest).swapaxes(0, 1).reshape(heads, -1, *rest)


def _or_zeros(bias, size):
    return np.zeros(size, np.float32) if bias is None else bias


def pack_gpt(weights):
    """See `tinylm.ops.pack_gpt`; float32.

    `maps` are what `pack` makes of proj, up and down of each block and of the head, in the same memory: whoever reads
    a prompt need not have those weights another time.
    """
    w, matrices, vectors = weights, [], []
    C, V, F, H = w.tokens.shape[1], len(w.head[0]), len(w.blocks[0].up[0]), w.heads
    for block in w.blocks:
        matrices += [*_by_head(block.qkv[0], H), block.proj[0], block.up[0], block.down[0]]
        vectors.append(np.concatenate([
            block.norm1[0], _or_zeros(block.norm1[1], C), _by_head(_or_zeros(block.qkv[1], 3 * C), H).reshape(-1),
            _or_zeros(block.proj[1], C), block.norm2[0], _or_zeros(block.norm2[1], C), _or_zeros(block.up[1], F),
            _or_zeros(block.down[1], C)]))
    matrices.append(w.head[0])
    sizes = [matrix.shape[1] * packed_columns(len(matrix)) for matrix in matrices]
    panels = memory.empty(sum(sizes))
    packed = [pack_into(view, matrix) for view, matrix in zip(np.split(panels, np.cumsum(sizes)[:-1]), matrices)]
    return PackedGPT(w, panels, np.array(sizes[H - 1:H + 3]), np.stack(vectors),
                     np.concatenate([w.norm[0], _or_zeros(w.norm[1], C), _or_zeros(w.head[1], V)]),
                     w.norm[1] is not None, np.array([block.window for block in w.blocks]), _scale(w.scale, C // H), F,
                     [x for i, x in enumerate(packed) if i % (H + 3) >= H or i == len(packed) - 1],
                     Pace(), defaultdict(list))


@serial
def _norm_rows(out, inp, params, biased, C, eps):
    """Rows of C numbers; params: weight, then bias."""
    for at in range(0, inp.size, C):
        forward_row(out[at:at + C], inp[at:at + C], params[:C], params[C:2 * C] if biased else params[:0], eps)


@serial
def _keep(past, scales, at, place, new):
    """Keep a head's key or value: numbers as they are, or codes of them and their scale."""
    if scales.size:
        scales[place], _ = quantize_row(past[at:at + new.size], new)
    else:
        copy(past[at:at + new.size], new)


@serial
def _heads_of_part(mixed, query, qkv, normed, bias, panels, panel_size, keys, values, key_scales, value_scales, score,
                   first, last, heads, B, C, positions, length, window, scale):
    """mixed (B, C): what heads first .. last - 1 make of the tokens at `length`, whose keys and values they keep.

    keys, values (B, P, C) of the block, flat; scales (B, P, H), flat, empty where those are no codes.
    Scratch: query (B, C), qkv (B, 3D), score (heads of the part times P).
    """
    D = C // heads
    for head in range(first, last):
        few_rows(qkv, normed, bias[3 * D * head:], panels[panel_size * head:], B, 3 * D, C, 0, 1)
        for b in range(B):
            at, place, own = b * C + head * D, b * positions + length, 3 * D * b
            copy(query[at:at + D], qkv[own:own + D])
            _keep(keys, key_scales, place * C + head * D, place * heads + head, qkv[own + D:own + 2 * D])
            _keep(values, value_scales, place * C + head * D, place * heads + head, qkv[own + 2 * D:own + 3 * D])
    low, high, begin = first * D, last * D, max(0, length + 1 - window) if window else 0
    for b in range(B):
        place = b * positions + begin
        extend_query(mixed[b * C + low:b * C + high], query[b * C + low:b * C + high], keys, values, place * C + low, C,
                     key_scales, value_scales, place * heads + first, heads, length + 1 - begin, D, score, scale)


@serial
def _part(part, parts, counter, out, tokens, embedding, positions, length, vectors, panels, sizes, last, biased,
          windows, heads, gelu, scale, eps, past, scales, shared, private, F):
    """One token of B texts as one of `parts` threads sees it.

    Each computes its own heads, its own columns of every product, and all of what lies between: that is shorter than
    a wait.  What they share is written before a meeting and read after it.  out (B, V), shared and private are flat;
    `_Scratch` says how large.
    """
    L, _, B, P, C = past.shape
    N, D, V = B * C, C // heads, embedding.shape[0]
    mixed, branch, hidden = shared[:N], shared[N:2 * N], shared[2 * N:]
    row, middle, normed, query = private[:N], private[N:2 * N], private[2 * N:3 * N], private[3 * N:4 * N]
    ups, qkv, score = private[4 * N:4 * N + B * F], private[4 * N + B * F:4 * N + B * F + 3 * D * B], \
        private[4 * N + B * F + 3 * D * B:]
    numbers, all_scales = past.reshape(-1), scales.reshape(-1)
    of_block, scales_of_block = N * P, scales.shape[2] * P * heads  # 0 scales where there are none
    first, stop = heads * part // parts, heads * (part + 1) // parts
    low, high = columns_of(F, part, parts)
    for b in range(B):
        _sum(row[b * C:(b + 1) * C], embedding[tokens[b]], positions[length])
    at, met, step = 0, 0, parts if parts > 1 else 0
    for layer in range(L):
        own = vectors[layer]
        keys, values = 2 * layer, 2 * layer + 1
        _norm_rows(normed, row, own, biased, C, eps)
        if stop > first:
            _heads_of_part(mixed, query, qkv, normed, own[2 * C:], panels[at:], sizes[OF_HEAD],
                           numbers[keys * of_block:(keys + 1) * of_block],
                           numbers[values * of_block:(values + 1) * of_block],
                           all_scales[keys * scales_of_block:(keys + 1) * scales_of_block],
                           all_scales[values * scales_of_block:(values + 1) * scales_of_block], score, first, stop,
                           heads, B, C, P, length, windows[layer], scale)
        at += heads * sizes[OF_HEAD]
        met += step
        meet(counter, met)
        few_rows(branch, mixed, own[5 * C:], panels[at:], B, C, C, part, parts)
        at += sizes[PROJ]
        met += step
        meet(counter, met)
        _sum(middle, row, branch)
        _norm_rows(normed, middle, own[6 * C:], biased, C, eps)
        few_rows(ups, normed, own[8 * C:], panels[at:], B, F, C, part, parts)
        for b in range(0, B * F, F):
            if gelu:
                _gelu_forward_range(hidden[b + low:b + high], ups[b + low:b + high])
            else:
                _relu_forward_range(hidden[b + low:b + high], ups[b + low:b + high])
        at += sizes[UP]
        met += step
        meet(counter, met)
        few_rows(branch, hidden, own[8 * C + F:], panels[at:], B, C, F, part, parts)
        at += sizes[DOWN]
        met += step
        meet(counter, met)
        _sum(row, middle, branch)
    _norm_rows(normed, row, last, biased, C, eps)
    few_rows(out, normed, last[2 * C:], panels[at:], B, V, C, part, parts)


@parallel
def _step(part, counter, out, tokens, embedding, positions, length, vectors, panels, sizes, last, biased, windows,
          heads, gelu, scale, eps, past, scales, shared, private, F, parts):
    """`_part` with its own scratch."""
    _part(part, parts, counter, out.reshape(-1), tokens, embedding, positions, length, vectors, panels, sizes, last,
          biased, windows, heads, gelu, scale, eps, past, scales, shared, private[part], F)


class _Scratch(NamedTuple):
    """What a step of so many texts and parts writes to besides its scores and the cache."""

    counter: np.ndarray
    shared: np.ndarray   # mixed and a branch (B, C), hidden (B, F)
    private: np.ndarray  # of each part: four times (B, C), (B, F), (B, 3D), scores of its heads


def _scratch(B, C, F, heads, P, parts):
    private = B * (4 * C + F + 3 * C // heads) + -(-heads // parts) * P
    return _Scratch(np.zeros(1, np.int64), memory.empty(B * (2 * C + F)),
                    memory.empty((parts, -(-private // 16) * 16)))


def gpt_step(tokens, weights, past, scales, length):
    """See `tinylm.ops.gpt_step`; float32, past in C order, with the same bits for any number of threads."""
    p, w = weights, weights.weights
    check_gpt(tokens, w, past, scales, length)
    _, _, B, P, C = past.shape
    out = memory.empty((B, len(w.tokens)))
    ids = contiguous(tokens, np.int32)

    def step(scratch, parts):
        _step(scratch.counter, out, ids, w.tokens, w.positions, length, p.vectors, p.panels, p.sizes, p.last,
              p.norm_bias, p.windows, w.heads, w.activation == "gelu", p.scale, w.eps, past,
              _NO_SCALES if scales is None else scales, scratch.shared, scratch.private, p.hidden, parts)

    in_one_call(p.panels.nbytes, p.pace, p.spare, B, lambda parts: _scratch(B, C, p.hidden, w.heads, P, parts), step)
    return out
