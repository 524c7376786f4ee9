"""Reads that lag: what they show of a life, whoever lives it, and when they show the present."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge.simulator.company.company import ROOT
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.company.sight import VIEWS, Key, Sight, _state
from dingbridge.simulator.profile import Profile
from dingbridge.simulator.recording import Recording
from tests.support.sizes import sized
from tests.unit.simulator.living import CORP, NOW


class Life:
    """A small company whose reads lag, on a clock that only the test moves."""

    def __init__(self, profile: Profile, seed: int = 5) -> None:
        self.now, self.profile = 0.0, profile
        recording = Recording(seed, 12, 5, CORP, "mixed", 0.0, 0.0, NOW)
        self.platform = Platform(
            seed=seed, users=12, departments=5, corp_id=CORP, clock=lambda: NOW + int(self.now * 1000)
        )
        self.sight = Sight(self.platform, recording, profile, lambda: self.now)

        def step(step: Any, events: Any) -> None:
            self.sight.changed(step, events)
            recording.add(step)

        self.platform.on_step = step

    def entities(self) -> Iterator[Key]:
        yield from (("user", userid) for userid in self.platform.company.users)
        yield from (("department", dept_id) for dept_id in self.platform.company.departments)
        yield from (("approval", approval.instance_id) for approval in self.platform.approvals)

    def present(self, key: Key) -> Any:
        return copy.deepcopy(_state(self.platform, key))


GAPS = st.lists(st.sampled_from([0.0, 0.001, 0.2, 1.0, 4.0, 9.0, 31.0]), min_size=1, max_size=25)


@settings(max_examples=sized(25, 200, quick=10))
@given(GAPS, st.integers(1, 2**32), st.sampled_from([0.3, 1.0]), st.integers(1, 30_000))
def test_a_read_shows_a_state_of_the_last_seconds_never_goes_back_and_ends_at_the_present(
    gaps: list[float], seed: int, share: float, late_ms: int
) -> None:
    life = Life(Profile(late=share, late_ms=late_ms), seed)
    history: dict[Key, list[tuple[float, Any]]] = {k: [(-1e9, life.present(k))] for k in life.entities()}
    seen: dict[tuple[Key, str], float] = {}

    def note() -> None:
        for key in [*history, *life.entities()]:
            states = history.setdefault(key, [(-1e9, None)])
            if (state := life.present(key)) != states[-1][1]:
                states.append((life.now, state))

    for number, gap in enumerate(gaps):
        life.now += gap
        life.platform.act_at_random()
        note()
        if (userid := next(iter(life.platform.company.users), None)) is not None:
            life.platform.act("edit", {"userid": userid, "title": f"title {number}"})
            note()
        for key, states in history.items():
            for view in VIEWS:
                shown = life.sight._show(key, view)
                # until when each state held: the next one's beginning
                ends = [later for later, _ in states[1:]] + [float("inf")]
                allowed = [
                    begin
                    for (begin, state), end in zip(states, ends, strict=True)
                    if state == shown and end > life.now - late_ms / 1000 - 1e-9
                ]
                assert allowed, (key, view)
                assert allowed[-1] >= seen.get((key, view), -1e9), "it went back"
                seen[key, view] = min(
                    (begin for begin in allowed if begin >= seen.get((key, view), -1e9)), default=-1e9
                )
    life.now += late_ms / 1000
    for key in history:
        assert all(life.sight._show(key, view) == _state(life.platform, key) for view in VIEWS)
    assert {a.instance_id for a in life.sight.approvals()} == {a.instance_id for a in life.platform.approvals}
    for dept_id in life.platform.company.departments:
        assert life.sight.members(dept_id) == life.platform.company.members(dept_id)
        assert [d["dept_id"] for d in life.sight.children(dept_id)] == sorted(
            d.dept_id for d in life.platform.company.children(dept_id)
        )
    life.now += late_ms / 1000
    life.platform.act("hire")
    kept = [change for changes in life.sight._changes.values() for change in changes]
    assert all(change.at == life.now for change in kept), "what everybody sees is not kept"


def test_the_share_is_of_entities_and_the_same_for_a_seed() -> None:
    def lagging(seed: int) -> list[bool]:
        life = Life(Profile(late=0.5, late_ms=30_000), seed)
        users = list(life.platform.company.users)
        for userid in users * 2:
            life.platform.act("edit", {"userid": userid, "title": f"title {userid}"})
        assert life.platform.company.users.keys() == set(users)
        return [life.sight.user(u) != life.present(("user", u)) for u in users]

    assert lagging(3) == lagging(3)
    assert True in lagging(3)
    assert False in lagging(3)
    assert len({tuple(lagging(seed)) for seed in range(5)}) == 5


def test_listings_have_a_lag_of_their_own() -> None:
    life = Life(Profile(late=1.0, late_ms=30_000))
    for _ in range(10):
        life.platform.act("hire", {"dept_ids": [ROOT]})
    states = set()
    for _ in range(60):
        life.now += 0.5
        listed = life.sight.members(ROOT)
        here = [userid for userid in life.platform.company.members(ROOT)]
        states |= {(life.sight.user(userid) is not None, userid in listed) for userid in here}
    assert states == {(False, False), (True, False), (False, True), (True, True)}


@pytest.mark.parametrize("off", [{"late": 0}, {"late_ms": 0}, {"profile": "kind"}])
def test_the_present_is_shown_at_once_when_the_lag_is_switched_off(off: dict[str, Any]) -> None:
    life = Life(Profile.parse("reality,late=1"))
    life.platform.act("leave", {"userid": (leaver := next(iter(life.platform.company.users)))})
    assert life.sight.user(leaver) is not None
    life.profile.set(**off)
    assert life.sight.user(leaver) is None
    life.platform.act("hire")
    assert life.sight._changes == {}


def test_a_lag_that_is_switched_on_later_knows_the_life_before_it() -> None:
    life = Life(Profile())
    for _ in range(100):
        life.now += 1.0
        life.platform.act_at_random()
    life.profile.set(late=1.0)
    userid = next(iter(life.platform.company.users))
    before = life.present(("user", userid))
    life.platform.act("edit", {"userid": userid, "title": "new"})
    assert life.sight.user(userid) == before
    assert before["title"] != "new"


def test_the_twin_of_a_life_that_is_not_recorded_whole_is_none_and_says_so() -> None:
    life = Life(Profile(late=1.0))
    life.sight._recording.complete = False
    life.platform.act("hire")
    assert life.profile.late == 0
