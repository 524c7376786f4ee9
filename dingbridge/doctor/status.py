"""How the bridge is now, from the private listeners of ingresses and from Kafka: ``dingbridge status``.

The readings and judgements are those of the doctor's checks. Nothing is pushed, tried or changed, and
neither the Open API nor a database is asked.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from dingbridge.doctor.checks import consumers, dead_letters, ingress, kafka, kafka_judge
from dingbridge.doctor.checks.settings import Part
from dingbridge.doctor.findings import Finding, Level, Words
from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import explained
from dingbridge.kafka.group_lag import Group
from dingbridge.settings import KafkaSettings

_GROUPS_WITHIN_S: Final = 30.0
"""A broker that is frozen takes connections and never answers."""


@dataclass(frozen=True, slots=True)
class Seen:
    """``failure`` is Kafka's, as ``explained`` gives it; then ``groups`` and ``letters`` are empty."""

    ingresses: Sequence[ingress.Seen] = ()
    groups: Mapping[str, Group] = field(default_factory=dict)
    letters: dead_letters.Seen = field(default_factory=dead_letters.Seen)
    failure: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One part: an ingress, Kafka, or a consumer. ``figures`` are plain JSON, None where a figure is not
    known; ``findings`` are about what is not well."""

    part: str
    figures: Mapping[str, Any]
    findings: Sequence[Finding] = ()

    def level(self, table: Mapping[str, Words]) -> Level:
        """The worst one of its findings."""
        levels = [finding.level(table) for finding in self.findings]
        return max(levels, key=list(Level).index, default=Level.OK)


async def look(
    settings: KafkaSettings, listeners: Sequence[str], parts: Sequence[Part], *, others: bool
) -> Seen:
    """Ask the ingresses at ``listeners`` (as ``http://127.0.0.1:8081``), and Kafka about ``parts``; if
    ``others``, also about each further consumer that has dead letters. Never raises for their sake."""
    async with aiohttp.ClientSession() as session:
        of_ingresses = asyncio.gather(*(ingress.look(session, admin) for admin in listeners))
        of_kafka = await _kafka(settings, parts, others)
        return Seen(await of_ingresses, *of_kafka)


async def _kafka(
    settings: KafkaSettings, parts: Sequence[Part], others: bool
) -> tuple[Mapping[str, Group], dead_letters.Seen, tuple[str, str] | None]:
    try:
        async with asyncio.timeout(_GROUPS_WITHIN_S):
            groups = await consumers.groups(settings, parts)
        letters = await dead_letters.look(settings, None if others else [part.name for part in parts])
        more = [Part(name, ()) for name, count in letters.waiting.items() if count and name not in groups]
        async with asyncio.timeout(_GROUPS_WITHIN_S):
            groups |= await consumers.groups(settings, more) if more else {}
    except (KafkaUnavailable, TimeoutError) as error:
        return {}, dead_letters.Seen(), explained(error.__cause__ or error, settings)
    return groups, letters, None


def judge(seen: Seen, settings: KafkaSettings, wanted: Sequence[str] = ()) -> list[Line]:
    """``wanted`` are the parts that were named by hand. Another consumer without members, offsets and dead
    letters is installed and not in use."""
    lines = [_ingress(one) for one in seen.ingresses]
    failed = kafka_judge.judge(kafka.Seen(seen.failure), settings, {}) if seen.failure is not None else []
    unread = dead_letters.Seen(unread={name: why for name, why in seen.letters.unread.items() if name == "*"})
    lines.append(Line("kafka", {"answers": not failed}, [*failed, *dead_letters.judge(unread)]))
    return [*lines, *(_consumer(name, group, seen.letters, wanted) for name, group in seen.groups.items())]


def _ingress(seen: ingress.Seen) -> Line:
    journal = seen.details.get("journal") or {}
    figures: dict[str, Any] = {"listener": seen.admin, "takes_writes": seen.ready}
    if seen.absent is not None:
        figures |= {"takes_writes": None, "waiting": None, "oldest_s": None, "parked": None}
    else:
        oldest_s, parked = round(seen.oldest_s, 1), sum(seen.parked.values())
        figures |= {"waiting": journal.get("waiting"), "oldest_s": oldest_s or None, "parked": parked}
    return Line("ingress", figures, [one for one in ingress.judge(seen) if one.code != "ingress.ready"])


def _consumer(name: str, group: Group, letters: dead_letters.Seen, wanted: Sequence[str]) -> Line:
    unread = letters.unread.get(name)
    count = letters.waiting.get(name, None if unread or "*" in letters.unread else 0)
    in_use = bool(group.began or group.members or count or name in wanted)
    oldest_s = None if group.oldest_s is None else round(group.oldest_s, 1)
    figures = {"members": group.members, "lag": group.lag, "oldest_s": oldest_s, "letters": count}
    mine = dead_letters.Seen({name: count or 0}, {name: unread} if unread else {})
    findings = [*consumers.judge(consumers.Seen({name: group}), wanted), *dead_letters.judge(mine)]
    return Line(
        name,
        {"in_use": in_use, **figures},
        [one for one in findings if one.code != "consumer.ok"] if in_use else [],
    )
