"""One ingress for all of these tests, and the examples made ready once."""

from pathlib import Path

import pytest

from dev.servers import KafkaServer
from dingbridge.settings import SAMPLE_CREDENTIALS, KafkaSettings
from dingbridge.simulator.kafka.server import in_own_loop
from tests.contract.examples import LANGUAGES, Example, example
from tests.contract.published import Published, callbacks
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.processes import Processes, wait_until
from tests.support.pusher import Pusher
from tests.support.servers import PLAINTEXT


def suite(folder: Path) -> Path:
    """An apps file whose app keeps the company that each push names, since the recorded ones are of many."""
    sample = {name.removeprefix("DINGTALK_"): value for name, value in SAMPLE_CREDENTIALS.items()}
    file = folder / "apps.toml"
    file.write_text(
        f'[apps.default]\nsuite = true\ntoken = "{sample["TOKEN"]}"\naes_key = "{sample["AES_KEY"]}"\n'
        f'owner_keys = ["{sample["OWNER_KEY"]}"]\n'
    )
    return file


@pytest.fixture(scope="session")
def published(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """All recorded callbacks, pushed to a real ingress and read from Kafka."""
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "TOPIC_PREFIX": "contract.",
        "CONTROL_PREFIX": "ctl-contract.",
        "TOPIC_PARTITIONS": "1",
        **PLAINTEXT,
    }
    settings = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    processes = Processes(tmp_path_factory.mktemp("processes"))
    try:
        folder = tmp_path_factory.mktemp("ingress")
        of_many_companies = {
            **dict.fromkeys(SAMPLE_CREDENTIALS, ""),
            "DINGTALK_APPS_FILE": str(suite(folder)),
        }
        ingress = IngressUnderTest(processes, folder, env, {"TOPIC_PARTITIONS": "1", **of_many_companies})
        ingress.start()
        pusher = Pusher(ingress.url, retries=2)
        # one at a time: examples of one type stay in their order
        in_own_loop(pusher.push_all(enumerate(callbacks()), concurrency=1))
        assert set(pusher.answers.values()) == {"success"}
        wait_until(ingress.drained, 300, "all is in Kafka")
        topics = in_own_loop(read_all(settings))
    finally:
        processes.stop_all()
    records = {name.removeprefix(settings.topic_prefix): found for name, found in topics.items()}
    return Published(env, settings, records)


@pytest.fixture(scope="session", params=LANGUAGES)
def ready(request: pytest.FixtureRequest) -> Example:
    """An example in each language, made ready as its page says."""
    found = example(request.param)
    found.make_ready()
    return found
