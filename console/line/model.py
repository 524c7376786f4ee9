"""Which parts the line has, and how each of them is: exactly one state, and why. Pure: no I/O, no clock.

Thresholds are those of ``deploy/prometheus/rules.yml``, without its ``for``: a person is looking.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from dingbridge.console.line.part import Part, State, Trouble, ranked
from dingbridge.console.line.waiting import Waiting, of_consumer
from dingbridge.console.line.window import INGRESS, Reading, Window
from dingbridge.kafka.group_lag import Group

PREFIX: Final = "dingbridge_"
BEHIND_S: Final = 60.0
"""From this age on, in s, what waits for Kafka is late."""
CONSUMER_BEHIND_S: Final = 300.0
LOW_DISK_BYTES: Final = 2 * 1024**3
CLOCK_SKEW_S: Final = 120.0


def line(
    before: Sequence[Reading],
    now: Sequence[Reading],
    groups: Mapping[str, Group],
    installed: Sequence[str],
    waiting: Waiting,
) -> list[Part]:
    """The parts in the order of the line. ``before`` is the oldest reading of the window, ``now`` the newest;
    ``groups`` are as Kafka knows them, also of ``installed`` consumers without a listener. Whose dead letters
    wait is on the line too, wherever it runs."""
    parts = _bridge(Window.of(INGRESS, before, now))
    watched = (reading.name for reading in now if reading.name != INGRESS)
    for name in dict.fromkeys([*watched, *installed, *sorted(waiting.dead_letters)]):
        parts += _consumer(name, Window.of(name, before, now), groups.get(name), waiting)
    return parts


def _bridge(window: Window) -> list[Part]:
    """From the ingress's listener."""
    last = window.most(PREFIX + "last_callback_timestamp_seconds")
    at = max((reading.at for reading in window.now), default=0.0)
    waiting = window.most(PREFIX + "journal_oldest_waiting_seconds")
    return [
        Part(
            "dingtalk",
            troubles=ranked(_dingtalk(window)),
            rate=window.rate(PREFIX + "callbacks_total"),
            oldest_s=max(0.0, at - last) if last else None,
            p99_s=window.p99(PREFIX + "answer_seconds"),
        ),
        Part(
            "journal",
            troubles=ranked(_journal(window)),
            rate=window.rate(PREFIX + "callbacks_total", outcome="kept"),
            oldest_s=waiting,
            p99_s=window.p99(PREFIX + "journal_commit_seconds"),
        ),
        Part(
            "kafka",
            troubles=ranked(_kafka(window)),
            rate=window.rate(PREFIX + "published_total"),
            oldest_s=waiting,
            p99_s=window.p99(PREFIX + "publish_lag_seconds"),
        ),
    ]


def _unreachable(window: Window) -> Iterator[Trouble]:
    for reading in window.silent:
        yield Trouble(State.UNREACHABLE, "unreachable", text=reading.url)


def _dingtalk(window: Window) -> Iterator[Trouble]:
    if not window.answering:
        yield Trouble(State.UNKNOWN, "unknown")
    for reading in window.answering:
        for sample in reading.metrics.samples(PREFIX + "stream_connections"):
            if sample.value == 0:
                yield Trouble(State.STOPPED, "stream_down", {"app": sample.labels.get("app", "")})
    refused = window.grown(PREFIX + "callbacks_total", outcome="forbidden") - window.grown(
        PREFIX + "callbacks_total", outcome="forbidden", reason="signature"
    )
    if refused > 0:
        yield Trouble(State.DEGRADED, "refused", {"count": int(refused)})
    skew = max(map(abs, window.values(PREFIX + "clock_skew_seconds")), default=0)
    if skew > CLOCK_SKEW_S:
        yield Trouble(State.DEGRADED, "clock", {"seconds": int(skew)})
    if window.most(PREFIX + "apps_file_rejected"):
        yield Trouble(State.DEGRADED, "apps_file")


