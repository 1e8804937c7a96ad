"""How many threads: what is asked for, what there is, and that BLAS and numba follow."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from tinylm import threads
from tinylm.errors import UsageError


@pytest.mark.parametrize("count", [0, -3])
def test_fewer_than_one_thread_is_refused(count):
    with pytest.raises(UsageError, match=f"--cpu-threads {count}: at least 1"):
        threads.resolve(count)


def test_more_than_the_machine_has_is_what_it_has_with_a_note(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 2)
    assert threads.resolve(None) == (2, None)
    assert threads.resolve(1) == (1, None)
    count, note = threads.resolve(32)
    assert count == 2
    assert "--cpu-threads 32" in note and "2 processors" in note


def test_a_block_with_other_threads_puts_the_number_back_even_after_an_error():
    before = numba.get_num_threads()
    with pytest.raises(RuntimeError), threads.cpu_threads(1):
        assert numba.get_num_threads() == 1
        raise RuntimeError
    assert numba.get_num_threads() == before


def run(code: str, **environment) -> list[str]:
    kept = {k: v for k, v in os.environ.items() if "THREADS" not in k and not k.startswith(("GOMP", "OMP"))}
    done = subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True,
                          check=True)
    return done.stdout.split()


PREPARE = "from tinylm import threads; threads.prepare(1); import numba, numpy, os, threadpoolctl; "


def test_prepared_before_the_imports_numba_and_blas_have_one_thread():
    assert run(PREPARE + "print(numba.config.NUMBA_NUM_THREADS, "
               "*[p['num_threads'] for p in threadpoolctl.threadpool_info()])")[:2] == ["1", "1"]


def test_prepared_after_the_imports_they_have_too():
    assert run("import numba, numpy, threadpoolctl; from tinylm import threads; threads.prepare(1); "
               "print(numba.get_num_threads(), *{p['num_threads'] for p in threadpoolctl.threadpool_info() "
               "if p['user_api'] == 'blas'})") == ["1", "1"]


LEARN = """
import os
from tinylm import threads
threads.available = lambda: 3
threads.prepare({count})
from tinylm.text.tokenizer import bpe_tokenizer
before = len(os.listdir("/proc/self/task"))
tokenizer = bpe_tokenizer(["one two three four " * 50] * 50, 270)
tokenizer.encode_all(["one two three"] * 50)
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize("count", [1, 3])
def test_the_tokenizers_library_starts_as_many_threads_as_asked_for(count):
    assert run(LEARN.format(count=count)) == [str(count)]


def test_waiting_threads_give_way_unless_the_user_says_otherwise():
    show = PREPARE + "print(os.environ.get('GOMP_SPINCOUNT'))"
    assert run(show) == ["3000"]
    assert run(show, GOMP_SPINCOUNT="7") == ["7"]
    assert run(show, OMP_WAIT_POLICY="active") == ["None"]
