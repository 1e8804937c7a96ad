"""What makes an answer to lesson 11 right.  Models and layers are this side's; answers only call them."""
import numpy as np
from given import HONEST, LEAKY

from tinylm.classroom.checking import check, claim, one_of, same, shaped, whole


# ------------------------------------------------------------------------------------------- 11.1 reads
def scores_of(mixer, V, rng, C=4):
    """A model: an embedding, the mixer, a head; (B, T) -> (B, T, V)."""
    embedding, head = rng.standard_normal((V, C)), rng.standard_normal((C, V))
    return lambda tokens: mixer(embedding[np.asarray(tokens)]) @ head


def _triangle(T, down=0, up=None):
    """s from t - down (all, if None) to t + up."""
    t, s = np.indices((T, T))
    return (s <= t if up is None else s <= t + up) & (s >= t - (T if down is None else down))


# What each may read, known from its construction and not from a run.
MAPS = {
    "norm_over_time": lambda T: np.ones((T, T), bool),
    "planner_summary": lambda T: np.ones((T, T), bool),
    "bidirectional_scan": lambda T: np.ones((T, T), bool),
    "flipped_triangle": lambda T: np.tri(T, dtype=bool).T,
    "chunk_mean": lambda T: np.arange(T)[:, None] // 4 == np.arange(T) // 4,
    "attention": lambda T: np.tri(T, dtype=bool),
    "recurrence": lambda T: np.tri(T, dtype=bool),
    "token_shift": lambda T: _triangle(T, down=1),
    "norm_per_token": lambda T: _triangle(T),
    "chunks_before": lambda T: (np.arange(T)[:, None] // 4 - 1 == np.arange(T) // 4) | np.eye(T, dtype=bool),
}
MUSEUM = LEAKY | HONEST


def _two_texts(rng, B, T, V):
    tokens = rng.integers(0, V, (B, T))
    return tokens, (tokens + rng.integers(1, V, (B, T))) % V


@check("reads", "shapes")
def a_square_of_truth_values(yours):
    """reads gives a row for each position, a column for each position it might read"""
    rng = np.random.default_rng(0)
    found = yours.reads(scores_of(HONEST["recurrence"], 5, rng), *_two_texts(rng, 2, 3, 5))
    shaped(reads=(found, (3, 3), "b"))


@check("reads", "worked case")
def the_token_before(yours):
    """a model whose scores are those of the token before reads one place to the left; the first reads nothing"""
    def model(tokens):
        before = np.concatenate([np.full((len(tokens), 1), -1), tokens[:, :-1]], axis=1)
        return np.eye(4)[before] * (before >= 0)[..., None]

    found = yours.reads(model, np.array([[0, 1, 2]]), np.array([[3, 3, 3]]))
    same(reads=(np.asarray(found).astype(bool), np.eye(3, k=-1, dtype=bool)))


@check("reads", "property", name=one_of(*MUSEUM), T=whole(2, 9), B=whole(1, 2), examples=40, points=3,
       look="row t is who reads, column s is what was replaced; only position s may differ")
def the_map_of_every_exhibit(yours, rng, name, T, B):
    """the map is what the construction of the model says, for all of the museum and any length"""
    found = yours.reads(scores_of(MUSEUM[name], 7, rng), *_two_texts(rng, B, T, 7))
    same(reads=(np.asarray(found).astype(bool), MAPS[name](T)))


@check("reads", "property", T=whole(2, 6), B=whole(2, 4), points=2,
       look="one text may show what the others hide, and one score may move where the others do not")
def a_leak_that_shows_in_one_text_only(yours, rng, T, B):
    """a model that looks ahead only where a text begins with token 0, in one score, and hardly, is seen all the same"""
    tokens, others = _two_texts(rng, B, T, 6)
    where = int(rng.integers(B))
    tokens[:, 0], others[:, 0] = np.maximum(tokens[:, 0], 1), 6
    tokens[where, 0] = 0

    def model(tokens):
        score = np.eye(7)[tokens]
        score[:, :-1, 0] += 1e-6 * (1 + tokens[:, 1:]) * (tokens[:, :1] == 0)
        return score

    want = np.eye(T, dtype=bool) | np.eye(T, k=1, dtype=bool)
    want[:-1, 0] = True                     # whether a text begins with 0 decides what is read later
    same(reads=(np.asarray(yours.reads(model, tokens, others)).astype(bool), want))


# ---------------------------------------------------------------------------------- 11.2 below_the_floor
class Probe:
    """What a mixer gives, and the token itself, through one linear map that learns; its gradient is lesson 2's."""

    def __init__(self, mixer, V, rate=8.0):
        self.mixer, self.V, self.rate = mixer, V, rate
        self.weight, self.bias = np.zeros((V, 2 * V)), np.zeros(V)

    def _prob(self, inputs):
        rows = np.eye(self.V)[np.asarray(inputs)]
        rows = np.concatenate([rows, self.mixer(rows)], axis=-1)
        score = rows @ self.weight.T + self.bias
        exp = np.exp(score - score.max(-1, keepdims=True))
        return rows, exp / exp.sum(-1, keepdims=True)

    def learn(self, inputs, targets):
        rows, prob = self._prob(inputs)
        slope = (prob - np.eye(self.V)[np.asarray(targets)]) / prob[..., 0].size
        self.weight -= self.rate * np.einsum("btv,btc->vc", slope, rows)
        self.bias -= self.rate * slope.sum((0, 1))

    def score(self, inputs, targets):
        _, prob = self._prob(inputs)
        return -np.log(np.take_along_axis(prob, np.asarray(targets)[..., None], -1)[..., 0])


class ByHeart:
    """Counts what followed every beginning of a text: honest, with a perfect memory."""

    def __init__(self, V):
        self.V, self.seen = V, {}

    def learn(self, inputs, targets):
        for text, following in zip(inputs.tolist(), targets.tolist()):
            for t, target in enumerate(following):
                self.seen.setdefault(tuple(text[:t + 1]), np.full(self.V, 0.02))[target] += 1

    def score(self, inputs, targets):
        even = np.ones(self.V)
        found = [[self.seen.get(tuple(text[:t + 1]), even) for t in range(len(text))] for text in inputs.tolist()]
        prob = np.array(found) / np.sum(found, axis=-1, keepdims=True)
        return -np.log(np.take_along_axis(prob, np.asarray(targets)[..., None], -1)[..., 0])


def _verdict(answer):
    claim(isinstance(answer, (tuple, list)) and len(answer) == 3, "below_the_floor should return three things")
    return float(answer[0]), float(answer[1]), bool(answer[2])


def _batches(rng, N, B, T, V):
    return rng.integers(0, V, (N, B, T + 1))


@check("below_the_floor", "shapes")
def two_numbers_and_a_verdict(yours):
    """below_the_floor gives two numbers and a truth value"""
    answer = yours.below_the_floor(lambda i, t: None, lambda i, t: np.ones(t.shape), np.zeros((2, 1, 3), int), 2)
    claim(isinstance(answer, (tuple, list)) and len(answer) == 3, f"{answer!r} was returned, not three things")
    shaped(below=(answer[0], ()), error=(answer[1], ()), accused=(answer[2], (), "b"))


@check("below_the_floor", "worked case")
def losses_of_one_and_three(yours):
    """losses 1, 3, 1, 3 have the mean 2, the deviation 1 and the error 1/2"""
    below, error, accused = _verdict(yours.below_the_floor(
        lambda i, t: None, lambda i, t: np.array([[1.0, 3.0], [1.0, 3.0]]), np.zeros((2, 2, 3), int), 8))
    same(below=(below, np.log(8) - 2), error=(error, 0.5))
    claim(not accused, "accused, for a loss that is 0.2 errors below ln V")


@check("below_the_floor", "definition", N=whole(2, 5), B=whole(1, 3), T=whole(1, 4), points=2,
       look="which batches are for training, which one is judged, and what is the target of a token?")
def learns_from_all_but_the_last(yours, rng, N, B, T):
    """it learns once from each batch but the last, in order, and scores the last; targets are one token further on"""
    batches, calls = _batches(rng, N, B, T, 100), []

    def learn(inputs, targets):
        calls.append(("learn", np.asarray(inputs).tolist(), np.asarray(targets).tolist()))

    def score(inputs, targets):
        calls.append(("score", np.asarray(inputs).tolist(), np.asarray(targets).tolist()))
        return np.full((B, T), 5.0)

    yours.below_the_floor(learn, score, batches, 100)
    want = [("learn" if n < N - 1 else "score", b[:, :-1].tolist(), b[:, 1:].tolist()) for n, b in enumerate(batches)]
    claim([c[0] for c in calls] == [w[0] for w in want],
          f"with {N} batches the calls were: {', '.join(c[0] for c in calls) or 'none'}")
    for n, (call, wanted) in enumerate(zip(calls, want)):
        same(**{f"inputs_of_call_{n}": (call[1], wanted[1]), f"targets_of_call_{n}": (call[2], wanted[2])})


@check("below_the_floor", "property", name=one_of(*LEAKY), examples=10, points=2)
def every_exhibit_is_caught(yours, rng, name):
    """whatever reads the future is accused, once it has learned to use it"""
    probe = Probe(LEAKY[name], 8)
    batches = _batches(rng, 80, 160, 4, 8)
    below, error, accused = _verdict(yours.below_the_floor(probe.learn, probe.score, batches, 8))
    claim(accused, f"{name} was not accused: {below:.3f} nats below ln V, error {error:.3f}")


@check("below_the_floor", "property", name=one_of(*HONEST, "by heart", "no idea"), examples=14, points=2,
       look="what has been learned by heart is no leak; and by chance a mean may lie a little below ln V")
def nobody_honest_is_accused(yours, rng, name):
    """a model that does not read the future is not accused, even with a perfect memory, even by chance"""
    model = Probe(HONEST[name], 4) if name in HONEST else ByHeart(4) if name == "by heart" else None
    if model is None:
        def score(inputs, targets):
            return np.log(4) + 0.3 * rng.standard_normal(targets.shape)
        answer = yours.below_the_floor(lambda i, t: None, score, _batches(rng, 3, 8, 5, 4), 4)
    else:
        answer = yours.below_the_floor(model.learn, model.score, _batches(rng, 40, 24, 6, 4), 4)
    below, error, accused = _verdict(answer)
    claim(not accused, f"{name} was accused: {below:.3f} nats below ln V, error {error:.3f}")


@check("below_the_floor", "property", bad=one_of(float("nan"), float("inf"), float("-inf")), examples=3,
       look="what is `nan > 0`?")
def no_number_is_no_alibi(yours, bad):
    """a model with a loss that is not finite has not shown that it is honest: it is accused"""
    losses = np.full((4, 4), 9.0)
    losses[2, 1] = bad
    answer = yours.below_the_floor(lambda i, t: None, lambda i, t: losses, np.zeros((2, 4, 5), int), 4)
    claim(bool(answer[2]), f"a loss of {bad} was let pass")


@check("below_the_floor", "property", size=whole(30, 60), examples=4,
       look="how small a gap counts depends on how many losses there are")
def many_tokens_show_a_small_leak(yours, rng, size):
    """a leak of a twentieth of a nat is accused where there are tokens enough to be sure"""
    def score(inputs, targets):
        return np.log(8) - 0.05 + 0.1 * rng.standard_normal(targets.shape)
    below, error, accused = _verdict(yours.below_the_floor(
        lambda i, t: None, score, np.zeros((2, size, size + 1), int), 8))
    claim(accused, f"not accused: {below:.3f} nats below ln V, error {error:.4f}")


# --------------------------------------------------------------------------------------- 11.3 first_leak
def _square(x):
    return x + 0.1 * x ** 2


def _first_row_only(x):
    """Throws everything away but the first row: what comes before has no effect on the output any more."""
    return np.zeros_like(x) + x[:1] * 0


def _last_peeks(x):
    """Only the last position but one looks ahead, so only one cut shows it."""
    out = x.copy()
    out[-2:-1] += x[-1:]
    return out


LATE = LEAKY | {"a leak at the end only": _last_peeks}
CHAIN = HONEST | {"square": _square}


def _draw(rng, names, least, most):
    return [str(n) for n in rng.choice(sorted(names), int(rng.integers(least, most + 1)))]


def _inputs(rng, T):
    inp = rng.standard_normal((T, 4))
    return inp, inp + rng.choice([-1, 1], inp.shape) * rng.uniform(0.5, 2, inp.shape)


@check("first_leak", "shapes")
def one_whole_number(yours):
    """first_leak gives one whole number"""
    shaped(first_leak=(yours.first_leak([_square], *_inputs(np.random.default_rng(0), 3)), (), "i"))


@check("first_leak", "worked case")
def the_second_of_three(yours):
    """of a norm for each token, a planner's summary and a recurrence, the summary leaks: index 1"""
    layers = [HONEST["norm_per_token"], LEAKY["planner_summary"], HONEST["recurrence"]]
    same(first_leak=(yours.first_leak(layers, *_inputs(np.random.default_rng(0), 5)), 1))


@check("first_leak", "property", T=whole(1, 9), examples=16,
       look="what should come out when no layer leaks, and when there is only one position?")
def honest_layers_are_not_blamed(yours, rng, T):
    """layers that read nothing later are not blamed, in any order and number"""
    names = _draw(rng, CHAIN, 0, 5)
    got = yours.first_leak([CHAIN[n] for n in names], *_inputs(rng, T))
    claim(int(got) == -1, f"layer {got} was blamed, of {', '.join(names) or 'no layers'} at T = {T}")


@check("first_leak", "property", name=one_of(*LATE), T=whole(2, 9), examples=30, points=3,
       look="for one cut: whose input stood still while its output moved?  And over all cuts: which comes first?")
def the_first_that_leaks_is_named(yours, rng, name, T):
    """the first layer that leaks is named, whatever comes before and after it, later leaks too"""
    before, after = _draw(rng, CHAIN, 0, 3), _draw(rng, MUSEUM | CHAIN, 0, 3)
    layers = [*(CHAIN[n] for n in before), LATE[name], *((MUSEUM | CHAIN)[n] for n in after)]
    got = yours.first_leak(layers, *_inputs(rng, T))
    claim(int(got) == len(before), f"layer {got} was named of {', '.join([*before, name, *after])} at T = {T}")


@check("first_leak", "property", name=one_of(*LEAKY), T=whole(2, 6), examples=8,
       look="a leak is a leak, also where a later layer throws away what leaked")
def a_leak_that_a_later_layer_hides(yours, rng, name, T):
    """a layer that leaks is named even if the layer after it makes all outputs 0"""
    layers = [CHAIN["square"], LEAKY[name], _first_row_only]
    same(first_leak=(yours.first_leak(layers, *_inputs(rng, T)), 1))
