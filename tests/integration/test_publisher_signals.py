"""The publisher's process, where a service manager sends its signal to every process of the ingress."""

import os
import signal
import subprocess
import sys

import pytest

from dingbridge.settings import SAMPLE_CREDENTIALS
from ingress.journal.store import JournalFile
from tests.support.processes import environment


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stop_is_for_the_ingress_which_tells_the_publisher(number, tmp_path):
    """systemd sends SIGTERM to all of a service, a terminal Ctrl-C. A publisher that ended by itself, while
    the ingress still answers what it accepted, would be reported as dead, and started again."""
    ours = {"DINGTALK_API_BASE": "http://127.0.0.1:1", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    folder = tmp_path / "journal"
    folder.mkdir()
    JournalFile(folder / "journal.db", create=True).close()
    process = subprocess.Popen(
        [sys.executable, "-m", "ingress.relay", str(folder)],
        env=environment(SAMPLE_CREDENTIALS, ours),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout.readline(), "it has begun"
        os.kill(process.pid, number)
        for _ in range(3):
            assert process.stdout.readline(), "it goes on telling how it is"
        process.stdin.close()
        process.stdout.read()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
