"""What the relay tells the ingress of itself: counts since it last told, and Kafka's state in words."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import structlog

from dingbridge.events import Record
from dingbridge.events.catalogue import family_of
from dingbridge.events.envelope import Drift
from ingress.journal.checkpoint import Parked
from ingress.metrics import OTHER, delay_histogram

log = structlog.get_logger(__name__)

_DRIFT_LOGGED, _DRIFT_LOGGED_EACH = 1_000, 5
"""Names come from outside: what drifts beyond so many fields, or beyond so many more of one callback, is
counted only."""


class PublisherStats:
    """Collects, logs changes of state once, and hands out the difference since the last ``take``."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {"published": {}, "unclassified": {}, "errors": {}}
        self._drift: Counter[tuple[str, str]] = Counter()  # by type and kind
        self._drift_told: set[tuple[str, Drift]] = set()
        self._lags: list[float] = []
        self._delays = delay_histogram()
        self._parked: dict[str, int] = {}
        self._damaged: str | None = None
        self._forgotten: int | None = None
        self.state = "starting"
        self.words = "connecting to Kafka"
        self._since = time.time()

    def published(self, records: Iterable[Record]) -> None:
        """Kafka has acknowledged ``records``."""
        counts = self._counts["published"]
        for record in records:
            label = (record.event_type if record.known else None) or OTHER
            counts[label] = counts.get(label, 0) + 1
            if record.delay_s is not None:
                self._delays.observe((family_of(record.event_type),), record.delay_s)
            if record.fault is not None:
                self._count("unclassified", record.fault)
            if record.drift:
                self._drifted(label, record.drift)

    def _drifted(self, event_type: str, drift: tuple[Drift, ...]) -> None:
        """Counts a callback once for each kind, and logs each field once."""
        for kind in {found.kind for found in drift}:
            self._drift[event_type, kind] += 1
        untold = [found for found in drift if (event_type, found) not in self._drift_told]
        for found in untold[: min(_DRIFT_LOGGED_EACH, _DRIFT_LOGGED - len(self._drift_told))]:
            self._drift_told.add((event_type, found))
            log.warning("schema.drift", event_type=event_type, kind=found.kind, field=found.field)

    def lagged(self, seconds: float) -> None:
        """A batch set was acknowledged ``seconds`` after its oldest callback had been received."""
        self._lags.append(round(seconds, 4))

    def error(self, kind: str) -> None:
        self._count("errors", kind)

    def parked(self, counts: dict[tuple[str, str], int]) -> None:
        """``{(topic, reason): how many}`` as it stands now."""
        self._parked = {}
        for (_, reason), count in counts.items():
            self._parked[reason] = self._parked.get(reason, 0) + count

    def parked_also(self, parked: Iterable[Parked]) -> None:
        """These were parked since; those that were parked already count twice until all are counted again."""
        for one in parked:
            self._parked[one.reason] = self._parked.get(one.reason, 0) + 1

    def damaged(self, words: str) -> None:
        """The journal cannot be read any more: the ingress is to put its folder aside."""
        self._damaged = words

    def forgotten(self, count: int) -> None:
        """So many damaged rows were given up, as was asked for."""
        self._forgotten = count

    def up(self) -> None:
        """Kafka has answered just now."""
        if self.state != "up":
            log.info("kafka.up", after_s=round(time.time() - self._since, 1))
        self._turn("up", "Kafka takes records")

    def down(self, words: str) -> None:
        if (self.state, self.words) != ("down", words):
            log.warning("kafka.down", words=words)
        self._turn("down", words)

    def stalled(self, words: str) -> None:
        if self.state != "stalled":
            log.warning("kafka.stalled", words=words)
        self._turn("stalled", words)

    def _turn(self, state: str, words: str) -> None:
        if state != self.state:
            self._since = time.time()
        self.state, self.words = state, words

    def _count(self, kind: str, label: str) -> None:
        counts = self._counts[kind]
        counts[label] = counts.get(label, 0) + 1

    def take(self) -> dict[str, Any]:
        """``{"state", "words", "since", "parked", "published", "unclassified", "errors", "drift", "lags",
        "delays", "damaged", "forgotten"}``: counts, lags and delays (s) are those since the last call,
        ``drift`` as ``[type, kind, count]``, ``delays`` as ``[family, counts, sum]``, ``since`` is epoch s;
        ``damaged`` and ``forgotten`` are None but in the first after they were told."""
        taken: dict[str, Any] = {
            "state": self.state,
            "words": self.words,
            "since": self._since,
            "parked": self._parked,
            "lags": self._lags,
            "delays": [(*labels, *counted) for labels, counted in self._delays.take().items()],
            "damaged": self._damaged,
            "forgotten": self._forgotten,
            "drift": [(event_type, kind, count) for (event_type, kind), count in self._drift.items()],
            **self._counts,
        }
        self._drift.clear()
        self._lags = []
        self._damaged = self._forgotten = None
        self._counts = {kind: {} for kind in self._counts}
        return taken
