"""What a PromQL expression names, as a parser reads it."""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import promql_parser
import yaml

ROOT = Path(__file__).parents[2]
BOARDS = ROOT / "deploy" / "grafana" / "dashboards"
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"

SCRAPED = {"instance", "job"}
"""Labels that Prometheus itself adds."""


class Query(NamedTuple):
    """A query of a dashboard or of a rule; ``shown`` holds the labels that its words name."""

    where: str
    expression: str
    shown: frozenset[str]


def of_dashboards() -> Iterator[Query]:
    """Those of the panels, and of the variables. Grafana's own variables have a value."""
    for file in sorted(BOARDS.glob("*.json")):
        board = json.loads(file.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
                expression = target["expr"].replace("$__rate_interval", "1m").replace("$consumer", ".*")
                yield Query(f"{file.stem}: {panel['title']}", expression, frozenset(labels))
        for variable in board["templating"]["list"]:
            if values := re.fullmatch(r"label_values\((.+), (\w+)\)", str(variable["query"])):
                yield Query(f"{file.stem}: ${variable['name']}", values[1], frozenset({values[2]}))


def of_rules() -> Iterator[Query]:
    """Those of alerts and recording rules."""
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            words = " ".join(rule.get("annotations", {}).values())
            labels = re.findall(r"\$labels\.(\w+)", words)
            yield Query(rule.get("alert") or rule["record"], rule["expr"], frozenset(labels))


@cache
def records() -> dict[str, str]:
    """The expression of each recording rule, by the name of its metric."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"] if "record" in rule}


def nodes(expression: str) -> list[promql_parser.Expr]:
    """Every part of it."""
    found: list[promql_parser.Expr] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """The series that it asks for."""
    return [node for node in nodes(expression) if isinstance(node, promql_parser.VectorSelector)]


def grouped(expression: str) -> set[str]:
    """Labels that it groups, joins or matches series by."""
    labels: set[str] = set()
    for node in nodes(expression):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            labels |= set(node.modifier.labels)
        elif isinstance(node, promql_parser.BinaryExpr) and node.modifier:
            labels |= set(node.modifier.matching.labels if node.modifier.matching else ())
            labels |= set(node.modifier.group_labels or ())
    return labels


def unknown(query: Query, labels_of: Callable[[str], set[str] | None]) -> list[str]:
    """What it names and does not exist. ``labels_of`` knows the labels of a metric; None: there is none."""
    faults, known = [], set(SCRAPED)
    for selector in selectors(query.expression):
        labels = labels_of(selector.name)
        if labels is None:
            faults.append(f"no metric {selector.name}")
            continue
        known |= labels
        used = {matcher.name for matcher in selector.matchers.matchers}
        faults += [f"{selector.name} has no label {label}" for label in used - labels - SCRAPED]
    return faults + [f"no label {label}" for label in (grouped(query.expression) | query.shown) - known]
