"""The relay's process beside the ingress: as its child, and as a service of its own. Without Kafka."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import psutil
import pytest

from dingbridge.ingress.journal.directory import current, relay_lock
from dingbridge.ingress.journal.startup import open_current
from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.support.ingress import IngressUnderTest
from tests.support.processes import environment, wait_until

NO_KAFKA = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


def relay_of(ingress):
    wait_until(lambda: ingress.relay_readyz()[0] == 503, 60, "the relay answers, and has no Kafka")
    [child] = psutil.Process(ingress.process.pid).children()
    return child


def answer(ingress, path, headers):
    url = f"http://127.0.0.1:{ingress.relay_admin_port}{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="POST", headers=headers)) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_child_says_how_kafka_is_and_takes_orders_with_the_token(processes, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, NO_KAFKA, {"DATA_DIR": str(tmp_path / "data")})
    ingress.start()
    relay_of(ingress)
    _, details = ingress.relay_readyz()
    assert (details["state"], details["parked"]) == ("down", {})
    assert "does not answer" in details["words"]
    assert ingress.readyz()[0] == 200, "the ingress is ready all the same"
    assert answer(ingress, "/parked/retry", {})[0] == 401
    token = (tmp_path / "data" / "admin.token").read_text().strip()
    bearer = {"Authorization": f"Bearer {token}"}
    assert answer(ingress, "/parked/retry", bearer)[0] == 202
    assert answer(ingress, "/parked/forget-damaged", bearer) == (200, {"forgotten": 0})


def test_a_child_that_is_killed_is_started_again(processes, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, NO_KAFKA)
    ingress.start()
    killed = relay_of(ingress)
    killed.kill()
    wait_until(lambda: ingress.metric("dingbridge_publisher_restarts_total") == 1, 60, "it is counted")
    assert relay_of(ingress).pid != killed.pid


def test_a_child_ends_with_its_ingress_however_that_ends(processes, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, NO_KAFKA)
    for number in (signal.SIGKILL, signal.SIGTERM):
        ingress.start()
        relay = relay_of(ingress)
        os.kill(ingress.process.pid, number)
        wait_until(lambda r=relay: not psutil.pid_exists(r.pid), 60, "the relay has ended")
        ingress.process.wait(60)
        lock = relay_lock(current(ingress.journal).path)
        lock.acquire()
        lock.release()


def test_as_a_service_of_its_own_it_outlives_the_ingress_and_ends_when_told(processes, tmp_path):
    ingress = IngressUnderTest(processes, tmp_path, NO_KAFKA, {"INGRESS_RELAY": "none"})
    too_early = processes.run("relay", env=ingress.env)
    assert too_early.returncode == 1
    assert "start the ingress first" in too_early.stderr
    ingress.start()
    relay = processes.start("relay", env=ingress.env)
    wait_until(lambda: ingress.relay_readyz()[0] == 503, 60, "the relay answers")
    assert not psutil.Process(ingress.process.pid).children()
    ingress.restart()
    assert relay.running
    relay.terminate()
    assert relay.wait(60) == 0


# -- The relay as a child, where a service manager sends its signal to every process of the ingress


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
