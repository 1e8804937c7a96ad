"""Where threads that share a token have to meet: one of them is late everywhere, and no number may change.

On a quiet machine threads come to a meeting within a microsecond of each other, so that one that is missing hardly
ever shows.  Here Python runs a thread's share: it calls what the kernel calls, and the late one waits before each call.
"""
from __future__ import annotations

import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tinylm import kernels, models
from tinylm.audit.gradients import randomised
from tinylm.generate import packed
from tinylm.kernels import decode, decode_gpt
from tinylm.kernels.jit import Callee
from tinylm.layers import Pass

PATIENCE = 60  # seconds until a thread that nobody meets gives up
SHAPE = {"vocab": 43, "context": 8, "channels": 40, "layers": 2, "heads": 4, "hidden": 70}
TOKENS = [3, 41, 7]


def gpt(bits):
    model = models.build("gpt", SHAPE)
    params = randomised(model, np.random.default_rng(0), np.float32)
    weights = kernels.pack_gpt(model.decode_weights(params))

    def written():
        state = model.start(2, bits=bits)
        scores = [kernels.gpt_step(np.int32([token, 5]), weights, state.cache, state.scales, at)
                  for at, token in enumerate(TOKENS)]
        return [*scores, state.cache, *([] if state.scales is None else [state.scales])]
    return decode_gpt, written


def thunderbolt(bits):
    model = models.build("thunderbolt", SHAPE)
    inference, floats = packed.pack(model, randomised(model, np.random.default_rng(0), np.float32), bits)
    weights = inference.decode_weights(Pass(kernels, floats))

    def written():
        state = np.zeros((2, 3, 40), np.float32)
        return [*(kernels.decode_step(token, weights, state) for token in TOKENS), state]
    return decode, written


def in_python(module, kernel, here, meet):
    """A part of the step as Python runs it: what it calls is compiled, and waits where `here` is late."""
    def late(function):
        def waits(*arguments):
            if here.late:
                time.sleep(0.002)
            return function(*arguments)
        return waits

    names = vars(module) | {name: late(value) for name, value in vars(module).items() if isinstance(value, Callee)}
    names["meet"] = meet
    names["_part"] = types.FunctionType(module._part.py_func.__code__, names)
    return types.FunctionType(kernel._function.__code__, names)


@pytest.mark.parametrize("bits", [32, 8])
@pytest.mark.parametrize("family", [gpt, thunderbolt])
@pytest.mark.parametrize("slow", [0, 1])
def test_a_thread_that_is_late_changes_nothing(family, bits, slow, monkeypatch):
    module, written = family(bits)
    here, kernel = threading.local(), module._step

    def with_parts(parts):
        meeting = threading.Barrier(parts)
        share = in_python(module, kernel, here, lambda counter, goal: meeting.wait(PATIENCE))

        def step(*arguments):
            def part(number):
                here.late = parts > 1 and number == slow
                share(number, *arguments)
            with ThreadPoolExecutor(parts) as pool:
                for done in [pool.submit(part, number) for number in range(parts)]:
                    done.result()
        monkeypatch.setattr(module, "_step", step)
        monkeypatch.setattr(module, "in_one_call", lambda *given: given[-1](given[-2](parts), parts))
        return written()

    for got, want in zip(with_parts(2), with_parts(1), strict=True):
        np.testing.assert_array_equal(got, want)
