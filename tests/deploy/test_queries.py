"""Every query of the dashboards and of the alerts, run by Debian's Prometheus against a running bridge.

The bridge is the demo's, in which people, an OA and DingTalk are at work, and some things go wrong.
"""

import asyncio
import contextlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from aiokafka import AIOKafkaProducer

from dev.demo import both_ways
from dev.demo.poller import Poller
from dev.demo.processes import CONSUMERS, Processes
from dev.demo.table import Screen
from dev.servers import GuardedProcess, free_port
from dingbridge.kafka.client import connection
from tests.support.hostile import exchange, raw_push
from tests.support.promql import RULES, of_dashboards, of_rules, selectors
from tests.support.waiting import PATIENCE_S, wait_until

EVERY_S = 2
DRIFTING = b'{"EventType":"check_in","timeStamp":"never"}'
"""Of a type that nobody else pushes: of each type one callback in 10 s is checked for drift."""
WITHOUT_SERIES = {
    "dingbridge_approval_attachments_total": "the demo has no ARCHIVE_DIR, so that nothing is downloaded",
    "dingbridge_consumer_holder_seconds": "a record must fail for 10 s",
    "dingbridge_journal_failures_total": "the disk must fail",
    "dingbridge_kafka_errors_total": "Kafka must refuse",
    "dingbridge_parked": "Kafka must refuse a record for itself",
    "dingbridge_recovery_items_total": "DingTalk must give up a push",
    "dingbridge_stream_connections": "an app must be in Stream mode",
    "dingbridge_stream_gaps_total": "the same",
    "dingbridge_stream_last_frame_timestamp_seconds": "the same",
    "dingbridge_stream_reconnects_total": "the same",
}
"""Metrics that a healthy bridge has no series of, with what it takes. They must be served all the same."""


class Prometheus:
    """A real one, that scrapes ``targets`` (address and port) and evaluates our rules."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        self.port = free_port()
        config = folder / "prometheus.yml"
        scrape = {"job_name": "dingbridge", "static_configs": [{"targets": targets}]}
        every = {"scrape_interval": f"{EVERY_S}s", "evaluation_interval": f"{EVERY_S}s"}
        config.write_text(
            yaml.safe_dump({"global": every, "rule_files": [str(RULES)], "scrape_configs": [scrape]})
        )
        command = [os.environ["PROMETHEUS"], f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
        command.append(f"--web.listen-address=127.0.0.1:{self.port}")
        self.process = GuardedProcess(command, log=folder / "prometheus.log", cwd=folder)
        wait_until(lambda: self.process.running and self._is_ready(), what="Prometheus is ready")

    def ask(self, path: str, **parameters: str) -> Any:
        """``data`` of the answer. Raises ``AssertionError`` with Prometheus' words."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def result(self, expression: str) -> list[Any]:
        """The series of an expression, now."""
        return list(self.ask("query", query=expression)["result"])

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen everything that happens below for two scrapes, at least."""
    folder = tmp_path_factory.mktemp("queries")
    bridge = Processes(
        folder, mode="http", retry_scale=0.1, allow_unsafe=True, DINGTALK_CORP_ID=both_ways.CORP_ID
    )
    server = None
    try:
        bridge.start_kafka("auto")
        for name in ("simulator", "ingress", *CONSUMERS):
            bridge.start(name)
        for name in ("simulator", "ingress", *CONSUMERS):
            bridge.wait_until_ready(name)
        bridge.register()
        targets = [bridge.url(name).removeprefix("http://") for name in ("ingress", *CONSUMERS)]
        server = Prometheus(folder, targets)
        # whom an event names meanwhile it asks for again when no answer can be older than the event: 72 s
        log = bridge.logs / "address-sync.log"
        wait_until(lambda: "mirror.synced" in log.read_text("utf-8"), what="the first full sync")
        asyncio.run(live(bridge))
        yield server
    finally:
        if server is not None:
            server.process.stop()
        bridge.stop()


async def live(bridge: Processes) -> None:
    """What people, an OA and a company do; and what goes wrong."""
    ingress = int(bridge.callback_url.split(":")[2].split("/")[0])
    async with Poller(bridge) as poller:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(both_ways, "WITHIN_S", PATIENCE_S)
            scene = await both_ways.play(bridge, poller, Screen())
        assert scene.faults == []
        await poller.set_rate(10)
        await exchange(ingress, b"GET / HTTP/1.1\r\nHost: bridge.example\r\n\r\n", 10)
        await exchange(ingress, raw_push(b"not JSON"), 10)  # cannot be normalised
        await exchange(ingress, raw_push(DRIFTING), 10)
        settings = bridge.kafka_settings
        producer = AIOKafkaProducer(**connection(settings))
        await producer.start()
        await producer.send_and_wait(
            f"{settings.topic_prefix}user_add_org", b"no event"
        )  # becomes a dead letter
        await producer.stop()


def lacking(prometheus: Prometheus, expression: str) -> set[str]:
    """Series with the names and labels of ``expression`` that there are none of; which values a label has is
    tests/lint/test_alerts.py's business."""
    wanted = set()
    for selector in selectors(expression):
        if selector.name not in WITHOUT_SERIES:
            labels = ", ".join(f'{matcher.name}!=""' for matcher in selector.matchers.matchers)
            wanted.add(f"{selector.name}{{{labels}}}")
    return {series for series in wanted if not prometheus.ask("series", **{"match[]": series})}


def test_every_query_of_the_dashboards_gives_series(prometheus):
    silent = {query for query in of_dashboards() if not excepted(query.expression)}

    def answered() -> bool:
        silent.difference_update({query for query in silent if prometheus.result(query.expression)})
        return not silent

    with contextlib.suppress(TimeoutError):
        wait_until(answered, 3 * PATIENCE_S)
    assert {query[:2] for query in silent} == set()


def test_what_has_no_series_is_answered_without_an_error(prometheus):
    for query in of_dashboards():
        prometheus.result(query.expression)


def test_every_rule_is_evaluated_on_series_that_are_there(prometheus):
    for query in of_rules():
        prometheus.result(query.expression)
    wait_until(lambda: "unknown" not in {rule["health"] for rule in rules(prometheus)})
    assert [(rule["name"], rule["lastError"]) for rule in rules(prometheus) if rule["health"] != "ok"] == []
    assert len(rules(prometheus)) == len(list(of_rules()))
    assert {name for query in of_rules() for name in lacking(prometheus, query.expression)} == set()


def rules(prometheus: Prometheus) -> list[Any]:
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def test_a_metric_without_series_is_served_and_is_asked_for(prometheus):
    served = prometheus.ask("metadata")
    asked = {s.name for q in (*of_dashboards(), *of_rules()) for s in selectors(q.expression)}
    for metric in WITHOUT_SERIES:
        assert metric in asked, f"no query has {metric} any more"
        family = metric.removesuffix("_total").removesuffix("_bucket")
        assert {metric, family} & served.keys(), f"{metric} is not served"


def excepted(expression: str) -> bool:
    return bool({s.name for s in selectors(expression)} & WITHOUT_SERIES.keys())
