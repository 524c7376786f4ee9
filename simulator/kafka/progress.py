"""Telling a person what is being downloaded: a moving line on a terminal, plain lines in a pipe."""

import shutil
import sys


class Progress:
    """Writes to standard error, so that a command's own output stays clean."""

    def __init__(self) -> None:
        self._moving = False

    def line(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def update(self, text: str) -> None:
        """A line that the next one replaces; nothing at all where there is no terminal."""
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)
            self._moving = True

    def _clear(self) -> None:
        if self._moving:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._moving = False


def megabytes(size: float) -> str:
    """``size`` bytes in words, as ``43.1 MB``."""
    return f"{size / 1e6:.1f} MB"
