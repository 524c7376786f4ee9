"""What Kafka showed, as findings: connection, rights, topics that are missing, copies, retention. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from dingbridge.doctor.checks.kafka import Seen, Topic
from dingbridge.doctor.findings import Both, Finding, found
from dingbridge.kafka.client import principal
from dingbridge.kafka.topic_policy import retention_days
from dingbridge.settings import KafkaSettings

_DAY_MS: Final = 86_400_000
_KINDS: Final = frozenset({"unreachable", "credentials", "mechanism", "no_sasl", "tls", "protocol", "failed"})

Needs = Mapping[str, Sequence[tuple[str, str]]]


def judge(seen: Seen, settings: KafkaSettings, needs: Needs) -> list[Finding]:
    """``needs`` is ``{topic: [(part, operation)]}``; a consumer's group has the part's name."""
    where = settings.kafka_bootstrap_servers
    if seen.failure is not None:
        kind, said = seen.failure
        return [found(f"kafka.{kind if kind in _KINDS else 'failed'}", where=where, said=said)]
    findings = [
        *_rights(seen, settings, needs),
        *_missing(seen.topics, settings),
        *_copies(seen),
        *_retention(seen.topics, settings),
    ]
    there = sum(not topic.missing and not topic.denied for topic in seen.topics.values())
    well = not any(finding.code in _BAD for finding in findings)
    first = [found("kafka.ok", where=where, brokers=seen.brokers, topics=there)] if well else []
    return [*first, *findings]


OF_THE_USER: Final = frozenset({"kafka.rights", "kafka.create"})
"""Findings about what the user of this process may do."""
_BAD: Final = frozenset({"kafka.rights", "kafka.create", "kafka.refused", "kafka.offline"})


def _who(settings: KafkaSettings) -> Both:
    name = principal(settings)
    return Both(name, name.replace("user ", "用户 ").replace("a client without a name", "没有用户名的客户端"))


def _rights(seen: Seen, settings: KafkaSettings, needs: Needs) -> list[Finding]:
    lacking: dict[str, list[str]] = {}
    untold = False
    for name, wanted in needs.items():
        topic = seen.topics.get(name, Topic(missing=True))
        if topic.missing:
            continue  # what is there to be allowed shows when it is made
        untold |= not topic.denied and topic.may is None
        for part, operation in wanted:
            if topic.denied or (topic.may is not None and operation not in topic.may):
                lacking.setdefault(part, []).append(f"{operation} on topic {name}")
    for group, may in seen.groups.items():
        untold |= may is None
        if may is not None and "READ" not in may:
            lacking.setdefault(group, []).append(f"READ on group {group}")
    findings = [
        found("kafka.rights", part=part, who=_who(settings), rights=rights)
        for part, rights in lacking.items()
    ]
    return [*findings, *([found("kafka.rights_unknown")] if untold else [])]


def _missing(topics: Mapping[str, Topic], settings: KafkaSettings) -> list[Finding]:
    missing = {name: topic.create for name, topic in topics.items() if topic.missing}
    findings = []
    if denied := [name for name, create in missing.items() if create == "denied"]:
        findings.append(found("kafka.create", who=_who(settings), topics=denied))
    if refused := [name for name, create in missing.items() if create not in ("", "denied")]:
        findings.append(found("kafka.refused", topics=refused, reason=missing[refused[0]]))
    if later := sum(not create for create in missing.values()):
        findings.append(found("kafka.missing", count=later))
    return findings


def _copies(seen: Seen) -> list[Finding]:
    there = {name: t for name, t in seen.topics.items() if not t.missing and not t.denied}
    findings = []
    if offline := [name for name, topic in there.items() if topic.leaderless]:
        findings.append(found("kafka.offline", topics=offline))
    if behind := [name for name, topic in there.items() if not topic.in_step and not topic.leaderless]:
        findings.append(found("kafka.replicas", topics=behind))
    wanted = min(3, seen.brokers)
    if few := [name for name, topic in there.items() if topic.copies < wanted and not topic.leaderless]:
        findings.append(found("kafka.replication", topics=few, brokers=seen.brokers, wanted=wanted))
    if seen.brokers == 1:
        findings.append(found("kafka.one_broker"))
    return findings


def _retention(topics: Mapping[str, Topic], settings: KafkaSettings) -> list[Finding]:
    longer, shorter, untold = [], [], 0
    for name, topic in topics.items():
        if topic.missing or topic.denied:
            continue
        if topic.retention_ms is None:
            untold += 1
            continue
        ours, theirs = retention_days(settings, name) * _DAY_MS, topic.retention_ms
        if theirs < 0 or theirs > ours:
            longer.append(_days(name, theirs, ours))
        elif theirs < ours:
            shorter.append(_days(name, theirs, ours))
    return [
        *_listed("kafka.retention", longer),
        *_listed("kafka.short", shorter),
        *([found("kafka.retention_unknown", who=_who(settings), count=untold)] if untold else []),
    ]


def _days(name: str, theirs_ms: int, ours_ms: int) -> Both:
    ours = f"{ours_ms / _DAY_MS:g}"
    if theirs_ms < 0:
        return Both(f"{name} (for ever, not {ours} days)", f"{name}（永久，而不是 {ours} 天）")
    theirs = f"{theirs_ms / _DAY_MS:g}"
    return Both(f"{name} ({theirs} days, not {ours})", f"{name}（{theirs} 天，而不是 {ours} 天）")


def _listed(code: str, topics: Iterable[Both]) -> list[Finding]:
    listed = list(topics)
    return [found(code, topics=listed)] if listed else []
