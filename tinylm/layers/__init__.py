"""Blocks built from operations; parameters are declared here."""
from .base import Layer, Pass, Tape
from .basic import Embedding, Head, LayerNorm, Linear, Residual
from .parameters import Parameter, Parameters
from .transformer import Attention, Block, FeedForward

__all__ = ["Attention", "Block", "Embedding", "FeedForward", "Head", "Layer", "LayerNorm", "Linear",
           "Parameter", "Parameters", "Pass", "Residual", "Tape"]
