"""SASL and TLS against a real broker: each protocol from callback to handler, each wrong setting in words."""

import asyncio
import json
from pathlib import Path

import pytest

from dev.servers import free_port
from dingbridge.errors import BridgeError
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings
from tests.integration.worker_support import (
    EffectConsumer,
    consumer_settings,
    has_rows_at_least,
    named,
    serving,
)
from tests.support.certificates import Authority
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Processes
from tests.support.pusher import Pusher
from tests.support.secure_kafka import Right, SecureKafka, on_prefix, secure_kafka
from tests.support.sizes import sized
from tests.support.waiting import eventually

__all__ = ["secure_kafka"]

PROTOCOLS = ("SASL_PLAINTEXT", "SSL", "SASL_SSL")


def event(number: int) -> bytes:
    return json.dumps(
        {
            "EventType": "user_modify_org",
            "eventId": f"e{number}",
            "CorpId": "dingcorpsample01",
            "TimeStamp": "1731000000123",
            "UserId": [f"u{number}"],
        }
    ).encode()


def settings_of(environment: dict[str, str]) -> KafkaSettings:
    return KafkaSettings.load(**{name.lower(): value for name, value in environment.items()})


@pytest.mark.parametrize("protocol", sized(PROTOCOLS[1:], PROTOCOLS))
async def test_ingress_topics_command_and_consumer_speak_it(
    secure_kafka: SecureKafka, processes: Processes, tmp_path: Path, protocol: str
) -> None:
    user = secure_kafka.new_user()
    env = secure_kafka.environment(user, protocol)
    consumer = named(EffectConsumer)()
    both = on_prefix(env["TOPIC_PREFIX"], "CREATE", "WRITE", "READ")
    ours = on_prefix(env["CONTROL_PREFIX"], "CREATE", "WRITE", "READ")
    await secure_kafka.grant(user, [*both, *ours, Right("READ", "group", consumer.name)])

    ingress = IngressUnderTest(processes, tmp_path, env)
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url, retries=2)
    await pusher.push_all((n, event(n)) for n in range(20))
    assert pusher.succeeded == set(range(20))
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the callbacks are in Kafka")

    listed = await asyncio.to_thread(processes.run, "topics", "list", env=env)
    assert f"{env['TOPIC_PREFIX']}user_modify_org\t2\t20\n" in listed.stdout, listed.stderr
    read = await asyncio.to_thread(processes.run, "topics", "read", "user_modify_org", env=env)
    assert len(read.stdout.splitlines()) == 20, read.stderr

    url = f"sqlite:///{tmp_path}/effects.db"
    async with serving(consumer, consumer_settings(env, url)):
        await eventually(lambda: has_rows_at_least(url, 20), 60, "all are handled")


WRONG = {
    "password": ("SASL_SSL", "refuses the credentials of user", "KAFKA_SASL_PASSWORD"),
    "mechanism": ("SASL_SSL", "has no SASL mechanism PLAIN", "KAFKA_SASL_MECHANISM"),
    "authority": ("SASL_SSL", "certificate is not by an authority that we trust", "KAFKA_SSL_CAFILE"),
    "no authority": ("SASL_SSL", "certificate is not by an authority that we trust", "KAFKA_SSL_CAFILE"),
    "host": ("SSL", "certificate is not for the name", "advertised.listeners"),
    "plaintext against TLS": ("SSL", "closes it at once", "KAFKA_SECURITY_PROTOCOL"),
    "TLS against plaintext": ("SSL", "closes it at once", "KAFKA_SECURITY_PROTOCOL"),
    "no SASL there": ("SASL_PLAINTEXT", "wants no SASL", "KAFKA_SECURITY_PROTOCOL"),
    "no Kafka there": ("SASL_PLAINTEXT", "closes it at once", "KAFKA_BOOTSTRAP_SERVERS"),
    "no TLS there": ("SSL", "does not speak TLS", "KAFKA_SECURITY_PROTOCOL"),
    "nothing there": ("SASL_SSL", "does not answer", "KAFKA_BOOTSTRAP_SERVERS"),
}


def spoiled(kafka: SecureKafka, user: str, what: str, folder: Path, web: str) -> dict[str, str]:
    """An environment with one thing wrong."""
    env = kafka.environment(user, WRONG[what][0])
    match what:
        case "password":
            return env | {"KAFKA_SASL_PASSWORD": "not-the-password"}
        case "mechanism":
            return env | {"KAFKA_SASL_MECHANISM": "PLAIN"}
        case "authority":
            return env | {"KAFKA_SSL_CAFILE": str(Authority(folder, "another").certificate)}
        case "no authority":
            return {name: value for name, value in env.items() if name != "KAFKA_SSL_CAFILE"}
        case "host":
            return env | {"KAFKA_BOOTSTRAP_SERVERS": kafka.other_name}
        case "plaintext against TLS":
            return env | {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
        case "TLS against plaintext" | "no SASL there":
            return env | {"KAFKA_BOOTSTRAP_SERVERS": kafka.plaintext}
        case "no Kafka there" | "no TLS there":
            return env | {"KAFKA_BOOTSTRAP_SERVERS": web}
        case _:
            return env | {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}


async def _web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    writer.close()


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_setting_is_named(secure_kafka: SecureKafka, tmp_path: Path, what: str) -> None:
    web = await asyncio.start_server(_web_server, "127.0.0.1", 0)
    address = f"127.0.0.1:{web.sockets[0].getsockname()[1]}"
    env = spoiled(secure_kafka, secure_kafka.nobody, what, tmp_path, address)
    with pytest.raises(BridgeError) as failure:
        await existing_topics(settings_of(env))
    web.close()
    _, words, remedy = WRONG[what]
    assert words in str(failure.value)
    assert remedy in str(failure.value)
    assert "not-the-password" not in str(failure.value)
