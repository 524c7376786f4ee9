"""The alerts against the code that they watch and the document that explains them."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from consumers.forward.metrics import ForwardMetrics
from consumers.outbound.metrics import OutboundMetrics
from dingbridge.dingtalk.errors import CALLBACK_FAULTS
from dingbridge.tally import Histogram
from dingbridge.worker.metrics import WorkerMetrics, full_comparison
from ingress.journal.metrics import FolderMetrics, JournalMetrics
from ingress.metrics import HttpMetrics, PublisherMetrics, RecoveryMetrics, StreamMetrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
GROUPS = yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule for group in GROUPS for rule in group["rules"] if "record" in rule}
EACH = pytest.mark.parametrize("alert", RULES)
SCRAPED = {"instance", "job"}
"""Labels that Prometheus itself adds."""


def metrics() -> dict[str, set[str]]:
    """Every sample that our processes can show, with its labels."""
    registry = CollectorRegistry()
    for owner in (JournalMetrics, FolderMetrics, HttpMetrics, PublisherMetrics, RecoveryMetrics):
        owner(registry)
    StreamMetrics(registry)
    WorkerMetrics("billing", registry)
    full_comparison("billing", registry)
    ForwardMetrics("a", registry)
    OutboundMetrics(registry)
    found: dict[str, set[str]] = {"up": set()}
    for metric in registry._collector_to_names:
        if isinstance(metric, MetricWrapperBase):
            kind, labels = metric._type, set(metric._labelnames)
        elif isinstance(metric, Histogram):
            kind, labels = "histogram", set(metric._labels)
        else:
            continue
        for suffix in {"counter": ["_total"], "gauge": [""]}.get(kind, ["_bucket", "_sum", "_count"]):
            found[metric._name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    for name, rule in RECORDED.items():
        by = re.search(r"by \(([^)]*)\)", rule["expr"])
        found[name] = set(re.findall(r"\w+", by[1])) - {"le"} if by else set()
    return found


METRICS = metrics()


@pytest.mark.parametrize("name", [*RULES, *RECORDED])
def test_every_metric_and_label_of_a_rule_exists(name):
    rule = {**RULES, **RECORDED}[name]
    expression = rule["expr"]
    named = set(re.findall(r"\b(?:dingbridge[_:][\w:]+|up)\b", re.sub(r'"[^"]*"', '""', expression)))
    assert named
    assert named <= METRICS.keys()
    labels = {label for name in named for label in METRICS[name]} | SCRAPED
    used = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression))
    for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        used |= set(re.findall(r"\w+", listed))
    used |= set(re.findall(r"\$labels\.(\w+)", rule.get("annotations", {}).get("summary", "")))
    assert used <= labels


@EACH
def test_values_of_labels_are_those_that_the_code_sets(alert):
    source = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "ingress").rglob("*.py"))
    for label, values in re.findall(r'(outcome|reason)\s*(?:=~|!=|=)\s*"([^"]+)"', RULES[alert]["expr"]):
        for value in values.split("|"):
            assert f'"{value}"' in source or value in CALLBACK_FAULTS, (label, value)


@EACH
def test_every_alert_is_tried(alert):
    tests = "\n".join(p.read_text(encoding="utf-8") for p in FOLDER.glob("*.test.yml"))
    assert f'alertname="{alert}"' in tests


def test_operations_explains_every_alert_and_no_other():
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (Dingbridge\w+)$", text, re.MULTILINE)
    assert headings == list(RULES)
    for alert, rule in RULES.items():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{alert.lower()}"
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert alert in text
