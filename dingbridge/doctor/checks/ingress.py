"""The running ingress: ready, answering a push of ours; its relay; owner keys that it met; its refusals."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from dingbridge.dingtalk.crypto import Credentials
from dingbridge.dingtalk.errors import CALLBACK_FAULTS
from dingbridge.doctor.checks.network import Push, get, get_json, push
from dingbridge.doctor.checks.url import of_push
from dingbridge.doctor.findings import Both, Finding, found
from dingbridge.settings import IngressSettings, JournalSettings

OWNERS_PATH: Final = "/owners"
_UNSIGNED: Final = frozenset({"signature", "parameters"})
"""Reasons of a refusal that do not show that the sender was DingTalk."""
_SIGNED_FAULTS: Final = frozenset(CALLBACK_FAULTS) - _UNSIGNED
BEHIND_S: Final = 60.0
"""From this age on, in s, what waits for Kafka is late, as the alert has it (deploy/prometheus)."""
_STILL_S: Final = 5.0
_STALE_S: Final = 6 * 3600  # as the alert has it (deploy/prometheus)
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True)
class Recovery:
    """How far the ingress is with DingTalk's failed list. ``last``: when it was read to its end, or else the
    start of the ingress, epoch s; 0 where it is not read by itself."""

    last: float = 0.0
    items: int = 0
    pages_missing: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """``absent`` is why the private listener does not answer; ``refused`` counts refusals by outcome and
    reason since the ingress started. ``relay`` is the state of its relay, which ``/readyz`` has under
    ``kafka``. ``parked`` counts callbacks by reason. ``other_company``: how many pushes of the app named
    another company than its own, and which the last one did. ``oldest_s``: for how long the oldest callback
    waits for Kafka; ``publishes``: while it is late, Kafka took records."""

    url: str
    admin: str
    absent: Both | None = None
    ready: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    push: Push | None = None
    owners: Sequence[Mapping[str, Any]] = ()
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    recovery: Recovery = field(default_factory=Recovery)
    relay: Mapping[str, Any] = field(default_factory=dict)
    parked: Mapping[str, int] = field(default_factory=dict)
    other_company: Mapping[str, Any] | None = None
    oldest_s: float = 0.0
    publishes: bool = True


def addresses(settings: IngressSettings, app: str | None = None) -> tuple[str, str]:
    """``(callback URL, private listener's address)`` as this machine reaches them. ``app``: by its path."""
    path = settings.callback_path if app is None else f"{settings.callback_path}/{app}"
    return _at(settings.ingress_host, settings.ingress_port) + path, admin_address(settings)


def admin_address(settings: JournalSettings) -> str:
    """``http://host:port`` of the private listener, as this machine reaches it."""
    return _at(settings.admin_host, settings.admin_port)


def _at(host: str, port: int) -> str:
    host = _ANY.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def look(
    session: aiohttp.ClientSession,
    admin: str,
    *,
    url: str = "",
    credentials: Credentials | None = None,
    app: str = "",
) -> Seen:
    """Asks the private listener ``admin``, then pushes to the public one at ``url``, unless the app has no
    ``credentials`` (Stream mode, or is not known: "")."""
    answer = await get_json(session, f"{admin}/readyz")
    if isinstance(answer, Both):
        return Seen(url, admin, absent=answer)
    pushed = None if credentials is None else await push(session, url, credentials)
    owners = await get_json(session, admin + OWNERS_PATH)
    status, details = answer
    metrics = await get(session, f"{admin}/metrics")
    page = "" if isinstance(metrics, Both) else metrics.text
    relay = details.get("kafka") or {}
    oldest_s = _sum(page, "dingbridge_journal_oldest_waiting_seconds")
    publishes = oldest_s <= BEHIND_S or await _publishes(session, admin)
    companies = relay.get("other_companies") or {}
    known = [] if isinstance(owners, Both) else owners[1].get("owners", [])
    return Seen(
        url,
        admin,
        ready=status == 200,
        details=details,
        push=pushed,
        owners=[entry for entry in known if entry.get("app") == app],
        refused=refused_of(page),
        recovery=recovery_of(page),
        relay=relay,
        parked=parked_of(page),
        other_company=companies.get(app) if app else next(iter(companies.values()), None),
        oldest_s=oldest_s,
        publishes=publishes,
    )


async def _publishes(session: aiohttp.ClientSession, admin: str) -> bool:
    """Return whether the count of published records grows within ``_STILL_S``."""

    async def published() -> float:
        metrics = await get(session, f"{admin}/metrics")
        return 0.0 if isinstance(metrics, Both) else _sum(metrics.text, "dingbridge_published_total")

    before = await published()
    await asyncio.sleep(_STILL_S)
    return await published() > before


def refused_of(page: str) -> dict[tuple[str, str], int]:
    """What was refused, from the ingress's metrics."""
    counts: Counter[tuple[str, str]] = Counter()
    for sample in _samples(page):
        if sample.name == "dingbridge_callbacks_total" and sample.labels.get("reason"):
            counts[sample.labels["outcome"], sample.labels["reason"]] += int(sample.value)
    return counts


def parked_of(page: str) -> dict[str, int]:
    """The parked callbacks, by reason, from the ingress's metrics."""
    parked = (sample for sample in _samples(page) if sample.name == "dingbridge_parked" and sample.value)
    return {sample.labels.get("reason", ""): int(sample.value) for sample in parked}


def recovery_of(page: str) -> Recovery:
    """The state of recovery, from the ingress's metrics."""
    sums: defaultdict[str, float] = defaultdict(float)
    for sample in _samples(page):
        sums[sample.name] += sample.value
    return Recovery(
        last=sums["dingbridge_recovery_last_success_timestamp_seconds"],
        items=int(sums["dingbridge_recovery_items_total"]),
        pages_missing=int(sums["dingbridge_recovery_pages_missing_total"]),
    )


def _sum(page: str, name: str) -> float:
    return sum(sample.value for sample in _samples(page) if sample.name == name)


def _samples(page: str) -> Iterator[Sample]:
    return (sample for family in text_string_to_metric_families(page) for sample in family.samples)


def judge(seen: Seen) -> list[Finding]:
    """Ready, publishing, answering, if it was pushed to, and met by pushes that name the app's company."""
    if seen.absent is not None:
        return [found("ingress.absent", address=seen.admin, reason=seen.absent)]
    findings = []
    if not seen.ready:
        words = (seen.details.get("journal") or {}).get("words") or seen.details.get("status") or "?"
        findings.append(found("ingress.not_ready", reason=str(words)))
    state, words = seen.relay.get("state"), str(seen.relay.get("words") or "")
    if state == "restarting":
        findings.append(found("relay.restarting", reason=words))
    elif state in ("down", "stalled"):
        findings.append(found("relay.kafka", reason=words))
    elif not seen.publishes:
        findings.append(found("relay.still", seconds=round(seen.oldest_s)))
    elif seen.oldest_s > BEHIND_S:
        findings.append(found("relay.behind", seconds=round(seen.oldest_s)))
    if seen.other_company is not None:
        findings.append(found("relay.other_company", **seen.other_company))
    if seen.parked:
        findings.append(found("relay.parked", count=sum(seen.parked.values()), reasons=sorted(seen.parked)))
    if seen.push is None:
        return [*findings, found("ingress.ready")] if seen.ready else findings
    if seen.ready or seen.push.outcome != "status":
        findings.append(of_push("ingress", seen.url, seen.push))
    return findings


def judge_owner(seen: Seen, configured: Sequence[str], now: float | None = None) -> list[Finding]:
    """Which owner key DingTalk uses, by what the ingress met since its start. ``now`` is epoch s."""
    if seen.absent is not None:
        return [found("owner.unknown")]
    findings = []
    if count := seen.refused.get(("forbidden", "signature"), 0):
        findings.append(found("owner.signature", count=count))
    refused = [entry for entry in seen.owners if entry["refused"]]
    for entry in refused:
        owner = str(entry["owner"])
        if owner in configured:
            findings.append(found("owner.restart", owner=owner, refused=entry["refused"]))
            continue
        ago_s = max(0, round((time.time() if now is None else now) - entry["last"]))
        wanted = ",".join((*configured, owner))
        values = {"owner": owner, "refused": entry["refused"], "ago_s": ago_s, "wanted": wanted}
        findings.append(found("owner.refused", **values))
    accepted = [entry for entry in seen.owners if entry["accepted"]]
    for entry in accepted:
        findings.append(found("owner.ok", owner=str(entry["owner"]), accepted=entry["accepted"]))
    if not refused and not accepted:
        findings.append(found("owner.unseen"))
    return findings


def judge_failed(seen: Seen, configured: Sequence[str], now: float | None = None) -> list[Finding]:
    """What DingTalk's failed list may hold, without reading it. What was refused for an owner key that is
    ``configured`` here was a push of ours to an ingress with other settings, in an earlier run. ``now`` is
    epoch s."""
    if seen.absent is not None:
        return [found("failed.unasked")]
    findings = []
    if seen.recovery.pages_missing:
        findings.append(found("failed.pages", count=seen.recovery.pages_missing))
    if seen.recovery.last:
        ago_s = max(0.0, (time.time() if now is None else now) - seen.recovery.last)
        if ago_s > _STALE_S:
            return [*findings, found("failed.stale", hours=round(ago_s / 3600))]
        return [*findings, found("failed.read", minutes=round(ago_s / 60), items=seen.recovery.items)]
    count = sum(
        number
        for (outcome, reason), number in seen.refused.items()
        if outcome == "unavailable" or (outcome == "forbidden" and reason in _SIGNED_FAULTS | {"age"})
    )
    count -= sum(entry["refused"] for entry in seen.owners if entry["owner"] in configured)
    return [*findings, found("failed.likely", count=count) if count > 0 else found("failed.unknown")]
