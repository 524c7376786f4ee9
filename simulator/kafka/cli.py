"""``dingbridge simulator kafka``: a Kafka for a trial, where there is none yet."""

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

POLL_S = 0.5
"""How soon the command notices that the broker has ended by itself, in s."""


def command(
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where it listens, on this machine alone.")
    ] = 9092,
    data: Annotated[
        Path | None,
        typer.Option(help="Where its topics are kept, for the next start, too. ($DATA_DIR/kafka)"),
    ] = None,
) -> None:
    """Run a real Kafka for a trial on this machine, without Docker, until SIGTERM or Ctrl-C.

    One broker that takes everybody's word, so for a trial only. It needs Java 17 or newer; the first start
    fetches Kafka's jars with Maven, 65 MB. Exit code 1: it cannot be started, or has ended by itself.
    """
    from dingbridge.errors import ServerStartError
    from dingbridge.simulator.kafka.brokers import JarsKafka
    from dingbridge.simulator.kafka.ports import answers

    if answers("127.0.0.1", port):
        raise ServerStartError(f"port {port} is in use by another process; choose another with --port")
    # also while it fetches and starts: end as by Ctrl-C, with all that was started
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = (data or Path(os.environ.get("DATA_DIR", "data")) / "kafka").absolute()
    with JarsKafka(folder, kept=True, port=port, because="", long_run=True) as kafka:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        print(f"KAFKA_BOOTSTRAP_SERVERS=localhost:{port}")
        print(f"{kafka.how}; its topics are kept in {folder}. Ctrl-C stops it.", flush=True)
        while not stop.wait(POLL_S):
            if not kafka.pids:
                raise ServerStartError(f"Kafka has ended by itself; its last words:\n{kafka.log_tail()}")
