"""The matrix product: packed panels, tiles that stay in registers, any shape.

The product is cut into tiles of ROWS rows and a panel of columns.  A panel is a copy of some columns
of b in the order in which a tile reads them, [K][width].  The rows of a tile are read where they stand
if their numbers follow each other along k, and copied otherwise: the lines of a column, far apart in
memory, would fall into a few places of the nearest cache and push each other out.  A tile keeps its part
of out in registers while k runs.  Which thread does which tile does not change what is added to what, so
the result is the same to the bit for any number of threads.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..config import PRECISIONS
from ..ops import shapes
from ..ops.precision import fixed_point, precision
from . import memory
from .fork import thread_count
from .jit import inlined, parallel, serial
from .recording import also, contiguous
from .registers import ALONE, LINE, ask, ask_rows, ask_tile, get, put
from .rounding import BothWays, a_chunk_for_each_thread, round_both, round_panels
from .rows import (
    PIECES,
    PLAIN,
    RELU,
    WHERE,
    add_column_sums,
    add_in_order,
    chunks_of,
    finish,
    finish_rows,
    parts_for,
    threads_of,
)
from .simd import (
    HALF,
    NARROW,
    ROWS,
    WIDE,
    eight,
    half,
    has_bfloat_pairs,
    has_tiles,
    lanes,
    load,
    multiply_add,
    narrow,
    opaque,
    spread,
    store,
    transpose8,
    wide,
)
from .tiles import multiply_strips, pack_strips, rounded
from .words import block_of, grid, multiply_both, multiply_pairs, shared_evenly

K_CHUNK = 512       # k is cut here, so that a chunk of a panel (128 KB) stays in the second-level cache
TILES_IN_BLOCK = 16  # tiles whose rows are copied together: their numbers of one k share cache lines
NEAR = 1 << 16      # numbers of b that stay in the second-level cache from one tile to the next
AHEAD = 16          # rows that are asked for before they are copied: the processor does not foresee such steps
EIGHT = 8           # lanes of what copies: no fewer than ROWS
STRIP = ROWS * K_CHUNK + EIGHT  # room for the rows of one tile, and for what is written beyond them
# Typed, because numba compiles a function once more for each literal number it is called with.
NEXT, ROWS_APART = np.int64(1), np.int64(ROWS)  # from row to row and from k to k in the copied rows of a tile
ALL_ROWS, ALL_COLUMNS = np.int64(ROWS), np.int64(WIDE)
FEW_ROWS = 4        # up to here, packing b would cost more than the product itself


@serial
def tile(out, io, ldo, start, ist, lds, a, ia, rs, ks, b, ib, K, rows, columns, like):
    """out[rows, columns] = start + a b, for at most ROWS rows and the lanes of `like`.

    All arrays are flat.  io, ist, ia, ib: index of the first element; ldo, lds: from row to row in
    out and start (0: each row starts from the same values); rs, ks: from row to row and from k to k
    in a.  Rows beyond `rows` repeat the last one and are not stored.
    """
    last = rows - 1
    i0, i1, i2 = opaque(ia), opaque(ia + min(1, last) * rs), opaque(ia + min(2, last) * rs)
    i3, i4, i5 = opaque(ia + min(3, last) * rs), opaque(ia + min(4, last) * rs), opaque(ia + min(5, last) * rs)
    c0 = get(start, ist, like, columns)
    c1 = get(start, ist + min(1, last) * lds, like, columns)
    c2 = get(start, ist + min(2, last) * lds, like, columns)
    c3 = get(start, ist + min(3, last) * lds, like, columns)
    c4 = get(start, ist + min(4, last) * lds, like, columns)
    c5 = get(start, ist + min(5, last) * lds, like, columns)
    for k in range(K):
        x, at = load(b, ib + k * lanes(like), like), k * ks
        c0 = multiply_add(c0, spread(a, i0 + at, like), x)
        c1 = multiply_add(c1, spread(a, i1 + at, like), x)
        c2 = multiply_add(c2, spread(a, i2 + at, like), x)
        c3 = multiply_add(c3, spread(a, i3 + at, like), x)
        c4 = multiply_add(c4, spread(a, i4 + at, like), x)
        c5 = multiply_add(c5, spread(a, i5 + at, like), x)
    put(out, io, c0, columns)
    if rows > 1:
        put(out, io + ldo, c1, columns)
    if rows > 2:
        put(out, io + 2 * ldo, c2, columns)
    if rows > 3:
        put(out, io + 3 * ldo, c3, columns)
    if rows > 4:
        put(out, io + 4 * ldo, c4, columns)
    if rows > 5:
        put(out, io + 5 * ldo, c5, columns)


inlined_tile = inlined(tile.py_func)  # a call with four arrays is some forty arguments: a fifth of a short tile


@serial
def panel_width(left):
    """Width of the next panel when `left` columns remain: the narrowest that wastes little."""
    if left <= NARROW:
        return NARROW
    if left <= HALF:
        return HALF
    if left > HALF + NARROW:
        return WIDE
    return HALF


def packed_columns(N):
    """Columns of b with the padding of its last panel: a packed b has K times as many elements."""
    columns = N // WIDE * WIDE
    while columns < N:
        columns += panel_width.py_func(N - columns)
    return columns


@serial
def _copy_rows(panel, at, b, first, ks, K, columns, like):
    """panel[at + k lanes + j] = b[first + k ks + j] for j < columns; 0 beyond."""
    for k in range(K):
        store(panel, at + k * lanes(like), get(b, first + k * ks, like, columns))


@serial
def _convert(out, inp, factor):
    for i in range(inp.size):
        out[i] = np.float32(inp[i]) * factor


@serial
def pack_panel(panel, at, b, first, ks, cs, factor, fs, K, columns, width):
    """panel[at + k width + j] = b[first + k ks + j cs] for k < K and j < columns; 0 beyond.

    Numbers that are not float32 are multiplied with factor[k fs].
    """
    if cs == 1 and panel.dtype == b.dtype:
        if width == WIDE:
            _copy_rows(panel, at, b, first, ks, K, columns, wide())
        elif width == HALF:
            _copy_rows(panel, at, b, first, ks, K, columns, half())
        else:
            _copy_rows(panel, at, b, first, ks, K, columns, narrow())
        return
    if cs == 1:
        for k in range(K):
            _convert(panel[at + k * width:at + k * width + columns], b[first + k * ks:first + k * ks + columns],
                     factor[k * fs])
    j, whole = columns if cs == 1 else np.int64(0), 0
    if ks == 1 and panel.dtype == b.dtype:  # squares of eight are turned in registers
        whole = K // EIGHT * EIGHT
        while j + EIGHT <= columns:
            for k in range(0, whole, EIGHT):
                transpose8(panel, at + k * width + j, width, b, first + j * cs + k, cs)
            for k in range(whole, K):
                for c in range(j, j + EIGHT):
                    panel[at + k * width + c] = b[first + k + c * cs]
            j += EIGHT
    for block in range(0, K, LINE):  # a few lines of the panel at a time, each written completely
        for c in range(j, columns):
            source, target = first + c * cs, at + c
            for k in range(block, min(block + LINE, K)):
                panel[target + k * width] = np.float32(b[source + k * ks]) * factor[k * fs]
    if columns < width:
        for k in range(K):
            for c in range(columns, width):
                panel[at + k * width + c] = 0.0


@serial
def tile_any(out, io, ldo, start, ist, lds, a, ia, rs, ks, b, ib, K, rows, columns, width):
    """`tile` for the register type of a panel's width."""
    if width == WIDE:
        tile(out, io, ldo, start, ist, lds, a, ia, rs, ks, b, ib, K, rows, columns, wide())
    elif width == HALF:
        tile(out, io, ldo, start, ist, lds, a, ia, rs, ks, b, ib, K, rows, columns, half())
    else:
        tile(out, io, ldo, start, ist, lds, a, ia, rs, ks, b, ib, K, rows, columns, narrow())


