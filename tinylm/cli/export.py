"""`tinylm export`: a trained model as a folder that needs nothing else."""
from __future__ import annotations

from pathlib import Path

import click

from .common import SETTINGS, emit_json, note, output_options, threads_option


@click.command(context_settings=SETTINGS, epilog="Example: tinylm export latest my-model")
@output_options
@threads_option
@click.option("--checkpoint", type=click.Choice(["best", "last"]),
              help="Which one (default: the best by validation loss, else the last).")
@click.option("--head-bits", type=click.Choice(["8", "32"]), default="32", show_default=True,
              help="8: a smaller head that is read faster; its scores differ a little from those in training.")
@click.argument("run")
@click.argument("out", type=click.Path(path_type=Path))
def export(run: str, out: Path, checkpoint: str | None, head_bits: str, as_json: bool, quiet: bool, cpu_threads: int):
    """Write the model of RUN into the new folder OUT.

    Ternary weights take two bits each, in the layout in which they are multiplied; everything else stays
    float32, with --head-bits 8 everything but the head and the embedding it shares.  The folder's scores are
    compared with those of the run before it gets its name.  What takes a run to use it takes the folder too:
    generate, eval, info, trace, audit, bench decode.
    """
    from .. import kernels
    from ..audit import suite
    from ..errors import UsageError
    from ..generate import packed
    from .loading import open_run

    trained = open_run(run, checkpoint)
    if trained.state is None:
        raise UsageError(f"{run} is an exported model already")
    with packed.Writing(out) as writing:
        about = {"run": trained.name, "step": trained.step, "data": trained.state["data"],
                 "val": trained.state["val"], "run_config": trained.state["config"]}
        packed.write_model(writing, trained.model, trained.params, trained.tokenizer.to_json(), about, int(head_bits))
        parity = _parity(trained, packed.read(writing.path), int(head_bits))
        note("checking that it sees no future and streams", quiet or as_json)
        checks = list(suite.weight_checks(trained.model, trained.params, trained.tokenizer, kernels,
                                          ("causality", "streaming")))
        bytes_ = packed.size_of(writing.path)
        writing.write(packed.CARD, _card(trained, about, bytes_, parity, checks).encode())
        bytes_ = packed.size_of(writing.path)
    failed = [c for c in checks if not c.ok]
    if as_json:
        emit_json({"path": str(writing.final), "bytes": bytes_, "parity": parity,
                   "audit": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks]})
        return
    click.echo(f"{writing.final}: {bytes_ / 1e6:,.2f} MB")
    click.echo(f"scores {_same(parity)}")
    for check in failed:
        note(f"the audit failed, and the model card says so: {check.name}: {check.detail}")


def _parity(trained, exported, head_bits: int) -> dict:
    """The folder's scores beside those of the run, for whole texts and token by token.   Raises CheckFailed"""
    from .. import kernels
    from ..audit import packing
    from ..errors import CheckFailed
    from ..generate.packed import reference
    from ..layers import Pass
    from ..ops.random import generator

    plain = reference(trained.model, trained.params, head_bits)
    found = packing.parity(exported.model, Pass(kernels, exported.params), trained.model, plain, generator(0, "export"))
    if found.where is not None:
        raise CheckFailed(f"the packed model's scores {found.where} differ from the run's by up to {found.largest:.3g}")
    tokens = packing.texts(trained.model, generator(0, "export"))
    rounded, exact = (trained.model.logits(tokens, run) for run in (plain, Pass(kernels, trained.params)))
    return {"to_the_bit": True, "largest_difference": found.largest, "scores": found.scores, "head_bits": head_bits,
            "head_rounding": float(abs(rounded - exact).max())}


def _same(parity: dict) -> str:
    text = f"equal those of the run to the bit ({parity['scores']:,} compared)"
    if parity["head_bits"] == 8:
        text += f", once its head is rounded to 8 bits, which moves a score by up to {parity['head_rounding']:.2g}"
    return text


def _card(trained, about: dict, bytes_: int, parity: dict, checks) -> str:
    """README.md: everything a stranger should know, from the run itself."""
    from .. import config
    from ..models import describe

    model, options = trained.model, config.Config.from_toml(about["run_config"])
    count, context = describe.parameters(model), model.config.context
    val, state = about["val"], trained.state
    title = f"{options.preset or model.family}, {count['total']:,} parameters"
    of_head = ", those of the head rounded to 8 bits" if parity["head_bits"] == 8 else ""
    ternary = (f"{count['total']:,} parameters: {count['ternary']:,} ternary at 2 bits, {count['float']:,} float32"
               f"{of_head}"
               if count["ternary"] else f"{count['total']:,} parameters, float32")
    if val:
        loss = (f"{val['bits_per_byte']:.4f} bits per byte on {val['bytes']:,} bytes of validation text it was not "
                f"trained on ({val['nats_per_token']:.4f} nats per token of the tokenizer "
                f"{trained.tokenizer.name}; perplexity {val['perplexity_per_token']:.3f} per such token)")
        if parity["head_bits"] == 8:
            loss += "; measured before the head was rounded to 8 bits"
    else:
        loss = "not measured in training; `tinylm eval` on this folder does it"
    ok = all(c.ok for c in checks)
    verdict = "\n".join(f"- {'holds' if c.ok else '**fails**'}: {c.name}: {c.detail}" for c in checks)
    recurrent = model.start(1).capacity is None
    sees = ("It reads texts of any length with a state of fixed size; it was trained on pieces of "
            f"{context:,} tokens, and nothing is known about what it keeps for longer." if recurrent else
            f"It sees at most {context:,} tokens at a time.")
    return f"""# {title}

A language model of the family `{model.family}`, trained with tinylm and exported from the run `{about['run']}`,
step {about['step']:,}.

| | |
|---|---|
| size | {ternary} |
| weights, settings and tokenizer | {bytes_:,} bytes |
| tokenizer | {trained.tokenizer.name}, {trained.tokenizer.vocab_size:,} symbols |
| data | {state['data']['name']} (digest {state['data']['digest']}), {state['tokens']:,} tokens seen in training |
| loss | {loss} |

    tinylm generate FOLDER --prompt 'Once upon a time'
    tinylm eval FOLDER --data TEXT

## Checks

{'All checks hold' if ok else '**A check failed**'}: causality and streaming, asked of these very weights.

{verdict}
- holds: scores {_same(parity)}

## Limits

- It continues text in the manner of its training data. It knows nothing else, and what it states may be false.
- It has not been trained to follow instructions, to refuse, or to be safe.
- {sees}
- Bits per byte compare models on the same text only; nats and perplexity only with the same tokenizer as well.
"""
