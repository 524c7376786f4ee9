"""The journals of the ingresses on this machine, read without a lock; nothing here writes.

A folder that is not there (the ingress runs elsewhere) is told, and is no error.
"""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import apsw
import orjson

from console.index.records import ids_in
from dingbridge.errors import BridgeError
from dingbridge.events import extract_facts
from ingress.errors import JournalError
from ingress.journal.directory import folders
from ingress.journal.inspect import InspectedCallback, JournalStatus, JournalView, journal_status, views
from ingress.journal.store import JournalFile

MOST_LOOKED: Final = 20_000
MOST_FOUND: Final = 50
"""Callbacks that one question looks at, and that it gives."""


@dataclass(frozen=True, slots=True)
class JournalAnswer:
    """What stands in one JOURNAL_DIR: its ``status``, or in words the ``problem``."""

    root: Path
    status: JournalStatus | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Unpublished:
    """Callbacks that are in a journal and not, or not wholly, in Kafka. ``complete``: all such were looked
    at, in ``looked`` callbacks; ``problems`` names folders that cannot be read."""

    found: list[InspectedCallback]
    looked: int
    complete: bool
    problems: list[str]


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

    async def has(self, journal: str) -> bool:
        """Whether a folder here holds, or held, this journal."""
        return journal in await asyncio.to_thread(self._ids)

    def _ids(self) -> set[str]:
        found = set()
        for root in self.roots:
            for folder in folders(root) if root.is_dir() else ():
                try:
                    with closing(JournalFile(folder.journal, read_only=True)) as file:
                        found.add(file.id)
                except (apsw.Error, JournalError):
                    continue
        return found

    async def unpublished(self, texts: Sequence[str], *, ids_alone: bool) -> Unpublished:
        """Those that hold all of ``texts``, which are parts of ids, in all folders. ``ids_alone``: nothing
        but ids is looked into, and these as a whole; what else a callback says could be guessed else."""
        return await asyncio.to_thread(self._unpublished, list(texts), ids_alone)

    def _unpublished(self, texts: list[str], ids_alone: bool) -> Unpublished:
        found = Unpublished([], 0, True, [])
        for root in self.roots:
            readable, unreadable = views(root) if root.is_dir() else ([], {root: "no such folder"})
            found.problems.extend(f"{path}: {words}" for path, words in unreadable.items())
            for view in readable:
                try:
                    with closing(view):
                        found = _look(view, texts, ids_alone, found)
                except (apsw.Error, JournalError) as error:
                    found.problems.append(f"{view.folder.path}: {type(error).__name__}")
        return found

    def _callback(self, journal: str, seq: int) -> InspectedCallback | None:
        for root in self.roots:
            try:
                for folder in folders(root) if root.is_dir() else ():
                    with closing(JournalView(folder)) as view:
                        found = view.one(seq)
                    if found is not None and found.journal == journal:
                        return found
            except (apsw.Error, JournalError, OSError):
                continue
        return None


def _look(view: JournalView, texts: list[str], ids_alone: bool, before: Unpublished) -> Unpublished:
    """What ``view`` adds to ``before``."""
    raw = [text.encode() for text in texts]
    looked, found = before.looked, list(before.found)
    parked = filter(None, map(view.one, sorted(view.parked)))
    waiting = (one for one in view.callbacks(view.checkpoint_seq) if not one.parked)
    for callback in chain(parked, waiting):
        if looked == MOST_LOOKED or len(found) == MOST_FOUND:
            return Unpublished(found, looked, False, before.problems)
        looked += 1
        body = callback.row.body
        if all(text in body for text in raw) and (not ids_alone or _ids_of(body).issuperset(texts)):
            found.append(callback)
    return Unpublished(found, looked, before.complete, before.problems)


def _ids_of(body: bytes) -> set[str]:
    """The ids in a callback, its EventType, and the parts of them."""
    try:
        found = ids_in(orjson.loads(body))
    except orjson.JSONDecodeError:
        return set()
    facts = extract_facts(body)
    found |= {str(text) for text in (facts.event_type, facts.corp_id, facts.event_id) if text}
    return found | {part for text in found for part in parts_of(text)}


def parts_of(text: str) -> list[str]:
    """Of ``<type>:<id>``, of ``<corpId>:<subject>`` and of ``…/<subject>`` all sides."""
    return [part for part in text.replace("/", ":").split(":") if part]


def _status(root: Path) -> JournalAnswer:
    if not root.is_dir():
        return JournalAnswer(root, None, "no such folder")
    try:
        return JournalAnswer(root, journal_status(root))
    except (apsw.Error, BridgeError, OSError) as error:
        return JournalAnswer(root, None, type(error).__name__)
