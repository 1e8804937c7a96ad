"""One measurement in a process of its own: `python child.py JSON` prints one JSON object.

    {"engine": "tinylm" or "torch", "kind": "train" or "decode", "preset", "vocab", "flags", "seconds", "threads",
     "precision": "float32" or "bfloat16", "compiled": true or false}
    {"engine": "peak", "threads", "seconds", "bytes": [sizes of memory streams]}

tinylm trains through its own `Trainer`, as `tinylm bench train` does; PyTorch gets the same weights and tokens.
"""
from __future__ import annotations

import json
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
PATIENCE = 8        # windows that may pass before that, besides the first
PROMPT, TOKENS = 16, 200
clock = time.perf_counter


def main(job: dict) -> dict:
    threads.prepare(job["threads"])  # before numpy and numba are imported
    if job["engine"] == "peak":
        return peaks(job)
    measure, facts = {("tinylm", "train"): tinylm_training, ("tinylm", "decode"): tinylm_decoding,
                      ("torch", "train"): torch_training, ("torch", "decode"): torch_decoding}[
                          job["engine"], job["kind"]](job)
    return {**facts, **steadily(measure, job["seconds"])}


def steadily(measure, seconds: float) -> dict:
    """measure(seconds) -> seconds a step, in windows: warm up until they get no shorter, then ROUNDS of them."""
    start = clock()
    measure(0)  # compiles, and touches the memory
    first, windows = clock() - start, [measure(seconds / ROUNDS)]
    while len(windows) <= PATIENCE:
        windows.append(measure(seconds / ROUNDS))
        if windows[-1] > STEADY * min(windows[:-1]):
            break
    forget_peak_memory()
    timed = [measure(seconds / ROUNDS) for _ in range(ROUNDS)]
    return {"seconds_per_step": statistics.median(timed), "windows": timed, "warm_up": windows,
            "steady": len(windows) <= PATIENCE or windows[-1] > STEADY * min(windows[:-1]),
            "seconds_to_first_step": first, "peak_memory_bytes": peak_memory()}


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
    """What `tinylm bench train` measures.   Raises UsageError for a precision it does not offer"""
    from tinylm.cli import bench
    flags = dict(job["flags"])
    if job["precision"] != "float32":
        if not any(option.name == "precision" for option in bench.bench.params):
            raise UsageError(f"tinylm does not train in {job['precision']}")
        flags["precision"] = job["precision"]
    return bench._trainer(job["preset"], job["vocab"], flags, backend, job["threads"])


def facts_of(trainer) -> dict:
    from tinylm.models import describe
    return {"tokens_per_step": trainer.tokens_per_step, "parameters": trainer.params.count(),
            "flops_per_token": sum(describe.flops(trainer.model, trainer.context).values())}


def tinylm_training(job: dict):
    trainer = tinylm_trainer(job)
    trainer.prepare()
    return lambda seconds: trainer.measure(seconds).step, facts_of(trainer)


def tinylm_decoding(job: dict):
    """The packed model, as it is exported."""
    from tinylm import kernels
    from tinylm.cli import bench
    from tinylm.generate import packed
    from tinylm.generate.sampling import Options
    from tinylm.generate.stream import stream
    from tinylm.layers import Parameters
    from tinylm.text.tokenizer import char_tokenizer
    if job["precision"] != "float32":
        raise UsageError("tinylm's packed decoder has one precision")
    whole = bench._model(job["preset"], job["vocab"], job["flags"])[1]
    params = Parameters(whole.parameters())
    params.initialise(0)
    model, params = packed.pack(whole, params)
    tokenizer = char_tokenizer("".join(chr(0x4E00 + i) for i in range(job["vocab"])), end_of_text=False)

    def write(number):
        for _ in stream(model, params, kernels, tokenizer, [0] * PROMPT, Options(temperature=0.8), seed=number,
                        max_tokens=TOKENS):
            pass

    return repeated(write), {"tokens_per_step": TOKENS, "bytes_per_token": inference_bytes(whole)}


def inference_bytes(model) -> float:
    """Read for a token by packed inference: weights and state, by the definition."""
    from tinylm.models import describe
    return describe.costs(model, model.config.context)["total"]["read"]


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


def repeated(step, least: int = 1):
    """A measure for `steadily` of a function that takes the number of the step."""
    count = 0

    def measure(seconds):
        nonlocal count
        spent, began = [], clock()
        while len(spent) < least or clock() - began < seconds:
            start, count = clock(), count + 1
            step(count)
            spent.append(clock() - start)
        return statistics.median(spent)
    return measure


def torch_training(job: dict):
    import torch
    import torch_models

    trainer, model = torch_model(job)
    facts, batch, recipe = facts_of(trainer), trainer.data.batch, trainer.recipe
    trainer = None  # its moments and gradients would count as memory of PyTorch
    optim = torch_models.optimizer(model, recipe)
    called = torch.compile(model, dynamic=False) if job["compiled"] else model

    def step(number):
        tokens, targets = (torch.from_numpy(x).long() for x in batch(number, 0))
        torch_models.step(called, optim, tokens, targets, recipe.clip, job["precision"] == "bfloat16")

    return repeated(step), {**facts, **torch_facts()}


def torch_decoding(job: dict):
    """Reads a prompt, then writes: a state is carried, nothing is read twice, weights are rounded once."""
    import torch

    _, model = torch_model(job)
    bfloat16 = job["precision"] == "bfloat16"
    model = model.for_inference(torch.bfloat16 if bfloat16 else torch.float32)
    extend = torch.compile(model.extend, dynamic=False) if job["compiled"] else model.extend
    prompt = torch.zeros(1, PROMPT, dtype=torch.long)

    @torch.inference_mode()
    def write(_):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits, state = extend(prompt, model.start())
            for written in range(1, TOKENS + 1):
                prob = torch.softmax(logits[0, -1].float() / 0.8, -1)
                token = torch.multinomial(prob, 1)[None]
                if written < TOKENS:
                    logits, state = extend(token, state)

    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return repeated(write), {"tokens_per_step": TOKENS, "bytes_per_token": weights, **torch_facts()}


if __name__ == "__main__":
    try:
        answer = main(json.loads(sys.argv[1]))
    except UsageError as error:
        answer = {"unsupported": str(error)}
    print(json.dumps(answer))
