"""Imports the callbacks of another folder into the current journal: a damaged journal's, or those of an
instance that is gone.

In this order: the parked callbacks, all those behind the folder's checkpoint, then the dedupe keys. Each page
is one commit, with a note of how far the import has come; so an interrupted import goes on where it was. Rows
that cannot be read are counted. The folder itself is only read.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import apsw
import structlog

from dingbridge.errors import BridgeError
from dingbridge.events import dedupe_key, extract_facts
from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalNewer, JournalUnavailable
from dingbridge.ingress.journal.checkpoint import Checkpoint
from dingbridge.ingress.journal.directory import (
    DAMAGED_PREFIX,
    MIN_FREE_BYTES,
    JournalFolder,
    damaged,
    delete_folder,
)
from dingbridge.ingress.journal.rows import (
    IMPORTS,
    ImportState,
    NewCallback,
    ResyncRequest,
    StoredCallback,
    import_states,
)
from dingbridge.ingress.journal.store import DAMAGE, JournalFile, SeenKey
from dingbridge.ingress.journal.writer import Journal

log = structlog.get_logger(__name__)

T = TypeVar("T")

_EVERY_S: Final = 60.0
_ROWS, _BYTES, _KEYS = 256, 1 << 20, 1_000
_ROWS_PER_PAGE_MAX: Final = 100
"""A row takes more than 40 bytes, and a page of SQLite has 4096: bounds which numbers are believed."""
_DOES_NOT_READ = (*DAMAGE, apsw.IOError, UnicodeDecodeError)


class Importer:
    """Imports into the ``journal`` of ``root`` (``JOURNAL_DIR``), one folder at a time."""

    def __init__(self, root: Path, journal: Journal, keep_s: float) -> None:
        """``keep_s``: how long a folder stays after all of it was imported."""
        self._root, self._journal, self._keep_s = root, journal, keep_s
        self._busy = asyncio.Lock()

    async def run(self) -> None:
        """Import the damaged folders, and delete them ``keep_s`` later. Ends only when it is cancelled."""
        while True:
            for folder in damaged(self._root):
                try:
                    await self.bring_in(folder)
                except Exception as error:  # a damaged folder may fail in any way; it stays, and is retried
                    words = f"{type(error).__name__}: {error}"
                    log.error("journal.import_waits", folder=folder.name, words=words)
            try:
                await self.remove(self._keep_s)
            except (BridgeError, OSError) as error:
                log.warning("journal.folder_kept", words=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_EVERY_S)

    async def bring_in(self, folder: JournalFolder) -> ImportState:
        """Import ``folder``, which nobody writes, or go on with its import; of another instance's folder that
        was imported before, import what came since.

        Raises ``JournalUnavailable`` while the journal or the disk takes nothing; ``JournalDamaged`` where
        another instance's folder cannot be opened; ``JournalNewer`` for one of a newer version."""
        async with self._busy:
            if folder.path.parent != self._root or not folder.name.startswith(DAMAGED_PREFIX):
                with closing(await asyncio.to_thread(_Source, folder, ours=False)) as source:
                    return await self._import(source, source.id)
            if (state := await self._state(folder.name)).done_ms is not None:
                return state
            try:
                with closing(await asyncio.to_thread(_Source, folder, ours=True)) as source:
                    return await self._import(source, folder.name)
            except JournalDamaged as error:
                log.error("journal.import_lost", folder=folder.name, words=str(error))
                return await self._finish(folder.name, _uncounted(state), resync=True)

    async def _state(self, name: str) -> ImportState:
        return import_states(await self._journal.notes(IMPORTS)).get(name, ImportState())

    async def _import(self, source: "_Source", name: str) -> ImportState:
        state = await self._state(name)
        pages = source.pages(state)
        while page := await asyncio.to_thread(next, pages, None):
            if shutil.disk_usage(self._root).free < MIN_FREE_BYTES:
                raise JournalUnavailable(
                    "disk", f"less than {MIN_FREE_BYTES >> 20} MiB are free under {self._root}; free some"
                )
            state = page.state
            await self._journal.commit(page.rows, {IMPORTS + name: state.note()}, page.keys)
        if state.done_ms is not None:
            return state
        if not source.whole:
            state = _uncounted(state)
        return await self._finish(name, state, resync=source.ours or state.unread > 0)

    async def _finish(self, name: str, state: ImportState, *, resync: bool) -> ImportState:
        """The import's last commit; with ``resync`` it also keeps a resync request for the consumers."""
        state = replace(state, done_ms=int(time.time() * 1000))
        words = f"a journal was damaged: {state.unread_number} callback(s) of it could not be read"
        rows = [ResyncRequest(f"import/{name}", words)] if resync else []
        await self._journal.commit(rows, {IMPORTS + name: state.note()})
        log.info("journal.imported", folder=name, callbacks=state.rows, unread=state.unread_number)
        return state

    async def remove(self, older_than_s: float, *, forget: bool = False) -> list[str]:
        """Delete the damaged folders whose import was done, without unread rows, longer than ``older_than_s``
        ago; with ``forget`` all whose import is done. Returns their names.

        Raises ``JournalError``, when all others are deleted, for a folder in which something else lies;
        ``JournalUnavailable``; ``OSError`` when the disk refuses."""
        states = import_states(await self._journal.notes(IMPORTS))
        until_ms = (time.time() - older_than_s) * 1000
        removed, kept = list[str](), list[str]()
        for folder in damaged(self._root):
            state = states.get(folder.name, ImportState())
            # Invariant 2: a folder stays until its import is done
            if state.done_ms is None or not (forget or (state.done_ms <= until_ms and not state.unread)):
                continue
            try:
                await asyncio.to_thread(delete_folder, folder.path)
            except JournalError as error:
                kept.append(str(error))
                continue
            log.info("journal.folder_removed", folder=folder.name)
            removed.append(folder.name)
        if kept:
            raise JournalError("; ".join(kept))
        return removed


