# %% [markdown]
# # 2. Gradients by hand
#
# At the end of this lesson you have the three backward passes that every language model needs (for the loss,
# for a linear map, for an embedding), you can prove them right without trusting anyone's formula, and a
# network that learned by them arrives at the table you counted in lesson 1.
#
# There is no automatic differentiation in tinylm. Every gradient is written out, next to its forward pass, in
# about five lines. This lesson shows how such lines are found and, more important, how they are checked.

# %%
import numpy as np

from tinylm import ops
from tinylm.audit import gradients
from tinylm.classroom import show
from tinylm.text import stories
from tinylm.text.tokenizer import char_tokenizer

rng = np.random.default_rng(0)

# %% [markdown]
# ## A gradient is a slope
#
# Let `L` be the loss, one number, and `x` any array it depends on. `dx` has the shape of `x`, and `dx[i]` says
# by how much `L` changes, per unit, when `x[i]` is moved a little. So anyone can measure it:
#
#     dx[i] ≈ (L(x[i] + h) − L(x[i] − h)) / 2h
#
# This is a **central difference**. It costs two forward passes for every element, so nobody trains with it. But
# it needs no formula, and therefore it can judge one. Take the loss of lesson 1: the cross-entropy
# `−ln softmax(logits)[target]`.

# %%
logits, targets = rng.standard_normal((4, 6)), np.array([0, 5, 2, 2])


def loss(logits):
    losses, _ = ops.cross_entropy_forward(logits, targets)
    return losses.mean()


def measured(f, x, h):
    """The slope of f with respect to each element of x."""
    slope = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        slope[i] = (f(up) - f(down)) / (2 * h)
    return slope


numeric = measured(loss, logits, h=1e-5)
show.heatmap("slopes", numeric, unit="size of d loss / d logit",
             rows=[f"row {n}" for n in range(4)], columns="012345",
             down="row of the batch", across="symbol")

# %% [markdown]
# ## The formula
#
# For one row, `loss = ln(sum over v of exp(logit[v])) − logit[target]`. The first part has the slope
# `exp(logit[v]) / sum`, which is the probability `prob[v]`. The second has the slope −1 at the target. Together:
#
#     dlogit[v] = prob[v] − (1 if v is the target, else 0)
#
# What was predicted minus what came. The mean over N rows divides by N, and that factor does not belong to
# cross-entropy but to the mean. So each backward function gets what the steps after it made of the slope, the
# **upstream gradient**, and multiplies by it. In tinylm: `cross_entropy_backward(dlosses, cache)`.

# %%
losses, cache = ops.cross_entropy_forward(logits, targets)
dlosses = np.full(len(losses), 1 / len(losses))      # slope of the mean
(analytic,) = ops.cross_entropy_backward(dlosses, cache)

gap = np.abs(numeric - analytic).max()
print(f"largest difference between measured and computed: {gap:.1e}")
assert gap < 1e-9
print("row sums of the gradient:", np.abs(analytic.sum(1)).max())
assert np.allclose(analytic.sum(1), 0)

# %% [markdown]
# The rows sum to zero, and they must: raising all logits of a row by one changes no probability, hence no loss.
#
# Measured against computed, one point for each of the 24 slopes. Right formulas lie on the diagonal.

# %%
figure, axes = show.blank((4.2, 4.0))
ends = [numeric.min(), numeric.max()]
axes.plot(ends, ends, color="#999999", linewidth=1)
axes.plot(numeric.ravel(), analytic.ravel(), "o", markersize=5)
axes.set_xlabel("measured slope, nats per unit of logit")
axes.set_ylabel("computed slope")
show.figure("measured-against-computed", figure)

# %% [markdown]
# ## How small a step?
#
# A large step bends: the curve is not a line. A small step drowns in rounding: `L(x + h)` and `L(x − h)` agree in
# nearly all digits, and their difference keeps the few that are left. With 16 digits (float64) there is a good
# place between. With 7 (float32) there is hardly one, which is why gradient checks use float64.

