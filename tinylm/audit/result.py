"""What every check of the audit answers with."""
from __future__ import annotations

from dataclasses import dataclass

from ..errors import CheckFailed


@dataclass(frozen=True)
class Check:
    """One verdict.

    name    what was checked
    ok      whether it holds
    worst   the largest error as a share of the error that is tolerated: above 1 is a failure; a check
            that tolerates nothing gives 0 or infinity
    detail  one line: what was compared, or, when it failed, where it first goes wrong
    """

    name: str
    ok: bool
    worst: float
    detail: str

    def require(self) -> Check:
        """This check, if it holds.  Raises CheckFailed with the detail if it does not."""
        if not self.ok:
            raise CheckFailed(f"{self.name}: {self.detail}")
        return self
