"""Float32 products so large that panels and tiles come in another order, against NumPy's, of integers: exact."""
from __future__ import annotations

import numba
import numpy as np
import pytest

from tinylm import kernels
from tinylm.kernels import rows, simd
from tinylm.kernels.matmul import K_CHUNK, NEAR, TILES_IN_BLOCK


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_panels_too_many_to_stay_near_meet_every_tile(transpose_a, relu):
    """More tiles in a part than are taken together, more panels than stay near, two chunks of k, and edges."""
    threads = numba.get_num_threads()
    M, K = rows.PIECES * threads * (TILES_IN_BLOCK + 1) * simd.ROWS + 5, K_CHUNK + 9
    N = threads * (NEAR // K_CHUNK + simd.WIDE) + 3
    assert K_CHUNK * (N // threads) > NEAR
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((M, K), (K, N)))
    out = kernels.matmul(np.ascontiguousarray(a.T) if transpose_a else a, b, transpose_a=transpose_a, relu=relu)
    np.testing.assert_array_equal(out, np.maximum(a @ b, 0) if relu else a @ b)
