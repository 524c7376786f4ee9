"""Every named outcome, through the in-memory runner, on SQLite."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, cast

import orjson
import pytest
from sqlalchemy import select, text

from dingbridge import (
    Conflict,
    Context,
    DatabaseDown,
    DependencyUnavailable,
    Event,
    HandlerOutcome,
    Reject,
    Retry,
    Transaction,
)
from dingbridge.dingtalk.error_codes import PERMISSION_AGAIN_S, error_for
from dingbridge.dingtalk.error_meanings import REFUSALS
from dingbridge.dingtalk.errors import ApiError, NotFound, RateLimited
from dingbridge.errors import SettingsError
from dingbridge.events.control import RESYNC_REQUESTED, resync_requested
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.attempts.executor import MAX_CONFLICTS, classify
from dingbridge.worker.store import inbox
from tests.unit.worker.harness import Scripted
from tests.unit.worker.support import Recording, effects, record


@pytest.fixture(params=["memory", "file"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path}/deep/er/test.db"


async def test_done_writes_the_effect_and_the_inbox_row(database_url: str) -> None:
    async with MemoryRuntime(Recording(), database_url=database_url) as runtime:
        before = datetime.now(UTC)
        assert (await runtime.attempt(record("e1"))).kind == "done"
        assert [r.event_id for r in await runtime.rows(select(effects))] == ["user_modify_org:e1/u1"]
        (row,) = await runtime.rows(select(inbox.inbox))
        known = ("/dingtalk/dingcorp1/default", "user_modify_org:e1/u1")
        assert row.hash == inbox.hash_of("recording", known, "")
        assert inbox.seconds(before) <= row.at <= inbox.seconds(datetime.now(UTC))
        wanted = [(known, ""), (known, "another run")]
        ((one, applied),) = (await inbox.applied(runtime.database.reader(), "recording", wanted)).items()
        assert one == (known, "")
        assert before - timedelta(seconds=1) < applied.at <= datetime.now(UTC)
        assert applied.attempt == 1


async def test_a_repeated_event_is_seen_and_not_even_prepared_and_a_replay_is_applied_once_more(
    database_url: str,
) -> None:
    class Counting(Recording):
        prepared = 0

        async def prepare(self, event: Event, ctx: Context) -> None:
            self.prepared += 1

    async with MemoryRuntime(consumer := Counting(), database_url=database_url) as runtime:
        kinds = [(await runtime.attempt(record("e1"), replay_id=r)).kind for r in ("", "", "r1", "r1")]
        assert kinds == ["done", "seen", "done", "seen"]
        assert consumer.prepared == 2
        assert len(await runtime.rows(select(effects))) == 2


RAISED: list[tuple[BaseException, str, float | None]] = [
    (Retry(after=7), "retry", 7),
    (Retry(), "retry", None),
    (ValueError("secret"), "retry", None),
    (Reject("no such template"), "reject", None),
    (DependencyUnavailable("system A is down"), "unavailable", None),
    (DependencyUnavailable("system A is down", after=9), "unavailable", 9),
    (RateLimited("slow down", api="v2/user/get", retry_after_s=3), "unavailable", 3),
    (NotFound("gone", api="v2/user/get"), "retry", None),
    (error_for("v2/user/get", 60011, "no right"), "unavailable", 900),
    (error_for("v2/user/get", 43007, "not authorised"), "unavailable", 900),
    (error_for("v2/user/get", 50002, "out of scope"), "retry", None),
    (TimeoutError("of the handler's own"), "retry", None),
    (Conflict(), "retry", None),
    (asyncio.CancelledError(), "retry", None),
]


async def test_what_is_raised_names_the_outcome_and_leaves_no_trace(database_url: str) -> None:
    class Failing(Recording):
        error, half = RAISED[0][0], ""

        async def prepare(self, event: Event, ctx: Context) -> None:
            if self.half == "prepare":
                raise self.error

        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            await super().handle(event, tx, prepared)
            raise self.error

    async with MemoryRuntime(consumer := Failing(), database_url=database_url) as runtime:
        for (error, kind, after), half in product(RAISED, ("prepare", "handle")):
            consumer.error, consumer.half = error, half
            outcome = await runtime.attempt(record())
            assert (outcome.kind, outcome.error, outcome.after) == (kind, error, after), (error, half)
            assert await runtime.rows(select(effects)) == []
            assert await runtime.rows(select(inbox.inbox)) == []


def test_what_a_refusal_is_about_decides_whether_a_partition_pauses() -> None:
    for code in REFUSALS:
        about, outcome = REFUSALS[code].about, classify(error_for("v2/user/get", 88, "no", code))
        assert outcome.kind == ("retry" if about == "entity" else "unavailable")
        assert outcome.after == {"right": PERMISSION_AGAIN_S, "api": 1.0}.get(about)


STRICT: list[tuple[Exception, str]] = [
    (KeyError("private"), "reject"),
    (NotFound("gone", api="v2/user/get"), "reject"),
    (ExceptionGroup("several", [KeyError(), KeyError()]), "reject"),
    (ExceptionGroup("several", [KeyError(), ValueError()]), "retry"),
    (ValueError(), "retry"),
    (Retry(), "retry"),
    (RateLimited("slow down", api="v2/user/get"), "unavailable"),
    (ExceptionGroup("", [ValueError(), RateLimited("", api="v2/user/get"), Reject("no")]), "unavailable"),
    (ExceptionGroup("several", [Reject("no"), ValueError()]), "retry"),
    (ExceptionGroup("several", [Reject("no")]), "reject"),
]


async def test_what_is_not_retryable_is_rejected_and_of_a_group_the_most_patient_counts() -> None:
    class Strict(Recording):
        not_retryable = (LookupError, ApiError, HandlerOutcome)  # what has a meaning of its own keeps it
        error: Exception

        async def prepare(self, event: Event, ctx: Context) -> None:
            raise self.error

    async with MemoryRuntime(consumer := Strict()) as runtime:
        for consumer.error, kind in STRICT:
            assert (await runtime.attempt(record())).kind == kind, consumer.error


async def test_a_commit_that_the_database_refuses_is_a_failure_of_its_event() -> None:
    class Deferred(Recording):
        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            await tx.execute(text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
            parent = "REFERENCES parents DEFERRABLE INITIALLY DEFERRED"
            await tx.execute(text(f"CREATE TABLE children (parent INTEGER {parent})"))
            await tx.execute(text("INSERT INTO children VALUES (1)"))

    async with MemoryRuntime(Deferred()) as runtime:
        outcome = await asyncio.wait_for(runtime.attempt(record("e1")), 5)
        assert (outcome.kind, type(outcome.error).__name__) == ("retry", "IntegrityError")
        assert await runtime.rows(select(inbox.inbox)) == []


async def test_a_consumer_may_use_its_database_beside_events() -> None:
    class Seeding(Recording):
        async def start(self) -> None:
            async with self.database.transaction() as tx:
                await tx.upsert(effects, {"n": 1, "event_id": "seed"}, ["n"])

    async with MemoryRuntime(Seeding()) as runtime:
        assert [row.event_id for row in await runtime.rows(select(effects))] == ["seed"]


@pytest.mark.parametrize(("times", "kind"), [(MAX_CONFLICTS, "done"), (MAX_CONFLICTS + 1, "retry")])
async def test_again_begins_with_prepare_and_gives_up_after_ten(times: int, kind: str) -> None:
    class Moving(Recording):
        prepared = 0

        async def prepare(self, event: Event, ctx: Context) -> int:
            Moving.prepared += 1
            return Moving.prepared

        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            await super().handle(event, tx, prepared)
            if prepared <= times:
                raise Conflict

    async with MemoryRuntime(Moving()) as runtime:
        assert (await runtime.attempt(record())).kind == kind
        assert Moving.prepared == MAX_CONFLICTS + 1
        assert len(await runtime.rows(select(effects))) == (kind == "done")


async def test_the_database_is_down_when_the_disk_refuses(tmp_path: Path) -> None:
    async with MemoryRuntime(Recording(), database_url=f"sqlite:///{tmp_path}/test.db") as runtime:
        await runtime.database.close()  # no connection is open any more
        (tmp_path / "test.db").unlink()
        (tmp_path / "test.db").mkdir()
        outcome = await runtime.attempt(record())
        assert outcome.kind == "unavailable"
        assert isinstance(outcome.error, DatabaseDown)
        assert not await runtime.database.answers(5)
        (tmp_path / "test.db").rmdir()
        assert await runtime.database.answers(5)


async def test_prepare_cannot_write(tmp_path: Path) -> None:
    class Writing(Recording):
        async def prepare(self, event: Event, ctx: Context) -> None:
            await ctx.db.execute(effects.insert().values(event_id="by prepare"))

    async with MemoryRuntime(Writing(), database_url=f"sqlite:///{tmp_path}/test.db") as runtime:
        outcome = await runtime.attempt(record())
        assert outcome.kind == "retry"
        assert await runtime.rows(select(effects)) == []


async def test_concurrent_deliveries_of_one_event_have_one_effect(database_url: str) -> None:
    async with MemoryRuntime(Recording(), database_url=database_url) as runtime:
        outcomes = await asyncio.gather(*(runtime.attempt(record("e1")) for _ in range(8)))
        assert sorted(o.kind for o in outcomes) == ["done"] + ["seen"] * 7
        assert len(await runtime.rows(select(effects))) == 1


async def test_hooks_run_around_the_events() -> None:
    calls: list[str] = []

    class Hooked(Recording):
        async def start(self) -> None:
            calls.append("start")

        async def stop(self) -> None:
            calls.append("stop")

        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            calls.append("handle")

    async with MemoryRuntime(Hooked()) as runtime:
        await runtime.attempt(record())
    assert calls == ["start", "handle", "stop"]


async def test_a_resync_request_is_held_back_until_it_is_due() -> None:
    class Looking(Recording):
        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            assert event.type == RESYNC_REQUESTED

    def request(in_s: int) -> Any:
        due_ms = int(time.time() * 1000) + in_s * 1000
        request = resync_requested(
            id=f"r{in_s}", app="default", corp_id="c", now_ms=due_ms, since_ms=0, part="all", reason="test"
        )
        return orjson.loads(request.value)

    async with MemoryRuntime(Looking()) as runtime:
        waits = await runtime.attempt(request(600))
        assert (waits.kind, waits.counts) == ("retry", False)
        assert waits.after is not None
        assert 500 < waits.after <= 600
        assert (await runtime.attempt(request(0))).kind == "done"
        assert (await runtime.attempt(request(86_400))).kind == "done"  # a clock is wrong


async def test_a_test_that_gives_no_dingtalk_is_told_how() -> None:
    class Asking(Recording):
        async def prepare(self, event: Event, ctx: Context) -> Any:
            return await ctx.dingtalk.user("u1")

    async with MemoryRuntime(Asking()) as runtime:
        with pytest.raises(SettingsError, match=r"MemoryRuntime\(…, dingtalk=…\)"):
            await runtime.deliver(record())
        assert (await runtime.attempt(record())).kind == "unavailable"


async def test_work_keeps_order_retries_and_gives_up_as_the_worker_does() -> None:
    consumer = Scripted(
        {"b": [Retry("not yet")] * 2, "c": [Reject("never")], "d": [ValueError("a fault")] * 99}
    )
    async with MemoryRuntime(consumer) as runtime:
        records = [
            record(name, user)
            for name, user in (("a", "u1"), ("b", "u1"), ("a2", "u1"), ("c", "u2"), ("d", "u3"))
        ]
        letters = await runtime.work(*records)
        assert sorted(letter.attempts for letter in letters) == [1, Scripted.max_attempts]
        assert consumer.seen.count("b") == 3
        assert [name for name in consumer.seen if name in ("a", "b", "a2")] == ["a", "b", "b", "b", "a2"]
        assert await runtime.work(records[0]) == []
        assert consumer.seen.count("a") == 1


class Reading(Recording):
    """Reads beside its own transaction, as the worker allows with every database."""

    handler_timeout_s = 5

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        await super().handle(event, tx, prepared)
        self.read = (await self.database.reader().execute(select(effects))).all()


async def test_a_handler_may_read_beside_its_transaction(database_url: str) -> None:
    async with MemoryRuntime(consumer := Reading(), database_url=database_url) as runtime:
        assert (await runtime.deliver(record("e1"))).kind == "done"
        assert consumer.read == [], "what is not committed is not seen"
        assert len(await runtime.rows(select(effects))) == 1


async def test_each_attempt_has_the_events_data_as_they_came() -> None:
    class Taking(Recording):
        """Takes the event's data apart, and fails."""

        seen: ClassVar[list[list[str]]] = []

        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            data = cast("dict[str, Any]", event.data)
            self.seen.append(sorted(data))
            data.popitem()
            raise ValueError

    async with MemoryRuntime(Taking()) as runtime:
        (failure,) = await runtime.work(record("e1"))
    assert Taking.seen[0]
    assert [Taking.seen[0]] * failure.attempts == Taking.seen


