"""`tinylm data`: the corpora, from download to tokens."""
from __future__ import annotations

import time

import click

from ..errors import DataMissing, UsageError, nearest
from .common import SETTINGS, console, emit_json, note, output_options, threads_option
from .loading import open_data

_SHOWN_CHARACTERS = 1_200


@click.group(context_settings=SETTINGS, epilog="Example: tinylm data show stories")
def data():
    """Corpora: list, get, prepare, show."""


def _source_options(command):
    for option in (
            threads_option,
            click.option("--seed", type=int, default=0, show_default=True,
                         help="Of the split, and of generated stories."),
            click.option("--size", metavar="N|SIZE",
                         help="How many stories, or how much of tinystories (20MB)."),
            click.option("--vocab", metavar="N", help="Symbols of a byte-level BPE, such as 8192 "
                                                      "(default: a symbol for each character)."),
            click.option("--documents", default="auto", show_default=True,
                         metavar="auto|blank-line|whole",
                         help="Where a file's documents end: <|endoftext|> if it has any, empty lines, "
                              "never."),
            click.argument("source", metavar="CORPUS|FILE")):
        command = option(command)
    return command


@data.command("list", context_settings=SETTINGS, epilog="Example: tinylm data list --json")
@output_options
def list_corpora(as_json: bool, quiet: bool):
    """The corpora by name, and what is prepared on this machine."""
    from ..text import corpora, dataset, download

    try:
        download.find_tinystories()
        downloaded = True
    except DataMissing:
        downloaded = False
    known = [{"name": name, "ready": name != "tinystories" or downloaded, "description": text}
             for name, text in corpora.DESCRIPTIONS.items()]
    prepared = dataset.prepared()
    if as_json:
        emit_json({"corpora": known, "prepared": prepared})
        return
    _table(["corpus", "ready", "what it is"],
           [[c["name"], "yes" if c["ready"] else "get it first", c["description"]] for c in known])
    note("Any UTF-8 text file can stand for a corpus: --data FILE", quiet)
    if prepared:
        click.echo()
        _table(["prepared", "tokens", "vocabulary", "folder"],
               [[p["name"], f"{p['tokens']:,}", p["vocabulary"], p["path"]] for p in prepared])


@data.command(context_settings=SETTINGS, epilog="Example: tinylm data get tinystories --subset 20MB")
@click.argument("name", metavar="CORPUS")
@click.option("--subset", metavar="SIZE", help="Only the first part, such as 20MB, cut after a story.")
@output_options
def get(name: str, subset: str | None, as_json: bool, quiet: bool):
    """Download a corpus.

    There is one to download, tinystories: 2.2 GB, or its first part with --subset.  A broken download
    goes on where it stopped, and checksums are compared.
    """
    from ..text import corpora, download

    if name not in corpora.DESCRIPTIONS:
        raise UsageError(f"no corpus is called {name!r}{nearest(name, corpora.DESCRIPTIONS)}")
    if name != "tinystories":
        raise UsageError(f"{name} needs no download: tinylm data prepare {name}")
    with _Progress(quiet) as progress:
        found = download.get_tinystories(subset, progress)
    files = {split: {"path": str(path), "bytes": path.stat().st_size, "sha256": found.digests.get(split)}
             for split, path in (("train", found.train), ("valid", found.valid))}
    if as_json:
        emit_json({"name": name, "path": str(found.train.parent), "files": files})
        return
    _table(["file", "bytes"], [[f["path"], f"{f['bytes']:,}"] for f in files.values()])
    note("Next: tinylm data prepare tinystories", quiet)


@data.command(context_settings=SETTINGS,
              epilog="Example: tinylm data prepare notes.txt --documents blank-line")
@_source_options
@output_options
def prepare(source: str, documents: str, size: str | None, vocab: str | None, seed: int, as_json: bool, quiet: bool,
            cpu_threads: int):
    """Turn a corpus or a text into tokens.

    The split into training and validation is by document: a tenth of them, always the same for the
    same seed.  What is prepared already is found again at once.

    With --vocab, tokens are pieces of words: a byte-level BPE, learned from the training part alone.
    """
    dataset = open_data(source, documents, size, seed, vocab=_vocab(vocab), quiet=quiet)
    if as_json:
        emit_json(_summary(dataset))
    else:
        _print_summary(dataset)


