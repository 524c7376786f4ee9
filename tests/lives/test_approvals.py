"""The archive and the ledger of leaves hold what is in force, whatever happened."""

from pathlib import Path

import pytest

from tests.lives.holds import must_hold
from tests.lives.life import USUAL, from_environment
from tests.support.sizes import sized


@pytest.mark.parametrize("seed", from_environment(range(1, 1 + sized(USUAL, 600, quick=1))))
def test_a_life_ends_well(seed: int, tmp_path: Path) -> None:
    must_hold("approvals", seed, tmp_path)
