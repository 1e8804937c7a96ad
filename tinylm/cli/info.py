"""`tinylm info` and `tinylm trace`: what a model is made of, before and while it runs."""
from __future__ import annotations

import dataclasses
import math
from typing import Any

import click

from .common import SETTINGS, console, emit_json, note, output_options, threads_option

ASSUMED_VOCAB = 65  # the characters of tiny Shakespeare: a usual size for English text
_BACKEND = click.Choice(["numba", "numpy"])


def _model_options(command):
    for option in (
            output_options, threads_option,
            click.option("--backend", type=_BACKEND, default="numba", show_default=True,
                         help="Whose memory and time: the kernels' or the definitions'."),
            click.option("--vocab", type=click.IntRange(1, 2**31 - 1), metavar="N",
                         help="Vocabulary size, where the preset leaves it to the data."),
            click.argument("name", metavar="PRESET|RUN|FOLDER")):
        command = option(command)
    return command


@dataclasses.dataclass(frozen=True)
class _Subject:
    """What is described: a model, where it comes from, and how it is (to be) trained.

    model        as it is declared
    running      the same, or its packed form, which is what is run
    params       trained weights, or None for a preset
    vocab_from   where the vocabulary size comes from
    files        bytes of the exported folder, None where it is not one
    """

    name: str
    title: str
    model: Any
    running: Any
    params: Any
    batch_size: int
    vocab_from: str
    files: int | None = None


def _subject(name: str, vocab: int | None) -> _Subject:
    """The preset, run or exported model of this name.   Raises what `loading.open_run` does."""
    from .. import config, models
    from ..errors import UsageError
    from ..generate import packed
    from .loading import open_run

    if name not in config.preset_names():
        found = open_run(name, also=config.preset_names(), called="preset or run")
        if vocab is not None:
            raise UsageError(f"--vocab {vocab}: {name} has been trained, its vocabulary is fixed")
        options, exported = found.config(), found.exported
        if exported is None:
            form, source = f"{found.which or 'this'} checkpoint", "the run's tokenizer"
        else:
            form, source = f"exported from {exported}", "the folder's tokenizer"
        return _Subject(found.name, f"{options.preset} on {options.setup.data}, {form}, step {found.step:,}",
                        found.architecture, found.model, found.params, options.recipe.batch_size,
                        f"{source} {found.tokenizer.name}", None if exported is None else packed.size_of(found.run))
    preset = config.load_preset(name)
    shape = dict(preset["model"])
    family, given = shape.pop("family"), shape.pop("vocab", None)
    if vocab is not None:
        size, source = vocab, "--vocab"
    elif given is not None:
        size, source = given, "the preset"
    else:
        size, source = _vocabulary_of(preset.get("data"))
    batch_size = preset.get("train", {}).get("batch_size", config.Recipe.batch_size)
    model = models.build(family, {**shape, "vocab": size})
    return _Subject(name, preset.get("title", ""), model, model, None, batch_size, source)


def _vocabulary_of(corpus: str | None) -> tuple[int, str]:
    """(size, where it comes from) for a preset that leaves it to the data."""
    from ..text.dataset import prepared
    from ..text.tokenizer import Tokenizer

    for found in prepared():
        if found["name"] == corpus and found["vocabulary"].startswith("char-"):
            return Tokenizer.load(found["path"]).vocab_size, f"the corpus {corpus} as prepared here"
    return ASSUMED_VOCAB, "assumed, as tiny Shakespeare has; --vocab N sets another"


def _measured(quiet: bool, go, *args):
    """go(*args), which runs a model; a person at a terminal sees why it takes a moment."""
    screen = console(stderr=True)
    if not screen.is_terminal or quiet:
        return go(*args)
    with screen.status("running a pass (kernels are compiled the first time)"):
        return go(*args)


# -- info -------------------------------------------------------------------------------------------

@click.command(context_settings=SETTINGS, epilog="Example: tinylm info gpt-run1")
@_model_options
@click.option("--batch-size", type=click.IntRange(1, 10**6), metavar="N",
              help="For the memory of activations (default: the preset's).")
