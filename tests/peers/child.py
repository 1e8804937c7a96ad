"""One measurement in a process of its own: `python child.py JSON` prints one JSON object.

    {"engine": "tinylm" or "torch", "kind": "train" or "decode", "preset", "vocab", "flags", "threads", "seconds",
     "patience", "precision": one of tinylm's, "compiled": true or false, "head_bits": 32 or 8}
    {"engine": "peak", "threads", "seconds", "bytes": [sizes of memory streams]}

tinylm trains through its own `Trainer`, as `tinylm bench train` does; PyTorch gets the same weights and tokens.
"""
from __future__ import annotations

import functools
import itertools
import json
import math
import os
import re
import resource
import statistics
import sys
import time

from tinylm import threads
from tinylm.errors import UsageError

ROUNDS = 5          # windows of a measurement
STEADY = 0.97       # a window that takes more than this share of the best before it is not faster any more
WARMEST = 8         # windows that may pass before that, besides the first
PROMPT, TOKENS = 16, 200
TRIED = 8           # tokens written to learn how long a whole text would take
WAITING = "GOMP_SPINCOUNT"  # how long threads of GNU's OpenMP look before they sleep
clock = time.perf_counter


def main(job: dict) -> dict:
    own = dict(os.environ)
    threads.prepare(job["threads"])  # before numpy and numba are imported
    if job["engine"] == "torch" and WAITING not in own:
        os.environ.pop(WAITING, None)  # PyTorch's threads wait as they do by default
    if job["engine"] == "peak":
        return peaks(job)
    measure, facts = {("tinylm", "train"): tinylm_training, ("tinylm", "decode"): tinylm_decoding,
                      ("torch", "train"): torch_training, ("torch", "decode"): torch_decoding}[
                          job["engine"], job["kind"]](job)
    return {**facts, **steadily(measure, job["seconds"], job["patience"])}


def steadily(measure, seconds: float, patience: float) -> dict:
    """measure(seconds) -> seconds of each step, in windows: warm up until they get no shorter, then ROUNDS of them.

    Where that would take more than `patience` seconds after the first step, every step from the second on counts: as
    many windows as there is time for, and at least one ("short").
    """
    start = clock()
    measure(0)  # compiles, and touches the memory
    first, began = clock() - start, clock()

    def window():
        return measure(min(seconds, patience / 2) / ROUNDS)

    def time_for(windows):
        return clock() - began + windows * took <= patience

    forget_peak_memory()
    warm_up, timed = [window()], []
    took = clock() - began
    short = not time_for(ROUNDS + 1)
    if short:
        timed, warm_up = warm_up, []
        while len(timed) < ROUNDS and time_for(1):
            timed.append(window())
    else:
        middles = [statistics.median(warm_up[0])]
        while len(warm_up) <= WARMEST and time_for(ROUNDS + 1):
            warm_up.append(window())
            middles.append(statistics.median(warm_up[-1]))
            if middles[-1] > STEADY * min(middles[:-1]):
                break
        forget_peak_memory()
        timed = [window() for _ in range(ROUNDS)]
    middles = [statistics.median(steps) for steps in warm_up]
    return {"seconds_per_step": statistics.median(statistics.median(steps) for steps in timed),
            "windows": [statistics.median(steps) for steps in timed], "warm_up": middles,
            "steps": sum(len(steps) for steps in timed), "short": short,
            "steady": not short and len(middles) > 1 and middles[-1] > STEADY * min(middles[:-1]),
            "seconds_to_first_step": first, "peak_memory_bytes": peak_memory()}


def affordable(seconds_for, tried: int, most: int, patience: float) -> int:
    """How many of `most` equal pieces of work a step should have: all of them, if that takes less than 2 x `patience`.

    seconds_for    seconds_for(pieces) -> the time of a step with so many; asked for `tried` of them, twice, since the
                   first one also makes what later ones find ready.  Few pieces take longer than their share of many.
    """
    one = min(seconds_for(min(tried, most)) for _ in range(2)) / min(tried, most)
    if one * most < 2 * patience:
        return most
    return 1 << max(0, math.floor(math.log2(patience / 2 / one)))


def seconds_of(work, *arguments) -> float:
    start = clock()
    work(*arguments)
    return clock() - start


def forget_peak_memory() -> None:
    """Count the peak from here on, so that compilers and warm-up are left out (Linux)."""
    if os.path.exists("/proc/self/clear_refs"):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")


def peak_memory() -> int:
    """Bytes this process had in memory at most."""
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as file:
            return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peaks(job: dict) -> dict:
    """What the machine can do now: every instruction, one thread's share of the first, memory streams."""
    from tinylm.kernels import machine
    with threads.cpu_threads(1):
        alone = machine.peak("float32", job["seconds"])
    rates = {name: machine.peak(name, job["seconds"]) for name in machine.INSTRUCTIONS}
    return {"operations_per_second": rates, "threads_over_one": rates["float32"] / alone,
            "bytes_per_second": {size: machine.read_bandwidth(size, job["seconds"]) for size in job["bytes"]}}


# -- tinylm -----------------------------------------------------------------------------------------