# %%
powers = np.arange(-12, 0)


def errors(dtype):
    found = []
    for power in powers:
        numeric = measured(loss, logits.astype(dtype), dtype(10.0 ** power))
        found.append(np.log10(np.abs(numeric - analytic).max() + 1e-30))
    return found


double, single = errors(np.float64), errors(np.float32)
show.lines("step-size", {"float64": (powers, double),
                         "float32": (powers, single)},
           x="log10(step)", y="log10(largest error)")
print(f"best: float64 1e{min(double):.1f}, float32 1e{min(single):.1f}")
assert min(double) < -9 < min(single)
assert -7 <= powers[np.argmin(double)] <= -4

# %% [markdown]
# ## A linear map
#
# `out = inp weight^T + bias`, for `inp` (N, K) and `weight` (M, K). One output is
#
#     out[n, m] = sum over k of inp[n, k] weight[m, k] + bias[m]
#
# A product hands its slope to each factor, multiplied by the other one. And whatever was used several times
# collects from each use: `inp[n, k]` is used by all m, `weight[m, k]` and `bias[m]` by all n.
#
#     dinp[n, k]    = sum over m of dout[n, m] weight[m, k]
#     dweight[m, k] = sum over n of dout[n, m] inp[n, k]
#     dbias[m]      = sum over n of dout[n, m]
#
# These sums are matrix products again, and the shapes leave only one way to write each: exercise 2.2.

# %%
inp, weight, bias = (rng.standard_normal(s) for s in ((5, 3), (4, 3), 4))
out, cache = ops.linear_forward(inp, weight, bias)
dout = rng.standard_normal(out.shape)
dinp, dweight, dbias = ops.linear_backward(dout, cache)


def weighted(weight):
    return (ops.linear_forward(inp, weight, bias)[0] * dout).sum()


gap = np.abs(measured(weighted, weight, 1e-5) - dweight).max()
print(f"dweight, measured against computed: {gap:.1e}")
assert gap < 1e-8

# %% [markdown]
# ## An embedding
#
# `out[n] = weight[tokens[n]]` copies rows. Backwards, each copy brings its slope home, and a row that was copied
# twice gets both. Copying backwards is adding: **gather forward, scatter-add backward**.
#
# It is the place where `dweight[tokens] += dout` looks right and is wrong.

# %%
tokens, table = np.array([[2, 0, 2, 2]]), rng.standard_normal((3, 2))
out, cache = ops.embedding_forward(tokens, table)
dout = np.ones(out.shape)
dtable, _ = ops.embedding_backward(dout, cache)

tempting = np.zeros_like(table)
tempting[tokens] += dout
show.table(["symbol", "occurs", "slope", "with +="],
           [[v, int((tokens == v).sum()), dtable[v, 0], tempting[v, 0]]
            for v in range(3)])
assert dtable[2, 0] == 3 and tempting[2, 0] == 1

# %% [markdown]
# ## A check that cannot be charmed
#
# Element by element is slow for big arrays. One random direction `u` tests them all at once, for two forward
# passes: the slope of `L` along `u` must be `sum(dx * u)`. If a single element is wrong, a random direction will
# show it. This is what `tinylm.audit.gradients` does, on every operation and model of the project, in float64.
#
# It also uses a **random upstream gradient**. Here is why. A softmax whose backward pass returns zeros:

# %%
def softmax(score):
    exp = np.exp(score - score.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True), score


def zeros(dout, score):
    return (np.zeros_like(score),)


point = {"score": rng.standard_normal((3, 5))}
ones = gradients.operation(softmax, zeros, point, rng,
                           dout=np.ones((3, 5)))
random = gradients.operation(softmax, zeros, point, rng)
for name, report in [("of ones", ones), ("random", random)]:
    verdict = "passes" if report.ok else "fails"
    print(f"zero gradient, upstream {name}: {verdict}")
assert ones.ok and not random.ok

