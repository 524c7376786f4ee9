"""``make bench``: everything side by side in one run; ``make bench-large`` with ``--large``.

Rounds are interleaved, figures are medians of rounds, so that a noisy machine disturbs all alike. Ratios of
one run mean something; absolute figures are this machine's at that hour.
"""

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path

from benchmarks import backlog, latency, worker
from benchmarks.results import Results
from benchmarks.stack import Ingress, Server, bare, environment, load, naive
from bridge.servers import start_kafka

FOLDER = Path("data").absolute() / "bench"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--large", action="store_true", help="10,000,000 callbacks in the journal, 1,000,000 records in Kafka"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of one round")
    parser.add_argument("--only", choices=["throughput", "latency", "backlog", "worker"], action="append")
    options = parser.parse_args()
    parts = options.only or (
        ["backlog", "worker"] if options.large else ["throughput", "latency", "backlog", "worker"]
    )
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    results = Results(large=options.large)
    with start_kafka(FOLDER / "kafka", how="jars") as kafka:
        results.note(f"Kafka: {kafka.how}, on the same machine, as is the load")
        if "throughput" in parts:
            throughput(kafka.bootstrap, results, options.rounds, options.seconds)
        if "latency" in parts:
            latency.measure(FOLDER / "latency", environment(kafka.bootstrap, "lat."), results)
        if "backlog" in parts:
            backlog.measure(FOLDER / "backlog", environment(kafka.bootstrap, "back."), results, options.large)
        if "worker" in parts:
            worker.measure(
                FOLDER / "worker", environment(kafka.bootstrap, "work."), results, large=options.large
            )
    results.write(Path("benchmarks") / ("RESULTS-large.md" if options.large else "RESULTS.md"))
    shutil.rmtree(FOLDER, ignore_errors=True)


def throughput(bootstrap: str, results: Results, rounds: int, seconds: float) -> None:
    """Interleaved rounds of all servers at 32 and at 256 connections."""
    env = environment(bootstrap, "bench.")
    servers: list[Server] = [
        bare(FOLDER),
        naive(FOLDER, env),
        Ingress(FOLDER / "ours", env),
        Ingress(FOLDER / "down", {**env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "ingress, Kafka down"),
    ]
    first = 0
    try:
        for connections in (32, 256):
            samples: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
            for number in range(rounds + 1):
                for server in servers:
                    before = server.cpu_s()
                    found = load(server.url, connections, seconds, 0, first)
                    first += 1_000_000
                    bad = {status: n for status, n in found["statuses"].items() if status != "200"}
                    if bad:
                        sys.exit(f"{server.name} answered {bad}")
                    sample = {
                        "per_s": found["per_s"],
                        "p50_ms": found["p50_ms"],
                        "p99_ms": found["p99_ms"],
                        "cpu_us": (server.cpu_s() - before) / found["sent"] * 1e6,
                    }
                    if isinstance(server, Ingress) and "down" not in server.name:
                        sample["behind_s"] = server.drained()
                    if number:  # the first round warms up
                        samples[server.name].append(sample)
                    print(f"{connections} connections, round {number}, {server.name}: {sample}", flush=True)
            results.throughput(
                connections,
                {
                    name: {key: statistics.median(s[key] for s in rows) for key in rows[0]}
                    for name, rows in samples.items()
                },
            )
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"took {time.monotonic() - began:.0f} s")
