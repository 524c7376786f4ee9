"""What this instance still owes for its reads of the failed list: notes in the journal's own database.

Reading DingTalk's list deletes what was read before. So an *intent* is noted before each such call, and
removed in the same commit that keeps the page. An intent that is still there, and of a call that nobody is
making any more, is a page that may be gone: the process died, or the answer did not arrive. Then the
consumers are asked to look anew.

Each instance has its own intents, and nobody else settles them: two instances that read the same list lose
nothing, since each keeps what was given to it.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ingress.journal.rows import NewCallback, ResyncRequest

MARGIN_MS: Final = 15 * 60_000
"""An event is listed some 5 minutes after it happened (slug obtain-the-event-list-of-failed-push-messages): a
list that was read to its end does not tell of the last minutes."""
_INTENTS: Final = "recovery/intent/"
_ENDS: Final = "recovery/end/"

Row = NewCallback | ResyncRequest


class Journal(Protocol):
    """What is needed of the journal's writer. Both raise ``JournalUnavailable``."""

    async def commit(self, rows: Sequence[Row], notes: Mapping[str, str | None] | None = None) -> list[bool]:
        """Keep ``rows`` and set ``notes`` (None removes one) in one commit; which rows were new."""
        ...

    async def notes(self, prefix: str) -> dict[str, str]:
        """The notes whose keys begin with ``prefix``."""
        ...


@dataclass(frozen=True, slots=True)
class Intent:
    """A call that deletes at DingTalk, about to be made at ``at_ms`` (epoch ms). ``since_ms``: what happened
    before is known, since the list was read to its end then; None if it never was."""

    id: str
    app: str
    at_ms: int
    since_ms: int | None

    @property
    def key(self) -> str:
        return f"{_INTENTS}{self.id}"


class RecoveryState:
    """The notes of one process, for all its apps. Every method raises ``JournalUnavailable``."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._in_progress: set[str] = set()
        self.settling = asyncio.Lock()

    async def begin(self, app: str) -> Intent:
        """Note that the next call for ``app`` is about to be made."""
        end = (await self._journal.notes(_ENDS)).get(_ENDS + app)
        since_ms = None if end is None else int(end) - MARGIN_MS
        intent = Intent(uuid.uuid4().hex, app, now_ms(), since_ms)
        noted = json.dumps({"app": app, "at_ms": intent.at_ms, "since_ms": since_ms})
        self._in_progress.add(intent.id)
        try:
            await self._journal.commit([], {intent.key: noted})
        except BaseException:
            self._in_progress.discard(intent.id)
            raise
        return intent

    async def keep(self, rows: Sequence[Row], intent: Intent | None) -> list[bool]:
        """Commit what a page became and, with it, that the call of ``intent`` is settled; which rows were
        new. Without rows: the call returned nothing and deleted nothing."""
        if intent is None:
            return await self._journal.commit(rows)
        new = await self._journal.commit(rows, {intent.key: None})
        self._in_progress.discard(intent.id)
        return new

    def abandon(self, intent: Intent) -> None:
        """Nobody waits for this call's page any more; ``left_behind`` tells of it."""
        self._in_progress.discard(intent.id)

    async def left_behind(self) -> list[Intent]:
        """Calls whose page may be gone, of this process and of those before it."""
        noted = await self._journal.notes(_INTENTS)
        intents = [_intent(key, json.loads(text)) for key, text in noted.items()]
        return [intent for intent in intents if intent.id not in self._in_progress]

    async def end(self, app: str, at_ms: int) -> None:
        """The list of ``app`` was read to its end, beginning at ``at_ms``."""
        await self._journal.commit([], {_ENDS + app: str(at_ms)})


def _intent(key: str, noted: dict[str, Any]) -> Intent:
    """What an earlier process noted, also one of a later version that says more."""
    return Intent(key.removeprefix(_INTENTS), noted["app"], noted["at_ms"], noted["since_ms"])


def now_ms() -> int:
    """Epoch ms by this machine's clock."""
    return int(time.time() * 1000)
