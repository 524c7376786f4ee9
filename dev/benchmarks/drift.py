"""What it costs the relay to compare each callback with the catalogue, of all the CPU that it uses.

The relay drains a journal, drift check and all. The check's own part is the difference that it makes to
normalising the same callbacks in this process: many short rounds in turn, of which the median counts.
"""

import asyncio
import gc
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

from dev.benchmarks.backlog import fill
from dev.benchmarks.load import plaintext
from dev.benchmarks.results import Results, target
from dev.benchmarks.stack import Ingress
from dingbridge.events import Received, to_records
from dingbridge.events.envelope import DriftCheck
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.schema.drift import drift_in
from dingbridge.settings import KafkaSettings

_DRAINED = 200_000
_ROUND = 500
_ROUNDS = 300


def measure(folder: Path, env: Mapping[str, str], results: Results) -> None:
    settings = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    asyncio.run(ensure_topics(settings, [event_topic(settings, "bpms_instance_change")]))
    relay, check = _relay_us(folder, env), _check_us()
    words = f"CPU, drift check : all of the relay ({check:.1f} : {relay:.1f} µs per callback)"
    results.add(
        "## Comparing callbacks with the catalogue\n\n" + target(words, check / relay, 0.05, most=True)
    )


def _relay_us(folder: Path, env: Mapping[str, str]) -> float:
    """CPU of the ingress for each callback while nothing is pushed and the relay is under way, µs."""
    fill(folder / "journal", _DRAINED)
    ingress = Ingress(folder, env)
    try:
        begin = _waiting_below(ingress, _DRAINED * 9 // 10)
        end = _waiting_below(ingress, _DRAINED // 10)
    finally:
        ingress.stop()
    return (end[1] - begin[1]) / (begin[0] - end[0]) * 1e6


def _waiting_below(ingress: Ingress, count: int) -> tuple[int, float]:
    """How many callbacks wait as soon as it is fewer than ``count``, and the ingress's CPU seconds so far."""
    while (waiting := ingress.waiting()) >= count:
        time.sleep(0.05)
    return waiting, ingress.cpu_s()


def _check_us() -> float:
    """How much longer it takes to normalise one callback with the check, CPU µs."""
    rows = [Received(n, "bench", 1_764_000_000_000, "default", "http", plaintext(n)) for n in range(_ROUND)]
    gc.freeze()
    gc.set_threshold(50_000)  # as in the ingress
    _normalising_s(rows, drift_in)  # warms up
    longer = [_normalising_s(rows, drift_in) - _normalising_s(rows, None) for _ in range(_ROUNDS)]
    return statistics.median(longer) / _ROUND * 1e6


def _normalising_s(rows: list[Received], check: DriftCheck | None) -> float:
    began = time.process_time()
    for row in rows:
        to_records(row, check)
    return time.process_time() - began
