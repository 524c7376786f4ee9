"""The metrics of the ingress, by the names that ``docs/operations.md`` lists.

Labels only ever hold names from a fixed set: an EventType that the catalogue does not know is ``other``.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dingbridge.events import known

OTHER = "other"


def known_type(event_type: str | None) -> str:
    """The label of an EventType: its name if the catalogue has it."""
    return event_type if event_type is not None and known(event_type) else OTHER


_ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5)


class HttpMetrics:
    """Of the public listener."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.callbacks = Counter(
            "dingbridge_callbacks",
            "Requests to the public listener and events of Stream mode, by outcome (kept, duplicate, check, "
            "forbidden, malformed, too_large, not_found, unavailable), reason of refusal, known EventType "
            "and via (http, stream); by Stream only kept, duplicate and unavailable",
            ["outcome", "reason", "event_type", "via"],
            registry=registry,
        )
        self.answer_seconds = Histogram(
            "dingbridge_answer_seconds",
            "Time from the request's head to the answer, callbacks answered success",
            buckets=_ANSWER_BUCKETS,
            registry=registry,
        )
        self.clock_skew_seconds = Gauge(
            "dingbridge_clock_skew_seconds",
            "Our clock minus the timestamp of the last signed push",
            registry=registry,
        )
        self.apps_file_rejected = Gauge(
            "dingbridge_apps_file_rejected",
            "1 while DINGTALK_APPS_FILE has mistakes and what was read before stays in force",
            registry=registry,
        )


class StreamMetrics:
    """Of the connections of apps in Stream mode; their events are counted in ``callbacks``, as
    ``HttpMetrics`` has it."""

    def __init__(self, registry: CollectorRegistry, callbacks: Counter) -> None:
        self.callbacks = callbacks
        self.connections = Gauge(
            "dingbridge_stream_connections",
            "Open connections of an app in Stream mode",
            ["app"],
            registry=registry,
        )
        self.reconnects = Counter(
            "dingbridge_stream_reconnects",
            "Connections that had to be opened anew, by reason: disconnect (DingTalk asked for it), silent "
            "(no frame for STREAM_WATCHDOG_S), lost, refused (it could not be opened)",
            ["app", "reason"],
            registry=registry,
        )
        self.last_frame = Gauge(
            "dingbridge_stream_last_frame_timestamp_seconds",
            "When the last frame of any kind came, epoch s; 0: none since the start",
            ["app"],
            registry=registry,
        )
        self.gaps = Counter(
            "dingbridge_stream_gaps",
            "Times without any open connection for longer than STREAM_GAP_S",
            ["app"],
            registry=registry,
        )

    def forget(self, app: str) -> None:
        """``app`` is not in Stream mode any more."""
        for gauge in (self.connections, self.last_frame):
            gauge.remove(app)


def relay_restarts(registry: CollectorRegistry) -> Counter:
    """Of the relay that is this ingress's child."""
    return Counter(
        "dingbridge_publisher_restarts",
        "Times the relay's process had to be started again",
        registry=registry,
    )


class RecoveryMetrics:
    """Of the recovery of pushes that DingTalk gave up, of all apps together."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._read_s: dict[str, float] = {}
        self._oldest_s: dict[str, float] = {}
        self.items = Counter(
            "dingbridge_recovery_items",
            "Items of the failed list that were recovered, by known EventType",
            ["event_type"],
            registry=registry,
        )
        self.resync_requests = Counter(
            "dingbridge_recovery_resync_requests",
            "Resync requests, for items that are too poor and pages that may be gone",
            registry=registry,
        )
        self.pages_missing = Counter(
            "dingbridge_recovery_pages_missing",
            "Pages of the failed list that may be gone: an alarm",
            registry=registry,
        )
        self.oldest = Gauge(
            "dingbridge_recovery_oldest_seconds",
            "Age of the oldest event that the last run of any app found; 0: none",
            registry=registry,
        )
        self.last_success = Gauge(
            "dingbridge_recovery_last_success_timestamp_seconds",
            "When the failed list was last read to its end, or else the start, epoch s; 0: it is not read; "
            "of several apps the one that is furthest behind",
            registry=registry,
        )

    def read(self, app: str, at_s: float) -> None:
        """``app``'s list was read to its end at ``at_s`` (epoch), or is read from then on."""
        self._read_s[app] = at_s
        self._show()

    def found(self, app: str, age_s: float) -> None:
        """How old the oldest event is that ``app``'s last run found."""
        self._oldest_s[app] = age_s
        self._show()

    def forget(self, app: str) -> None:
        """``app``'s list is not read any more."""
        self._read_s.pop(app, None)
        self._oldest_s.pop(app, None)
        self._show()

    def _show(self) -> None:
        self.last_success.set(min(self._read_s.values(), default=0))
        self.oldest.set(max(self._oldest_s.values(), default=0))
