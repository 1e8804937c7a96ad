"""What bench.py has measured, as tables of 80 columns; or of a file that it wrote, as Markdown:

    python tests/peers/tables.py bench-peers.json
"""
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text


class Sheet(NamedTuple):
    """A table in words.   rows: (cells, whether tinylm's)"""

    title: str
    columns: list[str]
    rows: list[tuple[list[str], bool]]
    notes: list[str]


def shown(result: dict) -> list:
    """What a terminal is told of one work."""
    sheet = sheet_of(result)
    table = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(sheet.columns):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for cells, ours in sheet.rows:
        table.add_row(*cells, style="bold" if ours else None)
    return [*([table] if sheet.rows else [Text(sheet.title)]), *(Text(note) for note in sheet.notes), Text("")]


def markdown(result: dict) -> str:
    sheet = sheet_of(result)
    lines = [f"**{sheet.title}**", ""]
    if sheet.rows:
        lines += ["| " + " | ".join(sheet.columns) + " |", "|" + "---|" + "---:|" * (len(sheet.columns) - 1)]
        lines += ["| " + " | ".join(cells) + " |" for cells, _ in sheet.rows]
    return "\n".join([*lines, "", *(note + "\\" for note in sheet.notes[:-1]), *sheet.notes[-1:], ""])


def sheet_of(result: dict) -> Sheet:
    if "error" in result or "absent" in result:
        return Sheet(f"{result['work']}: {result.get('absent') or 'failed: ' + result['error']}", [], [], [])
    return of_products(result) if result["work"] == "ternary" else of_models(result)


def of_models(result: dict) -> Sheet:
    decoding, flags, threads = result["kind"] == "decode", result["flags"], result["threads"]
    about = "one text at a time" if decoding else f"{flags['batch_size']} x {flags['context']} tokens a step"
    dropout = f"dropout {flags.get('dropout', 'as the preset says')}, " * (not decoding)
    title = f"{result['work']}: {about}, vocabulary {result['vocab']:,}, {dropout}{threads} thread{'s' * (threads > 1)}"
    rows, notes = [], []
    for row in result["rows"]:
        ours = row["mode"].startswith("tinylm")
        if "tokens_per_second" not in row:
            what = {"given_up": "given up", "spared": "not run"}
            rows.append(([row["mode"], next((what[key] for key in what if key in row["runs"][-1]), "failed"),
                          *5 * [""]], ours))
            notes.append(f"{row['mode']}: {row['runs'][-1]['error']}")
            continue
        marked = remark(row, "tokens of a text" if decoding else "texts a step")
        notes += [f"* {row['mode']}: {marked}"] if marked else []
        speed, share = row["tokens_per_second"], row["fraction_of_peak"]
        ratios = (row.get(key) for key in ("ratio_to_best", "ratio_to_best_float32"))
        rows.append(([row["mode"] + " *" * bool(marked), f"{speed:,.0f}" if speed >= 100 else f"{speed:.1f}",
                      f"±{(row['fastest'] - row['slowest']) / 2 / speed:.0%}" if len(row["runs"]) > 1 else "–",
                      *("–" if ratio is None else f"{ratio:.2f}x" for ratio in ratios),
                      "–" if share is None else f"{share:.0%}",
                      "–" if row["part"] else f"{row['peak_memory_bytes'] / 2**20:,.0f}"], ours))
    for line in result["headline"]:
        what = "float32 only" if line["precision"] else "best over best"
        notes.append(f"tinylm over PyTorch, {what}: {line['ratio']:.2f}x ({line['tinylm']} over {line['torch']})")
    notes.append("of best, of f32: of PyTorch's best mode, and of its best in float32; of peak: "
                 + ("weights read, of what memory delivers at that size" if decoding else
                    "operations, of what the mode's instruction does at most"))
    return Sheet(title, ["mode", "tokens/s", "spread", "of best", "of f32", "of peak", "MiB"], rows,
                 [*notes, *machine(result)])


def remark(row: dict, unit: str) -> str:
    """How a row was measured where it was not as the others, else ""."""
    good = [run for run in row["runs"] if "error" not in run]
    said = []
    if row["part"]:
        said.append(f"{row['part'][0]} of {row['part'][1]} {unit}")
    if row["short"]:
        steps = min(run["steps"] for run in good)
        said.append(f"no warm-up, {'one step' if steps == 1 else f'{steps} steps'}"
                    + (" in each run" if len(good) > 1 else ""))
    elif not row["steady"]:
        said.append("still getting faster when measured")
    if said and len(row["runs"]) == 1:
        said.append("one run")
    if len(good) < len(row["runs"]):
        said.append(f"{len(row['runs']) - len(good)} of {len(row['runs'])} runs failed")
    return ", ".join(said)


def machine(result: dict) -> list[str]:
    """The peaks that were measured between the runs."""
    good, threads = [peak for peak in result["peaks"] if "error" not in peak], result["threads"]
    notes = []
    if good:
        rates = {name: max(peak["operations_per_second"][name] or 0.0 for peak in good)
                 for name in good[0]["operations_per_second"]}
        most = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in rates.items() if rate)
        notes.append(f"measured peak, G operations/s: {most}"
                     + (f"; {threads} threads multiply {min(p['threads_over_one'] for p in good):.2f} to "
                        f"{max(p['threads_over_one'] for p in good):.2f} times as fast as one" if threads > 1 else ""))
    if any(run.get("amx") for row in result["rows"] for run in row["runs"]):
        notes.append("PyTorch, too, has matrix tiles (AMX) here for bfloat16; "
                     "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 keeps it from them")
    return notes


def of_products(result: dict) -> Sheet:
    rows = []
    for product in result["products"]:
        ours, *theirs = (product["weights_per_second"][name] for name in ("tinylm", "TQ2_0", "TQ1_0"))
        rows.append(([f"{product['rows']:,} x {product['k']:,}", f"{product['ggml_k']:,}",
                      *(f"{rate / 1e9:,.1f}" for rate in (ours, *theirs)), f"{ours / max(theirs):.2f}x"], False))
    return Sheet("ternary: a matrix times one vector, G weights/s, one thread",
                 ["rows x K", "K for ggml", "tinylm", "ggml TQ2_0", "ggml TQ1_0", "over best"], rows,
                 [f"ggml: llama.cpp's library, from {result['package']}, with "
                  f"{', '.join(result['ggml_features']) or 'no vector unit'}; tinylm: {result['tinylm_kernel']}",
                  "codes of 8 bits in, float32 out; quantising the vector does not count. ggml's blocks are of 256, "
                  "so K is padded for it: its speed counts the weights that are not padding"])


if __name__ == "__main__":
    for work in json.loads(Path(sys.argv[1]).read_text("utf-8"))["works"]:
        print(markdown(work))