# %% [markdown]
# With an upstream of ones, `L` is the sum of the probabilities, which is always 1 for each row. Its slope really is
# zero, and a backward pass that does nothing looks right. The checks of your exercises use random upstreams.
#
# What a real slip looks like in this check: the linear map, with the input gradient taken as it comes and
# `dweight` divided by the number of rows, "because it is a mean":

# %%
def averaged(dout, cache):
    dinp, dweight, dbias = ops.linear_backward(dout, cache)
    return dinp, dweight / len(dout), dbias


report = gradients.operation(
    ops.linear_forward, averaged,
    {"inp": inp, "weight": weight, "bias": bias}, rng)
show.table(["gradient", "error / tolerance", "verdict"],
           [[f"d{t.name}", t.worst, t.cause or "ok"]
            for t in report.tensors])
assert [t.ok for t in report.tensors] == [True, False, True]

# %% [markdown]
# ## A neural bigram
#
# Now the three together learn something whose answer we know. The model: row `i` of a table `logits` (V, V) holds
# the logits of what follows symbol `i`. Forward: look the row up (an embedding), take the cross-entropy. Backward:
# the same in reverse. Then move against the slope, again and again: **gradient descent**.
#
# For this text no table can do better than the counted frequencies: they minimise the training loss. So we know
# where it must arrive, and below which line it must never come.

# %%
text = "\n".join(t for t, _ in stories.generate(12, seed=2))
tokenizer = char_tokenizer(text, end_of_text=False)
V, ids = tokenizer.vocab_size, tokenizer.encode(text)[:4001]
this, following = ids[None, :-1], ids[1:]

counts = np.zeros((V, V))
np.add.at(counts, (ids[:-1], ids[1:]), 1)
counted = counts / np.maximum(counts.sum(1, keepdims=True), 1)
best = -np.log(counted[ids[:-1], ids[1:]]).mean()
print(f"V = {V}, {len(following):,} predictions")
print(f"loss of the counted table: {best:.4f} nats/token")

# %%
def step(table, rate):
    """One step of gradient descent, in place; returns the loss before."""
    rows, looked_up = ops.embedding_forward(this, table)
    losses, cache = ops.cross_entropy_forward(rows[0], following)
    dlosses = np.full(len(losses), 1 / len(losses))
    (drows,) = ops.cross_entropy_backward(dlosses, cache)
    dtable, _ = ops.embedding_backward(drows[None], looked_up)
    table -= rate * dtable
    return losses.mean()


STEPS = show.choose(300, full=3000, brief=120)
table = np.zeros((V, V))
curve = [step(table, rate=20.0) for _ in range(STEPS)]
show.lines("neural-bigram", {"learned": (np.arange(STEPS), curve)},
           x="step", y="nats/token", level=(best, "counted"))
print(f"start {curve[0]:.4f} = ln V = {np.log(V):.4f}; "
      f"end {curve[-1]:.4f}; counted {best:.4f}")
assert np.isclose(curve[0], np.log(V))
assert best < curve[-1] < best + 0.2, "it ends near, and never below"

# %% [markdown]
# It comes down towards the line of the counted table and does not cross it. How close is each row? Common symbols
# are learned first: the slope of a row is as large as its symbol is frequent.

# %%
learned, _ = softmax(table)
often = np.argsort(-counts.sum(1))
distance = np.abs(learned - counted).max(1)
show.table(["symbol", "occurs", "largest gap, learned to counted"],
           [[repr(tokenizer.decode([int(v)])), int(counts[v].sum()),
             distance[v]] for v in often[[0, 1, 2, 5, 10, 20, 30, 40]]])
assert distance[often[0]] < min(0.02, distance[often[40]])

# %% [markdown]
# ## Fewer numbers
#
# A table of V × V logits does not scale: three characters of memory would need V³ rows. A network shares. Give each
# symbol a vector of C numbers (embedding), and read logits from it with a linear map. That is V·C + V·C + V
# parameters, and the smallest network with all three of your backward passes in it.

