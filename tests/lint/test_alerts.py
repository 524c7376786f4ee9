"""The alerts against the code that they watch and the document that explains them.

Whether the metrics and labels that they name exist is test_queries' business.
"""

import re
from pathlib import Path

import pytest
import yaml

from dingbridge.dingtalk.errors import CALLBACK_FAULTS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
GROUPS = yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
EACH = pytest.mark.parametrize("alert", RULES)


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
    text = (ROOT / "docs" / "guide" / "operations.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (Dingbridge\w+)$", text, re.MULTILINE)
    assert headings == list(RULES)
    for alert, rule in RULES.items():
        assert rule["annotations"]["runbook"] == f"docs/guide/operations.md#{alert.lower()}"
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert alert in text
