"""The metrics of the journal, by the names that ``docs/operations.md`` lists."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingress.journal.inspect import JournalStatus

_COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.2, 2.5, 10.0)


class JournalMetrics:
    """Of the journal's writer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.commit_seconds = Histogram(
            "dingbridge_journal_commit_seconds",
            "Time of one commit with its fsync",
            buckets=_COMMIT_BUCKETS,
            registry=registry,
        )
        self.group_size = Histogram(
            "dingbridge_journal_group_size",
            "Callbacks committed together",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000),
            registry=registry,
        )
        self.failures = Counter(
            "dingbridge_journal_failures",
            "Commits that the disk refused, by SQLite's error",
            ["error"],
            registry=registry,
        )
        self.writable = Gauge(
            "dingbridge_journal_writable", "1 while the journal takes writes", registry=registry
        )
        self.last_callback = Gauge(
            "dingbridge_last_callback_timestamp_seconds",
            "When the last callback was received that was kept or known already, epoch s; 0: none",
            registry=registry,
        )


class FolderMetrics:
    """Of what is in the journal's folder, as looked at every other second."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.waiting = Gauge(
            "dingbridge_journal_waiting", "Callbacks kept and not yet in Kafka", registry=registry
        )
        self.oldest_seconds = Gauge(
            "dingbridge_journal_oldest_waiting_seconds", "Age of the oldest of them", registry=registry
        )
        self.bytes = Gauge("dingbridge_journal_bytes", "Size of the journal's folder", registry=registry)
        self.free_bytes = Gauge(
            "dingbridge_journal_free_bytes", "Free disk under the journal", registry=registry
        )
        self.parked = Gauge(
            "dingbridge_parked", "Records put aside, by reason", ["reason"], registry=registry
        )

        self.damaged = Gauge(
            "dingbridge_journal_damaged_folders",
            "Journals that were put aside because they are damaged, and not yet deleted: an alarm",
            registry=registry,
        )
        self.unread = Gauge(
            "dingbridge_journal_unread",
            "Callbacks in damaged journals that could not be read any more",
            registry=registry,
        )

    def show(self, status: JournalStatus) -> None:
        """Set all of them."""
        self.waiting.set(status.waiting)
        self.oldest_seconds.set(status.oldest_age_s)
        self.bytes.set(status.bytes)
        self.free_bytes.set(status.free_bytes)
        self.damaged.set(len(status.damaged))
        self.unread.set(status.unread)
        self.parked.clear()
        for (_, reason), records in status.parked.items():
            self.parked.labels(reason).inc(records)
