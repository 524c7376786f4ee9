"""Which call is refused: faults, the plan, what the app sees, tokens, rights and a profile's switches."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.simulator.cruelties import CRUELTIES
from dingbridge.simulator.errors import ActionError, PlatformError, newer
from dingbridge.simulator.faults import Faults, changed
from dingbridge.simulator.limits import Limits
from dingbridge.simulator.profile import Profile
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.simulator.world import World


def make(*wanted: dict[str, Any]) -> Faults:
    faults = Faults()
    faults.apis = {"v2/user/get", "role/list"}
    for fault in wanted:
        faults.add(fault)
    return faults


def kinds(faults: Faults, api: str) -> list[str]:
    return [fault.kind for fault in faults.hit(api)]


def test_a_fault_hits_its_call_until_it_is_cleared() -> None:
    faults = make({"api": "v2/user/get", "kind": "ban"})
    assert [kinds(faults, "v2/user/get") for _ in range(3)] == [["ban"]] * 3
    assert kinds(faults, "role/list") == []
    assert [fault.hits for fault in faults] == [3]
    assert faults.clear() == 1
    assert kinds(faults, "v2/user/get") == []


@given(st.integers(0, 20), st.one_of(st.none(), st.integers(1, 20)), st.integers(0, 60))
def test_after_and_times_are_counted_by_calls(after: int, times: int | None, calls: int) -> None:
    wanted = {"api": "*", "kind": "http", "status": 504, "after": after}
    faults = make(wanted | ({} if times is None else {"times": times}))
    hit = [bool(kinds(faults, "role/list")) for _ in range(calls)]
    last = calls if times is None else after + times
    assert hit == [after <= n < last for n in range(calls)]
    (fault,) = faults
    assert fault.hits == sum(hit)


def test_the_first_that_is_due_wins_and_actions_come_before_it() -> None:
    faults = make(
        {"kind": "errcode", "errcode": 90018, "times": 1},
        {"kind": "ban"},
        {"kind": "act", "action": "leave"},
    )
    assert kinds(faults, "role/list") == ["act", "errcode"]
    assert kinds(faults, "role/list") == ["act", "ban"]


VALUES = st.one_of(st.integers(0, 3), st.sampled_from(["0", "1", "x"]), st.booleans())
PARAMETERS = st.dictionaries(st.sampled_from(["userid", "dept_id", "processInstanceId"]), VALUES)


@given(PARAMETERS.filter(bool), st.lists(PARAMETERS))
def test_a_fault_of_one_entity_hits_its_calls_and_no_other(
    match: dict[str, Any], calls: list[dict[str, Any]]
) -> None:
    faults = make({"api": "v2/user/get", "kind": "ban", "match": match, "after": 1})
    hit = [bool(faults.hit("v2/user/get", call)) for call in calls]
    same = [
        all(str(call.get(name)).lower() == str(value).lower() for name, value in match.items())
        for call in calls
    ]
    assert hit == [same[n] and any(same[:n]) for n in range(len(calls))]
    (fault,) = faults
    shown = fault.as_json()
    assert shown["match"].keys() == match.keys()
    assert shown["without"] == sum(not match.keys() & call.keys() for call in calls)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (
            {"kind": "fire"},
            "one of errcode, http, ban, hang, cut, deny, act, expire, edit, repeat, half, late",
        ),
        ({"kind": "errcode"}, "needs an errcode"),
        ({"kind": "act"}, "needs an action"),
        ({"kind": "ban", "api": "v2/user/fly"}, "one of role/list, v2/user/get"),
        ({"kind": "ban", "time": 1}, "it has"),
        ({"kind": "ban", "times": 0}, "times must be"),
        ({"kind": "ban", "after": -1}, "after must be"),
        ({"kind": "http", "status": 99}, "status must be"),
        ({"kind": "http", "status": True}, "status must be"),
        ({"kind": "act", "action": "leave", "arguments": []}, "an object"),
        ({"kind": "edit"}, "a list of fields"),
        ({"kind": "late"}, "needs? a lag_ms|need a lag_ms"),
        ({"kind": "ban", "every": 0}, "every must be"),
        ({"kind": "ban", "for_s": 0}, "for_s must be"),
        ({"cruelty": "weather"}, "there are pages-repeat"),
        ({"kind": "ban", "match": {}}, "match must be"),
        ({"kind": "ban", "match": ["userid"]}, "match must be"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_in_words(wanted: dict[str, Any], words: str) -> None:
    faults = make()
    with pytest.raises(ActionError, match=words):
        faults.add(wanted)
    assert list(faults) == []


def test_a_fault_hits_each_so_manieth_call_and_ends_with_its_time() -> None:
    now = 0.0
    faults = Faults(clock=lambda: now)
    faults.apis = {"role/list"}
    faults.add({"kind": "expire", "every": 3, "for_s": 10})
    assert [len(faults.hit("role/list")) for _ in range(7)] == [0, 0, 1, 0, 0, 1, 0]
    now = 10.0
    assert list(faults) == []


def test_every_cruelty_is_a_rule_that_there_is() -> None:
    world = World(SimulatorSettings(simulator_users=3, simulator_departments=2))
    for name in CRUELTIES:
        world.faults.add({"cruelty": name, "for_s": 60})
    assert len([*world.faults]) == len(CRUELTIES)
    assert world.sight.fault_lag_ms() == 480_000


PAGE = orjson.dumps({"errcode": 0, "result": {"has_more": False, "list": [{"userid": "a", "mobile": "1"}]}})


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ({"drop": ["result.list.mobile"]}, {"has_more": False, "list": [{"userid": "a"}]}),
        ({"drop": ["result.list", "result.absent.x"]}, {"has_more": False}),
        ({"drop": ["result"]}, None),
    ],
)
def test_fields_of_an_answer_are_dropped_by_their_paths(wanted: dict[str, Any], shown: Any) -> None:
    (fault,) = make({"kind": "edit"} | wanted)
    answer = orjson.loads(changed(PAGE, [fault], {}))
    assert answer == {"errcode": 0} | ({} if shown is None else {"result": shown})


def test_pages_are_repeated_and_answers_halved() -> None:
    (repeat,) = make({"kind": "repeat"})
    first = orjson.loads(changed(PAGE, [repeat], {"dept_id": 5, "cursor": 0, "size": 100}))["result"]
    empty = orjson.dumps({"result": {"has_more": False, "list": []}})
    second = orjson.loads(changed(empty, [repeat], {"dept_id": 5, "cursor": 100, "size": 100}))["result"]
    assert (first["list"], first["next_cursor"], first["has_more"]) == (second["list"], 100, True)
    assert second["next_cursor"] == 200
    (half,) = make({"kind": "half"})
    assert changed(PAGE, [half], {}) == PAGE[: len(PAGE) // 2]


class Clock:
    now = 1_760_000_000.0

    def __call__(self) -> float:
        return self.now


DETAIL = "GET /v1.0/workflow/processInstances"


def test_what_is_on_no_list_of_free_calls_and_pushes_counts() -> None:
    limits = Limits(clock=Clock())
    for api in ("auth/scopes", "get_call_back_failed_result", "POST /v1.0/gateway/connections/open", DETAIL):
        limits.call(api)
    for api in ("gettoken", "v2/user/get", "v2/department/listsubid", "role/list"):
        limits.call(api)
    for event_type in ("org_remove", "org_change", "user_active_org", "bpms_task_change"):
        limits.push(event_type)
    spent = limits.as_json()["spent"]
    assert (spent["calls"], spent["free_calls"], spent["pushes"], spent["free_pushes"]) == (4, 4, 2, 2)


@given(st.lists(st.tuples(st.sampled_from(["role/list", DETAIL]), st.floats(0, 40)), max_size=60))
def test_the_rates_are_each_apis_own(calls: list[tuple[str, float]]) -> None:
    clock = Clock()
    limits = Limits(qps=2, clock=clock)
    limits.qpm = 3
    done: dict[str, list[float]] = {"role/list": [], DETAIL: []}
    for api, gap in calls:
        clock.now += gap
        within = {span: sum(at > clock.now - span for at in done[api]) for span in (1, 60)}
        refusal = "QpsLimit" if within[1] >= 2 else "QpmLimit" if within[60] >= 3 else None
        if refusal is None:
            limits.call(api)
            done[api].append(clock.now)
            continue
        with pytest.raises(PlatformError) as refused:
            limits.call(api)
        assert refusal in newer(refused.value)[0]["code"]


def test_too_many_calls_at_once_shut_the_address_out_for_5_minutes() -> None:
    clock = Clock()
    limits = Limits(clock=clock)
    assert not any(limits.banned() for _ in range(20_000))
    limits.ban_after = 100
    for _ in range(10):  # 100 in 20 s are allowed
        clock.now += 20
        assert not any(limits.banned() for _ in range(100))
    assert limits.banned()
    clock.now += 299
    assert limits.banned()
    clock.now += 1
    assert not limits.banned()


# -- tokens, rights, profile


def test_kind_has_all_off_and_reality_names_what_it_switches_on() -> None:
    kind, reality = Profile().as_json(), Profile.parse("reality").as_json()
    assert Profile.parse("kind").as_json() == kind
    assert SimulatorSettings().simulator_profile == "reality"
    assert (kind["late"], kind["refused"], kind["family_school"], kind["new_token"]) == (0, 0, False, False)
    assert {name for name in kind if kind[name] != reality[name]} == {
        *("late", "refused", "family_school", "new_token"),
    }
    changed = Profile.parse("reality, late=0, same_token=false, late_ms=500")
    assert changed.as_json() == reality | {"late": 0, "same_token": False, "late_ms": 500}
    changed.set(profile="kind", refused=0.5)
    assert changed.as_json() == kind | {"refused": 0.5}


def test_every_call_that_needs_a_permission_is_one_that_there_is() -> None:
    world = World(SimulatorSettings(simulator_users=3, simulator_departments=2))
    needed = {api for apis in world.rights.as_json()["needed"].values() for api in apis}
    assert needed <= set(world.faults.apis)
