"""Checks that can be asked of any model: gradients, causality, streaming, kernels, threads, units.

For the tests, the class and the command line alike.  A check answers with a `Check`; its `require`
raises CheckFailed with the name of the first layer or tensor that is wrong.
"""
from .result import Check

__all__ = ["Check"]
