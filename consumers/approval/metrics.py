"""What the approval consumer measures beside what every consumer does. Labels are fixed words."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from dingbridge.worker.metrics import full_comparison


class ApprovalMetrics:
    """Metrics on ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.without_action = Counter(
            "dingbridge_approval_without_action",
            "Approved instances whose template has no action",
            registry=registry,
        )
        self._actions = Counter(
            "dingbridge_approval_actions",
            "Actions by outcome: done, rejected, failed, skipped, revoked, not_undone",
            ("outcome",),
            registry=registry,
        )
        self._attachments = Counter(
            "dingbridge_approval_attachments",
            "Attempts to download an attachment: done, refused, or retry",
            ("outcome",),
            registry=registry,
        )
        self.attachments_waiting = Gauge(
            "dingbridge_approval_attachments_waiting", "Attachments not downloaded yet", registry=registry
        )
        self.true_utc_times = Counter(
            "dingbridge_approval_true_utc_times",
            "Documents whose times are UTC, as their Z has it; DingTalk's are China's clock",
            registry=registry,
        )
        self.compared = full_comparison("approval", registry)

    def action(self, outcome: str) -> None:
        self._actions.labels(outcome).inc()

    def attachment(self, outcome: str) -> None:
        self._attachments.labels(outcome).inc()
