"""On a terminal the commands draw, ask before they send, and heed the answer."""

import asyncio
import re
import secrets

import pytest

from dingbridge.settings import ConsumerSettings
from tests.integration.replay_support import bury, inbox, letter_headers, numbered
from tests.integration.worker_support import consumer_settings
from tests.support.terminal import QUESTION, on_terminal


@pytest.fixture
def name() -> str:
    return f"t-{secrets.token_hex(4)}"


@pytest.fixture
def settings(kafka_env, tmp_path) -> ConsumerSettings:
    return consumer_settings(kafka_env, f"sqlite:///{tmp_path / 'none.db'}")


@pytest.fixture
def dlq(kafka_env, name, tmp_path):
    async def run(verb, *arguments, answer=""):
        return await asyncio.to_thread(
            on_terminal, kafka_env, tmp_path, "dlq", verb, name, *arguments, answer=answer
        )

    return run


async def test_on_a_terminal_it_draws_asks_and_heeds_the_answer(settings, name, dlq):
    await bury(settings, name, [(r, letter_headers(n)) for n, r in enumerate(numbered(30))])
    code, shown = await dlq("list", "--limit", "3")
    assert code == 0
    assert re.search(r"┃ place +┃ type +┃ key", shown)
    assert "ValueError at billing:1 in handle" in shown

    code, shown = await dlq("replay", answer="n")
    assert code == 1
    assert re.search(r"to send +30", shown)
    assert f"Send 30 record(s) to {name} once more? {QUESTION}" in shown
    assert "nothing was sent" in shown
    assert await inbox(settings, name) == []

    code, shown = await dlq("replay", answer="y")
    assert code == 0
    assert "30/30" in shown, "the bar"
    assert re.search(r"sent +30", shown)
    assert len(await inbox(settings, name)) == 30

    code, shown = await dlq("replay", "--again", "--yes")
    assert code == 0
    assert QUESTION not in shown
    assert len(await inbox(settings, name)) == 60
