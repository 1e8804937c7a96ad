"""Blocks built from operations; parameters are declared here."""
from .base import Cost, Layer, Pass, Tape
from .basic import Embedding, Head, LayerNorm, Linear, Residual, RMSNorm
from .parameters import Parameter, Parameters
from .recurrent import BitLinear, GatedConv, HeadNorm, Recurrence, RecurrentBlock, TernaryFeedForward, TokenShift
from .transformer import Attention, Block, FeedForward, GatedFeedForward

__all__ = ["Attention", "BitLinear", "Block", "Cost", "Embedding", "FeedForward", "GatedConv", "GatedFeedForward",
           "Head", "HeadNorm", "Layer", "LayerNorm", "Linear", "Parameter", "Parameters", "Pass", "RMSNorm",
           "Recurrence", "RecurrentBlock", "Residual", "Tape", "TernaryFeedForward", "TokenShift"]
