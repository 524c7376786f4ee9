"""A dashboard as a table of panels, and its form for Grafana, by ``grafana-foundation-sdk``."""

from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase
from typing import Any, Literal, TypeVar

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import BigValueColorMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

Unit = Literal["rate", "number", "seconds", "bytes", "share", "yes or no"]
_UNITS: dict[Unit, str] = {
    "rate": units.CountsPerSecond,
    "number": units.Short,
    "seconds": units.Seconds,
    "bytes": units.BytesIEC,
    "share": units.PercentUnit,
    "yes or no": units.BoolYesNo,
}
_TAG = "dingbridge"
_SOURCE = DataSourceRef("prometheus", "${datasource}")
_Built = TypeVar("_Built", stat.Panel, timeseries.Panel)


@dataclass(frozen=True, slots=True)
class Panel:
    """``queries`` is PromQL, or maps what a line is called (``{{label}}`` stands for its value) to PromQL.
    ``means`` says what is seen and, where it is not plain, what to do.

    ``now`` shows the last value in large, else a graph. ``red_above`` and ``red_below`` are in ``unit``;
    alerts have thresholds of their own.
    """

    title: str
    unit: Unit
    queries: str | dict[str, str]
    means: str = ""
    now: bool = False
    red_above: float | None = None
    red_below: float | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """``rows`` maps a heading to its panels. ``variables`` maps a name to the query of its values."""

    uid: str
    title: str
    means: str
    rows: dict[str, tuple[Panel, ...]]
    variables: dict[str, str]


def as_json(board: Dashboard) -> Any:
    """The model that Grafana provisions; to be encoded by the SDK's ``JSONEncoder``."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(f"{_TAG}-{board.uid}")
        .description(board.means)
        .tags([_TAG])
        .readonly()
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(dashboard.DashboardLink("dingbridge").type(DashboardLinkType.DASHBOARDS).tags([_TAG]))
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus").label("Prometheus"))
    )
    for name, query in board.variables.items():
        variable = dashboard.QueryVariable(name).query(query).datasource(_SOURCE)
        built.with_variable(
            variable.multi(True).include_all(True).refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
    ids = count(1)
    for heading, panels in board.rows.items():
        built.with_row(dashboard.Row(heading).id(next(ids)))
        for panel in panels:
            built.with_panel((_number(panel) if panel.now else _graph(panel)).id(next(ids)))
    return built.build()


def _number(panel: Panel) -> stat.Panel:
    last = ReduceDataOptions().calcs(["lastNotNull"])
    built = _common(stat.Panel(), panel).height(4).span(4)
    return built.reduce_options(last).color_mode(BigValueColorMode.VALUE)


def _graph(panel: Panel) -> timeseries.Panel:
    legend = (
        VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    built = _common(timeseries.Panel(), panel).height(8).span(12)
    return built.legend(legend).min(0).fill_opacity(8)


def _common(built: _Built, panel: Panel) -> _Built:
    built.title(panel.title).description(panel.means).datasource(_SOURCE).unit(_UNITS[panel.unit])
    queries = {"": panel.queries} if isinstance(panel.queries, str) else panel.queries
    for letter, (legend, expression) in zip(ascii_uppercase, queries.items(), strict=False):
        query = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend)
        built.with_target(query.datasource(_SOURCE))
    steps = [Threshold(None, "green")]
    if panel.red_below is not None:
        steps = [Threshold(None, "red"), Threshold(panel.red_below, "green")]
    if panel.red_above is not None:
        steps.append(Threshold(panel.red_above, "red"))
    built.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    return built
