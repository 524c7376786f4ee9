"""Drains another journal's file into the current one: that of a damaged journal, or of an instance that is
gone.

All callbacks behind what Kafka has acknowledged, and the parked ones, are kept again, each with its first
time of receipt, so that its id stays the same. No dedupe keys are taken: a repeat is harmless, a false repeat
is a loss. Rows that cannot be read are counted. Each page is one commit with a note of how far the drain has
come, so an interrupted one goes on where it was. The file itself is only read.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from os.path import samestat
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
from dingbridge.ingress.journal.folder import MIN_FREE_BYTES, current, delete_folder, put_aside
from dingbridge.ingress.journal.rows import NewCallback, ResyncRequest, StoredCallback
from dingbridge.ingress.journal.writer import Journal

log = structlog.get_logger(__name__)
T = TypeVar("T")

NOTES: Final = "drain/"
"""Begins the keys of the journal's notes about files that are drained."""
UNREADABLE_FILE: Final = "journal.db-drained"
"""The new name of a file that is drained, and of which something could not be read: it stays for a person."""

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
        cancelled. Raises ``JournalError`` when somebody has moved the journal that is written: drained into
        itself, it would be deleted."""
        root = self._journal.root
        written = current(root).stat()
        while True:
            try:
                found = await asyncio.to_thread(put_aside, root)
                moved = not current(root).exists() or not samestat(written, current(root).stat())
            except OSError as error:
                log.error("journal.drain_waits", folder=str(root), words=str(error))
                found, moved = [], False
            if moved:
                raise JournalError(
                    f"{current(root)} was moved away while this ingress wrote it; start it again: it begins "
                    f"another one, and drains what was moved if that is below {root}"
                )
            for path in found:
                try:
                    await self._put_aside(path)
                except Exception as error:  # a damaged file may fail in any way; it stays, and is tried again
                    words = f"{type(error).__name__}: {error}"
                    log.error("journal.drain_waits", folder=path.parent.name, words=words)
            await asyncio.sleep(_EVERY_S)

    async def _put_aside(self, path: Path) -> None:
        state = await self.drain(path)
        # Invariant 2: only now, when all of it that can be read is kept again
        if state.unreadable:
            await asyncio.to_thread(_leave, path)
            return
        await asyncio.to_thread(delete_folder, path.parent)
        name = str(path.parent.relative_to(self._journal.root))
        await self._journal.commit([], {NOTES + name: None})
        log.info("journal.folder_removed", folder=name)

    async def drain(self, path: Path) -> DrainState:
        """Drain the journal's file at ``path``, which nobody writes, or go on with it. At the end the
        consumers are asked to resync if it was put aside here, or anything could not be read.

        Raises ``JournalUnavailable`` while the journal takes nothing or the disk is nearly full;
        ``JournalError`` for a file that is no journal, or of another version; ``apsw.Error`` when the disk
        fails."""
        folder, root = path.parent.resolve(), self._journal.root.resolve()
        own = folder.is_relative_to(root)
        name = str(folder.relative_to(root) if own else folder)
        async with self._busy:
            state = drain_states(await self._journal.notes(NOTES)).get(name, DrainState())
            try:
                source = await asyncio.to_thread(_Source, path)
            except JournalDamaged as error:
                if state.done:
                    return state
                log.error("journal.drain_lost", folder=name, words=str(error))
                return await self._finish(name, replace(state, unreadable=1, counted=False), resync=True)
            with closing(source):
                if state.journal != source.id:
                    state = DrainState(source.id)
                pages = source.pages(state)
                while page := await asyncio.to_thread(next, pages, None):
                    if shutil.disk_usage(self._journal.root).free < MIN_FREE_BYTES:
                        raise JournalUnavailable(
                            "disk",
                            f"less than {MIN_FREE_BYTES >> 20} MiB are free under {self._journal.root}; free "
                            "some: the room is for new callbacks",
                        )
                    rows, state = page
                    await self._journal.commit(rows, {NOTES + name: state.note()})
            if state.done:  # before, and nothing came since
                return state
            return await self._finish(name, state, resync=own or state.unreadable > 0)

    async def _finish(self, name: str, state: DrainState, *, resync: bool) -> DrainState:
        """The drain's last commit; with ``resync`` it also keeps a resync request for the consumers."""
        state = replace(state, done=True)
        number = str(state.unreadable) if state.counted else "an unknown number of"
        words = f"a journal was put aside: {number} callback(s) of it could not be read"
        rows = [ResyncRequest(f"drain/{state.journal or name}", words)] if resync else []
        await self._journal.commit(rows, {NOTES + name: state.note()})
        log.info("journal.drained", folder=name, callbacks=state.kept, unreadable=number)
        return state


