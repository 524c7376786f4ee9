"""A DingTalk in memory whose people are hired and removed by hand, and an OA that writes to it by outbound's
rows and agent. Reads lag, replies are lost, and the agent dies between any two steps."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable
from copy import deepcopy
from types import SimpleNamespace
from typing import Any, Self

from prometheus_client import CollectorRegistry
from sqlalchemy import Row, select

from dingbridge import Database, open_database
from dingbridge.consumers.outbound import store
from dingbridge.consumers.outbound.contacts.agent import Agent
from dingbridge.consumers.outbound.contacts.rows import entity_of
from dingbridge.consumers.outbound.contacts.wanted import refetch, release, want
from dingbridge.consumers.outbound.ledger import Kind
from dingbridge.consumers.outbound.messages import Message
from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.consumers.outbound.owners import Owners
from dingbridge.consumers.outbound.settings import OutboundSettings
from dingbridge.consumers.outbound.tables import metadata, outbound_entity
from dingbridge.dingtalk.api.contact_writes import NewUser
from dingbridge.dingtalk.errors import AlreadyExists, NotFound, OutcomeUnknown, RateLimited

CORP = "dingcorp01"
S = 1000
SETTLE_S = 60
_e = outbound_entity.c
_memory = open_database("sqlite://")
"""Lent to one test after the other: its statements are compiled once."""


async def emptied(memory: Database) -> Database:
    """``memory`` with outbound's tables; whatever was left in it is gone."""
    await memory.close()
    database = memory.reopened()
    await database.create_tables(metadata)
    return database


class Faulty:
    """``faults`` are used up write by write."""

    def __init__(self, faults: Iterable[str] = ()) -> None:
        self.faults = list(faults)

    def _written(self, name: str, effect: Callable[[], Any]) -> Any:
        fault = self.faults.pop(0) if self.faults else "ok"
        if fault == "limited":
            raise RateLimited("later", api=name, retry_after_s=1)
        if fault == "killed before":
            raise asyncio.CancelledError
        if fault == "lost before":
            raise OutcomeUnknown("no answer", api=name)
        done = effect()
        if fault == "killed after":
            raise asyncio.CancelledError
        if fault == "lost after":
            raise OutcomeUnknown("no answer", api=name)
        return done


class DingTalk(Faulty):
    """What the agent uses of the client. ``there`` is by kind and DingTalk's id what a read shows, with
    ``who``: the one that it is, whatever it is called."""

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self.clock, self.lag_ms = clock, 0
        self.there: dict[tuple[str, str], dict[str, Any]] = {}
        self.history: list[tuple[int, dict[tuple[str, str], dict[str, Any]]]] = [(-1, {})]
        self.given: set[tuple[str, str, int]] = set()
        """Kind, DingTalk's id and ``who`` of what the agent may write: made by it, or released."""
        self.strangers: list[tuple[str, str, str]] = []
        """Writes to somebody else."""
        self.numbers = itertools.count(1)
        self.hide_unionid = False

    def put(self, kind: str, ding_id: str, entry: dict[str, Any] | None) -> None:
        if entry is None:
            self.there.pop((kind, ding_id), None)
        else:
            self.there[kind, ding_id] = entry
        self.history.append((self.clock(), deepcopy(self.there)))

    def seen(self) -> dict[tuple[str, str], dict[str, Any]]:
        return next(there for at, there in reversed(self.history) if at <= self.clock() - self.lag_ms)

    def add(self, kind: str, ding_id: str, fields: dict[str, Any], who: int | None = None) -> int:
        who = next(self.numbers) if who is None else who
        mark = {"unionid": f"union-{who}"} if kind == "user" and not self.hide_unionid else {}
        self.put(kind, ding_id, {**mark, **fields, "who": who})
        return who

    def _touch(self, kind: str, ding_id: str, verb: str, fields: dict[str, Any] | None) -> None:
        entry = self.there.get((kind, ding_id))
        if entry is None:
            raise NotFound("nobody", api=verb)
        if (kind, ding_id, entry["who"]) not in self.given:
            self.strangers.append((verb, kind, ding_id))
        self.put(kind, ding_id, None if fields is None else {**entry, **fields})

    async def user(self, userid: str) -> dict[str, Any]:
        return self._read("user", userid)

    async def department(self, dept_id: int) -> dict[str, Any]:
        return self._read("department", str(dept_id))

    def _read(self, kind: str, ding_id: str) -> dict[str, Any]:
        if (entry := self.seen().get((kind, ding_id))) is None:
            raise NotFound("nobody", api=kind)
        return dict(entry)

    async def userid_by_mobile(self, mobile: str) -> str | None:
        found = [id_ for (kind, id_), one in self.seen().items() if one.get("mobile") == mobile]
        return found[0] if found else None

    async def sub_departments(self, parent: int) -> list[dict[str, Any]]:
        return [
            {"dept_id": int(id_), "name": one["name"]}
            for (kind, id_), one in self.seen().items()
            if kind == "department" and one["parent_id"] == parent
        ]

    async def create_user(self, fields: dict[str, Any]) -> NewUser:
        def effect() -> NewUser:
            userid = str(fields["userid"])
            if ("user", userid) in self.there:
                raise AlreadyExists("userid", api="v2/user/create", errcode=60102)
            if any(one.get("mobile") == fields["mobile"] for one in self.there.values()):
                raise AlreadyExists("mobile", api="v2/user/create", errcode=60104)
            self.given.add(("user", userid, self.add("user", userid, fields)))
            return NewUser(userid, self.there["user", userid].get("unionid"))

        return NewUser(*self._written("v2/user/create", effect))

    async def create_department(self, fields: dict[str, Any]) -> int:
        def effect() -> int:
            if any(
                (one.get("parent_id"), one["name"]) == (fields["parent_id"], fields["name"])
                for one in self.there.values()
            ):
                raise AlreadyExists("name", api="v2/department/create", errcode=60008)
            dept_id = str(1000 + next(self.numbers))
            self.given.add(("department", dept_id, self.add("department", dept_id, fields)))
            return int(dept_id)

        return int(self._written("v2/department/create", effect))

    async def update_user(self, userid: str, fields: dict[str, Any]) -> None:
        self._written("update", lambda: self._touch("user", userid, "update", fields))

    async def update_department(self, dept_id: int, fields: dict[str, Any]) -> None:
        self._written("update", lambda: self._touch("department", str(dept_id), "update", fields))

    async def delete_user(self, userid: str) -> None:
        self._written("delete", lambda: self._touch("user", userid, "delete", None))

    async def delete_department(self, dept_id: int) -> None:
        self._written("delete", lambda: self._touch("department", str(dept_id), "delete", None))