def tinylm_trainer(job: dict, backend: str = "numba"):
    """What `tinylm bench train` measures."""
    from tinylm.cli import bench
    return bench._trainer(job["preset"], job["vocab"], {**job["flags"], "precision": job["precision"]}, backend,
                          job["threads"])


def facts_of(trainer) -> dict:
    from tinylm.models import describe
    return {"tokens_per_step": trainer.tokens_per_step, "parameters": trainer.params.count(),
            "flops_per_token": sum(describe.flops(trainer.model, trainer.context).values())}


def tinylm_training(job: dict):
    trainer = tinylm_trainer(job)
    trainer.prepare()
    trainer.settle()  # what happens once in a run, as compiling does
    return repeated(lambda number: trainer._optimize(number, trainer.recipe.lr / 100)), facts_of(trainer)


def tinylm_decoding(job: dict):
    """The packed model, as it is exported."""
    from tinylm import kernels
    from tinylm.cli import bench, footprint, speeds
    from tinylm.generate import packed
    from tinylm.generate.sampling import Options
    from tinylm.generate.stream import stream
    from tinylm.layers import Parameters
    whole = bench._model(job["preset"], job["vocab"], job["flags"])[1]
    params = Parameters(whole.parameters())
    params.initialise(0)
    model, params = packed.pack(whole, params, job["head_bits"])
    tokenizer = footprint.placeholder(job["vocab"])

    def write(number):
        for _ in stream(model, params, kernels, tokenizer, [0] * PROMPT, Options(temperature=0.8), seed=number,
                        max_tokens=TOKENS, judge=False):
            pass

    moved = speeds.bytes_of_token(whole, job["head_bits"])
    return repeated(write), {"tokens_per_step": TOKENS, "bytes_per_token": moved}


# -- PyTorch ----------------------------------------------------------------------------------------

def torch_model(job: dict):
    """(trainer of tinylm with weights and tokens, the same model in PyTorch)"""
    import torch
    import torch_models

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    # The definitions will do for its weights and tokens: numba's memory is none of PyTorch's.
    trainer = tinylm_trainer({**job, "precision": "float32"}, "numpy")
    model = torch_models.build(trainer.model.family, trainer.model.config)
    torch_models.load(model, trainer.params)
    return trainer, model


def torch_facts() -> dict:
    import torch
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return {"torch": torch.__version__, "cpu_capability": torch.backends.cpu.get_cpu_capability(), "amx": bool(tiles)}


def repeated(step):
    """A measure for `steadily` of a function that takes the number of the step."""
    numbers = itertools.count(1)

    def measure(seconds):
        spent, began = [], clock()
        while not spent or clock() - began < seconds:
            spent.append(seconds_of(step, next(numbers)))
        return spent
    return measure


def torch_training(job: dict):
    import torch
    import torch_models

    trainer, model = torch_model(job)
    facts, batch, recipe = facts_of(trainer), trainer.data.batch, trainer.recipe
    trainer = None  # its moments and gradients would count as memory of PyTorch
    bfloat16 = job["precision"] == "bfloat16"

    def tokens_of(number, texts):
        return [torch.from_numpy(x[:texts]).long() for x in batch(number, 0)]

    def gradient(texts):
        torch_models.loss_of(model, *tokens_of(1, texts), bfloat16).backward()
        model.zero_grad(set_to_none=True)

    most = recipe.batch_size
    texts = affordable(functools.partial(seconds_of, gradient), 1, most, job["patience"])
    optim = torch_models.optimizer(model, recipe)
    called = torch.compile(model, dynamic=False) if job["compiled"] else model

    def step(number):
        torch_models.step(called, optim, *tokens_of(number, texts), recipe.clip, bfloat16)

    return repeated(step), {**facts, **torch_facts(), "tokens_per_step": facts["tokens_per_step"] * texts // most,
                            "part": [texts, most]}


def torch_decoding(job: dict):
    """Reads a prompt, then writes: a state is carried, nothing is read twice, weights are rounded once."""
    import torch

    _, model = torch_model(job)
    bfloat16 = job["precision"] == "bfloat16"
    model = model.for_inference(torch.bfloat16 if bfloat16 else torch.float32)
    prompt = torch.zeros(1, PROMPT, dtype=torch.long)

    @torch.inference_mode()
    def write(extend, tokens):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits, state = extend(prompt, model.start())
            for written in range(1, tokens + 1):
                prob = torch.softmax(logits[0, -1].float() / 0.8, -1)
                token = torch.multinomial(prob, 1)[None]
                if written < tokens:
                    logits, state = extend(token, state)

    tokens = affordable(functools.partial(seconds_of, write, model.extend), TRIED, TOKENS, job["patience"])
    called = torch.compile(model.extend, dynamic=False) if job["compiled"] else model.extend
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return repeated(lambda _: write(called, tokens)), {
        **torch_facts(), "tokens_per_step": tokens, "bytes_per_token": weights, "part": [tokens, TOKENS]}


if __name__ == "__main__":
    try:
        answer = main(json.loads(sys.argv[1]))
    except UsageError as error:
        answer = {"unsupported": str(error)}
    print(json.dumps(answer))
