"""What address-sync measures beside what every consumer does: how far its full sync is."""

from prometheus_client import CollectorRegistry, Gauge


class AddressSyncMetrics:
    """Metrics on ``registry``, by default on an unused one: a command has no listener."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        self.steps_left = Gauge(
            "dingbridge_address_sync_steps_left",
            "Steps that are known and not done of the full sync that this process works on",
            registry=registry,
        )
        self.reconcile_every = Gauge(
            "dingbridge_address_sync_reconcile_every_seconds",
            "RECONCILE_EVERY_DAYS, in s; 0: no full sync is due but the first",
            registry=registry,
        )
        self.details_pending = Gauge(
            "dingbridge_address_sync_details_pending",
            "People who have a row, and whose details are still to be fetched",
            registry=registry,
        )
        self.not_read = Gauge(
            "dingbridge_address_sync_not_read",
            "What the last full sync could not read, by kind: people, departments or roles",
            ["kind"],
            registry=registry,
        )
        for kind in ("people", "departments", "roles"):
            self.not_read.labels(kind)
