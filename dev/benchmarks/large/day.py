"""A day's events at once: accepted by the ingress, carried to Kafka by its relay, handled by both consumers.

Half of the events are changes of people, half ends of approvals; the simulator is DingTalk's Open API. Each
part is timed by itself but for the relay, which works beside the accepting. As a program, ``URL FIRST COUNT
BEGAN_MS`` pushes some of the events, and prints one JSON object.
"""

import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil
import uvloop

from dev.benchmarks import load
from dev.benchmarks.large.company import environment as api_environment
from dev.benchmarks.results import Results
from dev.benchmarks.stack import PYTHON, Ingress
from dev.servers.postgres import start_postgres
from dingbridge.simulator.company.company import Company
from dingbridge.simulator.company.crowd.founders import Founders
from dingbridge.simulator.company.past import PastApprovals
from dingbridge.simulator.kafka.ports import free_port
from dingbridge.simulator.kafka.processes import tail
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings

PEOPLE: Final = 10_000
"""Of the company, in 200 departments: large enough to be made by arithmetic, so that ids are known here."""
APPROVALS: Final = 100_000
_CORP: Final = "dingcorpsample01"
_PIECE: Final = 50_000
_SEED: Final = 1


def plaintext(past: PastApprovals, number: int) -> bytes:
    """Event ``number``: even ones change a person, odd ones end one of the approvals of the past."""
    at_ms = 1_764_000_000_000 + number
    event: dict[str, Any] = {"TimeStamp": str(at_ms), "CorpId": _CORP, "EventType": "user_modify_org"}
    if number % 2 == 0:
        event["UserId"] = [_FOUNDERS.userid(number // 2 % PEOPLE + 1)]
    else:
        event = {
            "EventType": "bpms_instance_change",
            "type": "finish",
            "result": "agree",
            "processInstanceId": past.id_of(number // 2 % APPROVALS + 1),
            "corpId": _CORP,
            "createTime": at_ms - 1_000,
            "finishTime": at_ms,
            "title": "请假申请",
            "staffId": _FOUNDERS.userid(number % PEOPLE + 1),
            "processCode": "PROC-LEAVE",
            "businessId": f"2024{number:016d}",
        }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


_FOUNDERS = Founders(_SEED, PEOPLE, 200, 1)


def measure(folder: Path, env: Mapping[str, str], results: Results, events: int, handled: int) -> None:
    """``events`` through ingress and relay, the first ``handled`` of its half by each consumer."""
    folder.mkdir(parents=True, exist_ok=True)
    with start_postgres(folder, how="wheel") as postgres:
        urls = {name: postgres.create_database(name.replace("-", "_")) for name in CONSUMERS}
        results.add(asyncio.run(_measure(folder, env, urls, events, min(handled, events // 2))))


CONSUMERS: Final = ("address-sync", "approval")


async def _measure(
    folder: Path, env: Mapping[str, str], urls: Mapping[str, str], events: int, handled: int
) -> str:
    settings = SimulatorSettings.load(
        simulator_port=0,
        simulator_profile="kind",
        simulator_seed=_SEED,
        simulator_users=PEOPLE,
        simulator_departments=200,
        simulator_approvals=APPROVALS,
        log_level="WARNING",
    )
    async with Simulator(settings) as simulator:
        api = {"DINGTALK_API_BASE": simulator.base_url}
        accepting, behind, ingress_mb = await asyncio.to_thread(
            _accepted, folder, {**env, **api}, events, simulator.platform.began_ms
        )
        rows = [
            ("ingress, accepting", events, accepting, ingress_mb),
            (
                "relay, to the last record in Kafka, beside and after it",
                events,
                accepting + behind,
                ingress_mb,
            ),
        ]
        for name in CONSUMERS:
            calls = simulator.api.calls.total()
            own = {**env, **api_environment(simulator, urls[name], folder)}
            seconds, peak = await _consumed(name, own, handled, folder / f"{name}.log")
            made = simulator.api.calls.total() - calls
            rows.append((f"{name}, alone, {made:,} API calls", handled, seconds, peak))
    table = [
        f"| {name} | {count:,} | {took:,.0f} | {count / took:,.0f} | {peak:.0f} |"
        for name, count, took, peak in rows
    ]
    slowest = max(took / count for _, count, took, _ in rows)
    return "\n".join(
        [
            f"## A day of {events:,} events, each part at full speed",
            "",
            "| part | of them | s | a second | peak memory, MB |",
            "|---|---|---|---|---|",
            *table,
            "",
            f"- a day has 86,400 s: {events / 86_400:.1f} events a second, half for each consumer; by "
            f"these rates one process of the slower consumer needs {slowest * events / 2 / 3600:.1f} h of it",
        ]
    )


def _accepted(folder: Path, env: Mapping[str, str], events: int, began_ms: int) -> tuple[float, float, float]:
    """Push all events; seconds of accepting, seconds until all were in Kafka then, and memory in MB."""
    ingress, accepting, peak = Ingress(folder / "ingress", env), 0.0, 0.0
    try:
        for first in range(0, events, _PIECE):
            count = min(_PIECE, events - first)
            numbers = [str(number) for number in (first, count, began_ms)]
            arguments = [*PYTHON, "-m", "dev.benchmarks.large.day", ingress.url, *numbers]
            found = json.loads(_output(arguments))
            if found["statuses"] != {"200": count}:
                raise SystemExit(f"the ingress answered {found['statuses']}")
            accepting += found["seconds"]
            peak = max(peak, ingress.rss_mb())
        behind = ingress.drained(24 * 3600)
    finally:
        ingress.stop()
    return accepting, behind, peak


def _output(arguments: list[str]) -> bytes:
    import subprocess

    return subprocess.run(arguments, capture_output=True, check=True).stdout


async def _consumed(name: str, env: Mapping[str, str], count: int, log: Path) -> tuple[float, float]:
    """Seconds until the consumer has finished ``count`` records of events, and its peak memory in MB."""
    port = free_port()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("dingbridge")),
            *("consume", name),
            env={**os.environ, **env, "ADMIN_PORT": str(port), "LOG_LEVEL": "WARNING"},
            stdout=output,
            stderr=output,
        )
    watched, began, peak = psutil.Process(process.pid), time.monotonic(), 0.0
    try:
        while (done := await asyncio.to_thread(_finished, port)) < count:
            if process.returncode is not None:
                raise SystemExit(f"{name} ended after {done} of {count}:\n{tail(log, 20)}")
            peak = max(peak, watched.memory_info().rss / 1e6)
            await asyncio.sleep(0.5)
        return time.monotonic() - began, peak
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _finished(port: int) -> float:
    """Records of events that the consumer has finished, by its metrics."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return 0
    of_events = (
        line for line in lines if line.startswith("dingbridge_consumer_events_total") and "inbox" not in line
    )
    return sum(float(line.rpartition(" ")[2]) for line in of_events)


if __name__ == "__main__":
    url_, first_, count_, began_ = sys.argv[1:5]
    arguments_ = (url_, 64, 3600.0, 0.0, int(first_))
    past_ = PastApprovals(
        partial(Company, seed=_SEED, users=PEOPLE, departments=200), APPROVALS, int(began_), _SEED, _CORP
    )
    texts_ = partial(plaintext, past_)
    print(json.dumps(uvloop.run(load.run(*arguments_, texts=texts_, most=int(count_)))))