@serial
def _copy_strips(strips, a, first, ks, tiles, K):
    """The rows of `tiles` tiles, one after the other, where a has the rows of one k side by side: [tile][k][row].

    Eight numbers are copied where a tile has six; what is too much is written over by the next k.
    """
    inside = first + (K - 1) * ks + (tiles - 1) * ROWS + EIGHT <= a.size
    for k in range(K):
        at, to = first + k * ks, k * ROWS
        ask(a, at + AHEAD * ks, tiles * ROWS)
        for t in range(tiles):
            if inside:
                store(strips, to + t * STRIP, load(a, at + t * ROWS, eight()))
            else:
                store(strips, to + t * STRIP, get(a, at + t * ROWS, eight(), a.size - at - t * ROWS))


@serial
def _share(out, start, lds, css, a, rs, ks, packed, strips, M, N, K, after, positive, first, last, left, right):
    """Rows of tiles number first .. last-1 of the product, columns left .. right-1.  after: see `rows.finish_rows`.

    Each tile is taken through all panels while its numbers stay in the nearest cache; where the panels are too many to
    stay in the next one, each of them is taken through several tiles.  start advances by lds from row to row and by
    css from column to column: (0, 0) for zeros, (0, 1) for a bias, (N, 1) for out itself.
    """
    for k in range(0, max(K, 1), K_CHUNK):  # once even for K = 0, since out is start then
        depth = min(K_CHUNK, K - k)
        together = TILES_IN_BLOCK if depth * (right - left) > NEAR else ALONE
        for t0 in range(first, last, together):
            t1 = min(t0 + together, last)
            if ks != 1 and (t0 - first) % TILES_IN_BLOCK == 0:
                _copy_strips(strips, a, t0 * ROWS * rs + k * ks, ks, min(TILES_IN_BLOCK, last - t0), depth)
            column = left
            while column < right:
                width = panel_width(N - column)
                ib = column * K + k * width
                for t in range(t0, t1):
                    row = t * ROWS
                    at, rows = row * N + column, min(ROWS, M - row)
                    source, ia, to_row, to_k = a, row * rs + k, rs, ks
                    if ks == 1:
                        ask_tile(a, ia + ROWS * rs, rs, depth, together, (column - left) // width)
                    else:
                        source, ia, to_row, to_k = strips, (t - first) % TILES_IN_BLOCK * STRIP, NEXT, ROWS_APART
                    begin, ist, step = start, row * lds + column * css, lds
                    if k > 0:  # go on from what the chunks of k before this one have left
                        begin, ist, step = out, at, N
                    if t + 1 < t1:
                        ask_rows(out, at + ROWS * N, N, ROWS)
                    elif column + width < right:
                        ask_rows(out, t0 * ROWS * N + column + width, N, ROWS)
                    if rows == ROWS and N - column >= WIDE:
                        inlined_tile(out, at, N, begin, ist, step, source, ia, to_row, to_k, packed, ib, depth,
                                     ALL_ROWS, ALL_COLUMNS, wide())
                    else:
                        tile_any(out, at, N, begin, ist, step, source, ia, to_row, to_k, packed, ib, depth, rows,
                                 min(width, N - column), width)
                column += width
            if after and k + K_CHUNK >= K:
                rows = min(t1 * ROWS, M) - t0 * ROWS
                finish_rows(out, positive, after, t0 * ROWS * N + left, N, rows, right - left)


@parallel
def _pack(part, packed, b, ks, cs, factor, N, K, parts):
    """All panels of b, in the order of their columns; panel p starts at K times its first column.

    factor    (1,) or (K,), for b that is not float32
    """
    panels, fs = (N + WIDE - 1) // WIDE, 0 if factor.size == 1 else 1
    if cs == 1:  # all columns of some rows
        low, high, first, last = K * part // parts, K * (part + 1) // parts, np.int64(0), N
    else:
        low, high = np.int64(0), K
        first, last = panels * part // parts * WIDE, min(N, panels * (part + 1) // parts * WIDE)
    column = first
    while column < last:
        width = panel_width(N - column)
        pack_panel(packed, column * K + low * width, b, low * ks + column * cs, ks, cs, factor[low * fs:], fs,
                   high - low, min(width, N - column), width)
        column += width


@parallel
def _product(part, thread, out, start, lds, css, a, rs, ks, packed, strips, M, N, K, after, positive, columns, parts):
    """One of the parts / columns x columns blocks of out."""
    first, last, left, right = block_of(part, parts, columns, M, N)
    _share(out, start, lds, css, a, rs, ks, packed, strips[thread], M, N, K, after, positive, first, last, left, right)


@serial
def dot(x, y):
    """sum(x y) of two rows."""
    total = np.float32(0.0)
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@parallel
def _few_rows(part, out, start, lds, css, a, b, M, N, K, parts):
    """out = start + a b^T for the few rows of streaming, reading b as it stands."""
    for n in range(N * part // parts, N * (part + 1) // parts):
        for m in range(M):
            out[m * N + n] = start[m * lds + n * css] + dot(a[m * K:(m + 1) * K], b[n * K:(n + 1) * K])


_ZEROS = np.zeros(WIDE, np.float32)


@serial
def _scale_row(out, inp, factor):
    for i in range(out.size):
        out[i] = inp[i] * factor


@parallel
def _scale_rows(part, out, inp, scale, parts):
    """out[n] = inp[n] scale[n], or scale[0] where there is one for all.  out may be inp itself."""
    rows, step = out.shape[0], 1 if scale.size == out.shape[0] else 0
    for n in range(rows * part // parts, rows * (part + 1) // parts):
        _scale_row(out[n], inp[n], scale[n * step])


def scale_rows(out, inp, scale):
    """out = inp scale for rows (N, K) and scale (N, 1) or (1, 1); returns out, which may be inp."""
    _scale_rows(out, inp, contiguous(scale).reshape(-1), parts_for(out.size))
    return out


def matmul(a, b, *, transpose_a=False, transpose_b=False, bias=None, row_scale=None, relu=False, add_to=None,
           where=None):
    """The twin of `tinylm.ops.matmul`: float32, same arguments, same result; b may also be int8, or
    packed as it is meant to be multiplied, and a may come from `both_ways`.

    relu      also a bool array of M N numbers, into which is then written where out is positive
    Raises    ShapeError
    """
    return product(a, b, transpose_a=transpose_a, transpose_b=transpose_b, bias=bias, row_scale=row_scale, relu=relu,
                   add_to=add_to, where=where)


def product(a, b, *, transpose_a=False, transpose_b=False, bias=None, row_scale=None, relu=False, add_to=None,
            where=None, operand=None):
    """`matmul`; with operand, AS_A_AND_B or BOTH_WAYS, what comes out will only go there, and may be an `Operand`."""
    if (add_to is not None) + (relu is not False) + (where is not None) > 1:
        raise TypeError("a product is added to something, or has a ReLU, or goes back through one")
    packed = b if isinstance(b, Packed) else None
    ready, a = (a, a.array) if isinstance(a, BothWays) else (None, a)
    shape = a.shape if ready is None else ready.shape
    K, M = shape if transpose_a else shape[::-1]
    N, K_b = b.shape if transpose_b else b.shape[::-1]
    if K_b != K:
        raise shapes.ShapeError(f"a {shape} and b {b.shape} do not share their inner dimension")
    if add_to is not None and (add_to.shape != (M, N) or not add_to.flags.c_contiguous):
        raise shapes.ShapeError(f"add_to is {add_to.shape}; the product wants a contiguous ({M}, {N})")
    if bias is not None and bias.shape != (N,):
        raise shapes.ShapeError(f"bias is {bias.shape}; the product wants ({N},)")
    if row_scale is not None and row_scale.shape not in ((M, 1), (1, 1)):
        raise shapes.ShapeError(f"row_scale is {row_scale.shape}; the product wants ({M}, 1) or (1, 1)")
    for marks in (where, relu):
        if isinstance(marks, np.ndarray) and not (
                marks.size == M * N and marks.dtype == np.bool_ and marks.flags.c_contiguous):
            raise shapes.ShapeError(f"marks are {marks.dtype} {marks.shape}; the product wants contiguous bool "
                                    f"({M}, {N})")
    panels = packed if packed is not None and packed.fits(transpose_b) and K else None
    a, b, bias = None if a is None else contiguous(a), _matrix(b, panels), None if bias is None else contiguous(bias)
    chosen = precision()
    tiled, paired = chosen == "bfloat16" and has_tiles(), in_pairs() and K > 0
    if chosen == "bfloat16" and not (tiled or paired):
        a, b = rounded(a), b if panels is not None or b.dtype == np.int8 else rounded(b)
    # Without tiles or pairs the product is scaled afterwards, and only then added.
    apart = row_scale is not None and not (tiled or paired)
    after = PLAIN
    if where is not None:
        after = WHERE, where.reshape(-1)
    elif relu is not False:
        after = RELU, (memory.empty((M, N), np.bool_) if relu is True else relu).reshape(-1)
    if M and N and paired and panels is None:
        panels = _pack_for(chosen, b, N, K, transpose_b)
    if (operand and M and N and paired and ready is not None and not transpose_a and row_scale is None
            and add_to is None and shared_evenly(M)):
        sums = memory.empty((chunks_of(M) if operand == BOTH_WAYS else 0, N))
        first = (_ZEROS, 0) if bias is None else (bias, 1)
        both = multiply_both(*first, ready, panels.panels, panels.steps, N, after, sums, operand == AS_A_AND_B)
        return Operand((M, N), both, sums)
    out = memory.empty((M, N)) if add_to is None or apart else add_to
    flat = out.reshape(-1)
    start = ((flat, N, 1) if add_to is not None and not apart else (_ZEROS, 0, 0) if bias is None or apart else
             (bias, 0, 1))
    if M and N and (tiled or paired):
        panels = _pack_for(chosen, b, N, K, transpose_b) if panels is None else panels
        if tiled:
            multiply_strips(flat, *start, pack_strips(a.reshape(-1), M, K, not transpose_a, False), panels.panels,
                            M, N, K, row_scale)
        else:
            multiply_pairs(flat, *start, ready or a, transpose_a, panels.panels, panels.steps, N, row_scale, after)
    else:
        multiply(flat, *start, a.reshape(-1), None if b is None else b.reshape(-1),
                 None if panels is None else panels.panels, M, N, K, transpose_a, transpose_b,
                 PLAIN if apart else after)
    if apart:
        scale_rows(out, out, row_scale)
    if bias is not None and (add_to is not None or apart):
        also(np.add, out, bias, out)
    if after is not PLAIN and (apart or tiled):
        finish(flat, *after)
    if apart and add_to is not None:
        also(np.add, add_to, out, add_to)
        return add_to
    return out


def in_pairs():
    """Whether products at the present precision are of words of two numbers; see `words`."""
    return fixed_point() or precision() == "bfloat16" and has_bfloat_pairs() and not has_tiles()


AS_A_AND_B, BOTH_WAYS = "as a and b", "both ways"  # where a product may go as an `Operand`


class Operand(NamedTuple):
    """A product of which nothing is known but what others multiply: rounded while it was made, to 16 bits."""

    shape: tuple[int, ...]  # (..., M)
    both: BothWays
    sums: np.ndarray        # see `rows.sums_of_chunks`; none for AS_A_AND_B

    def reshape(self, *shape):
        return self._replace(shape=shape)


def both_ways(x, factor=None, add_sums_to=None):
    """(x to be multiplied as a, factor x to be multiplied as the transposed a) for rows x (N, M) and factor (N,).

    In 16 bits both are rounded in one go, unless x is an `Operand`, which is both already.

    add_sums_to    (M,): to which the sum of the rows of x is added on the way
    """
    if isinstance(x, Operand):
        if add_sums_to is not None:
            add_in_order(add_sums_to, x.sums)
        return x.both, x.both
    if in_pairs() and a_chunk_for_each_thread(x):
        sums = memory.empty((0 if add_sums_to is None else chunks_of(len(x)), x.shape[1]))
        rounded_both = round_both(x, factor, sums)
        if add_sums_to is not None:
            add_in_order(add_sums_to, sums)
        return rounded_both, rounded_both
    if add_sums_to is not None:
        add_column_sums(add_sums_to, x)
    return x, x if factor is None else scale_rows(memory.empty(x.shape), x, factor.reshape(-1, 1))


def as_a_and_b(x):
    """(x (N, M) to be multiplied as a, x to be multiplied as b as it stands), the latter also after x is gone.

    In 16 bits both are rounded in one go, unless x is an `Operand`, which is both already.
    """
    if isinstance(x, Operand):
        both = x.both
    elif in_pairs() and a_chunk_for_each_thread(x):
        both = round_both(x, panels=True)
    else:
        return x, x
    return both, Packed(None, both.shape, both.columns, both.column_steps, False, precision())


class Packed(NamedTuple):
    """A matrix that will be multiplied as b more than once: itself and its panels, or strips, for one precision."""

    array: np.ndarray | None  # (N, K), or (K, N) without transpose_b; none where only the panels were kept
    shape: tuple[int, int]    # of it
    panels: np.ndarray  # flat; int32 for strips of bfloat16 and words of int16, uint32 for words of bfloat16
    steps: np.ndarray   # of int16: (chunks, N or more); else (chunks, 0), as for int8
    transpose_b: bool
    precision: str

    @property
    def rounded(self):
        """Whether the panels are not those of the numbers themselves."""
        return self.precision != PRECISIONS[0]

    def fits(self, transpose_b):
        """Whether the panels are for such a product, at the present precision."""
        return self.transpose_b == transpose_b and self.precision == precision()


_NO_STEPS = np.zeros((0, 0), np.float32)


def pack(array, *, transpose_b=True):
    """See `tinylm.ops.pack`; float32 or int8."""
    array = _matrix(array)
    N, K = array.shape if transpose_b else array.shape[::-1]
    return _pack_for(precision(), array, N, K, transpose_b)


def pack_into(panels, array):
    """`pack` of float32 (N, K), for products in float32, into memory that is given: flat, K packed_columns(N)."""
    array = contiguous(array)
    N, K = array.shape
    _pack(panels, array.reshape(-1), 1, K, _UNSCALED, N, K, parts_for(K * N))
    return Packed(array, array.shape, panels, _NO_STEPS, True, PRECISIONS[0])


def _pack_for(chosen, array, N, K, transposed):
    if in_pairs():
        return Packed(array, array.shape, *round_panels(array, transposed), transposed, chosen)
    # Strips are rounded on their way.
    apart = chosen == "bfloat16" and not has_tiles() and array.dtype != np.int8
    source = rounded(array) if apart else array
    return Packed(array, array.shape, _panels(source.reshape(-1), N, K, transposed), _NO_STEPS, transposed, chosen)


def unpack(array):
    """The matrix itself, whether packed or not."""
    return array.array if isinstance(array, Packed) else array


def _matrix(b, panels=None):
    """The matrix itself, as kernels take it; None where there are only panels, which must be `panels` then.

    Raises    RuntimeError
    """
    array = unpack(b)
    if array is None:
        if panels is None:
            raise RuntimeError(f"rounded for a product at {b.precision}, and the matrix itself was not kept")
        return None
    return contiguous(array, np.int8 if array.dtype == np.int8 else np.float32)


_UNSCALED = np.ones(1, np.float32)


def _panels(b, N, K, transposed, factor=_UNSCALED):
    if precision() == "bfloat16" and has_tiles():
        return pack_strips(b, N, K, transposed, True)
    packed = memory.empty(K * packed_columns(N))
    _pack(packed, b, 1 if transposed else N, K if transposed else 1, factor, N, K, parts_for(K * N))
    return packed


def pack_scaled(codes, factor):
    """factor codes for int8 codes (K, N), packed to be multiplied as b as it stands; in float32.

    factor    float32 (1,), or (K,): one number for each row
    """
    K, N = codes.shape
    return Packed(codes, codes.shape, _panels(codes.reshape(-1), N, K, False, factor), _NO_STEPS, False, PRECISIONS[0])


def multiply(out, start, lds, css, a, b, packed, M, N, K, transpose_a, transpose_b, after=PLAIN):
    """out = start + a b on flat float32 arrays that fit; see `_share` for start.

    packed    b's panels, or None
    after     what comes after it, and its marks: see `rows.finish_rows`
    """
    if M == 0 or N == 0:
        return
    threads = thread_count()
    if packed is None and M <= FEW_ROWS and transpose_b and not transpose_a:
        _few_rows(out, start, lds, css, a, b, M, N, K, threads)
        if after is not PLAIN:
            finish(out, *after)
        return
    if packed is None:
        packed = _panels(b, N, K, transpose_b)
    rs, ks = (1, M) if transpose_a else (K, 1)
    rows, columns = grid(M, N, K, PIECES, 4)
    strips = memory.for_threads(threads_of(rows * columns), TILES_IN_BLOCK * STRIP if ks != 1 else 0)
    _product(out, start, lds, css, a, rs, ks, packed, strips, M, N, K, *after, columns, rows * columns)

