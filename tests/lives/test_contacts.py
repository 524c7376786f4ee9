"""address-sync's tables equal the company, whatever happened."""

from pathlib import Path

import pytest

from tests.lives.holds import must_hold
from tests.lives.life import USUAL, from_environment
from tests.support.sizes import sized


@pytest.mark.parametrize(
    "seed", from_environment(sized(range(1, 1 + USUAL), range(1, 601), quick=range(2, 3)))
)
def test_a_life_ends_well(seed: int, tmp_path: Path) -> None:
    must_hold("contacts", seed, tmp_path)
