"""Which events a system gets, and how many at once."""

from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from dingbridge import Event
from dingbridge.consumers.forward.consumer import consumer_of
from dingbridge.consumers.forward.event_filter import EventFilter
from dingbridge.events.event import Sent, decode
from dingbridge.ssrf import AddressGuard
from tests.unit.forward.support import event, system


@pytest.mark.parametrize(
    ("declared", "at_once"),
    [({}, 8), ({"rate": 0.1, "timeout_s": 5}, 1), ({"rate": 1, "timeout_s": 3}, 3), ({"concurrency": 2}, 2)],
    ids=str,
)
def test_no_more_requests_at_once_than_the_rate_can_use(declared: dict[str, Any], at_once: int) -> None:
    made = consumer_of("a", system(**declared), AddressGuard())
    assert made.concurrency == at_once
    assert made.handler_timeout_s > at_once / made.system.rate + made.system.timeout_s


def approval(event_type: str = "bpms_instance_change", **fields: str) -> Event:
    return event(event_type, processInstanceId="pi1", type="finish", **fields)


def test_process_codes_look_at_approvals_and_one_that_names_none_is_withheld_and_said() -> None:
    chosen = EventFilter(system(process_codes=["PROC-LEAVE-*", "PROC-1"]))
    for event_type in ("bpms_instance_change", "bpms_task_change"):
        codes = ["PROC-LEAVE-2", "PROC-1", "PROC-12"]
        wanted = [chosen.wants(approval(event_type, processCode=code)) for code in codes]
        assert wanted == [True, True, False]
    assert chosen.wants(event())  # no approval
    with capture_logs() as logs:
        assert not EventFilter(system(process_codes=["*"])).wants(approval())
    assert [entry["event"] for entry in logs] == ["forward.no_process_code"]
    assert EventFilter(system()).wants(approval())


def change(kind: str) -> Event:
    envelope = {"specversion": "1.0", "id": "c1", "source": "/dingbridge", "type": "com.dingbridge.change"}
    return decode(orjson.dumps({**envelope, "data": {"corpId": "dingcorp1", "kind": kind}}), Sent())


@pytest.mark.parametrize(
    ("types", "more", "kinds"),
    [
        (["user_*"], {}, {"user"}),
        (["org_dept_modify"], {}, {"department"}),
        (["user_add_org", "bpms_instance_change"], {}, {"user", "approval"}),
        # of a change no template is known
        (["user_add_org", "bpms_instance_change"], {"process_codes": ["*"]}, {"user"}),
    ],
)
def test_changes_are_those_of_the_types_that_are_named(types: list[str], more: dict, kinds: set[str]) -> None:
    chosen = EventFilter(system(types=types, skip_own_changes=True, **more))
    assert {kind for kind in ("user", "department", "approval") if chosen.wants(change(kind))} == kinds
