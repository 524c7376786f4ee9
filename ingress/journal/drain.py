"""Drains another journal's file into the current one: that of a damaged journal, or of an instance that is
gone.

All callbacks behind what Kafka has acknowledged, and the parked ones, are kept again, each with its first
time of receipt, so that its id stays the same. No dedupe keys are taken: a repeat is harmless, a false repeat
is a loss. Rows that cannot be read are counted. Each page is one commit with a note of how far the drain has
come, so an interrupted one goes on where it was. The file itself is only read.
"""

import asyncio
import shutil
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

import apsw
import orjson
import structlog

from dingbridge.errors import BridgeError
from dingbridge.events.facts import extract_facts
from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalUnavailable
from dingbridge.ingress.journal.disk import DAMAGE
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import (
    DRAINED,
    JOURNAL_FILE,
    MIN_FREE_BYTES,
    current,
    delete_folder,
    name_below,
    put_aside,
)
from dingbridge.ingress.journal.locks import drain_lock
from dingbridge.ingress.journal.rows import NewCallback, ResyncRequest
from dingbridge.ingress.journal.writer import Journal

log = structlog.get_logger(__name__)
T = TypeVar("T")

NOTES: Final = "drain/"
"""Begins the keys of the journal's notes about files that are drained."""

_EVERY_S: Final = 60.0
_ROWS, _BYTES = 256, 1 << 20
_ROWS_PER_PAGE_MAX: Final = 100
"""A row takes more than 40 bytes, and a page of SQLite has 4096: bounds which numbers are believed."""
_SEQ_MAX: Final = (1 << 63) - 1
_DOES_NOT_READ = (*DAMAGE, apsw.IOError, UnicodeDecodeError, ValueError)


@dataclass(frozen=True, slots=True)
class DrainState:
    """How far the drain of a file has come: all rows up to ``seq``. ``journal`` is its id, "" if that cannot
    be read. ``kept`` callbacks were kept again, ``unreadable`` ones could not be read; that is a least number
    unless ``counted``. ``done``: nothing is left."""

    journal: str = ""
    seq: int = 0
    kept: int = 0
    unreadable: int = 0
    counted: bool = True
    done: bool = False

    def note(self) -> str:
        """As it stands in the journal."""
        return orjson.dumps(asdict(self)).decode()


def drain_states(notes: Mapping[str, str]) -> dict[str, DrainState]:
    """The states by the folder's name, from the journal's ``notes``; an invalid note counts as none."""
    states = {}
    for key, text in notes.items():
        with suppress(ValueError, TypeError):
            states[key.removeprefix(NOTES)] = DrainState(**orjson.loads(text))
    return states


class Drainer:
    """Drains files into ``journal``, one at a time."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._busy = asyncio.Lock()

    async def run(self) -> None:
        """Drain the folders that were put aside, and delete each when all of it is kept again, until
        cancelled."""
        while True:
            for path in await asyncio.to_thread(put_aside, self._journal.root):
                try:
                    await self._put_aside(path)
                except Exception as error:  # a damaged file may fail in any way; it stays, and is tried again
                    words = f"{type(error).__name__}: {error}"
                    log.error("journal.drain_waits", folder=path.parent.name, words=words)
            await asyncio.sleep(_EVERY_S)

    async def _put_aside(self, path: Path) -> None:
        name = path.parent.name
        async with self.hold([path]):
            state = await self.drain(path)
            # Invariant 2: only now, when all of it that can be read is kept again
            if state.unreadable:
                await asyncio.to_thread((path.parent / DRAINED).touch)
                return
            await asyncio.to_thread(delete_folder, path.parent)
        await self._journal.commit([], {NOTES + name: None})
        log.info("journal.folder_removed", folder=name)

    @asynccontextmanager
    async def hold(self, paths: Sequence[Path]) -> AsyncIterator[None]:
        """Keep every process from writing the journals' files at ``paths`` meanwhile. Raises
        ``JournalLocked`` where one holds a folder of theirs."""
        with ExitStack() as locks:
            for path in paths:
                lock = drain_lock(path.parent, self._journal.root)
                await asyncio.to_thread(locks.enter_context, lock)
            yield

    async def drain(self, path: Path) -> DrainState:
        """Drain the journal's file at ``path``, which is held, or go on with it. At the end the consumers are
        asked to resync if it was put aside here, or anything could not be read.

        Raises ``JournalUnavailable`` while the journal takes nothing or the disk is nearly full;
        ``JournalError`` for a file that is no journal, or of another version, or the one that is written;
        ``apsw.Error`` when the disk fails."""
        name = await asyncio.to_thread(name_below, self._journal.root, path.parent)
        own = not Path(name).is_absolute()
        async with self._busy:
            before = state = drain_states(await self._journal.notes(NOTES)).get(name, DrainState())
            try:
                source = await asyncio.to_thread(_Source, path)
            except JournalDamaged as error:
                if state.done:
                    return state
                log.error("journal.drain_lost", folder=name, words=str(error))
                return await self._finish(name, replace(state, unreadable=1, counted=False), resync=True)
            with closing(source):
                if source.id == self._journal.id:  # drained into itself, it would be deleted
                    raise JournalError(
                        f"{path} is the journal that this ingress writes, or a copy; move a copy out of "
                        "JOURNAL_DIR, and where the journal itself was moved start the ingress again"
                    )
                if state.journal != source.id:
                    state = DrainState(source.id)
                pages = source.pages(state)
                while page := await asyncio.to_thread(self._next, pages):
                    rows, state = page
                    await self._journal.commit(rows, {NOTES + name: state.note()})
            if state.done and state is before:  # nothing came since
                return state
            return await self._finish(name, state, resync=own or state.unreadable > 0)

    def _next(self, pages: Iterator[T]) -> T | None:
        """The next of ``pages``. Raises ``JournalUnavailable`` where the disk has no room for it."""
        page, root = next(pages, None), self._journal.root
        if page is not None and shutil.disk_usage(root).free < MIN_FREE_BYTES:
            words = f"less than {MIN_FREE_BYTES >> 20} MiB are free under {root}; free some: the room is for"
            raise JournalUnavailable("disk", f"{words} new callbacks")
        return page

    async def _finish(self, name: str, state: DrainState, *, resync: bool) -> DrainState:
        """The drain's last commit; with ``resync`` it also keeps a resync request for the consumers."""
        state = replace(state, done=True)
        number = str(state.unreadable) if state.counted else "an unknown number of"
        words = f"a journal was put aside: {number} callback(s) of it could not be read"
        rows = [ResyncRequest(f"drain/{state.journal or name}", words)] if resync else []
        await self._journal.commit(rows, {NOTES + name: state.note()})
        log.info("journal.drained", folder=name, callbacks=state.kept, unreadable=number)
        return state


