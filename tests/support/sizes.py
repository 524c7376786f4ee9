"""How large tests are, small in ``make test`` and as large as promised in ``make test-long``; their dice."""

import os
import random
from typing import TypeVar

import pytest

T = TypeVar("T")

LONG = os.environ.get("DINGBRIDGE_LONG") == "1"
"""Set by ``make test-long``; read here alone."""


def sized(small: T, long: T) -> T:
    """``small`` in ``make test``, ``long`` in ``make test-long``."""
    return long if LONG else small


def new_seed() -> int:
    """For a test's dice, to be printed with what they find. Only ``make test-long`` throws them."""
    return random.randrange(1 << 32) if LONG else 1


on_one_database = pytest.mark.parametrize(
    "database_url", sized(["postgres"], ["sqlite", "postgres"]), indirect=True
)
"""For what is built upon the library, and what a database has no part in; the rest is on both each time."""
