"""docs/guide/forward.md: its file and its tables are what the code says."""

import re
import tomllib
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic_core import PydanticUndefined

from dingbridge.consumers.forward.metrics import ForwardMetrics
from dingbridge.consumers.forward.settings import System

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "forward.md").read_text(encoding="utf-8")


def test_the_file_in_the_guide_is_one() -> None:
    [found] = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    systems = tomllib.loads(found)["systems"]
    assert [System(**values).body for values in systems.values()] == [
        "cloudevents",
        "dingtalk",
        "cloudevents",
    ]
    assert all(System(**values).topics for values in systems.values())


def rows(heading: str) -> list[list[str]]:
    """The cells of the table that begins with ``heading``."""
    table = GUIDE.split(f"\n| {heading} |", 1)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_the_guide_lists_every_setting_of_a_system_with_its_default() -> None:
    expected = {}
    for name, setting in System.model_fields.items():
        default = setting.default
        text = "needed" if default is PydanticUndefined else f"`{default}`".replace("'", '"')
        expected[f"`{name}`"] = {
            "`None`": "none",
            "`False`": "`false`",
            "`cloudevents`": '`"cloudevents"`',
        }.get(text, text)
    assert {name: default for name, default, *_ in rows("setting")} == expected


def test_the_guide_lists_every_metric_of_forward_and_no_other() -> None:
    registry = CollectorRegistry()
    ForwardMetrics("a", registry)
    listed = {name.strip("`").removesuffix("_total") for name, *_ in rows("metric")}
    assert listed == {metric.name for metric in registry.collect()}
