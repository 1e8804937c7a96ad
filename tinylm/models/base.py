"""What every model here is: an embedding, blocks, a norm and a head, one after the other."""
from __future__ import annotations

from ..layers import Layer


class LanguageModel(Layer):
    """tokens -> embedding -> blocks -> norm -> head.

    A family sets `embedding`, `blocks`, `norm` and `head`, and says how it streams (`start`, `extend`).
    """

    def children(self):
        return [self.embedding, *self.blocks, self.norm, self.head]

    def _hidden(self, tokens, run, *state):
        """What enters the head.  `state`, if any, is handed to each block."""
        out = self.embedding.forward(tokens, run)                                   # (B, T) -> (B, T, C)
        for block in self.blocks:
            out = block.forward(out, run, *state)                                   # (B, T, C)
        return self.norm.forward(out, run)                                          # (B, T, C)

    def forward(self, tokens, targets, run):
        """Losses in nats of each target given the tokens up to its own position.

        Shapes    tokens, targets (B, T) int32 -> losses (B*T,)
        """
        return self.head.forward(self._hidden(tokens, run), targets, run)

    def backward(self, dlosses, run):
        """Add the gradient of sum(dlosses * losses) to run.g.   Shapes    dlosses (B*T,)"""
        dout = self.norm.backward(self.head.backward(dlosses, run), run)
        for block in reversed(self.blocks):
            dout = block.backward(dout, run)
        self.embedding.backward(dout, run)

    def logits(self, tokens, run):
        """Scores of the next token at every position.   Shapes    (B, T) -> (B, T, V)"""
        return self.head.logits(self._hidden(tokens, run), run)
