"""``make bench``: everything side by side in one run; ``make bench-large`` with ``--large``.

Rounds are interleaved, figures are medians of rounds, so that a noisy machine disturbs all alike. Ratios of
one run mean something; absolute figures are this machine's at that hour.
"""

import argparse
import shutil
import time
from pathlib import Path

from dev.benchmarks import backlog, claim, drift, latency, stream, traces, worker
from dev.benchmarks.large import approvals, company, day
from dev.benchmarks.results import Results
from dev.benchmarks.stack import Ingress, Server, bare, environment, interleaved, naive
from dev.servers import start_kafka

FOLDER = Path("data").absolute() / "bench"
PARTS = ["throughput", "stream", "latency", "drift", "backlog", "draining", "worker", "traces", "claim"]
LARGE = ["backlog", "worker", "company", "approvals", "day"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.benchmarks", description=__doc__)
    parser.add_argument(
        "--large", action="store_true", help="10,000,000 callbacks in the journal, 1,000,000 records in Kafka"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of one round")
    parser.add_argument("--only", choices=sorted({*PARTS, *LARGE}), action="append")
    parser.add_argument("--people", type=int, default=1_000_000, help="of the company")
    parser.add_argument("--departments", type=int, default=50_000, help="of the company")
    parser.add_argument("--sqlite", action="store_true", help="the company in a file, not in PostgreSQL")
    parser.add_argument("--approvals", type=int, default=100_000, help="that are backfilled")
    parser.add_argument("--events", type=int, default=2_000_000, help="of the day")
    parser.add_argument(
        "--handled", type=int, default=1_000_000, help="of the day's, by each consumer (hours for all)"
    )
    options = parser.parse_args()
    parts = options.only or (LARGE if options.large else PARTS)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    results = Results(large=options.large)
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
        if "drift" in parts:
            drift.measure(FOLDER / "drift", environment(kafka.bootstrap, "drift."), results)
        if "backlog" in parts:
            count = (10 if options.large else 1) * backlog.MILLION
            backlog.accepting(FOLDER / "backlog", environment(kafka.bootstrap, "back."), results, count)
        if "draining" in parts:
            env = environment(kafka.bootstrap, "drain.")
            backlog.draining(FOLDER / "draining", env, results, backlog.MILLION // 4, options.rounds)
        if "company" in parts:
            company.measure(
                FOLDER / "company", results, options.people, options.departments, sqlite=options.sqlite
            )
        if "approvals" in parts:
            approvals.measure(FOLDER / "approvals", results, options.approvals)
        if "day" in parts:
            env = environment(kafka.bootstrap, "day.")
            day.measure(FOLDER / "day", env, results, options.events, options.handled)
        if "worker" in parts:
            worker.measure(
                FOLDER / "worker", environment(kafka.bootstrap, "work."), results, large=options.large
            )
        if "traces" in parts:
            env = environment(kafka.bootstrap, "traces.")
            traces.measure(FOLDER / "traces", env, results, options.rounds)
        if "claim" in parts:
            claim.measure(FOLDER / "claim", results)
    path = Path(__file__).parent / ("RESULTS-large.md" if options.large else "RESULTS.md")
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
