"""The cache of machine code: kept, found again, never trusted when damaged, never needed."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinylm.kernels import jit

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


@pytest.mark.skipif(jit.fcntl is None, reason="no locks between processes here")
def test_of_processes_that_want_the_same_kernel_one_compiles_it(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"TINYLM_CACHE_DIR": str(tmp_path)}
    # Both wait for the test before they ask for the kernel.
    both = [subprocess.Popen([sys.executable, "-c", USE.replace("told = []", "told = []; print(); input()", 1)],
                             env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            for _ in range(2)]
    for process in both:
        process.stdout.readline()
    for process in both:
        process.stdin.write("\n")
    answers = sorted(process.communicate()[0].strip() for process in both)
    assert answers == [f"{DONE} ['rows.add_in_order']", f"{DONE} []"]


def test_a_process_that_fails_to_compile_lets_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path)
    with pytest.raises(ZeroDivisionError), jit._alone("a.b"):
        with jit._alone("a.b"), jit._alone("a.c"):  # its parts have its name
            pass
        _ = 1 / 0
    with jit._alone("a.b"):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.b.lock", "a.c.lock"]


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
    before = jit._digest()
    assert before == jit._digest()
    changed = tmp_path / "extra.py"
    changed.write_text("pass")
    monkeypatch.setattr(jit, "_sources", lambda real=jit._sources: [*real(), changed])
    assert jit._digest() != before