async def once(agent: Any) -> int:
    """Work at what is due, a few at a time; returns how many there were."""
    claimed = await agent.claim(8)
    for ended in await asyncio.gather(*map(agent.work, claimed), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
    return len(claimed)


class World:
    """``async with World.opened(monkeypatch)``: the OA, the hands, and the time."""

    def __init__(self, database: Database, owners: Owners | None = None) -> None:
        self.ms, self.database = 1_731_000_000_000, database
        self.ding = DingTalk(lambda: self.ms)
        self.versions = itertools.count(1)
        self.wanted: dict[tuple[str, str], dict[str, Any] | None] = {}
        settings = OutboundSettings.load(outbound_settle_s=SETTLE_S, outbound_grace_days=0)
        metrics = OutboundMetrics(CollectorRegistry())
        client: Any = self.ding
        self.agent = Agent(database, lambda app, corp_id: client, owners or Owners(), settings, metrics)

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, monkeypatch: Any, **more: Any) -> Any:
        database = await emptied(_memory)
        world = cls(database, **more)
        monkeypatch.setattr(store, "time", SimpleNamespace(time_ns=lambda: world.ms * 1_000_000))
        try:
            yield world
        finally:
            await database.close()

    # the OA

    async def say(self, kind: Kind, own_id: str, fields: dict[str, Any] | None) -> Self:
        self.wanted[kind, own_id] = fields
        type_ = f"{kind}.{'absent' if fields is None else 'desired'}"
        data = {"corpId": CORP, **(fields or {})}
        version = next(self.versions)
        message = Message(type_, kind, own_id, CORP, None, version, data, "/oa", f"m{version}")
        async with self.database.transaction() as tx:
            await want(tx, message, self.ms)
        return self

    async def employ(self, own_id: str, mobile: str = "13900000001", **more: Any) -> Self:
        fields = {"name": f"N{own_id}", "mobile": mobile, "departments": ["root"], "title": f"T{own_id}"}
        return await self.say("user", own_id, {**fields, **more})

    async def dismiss(self, own_id: str) -> Self:
        return await self.say("user", own_id, None)

    # people

    def hire(self, userid: str, mobile: str, name: str = "B") -> int:
        return self.ding.add(
            "user",
            userid,
            {"userid": userid, "name": name, "mobile": mobile, "dept_id_list": [1], "title": "b"},
        )

    async def remove(self, kind: str, ding_id: str) -> None:
        self.ding.put(kind, ding_id, None)
        await self.event(kind, ding_id)

    async def event(self, kind: Any, ding_id: str) -> None:
        async with self.database.transaction() as tx:
            await refetch(tx, CORP, kind, ding_id, None)

    async def release(self, own_id: str) -> None:
        row = await self.row(own_id)
        adopted = row.reason == "adopted"
        if not (adopted or row.result in ("conflict", "refused")):
            return
        if adopted and (there := self.ding.there.get((row.kind, row.ding_id))):
            self.ding.given.add((row.kind, row.ding_id, there["who"]))
        async with self.database.transaction() as tx:
            await release(tx, row)

    def knows(self, row: Row[Any]) -> bool:
        """Whether the row has seen whom it owns, and has no creation open for which one would be taken."""
        ledger = entity_of(row).ledger
        return ledger.mark is not None and ledger.creation is None

    # what follows

    async def work(self, rounds: int = 60, until_ms: int = 3600 * S) -> Self:
        """What is due within ``until_ms``, in so many steps at most; whoever is killed has a successor."""
        end_ms = self.ms + until_ms
        for _ in range(rounds):
            rows = await self.rows()
            due = [max(row.due_ms, row.leased_ms) for row in rows if row.due_ms is not None]
            if not due or min(due) > end_ms:
                break
            self.ms = max(self.ms + 1, min(due))
            with contextlib.suppress(asyncio.CancelledError):
                await once(self.agent)
        return self

    async def rows(self) -> list[Row[Any]]:
        statement = select(outbound_entity).order_by(_e.kind, _e.own_id)
        return list(await self.database.reader().execute(statement))

    async def row(self, own_id: str) -> Row[Any]:
        return next(row for row in await self.rows() if row.own_id == own_id)

    async def result(self, own_id: str) -> str:
        row = await self.row(own_id)
        return "/".join(filter(None, (row.result, row.reason or row.code)))

    def person(self, userid: str) -> dict[str, Any]:
        return self.ding.there["user", userid]
