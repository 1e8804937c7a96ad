"""What makes an answer to lesson 8 right.  The oracle writes every output as a sum over all that came before."""
import numpy as np

from tinylm.classroom.checking import check, claim, compare_speed, gradient, same, shaped, whole


def weights(forget):
    """How much of value s is in out t: (T, T + 1), the first column is the state; one sequence, one channel."""
    T = len(forget)
    share = np.zeros((T, T + 1))
    for t in range(T):
        for s in range(-1, t + 1):
            kept = 1.0 if s < 0 else 1 - forget[s]
            for u in range(s + 1, t + 1):
                kept *= forget[u]
            share[t, s + 1] = kept
    return share


def slow_scan(forget, value, state):
    out = np.zeros(value.shape)
    for b in range(value.shape[0]):
        for c in range(value.shape[2]):
            out[b, :, c] = weights(forget[b, :, c]) @ np.append(state[b, c], value[b, :, c])
    return out


def draw(rng, B, T, C):
    """(forget, value, state): gates of all kinds, some of them shut or open altogether."""
    forget = 1 / (1 + np.exp(-3 * rng.standard_normal((B, T, C))))
    kind = rng.random((B, T, C))
    forget[kind < 0.1], forget[kind > 0.9] = 0.0, 1.0
    return forget, rng.standard_normal((B, T, C)), rng.standard_normal((B, C))


SIZE = {"out": 4.0}    # of what is mixed; a mixture may cancel to nearly nothing
BY_HAND = (np.array([[[0.5], [0.5], [1.0], [0.0]]]), np.array([[[8.0], [2.0], [100.0], [7.0]]]), np.array([[4.0]]))
BY_HAND_OUT = np.array([[[6.0], [4.0], [4.0], [7.0]]])


# ----------------------------------------------------------------------------------------- 8.1 scan
@check("scan", "shapes")
def an_output_for_each_step(yours):
    """scan gives an array (B, T, C)"""
    shaped(out=(yours.scan(np.full((2, 3, 4), 0.5), np.ones((2, 3, 4)), np.zeros((2, 4))), (2, 3, 4)))


@check("scan", "worked case")
def four_steps_by_hand(yours):
    """from 4: half and half with 8 is 6, with 2 is 4; gate 1 keeps the 4, gate 0 takes the 7"""
    same(out=(yours.scan(*BY_HAND), BY_HAND_OUT))


@check("scan", "definition", B=whole(1, 3), T=whole(1, 9), C=whole(1, 3), points=2,
       look="which of the two, state or value, the gate multiplies, and which axis is time")
def as_the_sum_over_the_past(yours, rng, B, T, C):
    """out[t] is state times all gates up to t, plus each value[s] times (1 - forget[s]) and all gates after s"""
    given = draw(rng, B, T, C)
    same(out=(yours.scan(*given), slow_scan(*given)), scale=SIZE)


@check("scan", "property", B=whole(1, 3), T=whole(1, 40), C=whole(1, 3))
def a_convex_mixture(yours, rng, B, T, C):
    """an output is a mixture of the state and the values so far: it never lies outside of their range"""
    forget, value, state = draw(rng, B, T, C)
    out = np.asarray(yours.scan(forget, value, state))
    everything = np.concatenate([state[:, None], value], axis=1)
    low, high = (f.accumulate(everything, axis=1)[:, 1:] for f in (np.minimum, np.maximum))
    outside = np.maximum(low - out, out - high).max()
    claim(outside < 1e-9, f"an output lies {outside:.3g} outside of the range of what was mixed")
    ones = np.ones((B, T, C))
    same(out_of_ones=(yours.scan(forget, ones, ones[:, 0]), ones))


