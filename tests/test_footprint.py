"""Memory of decoding: what is resident, and that hours of it add nothing."""
from __future__ import annotations

import gc
import itertools
import json
import tracemalloc
from pathlib import Path

import pytest

from tinylm import kernels, models, ops
from tinylm.cli import footprint
from tinylm.cli.main import main
from tinylm.generate import packed
from tinylm.generate.sampling import Options
from tinylm.generate.stream import stream
from tinylm.layers import Parameters

MEGA = 1_000_000


def model_of(family, **shape):
    model = models.build(family, {"vocab": 40, "context": 12, **shape})
    params = Parameters(model.parameters())
    params.initialise(0)
    return model, params


def exported(folder, model, params):
    with packed.Writing(folder) as writing:
        packed.write_model(writing, model, params, footprint.placeholder(40).to_json(),
                           {"run": "some-run", "step": 0, "run_config": ""})
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident memory is told by /proc")
def test_a_packed_model_is_resident_as_packed_and_not_as_float(tmp_path):
    model, params = model_of("thunderbolt", channels=512, layers=8, heads=8)
    weights = params.flat.nbytes
    assert weights > 80 * MEGA
    folder = exported(tmp_path / "model", model, params)
    size = (folder / packed.MODEL).stat().st_size
    found = footprint.measure(folder, 30, "numba")
    assert size < found.after <= found.peak, found
    assert found.peak < 4 * size + 4 * MEGA < weights / 2, found  # the file, a copy of it, and room for rounding
    assert found.base > 20 * MEGA


def test_bench_decodes_with_an_exported_folder(tmp_path, capsys):
    model, params = model_of("thunderbolt", channels=24, layers=2, heads=3)
    folder = exported(tmp_path / "model", model, params)
    assert main(["bench", str(folder), "--json", "--seconds", "0.2"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    assert (found["kind"], found["run"], found["packed"]) == ("decode", "model", True)
    assert (found["parameters"], found["vocab"]) == (params.count(), 40)
    assert found["tokens_per_second"] == pytest.approx(1e6 / found["microseconds_per_token"])
    assert main(["bench", str(folder), "--head-bits", "8"]) == 2
    assert "exported with a head of 32 bits" in capsys.readouterr().err


STREAMED = {
    "recurrent, packed": ("thunderbolt", {"channels": 24, "layers": 2, "heads": 3}, kernels, True),
    "recurrent, definitions": ("thunderbolt", {"channels": 12, "layers": 1, "heads": 1}, ops, False),
    "a sliding window": ("gpt", {"channels": 8, "layers": 1, "heads": 1}, ops, False),
}
WARM, LONG = 1000, 6000  # tokens
ENTRY = 8                # bytes of one more entry in a list


@pytest.mark.parametrize("subject", STREAMED)
def test_a_long_text_takes_no_more_memory_than_a_short_one(subject):
    """A list with one entry a token would show: half of that is allowed, for objects Python keeps to use again."""
    family, shape, f, pack = STREAMED[subject]
    model, params = model_of(family, **shape)
    if pack:
        model, params = packed.pack(model, params)
    steps = stream(model, params, f, footprint.placeholder(40), [1, 2, 3], Options(1.0, 20, 0.9, 0.01, 1.2), seed=0,
                   stop=("never",))
    tracemalloc.start()
    try:
        sizes = []
        for count in (WARM, LONG):
            assert sum(step.token >= 0 for step in itertools.islice(steps, count)) == count
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < LONG * ENTRY / 2, sizes