@pytest.mark.parametrize("begins", ["itself", "a task of its own"])
async def test_a_transaction_of_its_own_inside_a_handler_is_refused_in_words(begins: str) -> None:
    class Nesting(Recording):
        handler_timeout_s = 1  # without the refusal it waits for its own transaction

        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            await (self.nested() if begins == "itself" else asyncio.create_task(self.nested()))

        async def nested(self) -> None:
            async with self.database.transaction() as other:
                await other.execute(effects.insert().values(event_id="nested"))

    async with MemoryRuntime(Nesting()) as runtime:
        outcome = await runtime.attempt(record("e1"))
        assert outcome.kind == "reject"
        assert "write with the `tx` that it was given" in str(outcome.error)
        await cast("Nesting", runtime.consumer).nested()  # beside the events there may be any number
        assert len(await runtime.rows(select(effects))) == 1


async def test_what_a_handler_leaves_to_a_task_may_begin_a_transaction_later() -> None:
    class Leaving(Recording):
        left: asyncio.Task[None]

        async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
            self.ended = asyncio.Event()
            self.left = asyncio.create_task(self.later())

        async def later(self) -> None:
            await self.ended.wait()
            async with self.database.transaction() as tx:
                await tx.execute(effects.insert().values(event_id="later"))

    consumer = Leaving()
    async with MemoryRuntime(consumer) as runtime:
        assert (await runtime.attempt(record("e1"))).kind == "done"
        consumer.ended.set()
        await consumer.left
        assert [row.event_id for row in await runtime.rows(select(effects))] == ["later"]
