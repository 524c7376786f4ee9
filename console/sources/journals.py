"""The journals of the ingresses on this machine, read without a lock; nothing here writes.

A folder that is not there (the ingress runs elsewhere) has a ``problem`` in words, and raises nothing.
"""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw

from dingbridge.errors import BridgeError
from dingbridge.ingress.errors import JournalError
from dingbridge.ingress.journal.folder import current, put_aside
from dingbridge.ingress.journal.inspect import InspectedCallback, JournalStatus, JournalView, journal_status


@dataclass(frozen=True, slots=True)
class JournalAnswer:
    """What stands in one JOURNAL_DIR: its ``status``, or in words the ``problem``."""

    root: Path
    status: JournalStatus | None = None
    problem: str | None = None


class Journals:
    """The folders of ``CONSOLE_JOURNALS``."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)

    async def status(self) -> list[JournalAnswer]:
        """Of each folder."""
        return [await asyncio.to_thread(_status, root) for root in self.roots]

    async def callback(self, journal: str, seq: int) -> InspectedCallback | None:
        """The callback as it came, by an event's ``journal`` and ``sequence``. None where it is kept no more,
        or in no journal of this machine."""
        return await asyncio.to_thread(self._callback, journal, seq)

    def _callback(self, journal: str, seq: int) -> InspectedCallback | None:
        for root in self.roots:
            try:
                for path in (current(root), *put_aside(root)):
                    with closing(JournalView(path)) as view:
                        found = view.one(seq)
                    if found is not None and found.journal == journal:
                        return found
            except (apsw.Error, JournalError, OSError):
                continue
        return None


def _status(root: Path) -> JournalAnswer:
    if not root.is_dir():
        return JournalAnswer(root, None, "no such folder")
    try:
        return JournalAnswer(root, journal_status(root))
    except (apsw.Error, BridgeError, OSError) as error:
        return JournalAnswer(root, None, type(error).__name__)
