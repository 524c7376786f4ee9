"""Apache Kafka in a Docker container: one KRaft node on a port that is chosen before the start."""

from collections.abc import Mapping

from dev.servers.engine import Container, Engine
from dingbridge.simulator.kafka.brokers import SMALL
from dingbridge.simulator.kafka.jars import KAFKA_VERSION
from dingbridge.simulator.kafka.progress import Progress
from dingbridge.simulator.kafka.server import START_WITHIN_S, KafkaServer, wait_until_kafka_answers

IMAGE = f"apache/kafka:{KAFKA_VERSION}"
INNER_PORT = 9092


class DockerKafka(KafkaServer):
    """A broker in a container; it is removed with its data by ``stop``."""

    def __init__(self, *, extra_properties: Mapping[str, str], progress: Progress | None = None) -> None:
        """Raises ``EngineUnavailable``, or ``ServerStartError`` if the broker does not answer."""
        engine = Engine()
        engine.provide(IMAGE, progress or Progress())
        from testcontainers.core.container import DockerContainer

        container = DockerContainer(IMAGE)
        self._container = Container(engine, container, label="kafka", inner_port=INNER_PORT)
        self.bootstrap = self._container.address
        self.container_name = self._container.name
        for name, value in (properties(self.bootstrap) | dict(extra_properties)).items():
            container.with_env(environment_name(name), value)
        self.how = f"Apache Kafka {KAFKA_VERSION} in Docker ({IMAGE})"
        self._container.start()
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        wait_until_kafka_answers(
            self.bootstrap,
            brokers=1,
            within_s=START_WITHIN_S,
            alive=lambda: self._container.running,
            log_tail=self.log_tail,
        )

    def stop(self) -> None:
        self._container.remove()

    def stop_broker(self, node: int | None = None) -> None:
        self._container.handle.stop(timeout=10)

    def kill(self, node: int | None = None) -> None:
        self._container.handle.kill()

    def pause(self, node: int | None = None) -> None:
        self._container.handle.pause()

    def resume(self, node: int | None = None) -> None:
        if self._container.paused:
            self._container.handle.unpause()

    def start(self, node: int | None = None) -> None:
        if not self._container.running:
            self._container.handle.start()
        self._wait()

    def keep(self) -> str:
        return self._container.keep()

    def log_tail(self, lines: int = 20) -> str:
        return self._container.log_tail(lines)


def properties(advertised: str) -> dict[str, str]:
    """A whole configuration: the image drops its default one as soon as a single property is given.

    Brokers speak to themselves by the advertised address of their inter-broker listener (transaction
    markers, say), and the published port does not exist inside the container: hence a listener of its own.
    """
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://:{INNER_PORT},BROKER://localhost:9094,CONTROLLER://localhost:9093",
        "advertised.listeners": f"PLAINTEXT://{advertised},BROKER://localhost:9094",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "log.dirs": "/tmp/kafka",  # noqa: S108 - inside the container
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        **SMALL,
    }


def environment_name(name: str) -> str:
    """How the image spells a property: ``a.b-c_d`` is ``KAFKA_A_B___C__D``."""
    return "KAFKA_" + name.replace("_", "__").replace("-", "___").replace(".", "_").upper()
