"""The claims of ``docs/reference/claims.md``: their tests, and which of them a run has proved."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLAIMS = ROOT / "docs" / "reference" / "claims.md"
TIERS = ("tests/unit/", "tests/lives/", "tests/integration/", "tests/faults/")
"""What ``make test`` runs the claims' tests of; the other tiers are run by ``.ci/run``."""


@cache
def claims() -> dict[str, tuple[str, ...]]:
    """Each claim's name to its tests, as ``tests/…/test_x.py::test_y``."""
    _, *sections = re.split(r"^## ", CLAIMS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        section.splitlines()[0].strip(): tuple(re.findall(r"^- `(tests/[^`]+)`", section, re.MULTILINE))
        for section in sections
    }


@cache
def claimed_tests() -> frozenset[str]:
    return frozenset(test for tests in claims().values() for test in tests)


@cache
def claimed_files() -> frozenset[str]:
    return frozenset(test.partition("::")[0] for test in claimed_tests())


def test_of(nodeid: str) -> str:
    """A test as claims name it: without its parameters, and without the class that it stands in."""
    path, _, rest = nodeid.partition("::")
    return f"{path}::{rest.partition('[')[0].rpartition('::')[2]}"


def summary(passed: Iterable[str], failed: Iterable[str]) -> str:
    """Say in one line what a run has proved.

    ``passed`` and ``failed`` are tests as ``test_of`` names them. A claim is proved where each of its tests
    in ``TIERS`` has passed. If it has tests in other tiers, too, only ``.ci/run`` proves all of it.
    """
    good = set(passed) - set(failed)
    proved, outer, missing = [], [], []
    for name, tests in claims().items():
        here = [test for test in tests if test.startswith(TIERS)]
        if not all(test in good for test in here):
            missing.append(name)
        elif len(here) < len(tests):
            outer.append(name)
        else:
            proved.append(name)
    words = f"claims: {len(proved)} of {len(claims())} proved"
    if outer:
        words += f"; {len(outer)} whole only by .ci/run ({', '.join(outer)})"
    if missing:
        words += f"; not proved: {', '.join(missing)}"
    return words