class _Source:
    """A file that is drained, as far as it can be read. Used in a thread: a failing disk may be slow."""

    def __init__(self, path: Path) -> None:
        """Raises ``JournalDamaged`` where nothing can be read; ``JournalError`` for a file of another
        version; ``apsw.Error`` when the disk fails otherwise."""
        try:
            self._file = file = JournalFile(path, read_only=True)
        except _DOES_NOT_READ as error:
            raise JournalDamaged(f"{path} cannot be read ({type(error).__name__}: {error})") from error
        self._name = path.parent.name
        self.id = _read(lambda: file.id) or ""
        acked, parked = _read(file.acked), _read(lambda: file.parked_seqs(0, _SEQ_MAX))
        issued, last, there = _read(file.issued_seq), _read(file.last_seq), _read(file.seqs)
        first = acked if acked is not None else next(iter(there or ()), 0)
        most = first + (_read(file.pages) or 0) * _ROWS_PER_PAGE_MAX
        believed = [seq for seq in (issued, last) if seq is not None and seq <= most]
        end = max(believed, default=0)
        self._counted = issued in believed
        if acked is None or parked is None or acked > end:  # which rows were pruned is unknown: all come
            self._counted = self._counted and there is not None
            self._wanted: Sequence[Sequence[int]] = (there or (),)
        else:
            self._wanted = [seq for seq in parked if seq <= acked], range(acked + 1, end + 1)

    def close(self) -> None:
        with suppress(apsw.Error):  # a read that was cut off may still use it
            self._file.close()

    def pages(self, state: DrainState) -> Iterator[tuple[list[NewCallback], DrainState]]:
        """The callbacks behind ``state``, page by page, each with the state after it."""
        kept, lost, size = list[NewCallback](), list[int](), 0
        wanted = [numbers[bisect_right(numbers, state.seq) :] for numbers in self._wanted]
        for seq in chain.from_iterable(wanted):
            row = _read(partial(self._file.row, seq))  # an unreadable row must not hide its neighbours
            if row is None or not row.intact:
                lost.append(seq)
            else:
                kept.append(NewCallback(row.received_ms, row.app, row.via, row.body, extract_facts(row.body)))
                size += len(row.body)
            if len(kept) + len(lost) == _ROWS or size >= _BYTES:
                state = self._after(state, seq, kept, lost)
                yield kept, state
                kept, lost, size = [], [], 0
        if kept or lost:
            state = self._after(state, seq, kept, lost)
            yield kept, state
        if not self._counted and (state.counted or not state.unreadable):
            yield [], replace(state, done=False, unreadable=max(state.unreadable, 1), counted=False)

    def _after(self, state: DrainState, seq: int, kept: Sized, lost: Sequence[int]) -> DrainState:
        if lost:
            log.error("journal.unreadable", folder=self._name, callbacks=len(lost), first=lost[0])
        kept_, unreadable = state.kept + len(kept), state.unreadable + len(lost)
        return replace(state, seq=seq, kept=kept_, unreadable=unreadable, done=False)


def _read(read: Callable[[], T]) -> T | None:
    """What ``read`` returns; ``None`` where the disk or the file is too damaged."""
    try:
        return read()
    except _DOES_NOT_READ:
        return None


def folders_in(where: Path) -> list[Path]:
    """The journals' files in ``where``: a folder with one, or a ``JOURNAL_DIR``, then ``current`` and what
    was put aside. Raises ``BridgeError`` where there is none."""
    folder = where.resolve()
    found = [path for path in (folder / JOURNAL_FILE, current(folder)) if path.exists()]
    if not (found := found + put_aside(folder)):
        raise BridgeError(
            f"there is no journal in {where}; name a JOURNAL_DIR, or a folder with a journal.db"
        )
    return found
