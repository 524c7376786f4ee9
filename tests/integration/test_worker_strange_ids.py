"""Ids and keys that a database cannot keep as they are, in a row or in an index: they stop nothing."""

import asyncio
import secrets
from typing import Any

import pytest
from sqlalchemy import select

from dingbridge import Event, Reject, Transaction
from dingbridge import retry as backoff_module
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.queues.offset_tracker import OffsetTracker
from dingbridge.worker.store.inbox import enter, inbox, seen, storable
from tests.unit.worker.harness import P0, Harness, Scripted
from tests.unit.worker.support import Recording, effects, record

LONG = secrets.token_hex(3_000)  # what can be compressed would fit
STRANGE = {"nul": "a\0b", "long": LONG, "nul-and-long": LONG + "\0", "wide": "张\U0001f600" * 300}


class Odd(Scripted):
    """Keeps nothing of the id in a table of its own; rejects what it is told to, once each."""

    bad: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.failed: set[str] = set()

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        user = str(event.subject)[:9]
        await tx.execute(effects.insert().values(event_id=user, subject=None))
        if user in self.bad and user not in self.failed:
            self.failed.add(user)
            raise Reject("as asked")


class Unprepared(Odd):
    prepare = Recording.prepare  # the transaction alone looks into the inbox


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_FIRST_S", 0.001)
    monkeypatch.setattr(backoff_module, "UNAVAILABLE_MAX_S", 0.002)


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("base", [Odd, Unprepared])
async def test_an_event_of_any_id_is_applied_once_and_given_up_when_it_fails(
    database_url: str, base: type[Odd], strange: str
) -> None:
    consumer = type("One", (base,), {"bad": {"u1"}})()
    event_id = STRANGE[strange]
    async with MemoryRuntime(consumer, database_url=database_url) as runtime:
        harness = Harness(consumer, runtime, OffsetTracker())
        harness.scheduler.start()
        try:
            async with asyncio.timeout(60):
                for _ in range(2):  # the second time it is redelivered
                    harness.add(P0, (event_id, "u0"), ("other", "u2"))
                    await harness.idle()
                assert sorted(await harness.effects()) == ["u0", "u2"]
                harness.add(P0, (event_id, "u1"))
                await harness.idle()
                assert [letter.key for letter, _, _ in harness.letters.sent] == [record("x", "u1").key]
                assert harness.scheduler.down() == {}
        finally:
            await harness.scheduler.close()


async def test_ids_that_differ_stay_apart(database_url: str) -> None:
    ids = [*STRANGE.values(), LONG + "x", "\ud800", "\ud801", "\ufffd", "a", "张三/u1", "x" * 512]
    async with MemoryRuntime(Recording(), database_url=database_url) as runtime:
        known: list[tuple[str, str]] = [("s", an_id) for an_id in ids] + [(an_id, "i") for an_id in ids]
        for event in known:
            for replay_id in ("", "r\0", LONG):
                async with runtime.database.transaction() as tx:
                    assert await enter(tx, "recording", event, replay_id, "t", 1)
                    assert not await enter(tx, "recording", event, replay_id, "t", 1)
                assert await seen(runtime.database.reader(), "recording", event, replay_id)
                assert not await seen(runtime.database.reader(), "another", event, replay_id)
        rows = await runtime.rows(select(inbox.c.hash))
        assert len({row.hash for row in rows}) == 2 * len(ids) * 3
        # an id that looks like another's hash is another id
        assert not await seen(runtime.database.reader(), "recording", ("s", storable(LONG)), "")
