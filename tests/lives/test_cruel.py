"""Each cruelty of the simulator's table in a life of address-sync: what DingTalk had all the time is never
removed, and when the cruelty ends the tables equal the company, without a command."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from tests.lives.acts import ACTS
from tests.lives.holds import must_hold, plan_must_hold
from tests.lives.life import APART_S, RESYNCED, Plan, Step, from_environment, lived
from tests.lives.world import TOGETHER, Clocks
from tests.support.sizes import sized

STEPS = 8
CRUEL = [name for name, act in ACTS.items() if act.part == "cruel"]
PAIRS = [
    ("half_json", "no_such_user_for_a_minute", TOGETHER),
    ("late_4_s", "a_userid_is_given_to_somebody_else", Clocks(receipt_s=-APART_S)),
    ("one_fails", "html", TOGETHER),
    ("late_8_min", "pages_repeat", Clocks(dingtalk_s=APART_S)),
    ("no_such_user", "no_result", TOGETHER),
    ("pages_without_list", "short_tokens", Clocks(broker_s=APART_S)),
    ("moved_while_read", "half_json", Clocks(-APART_S, APART_S)),
    ("fields_hidden", "pages_never_end", TOGETHER),
]
DRAWN = from_environment(sized([3], range(1, 301)))
"""Seeds of whole lives, with one cruelty or three."""

ALL = [(*pair, clocks) for pair in combinations(CRUEL, 2) for clocks in (TOGETHER, Clocks(APART_S, -APART_S))]


def plan_of(first: str, second: str, clocks: Clocks = TOGETHER) -> Plan:
    """A short life of people and departments, into which both cruelties come."""
    life = Plan.of("contacts", 1, profile="kind")
    own = [step for step in life.steps if ACTS[step.what].part == "contacts" and step.what != RESYNCED]
    steps = own[:STEPS]
    steps[2:2] = [Step(5.0, first, 1)]
    steps[6:6] = [Step(5.0, second, 2)]
    return replace(life, kind="cruel", steps=tuple(steps), stubborn=False, max_leavers="2", clocks=clocks)


@pytest.mark.parametrize(("first", "second", "clocks"), sized(PAIRS, ALL, quick=PAIRS[:3]))
def test_a_cruel_life_ends_well(first: str, second: str, clocks: Clocks, tmp_path: Path) -> None:
    plan_must_hold(plan_of(first, second, clocks), lived, tmp_path)


@pytest.mark.parametrize("seed", DRAWN)
def test_a_life_with_drawn_cruelties_ends_well(seed: int, tmp_path: Path) -> None:
    must_hold("cruel", seed, tmp_path)