def _uncounted(state: ImportState) -> ImportState:
    """``state``, when an unknown number of further rows could not be read."""
    return replace(state, unread=state.unread + 1, counted=False)


@dataclass(frozen=True, slots=True)
class _Page:
    """The content of the next commit, and the state after it."""

    rows: list[NewCallback]
    keys: list[SeenKey]
    state: ImportState


class _Source:
    """A folder that is imported, as far as it can be read. Used in a thread: a failing disk may be slow."""

    def __init__(self, folder: JournalFolder, *, ours: bool) -> None:
        """``ours``: it was this journal's predecessor, so callbacks that DingTalk has pushed again since are
        here already, and left out. Raises ``JournalDamaged`` where nothing can be read, ``JournalNewer``, and
        ``apsw.Error``."""
        if not folder.journal.exists():
            raise JournalDamaged(f"{folder.journal} is not there")
        self._checkpoint: Checkpoint | None = None
        try:
            self._file = JournalFile(folder.journal, read_only=True, id_optional=ours)
        except JournalNewer:
            raise
        except (JournalError, *_DOES_NOT_READ) as error:
            raise JournalDamaged(f"{folder.journal} cannot be read ({error})") from error
        self.id, self.ours, self._name = self._file.id, ours, folder.name
        try:
            self._find_ends(folder)
        except BaseException:
            self.close()
            raise

    def _find_ends(self, folder: JournalFolder) -> None:
        """Find ``_acked`` (up to there only parked callbacks are imported), ``_pruned`` (up to there rows may
        be missing) and ``_last``, and whether that is surely the last one (``whole``)."""
        self._acked = self._published_up_to(folder)
        pruned_seq = _read(self._file.pruned_seq)
        self._pruned = self._acked if pruned_seq is None else pruned_seq
        most = None if pruned_seq is None else pruned_seq + self._file.free_pages()[1] * _ROWS_PER_PAGE_MAX
        issued, last = _read(self._file.issued_seq), _read(self._file.last_seq)
        believed = [seq for seq in (issued, last) if seq is not None and (most is None or seq <= most)]
        self.whole = issued in believed
        self._last = max(believed, default=0)
        if self._acked > self._last:  # a checkpoint beyond the journal's end is wrong
            self._acked = 0

    def _published_up_to(self, folder: JournalFolder) -> int:
        """The folder's checkpoint; 0 where it cannot be read: then all rows that were not pruned count."""
        if not folder.checkpoint.exists():
            return 0
        try:
            self._checkpoint = checkpoint = Checkpoint(folder.path, read_only=True)
            checkpoint.check()
            # a journal that has lost its id was used with the checkpoint beside it
            return checkpoint.seq() if self.id in ("", checkpoint.journal) else 0
        except JournalNewer:
            raise
        except (JournalError, *_DOES_NOT_READ) as error:
            log.warning("journal.checkpoint_unread", folder=self._name, words=str(error))
            return 0

    def close(self) -> None:
        self._file.close()
        if self._checkpoint is not None:
            self._checkpoint.close()

    def pages(self, state: ImportState) -> Iterator[_Page]:
        """The pages behind ``state``: rows first, then dedupe keys."""
        while state.seq < self._last:
            page = self._rows(state)
            state = page.state
            yield page
        now_ms = time.time() * 1000
        while keys := self._keys(bytes.fromhex(state.key)):
            state = replace(state, key=keys[-1][0].hex(), done_ms=None)
            sound = [(key, at_ms) for key, at_ms in keys if isinstance(at_ms, int) and 0 <= at_ms <= now_ms]
            yield _Page([], sound, state)

    def _keys(self, after: bytes) -> list[SeenKey]:
        keys = _read(self._file.seen, after, _KEYS)
        if keys is None:  # a repeated push is then kept twice, and nothing is lost
            log.warning("journal.keys_unread", folder=self._name)
        return [(key, at_ms) for key, at_ms in keys or () if isinstance(key, bytes) and key > after]

    def _rows(self, state: ImportState) -> _Page:
        wanted, end = self._wanted(state.seq)
        kept, lost, size = list[NewCallback](), list[int](), 0
        if wanted is None:
            log.error("journal.unread", folder=self._name, callbacks="unknown", first=state.seq + 1, last=end)
            state = _uncounted(state)
        for seq in wanted or ():  # one by one, so that an unreadable row hides no other
            row = _read(self._file.row, seq)
            if row is None or not row.intact:
                lost.append(seq)
                continue
            kept.append(_imported(row, ours=self.ours))
            size += len(row.body)
            if size >= _BYTES:
                end = seq
                break
        if lost:
            log.error("journal.unread", folder=self._name, callbacks=len(lost), first=lost[0], last=lost[-1])
        rows, unread = state.rows + len(kept), state.unread + len(lost)
        return _Page(kept, [], replace(state, seq=end, rows=rows, unread=unread, done_ms=None))

    def _wanted(self, after_seq: int) -> tuple[Sequence[int] | None, int]:
        """Each ``seq`` up to an end at which a row must be, and that end; ``None``: they are unknown."""
        if after_seq < self._acked and self._checkpoint is not None:
            seqs = sorted(self._checkpoint.parked_seqs(after_seq, _ROWS))
            return seqs, seqs[-1] if seqs else self._acked
        if after_seq < self._pruned:  # without a checkpoint: what was parked has not been pruned
            found = _read(self._file.seqs, after_seq, self._pruned, _ROWS)
            return found, found[-1] if found else self._pruned
        end = min(after_seq + _ROWS, self._last)
        return range(after_seq + 1, end + 1), end


def _read(read: Callable[..., T], *arguments: object) -> T | None:
    """What ``read`` returns; ``None`` where the disk or the file is too damaged."""
    try:
        return read(*arguments)
    except _DOES_NOT_READ:
        return None


def _imported(row: StoredCallback, *, ours: bool) -> NewCallback:
    """``row`` with its first time of receipt, so that its id stays the same. If it is ``ours`` and was pushed
    again since, its dedupe key keeps it out; one without an identity of its own is then kept twice."""
    facts = extract_facts(row.body)
    pushed = ours and row.via in ("http", "stream") and facts.has_identity
    key = dedupe_key(facts, row.app, row.body) if pushed else b""
    return NewCallback(
        row.received_ms, row.app, row.via, row.body, key, keep_again=True, traceparent=row.traceparent
    )
