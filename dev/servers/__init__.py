"""Real servers for demo, tests and benchmarks: Kafka and PostgreSQL, with or without Docker.

``start_kafka`` and ``start_postgres`` decide how, say how, and take everything down again, even if this
process is killed. Nothing here is used in production.
"""

from dev.servers.kafka import KafkaHow, start_kafka
from dev.servers.postgres import PostgresHow, start_postgres
from dev.servers.postgres_base import PostgresServer
from dingbridge.simulator.kafka.ports import free_port
from dingbridge.simulator.kafka.processes import GuardedProcess
from dingbridge.simulator.kafka.server import KafkaServer

__all__ = [
    "GuardedProcess",
    "KafkaHow",
    "KafkaServer",
    "PostgresHow",
    "PostgresServer",
    "free_port",
    "start_kafka",
    "start_postgres",
]
