"""tinylm's models in PyTorch, as an engineer who wants them fast would write them; no code of tinylm runs in them.

Modules carry tinylm's names, so that weights and gradients can be compared one by one (`tinylm_name`).
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-5


def build(family: str, config) -> nn.Module:
    """The model of a `GPTConfig` or `ThunderboltConfig`."""
    return {"gpt": GPT, "thunderbolt": Thunderbolt}[family](config)


# -- the character GPT ------------------------------------------------------------------------------

class Embedding(nn.Module):
    def __init__(self, vocab, positions, channels):
        super().__init__()
        self.tokens = nn.Embedding(vocab, channels)
        self.positions = nn.Embedding(positions, channels)

    def forward(self, tokens):
        return self.tokens(tokens) + self.positions.weight[:tokens.shape[1]]


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.dropout = c.heads, c.dropout
        self.qkv = nn.Linear(c.channels, 3 * c.channels, bias=c.qkv_bias)
        self.proj = nn.Linear(c.channels, c.channels, bias=c.proj_bias)

    def forward(self, inp):
        B, T, C = inp.shape
        query, key, value = self.qkv(inp).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True,
                                             dropout_p=self.dropout if self.training else 0.0)
        return self.proj(out.transpose(1, 2).reshape(B, T, C))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden = c.hidden or 4 * c.channels
        self.up = nn.Linear(c.channels, hidden, bias=c.ffn_bias)
        self.down = nn.Linear(hidden, c.channels, bias=c.ffn_bias)
        self.gelu = c.activation == "gelu"

    def forward(self, inp):
        hidden = self.up(inp)
        return self.down(F.gelu(hidden, approximate="tanh") if self.gelu else F.relu(hidden))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1 = nn.LayerNorm(c.channels, EPS, bias=c.norm_bias)
        self.attention = Attention(c)
        self.norm2 = nn.LayerNorm(c.channels, EPS, bias=c.norm_bias)
        self.ffn = FeedForward(c)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, inp):
        middle = inp + self.dropout(self.attention(self.norm1(inp)))
        return middle + self.dropout(self.ffn(self.norm2(middle)))


class GPT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embedding = Embedding(c.vocab, c.context, c.channels)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.channels, EPS, bias=c.norm_bias)
        self.head = nn.Linear(c.channels, c.vocab, bias=c.head_bias)
        if c.tied_head:
            self.head.weight = self.embedding.tokens.weight

    def logits(self, tokens):
        out = self.embedding(tokens)
        for block in self.blocks:
            out = block(out)
        return self.head(self.norm(out))

    def forward(self, tokens, targets):
        """The mean loss in nats."""
        return F.cross_entropy(self.logits(tokens).flatten(0, 1), targets.flatten())


# -- Thunderbolt ------------------------------------------------------------------------------------

class StraightThrough(torch.autograd.Function):
    """`rounded` in the forward pass; the gradient goes to `exact` as if nothing had been rounded.

    What exact + (rounded - exact).detach() says, with fewer passes over memory.
    """

    @staticmethod
    def forward(ctx, exact, rounded):
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class BitLinear(nn.Module):
    """Weights of -1, 0, 1 times their mean magnitude; inputs of 8 bits a token, or as they are."""

    def __init__(self, k, m, activation_bits):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(m, k))
        self.activation_bits, self.frozen = activation_bits, False

    @torch.no_grad()
    def rounded_weight(self):
        scale = self.weight.abs().mean().clamp(min=1e-5)
        return (self.weight / scale).round_().clamp_(-1, 1).mul_(scale)

    @torch.no_grad()
    def rounded_input(self, inp):
        scale = inp.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
        return (inp / scale).round_().mul_(scale)

    def freeze(self):
        """For inference: round the weights once and for all."""
        self.weight.data, self.frozen = self.rounded_weight(), True

    def forward(self, inp):
        weight = self.weight if self.frozen else StraightThrough.apply(self.weight, self.rounded_weight())
        if self.activation_bits:
            inp = StraightThrough.apply(inp, self.rounded_input(inp))
        return F.linear(inp, weight)


class TokenShift(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(channels))

    def forward(self, inp, before):
        """before   the input of the token before, (B, C), or None at the start of a text"""
        first = torch.zeros_like(inp[:, :1]) if before is None else before[:, None]
        earlier = torch.cat([first, inp[:, :-1]], 1)
        return torch.lerp(earlier, inp, torch.sigmoid(self.mix))


# One fused call for each position, forward and backward, and no graph of them: of the ways tried this is the
# fastest (README.md).  As operators of their own they are left whole by torch.compile, which would unroll them.
@torch.library.custom_op("peers::scan", mutates_args=())
def scan(forget: torch.Tensor, new: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """h_t = forget_t h_{t-1} + new_t.   Shapes    (B, T, C), (B, T, C), (B, C) -> (B, T, C)"""
    out = torch.empty_like(new)
    for f, n, h in zip(forget.unbind(1), new.unbind(1), out.unbind(1)):
        state = torch.addcmul(n, f, state, out=h)
    return out


@torch.library.custom_op("peers::scan_backward", mutates_args=())
def scan_backward(forget: torch.Tensor, dout: torch.Tensor) -> torch.Tensor:
    """g_t = dout_t + forget_{t+1} g_{t+1}.   Shapes    (B, T, C), (B, T, C) -> (B, T, C)"""
    out = torch.empty_like(forget)
    grads = out.unbind(1)
    grads[-1].copy_(dout[:, -1])
    later = grads[-1]
    for f, d, g in zip(reversed(forget.unbind(1)[1:]), reversed(dout.unbind(1)[:-1]), reversed(grads[:-1])):
        later = torch.addcmul(d, f, later, out=g)
    return out


@scan.register_fake
def _(forget, new, state):
    return torch.empty_like(new)


@scan_backward.register_fake
def _(forget, dout):
    return torch.empty_like(forget)


def _keep(ctx, inputs, output):
    forget, _, state = inputs
    ctx.save_for_backward(forget, state, output)


def _differentiate(ctx, dout):
    forget, state, hidden = ctx.saved_tensors
    dnew = scan_backward(forget, dout)
    before = torch.cat([state[:, None], hidden[:, :-1]], 1)
    return dnew * before, dnew, forget[:, 0] * dnew[:, 0]


scan.register_autograd(_differentiate, setup_context=_keep)


class HeadNorm(nn.Module):
    """LayerNorm of each head of each token: a group norm of single tokens."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, inp):
        norm = F.layer_norm(inp.unflatten(-1, (self.heads, -1)), (inp.shape[-1] // self.heads,), eps=EPS)
        return torch.addcmul(self.bias, norm.flatten(-2), self.weight)


class Recurrence(nn.Module):
    def __init__(self, c, lower):
        super().__init__()
        # Numbers in tensors: torch.compile makes one kernel for all layers, instead of one for each bound.
        for name, bound in (("lower", lower), ("rest", 1 - lower)):
            self.register_buffer(name, torch.tensor(bound, dtype=torch.float64), persistent=False)
        for name in ("forget", "value", "output", "proj"):
            setattr(self, name, BitLinear(c.channels, c.channels, c.activation_bits))
        self.forget_bias = nn.Parameter(torch.full((c.channels,), c.gate_bias))
        self.norm = HeadNorm(c.channels, c.heads)

    def forward(self, inp, state):
        """(out, the last hidden state); state (B, C), or None at the start of a text"""
        gate = self.lower + self.rest * torch.sigmoid(self.forget(inp) + self.forget_bias)
        value = self.value(inp).to(gate.dtype)  # the recurrence is not autocast
        if inp.shape[1] == 1 and state is not None:
            hidden = torch.lerp(value, state[:, None], gate)
        else:
            hidden = scan(gate, (1 - gate) * value, torch.zeros_like(value[:, 0]) if state is None else state)
        mixed = torch.sigmoid(self.output(inp)) * hidden
        return self.proj(self.norm(mixed)), hidden[:, -1]


class TernaryFeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden = c.hidden or 3 * c.channels
        self.up = BitLinear(c.channels, hidden, c.activation_bits)
        self.down = BitLinear(hidden, c.channels, c.activation_bits)

    def forward(self, inp):
        return self.down(F.relu(self.up(inp)).square())


class RecurrentBlock(nn.Module):
    def __init__(self, c, lower):
        super().__init__()
        self.norm1, self.shift1 = nn.LayerNorm(c.channels, EPS), TokenShift(c.channels)
        self.mixer = Recurrence(c, lower)
        self.norm2, self.shift2 = nn.LayerNorm(c.channels, EPS), TokenShift(c.channels)
        self.ffn = TernaryFeedForward(c)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, inp, state):
        """(out, state); state: what the two shifts and the recurrence have kept, or three times None"""
        before1, before2, hidden = state
        norm1 = self.norm1(inp)
        mixed, hidden = self.mixer(self.shift1(norm1, before1), hidden)
        middle = inp + self.dropout(mixed)
        norm2 = self.norm2(middle)
        out = middle + self.dropout(self.ffn(self.shift2(norm2, before2)))
        return out, (norm1[:, -1], norm2[:, -1], hidden)


class Thunderbolt(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embedding = nn.Embedding(c.vocab, c.channels)
        self.blocks = nn.ModuleList(RecurrentBlock(c, c.longest * i / max(1, c.layers - 1)) for i in range(c.layers))
        self.norm = nn.LayerNorm(c.channels, EPS)

    def start(self):
        """The state before anything is read."""
        return [(None, None, None)] * len(self.blocks)

    def extend(self, tokens, state):
        """(logits of every position, the state after them): a text may be read in pieces."""
        out, after = self.embedding(tokens).to(self.norm.weight.dtype), []
        for block, kept in zip(self.blocks, state):
            out, kept = block(out, kept)
            after.append(kept)
        return F.linear(self.norm(out), self.embedding.weight), after

    def logits(self, tokens):
        return self.extend(tokens, self.start())[0]

    forward = GPT.forward

    def for_inference(self, dtype: torch.dtype):
        """Round the ternary weights once, and keep all matrices in `dtype`; the rest stays float32."""
        for module in self.modules():
            if isinstance(module, BitLinear):
                module.freeze()
        for weight in self.parameters():
            weight.requires_grad_(False)
            if weight.ndim == 2:
                weight.data = weight.data.to(dtype)
        return self.eval()


# -- the same parameters, the same optimizer --------------------------------------------------------

def tinylm_name(name: str) -> str:
    """What tinylm calls a parameter."""
    if name == "embedding.weight":
        return "embedding.tokens"
    if name.startswith("embedding."):
        return name.removesuffix(".weight")
    return name.replace("forget_bias", "forget.bias")


def load(model: nn.Module, params) -> None:
    """Copy tinylm's parameters (`tinylm.layers.Parameters`) into the model; each of them has one place."""
    own = {tinylm_name(name): value for name, value in model.named_parameters()}
    theirs = dict(params.items())
    if set(own) != set(theirs):
        raise ValueError(f"the models differ in {sorted(set(own) ^ set(theirs))}")
    for name, value in own.items():
        value.data.copy_(torch.from_numpy(theirs[name]))


def optimizer(model: nn.Module, recipe) -> torch.optim.AdamW:
    """AdamW of a tinylm recipe: weight decay on matrices, or on everything where the recipe says so."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay},
              {"params": vectors, "weight_decay": recipe.weight_decay if recipe.decay_all else 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), eps=recipe.eps, fused=True)


def loss_of(model: nn.Module, tokens, targets, bfloat16: bool = False):
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        return model(tokens, targets)


def step(model: nn.Module, optim: torch.optim.AdamW, tokens, targets, clip: float, bfloat16: bool = False):
    """One optimizer step; returns the loss."""
    optim.zero_grad(set_to_none=True)
    loss = loss_of(model, tokens, targets, bfloat16)
    loss.backward()
    if clip:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optim.step()
    return loss.detach()
