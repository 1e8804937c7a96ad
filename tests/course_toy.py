"""A course of one lesson with one task, for tests of the machinery: `double(x)` gives 2 x."""
from __future__ import annotations

from pathlib import Path

MANIFEST = """
[[lesson]]
number = 1
folder = "01_double"
title = "Doubling"
minutes = 5
needs = []
builds = "a factor of two"
[[lesson.task]]
name = "double"
title = "twice as much"

[[lesson]]
number = 2
folder = "02_later"
title = "Later"
minutes = 5
needs = [1]
builds = "nothing yet"
"""
EXERCISE = '''"""Exercise."""
import numpy as np


def double(x):
    """out = 2 x, for an array x of any length."""
    raise NotImplementedError("TODO: exercise 1.1")
'''
SOLUTION = '''"""Solution."""


def double(x):
    # twice
    return 2 * x
'''
CHECKS = '''
import numpy as np
from tinylm.classroom.checking import check, claim, gradient, same, shaped, whole


@check("double", "shapes")
def like_the_input(yours):
    """double gives an array like x"""
    shaped(out=(yours.double(np.ones(3)), (3,)))


@check("double", "definition", n=whole(1, 50), points=3, look="the factor")
def twice(yours, rng, n):
    """out[i] = 2 x[i]"""
    x = rng.standard_normal(n)
    same(out=(yours.double(x), np.array([v + v for v in x])))


@check("double", "gradient", n=whole(1, 5))
def linear(yours, rng, n):
    """doubling is its own backward"""
    gradient(lambda x: x + x, lambda dout, x: yours.double(dout), {"x": rng.standard_normal(n)}, rng)
'''
MUTANTS = '''
import numpy as np
from tinylm.classroom.mutants import edit, other, wrong

MUTANTS = [
    edit("double", "thrice", "2 *", "3 *", at="definition"),
    edit("double", "plus two", "2 *", "2 +"),
    edit("double", "a number", "2 * x", "float(2 * x[0])", at="shapes"),
    wrong("double", "only short ones", lambda x: 2 * x if len(x) < 7 else x),
    wrong("double", "zeros", lambda x: np.zeros(len(x))),
]
ALTERNATIVES = [other("double", "added", lambda x: x + x)]
'''
HINTS = 'double = ["how much is it?", "look at the 2", "2 x"]\n'
LESSON = '''# %% [markdown]
# # 1. Doubling
#
# Text with **weight** and `code`.

# %%
from tinylm.classroom import show

show.lines("line", {"two": ([0, 1, 2], [0, 2, 4])}, x="x", y="2 x")
assert 2 * 2 == 4
print("printed", show.choose(1, full=3, brief=2))

# %% [markdown]
# ## What would fool you here
#
# Nothing.

# %%
1 + 1
'''


def make(root: Path, **parts: str) -> Path:
    """Write the course under root; parts="..." replaces a file, such as checks="..."."""
    folder = root / "lessons" / "01_double"
    folder.mkdir(parents=True)
    (root / "lessons" / "manifest.toml").write_text(parts.get("manifest", MANIFEST), "utf-8")
    files = {"exercise.py": EXERCISE, "solution.py": SOLUTION, "checks.py": CHECKS, "mutants.py": MUTANTS,
             "lesson.py": LESSON, "hints.toml": HINTS}
    for name, content in files.items():
        (folder / name).write_text(parts.get(name.split(".")[0], content), "utf-8")
    return root
