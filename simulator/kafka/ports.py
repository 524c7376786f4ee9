"""Choosing TCP ports before the server that will listen on them is started."""

import random
import socket
from pathlib import Path

_given: set[int] = set()
"""Two processes that are about to be started must not be given the same one."""

_dice = random.SystemRandom()
"""Not the module's own: two workers whose tests seed that one alike would choose the same ports."""


def free_port() -> int:
    """A TCP port on which nothing listens on the loopback address, and that was not given before.

    Taken from below the range of outgoing connections: a client that keeps trying to reach a stopped
    server on a port inside that range may be given the very same port as its own end, connect to itself,
    and so keep the server from coming back.
    """
    for _ in range(1000):
        port = _dice.randrange(15000, _first_ephemeral())
        if port in _given:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OSError("no free TCP port between 15000 and the range of outgoing connections")


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = 32768  # Linux's default; macOS begins at 49152
    return first if first > 16000 else 32768


def answers(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether something accepts a TCP connection there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False
