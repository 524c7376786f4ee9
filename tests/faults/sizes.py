"""How large the fault tests are: small in ``make test``, as large as promised in ``make test-long``."""

import os
from typing import TypeVar

T = TypeVar("T")

LONG = os.environ.get("DINGBRIDGE_LONG") == "1"
"""Set by ``make test-long``; read here alone."""


def sized(small: T, long: T) -> T:
    """``small`` in ``make test``, ``long`` in ``make test-long``."""
    return long if LONG else small