def _leave(path: Path) -> None:
    """Give a drained file, and the WAL that belongs to it, names under which they are not drained again."""
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        wal.rename(path.with_name(f"{UNREADABLE_FILE}-wal"))
    path.rename(path.with_name(UNREADABLE_FILE))


class _Source:
    """A file that is drained, as far as it can be read. Used in a thread: a failing disk may be slow."""

    def __init__(self, path: Path) -> None:
        """Raises ``JournalDamaged`` where nothing can be read; ``JournalError`` for a file of another
        version; ``apsw.Error`` when the disk fails otherwise."""
        if not path.exists():
            raise JournalError(f"there is no {path}; name a JOURNAL_DIR, or a folder with a journal.db")
        try:
            self._file = JournalFile(path, read_only=True)
        except _DOES_NOT_READ as error:
            raise JournalDamaged(f"{path} cannot be read ({type(error).__name__}: {error})") from error
        self._name = path.parent.name
        self.id = _read(lambda: self._file.id) or ""
        self._acked, parked_known = _read(self._file.acked), _read(self._file.check_parked) is not None
        issued, last = _read(self._file.issued_seq), _read(self._file.last_seq)
        _, pages = _read(self._file.free_pages) or (0, 0)
        first = _read(lambda: self._file.seqs(0, _SEQ_MAX, 1)) or [0]
        most = (first[0] if self._acked is None else self._acked) + pages * _ROWS_PER_PAGE_MAX
        believed = [seq for seq in (issued, last) if seq is not None and seq <= most]
        self._counted = issued in believed
        self._last = max(believed, default=0)
        if self._acked is None or not parked_known or self._acked > self._last:
            self._acked = None

    def close(self) -> None:
        with suppress(apsw.Error):  # a read that was cut off may still use it
            self._file.close()

    def pages(self, state: DrainState) -> Iterator[tuple[list[NewCallback], DrainState]]:
        """The callbacks behind ``state``, page by page, each with the state after it."""
        state = replace(state, done=False)
        while state.seq < self._last:
            wanted, end = self._wanted(state.seq)
            kept, size = list[NewCallback](), 0
            lost = list[int]()
            for seq in wanted:  # an unreadable row must not hide its neighbours
                row = _read(partial(self._file.row, seq))
                if row is None or not row.intact:
                    lost.append(seq)
                    continue
                kept.append(_again(row))
                size += len(row.body)
                if size >= _BYTES:
                    end = seq
                    break
            if lost:
                log.error("journal.unreadable", folder=self._name, callbacks=len(lost), first=lost[0])
            kept_, unreadable = state.kept + len(kept), state.unreadable + len(lost)
            state = replace(state, seq=end, kept=kept_, unreadable=unreadable)
            yield kept, state
        if not self._counted and (state.counted or not state.unreadable):
            yield [], replace(state, unreadable=max(state.unreadable, 1), counted=False)

    def _wanted(self, after_seq: int) -> tuple[list[int], int]:
        """The next numbers at which a row must be, and up to where that is all."""
        end = min(after_seq + _ROWS, self._last)
        if self._acked is not None and after_seq < self._acked:
            parked = _read(partial(self._file.parked_seqs, after_seq, _ROWS))
            if parked is not None:
                found = [seq for seq in parked if seq <= self._acked]
                return found, found[-1] if len(found) == _ROWS else self._acked
            self._acked = None
        if self._acked is None:  # which rows were pruned is unknown: take all
            seqs = _read(partial(self._file.seqs, after_seq, self._last, _ROWS))
            if seqs is not None:
                return seqs, seqs[-1] if seqs else self._last
            self._counted = False  # of those that cannot be read some may have been pruned
            return [seq for seq in range(after_seq + 1, end + 1) if _read(partial(self._file.row, seq))], end
        return list(range(after_seq + 1, end + 1)), end


def _read(read: Callable[[], T]) -> T | None:
    """What ``read`` returns; ``None`` where the disk or the file is too damaged."""
    try:
        return read()
    except _DOES_NOT_READ:
        return None


def _again(row: StoredCallback) -> NewCallback:
    return NewCallback(row.received_ms, row.app, row.via, row.body, extract_facts(row.body))


def folders_in(where: Path) -> list[Path]:
    """The journals' files in ``where``: a folder with one, or a whole ``JOURNAL_DIR``. Raises
    ``BridgeError`` where there is none."""
    found = sorted(where.resolve().rglob("journal.db"))
    if not found:
        raise BridgeError(
            f"there is no journal in {where}; name a JOURNAL_DIR, or a folder with a journal.db"
        )
    return found