# %%
def train(C, steps, rate=8.0):
    rng = np.random.default_rng(C)
    vectors = 0.3 * rng.standard_normal((V, C))
    weight, bias = 0.3 * rng.standard_normal((V, C)), np.zeros(V)
    for _ in range(steps):
        x, looked_up = ops.embedding_forward(this, vectors)
        logits, mapped = ops.linear_forward(x[0], weight, bias)
        losses, cache = ops.cross_entropy_forward(logits, following)
        dlosses = np.full(len(losses), 1 / len(losses))
        (dlogits,) = ops.cross_entropy_backward(dlosses, cache)
        dx, dweight, dbias = ops.linear_backward(dlogits, mapped)
        dvectors, _ = ops.embedding_backward(dx[None], looked_up)
        vectors -= rate * dvectors
        weight -= rate * dweight
        bias -= rate * dbias
    return losses.mean(), vectors.size + weight.size + bias.size


sizes = [1, 2, 4, 8]
found = [train(C, STEPS) for C in sizes]
show.table(["C", "parameters", "nats/token"],
           [[C, n, loss] for C, (loss, n) in zip(sizes, found)]
           + [["table", V * V, curve[-1]], ["counted", V * V, best]])
assert all(loss > best for loss, _ in found), "nothing beats counting"
if show.size() != "brief":
    assert found[-1][0] < found[0][0] < np.log(V)

# %% [markdown]
# ## Exercises
#
# `make check-2` makes `work/02_gradients.py`, with three functions to write. Each check draws its shapes and its
# upstream gradient anew; when one fails, it prints the smallest case that still fails.
#
# - **2.1 `cross_entropy_backward`**: from losses back to logits.
# - **2.2 `linear_backward`**: back to input, weight and bias.
# - **2.3 `embedding_backward`**: back to the rows.
#
# `make hint-2` gives a hint, one at a time.
#
# ## What would fool you here
#
# **A falling loss.** It does not show that the gradient is right. Many wrong gradients still point downhill. Here
# the `+=` slip in the embedding, trained like the right one:

# %%
def wrong_step(table, rate):
    rows, _ = ops.embedding_forward(this, table)
    losses, cache = ops.cross_entropy_forward(rows[0], following)
    dlosses = np.full(len(losses), 1 / len(losses))
    (drows,) = ops.cross_entropy_backward(dlosses, cache)
    dtable = np.zeros_like(table)
    dtable[this[0]] += drows           # one occurrence of each symbol
    table -= rate * dtable
    return losses.mean()


slipped = np.zeros((V, V))
bad = [wrong_step(slipped, rate=400.0) for _ in range(STEPS)]
print(f"wrong gradient: {bad[0]:.3f} -> {min(bad):.3f} nats/token; "
      f"right: {curve[-1]:.3f}")
assert min(bad) < bad[0] - 0.2, "it falls, and a glance would be content"
assert min(bad) > curve[-1] + 0.05

# %% [markdown]
# More that fools people:
#
# - **Checking in float32.** The step-size picture shows it: there, a right gradient and a slightly wrong one cannot
#   be told apart.
# - **An upstream of ones**, as above.
# - **A point where nothing happens.** At initialisation biases are 0 and many gradients are small by accident. Check
#   at random weights, not at zeros.
# - **Kinks.** At the corner of ReLU the slope jumps and central differences measure the mean of both sides. The
#   check must keep away from it, or a right formula looks wrong.
#
# ## Two further questions
#
# 1. A directional check costs two forward passes. Reverse mode costs about as much as a few forward passes and gives
#    all slopes. Why is that possible at all, and what is its price in memory? (Griewank 1989, "On automatic
#    differentiation"; Baydin, Pearlmutter, Radul and Siskind 2018, arXiv:1502.05767, section 3.2)
# 2. The table of logits and the embedding with C = V describe the same models. Do they learn along the same path? Try
#    it, and compare with what is known for linear networks. (Saxe, McClelland and Ganguli 2014, arXiv:1312.6120)
