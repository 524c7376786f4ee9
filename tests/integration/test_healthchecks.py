"""The healthchecks of docker-compose.yml as Docker runs them, with the proxy that it gives to containers."""

import re
import socket
import subprocess
import sys
import threading

import pytest

from tests.support.compose_files import TRIAL, rendered
from tests.support.processes import environment

# of those that ask over HTTP: the one of the edge only connects, which no proxy can be in the way of
CHECKS = {
    name: service["healthcheck"]["test"]
    for name, service in rendered(TRIAL, {}).items()
    if "urllib" in str(service.get("healthcheck", {}).get("test"))
}


@pytest.mark.parametrize(("status", "healthy"), [(b"200 OK", True), (b"503 Service Unavailable", False)])
@pytest.mark.parametrize("name", CHECKS)
def test_a_proxy_of_the_environment_makes_nobody_unhealthy(name, status, healthy):
    """Docker's client gives every container the proxies of its ``config.json``; none reaches a container's
    own loopback address."""
    kind, python, *arguments = CHECKS[name]
    assert (kind, python) == ("CMD", "python")
    with (
        socket.create_server(("127.0.0.1", 0)) as ours,
        socket.create_server(("127.0.0.1", 0)) as gone,
    ):
        nobody = f"http://127.0.0.1:{gone.getsockname()[1]}"
        gone.close()
        code = re.sub(r"(?<=//127\.0\.0\.1):\d+", f":{ours.getsockname()[1]}", arguments[-1])
        assert code != arguments[-1]

        def serve():
            connection, _ = ours.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)

        threading.Thread(target=serve, daemon=True).start()
        done = subprocess.run(
            [sys.executable, *arguments[:-1], code],
            env=environment({"http_proxy": nobody, "HTTP_PROXY": nobody, "no_proxy": "", "NO_PROXY": ""}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode == 0) is healthy, done.stderr
    assert "refused" not in done.stderr


def test_the_processes_of_ours_have_one():
    assert {"ingress", "address-sync", "approval", "simulator"} <= CHECKS.keys()
