"""Each cruelty of the simulator's table in a life of address-sync: what DingTalk had all the time is never
removed, and when the cruelty ends the tables equal the company, without a command."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.lives.acts import ACTS
from tests.lives.holds import plan_must_hold
from tests.lives.life import Plan, Step, lived

STEPS = 8
LIVES = [(name, 1) for name, act in ACTS.items() if act.part == "cruel" and name != "fields_hidden"]


def plan_of(cruelty: str, seed: int) -> Plan:
    """A short life of people and departments, into which the cruelty comes twice."""
    life = Plan.of("contacts", seed, profile="kind")
    steps = [step for step in life.steps if ACTS[step.what].part == "contacts"][:STEPS]
    steps[2:2] = [Step(5.0, cruelty, seed)]
    steps[6:6] = [Step(5.0, cruelty, seed + 1)]
    return replace(life, kind="cruel", steps=tuple(steps), stubborn=False)


@pytest.mark.parametrize(("cruelty", "seed"), LIVES)
def test_a_cruel_life_ends_well(cruelty: str, seed: int, tmp_path: Path) -> None:
    plan_must_hold(plan_of(cruelty, seed), lived, tmp_path)
