"""The matrix product: the one operation all others get their products from."""
from __future__ import annotations

import numpy as np

from .precision import rounded


def matmul(a: np.ndarray, b: np.ndarray, *, transpose_a: bool = False, transpose_b: bool = False,
           bias: np.ndarray | None = None, row_scale: np.ndarray | None = None, relu: bool = False,
           add_to: np.ndarray | None = None, where: np.ndarray | None = None) -> np.ndarray:
    """out = row_scale (a b) + bias; a and b may be stored transposed.

    A linear layer needs three of them: inp weight^T forward, dout weight for the input's gradient
    and dout^T inp for the weight's.  Within `autocast` a and b are rounded first.

    Shapes    a (M, K) or stored (K, M); b (K, N) or stored (N, K); bias (N,); row_scale (M, 1) or (1, 1) -> out (M, N)
    add_to    an array (M, N) the product is added to, in place; it is then also what is returned
    relu      out is max(that, 0)
    where     bool (M, N): out is 0 where it is false; of these three there can be one
    """
    if (add_to is not None) + bool(relu) + (where is not None) > 1:
        raise TypeError("a product is added to something, or has a ReLU, or goes back through one")
    a, b = a.T if transpose_a else a, b.T if transpose_b else b
    a, b = rounded(a, 1), rounded(b, 0)
    out = a @ b                                                                     # (M, K) (K, N) -> (M, N)
    if row_scale is not None:
        out *= row_scale                                                            # (M, N)
    if bias is not None:
        out += bias                                                                 # (M, N)
    if relu:
        np.maximum(out, 0, out=out)                                                 # (M, N)
    if where is not None:
        out[~where] = 0                                                             # (M, N)
    if add_to is None:
        return out
    add_to += out
    return add_to


def pack(array, *, transpose_b=True):
    """The matrix in a form that is quick to multiply with as b, transposed or as it stands; here, itself.

    What `linear_forward` takes for a weight.  A kernel rearranges it, once for many products.

    Shapes    array (N, K), or (K, N) without transpose_b
    """
    return array
