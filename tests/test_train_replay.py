"""Steps made again from a recording: the same bits, checked by the trainer itself, and memory nobody else gets."""
from __future__ import annotations

import numpy as np
import pytest
import train_toys as toys

from tinylm import config, kernels, models
from tinylm.audit.shrink import shrink
from tinylm.cli import bench
from tinylm.errors import CheckFailed
from tinylm.kernels import attention, memory
from tinylm.kernels.recording import Recording, also
from tinylm.models import describe
from tinylm.threads import cpu_threads
from tinylm.train import replay
from tinylm.train.loop import Trainer
from tinylm.train.rundir import RunDir

FAMILIES = ["gpt-tiny", "thunderbolt-tiny", "bolt", "nova", "tinystories-1m"]
EACH = [(preset, precision) for preset in FAMILIES for precision in config.PRECISIONS
        if precision != "int8" or preset == "thunderbolt-tiny"]


def trainer(preset="gpt-tiny", *, dropout=0.1, records=True, data=None, run=None, **flags):
    sizes = shrink(dict(config.load_preset(preset)["model"])) | {
        "vocab": toys.V, "context": toys.T, "dropout": dropout}
    cfg = toys.options(backend="numba", **flags)
    made = Trainer(model=models.build(sizes.pop("family"), sizes), data=data or toys.text(cfg), config=cfg, f=kernels,
                   run=run)
    made.passes.records = records
    made.prepare()
    return made


def steps(made, numbers):
    return [made._optimize(step, 0.01) for step in numbers]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(("preset", "precision"), EACH)
def test_a_recorded_step_has_the_bits_of_the_layers(preset, precision, accumulate):
    recorded, direct = (trainer(preset, precision=precision, accumulate=accumulate, records=records)
                        for records in (True, False))
    assert steps(recorded, range(1, 4)) == steps(direct, range(1, 4))
    assert recorded._evaluate(recorded._validation) == direct._evaluate(direct._validation)  # in the same memory
    assert steps(recorded, range(4, 7)) == steps(direct, range(4, 7))
    assert toys.bits(recorded) == toys.bits(direct)
    assert recorded.passes.replays and not direct.passes.replays
    for made, _ in recorded.passes._recordings:  # kernels in a row are one call
        assert made._runs is not None and len(made._runs) < len(made) / 2


def test_a_batch_in_parts_is_recorded_too(monkeypatch):
    """Of five passes the first makes what all use; each has dropout masks of its own."""
    monkeypatch.setattr(describe, "AT_ONCE", 2 * toys.T * trainer().model.config.channels)
    recorded, direct = (trainer(batch_size=10, records=records) for records in (True, False))
    assert recorded.texts == 2 and recorded.passes_per_step == 5 and recorded.tokens_per_step == 10 * toys.T
    assert steps(recorded, range(1, 7)) == steps(direct, range(1, 7)) and toys.bits(recorded) == toys.bits(direct)
    assert recorded.passes.replays and len(recorded.passes._recordings) == replay.KINDS


@pytest.mark.parametrize(("preset", "precision"), EACH)
def test_few_tokens_go_other_ways_and_are_recorded_too(preset, precision, monkeypatch):
    monkeypatch.setattr(toys, "T", 2)
    recorded, direct = (trainer(preset, precision=precision, batch_size=1, records=on) for on in (True, False))
    assert steps(recorded, range(1, 5)) == steps(direct, range(1, 5)) and toys.bits(recorded) == toys.bits(direct)
    assert recorded.passes.replays


def test_the_step_that_was_recorded_proves_nothing():
    """With the same tokens and parameters a number that was recorded by its value would still be right."""
    made = trainer()
    steps(made, [1])
    made.measure(0)
    assert not made.passes.settled
    made.settle()
    assert made.passes.settled and made.passes.replays


def test_another_number_of_threads_is_another_recording():
    """Kernels have scratch memory for each thread there was."""
    recorded, direct = trainer(), trainer(records=False)
    for threads, numbers in ((1, (1, 2, 3)), (3, (4, 5, 6))):
        with cpu_threads(threads):
            assert steps(recorded, numbers) == steps(direct, numbers) and recorded.passes.replays
            assert {len(arguments[5]) for function, arguments in recorded.passes._recordings[0][0]._calls
                    if function is attention._forward.compiled} == {threads}
    assert toys.bits(recorded) == toys.bits(direct)


def test_a_time_budget_is_planned_by_steps_from_the_recording(tmp_path, monkeypatch):
    settled, real = [], Trainer.measure

    def measure(self, seconds, least=1):
        settled.append((seconds > 0, self.passes.settled))
        return real(self, seconds, least)
    monkeypatch.setattr(Trainer, "measure", measure)
    made = trainer(time_budget="0.3s", run=RunDir.create("toy", tmp_path / "run"))
    list(made.events())
    assert settled == [(False, False), (True, True)] and made.passes.replays


def test_bench_measures_steps_from_the_recording(monkeypatch):
    """However slow they are: windows of one step each would be made by the layers for ever."""
    real, made = bench._trainer, []
    monkeypatch.setattr(bench, "_trainer", lambda *given: made.append(real(*given)) or made[-1])
    bench._train("gpt-tiny", 9, {"batch_size": 2, "context": 8}, 1e-9, "numba", 1)
    assert made[0].passes.replays


def test_no_layer_is_asked_once_a_step_is_recorded():
    made = trainer()
    steps(made, [1, 2])
    made.model = None
    steps(made, [3])
    assert made.passes.replays


