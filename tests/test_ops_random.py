"""Counted randomness: known vectors, and that nothing but the counters matters."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinylm.ops.random import dropout_key, dropout_mask, dropout_scale, generator, philox

# kat_vectors of Random123 1.14 (Salmon et al.), philox4x32 with 10 rounds: counter, key, answer
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(w, 16) for w in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_numbers(counter, key, answer):
    assert philox(np.array(words(counter), np.uint32), tuple(words(key))).tolist() == words(answer)


def philox_loop(counter, key):
    """The same with Python's integers."""
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k1, p0 & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


@given(st.integers(1, 3), st.integers(1, 40), st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 2 ** 32 - 1),
       st.integers(0, 2 ** 32 - 1), st.integers(0, 99))
def test_the_mask_is_what_its_docstring_says(rows, columns, rate, seed, step, site):
    key = dropout_key(seed, step).at(site)
    mask = dropout_mask((rows, columns), rate, key)
    threshold, scale = dropout_scale(rate)
    blocks = -(-columns // 8)
    for r in range(rows):
        for j in range(blocks):
            numbers = philox_loop((j, r, step, site), (key.key0, key.key1))
            for half in range(2):
                for word in range(4):
                    column = (4 * half + word) * blocks + j
                    if column < columns:
                        number = (numbers[word] >> (16 * half)) & 0xFFFF
                        assert mask[r, column] == (0 if number < threshold else scale)


def test_the_mask_drops_at_its_rate_and_keeps_the_mean():
    for rate in (0.1, 0.2, 0.5):
        mask = dropout_mask((300, 1000), rate, dropout_key(0, 0))
        assert abs((mask == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / mask.size)
        assert abs(mask.mean() - 1) < 5 * np.sqrt(rate / (1 - rate) / mask.size)


def test_masks_of_other_sites_steps_seeds_and_micro_batches_are_unrelated():
    keys = [dropout_key(0, 0), dropout_key(0, 0).at(1), dropout_key(0, 1), dropout_key(1, 0), dropout_key(0, 0, 1)]
    masks = [dropout_mask((50, 100), 0.5, k).reshape(-1) - 1 for k in keys]
    together = np.corrcoef(masks)
    assert np.abs(together - np.eye(len(keys))).max() < 5 / np.sqrt(5000)


def test_a_mask_of_more_rows_starts_like_one_of_fewer():
    key = dropout_key(3, 4)
    assert np.array_equal(dropout_mask((9, 20), 0.3, key)[:4], dropout_mask((4, 20), 0.3, key))


def test_generators_depend_on_their_name_alone():
    first = generator(1, "batch", 5).random(8)
    generator(1, "batch", 4).random(1000)
    assert np.array_equal(first, generator(1, "batch", 5).random(8))
    for other in (generator(2, "batch", 5), generator(1, "init", 5), generator(1, "batch", 6),
                  generator(1, "batch", 5, 1), generator(1, "batch", 0, 5)):
        assert not np.array_equal(first, other.random(8))
    with pytest.raises(ValueError, match="three"):
        generator(0, "batch", 1, 2, 3, 4)
