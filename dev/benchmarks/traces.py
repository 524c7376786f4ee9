"""What traces cost in CPU: ingress with relay, and worker, without them, at 1 % and at 100 % of callbacks.

Side by side in one run, with a receiver that takes the spans in a process of its own, which does not count.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path

from dev.benchmarks import worker
from dev.benchmarks.results import Results, target
from dev.benchmarks.stack import PYTHON, Ingress, Server, interleaved
from dev.servers import free_port

SHARES = {"off": None, "1 %": "0.01", "100 %": "1"}
_EVERY = {"off": 0, "1 %": 100, "100 %": 1}
_RECORDS = 50_000
_CONNECTIONS = 32


def measure(folder: Path, env: Mapping[str, str], results: Results, rounds: int, seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    receiver = Server(
        "receiver", [*PYTHON, "-m", "dev.benchmarks.servers.otlp", str(port)], {}, port, folder / "otlp.log"
    )
    try:
        ingress = _ingress_us(folder, env, port, rounds, seconds)
        handled = _worker_us(folder, env, port, rounds)
    finally:
        receiver.stop()
    lines = ["## Traces", "", "| CPU µs per callback | off | 1 % | 100 % |", "|---|---|---|---|"]
    for name, found in (("ingress and relay", ingress), ("worker, no database", handled)):
        lines.append(f"| {name} | " + " | ".join(f"{found[share]:.1f}" for share in SHARES) + " |")
    lines.append("")
    for name, found in (("ingress and relay", ingress), ("worker", handled)):
        words = f"CPU of {name}, traces of 1 % : none"
        lines.append(target(words, found["1 %"] / found["off"], 1.05, most=True))
    results.add("\n".join(lines))


def _otel(share: str, port: int) -> dict[str, str]:
    ratio = SHARES[share]
    if ratio is None:
        return {}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_TRACES_SAMPLER_ARG": ratio}


def _ingress_us(
    folder: Path, env: Mapping[str, str], port: int, rounds: int, seconds: float
) -> dict[str, float]:
    servers = [Ingress(folder / str(n), {**env, **_otel(s, port)}, s) for n, s in enumerate(SHARES)]
    try:
        found = interleaved(servers, _CONNECTIONS, rounds, seconds)
    finally:
        for server in servers:
            server.stop()
    return {share: found[share]["cpu_us"] for share in SHARES}


def _worker_us(folder: Path, env: Mapping[str, str], port: int, rounds: int) -> dict[str, float]:
    settings = {}
    for number, share in enumerate(SHARES):
        own = {**env, "DATA_DIR": str(folder), "TOPIC_PREFIX": f"t{number}.{env['TOPIC_PREFIX']}"}
        worker.fill(own, _RECORDS, traced_every=_EVERY[share])
        settings[share] = own | _otel(share, port)
    samples: dict[str, list[float]] = {share: [] for share in SHARES}
    for number in range(rounds + 1):
        for share, own in settings.items():
            cpu_us = worker.run("worker-cpu", _RECORDS, own)["seconds"] / _RECORDS * 1e6
            if number:  # the first round warms up
                samples[share].append(cpu_us)
            print(f"worker, round {number}, traces {share}: {cpu_us:.1f} us", flush=True)
    return {share: statistics.median(rows) for share, rows in samples.items()}
