"""Handlers that do not end in time, with a database and without; some do not heed being cancelled."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from dingbridge import Consumer, Context, Event, Position, Transaction, open_database
from dingbridge.errors import BridgeError
from dingbridge.events.event import decode
from dingbridge.settings import ConsumerSettings
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.attempts import watchdog
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.service import show
from dingbridge.worker.store import inbox
from tests.unit.address_sync.company import event
from tests.unit.worker.harness import P0, Scripted, running, until
from tests.unit.worker.support import Recording, effects, metadata, record


class Deaf(Recording):
    """Goes on after it was cancelled, until ``enough``."""

    handler_timeout_s = 0.01
    half = "handle"

    def __init__(self) -> None:
        self.enough = asyncio.Event()
        self.ended = asyncio.Event()

    async def prepare(self, event: Event, ctx: Context) -> None:
        if self.half == "prepare":
            await self._hang()

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        if self.half == "handle":
            await self._hang()
        await super().handle(event, tx, prepared)

    async def _hang(self) -> None:
        try:
            while not self.enough.is_set():
                try:
                    await self.enough.wait()
                except asyncio.CancelledError:
                    continue
        finally:
            self.ended.set()


@pytest.mark.parametrize("half", ["prepare", "handle"])
async def test_one_that_does_not_heed_its_cancellation_is_left_behind_without_its_transaction(
    half: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(watchdog, "CANCEL_GRACE_S", 0.01)
    consumer = Deaf()
    consumer.half = half
    async with MemoryRuntime(consumer, database_url=f"sqlite:///{tmp_path}/t.db") as runtime:
        with capture_logs() as logs:
            outcome = await runtime.attempt(record("e1"))
        assert outcome.kind == "retry"
        assert [entry["event"] for entry in logs] == ["consumer.handler_stuck"]
        # SQLite has one writer: it would be the stuck one's for ever
        consumer.half = ""
        consumer.handler_timeout_s = 60  # type: ignore[misc]
        assert (await runtime.attempt(record("e2"))).kind == "done"
        consumer.enough.set()
        await consumer.ended.wait()
        assert [row.event_id for row in await runtime.rows(select(effects))] == ["user_modify_org:e2/u1"]
        known = decode(record("e2").value)
        applied = inbox.hash_of(consumer.name, (known.source, known.id), "")
        assert [row.hash for row in await runtime.rows(select(inbox.inbox))] == [applied]


class Plain(Consumer):
    name = "plain"
    topics = ("user_modify_org",)
    uses_database = False
    handler_timeout_s = 0.01

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        return None


@pytest.mark.parametrize("half", ["prepare", "handle"])
@pytest.mark.parametrize("heeds", [True, False])
async def test_without_a_database_one_that_hangs_is_cut_off(half: str, heeds: bool) -> None:
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if heeds:
                raise

    class Hanging(Plain):
        async def prepare(self, event: Event, ctx: Context) -> None:
            if half == "prepare":
                await hang()

        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            if half == "handle":
                await hang()

    async with MemoryRuntime(Hanging()) as runtime:
        outcome = await runtime.attempt(record())
        assert (outcome.kind, str(outcome.error)) == (
            "retry",
            f"{half} took longer than handler_timeout_s (0.01 s)",
        )
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling(), "the runner's task is as it was"


async def test_without_a_database_asking_for_it_is_answered_in_words() -> None:
    class Asking(Plain):
        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            await tx.execute(select(effects))

    async with MemoryRuntime(Asking()) as runtime:
        outcome = await runtime.attempt(record())
    assert outcome.kind == "unavailable", "the event does not cause it"
    assert "uses_database = False" in str(outcome.error)
    with pytest.raises(BridgeError, match="uses no database"):
        await show(Plain(), ConsumerSettings.load())


class Translating(Scripted):
    """Raises another error when it is cancelled, as drivers and clients may."""

    concurrency = 1
    handler_timeout_s = 0.05

    async def prepare(self, event: Event, ctx: Context) -> None:
        try:
            await super().prepare(event, ctx)
        except asyncio.CancelledError:
            self.hold.clear()
            raise ValueError from None


async def test_one_that_ends_its_cancellation_by_another_error_costs_the_next_one_nothing() -> None:
    consumer = Translating()
    consumer.hold["e0"] = asyncio.Event()
    async with running(consumer) as harness:
        harness.add(P0, ("e0", "u0"), ("e1", "u1"), ("e2", "u2"))
        await harness.idle()
        assert sorted(consumer.seen) == ["e0", "e0", "e1", "e2"]
        assert harness.count("attempts_total", outcome="retry") == 1


async def test_one_that_does_so_at_a_rebalance_costs_the_next_one_nothing() -> None:
    consumer = Translating()
    consumer.handler_timeout_s = 60  # type: ignore[misc]
    consumer.hold["e0"] = asyncio.Event()
    async with running(consumer) as harness:
        harness.add(P0, ("e0", "u0"))
        await until(lambda: "e0" in consumer.began)
        await harness.scheduler.close(0)
        harness.assign()
        harness.add(P0, ("e1", "u1"))
        await harness.idle()
        assert await harness.effects() == ["e1"]


class DeafScripted(Scripted):
    """Goes on after it was cancelled, until ``hold`` lets it."""

    async def prepare(self, event: Event, ctx: Context) -> None: ...

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        waiting = asyncio.ensure_future(super().prepare(event, tx.ctx))
        while not waiting.done():
            try:
                await asyncio.wait([waiting])
            except asyncio.CancelledError:
                continue


async def test_one_that_is_deaf_at_a_rebalance_gives_the_writer_of_sqlite_back_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(watchdog, "CANCEL_GRACE_S", 0.01)
    consumer = DeafScripted()
    consumer.hold["e0"] = asyncio.Event()
    async with running(consumer, database_url=f"sqlite:///{tmp_path}/t.db") as harness:
        harness.add(P0, ("e0", "u0"))
        await until(lambda: "e0" in consumer.began)
        await harness.scheduler.close(0)
        async with asyncio.timeout(5), harness.runtime.database.transaction():
            pass
        consumer.hold["e0"].set()


# -- What a handler is given beside its event


class Curious(Consumer):
    name, topics = "curious", ("user_add_org",)

    def __init__(self) -> None:
        self.given: list[tuple[Context, Context]] = []

    async def prepare(self, event: Event, ctx: Context) -> Context:
        return ctx

    async def handle(self, event: Event, tx: Transaction, prepared: Context) -> None:
        self.given.append((prepared, tx.ctx))


async def test_prepare_and_handle_have_one_context_with_attempt_position_and_the_apps_client() -> None:
    consumer = Curious()
    async with MemoryRuntime(consumer) as runtime:
        asked = []

        def client_of(app: str | None, corp_id: str | None) -> str:
            asked.append((app, corp_id))
            return f"client of {app}"

        consumer.clients = client_of  # type: ignore[assignment]
        came = event("user_add_org", "u1")
        delivery = Delivery(Position("t", 2, 7))
        outcome = await Executor(consumer, runtime.database).attempt(came, delivery, 3)
        assert outcome.kind == "done"
        ((prepared, in_tx),) = consumer.given
        assert prepared == in_tx
        assert (in_tx.attempt, in_tx.position, in_tx.together) == (3, ("t", 2, 7), (came,))
        assert in_tx.dingtalk == f"client of {came.app}"
        assert asked == [(came.app, came.corp_id)]


class Slow(Recording):
    """Waits in its transaction for ``enough``, for one user."""

    def __init__(self) -> None:
        self.enough = asyncio.Event()

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        if event.subject == "slow":
            await self.enough.wait()
        await super().handle(event, tx, prepared)


async def test_one_that_takes_long_does_not_hold_up_those_that_shared_its_transaction(
    postgres_url: str,
) -> None:
    """Also when no other event comes."""
    consumer, database = Slow(), open_database(postgres_url)
    consumer.settings = ConsumerSettings.load(kafka_bootstrap_servers="localhost:1")
    await database.create_tables(metadata, inbox.metadata)
    executor = Executor(consumer, database)
    slow, other = (
        asyncio.create_task(executor.attempt(event("user_modify_org", user))) for user in ("slow", "u1")
    )
    async with asyncio.timeout(30):
        assert (await other).kind == "done"
    assert not slow.done()
    consumer.enough.set()
    assert (await slow).kind == "done"
    await executor.close()
    await database.close()
