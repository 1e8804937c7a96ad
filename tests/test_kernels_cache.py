"""The cache of machine code: kept, found again, never trusted when damaged, never needed."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# One small kernel is enough: it is compiled in well under a second.
USE = """
import numpy as np
from tinylm.kernels import jit
from tinylm.kernels.rows import add_in_order
told = []
with jit.compilations_told(told.append):
    out = np.zeros(3, np.float32)
    add_in_order(out, np.ones((4, 3), np.float32))
print(out.tolist(), told)
"""
DONE = "[4.0, 4.0, 4.0]"


def use(cache: Path, **environment) -> tuple[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", USE], env=kept | {"TINYLM_CACHE_DIR": str(cache)} | environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_compiled_once_and_found_again(tmp_path):
    assert use(tmp_path) == (f"{DONE} ['rows.add_in_order']", "")
    assert use(tmp_path) == (f"{DONE} []", "")


@pytest.mark.parametrize("suffix", ["nbc", "nbi"])
@pytest.mark.parametrize("damage", [
    lambda data: data[:len(data) // 2], lambda data: b"", lambda data: b"x" * len(data)], ids=["cut", "empty", "noise"])
def test_damaged_files_cost_a_compilation(tmp_path, suffix, damage):
    use(tmp_path)
    for file in tmp_path.rglob(f"*.{suffix}"):
        file.write_bytes(damage(file.read_bytes()))
    out, err = use(tmp_path)
    assert out == f"{DONE} ['rows.add_in_order']"
    assert "Traceback" not in err
    assert use(tmp_path)[0] == f"{DONE} []"  # and what was rebuilt is whole


def test_without_a_folder_to_write_to_kernels_still_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert use(tmp_path / "file")[0].startswith(DONE)


def test_another_source_is_another_folder(tmp_path, monkeypatch):
    from tinylm.kernels import jit
    before = jit._digest()
    assert before == jit._digest()
    changed = tmp_path / "extra.py"
    changed.write_text("pass")
    monkeypatch.setattr(jit, "_sources", lambda real=jit._sources: [*real(), changed])
    assert jit._digest() != before
