"""What is known of the calls for the failed list, and who may make the next one. Pure: notes in, state out.

Each reading of DingTalk's failed list destroys what the reading before it returned. So every call has an
*intent*, noted before it, and a *page*, noted before the next one; an intent without its page is a page that
may be gone. All pollers fold the same notes in the same order, with the times that one clock (the broker's)
gave them, and so agree without asking each other: on who holds the *lease*, and on what is open.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Kind = Literal["claim", "intent", "items", "page", "refused", "entered", "ordered", "end", "release"]

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the ledger.

    ``claim``: may I poll? ``intent``: the next call is about to be made. ``items`` and, as the last of them,
    ``page``: what it returned. ``refused``: it returned nothing, and destroyed nothing. ``entered``: the
    page is in a journal. ``ordered``: for an intent without its page, others were asked to look anew.
    ``end``: the list was read to its end. ``release``: I am done. ``intent`` is the call's id.
    """

    kind: Kind
    poller: str
    lease_ms: int = 0
    intent: str = ""
    items: list[Any] = field(default_factory=list, repr=False)
    more: bool = False

    def encode(self) -> bytes:
        # escapes in plain ASCII: what DingTalk said may hold what UTF-8 cannot
        return json.dumps({"format": FORMAT, **asdict(self)}, separators=(",", ":")).encode()


def decode(value: bytes | None) -> Note | None:
    """A note as it was encoded; None for anything else, which is not ours."""
    try:
        found = json.loads(value or b"")
        if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
            return None
        return Note(**found)
    except (ValueError, TypeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Intent:
    """A call that was about to be made at ``at_ms``, and of which no page is known. ``since_ms``: when the
    list had last been read to its end by then; None if that is not known."""

    id: str
    poller: str
    at_ms: int
    since_ms: int | None


@dataclass(frozen=True, slots=True)
class Page:
    """What a call returned, and no journal has yet."""

    intent: str
    items: list[Any] = field(repr=False)
    at_ms: int = 0


class Ledger:
    """The state after all notes so far. ``holder`` may poll until somebody else's claim is granted, which it
    is from ``until_ms`` on. ``open`` intents have no page, ``pages`` are not in a journal."""

    def __init__(self) -> None:
        self.holder: str | None = None
        self.until_ms = 0
        self.open: dict[str, Intent] = {}
        self.pages: dict[str, Page] = {}
        self.ended_ms: int | None = None
        self._parts: dict[str, list[Any]] = {}

    def apply(self, note: Note, at_ms: int) -> None:
        """Fold in the next note, which the broker took at ``at_ms``."""
        if note.kind == "claim" and (self.holder in (None, note.poller) or at_ms >= self.until_ms):
            self.holder = note.poller
        mine = self.holder == note.poller
        if mine:
            self.until_ms = max(self.until_ms, at_ms + note.lease_ms)
        if note.kind == "intent" and mine:
            self.open[note.intent] = Intent(note.intent, note.poller, at_ms, self.ended_ms)
        elif note.kind == "items":
            self._parts.setdefault(note.intent, []).extend(note.items)
        elif note.kind == "page":
            # also from one who has lost the lease meanwhile: what it has in its hands is nowhere else
            items = [*self._parts.pop(note.intent, []), *note.items]
            self.pages[note.intent] = Page(note.intent, items, at_ms)
            self.open.pop(note.intent, None)
        elif note.kind in ("refused", "ordered"):
            self.open.pop(note.intent, None)
            self._parts.pop(note.intent, None)
        elif note.kind == "entered":
            self.pages.pop(note.intent, None)
        elif note.kind == "end" and mine:
            self.ended_ms = at_ms
        elif note.kind == "release" and mine:
            self.holder, self.until_ms = None, at_ms

    def allows(self, poller: str, intent: str) -> bool:
        """Whether ``poller`` may make the call that it noted as ``intent``."""
        return self.holder == poller and intent in self.open
