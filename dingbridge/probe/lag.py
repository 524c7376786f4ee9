"""How late reads are behind events: each entity that an event names is read at once, and again, until the
read agrees with the event.

A read agrees if whoever was added or started is there, whoever left or was removed is not, and an approval
that ended has its end. An edit names no state to expect: it is read to the last step, and counts as late if
an earlier read differs from the last one. DingTalk's documentation promises nothing about reads after an
event.
"""

import asyncio
import contextlib
import itertools
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiokafka import TopicPartition

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.error_codes import means_not_there
from dingbridge.dingtalk.errors import ApiError
from dingbridge.dingtalk.replies import integer
from dingbridge.events.catalogue import catalogue
from dingbridge.events.envelope import Drift
from dingbridge.events.event import Event, NotAnEvent, decode
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.schema.drift import drift_of
from dingbridge.settings import KafkaSettings
from dingbridge.tasks import end

STEPS_S: Final = (0.0, 2.0, 10.0, 60.0)
POLL_S: Final = 1.0
TOPICS_EVERY: Final = 10
"""Polls between two looks at which topics there are."""

Wanted = Literal["there", "gone", "ended", "same"]
_CONTACTS: Final[Mapping[str, tuple[str, Wanted]]] = {
    "user_add_org": ("user", "there"),
    "user_modify_org": ("user", "same"),
    "user_leave_org": ("user", "gone"),
    "org_dept_create": ("department", "there"),
    "org_dept_modify": ("department", "same"),
    "org_dept_remove": ("department", "gone"),
}
_APPROVALS: Final[Mapping[str, Wanted]] = {
    "start": "there",
    "finish": "ended",
    "terminate": "ended",
    "delete": "gone",
}
_APPROVAL: Final = "bpms_instance_change"
_OPEN: Final = ("NEW", "RUNNING")
EVENT_TYPES: Final = (*_CONTACTS, _APPROVAL)


@dataclass(frozen=True, slots=True)
class Entity:
    """What an event names: its ``kind``, its id, what a read must say; ``at_s``: its time (epoch s)."""

    kind: str
    entity_id: str = field(repr=False)
    wanted: Wanted
    at_s: float


@dataclass(frozen=True, slots=True)
class Lag:
    """Of one entity: at which step (s after the first read) reads agreed, ``None`` for never; how old the
    event was at the first read (s); the code of a ``refusal`` that ended it."""

    kind: str
    wanted: Wanted
    step_s: float | None
    age_s: float
    refusal: str | None = None


@dataclass
class Watched:
    """What came while the probe watched. ``events`` counts by EventType; ``left_out`` are entities beyond the
    number that was announced; ``drift`` has each EventType's differences from the catalogue."""

    lags: list[Lag] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    drift: dict[str, set[Drift]] = field(default_factory=dict)


def entity_of(event: Event) -> Entity | None:
    """What ``event`` names, ``None`` where no read can be compared with it."""
    if event.event_type == _APPROVAL:
        kind, wanted = "approval", _APPROVALS.get(str(event.data.get("type")))
    else:
        kind, wanted = _CONTACTS.get(event.event_type, ("", None))
    if wanted is None or not event.subject or (kind == "department" and integer(event.subject) is None):
        return None
    return Entity(kind, event.subject, wanted, event.time.timestamp())


