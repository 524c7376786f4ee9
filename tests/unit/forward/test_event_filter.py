"""Which events a system gets: approvals by their template, changes by their kind, all else as it comes."""

import orjson
import pytest
from structlog.testing import capture_logs

from dingbridge import Event
from dingbridge.consumers.forward.event_filter import EventFilter
from dingbridge.events.event import Sent, decode
from tests.unit.forward.support import event, system


def approval(event_type: str = "bpms_instance_change", **fields: str) -> Event:
    return event(event_type, processInstanceId="pi1", type="finish", **fields)


@pytest.mark.parametrize("event_type", ["bpms_instance_change", "bpms_task_change"])
def test_process_codes_look_at_approvals(event_type: str) -> None:
    chosen = EventFilter(system(process_codes=["PROC-LEAVE-*", "PROC-1"]))
    assert chosen.wants(approval(event_type, processCode="PROC-LEAVE-2"))
    assert chosen.wants(approval(event_type, processCode="PROC-1"))
    assert not chosen.wants(approval(event_type, processCode="PROC-12"))
    assert chosen.wants(event())  # no approval


def test_an_approval_that_names_no_template_is_withheld_and_said() -> None:
    with capture_logs() as logs:
        assert not EventFilter(system(process_codes=["*"])).wants(approval())
    assert [entry["event"] for entry in logs] == ["forward.no_process_code"]


def test_without_a_filter_all_is_wanted() -> None:
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
