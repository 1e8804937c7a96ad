"""Settings for all tests: hypothesis without a clock, examples that can be replayed."""
from __future__ import annotations

import os

from tinylm import threads

# Four kernel threads even on two cores: thread-count equality is then tested beyond the core count.
os.environ.setdefault("NUMBA_NUM_THREADS", "4")
threads.prepare_blas()

from hypothesis import HealthCheck, settings  # noqa: E402  (numpy comes with it)

# A deadline would time the compiler.
settings.register_profile("tinylm", deadline=None, derandomize=True, max_examples=60,
                          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.register_profile("thorough", parent=settings.get_profile("tinylm"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "tinylm"))
