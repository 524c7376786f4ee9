"""How the ingress notifies the relay that something new was kept: a FIFO beside the journal.

The relay makes it and reads it; the ingress writes a byte after a commit. A lost byte costs half a second at
most: the relay also reads the journal by itself, twice a second.
"""

import asyncio
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

WAKE_FILE: Final = "relay.wake"
_WAKE_EVERY_S: Final = 0.01


class RelayWaker:
    """The ingress's side, for the relay of the journal in ``folder``. Used on the event loop only."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / WAKE_FILE
        self._resting: asyncio.TimerHandle | None = None
        self._again = False

    def wake(self) -> None:
        """A callback was kept: notify the relay, at once for the first and then every 10 ms at most."""
        if self._resting is not None:
            self._again = True
            return
        with suppress(OSError):  # no relay runs just now, or the FIFO is full
            fifo = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(fifo, b"\n")
            finally:
                os.close(fifo)
        self._resting = asyncio.get_running_loop().call_later(_WAKE_EVERY_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._again:
            self._again = False
            self.wake()


class WakeFifo:
    """The relay's side: ``on_wake`` is called when the ingress has kept something."""

    def __init__(self, folder: Path, on_wake: Callable[[], None]) -> None:
        """On the event loop. Raises ``OSError`` where the FIFO cannot be made."""
        path = folder / WAKE_FILE
        if not path.exists() or not stat.S_ISFIFO(path.stat().st_mode):
            path.unlink(missing_ok=True)
            os.mkfifo(path, 0o600)
        self._on_wake = on_wake
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # with a writer of its own open, the reader never gets an end of file
        self._writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    def _read(self) -> None:
        os.read(self._reader, 65536)
        self._on_wake()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        os.close(self._writer)