async def follow(
    entity: Entity,
    client: DingTalkClient,
    steps_s: Sequence[float],
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Lag:
    """Read ``entity`` at each step until the read agrees."""
    age_s, seen, before_s = time.time() - entity.at_s, list[Mapping[str, Any] | None](), 0.0
    for step_s in steps_s:
        await sleep(step_s - before_s)
        before_s = step_s
        try:
            document: Mapping[str, Any] | None = await _read(client, entity)
        except ApiError as error:
            if not means_not_there(error):
                return Lag(entity.kind, entity.wanted, None, age_s, error.code or type(error).__name__)
            document = None
        if entity.wanted == "same":
            seen.append(document)
        elif _agrees(entity.wanted, document):
            return Lag(entity.kind, entity.wanted, step_s, age_s)
    step = steps_s[seen.index(seen[-1])] if seen else None
    return Lag(entity.kind, entity.wanted, step, age_s)


def _agrees(wanted: Wanted, document: Mapping[str, Any] | None) -> bool:
    if wanted == "gone":
        return document is None
    return document is not None and (wanted == "there" or document.get("status") not in _OPEN)


async def _read(client: DingTalkClient, entity: Entity) -> Mapping[str, Any]:
    if entity.kind == "user":
        return await client.user(entity.entity_id)
    if entity.kind == "department":
        return await client.department(int(entity.entity_id))
    return await client.approval(entity.entity_id)


async def watch(
    events: AsyncIterator[Event],
    client: DingTalkClient,
    for_s: float,
    seen: Watched,
    *,
    app: str,
    most: int,
    kinds: Sequence[str],
    steps_s: Sequence[float] = STEPS_S,
) -> None:
    """Follow the entities of ``events`` of ``app`` that come in ``for_s``: ``most`` of them, of these
    ``kinds``; ``seen`` keeps what came. Waits for the last reads. Raises what ``events`` raises."""
    following: dict[tuple[str, str], asyncio.Task[Lag]] = {}

    async def collect() -> None:
        async for event in events:
            if event.app != app or event.event_type not in EVENT_TYPES:
                continue
            seen.events[event.event_type] += 1
            seen.drift.setdefault(event.event_type, set()).update(_drift(event))
            entity = entity_of(event)
            if entity is None or entity.kind not in kinds or (entity.kind, entity.entity_id) in following:
                continue
            if len(following) >= most:
                seen.left_out += 1
                continue
            reading = asyncio.create_task(follow(entity, client, steps_s))
            following[entity.kind, entity.entity_id] = reading

    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await collect()
        seen.lags = list(await asyncio.gather(*following.values()))
    finally:
        await end(*following.values())


async def arriving(
    settings: KafkaSettings, ready: Callable[[], object], poll_s: float = POLL_S
) -> AsyncIterator[Event]:
    """Events of contacts and approvals that reach their topics from now on, without end; ``ready`` is called
    when now is. Raises ``KafkaUnavailable``."""
    names = {event_topic(settings, event_type) for event_type in EVENT_TYPES}
    async with TopicReader(settings) as reader:
        read: dict[TopicPartition, int] | None = None
        for poll in itertools.count():
            if poll % TOPICS_EVERY == 0:  # a topic is made by the first event of its type
                topics = {n: count for n, count in (await existing_topics(settings)).items() if n in names}
            spans = await reader.spans(topics)
            if read is None:
                read = {partition: span.end for partition, span in spans.items()}
                ready()
            new = {
                partition: Span(read.get(partition, span.begin), span.end)
                for partition, span in spans.items()
            }
            async for record in reader.read(new):
                with contextlib.suppress(NotAnEvent):
                    yield decode(record.value)
            read |= {partition: span.end for partition, span in spans.items()}
            await asyncio.sleep(poll_s)


def _drift(event: Event) -> Sequence[Drift]:
    spec = catalogue.get(event.event_type)
    if spec is None or event.form not in spec.spellings:
        return ()
    return drift_of(spec, event.form, event.data)  # type: ignore[arg-type]


def distribution(lags: Sequence[Lag]) -> list[dict[str, Any]]:
    """By kind and wanted state: how many entities agreed at which step, never or not at all for a refusal;
    the events' age at the first read (s: least, median, most)."""
    rows = []
    for kind, wanted in sorted({(lag.kind, lag.wanted) for lag in lags}):
        group = [lag for lag in lags if (lag.kind, lag.wanted) == (kind, wanted)]
        agreed = Counter(lag.step_s for lag in group if lag.step_s is not None)
        ages = [round(lag.age_s, 1) for lag in group]
        rows.append(
            {
                "kind": kind,
                "wanted": wanted,
                "entities": len(group),
                "agreed_at_s": {f"{step:g}": agreed[step] for step in sorted(agreed)},
                "never": sum(lag.step_s is None and lag.refusal is None for lag in group),
                "refused": sum(lag.refusal is not None for lag in group),
                "age_s": [min(ages), round(statistics.median(ages), 1), max(ages)],
            }
        )
    return rows
