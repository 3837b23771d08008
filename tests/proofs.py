"""How many examples a proof tries: few in `make test`, many in `.ci/run`, as many as its variable says in a long form."""

from __future__ import annotations

import os

FULL = bool(os.environ.get("CDS_PROOFS"))


def examples(variable: str, few: int, many: int) -> int:
    """Return `many` where CDS_PROOFS is set, else `few`; the environment variable `variable` overrides both."""
    return int(os.environ.get(variable, many if FULL else few))
