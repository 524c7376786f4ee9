"""The OA's words hold, nobody else was touched, and each person's change was told once."""

from pathlib import Path

import pytest

from tests.lives.holds import must_hold
from tests.lives.life import USUAL, from_environment
from tests.support.sizes import sized


@pytest.mark.parametrize(
    "seed", from_environment(sized(range(1, 1 + USUAL), range(1, 601), quick=range(2, 3)))
)
def test_a_life_ends_well(seed: int, tmp_path: Path) -> None:
    must_hold("outbound", seed, tmp_path)
