"""What the queries of dashboards and alerts name is there: every metric, every label.

Whether a real Prometheus gives series for them: tests/deploy/test_queries.py.
"""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from dingbridge.consumers.approval.metrics import ApprovalMetrics
from dingbridge.consumers.forward.metrics import ForwardMetrics
from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.ingress.metrics import (
    FolderMetrics,
    HttpMetrics,
    JournalMetrics,
    RecoveryMetrics,
    StreamMetrics,
)
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.mirror.loop import MirrorMetrics
from dingbridge.worker.metrics import WorkerMetrics
from tests.support.promql import Query, grouped, of_dashboards, of_rules, records, selectors, unknown

SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


def metrics() -> dict[str, set[str]]:
    """Every sample that our processes can show, with its labels."""
    registry = CollectorRegistry()
    http = HttpMetrics(registry)
    owners = [
        JournalMetrics(registry),
        FolderMetrics(registry),
        http,
        StreamMetrics(registry, http.callbacks),
    ]
    owners += [RelayStatus(registry), RecoveryMetrics(registry)]
    owners += [WorkerMetrics("billing", registry), ForwardMetrics("a", registry)]
    owners += [OutboundMetrics(registry), ApprovalMetrics(registry), MirrorMetrics(registry)]
    held = [m for owner in owners for m in vars(owner).values() if isinstance(m, MetricWrapperBase)]
    kept = [(m._name, m._type, m._labelnames) for m in held]
    # what a collector of our own makes when it is asked
    made = [(m.name, m.type, m._labelnames) for m in registry.collect() if hasattr(m, "_labelnames")]
    return {
        name + suffix: set(labels) | ({"le"} if suffix == "_bucket" else set())
        for name, kind, labels in kept + made
        for suffix in SUFFIXES[kind]
    }


OURS = metrics() | {"up": set()}
QUERIES = [*of_rules(), *of_dashboards()]


def labels_of(metric: str) -> set[str] | None:
    if metric == "ALERTS":
        return {"alertname", "alertstate", "severity"}
    if metric in (recorded := records()):
        return grouped(recorded[metric]) - {"le"}
    return OURS.get(metric)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
def test_every_metric_and_label_of_a_query_exists(query):
    assert selectors(query.expression), "a query that asks for nothing"
    assert unknown(query, labels_of) == []


@pytest.mark.parametrize(
    "expression",
    [
        "dingbridge_journal_waitng",
        'dingbridge_callbacks_total{outcom="kept"}',
        "sum by (consumr) (rate(dingbridge_consumer_events_total[1m]))",
        "dingbridge_journal_waiting / on (app) dingbridge_stream_connections unless on (sytem) up",
    ],
)
def test_one_that_does_not_is_found(expression):
    assert len(unknown(Query("", expression, frozenset()), labels_of)) == 1


def test_every_metric_stands_in_a_panel():
    shown = {selector.name for query in of_dashboards() for selector in selectors(query.expression)}
    counts = {name for name in OURS if name.endswith(("_sum", "_count"))}  # their buckets are shown
    assert OURS.keys() - counts - shown == {"up"}
