"""The filter by department, with the real client against the simulator over HTTP."""

from ipaddress import ip_network

import pytest

from consumers.forward.consumer import consumer_of
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.ssrf import AddressGuard
from dingbridge.testing import MemoryRuntime
from simulator.server import Simulator
from simulator.settings import SimulatorSettings
from tests.integration.forward_support import SECRET, receiver
from tests.unit.forward.support import event, system


def below(departments: dict[int, int], top: int) -> set[int]:
    """``top`` and all departments below it; ``departments`` is each one's parent."""
    found = {top}
    while more := {d for d, parent in departments.items() if parent in found} - found:
        found |= more
    return found


async def test_a_system_gets_the_events_of_its_departments_people_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SYSTEM_A_SECRET", SECRET)
    options = SimulatorSettings(simulator_port=0, simulator_users=40, simulator_departments=8)
    async with (
        receiver() as system_a,
        Simulator(options) as simulator,
        DingTalkClient(
            app_key=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
            app_secret=SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
            base=simulator.base_url,
        ) as client,
    ):
        state = simulator.state()
        parents = {d["dept_id"]: d["parent_id"] for d in state["departments"] if d["dept_id"] != 1}
        top = next(d for d, parent in parents.items() if d in parents.values() and parent == 1)
        inside = below(parents, top)
        declared = system(
            url=system_a.url,
            types=["user_modify_org", "user_leave_org", "org_dept_modify"],
            departments=[top],
        )
        guard = AddressGuard([ip_network("127.0.0.0/8")])
        async with MemoryRuntime(consumer_of("a", declared, guard)(), dingtalk=client) as forward:
            for user in state["users"]:
                of_user = event(event_id="e1", UserId=[user["userid"]], CorpId=simulator.platform.corp_id)
                outcome = await forward.deliver(of_user)
                assert outcome.kind == "done", outcome
            for dept in state["departments"]:
                outcome = await forward.deliver(event("org_dept_modify", "e2", DeptId=[dept["dept_id"]]))
                assert outcome.kind == "done", outcome
            wanted = {u["userid"] for u in state["users"] if inside & set(u["dept_id_list"])}
            assert 0 < len(wanted) < len(state["users"])
            envelopes = [got.json() for got in system_a.taken]
            assert {e["subject"] for e in envelopes if e["id"].startswith("e1")} == wanted
            assert {int(e["subject"]) for e in envelopes if e["id"].startswith("e2")} == inside
            # who moves away is told of, also if the first attempt fails
            mover = sorted(wanted)[1]
            outside = sorted(set(parents) - inside)[0]
            [told, *_] = simulator.platform.act("move", {"userid": mover, "dept_ids": [outside]})
            received = Received(8, "j1", told.time_ms, "default", "http", told.plaintext())
            [record] = to_records(received)
            system_a.answer = lambda got: 500
            assert (await forward.deliver(record)).kind == "retry"
            system_a.answer = lambda got: 200
            assert (await forward.deliver(record)).kind == "done"
            last = system_a.taken[-1].json()
            assert (last["type"], last["subject"]) == ("com.dingtalk.user_modify_org", mover)
            # who leaves is in no department any more, and yet is told of
            [told] = simulator.platform.act("leave", {"userid": sorted(wanted)[0]})
            received = Received(9, "j1", told.time_ms, "default", "http", told.plaintext())
            [record] = to_records(received)
            assert (await forward.deliver(record)).kind == "done"
            assert system_a.taken[-1].json()["type"] == "com.dingtalk.user_leave_org"