def test_work_outside_kernels_is_noticed_and_done_all_the_same(monkeypatch):
    real = kernels.linear_relu

    def other(inp, weight, bias, operand=False):
        out, cache = real(inp, weight, bias)
        return np.tanh(out), cache
    monkeypatch.setattr(kernels, "linear_relu", other)
    made, direct = trainer(), trainer(records=False)
    assert steps(made, range(1, 6)) == steps(direct, range(1, 6)) and toys.bits(made) == toys.bits(direct)
    assert not made.passes.replays


def test_what_changes_only_later_is_noticed_too(monkeypatch):
    real, factor = kernels.linear_relu, [np.float32(1)]

    def scaled(inp, weight, bias, operand=False):
        out, cache = real(inp, weight, bias)
        also(np.multiply, out, factor[0], out)  # a number that the recording takes as it is now
        return out, cache
    monkeypatch.setattr(kernels, "linear_relu", scaled)
    monkeypatch.setattr(replay, "CHECKED", 4)
    made = trainer()
    steps(made, [1, 2, 3])
    assert made.passes.replays
    factor[0] = np.float32(2)
    steps(made, [4])
    with pytest.raises(CheckFailed, match="step 5: the recorded kernels give other numbers"):
        steps(made, [5])


def test_nobody_else_gets_the_memory_of_a_recording():
    made = trainer()
    steps(made, [1, 2, 3])
    (recording, losses), = made.passes._recordings
    used = [x for _, arguments in recording._calls for x in arguments if isinstance(x, np.ndarray)] + [losses]
    lent = [memory.empty(size, np.uint8) for size in made.passes.shelves for _ in range(20)]
    places = sorted((x.__array_interface__["data"][0], x.nbytes, kind) for kind, arrays in enumerate((used, lent))
                    for x in arrays if x.nbytes)
    of_lent = [(at, at + size) for at, size, kind in places if kind == 1]
    for at, size, kind in places:
        assert kind == 1 or not any(at < end and begin < at + size for begin, end in of_lent)


def test_a_recording_takes_no_more_memory_than_the_step_did():
    """It holds on to no block, so that later calls of the step are lent the blocks of earlier ones, as ever."""
    def shelved(made):
        return {size: len(shelf) for size, shelf in made.passes.shelves.items()}
    recorded, direct = (trainer("thunderbolt-tiny", batch_size=32, records=records) for records in (True, False))
    for made in recorded, direct:
        made.passes.shelves.clear()  # a text alone, as it is prepared with, may need blocks that no step needs
    steps(direct, [1, 2])
    steps(recorded, [1, 2, 3])
    assert shelved(recorded) == shelved(direct)
    there = {back.memory[1] for shelf in recorded.passes.shelves.values() for back in shelf}
    used = {x.__array_interface__["data"][0] for _, arguments in recorded.passes._recordings[0][0]._calls
            for x in arguments if isinstance(x, np.ndarray)}
    assert there <= used and len(there) > 20


def test_tokens_are_looked_at_in_recorded_steps_too():
    cfg = toys.options(backend="numba")
    good = toys.text(cfg)

    def draw(step, micro):
        inputs, targets = good.batch(step, micro)
        return inputs, targets + (step == 4) * toys.V
    made = trainer(data=toys.text(cfg, batch=draw))
    steps(made, [1, 2, 3])
    with pytest.raises(IndexError, match="targets run from"):
        steps(made, [4])


def test_batches_of_another_size_are_refused():
    cfg = toys.options(backend="numba")
    good = toys.text(cfg)
    made = trainer(data=toys.text(cfg, batch=lambda step, micro: tuple(
        part[:2 if step == 4 else None] for part in good.batch(step, micro))))
    steps(made, [1, 2, 3])
    with pytest.raises(ValueError, match=r"a batch of \(2, 8\) after batches of \(4, 8\)"):
        steps(made, [4])


def test_a_recording_is_not_taken_within_another():
    with Recording({}).taking(), pytest.raises(RuntimeError, match="within a recording"), Recording({}).taking():
        pass
    with Recording({}).taking() as recording:
        also(np.copyto, np.zeros(3), 1.0)
    assert len(recording) == 1
    also(np.copyto, np.zeros(3), 1.0)  # nothing is recorded any more
    assert len(recording) == 1


def test_preparing_keeps_no_memory(monkeypatch):
    """What it asks for has other sizes than the run's, a few hundred MB for large models."""
    made = bench._trainer("gpt-tiny", 30, {"batch_size": 2}, "numba", 2)
    lent, fresh, before = [], memory._fresh, {size: len(shelf) for size, shelf in memory._shelves.items()}
    monkeypatch.setattr(memory, "_fresh", lambda size: lent.append(size) or fresh(size))
    made.prepare()
    assert lent and not made.passes.shelves
    assert {size: len(shelf) for size, shelf in memory._shelves.items()} == before


def test_validating_needs_no_more_memory_than_a_part_of_a_batch(monkeypatch):
    """A batch of 64 texts trained in parts once needed memory for 32 of them, to validate."""
    monkeypatch.setattr(describe, "AT_ONCE", 2 * 64 * 96)
    made = bench._trainer("gpt-tiny", 65, {"context": 64, "batch_size": 16}, "numba", 1)
    assert made.texts == 2
    made.prepare()
    steps(made, range(1, 4))
    lent, fresh = [], memory._fresh
    monkeypatch.setattr(memory, "_fresh", lambda size: lent.append(size) or fresh(size))
    made._evaluate(made._validation)
    assert sum(lent) <= made.texts * made.context * made.model.config.channels * 4
