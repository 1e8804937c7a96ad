"""The entropy floor: what chance can explain, and what it cannot."""
from __future__ import annotations

import math

import numpy as np
import pytest

from tinylm.errors import CheckFailed
from tinylm.train.floor import ERRORS, FloorCheck
from tinylm.units import Loss


def loss(bits, size):
    return Loss(bits * size * math.log(2), size, size, size, "t")


def documents(rng, count):
    """Bits and bytes of documents of a source with a known entropy."""
    sizes = rng.integers(400, 1200, count)
    return 0.8 * sizes + rng.normal(0, 20, count) * np.sqrt(sizes / 800), sizes


def ratio_and_error(bits, sizes):
    ratio = bits.sum() / sizes.sum()
    return ratio, math.sqrt(((bits - ratio * sizes) ** 2).sum() * len(bits) / (len(bits) - 1)) / sizes.sum()


@pytest.mark.parametrize("part", [20, 100, 290])
def test_the_standard_error_is_that_of_a_part_of_the_split(part):
    """Drawn 2,000 times: how far the floor of the first documents is from that of all of them."""
    rng, deviations = np.random.default_rng(0), []
    for _ in range(2000):
        bits, sizes = documents(rng, 300)
        floor, error = ratio_and_error(bits, sizes)
        check = FloorCheck(floor, error, int(sizes.sum()))
        evaluated = Loss(bits[:part].sum() * math.log(2), 1, int(sizes[:part].sum()), 1, "t")
        deviations.append(check.above(evaluated) / check.error(evaluated))
    assert np.std(deviations) == pytest.approx(1, abs=0.08)  # 5 standard errors of a standard deviation
    assert max(map(abs, deviations)) < ERRORS + 1


def test_the_true_source_itself_is_never_called_a_leak():
    rng = np.random.default_rng(1)
    for part in (5, 50, 300):
        for _ in range(200):
            bits, sizes = documents(rng, 300)
            floor, error = ratio_and_error(bits, sizes)
            FloorCheck(floor, error, int(sizes.sum())).check(
                Loss(bits[:part].sum() * math.log(2), 1, int(sizes[:part].sum()), 1, "t"), 1)


def test_the_whole_split_has_no_sampling_error():
    check = FloorCheck(0.8, 0.05, 10_000)
    assert check.error(loss(1, 10_000)) == 0
    check.check(loss(0.8 - 63 / 10_000, 10_000), 1)
    with pytest.raises(CheckFailed, match="below the entropy floor"):
        check.check(loss(0.8 - 66 / 10_000, 10_000), 1)


def test_a_short_part_may_be_further_off():
    check = FloorCheck(0.8, 0.01, 101_000)
    assert check.error(loss(1, 1000)) == pytest.approx(0.1)
    check.check(loss(0.45, 1000), 1)
    with pytest.raises(CheckFailed):
        check.check(loss(0.3, 1000), 1)
