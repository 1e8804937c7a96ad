"""The loop: what it computes, what it says, how it stops, and that resuming changes no bit."""
from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from train_toys import B, T, V, bits, crash, model, numbers, options, text, train, trainer

import tinylm.ops as ops
from tinylm.errors import CheckFailed, DataMissing, Diverged, UsageError
from tinylm.layers import Parameters, Pass, Tape
from tinylm.models import describe
from tinylm.train import checkpoint, rundir
from tinylm.train.events import Evaluated, Finished, Interrupted, Logged, Note, Planned, Saved, Started, Stepped
from tinylm.train.floor import FloorCheck
from tinylm.train.schedule import learning_rate


def only(events, kind):
    return [e for e in events if isinstance(e, kind)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    made, events = train(folder)
    return folder, made, events


# -- what it computes -------------------------------------------------------------------------------

def test_the_first_loss_is_near_that_of_guessing(whole):
    first = only(whole[2], Evaluated)[0]
    assert first.step == 0 and not first.best
    assert first.val.nats_per_token == pytest.approx(math.log(V), abs=0.02)


def test_one_batch_is_learned_by_heart(tmp_path):
    cfg = options(steps=150, lr=0.03, warmup=0)
    data = text(cfg)
    batch = data.batch(1, 0)
    _, events = train(tmp_path / "run", cfg, dropout=0.0, data=dataclasses.replace(
        data, batch=lambda step, micro: batch, validation=[batch]))
    # No position tells the first tokens of a window apart, so some doubt remains: 0.25 of 2.4 nats.
    assert events[-1].val.nats_per_token < 0.25


def test_a_step_is_adamw_on_the_mean_gradient(tmp_path):
    cfg = options(steps=1, clip=0.5, weight_decay=0.1, warmup=0)
    made = trainer(tmp_path / "run", cfg, dropout=0.0)
    params, grads, first, second = made.params, *(made.params.like() for _ in range(3))
    reference = Parameters(made.model.parameters())
    reference.flat[...] = params.flat
    inputs, targets = made.data.batch(1, 0)
    run = Pass(f=ops, p=reference, g=grads, tape=Tape())
    losses = made.model.forward(inputs, targets, run)
    made.model.backward(np.full(B * T, 1 / (B * T), np.float32), run)
    norm = float(np.linalg.norm(grads.flat.astype(float)))
    assert norm > 0.5  # or clipping would not be tested
    events = list(made.events())
    stepped = only(events, Stepped)[0]
    assert stepped.train.nats_per_token == pytest.approx(losses.mean(), rel=1e-6)
    assert stepped.grad_norm == pytest.approx(norm, rel=1e-5)
    ops.adamw_step(reference.flat, grads.flat, first.flat, second.flat, step=1,
                   lr=learning_rate(cfg.recipe, made.plan, 1), beta1=0.9, beta2=0.99, eps=1e-8,
                   weight_decay=0.1, decayed=reference.decayed, scale=0.5 / norm)
    np.testing.assert_allclose(made.params.flat, reference.flat, atol=1e-7)


def test_decay_all_reaches_the_biases(tmp_path):
    made = [train(tmp_path / name, dataclasses.replace(options(steps=3, weight_decay=1.0), recipe=dataclasses.replace(
        options(steps=3, weight_decay=1.0).recipe, decay_all=which)))[0] for name, which in (("a", False), ("b", True))]
    assert not np.array_equal(made[0].params["norm.weight"], made[1].params["norm.weight"])


def test_accumulated_batches_equal_one_larger_batch(tmp_path):
    small = options(steps=6, batch_size=2, accumulate=3)
    large = options(steps=6, batch_size=6)
    data = text(small)

    def joined(step, micro):
        return tuple(np.concatenate(parts) for parts in zip(*(data.batch(step, m) for m in range(3))))

    one, events_one = train(tmp_path / "one", small, data=data, dropout=0.0)
    two, events_two = train(tmp_path / "two", large, data=dataclasses.replace(data, batch=joined), dropout=0.0)
    np.testing.assert_allclose(one.params.flat, two.params.flat, atol=2e-6)
    assert events_one[-1].tokens == events_two[-1].tokens == 6 * 6 * T
    assert events_one[-1].train.nats_per_token == pytest.approx(events_two[-1].train.nats_per_token, rel=1e-6)


def test_a_batch_in_parts_equals_the_batch(tmp_path, monkeypatch):
    """AdamW hardly sees how large gradients are; their norm does."""
    cfg = options(steps=6, batch_size=6, accumulate=2)
    one, events_one = train(tmp_path / "one", cfg, dropout=0.0)
    monkeypatch.setattr(describe, "AT_ONCE", 2 * T * one.model.config.channels)
    two, events_two = train(tmp_path / "two", cfg, dropout=0.0)
    assert (one.passes_per_step, two.passes_per_step) == (2, 6)
    np.testing.assert_allclose(one.params.flat, two.params.flat, atol=2e-6)
    for a, b in zip(events_one, events_two, strict=True):
        assert (type(a), a.step, a.tokens) == (type(b), b.step, b.tokens)
        if isinstance(a, Logged):
            assert b.grad_norm == pytest.approx(a.grad_norm, rel=1e-4)
            assert b.train.nats_per_token == pytest.approx(a.train.nats_per_token, rel=1e-6)


def test_losses_carry_the_bytes_of_their_targets(whole):
    for event in whole[2]:
        for loss in filter(None, (getattr(event, "train", None), getattr(event, "val", None))):
            assert loss.bytes == 2 * loss.tokens == 2 * loss.chars and loss.tokenizer == "t1"


def test_train_lines_are_means_since_the_last(whole):
    steps, lines = only(whole[2], Stepped), only(whole[2], Logged)
    assert [e.step for e in lines] == [10, 20, 24]
    assert lines[1].train.nats == pytest.approx(sum(e.train.nats for e in steps[10:20]))
    assert [line["step"] for line in numbers(whole[0]) if line["split"] == "train"] == [10, 20, 24]


def test_the_order_of_events(whole):
    events = whole[2]
    assert isinstance(events[0], Started) and isinstance(events[1], Planned) and isinstance(events[-1], Finished)
    assert [e.step for e in only(events, Stepped)] == list(range(1, 25))
    assert [e.step for e in only(events, Evaluated)] == [e.step for e in only(events, Saved)] == [0, 8, 16, 24]
    assert [e.text for e in only(events, Note)] and all("epoch" in e.text for e in only(events, Note))
    best = min(only(events, Evaluated)[1:], key=lambda e: e.val.nats)
    assert (events[-1].best_step, events[-1].best_val) == (best.step, best.val)


def test_samples_come_at_their_steps_and_are_kept(tmp_path):
    made = trainer(tmp_path / "run", options(steps=9, sample_every=4), sample=lambda step: f"text {step}")
    list(made.events())
    assert {p.name: p.read_text() for p in (tmp_path / "run" / "samples").iterdir()} == {
        f"{s:06d}.txt": f"text {s}" for s in (0, 4, 8, 9)}


def test_what_a_run_folder_holds(whole):
    folder = whole[0]
    assert rundir.status(folder) == "finished"
    assert {p.name for p in folder.iterdir()} == {"LOCK", "STATUS", "checkpoints", "config.toml", "environment.json",
                                                 "metrics.jsonl"}
    assert {p.name for p in (folder / "checkpoints" / "last").iterdir()} == {
        "model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json", "state.json"}
    assert checkpoint.read(folder / "checkpoints" / "best").step == whole[2][-1].best_step


# -- going on ---------------------------------------------------------------------------------------

@settings(max_examples=25)
@given(st.lists(st.integers(1, 45), min_size=1, max_size=3))
def test_a_run_that_died_and_was_resumed_has_the_same_bits(whole, tmp_path_factory, deaths):
    folder = tmp_path_factory.mktemp("crash") / "run"
    crash(folder, at=deaths[0] + 6)  # after its first checkpoint
    for death in deaths[1:]:
        if checkpoint.read(folder / "checkpoints" / "last").step < 24:
            crash(folder, at=death, resume=True)
    if checkpoint.read(folder / "checkpoints" / "last").step < 24:
        made, _ = train(folder, resume=True)
        assert bits(made) == bits(whole[1])
    assert numbers(folder) == numbers(whole[0])
    assert _tensors(folder) == _tensors(whole[0])


def _tensors(folder):
    saved = checkpoint.read(folder / "checkpoints" / "last", optimizer=True)
    return {k: v.tobytes() for k, v in {**saved.model, **saved.optimizer}.items()}


@pytest.mark.parametrize("stop_at", [0, 1, 7, 8, 13])
def test_a_stopped_run_is_saved_and_goes_on_with_the_same_bits(whole, tmp_path, stop_at):
    _, events = train(tmp_path / "run", stop_at=stop_at)
    last = events[-1]
    assert isinstance(last, Interrupted) and last.step == max(stop_at, 0)
    assert str(tmp_path / "run") in last.resume or "--resume" in last.resume
    assert rundir.status(tmp_path / "run") == "interrupted"
    made, events = train(tmp_path / "run", resume=True)
    assert events[0].resumed and events[0].step == last.step
    assert bits(made) == bits(whole[1]) and numbers(tmp_path / "run") == numbers(whole[0])
    assert events[-1].best_val == whole[2][-1].best_val and events[-1].train == whole[2][-1].train


def test_dropout_and_data_are_counted_by_the_step(whole, tmp_path):
    """The equality above would be empty if neither changed anything."""
    other, _ = train(tmp_path / "a", dropout=0.0)
    seeded, _ = train(tmp_path / "b", options(seed=1))
    assert bits(other) != bits(whole[1]) != bits(seeded)


def test_a_finished_run_is_refused_unless_more_steps_are_asked_for(whole, tmp_path):
    train(tmp_path / "run")
    with pytest.raises(UsageError, match="finished, at step 24: a larger --steps"):
        trainer(tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match="has done 24 steps already"):
        trainer(tmp_path / "run", resume=True, steps=20)
    made, events = train(tmp_path / "run", resume=True, steps=30)
    assert events[-1].step == 30 and any("ends at step 30" in e.text for e in only(events, Note))
    rates = [e.lr for e in only(events, Stepped)]
    assert rates == [made.recipe.min_lr] * 6  # the cosine had ended: its rate goes on


@pytest.mark.parametrize("more", [{"digest": "d2"}, {"tokenizer": "t1", "digest": "other"}])
def test_other_data_is_refused(tmp_path, more):
    train(tmp_path / "run", stop_at=3)
    with pytest.raises(DataMissing, match="was trained on toy"):
        trainer(tmp_path / "run", resume=True, data=text(options(), **more))


def test_other_code_is_refused_unless_accepted(tmp_path, monkeypatch):
    train(tmp_path / "run", stop_at=3)
    monkeypatch.setattr("tinylm.train.loop.numerics", lambda backend: "other")
    with pytest.raises(UsageError, match="made by other code"):
        trainer(tmp_path / "run", resume=True)
    _, events = train(tmp_path / "run", resume=True, accept_other_code=True)
    assert any("code has changed" in e.text for e in only(events, Note))


def test_an_edited_config_is_put_right(tmp_path):
    train(tmp_path / "run", stop_at=3)
    path = tmp_path / "run" / "config.toml"
    before = path.read_text()
    path.write_text(before.replace("lr = 0.01", "lr = 0.5"))
    _, events = train(tmp_path / "run", resume=True)
    assert any("config.toml was changed" in e.text for e in only(events, Note))
    assert path.read_text() == before


# -- time budgets -----------------------------------------------------------------------------------

@pytest.fixture
def ticking(monkeypatch):
    """A clock that advances a little each time somebody looks, a little faster as time goes by."""
    now = [0.0]

    def look():
        now[0] += 0.001 + now[0] * 1e-4
        return now[0]
    monkeypatch.setattr("tinylm.train.loop.clock", look)
    return now


def test_a_time_budget_is_kept_and_ends_with_the_lowest_rate(tmp_path, ticking):
    cfg = options(time_budget="2s", eval_every=50, warmup="0.1s", min_lr=1e-5)
    made, events = train(tmp_path / "run", cfg)
    assert [e.step for e in only(events, Planned)] == [p.step for p in made.plan.points]
    assert len(made.plan.points) >= 5 and events[-1].step == made.plan.end
    assert events[-1].seconds == pytest.approx(2, rel=0.05)
    assert only(events, Planned)[0].steps != made.plan.end  # the clock quickened, so the first plan was wrong
    rates = [e.lr for e in only(events, Stepped)]
    top = rates.index(max(rates))
    assert top == made.plan.warmup > 10
    assert all(b <= a for a, b in zip(rates[top:], rates[top + 1:]))  # planning again makes no jump upwards
    assert rates[-1] < 1e-4


def test_a_machine_that_slows_down_does_not_break_the_budget(tmp_path, monkeypatch):
    now = [0.0]

    def look():
        now[0] += 0.001 if now[0] < 0.7 else 0.02
        return now[0]
    monkeypatch.setattr("tinylm.train.loop.clock", look)
    made, events = train(tmp_path / "run", options(time_budget="2s", eval_every=1000))
    assert events[-1].seconds == pytest.approx(2, rel=0.2)
    assert made.plan.end < made.plan.points[1].end


def test_a_plan_made_in_the_warmup_puts_the_fraction_right(tmp_path, monkeypatch):
    """A machine busy at first: the plan of 5 steps must not use up the schedule."""
    now = [0.0]

    def look():
        now[0] += 0.2 if now[0] < 2 else 0.001
        return now[0]
    monkeypatch.setattr("tinylm.train.loop.clock", look)
    made, events = train(tmp_path / "run", options(time_budget="5s", eval_every=1000, warmup=30))
    assert made.plan.points[0].end < 30 < events[-1].step
    assert made.plan.fraction(30) < 0.5
    assert made.plan.fraction(events[-1].step // 2) == pytest.approx(0.6, abs=0.15)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(20, 250))
def test_what_a_time_budget_lost_comes_again_with_the_same_bits(tmp_path_factory, ticking, death):
    """How long a run would have gone on depends on the clock; what it had done does not."""
    folder = tmp_path_factory.mktemp("budget") / "run"
    dead = crash(folder, options(time_budget="1s", eval_every=30, log_every=1), at=death)
    written, plan = numbers(folder), dead.plan
    saved = checkpoint.read(folder / "checkpoints" / "last").step
    again = trainer(folder, resume=True)
    for event in again.events():
        if event.step == dead.step and isinstance(event, Stepped):
            assert event.lr == dead._lr and bits(again) == bits(dead)
            again.stop()
    assert numbers(folder)[:len(written)] == written
    assert again.step >= dead.step >= saved
    assert again.plan.points[:len(plan.points) - 1] == plan.points[:-1]


def test_there_is_something_to_save_from_the_first_plan_on(tmp_path):
    made, found = trainer(tmp_path / "run"), []
    for event in made.events():
        found.append((isinstance(event, Started), made.stop()))
    assert found[0] == (True, False) and found[-1] == (False, True)


@pytest.mark.parametrize("budget", [{"time_budget": "1s"}, {"steps": 30}])
def test_what_a_sample_takes_once_is_no_part_of_a_time_budget(tmp_path, ticking, budget):
    """Kernels are compiled for the first one, as for the first step: a plan made of that would end too early."""
    made, began = trainer(tmp_path / "run", options(**budget, sample_every="8")), []
    made.sample = lambda step: began.append(made._began is not None) or "a text"
    for _ in made.events():
        pass
    assert began == [*[False] * ("time_budget" in budget), *[True] * (len(began) - ("time_budget" in budget))]
    assert any(began)


def test_measuring_changes_nothing(tmp_path):
    made = trainer(tmp_path / "run")
    before = bits(made)
    made.prepare()
    made.measure(0.0)
    assert bits(made) == before
    made.run.close()


def test_more_memory_than_there_is_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tinylm.train.loop._memory", lambda: 1000)
    with pytest.raises(UsageError, match="needs about"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -- what is wrong is named -------------------------------------------------------------------------

def poisoned(made, tensor, step):
    """Make a parameter's update or gradient infinite once `step` is reached."""
    backward = made.model.backward

    def spoil(dlosses, run):
        backward(dlosses, run)
        if made.step + 1 == step:
            run.g[tensor].flat[0] = np.nan
    made.model.backward = spoil


def test_a_bad_gradient_stops_the_run_and_is_named(tmp_path):
    made = trainer(tmp_path / "run", options(accumulate=2))
    poisoned(made, "blocks.0.ffn.up.weight", 11)
    with pytest.raises(Diverged, match=r"step 11: the gradient norm is not finite; the gradient of "
                                       r"blocks\.0\.ffn\.up\.weight .*checkpoint of step 8 is good"):
        list(made.events())
    assert rundir.status(tmp_path / "run") == "diverged"
    assert checkpoint.read(tmp_path / "run" / "checkpoints" / "last", optimizer=True).step == 8
    kept = load_file(tmp_path / "run" / "batch-11.safetensors")
    for micro in range(2):
        inputs, targets = made.data.batch(11, micro)
        assert np.array_equal(kept["inputs"][micro], inputs) and np.array_equal(kept["targets"][micro], targets)


def test_the_part_in_which_a_layer_went_bad_is_looked_at(tmp_path, monkeypatch):
    """The last of four parts: its token alone has a bad embedding, and the place is counted within the part."""
    monkeypatch.setattr(describe, "AT_ONCE", T * model().config.channels)
    made = trainer(tmp_path / "run", dropout=0.0)
    inputs, targets = made.data.batch(11, 0)
    forward = made.model.embedding.forward

    def spoil(tokens, run, *start):
        out = forward(tokens, run, *start)
        if made.step == 10 and np.array_equal(tokens, inputs[3:]):
            out[0, 5] = np.nan
        return out
    made.model.embedding.forward = spoil
    with pytest.raises(Diverged, match=r"step 11: the loss is not finite; .* at row 0, position 5"):
        list(made.events())
    kept = load_file(tmp_path / "run" / "batch-11.safetensors")
    assert kept["inputs"].shape == (4, 1, T) and np.array_equal(kept["inputs"].reshape(4, T), inputs)
    assert np.array_equal(kept["targets"].reshape(4, T), targets)


def test_of_several_bad_gradients_the_first_computed_is_named(tmp_path):
    made = trainer(tmp_path / "run")
    poisoned(made, "embedding.tokens", 2)
    poisoned(made, "head.bias", 2)
    with pytest.raises(Diverged, match=r"the gradient of head\.bias"):
        list(made.events())


def test_a_bad_layer_is_named_with_its_place(tmp_path):
    made = trainer(tmp_path / "run", dropout=0.0)
    up = made.model.blocks[0].ffn.up
    forward = up.forward_relu

    def spoil(inp, run):
        out, positive = forward(inp, run)
        if made.step + 1 == 5 and run.observe is None:
            out[2, 3, 1] = np.inf
        elif made.step + 1 == 5:
            out[2, 3, 1] = np.inf
            run.observe(up, inp, out)
        return out, positive
    up.forward_relu = spoil
    with pytest.raises(Diverged, match=r"step 5: the loss .* output of blocks\.0\.ffn\.up .* row 2, position 3"):
        list(made.events())


def test_a_bad_parameter_is_named(tmp_path):
    made = trainer(tmp_path / "run")
    made.params["blocks.0.norm1.weight"][3] = np.nan
    with pytest.raises(Diverged, match=r"parameter blocks\.0\.norm1\.weight"):
        list(made.events())


def test_a_loss_below_the_floor_is_an_error(tmp_path):
    """The leak: a model whose inputs are its targets."""
    cfg = options(steps=400, lr=0.03, warmup=0, eval_every=100, eval_tokens=90)
    data = text(cfg, floor=FloorCheck(0.9, 0.01, 400))

    def leak(pair):
        return pair[1], pair[1]
    leaking = dataclasses.replace(data, batch=lambda s, m: leak(data.batch(s, m)),
                                  validation=[leak(pair) for pair in data.validation])
    with pytest.raises(CheckFailed, match="below the entropy floor .* only mean a leak"):
        train(tmp_path / "run", cfg, data=leaking, dropout=0.0)
    assert rundir.status(tmp_path / "run") == "failed"
    _, events = train(tmp_path / "honest", cfg, data=data, dropout=0.0)
    above = [e.above_floor for e in only(events, Evaluated)]
    assert above[-1] == pytest.approx(events[-1].val.bits_per_byte - 0.9)
    assert numbers(tmp_path / "honest")[0]["bits_per_byte_above_floor"] == above[0]


def test_a_batch_without_text_counts_as_one_byte(tmp_path):
    cfg = options(steps=2)
    _, events = train(tmp_path / "run", cfg, data=text(cfg, token_bytes=np.zeros(V, int)))
    assert events[-1].val.bytes == 1


def test_the_model_is_not_told_by_the_loop_what_dropout_it_has(tmp_path):
    """Evaluation has no dropout: twice the same loss, whatever the step."""
    made, _ = train(tmp_path / "run", options(steps=2), dropout=0.5)
    run = Pass(f=ops, p=made.params)
    inputs, targets = made.data.validation[0]
    expected = sum(model(0.5).forward(i, t, run).sum(dtype=float) for i, t in made.data.validation)
    assert made.val.nats == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("precision", "batch_size", "texts"), [("float32", 80, 1), ("int16", 80, 65), ("int16", 4, 4)])
def test_preparing_meets_the_kernels_of_a_step_with_as_few_texts_as_that_takes(
        tmp_path, monkeypatch, precision, batch_size, texts):
    """In int16 more rows than a chunk for each other thread are rounded by other kernels; here a text has 8."""
    made = trainer(tmp_path / "run", options(precision=precision, batch_size=batch_size), threads=2)
    seen = []
    monkeypatch.setattr(made, "_backward", lambda inputs, targets, *rest: seen.append(
        (len(inputs), len(targets))))
    made.prepare()
    made.run.close()
    assert seen == [(texts, texts)]
