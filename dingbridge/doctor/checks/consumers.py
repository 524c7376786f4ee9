"""The groups of the consumers: whether each has members, and reads on while records wait.

The two looks at committed offsets join no group. A consumer's own listener is not asked: its address is not
known here.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dingbridge.doctor.checks.settings import Part
from dingbridge.doctor.findings import Finding, found
from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.group_lag import Group, committed_offsets
from dingbridge.kafka.group_lag import look as look_at_groups
from dingbridge.kafka.topic_policy import inbox_topic, topics_read
from dingbridge.settings import KafkaSettings

WITHIN_S: Final = 20.0
"""For so long an offset may stand still while records wait: twice the worker's session timeout."""
BEHIND_S: Final = 300.0
"""From this age on, in s, a record that waits is late, as the alert has it (deploy/prometheus)."""
_EACH_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """``still``: groups that have members and of which no offset moved within ``within_s``, while records
    waited. ``failure``: why Kafka did not answer."""

    groups: Mapping[str, Group] = field(default_factory=dict)
    still: frozenset[str] = frozenset()
    within_s: float = WITHIN_S
    failure: str = ""


async def look(settings: KafkaSettings, consumers: Sequence[Part], within_s: float = WITHIN_S) -> Seen:
    """Never raises for Kafka's sake. Takes ``within_s`` only where something stands still."""
    try:
        seen = await groups(settings, consumers)
        # of a record that waits the age is known; what a transaction leaves at a topic's end has none
        still = {name for name, group in seen.items() if group.members and group.oldest_s is not None}
        before = await committed_offsets(settings, sorted(still))
        until = time.monotonic() + within_s
        while still and time.monotonic() < until:
            await asyncio.sleep(min(_EACH_S, within_s))
            now = await committed_offsets(settings, sorted(still))
            still = {name for name in still if now[name] == before[name]}
    except KafkaUnavailable as error:
        return Seen(failure=str(error))
    return Seen(seen, frozenset(still), within_s)


async def groups(settings: KafkaSettings, consumers: Sequence[Part]) -> dict[str, Group]:
    """The group of each consumer, by name. Raises ``KafkaUnavailable``."""
    read = {
        part.name: [
            *topics_read(settings, part.topics, part.control_topics),
            inbox_topic(settings, part.name),
        ]
        for part in consumers
    }
    return await look_at_groups(settings, read)


def judge(seen: Seen, wanted: Sequence[str]) -> list[Finding]:
    """``wanted`` are the parts that were named by hand: these are to run. Another consumer without any
    committed offset may be installed and unused, so it is a warning."""
    if seen.failure:
        return [found("consumer.unknown", reason=seen.failure)]
    findings = []
    running = [name for name, group in seen.groups.items() if group.members]
    for name, group in seen.groups.items():
        values = {"consumer": name, "count": group.lag}
        if name in seen.still:
            findings.append(found("consumer.still", **values, seconds=round(seen.within_s)))
        elif group.lag and not group.members:
            code = "consumer.no_member" if group.began or name in wanted else "consumer.never_read"
            findings.append(found(code, **values))
        elif (group.oldest_s or 0) > BEHIND_S:
            findings.append(found("consumer.behind", **values, minutes=round((group.oldest_s or 0) / 60)))
    if running and not findings:
        findings.append(found("consumer.ok", consumers=running))
    return findings
