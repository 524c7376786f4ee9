"""On a terminal the commands draw, ask before they send, and heed the answer."""

import asyncio
import os
import pty
import re
import secrets
import subprocess
import termios

import pytest

from bridge.settings import ConsumerSettings
from tests.integration.replay_support import bury, inbox, letter_headers, numbered
from tests.integration.worker_support import consumer_settings
from tests.support.processes import command, environment

QUESTION = "[y/N]"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(env, folder, *arguments, answer=""):
    """Run ``dingbridge <arguments>`` on a terminal of 200 columns; returns its exit code and what it shows.
    The question is answered with ``answer``."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    process = subprocess.Popen(
        command(*arguments),
        env=environment(env, {"TERM": "xterm"}),
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = ""
    try:
        while True:
            try:
                read = os.read(ours, 65_536)
            except OSError:  # Linux: the other side is closed
                break
            if not read:
                break
            shown += read.decode(errors="replace")
            if answer and QUESTION in shown:
                os.write(ours, f"{answer}\n".encode())
                answer = ""
        return process.wait(60), CONTROL.sub("", shown)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


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
