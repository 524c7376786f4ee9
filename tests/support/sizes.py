"""How large tests are in ``make test``, ``make test-all`` and ``make test-long``, and their dice."""

import os
import random
from typing import TypeVar

import pytest

T = TypeVar("T")

LONG = os.environ.get("DINGBRIDGE_LONG") == "1"
"""Set by ``make test-long``; read here alone."""


QUICK = os.environ.get("DINGBRIDGE_QUICK") == "1"
"""Set by ``make test``."""


def sized(small: T, long: T, *, quick: T | None = None) -> T:
    """``long`` in ``make test-long``, ``quick`` in ``make test`` where it is named, else ``small``."""
    if QUICK and quick is not None:
        return quick
    return long if LONG else small


def new_seed() -> int:
    """For a test's dice, to be printed with what they find. Only ``make test-long`` throws them."""
    return random.randrange(1 << 32) if LONG else 1


on_one_database = pytest.mark.parametrize(
    "database_url", sized(["postgres"], ["sqlite", "postgres"]), indirect=True
)
"""For what is built upon the library, and what a database has no part in; the rest is on both each time."""