@data.command(context_settings=SETTINGS, epilog="Example: tinylm data show stories --count 1 --split val")
@_source_options
@click.option("--count", type=int, default=2, show_default=True, help="How many documents to print.")
@click.option("--split", default="train", show_default=True, metavar="train|val", help="Of which part.")
@output_options
def show(source: str, documents: str, size: str | None, vocab: str | None, seed: int, count: int, split: str,
         as_json: bool, quiet: bool, cpu_threads: int):
    """Print some documents and the counts.

    For stories also the entropy floor: the loss in bits per byte that no model can go below.
    """
    if not 0 <= count <= 1000:
        raise UsageError(f"--count {count}: between 0 and 1000 documents can be shown")
    if split not in ("train", "val"):
        raise UsageError(f"--split {split}{nearest(split, ['train', 'val'])}")
    dataset = open_data(source, documents, size, seed, vocab=_vocab(vocab), quiet=quiet)
    texts = list(dataset.documents(split, limit=count))
    if as_json:
        emit_json(_summary(dataset) | {"split": split, "documents": texts})
        return
    for number, text in enumerate(texts, 1):
        click.echo(click.style(f"── {split} document {number} ({len(text):,} characters)", dim=True))
        click.echo(_printable(text[:_SHOWN_CHARACTERS]) + ("…" if len(text) > _SHOWN_CHARACTERS else ""))
        click.echo()
    _print_summary(dataset)


# -- inside -----------------------------------------------------------------------------------------

def _vocab(value: str | None) -> int | None:
    from ..config import vocabulary

    try:
        return None if value is None else vocabulary(value)
    except ValueError as error:
        raise UsageError(f"--vocab {value}: it should be {error}") from None


def _summary(dataset) -> dict:
    meta = dataset.meta
    return {"name": dataset.name, "path": str(dataset.path), "source": meta["source"],
            "digest": dataset.digest, "splits": meta["splits"], "vocabulary": meta["vocabulary"],
            "duplicates": meta["duplicates"], "skipped": meta["skipped"], "seed": meta["seed"],
            "floor": meta["floor"]}


def _print_summary(dataset) -> None:
    meta = dataset.meta
    _table(["split", "tokens", "bytes", "characters", "documents"],
           [[name, *(f"{counts[k]:,}" for k in ("tokens", "bytes", "chars", "documents"))]
            for name, counts in meta["splits"].items()])
    lines = [("corpus", f"{dataset.name}: {meta['source']}"),
             ("vocabulary", f"{meta['vocabulary']['size']} symbols ({meta['vocabulary']['name']})")]
    same = meta["duplicates"]
    if any(same.values()):
        lines.append(("duplicates", f"{same['removed_from_val']} removed from validation, "
                                    f"{same['repeated_in_train']} repeated in training"))
    if meta["skipped"]:
        lines.append(("skipped", ", ".join(f"{n} {why}" for why, n in meta["skipped"].items())))
    if dataset.floor:
        floor = dataset.floor
        lines.append(("entropy floor", f"{floor.bits_per_byte:.4f} ± {floor.standard_error:.4f} bits/byte "
                                       f"over {floor.documents:,} validation documents"))
    lines.append(("folder", str(dataset.path)))
    for name, text in lines:
        click.echo(f"{name:<14} {text}")


def _printable(text: str) -> str:
    """A text from anywhere must not steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}"
                   for c in text.replace("\r\n", "\n"))


def _table(header: list[str], rows: list[list[str]]) -> None:
    """A table of at least one row; into a pipe, lines of tab-separated columns."""
    screen = console()
    if not screen.is_terminal:
        for row in (header, *rows):
            click.echo("\t".join(row))
        return
    from rich.table import Table
    from rich.text import Text

    numeric = [all(cell.replace(",", "").isdecimal() for cell in column)
               for column in zip(*rows, strict=True)]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name, right in zip(header, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left")
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    screen.print(table)


class _Progress:
    """Download progress on stderr: a bar on a terminal, a line every few seconds in a pipe."""

    _EVERY = 5.0

    def __init__(self, quiet: bool):
        self.quiet, self.bar, self.tasks, self.said = quiet, None, {}, 0.0

    def __enter__(self):
        screen = console(stderr=True)
        if not self.quiet and screen.is_terminal and not screen.is_dumb_terminal:
            from rich import progress

            self.bar = progress.Progress(
                progress.TextColumn("{task.description}"), progress.BarColumn(),
                progress.DownloadColumn(), progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(), console=screen)
            self.bar.start()
        return self

    def __exit__(self, *_):
        if self.bar:
            self.bar.stop()

    def __call__(self, name: str, done: int, total: int | None) -> None:
        if self.quiet:
            return
        if self.bar:
            if name not in self.tasks:
                self.tasks[name] = self.bar.add_task(name, total=total)
            self.bar.update(self.tasks[name], completed=done)
        elif time.monotonic() - self.said >= self._EVERY or done == total:
            self.said = time.monotonic()
            of = f" of {total / 1e6:.1f}" if total else ""
            note(f"{name}: {done / 1e6:.1f}{of} MB")
