"""Starting a real Kafka for demo, tests and benchmarks: which way, and why that one.

The order of ``auto``: a cluster named in the environment, else a container if a Docker engine answers and
has or gets the image, else the same Apache Kafka from its own jars. Production does not come here.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from dev.servers.kafka_docker import DockerKafka
from dingbridge.errors import KafkaUnavailable, ServerStartError
from dingbridge.kafka.client import connection, explain
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.kafka.brokers import JarsKafka
from dingbridge.simulator.kafka.jars import KAFKA_VERSION
from dingbridge.simulator.kafka.progress import Progress
from dingbridge.simulator.kafka.server import KafkaServer, in_own_loop

KafkaHow = Literal["auto", "environment", "local", "docker", "jars"]


class EnvironmentKafka(KafkaServer):
    """A cluster that somebody else runs: used, never stopped."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises ``KafkaUnavailable`` if it does not answer within 15 s or refuses the credentials."""
        self.bootstrap = settings.kafka_bootstrap_servers
        self.how = f"Kafka at {self.bootstrap} (KAFKA_BOOTSTRAP_SERVERS)"
        in_own_loop(self._check(settings))

    async def _check(self, settings: KafkaSettings) -> None:
        client = AIOKafkaClient(**connection(settings))
        try:
            async with asyncio.timeout(15):
                await client.bootstrap()
        except (KafkaError, OSError, TimeoutError) as error:
            raise KafkaUnavailable(explain(error, settings)) from error
        finally:
            await client.close()

    def stop(self) -> None:
        pass

    def _not_ours(self, node: int | None = None) -> None:
        raise ServerStartError(f"{self.how} is not ours to stop; unset KAFKA_BOOTSTRAP_SERVERS for this")

    kill = pause = resume = start = stop_broker = _not_ours

    def keep(self) -> str:
        return ""

    def log_tail(self, lines: int = 20) -> str:
        return ""


def start_kafka(
    workdir: Path,
    *,
    how: KafkaHow = "auto",
    brokers: int = 1,
    port: int | None = None,
    extra_properties: Mapping[str, str] | None = None,
    scram_users: Mapping[str, str] | None = None,
    long_run: bool = False,
    progress: Progress | None = None,
) -> KafkaServer:
    """Starts (or finds) a Kafka and returns when it answers to a client.

    ``workdir`` gets a new folder with data and logs of brokers run from jars; ``stop`` removes the data.
    ``auto`` decides as the module says; ``local`` is the same without the environment, for tests that break
    their broker. Several
    ``brokers``, a given ``port`` (of the first broker) and ``scram_users`` (name to password; opens
    ``sasl_bootstrap``) come from the jars only; these, like ``extra_properties``, also pass over a cluster
    of the environment. ``long_run``: brokers from jars are to be fast after minutes, not up at once.

    Raises ``ServerStartError`` (what is missing, with the remedy; or the broker's last log lines) and
    ``KafkaUnavailable`` for a cluster of the environment; never falls back from that one.
    """
    workdir = workdir.absolute()  # the broker runs in a folder of its own
    extra, users, progress = extra_properties or {}, scram_users or {}, progress or Progress()
    because = _needs_jars(brokers, port, users)
    if how in ("auto", "environment"):
        settings = KafkaSettings.load()
        named = "kafka_bootstrap_servers" in settings.model_fields_set
        if how == "environment" or (named and not because and not extra):
            return EnvironmentKafka(settings)
    if how == "docker":
        if because:
            raise ServerStartError(f"Kafka in Docker: not possible here ({because})")
        return DockerKafka(extra_properties=extra, progress=progress)
    if how in ("auto", "local") and not because:
        try:
            return DockerKafka(extra_properties=extra, progress=progress)
        except ServerStartError as error:
            because = str(error).splitlines()[0].rstrip(";:")
    try:
        return JarsKafka(
            workdir,
            brokers=brokers,
            port=port,
            extra_properties=extra,
            scram_users=users,
            because="" if how == "jars" else because,
            long_run=long_run,
            progress=progress,
        )
    except ServerStartError as error:
        if how == "jars":
            raise
        raise nothing_works(because, error) from error


def nothing_works(docker: str, jars: ServerStartError) -> ServerStartError:
    """Why neither way works, one line each."""
    lines = [f"  with Docker: {docker}", *(f"  without: {line}" for line in str(jars).splitlines())]
    return ServerStartError(f"Kafka {KAFKA_VERSION} cannot be started here\n" + "\n".join(lines))


def _needs_jars(brokers: int, port: int | None, users: Mapping[str, str]) -> str:
    if brokers > 1:
        return f"{brokers} brokers wanted"
    if users:
        return "a listener with passwords wanted"
    return "its port is fixed" if port else ""
