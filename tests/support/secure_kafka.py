"""A broker with an authorizer, SCRAM users and TLS listeners, and the means to grant and revoke rights on it.

One for the run, from the jars, started by the first test that asks for ``secure_kafka``.
"""

import secrets
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from dev.servers import KafkaServer, free_port, start_kafka
from dingbridge.settings import KafkaSettings
from tests.support.certificates import PASSWORD, Authority

PASSWORD_OF = "password-of-{}".format
"""The SCRAM password of a user, by name."""

_USERS = [f"user{n:02}" for n in range(24)]
_KINDS = {"topic": 2, "group": 3, "cluster": 4}
_OPERATIONS = {"READ": 3, "WRITE": 4, "CREATE": 5, "DESCRIBE": 8, "DESCRIBE_CONFIGS": 10}
_PATTERNS = {"literal": 3, "prefixed": 4}
_PERMISSIONS = {"DENY": 2, "ALLOW": 3}


@dataclass(frozen=True)
class Right:
    """One ACL without its user, as ``kafka-acls.sh`` says it; ``name`` is exact unless ``prefixed``."""

    operation: str
    kind: str
    name: str
    pattern: str = "literal"
    permission: str = "ALLOW"


def on_topic(name: str, *operations: str) -> list[Right]:
    return [Right(operation, "topic", name) for operation in operations]


def on_prefix(prefix: str, *operations: str) -> list[Right]:
    return [Right(operation, "topic", prefix, "prefixed") for operation in operations]


@dataclass
class SecureKafka:
    """``plaintext`` belongs to the administrator; on the other listeners a user has what was granted."""

    server: KafkaServer
    plaintext: str
    listeners: dict[str, str]
    authority: Authority
    nobody: str = "user-without-rights"
    """A user without any right, for all who need one."""

    shared_user: str = "user-of-several"
    """A user for tests whose topics and groups, and so rights, are told apart by their names."""

    other_name: str = ""
    """The TLS listener by a name that its certificate does not hold."""

    _free_users: list[str] = field(default_factory=lambda: list(_USERS))

    def new_user(self) -> str:
        """A user that nobody else uses, without any right."""
        return self._free_users.pop(0)

    def environment(self, user: str | None, protocol: str = "SASL_PLAINTEXT", **more: str) -> dict[str, str]:
        """What leads a process to this broker as ``user``, with topics of its own."""
        prefix = f"t{secrets.token_hex(4)}."
        found = {
            "KAFKA_BOOTSTRAP_SERVERS": self.listeners[protocol],
            "KAFKA_SECURITY_PROTOCOL": protocol,
            "TOPIC_PREFIX": prefix,
            "CONTROL_PREFIX": f"ctl-{prefix}",
        }
        if protocol.startswith("SASL"):
            assert user is not None
            found |= {"KAFKA_SASL_USERNAME": user, "KAFKA_SASL_PASSWORD": PASSWORD_OF(user)}
        if protocol.endswith("SSL"):
            found["KAFKA_SSL_CAFILE"] = str(self.authority.certificate)
        return found | more

    def administrator(self, environment: dict[str, str]) -> KafkaSettings:
        """Settings with all rights, and the prefixes of ``environment``."""
        return KafkaSettings.load(
            kafka_bootstrap_servers=self.plaintext,
            topic_prefix=environment["TOPIC_PREFIX"],
            control_prefix=environment["CONTROL_PREFIX"],
        )

    async def grant(self, user: str, rights: Iterable[Right]) -> None:
        """Adds ACLs. The authorizer follows within moments: wait for what they bring."""
        await self._change(CreateAclsRequest, user, rights)

    async def revoke(self, user: str, rights: Iterable[Right]) -> None:
        """Removes ACLs."""
        await self._change(DeleteAclsRequest, user, rights)

    async def _change(self, kind: type, user: str, rights: Iterable[Right]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.plaintext)
        await admin.start()
        try:
            for right in rights:
                request = kind(
                    resource_type=_KINDS[right.kind],
                    resource_name=right.name,
                    resource_pattern_type_filter=_PATTERNS[right.pattern],
                    principal=f"User:{user}",
                    host="*",
                    operation=_OPERATIONS[right.operation],
                    permission_type=_PERMISSIONS[right.permission],
                )
                answer = await admin._send_request(request)
                [result] = (
                    answer.to_object().get("creation_responses") or answer.to_object()["filter_responses"]
                )
                assert result["error_code"] == 0, result
        finally:
            await admin.close()


_KEY = pytest.StashKey[SecureKafka]()


@pytest.fixture(scope="session")
def secure_kafka(pytestconfig: pytest.Config) -> SecureKafka:
    """The broker; test modules import this name. However many do, it is started once."""
    if _KEY not in pytestconfig.stash:
        folder = tempfile.TemporaryDirectory(prefix="dingbridge-secure-kafka-")
        pytestconfig.add_cleanup(folder.cleanup)
        found = _start(Path(folder.name))
        pytestconfig.add_cleanup(found.server.stop)
        pytestconfig.stash[_KEY] = found
    return pytestconfig.stash[_KEY]


def _start(folder: Path) -> SecureKafka:
    authority = Authority(folder / "ca")
    ports = {name: free_port() for name in ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL", "CONTROLLER")}
    listeners = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    public = {name: address for name, address in listeners.items() if name != "CONTROLLER"}
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    properties = {
        "listeners": ",".join(f"{name}://{address}" for name, address in listeners.items()),
        "advertised.listeners": ",".join(f"{name}://{address}" for name, address in public.items()),
        "listener.security.protocol.map": ",".join(
            f"{name}:{'PLAINTEXT' if name == 'CONTROLLER' else name}" for name in listeners
        ),
        "controller.quorum.bootstrap.servers": listeners["CONTROLLER"],
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # whoever comes without a name: the controller, the administrator of the tests, and plain TLS
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.location": str(authority.server_keystore()),
        "ssl.keystore.password": PASSWORD,
        "ssl.key.password": PASSWORD,
    }
    server = start_kafka(
        folder,
        port=ports["PLAINTEXT"],
        extra_properties=properties,
        scram_users={
            user: PASSWORD_OF(user) for user in [*_USERS, SecureKafka.nobody, SecureKafka.shared_user]
        },
    )
    elsewhere = f"localhost:{ports['SSL']}"  # the certificate holds the address alone
    return SecureKafka(server, public["PLAINTEXT"], public, authority, other_name=elsewhere)
