"""Resync requests: which consumers read their topic, and what each does with one."""

from typing import Any

import orjson
import pytest
import structlog
from sqlalchemy import Column, MetaData, Text, select

from dingbridge import Consumer, Event, Transaction, on
from dingbridge.consumers.address_sync.consumer import AddressSync
from dingbridge.consumers.approval.consumer import Approval
from dingbridge.consumers.forward.consumer import Forward
from dingbridge.consumers.outbound.consumer import Outbound
from dingbridge.events.control import RESYNC_REQUESTED, resync_requested
from dingbridge.events.envelope import Record
from dingbridge.mirror import Mirror, people_table
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.testing import MemoryRuntime
from tests.unit.address_sync.syncing import sample

CORP = SAMPLE_CREDENTIALS["DINGTALK_CORP_ID"]


class Staff(Mirror):
    name = "staff"
    table = people_table("staff", MetaData(), Column("name", Text))


class Following(Mirror):
    """Reads another control topic, too."""

    name = "following"
    control_topics = ("changes",)
    table = people_table("following", MetaData(), Column("name", Text))


class Comparing(Consumer):
    name = "comparing"

    @on(RESYNC_REQUESTED)
    async def compare(self, event: Event, tx: Transaction, prepared: Any) -> None:
        structlog.get_logger().info("comparing.compares")


def request() -> Record:
    found = resync_requested(
        id="r1", app="default", corp_id=CORP, now_ms=2, since_ms=1, part="all", reason="lost"
    )
    return Record(None, False, *found, "r1")


READERS = {
    AddressSync: ("resync",),
    Approval: ("resync",),
    Outbound: ("outbound", "resync"),
    Staff: ("resync",),
    Following: ("resync", "changes"),
    Comparing: ("resync",),
    Forward: (),
}


def test_who_keeps_a_copy_of_the_company_reads_them() -> None:
    assert {consumer: tuple(consumer.control_topics) for consumer in READERS} == READERS


ACTS = {
    AddressSync: "mirror.resync_requested",
    Approval: "approval.resync_requested",
    Outbound: "outbound.resync",
    Comparing: "comparing.compares",
}


@pytest.mark.parametrize("consumer", ACTS)
async def test_who_reads_them_acts_on_one(consumer: type[Consumer]) -> None:
    with structlog.testing.capture_logs() as logs:
        async with MemoryRuntime(consumer(), dingtalk=sample(3)) as runtime:
            assert await runtime.work(request()) == []
    assert ACTS[consumer] in {log["event"] for log in logs}


@pytest.mark.parametrize("consumer", [Staff, Following])
async def test_a_mirror_compares_everybody(consumer: type[Mirror]) -> None:
    async with MemoryRuntime(consumer(), dingtalk=sample(3)) as runtime:
        assert await runtime.work(request()) == []
        assert {row.kind for row in await runtime.rows(select(consumer.entities))} == {"company"}


async def test_what_is_no_event_of_ours_is_a_dead_letter() -> None:
    """Only the bridge writes to that topic, so no other sender's events are taken from it."""
    foreign = {"specversion": "1.0", "id": "w1", "source": "/oa", "type": "user.desired", "subject": "u1"}
    async with MemoryRuntime(Staff(), dingtalk=sample(3)) as runtime:
        record = Record(None, False, b"k", orjson.dumps(foreign), (), "w1")
        [failure] = await runtime.work(record)
    assert "no event of ours" in failure.reason
