"""A lesson as a Jupyter notebook or as one HTML page; both are made, never written by hand."""
from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from .course import Lesson
from .walk import Cell, Result


def notebook(lesson: Lesson, results: Sequence[tuple[Cell, Result | None]] | None = None) -> str:
    """The text of an .ipynb file; with `results` (of `walk.collect`) it carries outputs and figures."""
    import jupytext
    import nbformat.v4 as v4

    found = jupytext.read(lesson.path / "lesson.py", fmt="py:percent")
    found.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(found.cells):
        cell["id"] = f"cell-{number}"  # the same lesson gives the same file
    for cell, (_, result) in zip(found.cells, results or ()):
        if result is None:
            continue
        if result.text:
            cell.outputs.append(v4.new_output("stream", name="stdout", text=result.text))
        cell.outputs += [v4.new_output("display_data", {"image/png": base64.b64encode(png).decode()})
                         for _, png in result.images]
    return jupytext.writes(found, fmt="ipynb") + "\n"


def page(lesson: Lesson, results: Sequence[tuple[Cell, Result | None]]) -> str:
    """One HTML page with text, code, outputs and figures; it needs nothing from the network."""
    from markdown_it import MarkdownIt
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    markdown, colours = MarkdownIt("commonmark").enable("table"), HtmlFormatter(nowrap=False, cssclass="code")
    body = []
    for cell, result in results:
        if result is None:
            body.append(markdown.render(cell.source))
            continue
        body.append(highlight(cell.source, PythonLexer(), colours))
        if result.text:
            body.append(f'<pre class="out">{html.escape(result.text)}</pre>')
        body += [f'<img alt="{html.escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
                 for name, png in result.images]
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(lesson.title)}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}'
            f'{colours.get_style_defs(".code")}</style></head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n")


def write(path: Path, text: str) -> None:
    """Write a page; a file that is there is replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)


_STYLE = """
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; font: 1.05rem/1.55 system-ui, sans-serif; color: #1b1b1f;
       background: #fff }
pre { overflow-x: auto; font-size: .85rem; line-height: 1.35; padding: .7rem .9rem; border-radius: 6px }
.code pre { background: #f5f5f8 }
.out { border-left: 3px solid #d9d9df }
img { max-width: 100% }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left }
"""