@check("scan", "property", T=whole(2, 12), B=whole(1, 3), C=whole(1, 3), look="what is in h before the first step")
def cut_anywhere(yours, rng, T, B, C):
    """a sequence cut in two gives the same, if the second part starts from the last output of the first"""
    forget, value, state = draw(rng, B, T, C)
    at = int(rng.integers(1, T))
    whole_out = np.asarray(yours.scan(forget, value, state))
    first = np.asarray(yours.scan(forget[:, :at], value[:, :at], state))
    second = np.asarray(yours.scan(forget[:, at:], value[:, at:], first[:, -1]))
    same(out=(np.concatenate([first, second], axis=1), whole_out), scale=SIZE)


# --------------------------------------------------------------------------------- 8.2 scan_chunked
@check("scan_chunked", "shapes")
def all_chunks_together(yours):
    """scan_chunked gives one array (B, T, C), also when the last chunk is shorter"""
    shaped(out=(yours.scan_chunked(np.full((2, 7, 4), 0.5), np.ones((2, 7, 4)), np.zeros((2, 4)), 3), (2, 7, 4)))


@check("scan_chunked", "worked case")
def four_steps_in_twos(yours):
    """from 4 with gates 1/2, 1/2, 1, 0 and values 8, 2, 100, 7, in chunks of two: 6, 4, 4, 7"""
    same(out=(yours.scan_chunked(*BY_HAND, 2), BY_HAND_OUT))


@check("scan_chunked", "definition", B=whole(1, 3), T=whole(1, 12), C=whole(1, 3), chunk=whole(1, 13), examples=30,
       points=2, look="which numbers of a round are those of before the round, and what stands where nothing is before")
def equal_for_any_chunk(yours, rng, B, T, C, chunk):
    """the outputs are those of the recurrence, for any length and any chunk"""
    given = draw(rng, B, T, C)
    same(out=(yours.scan_chunked(*given, chunk), slow_scan(*given)), scale=SIZE)


@check("scan_chunked", "property", T=whole(2, 70), chunk=whole(1, 80),
       look="what is handed from chunk to chunk, and from which position")
def chunks_do_not_show(yours, rng, T, chunk):
    """where the chunks begin cannot be seen in the result"""
    given = draw(rng, 2, T, 2)
    same(out=(yours.scan_chunked(*given, chunk), yours.scan_chunked(*given, T)), scale=SIZE)


@check("scan_chunked", "property", T=whole(50, 400), look="a product of many gates, and what divides by it")
def long_and_forgetful(yours, rng, T):
    """gates near 0 make products smaller than any float: a long chunk of them is as exact as a short one"""
    forget = rng.uniform(0, 0.02, (1, T, 2))
    forget[:, rng.integers(0, T, 3)] = 0.0
    value, state = rng.standard_normal((1, T, 2)), rng.standard_normal((1, 2))
    # So forgetful a recurrence has nothing left of what is ten steps old.
    want = np.concatenate([slow_scan(forget[:, max(0, t - 10):t + 1], value[:, max(0, t - 10):t + 1],
                                     state if t <= 10 else 0 * state)[:, -1:] for t in (0, 1, 25, T - 1)], axis=1)
    same(out=(np.asarray(yours.scan_chunked(forget, value, state, T))[:, [0, 1, 25, T - 1]], want), scale=SIZE)


@check("scan_chunked", "property", B=whole(1, 2), T=whole(2, 24), chunk=whole(1, 9))
def no_step_sees_the_future(yours, rng, B, T, chunk):
    """changing gates and values from step t on changes nothing before t, to the bit"""
    forget, value, state = draw(rng, B, T, 2)
    at = int(rng.integers(1, T))
    forget2, value2, _ = draw(rng, B, T, 2)
    forget2[:, :at], value2[:, :at] = forget[:, :at], value[:, :at]
    same(before=(np.asarray(yours.scan_chunked(forget2, value2, state, chunk))[:, :at],
                 np.asarray(yours.scan_chunked(forget, value, state, chunk))[:, :at]), exact=True)


@check("scan_chunked", "speed")
def a_thousand_steps(yours):
    """information only"""
    from tinylm.ops.recurrence import scan_loop

    given = draw(np.random.default_rng(0), 2, 1024, 64)
    return compare_speed(yours, "scan_chunked", (*given, 64), lambda f, v, s, chunk: scan_loop(f, v, s),
                         "a loop over all 1,024 steps")


