"""Apache Kafka as child processes: one KRaft node, or several that form a real cluster.

The ports are chosen before the start, the data is in the caller's folder, one JVM a node. Fetching the
jars is ``jars.py``.
"""

import base64
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dingbridge.errors import ServerStartError
from dingbridge.simulator.kafka.jars import KAFKA_VERSION, classes_file, fetch_jars, java
from dingbridge.simulator.kafka.ports import free_port
from dingbridge.simulator.kafka.processes import GuardedProcess, tail
from dingbridge.simulator.kafka.progress import Progress
from dingbridge.simulator.kafka.server import START_WITHIN_S, KafkaServer, wait_until_kafka_answers

LOG_CONFIG = Path(__file__).with_name("log4j2.properties")
ATTEMPTS = 3
"""Another process may take a port between our choice and the broker's start: then with other ports."""


@dataclass
class _Node:
    number: int  # node.id, from 1
    folder: Path
    port: int
    controller_port: int
    sasl_port: int
    directory_id: str = field(default_factory=lambda: _uuid())
    process: GuardedProcess | None = None

    @property
    def log(self) -> Path:
        return self.folder / "broker.log"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running


class JarsKafka(KafkaServer):
    """Brokers run by this machine's Java."""

    def __init__(
        self,
        workdir: Path,
        *,
        kept: bool = False,
        brokers: int = 1,
        port: int | None = None,
        extra_properties: Mapping[str, str] | None = None,
        scram_users: Mapping[str, str] | None = None,
        because: str,
        long_run: bool = False,
        progress: Progress | None = None,
        classes_to: Path | None = None,
    ) -> None:
        """``kept``: the data stand in ``workdir`` itself, stay there, and are used again at the next start;
        else in a new folder below it, until ``stop``. ``because`` says in a phrase why not Docker; empty if
        nobody asked for that. ``classes_to`` is written when the broker ends in order.

        Raises ``ServerStartError``."""
        self._jars = fetch_jars(progress)
        self._java = java()
        self._classes = classes_file(self._jars, self._java)
        self._extra = dict(extra_properties or {})
        self._scram_users = dict(scram_users or {})
        self._long_run, self._classes_to, self._kept = long_run, classes_to, kept
        self.how = f"Apache Kafka {KAFKA_VERSION} from its jars" + (f" ({because})" if because else "")
        workdir.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            folder = workdir if kept else Path(tempfile.mkdtemp(prefix="kafka-", dir=workdir))
            self._nodes = [
                _Node(
                    number=number,
                    folder=folder / f"node-{number}",
                    port=port if port and number == 1 else free_port(),
                    controller_port=free_port(),
                    sasl_port=free_port(),
                )
                for number in range(1, brokers + 1)
            ]
            self.bootstrap = ",".join(f"127.0.0.1:{node.port}" for node in self._nodes)
            if scram_users:
                self.sasl_bootstrap = ",".join(f"127.0.0.1:{node.sasl_port}" for node in self._nodes)
            try:
                for node in self._nodes:
                    self._format(node)
                self.start()
                return
            except BaseException as error:
                taken = isinstance(error, ServerStartError) and "Address already in use" in str(error)
                self.stop()
                if not taken:
                    raise
                if port or attempt == ATTEMPTS:
                    raise ServerStartError(
                        f"Kafka: port {self._nodes[0].port} is in use by another process; choose another port"
                    ) from error

    @property
    def pids(self) -> list[int]:
        return [node.process.pid for node in self._nodes if node.process is not None and node.process.running]

    def stop(self) -> None:
        if self._kept:
            self.stop_broker()
            return
        self.kill()  # the data goes too, so that a clean stop would only cost time
        for node in self._nodes:
            shutil.rmtree(node.data, ignore_errors=True)

    def stop_broker(self, node: int | None = None) -> None:
        chosen = [n.process for n in self._chosen(node) if n.process is not None]
        for process in chosen:  # all at once: the last of a quorum would wait for the others
            process.send(signal.SIGTERM)
            process.resume()
        for process in chosen:
            process.stop(timeout_s=10)

    def kill(self, node: int | None = None) -> None:
        for n in self._chosen(node):
            if n.process is not None:
                n.process.kill()

    def pause(self, node: int | None = None) -> None:
        for n in self._chosen(node):
            if n.process is not None:
                n.process.pause()

    def resume(self, node: int | None = None) -> None:
        for n in self._chosen(node):
            if n.process is not None:
                n.process.resume()

    def start(self, node: int | None = None) -> None:
        chosen = self._chosen(node)
        for n in chosen:
            if not n.running:
                n.process = GuardedProcess(
                    [*self._jvm(), "kafka.Kafka", str(n.properties)],
                    log=n.log,
                    env=_environment(),
                    cwd=n.folder,
                )
        wait_until_kafka_answers(
            ",".join(f"127.0.0.1:{n.port}" for n in chosen),
            brokers=sum(n.running for n in self._nodes),
            within_s=START_WITHIN_S,
            alive=lambda: all(n.running for n in chosen),
            log_tail=self.log_tail,
        )

    def keep(self) -> str:
        for node in self._nodes:
            if node.process is not None:
                node.process.keep()
        return "kill " + " ".join(map(str, self.pids))

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join(tail(node.log, lines) for node in self._nodes)

    def _chosen(self, node: int | None) -> list[_Node]:
        return self._nodes if node is None else [self._nodes[node]]

    def _jvm(self) -> list[str]:
        # in a life of minutes the second compiler costs more than it saves: 40 % of a start's CPU (measured)
        quick = [] if self._long_run else ["-XX:TieredStopAtLevel=1"]
        if self._classes_to is not None:
            quick.append(f"-XX:ArchiveClassesAtExit={self._classes_to}")
        elif self._classes.exists():
            quick.append(f"-XX:SharedArchiveFile={self._classes}")
        return [
            self._java,
            *quick,
            "-Xms128m",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={LOG_CONFIG}",
            "-cp",
            f"{self._jars}/*",
        ]

    def _format(self, node: _Node) -> None:
        """Writes the properties, and formats the node's storage once, as KRaft needs it."""
        node.folder.mkdir(parents=True, exist_ok=True)
        node.properties.write_text(
            "".join(f"{k}={_escaped(v)}\n" for k, v in self._properties(node).items()), encoding="utf-8"
        )
        if (node.data / "meta.properties").exists():
            return
        command = [*self._jvm(), "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        command += ["-t", self._cluster_id, "-c", str(node.properties)]
        if len(self._nodes) == 1:
            command.append("--standalone")
        else:
            quorum = [f"{n.number}@127.0.0.1:{n.controller_port}:{n.directory_id}" for n in self._nodes]
            command += ["--initial-controllers", ",".join(quorum)]
        for name, password in self._scram_users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        process = GuardedProcess(command, log=node.log, env=_environment(), cwd=node.folder)
        if process.wait(START_WITHIN_S):
            raise ServerStartError(f"Kafka could not format its storage:\n{process.log_tail()}")

    @property
    def _cluster_id(self) -> str:
        return self._nodes[0].directory_id

    def _properties(self, node: _Node) -> dict[str, str]:
        listeners = {"PLAINTEXT": node.port, "CONTROLLER": node.controller_port}
        if self._scram_users:
            listeners["SASL_PLAINTEXT"] = node.sasl_port
        replicas = str(min(3, len(self._nodes)))
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            "controller.quorum.bootstrap.servers": ",".join(
                f"127.0.0.1:{n.controller_port}" for n in self._nodes
            ),
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
            "advertised.listeners": ",".join(
                f"{name}://127.0.0.1:{port}" for name, port in listeners.items() if name != "CONTROLLER"
            ),
            "listener.security.protocol.map": ",".join(
                f"{name}:{'PLAINTEXT' if name == 'CONTROLLER' else name}" for name in listeners
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(node.data),
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": "1",
            **SMALL,
        }
        if self._scram_users:
            properties["sasl.enabled.mechanisms"] = "SCRAM-SHA-512"
            properties["listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config"] = (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            )
        return properties | self._extra


SMALL = {
    "auto.create.topics.enable": "false",  # as a careful cluster has it: topics exist before they are used
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",  # a broker that was killed may come back after this, not after 9 s
    "broker.heartbeat.interval.ms": "500",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "2",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.index.size.max.bytes": "1048576",  # each segment reserves it twice: hundreds of small topics
    "log.cleaner.dedupe.buffer.size": "8388608",
}
"""Settings of a broker that is small, quick to start, and on a machine of its own."""


def _environment() -> dict[str, str]:
    """Ours, without what makes a JVM print to its output or changes the broker behind our back."""
    unwanted = ("KAFKA_OPTS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH")
    return {k: v for k, v in os.environ.items() if k not in unwanted}


def _uuid() -> str:
    """A Kafka id: 16 random bytes in URL-safe base64; one that began with ``-`` would look like an option."""
    while True:
        text = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _escaped(value: str) -> str:
    """As a Java properties file wants it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")
