"""The race with llama.cpp's ternary products: both sides multiply rightly, whatever the shape."""
from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tables
import ternary
from rich.console import Console


@pytest.mark.parametrize(("rows", "k"), [(32, 256), (40, 384), (7, 33)])
def test_tinylm_multiplies(rows, k):
    task = ternary.problem(rows, k)
    run, out = ternary.tinylm_side(task)
    run(ternary.INPUTS)
    assert out.shape == (ternary.INPUTS, rows)
    np.testing.assert_allclose(out, task.exact, rtol=1e-6)


@pytest.mark.parametrize("name", ternary.FORMATS)
@pytest.mark.parametrize(("rows", "k"), [(3, 256), (40, 384), (5, 1152)])
def test_ggml_multiplies(name, rows, k):
    ggml = ternary.find_ggml()
    if ggml is None:
        pytest.skip(f"{ternary.PACKAGE} is not installed: `make bench-peers` has an environment with it")
    task = ternary.problem(rows, k)
    run, out = ternary.ggml_side(task, ggml, name)
    run(ternary.INPUTS)
    np.testing.assert_allclose(out, task.exact, rtol=1e-5, atol=0.1)


def test_sides_take_turns_and_each_gets_a_median():
    asked = []
    found = ternary.race({name: lambda times, name=name: asked.append((name, times)) for name in "ab"}, 0.0)
    assert [name for name, _ in asked[-6:]] == ["a", "b"] * 3 and found.keys() == {"a", "b"}
    assert all(times >= ternary.INPUTS for _, times in asked)


def test_the_table_names_padding_and_the_better_format():
    out = Console(width=80, file=io.StringIO())
    for part in tables.shown({"work": "ternary", "package": "some 1.0", "ggml_features": ["avx2"],
                              "tinylm_kernel": "product_x", "products": [
                                  {"rows": 1152, "k": 384, "ggml_k": 512,
                                   "weights_per_second": {"tinylm": 9e10, "TQ2_0": 6e10, "TQ1_0": 3e10}}]}):
        out.print(part)
    text = out.file.getvalue()
    assert "1,152 x 384 512 90.0 60.0 30.0 1.50x" in " ".join(text.split())
    assert "…" not in text and "product_x" in text


def test_without_the_package_it_says_so():
    code = "import json, ternary; ternary.find_ggml = lambda: None; print(json.dumps(ternary.main({'seconds': 1})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(ternary.__file__).parent, text=True,
                          capture_output=True, check=True)
    assert ternary.PACKAGE in json.loads(done.stdout)["absent"]