# -------------------------------------------------------------------------------- 8.3 scan_backward
@check("scan_backward", "shapes")
def like_the_inputs(yours):
    """three gradients, each with the shape of what it belongs to"""
    x, state = np.full((2, 3, 4), 0.5), np.ones((2, 4))
    got = yours.scan_backward(x, x, x, state, slow_scan(x, x, state))
    got = tuple(got) + (None,) * (3 - len(got)) if isinstance(got, (tuple, list)) else (got, None, None)
    shaped(dforget=(got[0], (2, 3, 4)), dvalue=(got[1], (2, 3, 4)), dstate=(got[2], (2, 4)))


@check("scan_backward", "worked case", look="how the first step is felt in the last output")
def two_steps_by_hand(yours):
    """gates 1/2 and 1/4, values 8 and 2, state 4, slope 1 at the last output only: the first step is felt through
    the second gate, so dvalue is 1/8 and 3/4, dstate is 1/8, dforget is -1 and 4"""
    forget, value, state = np.array([[[0.5], [0.25]]]), np.array([[[8.0], [2.0]]]), np.array([[4.0]])
    got = yours.scan_backward(np.array([[[0.0], [1.0]]]), forget, value, state, np.array([[[6.0], [3.0]]]))
    same(dforget=(got[0], np.array([[[-1.0], [4.0]]])), dvalue=(got[1], np.array([[[0.125], [0.75]]])),
         dstate=(got[2], np.array([[0.125]])))


@check("scan_backward", "property", B=whole(1, 3), T=whole(1, 12), C=whole(1, 3))
def nothing_is_lost(yours, rng, B, T, C):
    """raising the state and all values by one raises all outputs by one: dstate and all of dvalue add up to all of
    dout"""
    given = draw(rng, B, T, C)
    dout = rng.standard_normal((B, T, C))
    _, dvalue, dstate = yours.scan_backward(dout, *given, slow_scan(*given))
    same(total=(np.asarray(dvalue).sum(1) + dstate, dout.sum(1)), scale={"total": 3.0 * T})


@check("scan_backward", "property", T=whole(2, 12), B=whole(1, 3), C=whole(1, 3), look="where dstate comes from")
def cut_anywhere_backwards(yours, rng, T, B, C):
    """of a sequence cut in two, the dstate of the second part is one more slope of the last output of the first"""
    forget, value, state = draw(rng, B, T, C)
    out, dout, at = slow_scan(forget, value, state), rng.standard_normal((B, T, C)), int(rng.integers(1, T))
    want = yours.scan_backward(dout, forget, value, state, out)
    late = yours.scan_backward(dout[:, at:], forget[:, at:], value[:, at:], out[:, at - 1], out[:, at:])
    upstream = dout[:, :at].copy()
    upstream[:, -1] += late[2]
    early = yours.scan_backward(upstream, forget[:, :at], value[:, :at], state, out[:, :at])
    same(dforget=(np.concatenate([early[0], late[0]], axis=1), want[0]),
         dvalue=(np.concatenate([early[1], late[1]], axis=1), want[1]), dstate=(early[2], want[2]),
         scale={"dforget": 10.0, "dvalue": 10.0, "dstate": 10.0})


@check("scan_backward", "gradient", B=whole(1, 3), T=whole(1, 7), C=whole(1, 3), examples=12, points=2,
       look="h[t] is used twice: as an output, and in the next step")
def slopes_of_the_outputs(yours, rng, B, T, C):
    """each gradient is the slope of sum(out * dout), whatever dout is"""
    forget, value, state = draw(rng, B, T, C)
    gradient(slow_scan,
             lambda dout, forget, value, state: yours.scan_backward(dout, forget, value, state,
                                                                    slow_scan(forget, value, state)),
             {"forget": forget, "value": value, "state": state}, rng)
