"""The relay's status: Kafka's state in words for ``/readyz``, and its metrics, which
``docs/reference/metrics-and-logs.md`` lists."""

import time
from collections.abc import Iterable
from functools import partial
from logging import INFO, WARNING
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dingbridge.events import Record
from dingbridge.events.catalogue import family_of
from dingbridge.events.envelope import Drift, OtherCompany
from dingbridge.ingress.metrics import OTHER
from dingbridge.logging import excerpt

log = structlog.get_logger(__name__)

_LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3600.0, 21600.0)
_DELAY_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0)
_LOGGED_MAX = 1_000
"""How many drifting fields and other companies are logged, each once: their names come from outside. Further
ones are only counted."""
_LOGGED_AS = {
    "up": "kafka.up",
    "down": "kafka.down",
    "stalled": "kafka.stalled",
    "restarting": "relay.restarting",
}


CallbackRecord = tuple[int, Record]
"""``(seq, record)``: a record of the callback ``seq``."""


class RelayStatus:
    """Counts into its metrics, and logs each change of Kafka's state once. ``state`` is ``starting``, ``up``,
    ``down``, ``stalled`` or ``restarting``, and ``words`` say why."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self._published = counter(
            "dingbridge_published", "Records acknowledged by Kafka, by known EventType", ["event_type"]
        )
        self._unclassified = counter(
            "dingbridge_unclassified",
            "Records published to the unclassified topic, by reason: an alarm",
            ["reason"],
        )
        self._drift = counter(
            "dingbridge_schema_drift",
            "Callbacks with data that differs from their EventType in the catalogue, by kind (missing, "
            "type, unknown_field); published like all others",
            ["type", "kind"],
        )
        self._errors = counter("dingbridge_kafka_errors", "Failed sends by kind of error", ["error"])
        self._restarts = counter("dingbridge_relay_restarts", "Times the relay has ended and begun again")
        self._lag_seconds = histogram(
            "dingbridge_publish_lag_seconds",
            "Time from receipt to Kafka's acknowledgement, of the oldest callback in each batch set",
            buckets=_LAG_BUCKETS,
        )
        self._delay_seconds = histogram(
            "dingbridge_dingtalk_delay_seconds",
            "Time from an event (DingTalk's time) until it came by HTTP or Stream, by family; the first of "
            "its EventType in each batch",
            ["family"],
            buckets=_DELAY_BUCKETS,
        )
        self._connected = Gauge(
            "dingbridge_kafka_connected", "1 while Kafka takes records", registry=registry
        )
        self._logged: set[tuple[str, Drift] | OtherCompany] = set()
        self._other_companies: dict[str, dict[str, Any]] = {}
        """By app: the ``count`` of pushes that named another company, the last one named, the app's own."""
        self.state = "starting"
        self.words = "connecting to Kafka"
        self._since = time.time()

    def as_json(self) -> dict[str, Any]:
        """For ``/readyz``: ``since`` is epoch s; ``other_companies`` what the doctor reports."""
        return {
            "state": self.state,
            "words": self.words,
            "since": self._since,
            "other_companies": self._other_companies,
        }

    def published(self, records: Iterable[CallbackRecord]) -> None:
        """Kafka has acknowledged ``records``."""
        counts: dict[str, int] = {}
        delayed = set[str]()
        for _, record in records:
            label = record.event_type if record.known and record.event_type is not None else OTHER
            counts[label] = counts.get(label, 0) + 1
            if record.delay_s is not None and label not in delayed:
                delayed.add(label)
                self._delay_seconds.labels(family_of(record.event_type)).observe(record.delay_s)
            if record.fault is not None:
                self._unclassified.labels(record.fault).inc()
            if record.other_company is not None:
                self._names_another(record.other_company)
            if record.drift:
                self._drifted(label, record.drift)
        for label, count in counts.items():
            self._published.labels(label).inc(count)

    def _drifted(self, event_type: str, drift: tuple[Drift, ...]) -> None:
        """Count a callback once for each kind of drift, and log each field once."""
        for kind in {found.kind for found in drift}:
            self._drift.labels(event_type, kind).inc()
        for found in drift:
            if self._is_new((event_type, found)):
                log.warning(
                    "schema.drift", event_type=event_type, kind=found.kind, field=excerpt(found.field)
                )

    def _is_new(self, found: tuple[str, Drift] | OtherCompany) -> bool:
        """Return whether ``found`` is to be logged, and note it."""
        is_new = found not in self._logged and len(self._logged) < _LOGGED_MAX
        if is_new:
            self._logged.add(found)
        return is_new

    def _names_another(self, found: OtherCompany) -> None:
        """Keep it for the doctor, and log each company once."""
        named = found.named[:64]
        count = self._other_companies.get(found.app, {}).get("count", 0) + 1
        self._other_companies[found.app] = {"count": count, "named": named, "own": found.own}
        if self._is_new(found):
            log.error(
                "relay.other_company",
                app=found.app,
                named=named,
                corp_id=found.own,
                meaning="the push went to the unclassified topic; if the app does belong to the company that "
                "is named, mend DINGTALK_CORP_ID or corp_id, then `dingbridge journal renormalise`",
            )

    def lagged(self, seconds: float) -> None:
        """A batch set was acknowledged ``seconds`` after its oldest callback had been received."""
        self._lag_seconds.observe(max(0.0, seconds))

    def error(self, error: BaseException) -> None:
        self._errors.labels(type(error).__name__).inc()

    def restarting(self, words: str) -> None:
        """The relay has ended, and begins again."""
        self._restarts.inc()
        self.turn("restarting", words)

    def turn(self, state: str, words: str) -> None:
        """Kafka's ``state`` from now on, and why, in ``words``. Only a change is logged."""
        if (state, words) == (self.state, self.words):
            return
        now = time.time()
        log.log(
            INFO if state == "up" else WARNING,
            _LOGGED_AS[state],
            words=words,
            after_s=round(now - self._since, 1),
        )
        if state != self.state:
            self._since = now
            self._connected.set(state == "up")
        self.state, self.words = state, words
