"""Collecting the demo's figures: what DingTalk saw, what the ingress says, what is in Kafka and tables.

Shows nothing and decides nothing. The order in which one look asks around is what makes ``lost`` right.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from dev.demo.databases import Counts, OaDatabases
from dev.demo.processes import CONSUMERS, Processes
from dev.demo.topics import Record, TopicReader
from dev.demo.verification import (
    Verification,
    lost_for_certain,
    refused_subjects,
    table_differences,
    unreported,
)
from dingbridge.errors import BridgeError

_TIMEOUT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True)
class Figures:
    """One look. ``pushed``, ``answered``, ``given_up`` and ``pending`` count pushes, ``failed_attempts``
    deliveries; p50 and p99 are ms from DingTalk's side. ``waiting`` is the journal's backlog, None while the
    ingress does not answer. ``missing`` callbacks were answered and are not in Kafka; of these ``lost`` are
    not in the journal either."""

    elapsed_s: float = 0.0
    pushed: int = 0
    answered: int = 0
    failed_attempts: int = 0
    given_up: int = 0
    pending: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    waiting: int | None = None
    missing: int = 0
    lost: int = 0
    topics: dict[str, int] = field(default_factory=dict)
    dead_letters: int = 0
    rows: Counts = field(default_factory=Counts)

    @property
    def records(self) -> int:
        return sum(self.topics.values())

    @property
    def ingress_up(self) -> bool:
        return self.waiting is not None


class Poller:
    """``async with``; ``look`` as often as wanted. Raises ``BridgeError`` when a part cannot be asked, the
    ingress excepted."""

    def __init__(self, processes: Processes) -> None:
        self._stack = processes
        self._simulator = processes.url("simulator")
        self._prefix = processes.kafka_settings.topic_prefix
        self._settled_id = 0
        self._settled_later: set[int] = set()
        self._lost = 0
        self._began = time.monotonic()
        self._by_key: Counter[bytes] = Counter()
        self.checked = Verification()
        self.refused: dict[str, int] = {}
        """How many users and departments that had an event DingTalk refuses, by the last comparison."""
        self.unreported: dict[str, int] = {}
        """How many users and departments may have gone without an event, by the last comparison."""
        self.databases = OaDatabases(processes.folder)
        self.reader = TopicReader(processes.kafka_settings, self._record)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            await self.reader.__aenter__()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.reader.__aexit__(*exc)
        await self._session.close()

    async def poll(self) -> Figures:
        """All figures as they are now."""
        # answers, then journal, then Kafka: whatever is answered and gone from the journal must then be seen
        await self._take_pushes()
        waiting = await self._waiting()
        await self.reader.catch_up()
        missing = len(self.checked.missing())
        self._lost = lost_for_certain(missing, waiting, self._lost)
        stats = await self._ask("GET", "/_sim/stats")
        return Figures(
            elapsed_s=time.monotonic() - self._began,
            pushed=stats["pushed"],
            answered=stats["answered"],
            failed_attempts=stats["attempts"] - stats["answered"],
            given_up=stats["failed"] + stats["dropped"] + stats["lost"],
            pending=stats["pending"],
            p50_ms=stats["p50_ms"],
            p99_ms=stats["p99_ms"],
            waiting=waiting,
            missing=missing,
            lost=self._lost,
            topics={t.removeprefix(self._prefix): n for t, n in self.reader.counts.items()},
            dead_letters=self.reader.dead_letters,
            rows=await asyncio.to_thread(self.databases.counts),
        )

    async def lag(self) -> int:
        """Records that the consumers have not committed."""
        return await self.reader.lag(CONSUMERS)

    async def set_rate(self, per_second: float) -> None:
        """So many events per second happen in the company from now on."""
        self._began = time.monotonic()
        await self._ask("POST", "/_sim/rate", {"per_second": per_second})

    async def drain(self, timeout_s: float) -> bool:
        """The company rests; waits until no push or retry is pending. False when that takes too long."""
        answer = await self._ask("POST", "/_sim/drain", {"timeout_s": timeout_s}, timeout_s + 10)
        return bool(answer["drained"])

    async def events_about(self, key: str) -> int:
        """Records of the event topics with this key."""
        await self.reader.catch_up()
        return self._by_key[key.encode()]

    async def act(self, action: str, **arguments: object) -> None:
        """Makes something happen in the company."""
        await self._ask("POST", "/_sim/act", {"action": action, **arguments})

    async def state(self) -> dict[str, Any]:
        """The company as DingTalk has it."""
        return await self._ask("GET", "/_sim/state")

    async def table_differences(self) -> list[str]:
        """Where the OA tables differ from the company. Meaningful once everything has come to rest."""
        state = await self.state()
        self.refused = {kind: len(ids) for kind, ids in refused_subjects(state, self.checked).items()}
        self.unreported = {kind: len(ids) for kind, ids in unreported(state, self.checked).items()}
        tables = await asyncio.to_thread(self.databases.tables)
        return table_differences(state, tables, self.checked)

    def _record(self, record: Record) -> None:
        self._by_key[record.key or b""] += 1
        self.checked.record(record.topic.removeprefix(self._prefix), record.key, record.value)

    async def _take_pushes(self) -> None:
        """Hands every push to the verification, once, when it has come to its end."""
        answer = await self._ask("GET", f"/_sim/pushes?since={self._settled_id}")
        unbroken = True
        for push in answer["pushes"]:
            id_ = push["id"]
            if push["state"] == "pending":
                unbroken = False
                continue
            if id_ not in self._settled_later:
                self.checked.push(push["plaintext"].encode(), answered=push["answered_success"])
                self._settled_later.add(id_)
            if unbroken:
                self._settled_id = id_
                self._settled_later.discard(id_)

    async def _waiting(self) -> int | None:
        try:
            async with self._session.get(f"{self._stack.url('ingress')}/readyz") as answer:
                details = await answer.json()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        waiting = details.get("journal", {}).get("waiting")
        return waiting if isinstance(waiting, int) else None

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, timeout_s: float = 10
    ) -> dict[str, Any]:
        try:
            async with self._session.request(
                method,
                f"{self._simulator}{path}",
                json=body,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as answer:
                answer.raise_for_status()
                result: dict[str, Any] = await answer.json()
                return result
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise BridgeError(
                f"the simulator does not answer {path.partition('?')[0]} ({type(error).__name__}); "
                "see simulator.log in the demo's logs/"
            ) from error
