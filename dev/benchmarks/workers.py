"""One ingress worker and two on one port, as fast as possible: stated, with no ratio to reach, since load,
Kafka and all processes of the ingress share this machine's cores.
"""

from collections.abc import Mapping
from pathlib import Path

from dev.benchmarks.results import Results
from dev.benchmarks.stack import Ingress, interleaved

CONNECTIONS = 256
"""The kernel spreads connections over workers by chance: of many, each gets about as many."""


def measure(folder: Path, env: Mapping[str, str], results: Results, rounds: int, seconds: float) -> None:
    servers = [
        Ingress(folder / str(count), {**env, "INGRESS_WORKERS": str(count)}, f"`INGRESS_WORKERS={count}`")
        for count in (1, 2)
    ]
    try:
        results.workers(CONNECTIONS, interleaved(servers, CONNECTIONS, rounds, seconds))
    finally:
        for server in servers:
            server.stop()
