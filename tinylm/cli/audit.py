"""`tinylm audit`: is the mathematics right on this machine?"""
from __future__ import annotations

import dataclasses
import itertools
import os
import sys

import click

from .common import SETTINGS, console, emit_json, note, output_options, threads_option

POOL = 4  # threads to compare, also on a machine with fewer processors: they only have to be there


def _fix_pool() -> None:
    if "numba" not in sys.modules:
        os.environ["NUMBA_NUM_THREADS"] = str(max(POOL, int(os.environ.get("NUMBA_NUM_THREADS", 1))))


def _at_most(count):
    """The thread count asked for, in a pool that is larger for the comparison of thread counts."""
    import numba

    from ..threads import cpu_threads
    return cpu_threads(min(count, numba.config.NUMBA_NUM_THREADS))


@click.command(context_settings=SETTINGS, epilog="Example: tinylm audit gpt-run1")
@output_options
@threads_option
@click.option("--only", multiple=True, metavar="NAME", help="One group of checks; may be repeated.")
@click.option("--floor", is_flag=True, help="Instead: train the small copy on random tokens; below ln V, it cheats.")
@click.option("--list", "as_list", is_flag=True, help="Name the groups of checks and stop.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True,
              help="Of the weights, tokens and shapes that are tried.")
@click.argument("name", metavar="[PRESET|RUN|FOLDER]", required=False)
def audit(name, only, floor, as_list, seed, as_json, quiet, cpu_threads):
    """Check gradients, causality, streaming, kernels, threads, units and packing.

    Runs on a small copy with the same options, in seconds; of a run or an exported folder, the trained
    weights are checked too.  Without a name: every preset.  Exits with 3 when a check fails, naming the
    first layer or tensor that is wrong.
    """
    _fix_pool()
    from ..audit import suite
    from ..errors import CheckFailed, UsageError, nearest

    groups, only = suite.GROUPS | suite.ON_DEMAND, (*only, *(["floor"] if floor else []))
    for group in only:
        if group not in groups:
            raise UsageError(f"no group of checks is called {group!r}" + nearest(group, groups))
    if as_list:
        return _list(groups, as_json)
    found, say = [], lambda text: note(text, quiet or as_json)
    with _at_most(cpu_threads):
        for check in _run(name, only or tuple(suite.GROUPS), seed, say):
            found.append(check)
            if not as_json:
                _print(check)
    ok, _ = suite.summary(found)
    failed = [c for c in found if not c.ok]
    if as_json:
        emit_json({"ok": ok, "checks": [{"name": c.name, "ok": c.ok, "worst": c.worst, "detail": c.detail}
                                        for c in found]})
    elif ok:
        click.echo(f"all {len(found)} checks hold" if len(found) > 1 else "the check holds")
    if not found:
        raise CheckFailed(f"nothing was checked: {', '.join(only)} has no check for this")
    if failed:
        raise CheckFailed(f"{failed[0].name}: {failed[0].detail}"
                          + (f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""))


def _list(groups, as_json):
    if as_json:
        emit_json({"groups": [{"name": n, "what": what} for n, what in groups.items()]})
        return
    for name, what in groups.items():
        click.echo(f"{name:<10}  {what}")


def _run(name, only, seed, say):
    """Yield every check; kernels and units that no model has a part in come first, once."""
    import numpy as np

    from .. import config, kernels, models
    from ..audit import suite
    from ..audit.gradients import randomised
    from ..audit.shrink import shrink
    from ..ops.random import generator
    from ..text.tokenizer import char_tokenizer

    subjects, trained = _subjects(name, config)
    say("compiling kernels where needed, which can take a minute the first time")
    yield from suite.shared_checks(kernels, lambda texts: char_tokenizer(set("".join(texts)), False), only, seed)
    for subject, family, options in subjects:
        model = models.build(family, shrink(options))
        params = randomised(model, generator(seed, "audit packed"), np.float32)
        for check in itertools.chain(suite.model_checks(model, kernels, only, seed),
                                     _packed_checks(model, params, only, seed)):
            yield check if len(subjects) == 1 else dataclasses.replace(check, name=f"{subject}/{check.name}")
    if trained is not None:
        yield from suite.weight_checks(trained.model, trained.params, trained.tokenizer, kernels, only, seed)
        for check in _packed_checks(trained.model, trained.params, only, seed):
            yield dataclasses.replace(check, name=f"weights.{check.name}")


def _packed_checks(model, params, only, seed):
    """Of a model that is packed, or that can be: there is none of float weights."""
    from .. import kernels
    from ..audit import suite
    from ..generate.packed import PackedModel, pack

    if "packing" not in only:
        return
    if isinstance(model, PackedModel):
        packed, packed_params, model = model, params, model.unpacked()
        # With float activations a folder's weights were unpacked as it was read, so nothing is left to compare.
        comparable = packed.stream is not None
    else:
        packed, packed_params = pack(model, params)
        comparable = packed is not model
    if comparable:
        yield from suite.packed_checks(packed, packed_params, model, params, kernels, only, seed)


def _subjects(name, config):
    """([(name, family, options)], the trained model or None).   Raises what `loading.open_run` does"""
    from .loading import open_run

    def of_preset(preset):
        options = dict(config.load_preset(preset)["model"])
        return preset, options.pop("family"), options

    if name is None:
        return [of_preset(n) for n in config.preset_names()], None
    if name in config.preset_names():
        return [of_preset(name)], None
    trained = open_run(name, also=config.preset_names(), called="preset or run")
    return [(trained.name, trained.model.family, dataclasses.asdict(trained.model.config))], trained


def _print(check):
    """One row: the verdict, how much of the tolerance was used, and what was compared."""
    out = console()
    verdict = "[green]ok[/]    " if check.ok else "[red]failed[/]"
    used = "exact" if check.worst == 0 else f"{check.worst:.2g}"
    out.print(f"{check.name:<40} {verdict} {used:>8}  ", end="")
    out.print(check.detail, markup=False)
