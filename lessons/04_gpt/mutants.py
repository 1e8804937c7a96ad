"""Plausible wrong answers to lesson 4."""
import numpy as np

from tinylm.classroom.mutants import edit, other, wrong


def layernorm_by_the_jacobian(dout, inp, weight, eps):
    dinp, norms = np.zeros(inp.shape), np.zeros(inp.shape)
    C = inp.shape[1]
    for n, row in enumerate(inp):
        rstd = (row.var() + eps) ** -0.5
        norms[n] = (row - row.mean()) * rstd
        jacobian = rstd * (np.eye(C) - 1 / C - np.outer(norms[n], norms[n]) / C)
        dinp[n] = jacobian @ (dout[n] * weight)
    return dinp, np.einsum("nc,nc->c", dout, norms), np.ones(len(dout)) @ dout


def block_in_steps(inp, norm1, attention, norm2, feed_forward):
    stream = inp.copy()
    for norm, branch in ((norm1, attention), (norm2, feed_forward)):
        stream = stream + branch(norm(stream))
    return stream


def block_backward_in_steps(dout, norm1, attention, norm2, feed_forward):
    stream = dout.copy()
    for norm, branch in ((norm2, feed_forward), (norm1, attention)):
        stream = norm(branch(stream)) + stream
    return stream


def adamw_as_in_the_library(param, grad, first, second, step, lr, beta1, beta2, eps, weight_decay):
    first = first + (1 - beta1) * (grad - first)
    second = second + (1 - beta2) * (grad * grad - second)
    scaled = np.sqrt(second / (1 - beta2 ** step)) + eps
    return param - lr * weight_decay * param - lr / (1 - beta1 ** step) * first / scaled, first, second


def adamw_that_counts():
    """Keeps a count of its own and does not look at `step`."""
    from solution import adamw_step
    count = 0

    def step_(param, grad, first, second, step, *settings):
        nonlocal count
        count += 1
        return adamw_step(param, grad, first, second, count, *settings)
    return step_


def adamw_that_remembers():
    """Keeps the moments where it found them last."""
    from solution import adamw_step
    kept = {}

    def step_(param, grad, first, second, *settings):
        first, second = kept.get(param.size, (first, second))
        param, first, second = adamw_step(param, grad, first, second, *settings)
        kept[param.size] = first, second
        return param, first, second
    return step_


_MOVE = "lr * mean / (np.sqrt(square) + eps)"

