"""What was answered ``success`` is in Kafka, in its order, or somebody is told, whatever happened."""

from pathlib import Path

import pytest

from tests.lives.bridge.life import lived, plan_of
from tests.lives.holds import plan_must_hold
from tests.lives.life import from_environment
from tests.support.sizes import sized


@pytest.mark.parametrize("seed", from_environment(sized(range(1, 41), range(1, 2001), quick=range(1, 11))))
def test_a_life_ends_well(seed: int, tmp_path: Path) -> None:
    plan_must_hold(plan_of(seed), lived, tmp_path)
