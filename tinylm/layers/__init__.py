"""Blocks built from operations; parameters are declared here."""
from .base import Cost, Layer, Pass, Tape
from .basic import Embedding, Head, LayerNorm, Linear, Residual
from .parameters import Parameter, Parameters
from .recurrent import BitLinear, HeadNorm, Recurrence, RecurrentBlock, TernaryFeedForward, TokenShift
from .transformer import Attention, Block, FeedForward

__all__ = ["Attention", "BitLinear", "Block", "Cost", "Embedding", "FeedForward", "Head", "HeadNorm", "Layer",
           "LayerNorm", "Linear", "Parameter", "Parameters", "Pass", "Recurrence", "RecurrentBlock", "Residual",
           "Tape", "TernaryFeedForward", "TokenShift"]
