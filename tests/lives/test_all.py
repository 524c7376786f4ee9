"""All three consumers beside each other, on one company. ``outage``: with a day without DingTalk."""

from pathlib import Path

import pytest

from tests.lives.holds import must_hold
from tests.lives.life import from_environment
from tests.support.sizes import sized

SEEDS = sized(range(1, 3), range(1, 121), quick=range(2, 3))


@pytest.mark.parametrize("outage", sized((False, True), (False, True), quick=(True,)))
@pytest.mark.parametrize("seed", from_environment(SEEDS))
def test_a_life_ends_well(seed: int, outage: bool, tmp_path: Path) -> None:
    must_hold("all", seed, tmp_path, long_outage=outage)
