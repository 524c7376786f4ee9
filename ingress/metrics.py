"""The metrics of the ingress, by the names that ``docs/reference/metrics-and-logs.md`` lists.

Labels only ever hold names from a fixed set: an EventType that the catalogue does not know is ``other``.
"""

from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from dingbridge.events import known

OTHER = "other"


def process_registry() -> CollectorRegistry:
    """A registry of its own for one process, with Python's and the system's metrics of it."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def known_type(event_type: str | None) -> str:
    """The label of an EventType: its name if the catalogue has it."""
    return event_type if event_type is not None and known(event_type) else OTHER


_ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5)
_COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.2, 2.5, 10.0)
_GROUP_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


class HttpMetrics:
    """Of the public listener."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self.callbacks = Counter(
            "dingbridge_callbacks",
            "Requests to the public listener and events of Stream mode, by outcome, reason of refusal, known "
            "EventType and via (http, stream)",
            ["outcome", "reason", "event_type", "via"],
            registry=registry,
        )
        self.answer_seconds = Histogram(
            "dingbridge_answer_seconds",
            "Time from the request's head to the answer, callbacks answered success",
            buckets=_ANSWER_BUCKETS,
            registry=registry,
        )
        self.clock_skew_seconds = gauge(
            "dingbridge_clock_skew_seconds", "Our clock minus the timestamp of the last signed push"
        )
        self.apps_file_rejected = gauge(
            "dingbridge_apps_file_rejected",
            "1 while DINGTALK_APPS_FILE has mistakes and the last valid content stays in force",
        )


class JournalMetrics:
    """Of the journal's writer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge, histogram = partial(Gauge, registry=registry), partial(Histogram, registry=registry)
        self.commit_seconds = histogram(
            "dingbridge_journal_commit_seconds", "Time of one commit with its fsync", buckets=_COMMIT_BUCKETS
        )
        self.group_size = histogram(
            "dingbridge_journal_group_size", "Callbacks committed together", buckets=_GROUP_BUCKETS
        )
        self.failures = Counter(
            "dingbridge_journal_failures",
            "Commits that the disk refused, by SQLite's error",
            ["error"],
            registry=registry,
        )
        self.writable = gauge("dingbridge_journal_writable", "1 while the journal takes writes")
        self.last_callback = gauge(
            "dingbridge_last_callback_timestamp_seconds",
            "When the last callback was received that was kept or known already, epoch s; 0: none",
        )


class FolderMetrics:
    """Of what is in the journal's folder, seen every other second; ``JournalStatus.show`` sets them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self.waiting = gauge("dingbridge_journal_waiting", "Callbacks kept and not yet in Kafka")
        self.oldest_seconds = gauge("dingbridge_journal_oldest_waiting_seconds", "Age of the oldest of them")
        self.bytes = gauge("dingbridge_journal_bytes", "Size of the journals in JOURNAL_DIR")
        self.free_bytes = gauge("dingbridge_journal_free_bytes", "Free disk under the journal")
        self.parked = gauge("dingbridge_parked", "Parked callbacks, by reason", ["reason"])
        self.damaged = gauge(
            "dingbridge_journal_damaged_folders",
            "Journals that were put aside and are not yet deleted: an alarm",
        )
        self.unreadable = gauge(
            "dingbridge_journal_unreadable", "Callbacks in journals put aside that could not be read any more"
        )


class StreamMetrics:
    """Of the connections of apps in Stream mode; their events are counted in ``callbacks``, as
    ``HttpMetrics`` has it."""

    def __init__(self, registry: CollectorRegistry, callbacks: Counter) -> None:
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        self.callbacks = callbacks
        self.connections = gauge(
            "dingbridge_stream_connections", "Open connections of an app in Stream mode", ["app"]
        )
        self.reconnects = counter(
            "dingbridge_stream_reconnects",
            "Connections that had to be opened again, by reason (disconnect, silent, lost, refused)",
            ["app", "reason"],
        )
        self.last_frame = gauge(
            "dingbridge_stream_last_frame_timestamp_seconds",
            "When the last frame of any kind came, epoch s; 0: none since the start",
            ["app"],
        )
        self.gaps = counter(
            "dingbridge_stream_gaps",
            "Times without any open connection for longer than STREAM_GAP_S",
            ["app"],
        )

    def forget(self, app: str) -> None:
        """``app`` is not in Stream mode any more."""
        for gauge in (self.connections, self.last_frame):
            gauge.remove(app)


class RecoveryMetrics:
    """Of the recovery of pushes that DingTalk gave up, of all apps together; ``Recovery`` has what the gauges
    show."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge, counter = partial(Gauge, registry=registry), partial(Counter, registry=registry)
        self.items = counter(
            "dingbridge_recovery_items",
            "Items of the failed list that were recovered, by known EventType",
            ["event_type"],
        )
        self.resync_requests = counter(
            "dingbridge_recovery_resync_requests",
            "Resync requests, for items that are too poor and pages that may be gone",
        )
        self.pages_missing = counter(
            "dingbridge_recovery_pages_missing", "Pages of the failed list that may be gone: an alarm"
        )
        self.last_success = gauge(
            "dingbridge_recovery_last_success_timestamp_seconds",
            "When all failed lists were last read to their ends, or else the start, epoch s; 0: none is",
        )
