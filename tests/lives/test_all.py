"""Lives of each consumer alone, and of all three beside each other on one company: the tables equal it; the
archive and the ledger of leaves hold what is in force; the words of the OA hold, nobody else was touched, and
each change by a person was told once. ``outage``: with a day without DingTalk."""

from pathlib import Path

import pytest

from tests.lives.holds import must_hold
from tests.lives.life import KINDS, USUAL, from_environment
from tests.support.sizes import sized

EACH = [kind for kind in KINDS if kind not in ("all", "cruel")]
OF_ALL = from_environment(sized(range(1, 3), range(1, 121)))
OF_EACH = from_environment(sized(range(1, 1 + USUAL), range(1, 601)))
LIVES = [("all", seed, outage) for seed in OF_ALL for outage in (False, True)]
LIVES += [(kind, seed, False) for kind in EACH for seed in OF_EACH]
QUICK = [("all", 2, True), ("outbound", 2, False)]


@pytest.mark.parametrize(("kind", "seed", "outage"), sized(LIVES, LIVES, quick=QUICK))
def test_a_life_ends_well(kind: str, seed: int, outage: bool, tmp_path: Path) -> None:
    must_hold(kind, seed, tmp_path, long_outage=outage)