def info(name: str, vocab: int | None, batch_size: int | None, backend: str, as_json: bool, quiet: bool,
         cpu_threads: int):
    """Parameters, operations and memory of a preset, run or exported folder.

    One multiplication with its addition is two flops.  Counted are the matrix products, and those of
    attention at the average position of a full context.

    The last table counts everything that writing one token takes.  A ternary product only adds and
    subtracts; multiplications remain in scales, norms, gates and the head.
    """
    from ..models import describe
    from .loading import operations

    subject = _subject(name, vocab)
    model, batch_size = subject.model, batch_size or subject.batch_size
    context = model.config.context
    answer = {
        "name": subject.name, "title": subject.title, "family": model.family,
        "config": dataclasses.asdict(model.config), "vocab_from": subject.vocab_from,
        "parameters": describe.parameters(model),
        "components": [dataclasses.asdict(c) for c in describe.components(model, context)],
        "flops_per_token": describe.flops(model, context),
        "multiplies_per_token": describe.multiplies(model, context),
        "inference_per_token": describe.costs(model, context),
        "bytes": {**_measured(quiet, describe.memory, model, operations(backend), batch_size, context),
                  **({} if subject.files is None else {"files": subject.files})},
        "batch_size": batch_size, "texts_at_once": describe.texts_at_once(model, batch_size, context),
        "context": context, "backend": backend}
    if as_json:
        emit_json(answer)
    else:
        _print_info(answer, describe.axis_sizes(model))


def _print_info(answer: dict, axes: dict[str, int]) -> None:
    from rich.table import Table

    out, config, count = console(), answer["config"], answer["parameters"]
    out.print(f"[bold]{answer['name']}[/]" + f" · {answer['title']}" * bool(answer["title"]))
    sizes = {"T": answer["context"], **{k: v for k, v in axes.items() if k != "3C"},
             "L": config.get("layers"), "H": config.get("heads")}
    out.print(f"{answer['family']}: " + " · ".join(f"{k} {v:,}" for k, v in sizes.items() if v))
    out.print(f"vocabulary V = {config['vocab']:,}: {answer['vocab_from']}\n", style="dim")

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for title, justify in (("component", "left"), ("layers", "right"), ("parameters", "right"),
                           ("share", "right"), ("ternary", "right"), ("multiplies/token", "right")):
        if title != "ternary" or count["ternary"]:
            table.add_column(title, justify=justify)
    rows = [(c["name"], f"{c['layers']}", c["parameters"], c["ternary"], c["multiplies"])
            for c in answer["components"]]
    rows.append(("total", "", count["total"], count["ternary"], answer["multiplies_per_token"]["total"]))
    for label, layers, total, ternary, multiplies in rows:
        cells = [label, layers, f"{total:,}", f"{total / count['total']:.1%}",
                 *[f"{ternary:,}"] * bool(count["ternary"]), f"{multiplies:,.0f}"]
        table.add_row(*cells, style="bold" if label == "total" else None)
    out.print(table)

    flops, size = answer["flops_per_token"], answer["bytes"]
    files = [("", _size(size["files"]), "files of the folder")] if "files" in size else []
    lines = [("flops/token", f"{flops['forward']:,.0f}", "forward: 2 for each multiplication in a product"),
             ("", f"{flops['backward']:,.0f}", "backward: twice the forward"),
             ("memory", _size(size["weights"]), "weights, float32"),
             ("", _size(size["packed"]), "weights packed for inference"),
             *files,
             ("", _size(size["gradients"]), "gradients"),
             ("", _size(size["optimizer"]), "optimizer: Adam's two moments"),
             ("", _size(size["activations"]),
              "activations for backward: "
              + f"{answer['texts_at_once']} of " * (answer["texts_at_once"] < answer["batch_size"])
              + f"B {answer['batch_size']} × T {answer['context']} ({answer['backend']})")]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column()
    for line in lines:
        table.add_row(*line)
    out.print()
    out.print(table)
    _print_costs(out, answer["inference_per_token"])


