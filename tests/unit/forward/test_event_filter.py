"""Which events a system gets: approvals by their template, all else as it comes."""

import pytest
from structlog.testing import capture_logs

from consumers.forward.event_filter import EventFilter
from dingbridge import Event
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
