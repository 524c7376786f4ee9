"""A real haproxy with ``deploy/edge/haproxy.cfg``, but for addresses and the certificate."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.ingress import IngressUnderTest
from tests.support.processes import Process, Processes, free_port, wait_until

ROOT = Path(__file__).parents[2]
_DEBIAN = ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")
"""The package, and the libraries that not every machine has."""


def haproxy() -> str:
    """The program: ``$HAPROXY``, the PATH's, or Debian's. Fails with words on how to get one."""
    found = subprocess.run(
        [ROOT / "scripts" / "debian-program", "haproxy", "usr/sbin/haproxy", "HAPROXY", *_DEBIAN],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not found.returncode, f"no haproxy: {found.stderr}"
    return found.stdout.strip()


class Balancer:
    """haproxy before two ingresses or more; a context manager. Servers are called ``one``, ``two``, as there,
    and ``three`` …, each by a line more."""

    def __init__(self, processes: Processes, ingresses: Sequence[IngressUnderTest]) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="haproxy-")  # a socket's path is short
        self._socket = Path(self._folder.name) / "admin.sock"
        text = (ROOT / "deploy" / "edge" / "haproxy.cfg").read_text(encoding="utf-8")
        one, two, *more = ingresses
        second = f"127.0.0.1:{two.port} port {two.admin_port}"
        for name, ingress in zip(("three", "four"), more, strict=False):
            second += f"\n    server {name} 127.0.0.1:{ingress.port} port {ingress.admin_port}"
        for old, new in (
            ("/run/haproxy/admin.sock", str(self._socket)),
            (":443 ssl crt /etc/haproxy/bridge.pem", f"127.0.0.1:{self.port}"),
            ("127.0.0.1:8080 port 8081", f"127.0.0.1:{one.port} port {one.admin_port}"),
            ("127.0.0.1:8090 port 8091", second),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self._config = Path(self._folder.name) / "haproxy.cfg"
        self._config.write_text(text, encoding="utf-8")
        self._processes = processes

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/callback"

    def __enter__(self) -> "Balancer":
        command = [haproxy(), "-db", "-f", str(self._config)]
        log = self._processes.folder / "haproxy.log"
        self._process = Process("haproxy", command, log=log, env=os.environ, cwd=self._processes.folder)
        self._processes.all.append(self._process)
        wait_until(self._listens, what="haproxy listens")
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stop()
        self._folder.cleanup()

    def _listens(self) -> bool:
        assert self._process.running, self._process.log_text()
        return self._socket.exists() and not socket.socket().connect_ex(("127.0.0.1", self.port))

    def say(self, command: str) -> str:
        """What it answers on its socket (haproxy's management guide, 9.3)."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(command.encode() + b"\n")
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return answer.decode()

    def server(self, name: str) -> dict[str, str]:
        """The row of ``show stat`` about one server: ``status``, ``scur`` (sessions now), …"""
        head, *rows = self.say("show stat").removeprefix("# ").splitlines()
        for row in rows:
            found = dict(zip(head.split(","), row.split(","), strict=False))
            if (found.get("pxname"), found.get("svname")) == ("ingress", name):
                return found
        raise AssertionError(f"no server {name}")

    def is_up(self, name: str) -> bool:
        return self.server(name)["status"].startswith("UP")

    def drain(self, name: str) -> None:
        """Send it nothing new, and wait until what it has is answered."""
        self.say(f"set server ingress/{name} state drain")
        wait_until(lambda: self.server(name)["scur"] == "0", what=f"{name} has nothing under way")
