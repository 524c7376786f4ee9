"""Real servers for demo, tests and benchmarks: Kafka and PostgreSQL, with or without Docker.

``start_kafka`` and ``start_postgres`` decide how, say how, and take everything down again, even if this
process is killed. Nothing here is used in production.
"""

from bridge.servers.kafka import KafkaHow, start_kafka
from bridge.servers.kafka_base import KafkaServer
from bridge.servers.ports import free_port
from bridge.servers.postgres import PostgresHow, start_postgres
from bridge.servers.postgres_base import PostgresServer
from bridge.servers.processes import GuardedProcess

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