MUTANTS = [
    edit("layernorm_backward", "the mean of the row is taken for a constant", "dnorm - shift - stretch",
         "dnorm - stretch"),
    edit("layernorm_backward", "rstd is taken for a constant", "dnorm - shift - stretch", "dnorm - shift"),
    edit("layernorm_backward", "both are taken for constants", "dnorm - shift - stretch", "dnorm",
         at="worked case"),
    edit("layernorm_backward", "weight forgotten", "dnorm = dout * weight", "dnorm = dout"),
    edit("layernorm_backward", "rstd forgotten at the end", "rstd * (dnorm", "(dnorm"),
    edit("layernorm_backward", "dweight against the input as it came", "(dout * norm).sum(axis=0)",
         "(dout * inp).sum(axis=0)"),
    edit("layernorm_backward", "dweight and dbias: means over the rows",
         "(dout * norm).sum(axis=0), dout.sum(axis=0)", "(dout * norm).mean(axis=0), dout.mean(axis=0)"),
    edit("layernorm_backward", "dbias: not summed", ", dout.sum(axis=0)", ", dout", at="shapes"),
    edit("layernorm_backward", "statistics over the rows of the batch", "(dnorm * norm).mean(axis=1, keepdims=True)",
         "(dnorm * norm).mean(axis=0)"),
    edit("layernorm_backward", "eps outside the root", "keepdims=True) + eps)", "keepdims=True)) + 1000 * eps"),
    edit("layernorm_backward", "variance with C - 1", "(centred ** 2).mean(axis=1, keepdims=True)",
         "centred.var(axis=1, keepdims=True) * inp.shape[1] / max(inp.shape[1] - 1, 1)"),

    edit("block", "no way around the first branch", "inp + attention(norm1(inp))", "attention(norm1(inp))"),
    edit("block", "no way around the second branch", "return middle + ", "return "),
    edit("block", "the second branch reads the input", "norm2(middle)", "norm2(inp)"),
    edit("block", "the stream is normalised too", "return middle + ", "return norm2(middle) + "),
    edit("block", "post-norm, as in 2017", "inp + attention(norm1(inp))", "norm1(inp + attention(inp))"),
    edit("block", "one norm for both", "norm2(middle)", "norm1(middle)"),
    edit("block", "attention and feed-forward exchanged",
         "attention(norm1(inp))\n    return middle + feed_forward(norm2(middle))",
         "feed_forward(norm1(inp))\n    return middle + attention(norm2(middle))"),
    edit("block", "the input is added at the end", "return middle + ", "return inp + "),
    edit("block", "the last position only", "return middle + feed_forward(norm2(middle))",
         "return (middle + feed_forward(norm2(middle)))[-1]", at="shapes"),

    edit("block_backward", "no slope around the second branch", "dout + norm2", "norm2"),
    edit("block_backward", "no slope around the first branch", "return dmiddle + ", "return "),
    edit("block_backward", "the stream's slope is dout for both", "return dmiddle + ", "return dout + "),
    edit("block_backward", "the norm goes back before its branch", "norm2(feed_forward(dout))",
         "feed_forward(norm2(dout))"),
    edit("block_backward", "the first branch gets dout", "attention(dmiddle)", "attention(dout)"),
    edit("block_backward", "in the order of the forward pass",
         "dout + norm2(feed_forward(dout))\n    return dmiddle + norm1(attention(dmiddle))",
         "dout + norm1(attention(dout))\n    return dmiddle + norm2(feed_forward(dmiddle))"),
    edit("block_backward", "computed twice", "return dmiddle +", "return dout + norm2(feed_forward(dout)) +"),
    edit("block_backward", "the slope at both ends", "return dmiddle + norm1(attention(dmiddle))",
         "return dmiddle + norm1(attention(dmiddle)), dmiddle", at="shapes"),
    wrong("block_backward", "everything once more", lambda dout, a, b, c, d: 2 * dout + c(d(dout)) + a(b(dout))),

    edit("adamw_step", "no correction of the mean", "first / (1 - beta1 ** step)", "first", at="worked case"),
    edit("adamw_step", "no correction of the square", "second / (1 - beta2 ** step)", "second"),
    edit("adamw_step", "neither is corrected",
         "mean = first / (1 - beta1 ** step)\n    square = second / (1 - beta2 ** step)",
         "mean, square = first, second", at="worked case"),
    edit("adamw_step", "the betas exchanged", "(1 - beta1 ** step)", "(1 - beta2 ** step)"),
    edit("adamw_step", "steps counted from 0", "beta1 ** step)", "beta1 ** (step + 1))"),
    edit("adamw_step", "the moments come back corrected", "eps), first, second",
         "eps), mean, square"),
    edit("adamw_step", "the square is of the mean, not of the gradient", "grad ** 2", "first ** 2"),
    edit("adamw_step", "no root", "np.sqrt(square)", "square"),
    edit("adamw_step", "decay without the rate", "1 - lr * weight_decay", "1 - weight_decay"),
    edit("adamw_step", "decay goes into the gradient, as in Adam with L2",
         "first = beta1 * first", "grad = grad + weight_decay * param\n    first = beta1 * first"),
    edit("adamw_step", "no decay", "param * (1 - lr * weight_decay)", "param"),
    edit("adamw_step", "uphill", "kept - lr", "kept + lr"),
    edit("adamw_step", "the gradient itself, not its mean", "lr * mean", "lr * grad"),
    edit("adamw_step", "eps inside the root", "np.sqrt(square) + eps", "np.sqrt(square + eps)"),
    edit("adamw_step", "the parameters only", f"return kept - {_MOVE}, first, second", f"return kept - {_MOVE}",
         at="shapes"),
    wrong("adamw_step", "counts its steps itself", adamw_that_counts()),
    wrong("adamw_step", "keeps the moments for itself", adamw_that_remembers()),
]

ALTERNATIVES = [
    other("layernorm_backward", "row by row, through the whole Jacobian", layernorm_by_the_jacobian),
    other("block", "a loop over two branches", block_in_steps),
    other("block_backward", "a loop over two branches", block_backward_in_steps),
    other("adamw_step", "moments moved towards the gradient", adamw_as_in_the_library),
]