def _print_costs(out, costs: dict) -> None:
    """What one token takes at inference; functions are exponentials, square roots and divisions."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("inference, a token")
    for title in ("multiply", "add", "exp, sqrt, /", "read"):
        table.add_column(title, justify="right")
    for kind, cost in costs.items():
        table.add_row(kind, *(f"{cost[field]:,.0f}" for field in ("multiplications", "additions", "functions")),
                      _size(round(cost["read"])), style="bold" if kind == "total" else None)
    out.print()
    out.print(table)


def _size(count: int) -> str:
    """Bytes with a unit of thousands: 3.26 MB."""
    power = min(3, int(math.log10(count) // 3)) if count else 0
    return f"{count / 1000**power:.{2 if power else 0}f} {('B', 'kB', 'MB', 'GB')[power]}"


# -- trace ------------------------------------------------------------------------------------------

@click.command(context_settings=SETTINGS, epilog="Example: tinylm trace gpt-shakespeare --batch-size 4")
@_model_options
@click.option("--batch-size", type=click.IntRange(1, 10**6), default=1, show_default=True, metavar="N",
              help="B of the pass.")
@click.option("--context", type=click.IntRange(1, 10**6), metavar="N",
              help="T of the pass (default: the model's context).")
@click.option("--all", "every", is_flag=True, help="Every block, also those like the first.")
def trace(name: str, vocab: int | None, batch_size: int, context: int | None, every: bool, backend: str,
          as_json: bool, quiet: bool, cpu_threads: int):
    """The shape tree: every layer, in → out, from a real forward pass.

    Flops are per token and, like the time, include the layers inside.
    """
    from ..errors import UsageError
    from ..layers import Parameters
    from ..models import describe
    from .loading import operations

    subject = _subject(name, vocab)
    model, params = subject.running, subject.params
    if (context or 1) > model.config.context:
        raise UsageError(f"--context {context}: {name} has positions for {model.config.context}")
    context = context or model.config.context
    if params is None:
        params = Parameters(model.parameters())
        params.initialise(0)
    layers = _measured(quiet, describe.trace, model, params, operations(backend), batch_size, context)
    if as_json:
        emit_json({"name": subject.name, "batch_size": batch_size, "context": context, "backend": backend,
                   "axes": {"B": batch_size, "T": context, **describe.axis_sizes(model)},
                   "layers": [dataclasses.asdict(layer) for layer in layers]})
        return
    sizes = {"B": batch_size, "T": context, **describe.axis_sizes(model)}
    console().print(f"[bold]{subject.name}[/]: " + " · ".join(f"{k} {v:,}" for k, v in sizes.items() if k != "3C"))
    _print_tree(layers if every else _without_repeats(layers))
    together = "; without ms: done together, by the layer around" * any(x.seconds is None for x in layers)
    note(f"ms: {backend}, the shortest of {describe.PASSES} passes, layers inside included{together}\n"
         f"V: {subject.vocab_from}", quiet)


def _without_repeats(layers: list) -> list:
    """The layers with each run of equal siblings told once, then as one line for all the others."""
    shown, i = [], 0
    while i < len(layers):
        first = _subtree(layers, i)
        shown += first
        i += len(first)
        like = []
        while i < len(layers) and layers[i].depth == first[0].depth and len(first) > 1 \
                and _shape(_subtree(layers, i)) == _shape(first):
            like.append(layers[i])
            i += len(first)
        if not like:
            # Look inside for repeats of their own.
            shown[-len(first):] = [first[0], *_without_repeats(first[1:])]
            continue
        name = like[0].name if len(like) == 1 else f"{like[0].name} … {like[-1].name.rpartition('.')[2]}"
        shown.append(dataclasses.replace(
            like[0], name=name, parameters=sum(x.parameters for x in like),
            flops=sum(x.flops for x in like), seconds=sum(x.seconds for x in like)))
    return shown


def _subtree(layers: list, i: int) -> list:
    end = i + 1
    while end < len(layers) and layers[end].depth > layers[i].depth:
        end += 1
    return layers[i:end]


def _shape(layers: list) -> list:
    return [(x.kind, x.depth, x.inp, x.out, x.parameters, x.flops) for x in layers]


def _print_tree(layers: list) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for title, justify in (("layer", "left"), ("in → out", "left"), ("parameters", "right"),
                           ("kflop/token", "right"), ("ms", "right")):
        table.add_column(title, justify=justify, no_wrap=True)
    for i, x in enumerate(layers):
        parent = "" if x.depth < 2 else layers[_parent(layers, i)].name + "."
        label = x.name.removeprefix(parent)
        shape = f"{_axes(x.inp_axes)} → {_axes(x.out_axes)}"
        table.add_row(_guides(layers, i) + label, shape, f"{x.parameters:,}" if x.parameters else "",
                      f"{x.flops / 1e3:,.1f}" if x.flops else "", "" if x.seconds is None else f"{1e3 * x.seconds:.2f}",
                      style="bold" if x.depth == 0 else None)
    console().print(table)


def _parent(layers: list, i: int) -> int:
    return next(j for j in range(i - 1, -1, -1) if layers[j].depth < layers[i].depth)


def _guides(layers: list, i: int) -> str:
    """The lines of the tree in front of row i."""
    drawn = ""
    for depth in range(1, layers[i].depth + 1):
        following = next((x.depth for x in layers[i + 1:] if x.depth <= depth), 0)
        more = following == depth  # a later row hangs on the line of this depth
        drawn += ("├─ " if more else "└─ ") if depth == layers[i].depth else ("│  " if more else "   ")
    return drawn


def _axes(names: tuple[str, ...]) -> str:
    return "(" + ", ".join(names) + ")"
