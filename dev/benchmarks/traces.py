"""What traces cost a worker in CPU: without them, at 1 % and at 100 % of events.

Side by side in one run, with a receiver that takes the spans in a process of its own, which does not count.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path

from dev.benchmarks import worker
from dev.benchmarks.results import Results, target
from dev.benchmarks.stack import PYTHON, Server
from dev.servers import free_port

SHARES = {"off": None, "1 %": "0.01", "100 %": "1"}
_RECORDS = 50_000


def measure(folder: Path, env: Mapping[str, str], results: Results, rounds: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    receiver = Server(
        "receiver", [*PYTHON, "-m", "dev.benchmarks.servers.otlp", str(port)], {}, port, folder / "otlp.log"
    )
    try:
        handled = _worker_us(folder, env, port, rounds)
    finally:
        receiver.stop()
    lines = ["## Traces", "", "| CPU µs per event | off | 1 % | 100 % |", "|---|---|---|---|"]
    lines.append("| worker, no database | " + " | ".join(f"{handled[share]:.1f}" for share in SHARES) + " |")
    lines.append("")
    words = "CPU of worker, traces of 1 % : none"
    lines.append(target(words, handled["1 %"] / handled["off"], 1.05, most=True))
    results.add("\n".join(lines))


def _otel(share: str, port: int) -> dict[str, str]:
    ratio = SHARES[share]
    if ratio is None:
        return {}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_TRACES_SAMPLER_ARG": ratio}


def _worker_us(folder: Path, env: Mapping[str, str], port: int, rounds: int) -> dict[str, float]:
    settings = {}
    for number, share in enumerate(SHARES):
        own = {**env, "DATA_DIR": str(folder), "TOPIC_PREFIX": f"t{number}.{env['TOPIC_PREFIX']}"}
        worker.fill(own, _RECORDS)
        settings[share] = own | _otel(share, port)
    samples: dict[str, list[float]] = {share: [] for share in SHARES}
    for number in range(rounds + 1):
        for share, own in settings.items():
            cpu_us = worker.run("worker-cpu", _RECORDS, own)["seconds"] / _RECORDS * 1e6
            if number:  # the first round warms up
                samples[share].append(cpu_us)
            print(f"worker, round {number}, traces {share}: {cpu_us:.1f} us", flush=True)
    return {share: statistics.median(rows) for share, rows in samples.items()}
