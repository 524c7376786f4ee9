"""All three consumers beside each other, on one company."""

from pathlib import Path

import pytest

from tests.lives.holds import must_hold
from tests.lives.life import from_environment
from tests.support.sizes import sized


@pytest.mark.parametrize("seed", from_environment(range(1, 1 + sized(3, 200, quick=1))))
def test_a_life_ends_well(seed: int, tmp_path: Path) -> None:
    must_hold("all", seed, tmp_path)


@pytest.mark.parametrize("seed", from_environment(range(1, 1 + sized(1, 50))))
def test_a_day_without_dingtalk_ends_well(seed: int, tmp_path: Path) -> None:
    must_hold("all", seed, tmp_path, long_outage=True)
