"""Where Kafka is, and the policy of the topics that we create."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PrivateAttr, SecretStr, field_validator

from dingbridge.settings.log import LogSettings
from dingbridge.settings.tls import trusting


class KafkaSettings(LogSettings):
    """Where Kafka is, how to speak to it, and the policy of the topics we create (days, counts)."""

    kafka_bootstrap_servers: str = "localhost:9092"
    """host:port, several with commas"""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`, `SASL_SSL`"""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """or `SCRAM-SHA-256`, `PLAIN`"""
    kafka_sasl_username: str | None = None
    """with SASL"""
    kafka_sasl_password: SecretStr | None = None
    """secret; with SASL"""
    kafka_ssl_cafile: Path | None = None
    """a PEM file; without it the system's own"""
    kafka_request_timeout_s: float = Field(20, ge=1, le=300)
    """s, 1 to 300; how long a send may take"""
    topic_prefix: str = "dingtalk."
    """before the EventType"""
    control_prefix: str = "ctl-dingtalk."
    """before `dlq.<consumer>`, `inbox.<consumer>` and control topics; must not begin with the other"""
    topic_partitions: int = Field(6, ge=1, le=1000)
    """partitions of new topics"""
    topic_replication: int | None = Field(None, ge=1, le=100)
    """copies of new topics; unset: 3, or as many as there are brokers"""
    topic_retention_days: int = Field(14, ge=1, le=3650)
    """days, event topics, `changes`, `outbound-results` and other control topics"""
    dlq_retention_days: int = Field(90, ge=1, le=3650)
    """days, dead letters, `unclassified` and `outbound`"""
    inbox_retention_days: int = Field(14, ge=1, le=3650)
    """days, inbox topics and `resync`"""

    _part: str = PrivateAttr("")

    @property
    def client_id(self) -> str:
        """The name in Kafka's logs and quotas, as ``dingbridge-ingress`` or ``dingbridge-billing``. Commands
        have ``dingbridge``."""
        return f"dingbridge-{self._part}" if self._part else "dingbridge"

    def of_part(self, part: str) -> Self:
        """The same settings for the clients of ``part``, such as a consumer's name."""
        settings = self.model_copy()
        settings._part = part
        return settings

    @field_validator("topic_prefix", "control_prefix")
    @classmethod
    def _topic_characters(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", value):
            raise ValueError(
                "must be 1 to 40 of the characters that Kafka allows in a topic: A-Z a-z 0-9 . _ -"
            )
        return value

    def is_ours(self, topic: str) -> bool:
        """Whether ``topic`` has one of our prefixes. Another installation on the same Kafka has others, and
        groups of the same names."""
        return topic.startswith((self.topic_prefix, self.control_prefix))

    def check(self) -> list[str]:
        problems = super().check()
        for address in self.kafka_bootstrap_servers.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                problems.append(
                    f"KAFKA_BOOTSTRAP_SERVERS: {address.strip()!r} is no host:port; as host1:9092,host2:9092"
                )
        if self.kafka_security_protocol.startswith("SASL"):
            if not self.kafka_sasl_username:
                problems.append(
                    "KAFKA_SASL_USERNAME: needed, because KAFKA_SECURITY_PROTOCOL begins with SASL"
                )
            if not self.kafka_sasl_password:
                problems.append(
                    "KAFKA_SASL_PASSWORD (or KAFKA_SASL_PASSWORD_FILE): needed, because "
                    "KAFKA_SECURITY_PROTOCOL begins with SASL"
                )
        if self.kafka_ssl_cafile is not None:
            try:
                trusting(self.kafka_ssl_cafile)
            except ValueError as error:
                problems.append(f"KAFKA_SSL_CAFILE: {error}")
        if self.control_prefix.startswith(self.topic_prefix):
            problems.append(
                "CONTROL_PREFIX: must not begin with TOPIC_PREFIX, else a pattern or right on the events "
                "would reach dead letters too"
            )
        return problems
