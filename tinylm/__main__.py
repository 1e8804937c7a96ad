"""`python -m tinylm` is the same as `tinylm`."""
from .cli.main import entry

entry()
