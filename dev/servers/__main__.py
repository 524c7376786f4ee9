"""``python -m dev.servers``: can this machine start a real Kafka and PostgreSQL? Fetches what is missing.

Exit code 1 with one line for each thing that is missing, and its remedy.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from dev.servers.engine import Engine
from dev.servers.kafka import nothing_works
from dev.servers.kafka_docker import IMAGE as KAFKA_IMAGE
from dev.servers.postgres import IMAGE as POSTGRES_IMAGE
from dev.servers.postgres import named_in_environment
from dev.servers.postgres_wheel import programs
from dingbridge.errors import ServerStartError
from dingbridge.simulator.kafka.brokers import JarsKafka
from dingbridge.simulator.kafka.jars import KAFKA_VERSION, classes_file, fetch_jars, java
from dingbridge.simulator.kafka.progress import Progress
from dingbridge.simulator.kafka.server import START_WITHIN_S


def main() -> int:
    progress, failures = Progress(), []
    for prepare in (_kafka, _postgres):
        try:
            progress.line(prepare(progress))
        except ServerStartError as error:
            failures.append(str(error))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _kafka(progress: Progress) -> str:
    if named := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return f"Kafka: the one at {named} (KAFKA_BOOTSTRAP_SERVERS)"
    try:
        Engine().provide(KAFKA_IMAGE, progress)
        return f"Kafka: {KAFKA_IMAGE} in Docker"
    except ServerStartError as error:
        because = str(error)
    try:
        _share_classes(fetch_jars(progress))
    except ServerStartError as error:
        raise nothing_works(because, error) from error
    return f"Kafka: {KAFKA_VERSION} from its jars ({because})"


def _share_classes(jars: Path) -> None:
    """Keeps in a file what a broker loads, once: each later start then takes half of the CPU (measured)."""
    target = classes_file(jars, java())
    if target.exists():
        return
    with TemporaryDirectory(prefix=".classes-", dir=jars.parent) as scratch:
        fresh = Path(scratch) / target.name
        # slow to stop, or a Java that writes no such file: brokers start without
        with suppress(psutil.Error, FileNotFoundError):
            with JarsKafka(Path(scratch), because="", classes_to=fresh) as broker:
                [pid] = broker.pids
                process = psutil.Process(pid)
                process.terminate()
                process.wait(START_WITHIN_S)
            fresh.rename(target)


def _postgres(progress: Progress) -> str:
    if named_in_environment():
        return "PostgreSQL: the one of DATABASE_URL"
    try:
        Engine().provide(POSTGRES_IMAGE, progress)
        return f"PostgreSQL: {POSTGRES_IMAGE} in Docker"
    except ServerStartError as error:
        because = str(error)
    programs()
    return f"PostgreSQL: from its wheel ({because})"


if __name__ == "__main__":
    sys.exit(main())
