"""``make bench``: everything side by side in one run.

Rounds are interleaved, figures are medians of rounds, so that a noisy machine disturbs all alike. Ratios of
one run mean something; absolute figures are this machine's at that hour.
"""

import argparse
import shutil
import time
from pathlib import Path

from dev.benchmarks import backlog, latency, stream, worker
from dev.benchmarks.results import Results
from dev.benchmarks.stack import Ingress, Server, bare, environment, interleaved, naive
from dev.servers import start_kafka

FOLDER = Path("data").absolute() / "bench"
PARTS = ["throughput", "stream", "latency", "backlog", "draining", "worker"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of one round")
    parser.add_argument("--only", choices=PARTS, action="append")
    options = parser.parse_args()
    parts = options.only or PARTS
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    results = Results()
    with start_kafka(FOLDER / "kafka", how="jars", long_run=True) as kafka:
        results.note(f"Kafka: {kafka.how}, on the same machine, as is the load")
        if "throughput" in parts:
            throughput(kafka.bootstrap, results, options.rounds, options.seconds)
        if "stream" in parts:
            env = environment(kafka.bootstrap, "stream.")
            stream.measure(FOLDER / "stream", env, results, options.rounds, options.seconds)
        if "latency" in parts:
            env = environment(kafka.bootstrap, "lat.")
            latency.measure(FOLDER / "latency", env, results, options.rounds)
        if "backlog" in parts:
            env = environment(kafka.bootstrap, "back.")
            backlog.accepting(FOLDER / "backlog", env, results, backlog.MILLION)
        if "draining" in parts:
            env = environment(kafka.bootstrap, "drain.")
            backlog.draining(FOLDER / "draining", env, results, backlog.MILLION // 4, options.rounds)
        if "worker" in parts:
            worker.measure(FOLDER / "worker", environment(kafka.bootstrap, "work."), results)
    path = Path(__file__).with_name("RESULTS.md")
    if options.only:
        results.keep_others(path)
    results.write(path)
    shutil.rmtree(FOLDER, ignore_errors=True)


def throughput(bootstrap: str, results: Results, rounds: int, seconds: float) -> None:
    """All servers at 32 and at 256 connections."""
    env = environment(bootstrap, "bench.")
    servers: list[Server] = [
        bare(FOLDER),
        naive(FOLDER, env),
        Ingress(FOLDER / "ours", env),
        Ingress(FOLDER / "down", {**env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, "ingress, Kafka down"),
    ]
    try:
        for connections, of_naive in ((32, 0.98), (256, 1.25)):
            results.throughput(connections, interleaved(servers, connections, rounds, seconds), of_naive)
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"took {time.monotonic() - began:.0f} s")