def _journal(window: Window) -> Iterator[Trouble]:
    if 0 in window.values(PREFIX + "journal_writable") or any(not r.ready for r in window.answering):
        yield Trouble(State.STOPPED, "not_writable")
    yield from _unreachable(window)
    if not window.now:
        yield Trouble(State.UNKNOWN, "not_configured")
    refused = window.grown(PREFIX + "callbacks_total", outcome="unavailable") - window.grown(
        PREFIX + "callbacks_total", outcome="unavailable", reason="stopping"
    )
    if refused > 0:
        yield Trouble(State.DEGRADED, "answered_503", {"count": int(refused)})
    if window.most(PREFIX + "journal_damaged_folders"):
        yield Trouble(State.DEGRADED, "damaged")
    free = min(window.values(PREFIX + "journal_free_bytes"), default=LOW_DISK_BYTES)
    if free < LOW_DISK_BYTES:
        yield Trouble(State.DEGRADED, "disk_low", {"megabytes": int(free // 1024**2)})


def _kafka(window: Window) -> Iterator[Trouble]:
    if not window.answering:
        yield Trouble(State.UNKNOWN, "unknown")
    for reading in window.answering:
        relay = reading.details.get("kafka")
        if not isinstance(relay, Mapping):
            continue
        words, since = str(relay.get("words") or ""), relay.get("since")
        at = since if isinstance(since, int | float) else None
        if relay.get("state") == "restarting":
            yield Trouble(State.STOPPED, "relay_restarting", text=words, since=at)
        elif relay.get("state") != "up":
            yield Trouble(State.STOPPED, "kafka_down", text=words, since=at)
    if (oldest := window.most(PREFIX + "journal_oldest_waiting_seconds") or 0) > BEHIND_S:
        yield Trouble(State.DEGRADED, "publishing_behind", {"seconds": int(oldest)})
    if parked := sum(window.values(PREFIX + "parked")):
        yield Trouble(State.DEGRADED, "parked", {"count": int(parked)}, waits=int(parked))


def _consumer(name: str, window: Window, group: Group | None, waiting: Waiting) -> list[Part]:
    """The lag is Kafka's, the rest from its listener; without one the lag is all that is known."""
    mine = PREFIX + "consumer_"
    handled = window.p99(mine + "freshness_seconds", consumer=name)
    attempt = window.p99(mine + "handler_seconds", consumer=name)
    part = Part(
        "consumer",
        name,
        ranked([*_members(window, group), *of_consumer(name, waiting, window)]),
        window.rate(mine + "events_total", consumer=name),
        None if group is None else group.oldest_s,
        attempt if handled is None else handled,
    )
    if not window.now:
        return [part]
    systems = Part(
        "systems",
        name,
        ranked(_systems(window, 0 if group is None else group.lag)),
        window.rate(mine + "attempts_total", consumer=name),
        _longest_wait(window),
        attempt,
    )
    return [part, systems]


def _members(window: Window, group: Group | None) -> Iterator[Trouble]:
    if 0 in window.values(PREFIX + "consumer_joined"):
        yield Trouble(State.STOPPED, "not_joined")
    yield from _unreachable(window)
    if group is not None and not group.began and not group.members:
        yield Trouble(State.UNKNOWN, "never_read", {"count": group.lag})
    elif group is not None and group.lag and not group.members:
        yield Trouble(State.STOPPED, "no_member", {"count": group.lag}, waits=group.lag)
    elif group is not None and (group.oldest_s or 0) > CONSUMER_BEHIND_S:
        values = {"seconds": int(group.oldest_s or 0), "count": group.lag}
        yield Trouble(State.DEGRADED, "consumer_behind", values, waits=group.lag)
    if window.now and (group is None or any(t.records and t.oldest_s is None for t in group.topics.values())):
        yield Trouble(State.UNKNOWN, "lag_unknown")
    if not window.now and (group is None or not group.members):
        yield Trouble(State.UNKNOWN, "not_configured")


def _systems(window: Window, lag: int) -> Iterator[Trouble]:
    """What a consumer's own work needs: other systems, its database, and records that it can handle. ``lag``
    records wait while a dependency is down."""
    if not window.answering:
        yield Trouble(State.UNKNOWN, "unknown")
    for reading in window.answering:
        if reading.details.get("database") == "does not answer":
            yield Trouble(State.STOPPED, "database")
        paused = _listed(reading.in_flight, "paused")
        down = reading.details.get("unavailable")
        reasons = down.values() if isinstance(down, Mapping) else [p.get("waits_for") for p in paused]
        if reason := next(iter(reasons), None):
            since = min((at for p in paused if (at := _epoch(p.get("since"))) is not None), default=None)
            yield Trouble(State.STOPPED, "waits", text=str(reason), since=since, waits=lag)
        records = _listed(reading.in_flight, "records")
        failing = [
            r
            for r in records
            if (tried := r.get("outcome")) and (tried == "retry" or r.get("state") == "retrying")
        ]
        if failing:
            since = min((at for r in failing if (at := _epoch(r.get("since"))) is not None), default=None)
            text = str(failing[0].get("error") or "")
            values, waits = {"count": len(failing)}, 0 if reason else len(failing)  # else they are in the lag
            yield Trouble(State.DEGRADED, "retries", values, text, since, waits)


def _longest_wait(window: Window) -> float | None:
    """For how long the record that fails, or waits for a dependency, has been waiting."""
    ages = [
        reading.at - since
        for reading in window.answering
        for entry in [
            *_listed(reading.in_flight, "paused"),
            *(r for r in _listed(reading.in_flight, "records") if r.get("outcome")),
        ]
        if (since := _epoch(entry.get("since"))) is not None
    ]
    return max(0.0, max(ages)) if ages else None


def _listed(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = answer.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _epoch(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
