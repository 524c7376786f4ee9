"""The Unix socket that a proxy uses: whoever may write to it is believed."""

import errno
import os
import socket
from pathlib import Path
from typing import Final

from dingbridge.errors import BridgeError

MODE: Final = 0o660
"""The owner's and the group's: put the proxy's user into that group, and nobody else."""


def unix_socket(path: Path) -> socket.socket:
    """A socket bound to ``path``, with ``MODE`` from its first moment on; one that an earlier console left
    there is replaced. Raises ``BridgeError``."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~MODE)
    try:
        if path.is_socket() and not _answers(path):
            path.unlink()
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        why = (
            "another process listens there"
            if error.errno == errno.EADDRINUSE
            else error.strerror or str(error)
        )
        raise BridgeError(f"CONSOLE_SOCKET: the console cannot listen on {path}: {why}") from error
    finally:
        os.umask(before)
    bound.setblocking(False)
    return bound


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True
