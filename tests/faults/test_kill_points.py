"""Killed at the very points where a bridge could lose or double a callback, one after the other."""

import asyncio

import pytest

from tests.faults.sabotage import Sabotage
from tests.support.comparison import assert_in_order, compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load
from tests.support.processes import eventually
from tests.support.pusher import Pusher

KEEP = "dingbridge.ingress.journal.store:JournalFile.keep"
COMMIT = "dingbridge.ingress.journal.checkpoint:Checkpoint.commit"
INSERT = "dingbridge.ingress.journal.store:JournalFile._insert"


@pytest.mark.parametrize(
    ("place", "when", "call"),
    [(INSERT, "after", 50), (KEEP, "after", 40)],
    ids=["inside the transaction", "between commit and answer"],
)
async def test_ingress_killed_around_its_commit(
    processes, kafka_env, kafka_settings, tmp_path, figure, place, when, call
):
    sabotage = Sabotage(tmp_path / "sabotage", place, when, call)
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, sabotage.env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher) as load:
        await eventually(lambda: sabotage.done, what="the point was reached")
        await asyncio.to_thread(ingress.restart)
        await load.more(50)
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the backlog is published")
    found = await compare(kafka_settings, pusher)
    figure(found)
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)
    if place == KEEP:
        # kept and not answered: half of the lanes push it again, and the journal knows it; the others go on
        known = await asyncio.to_thread(ingress.metric, "dingbridge_callbacks_total", outcome="duplicate")
        assert known or found.unanswered


@pytest.mark.parametrize("when", ["before", "after"])
async def test_relay_killed_around_the_commit_of_its_checkpoint(
    processes, kafka_env, kafka_settings, tmp_path, figure, when
):
    sabotage = Sabotage(tmp_path / "sabotage", COMMIT, when, 3)
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, sabotage.env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher) as load:
        await eventually(lambda: sabotage.done, what="the point was reached")
        await load.more(50)
    assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the backlog is published")
    found = await compare(kafka_settings, pusher)
    figure(found)
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)
    # acknowledged before, and the checkpoint knew nothing of it: it must be repeated, and nothing else may be
    assert bool(found.published_again) == (when == "before")
