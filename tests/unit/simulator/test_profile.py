"""The switches of a profile, and a permission that is seen only with a new token."""

import pytest

from dingbridge.simulator.errors import ActionError, PlatformError
from dingbridge.simulator.profile import Profile, lot
from dingbridge.simulator.rights import Rights
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.simulator.tokens import VALID_S, AccessTokens
from dingbridge.simulator.world import World

DETAIL = "GET /v1.0/workflow/processInstances"


def test_kind_has_all_off_and_reality_names_what_it_switches_on() -> None:
    kind, reality = Profile().as_json(), Profile.parse("reality").as_json()
    assert Profile.parse("kind").as_json() == kind
    assert (kind["late"], kind["refused"], kind["family_school"], kind["new_token"]) == (0, 0, False, False)
    assert {name for name in kind if kind[name] != reality[name]} == {
        *("late", "refused", "family_school", "new_token"),
    }
    changed = Profile.parse("reality, late=0, same_token=false, late_ms=500")
    assert changed.as_json() == reality | {"late": 0, "same_token": False, "late_ms": 500}
    changed.set(profile="kind", refused=0.5)
    assert changed.as_json() == kind | {"refused": 0.5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unkind", '"kind" and "reality"'),
        ("reality,lag=1", "it has late, late_ms"),
        ("reality,late=2", "0 to 1"),
        ("reality,late=true", "must be a number"),
        ("reality,new_token=1", "true or false"),
        ("late=0.5", "there is no profile"),
    ],
)
def test_a_faulty_profile_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ActionError, match=words):
        Profile.parse(text)
    (problem,) = SimulatorSettings(simulator_profile=text).check()
    assert problem.startswith("SIMULATOR_PROFILE: ")


def test_nothing_of_a_faulty_change_is_done() -> None:
    profile = Profile()
    with pytest.raises(ActionError):
        profile.set(late=0.5, family=True)
    assert profile == Profile()


def test_lots_are_the_same_always_and_even() -> None:
    assert lot(1, "user", "x") == lot(1, "user", "x") != lot(2, "user", "x")
    share = sum(lot(7, number) < 0.1 for number in range(10_000)) / 10_000
    assert 0.08 < share < 0.12


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("same_token", [True, False])
def test_a_permission_that_was_granted_is_seen_by_a_new_token(same_token: bool) -> None:
    clock, profile = Clock(), Profile(new_token=True, same_token=same_token)
    tokens = AccessTokens("key", "secret", clock=clock, profile=profile)
    rights = Rights(tokens, profile, "key")

    def refused(token: str, api: str = DETAIL) -> bool:
        tokens.check(token)
        try:
            rights.check(api, token)
        except PlatformError:
            return True
        return False

    old = tokens.issue("key", "secret")
    assert not refused(old)
    rights.set(["Workflow.Instance.Read"])
    assert refused(old)
    assert not refused(old, "v2/user/get")
    rights.set([])
    assert refused(old)
    new = tokens.issue("key", "secret")
    assert (new == old) is same_token
    assert refused(old)
    assert refused(new) is same_token
    clock.now += VALID_S
    assert not refused(tokens.issue("key", "secret"))


def test_a_kind_platform_grants_at_once_and_a_permission_has_a_name() -> None:
    profile = Profile()
    tokens = AccessTokens("key", "secret", profile=profile)
    rights, token = Rights(tokens, profile, "key"), tokens.issue("key", "secret")
    rights.set(["Workflow.Instance.Read"])
    rights.set([])
    rights.check(DETAIL, token)
    with pytest.raises(ActionError, match=r"there are qyapi_base, .*Workflow\.Form\.Read"):
        rights.set(["Workflow"])


def test_every_call_that_needs_a_permission_is_one_that_there_is() -> None:
    world = World(SimulatorSettings(simulator_users=3, simulator_departments=2))
    needed = {api for apis in world.rights.as_json()["needed"].values() for api in apis}
    assert needed <= set(world.faults.apis)
