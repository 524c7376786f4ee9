"""The relay as a child, where a service manager sends its signal to every process of the ingress."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from dingbridge.ingress.journal.startup import open_current
from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.support.processes import environment


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stop_is_for_the_ingress_which_tells_the_relay(number, tmp_path):
    """systemd sends SIGTERM to all of a service, a terminal Ctrl-C. A relay that ended by itself, while the
    ingress still answers what it accepted, would be reported as dead, and started again."""
    ours = {
        "DINGTALK_API_BASE": "http://127.0.0.1:1",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "JOURNAL_DIR": str(tmp_path),
        "RELAY_ADMIN_PORT": "0",
    }
    open_current(tmp_path).close()
    process = subprocess.Popen(
        [sys.executable, "-m", "dingbridge.ingress.relay.cli", "--stop-at-eof"],
        env=environment(SAMPLE_CREDENTIALS, ours),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    log = process.stdout
    try:
        ready = next(line for line in iter(log.readline, b"") if b"relay.ready" in line)
        os.kill(process.pid, number)
        with urllib.request.urlopen(json.loads(ready)["admin"] + "/healthz", timeout=60) as answer:
            assert answer.status == 200, "it goes on"
        process.stdin.close()
        log.read()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        log.close()
