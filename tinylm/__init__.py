"""tinylm: small language models for the CPU, written to be read.

Every operation has a NumPy definition (`tinylm.ops`) and a fast twin (`tinylm.kernels`) that is
proved equal to it.  CONTRIBUTING.md shows the rooms of the house and what may import what.
"""

__version__ = "0.1.0"
