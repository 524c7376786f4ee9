"""The dashboards, a module for each: rows of panels with their queries.

Every query is run against a running bridge, and its names are looked up in what our processes serve:
tests/deploy/test_queries.py. ``$__rate_interval`` is Grafana's.
"""

from typing import Final

from dev.dashboards.boards.consumers import CONSUMERS
from dev.dashboards.boards.dingtalk import DINGTALK
from dev.dashboards.boards.ingress import INGRESS
from dev.dashboards.boards.overview import OVERVIEW

DASHBOARDS: Final = (OVERVIEW, INGRESS, CONSUMERS, DINGTALK)
