"""Brings the callbacks of another folder into the current journal: of one that was put aside because it is
damaged, or of an instance that is gone.

In the journal's order: what was parked, all rows behind the folder's checkpoint, then the keys by which a
repeated push is recognised. Each page is one commit, with a note of how far the import has come; so one that
is cut off goes on where it was. What does not read is counted. The folder itself is only read.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import apsw
import orjson
import structlog

from dingbridge.errors import BridgeError
from dingbridge.events import dedupe_key, extract_facts
from ingress.errors import JournalDamaged, JournalError, JournalNewer, JournalUnavailable
from ingress.journal.checkpoint import Checkpoint
from ingress.journal.directory import DAMAGED_PREFIX, MIN_FREE_BYTES, JournalFolder, damaged
from ingress.journal.rows import NewCallback, ResyncRequest, StoredCallback, damaged_row
from ingress.journal.store import DAMAGE, JournalFile, SeenKey

log = structlog.get_logger(__name__)

NOTES: Final = "import/"
"""Begins the key of a note about an import."""

_EVERY_S: Final = 10.0
_ROWS, _BYTES, _KEYS = 256, 1 << 20, 1_000
_ROWS_PER_PAGE_MAX: Final = 100
"""A row needs more than 40 bytes, and a page of SQLite has 4096."""
_DOES_NOT_READ = (*DAMAGE, apsw.IOError)


@dataclass(frozen=True, slots=True)
class ImportState:
    """How far the import of a folder has come: all rows up to ``seq`` and all keys up to ``key`` (hex);
    ``rows`` were kept, ``unread`` could not be read. ``done_ms``: when it was finished, epoch ms."""

    seq: int = 0
    key: str = ""
    rows: int = 0
    unread: int = 0
    done_ms: int | None = None

    def note(self) -> str:
        """As it stands in the journal."""
        return orjson.dumps(asdict(self)).decode()


def import_states(notes: Mapping[str, str]) -> dict[str, ImportState]:
    """By name of the folder, from the journal's ``notes``; one that does not read counts as not begun."""
    states = {}
    for key, text in notes.items():
        try:
            states[key.removeprefix(NOTES)] = ImportState(**orjson.loads(text))
        except (ValueError, TypeError):
            log.warning("journal.import_unknown", note=key)
    return states


class Journal(Protocol):
    """What is needed of the journal's writer. Both raise ``JournalUnavailable``."""

    async def commit(
        self,
        rows: Sequence[NewCallback | ResyncRequest],
        notes: Mapping[str, str | None] | None = None,
        seen: Sequence[SeenKey] = (),
    ) -> list[bool]:
        """Keep all that in one commit."""
        ...

    async def notes(self, prefix: str) -> dict[str, str]:
        """The notes whose keys begin with ``prefix``."""
        ...


class Importer:
    """Imports into the ``journal`` of ``root`` (``JOURNAL_DIR``), one folder at a time."""

    def __init__(self, root: Path, journal: Journal, keep_s: float) -> None:
        """``keep_s``: how long a folder stays after all of it was imported."""
        self._root, self._journal, self._keep_s = root, journal, keep_s
        self._busy = asyncio.Lock()
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Import what was put aside, and delete it when its time is over. Ends only when it is cancelled."""
        while True:
            for folder in damaged(self._root):
                try:
                    await self.bring_in(folder)
                except (BridgeError, apsw.Error, OSError) as error:
                    self._tell(folder.name, f"{type(error).__name__}: {error}")
            try:
                await self.remove(self._keep_s)
            except (BridgeError, OSError) as error:
                self._tell("removal", f"{type(error).__name__}: {error}")
            await asyncio.sleep(_EVERY_S)

    def _tell(self, folder: str, words: str) -> None:
        """Once: it is tried again and again."""
        if self._told.get(folder) != words:
            self._told[folder] = words
            log.error("journal.import_waits", folder=folder, words=words)

    async def bring_in(self, folder: JournalFolder) -> ImportState:
        """Import ``folder``, which nobody writes, or go on with it; if it was done before, what came since.

        Raises ``JournalUnavailable`` while the journal, or the disk, takes nothing; ``JournalDamaged`` where
        a folder of another instance cannot be opened, ``JournalNewer`` for one of another version."""
        async with self._busy:
            if folder.path.parent != self._root or not folder.name.startswith(DAMAGED_PREFIX):
                with closing(await asyncio.to_thread(_Source, folder)) as source:
                    return await self._import(source, source.id, resync=False)
            if (state := await self._state(folder.name)).done_ms is not None:
                return state
            try:
                with closing(await asyncio.to_thread(_Source, folder)) as source:
                    return await self._import(source, folder.name, resync=True)
            except JournalDamaged as error:
                log.error("journal.import_lost", folder=folder.name, words=str(error))
                return await self._finish(folder.name, replace(state, unread=state.unread + 1), resync=True)

    async def _state(self, name: str) -> ImportState:
        return import_states(await self._journal.notes(NOTES)).get(name, ImportState())

    async def _import(self, source: "_Source", name: str, *, resync: bool) -> ImportState:
        state = await self._state(name)
        while page := await asyncio.to_thread(source.page, state):
            if shutil.disk_usage(self._root).free < MIN_FREE_BYTES:
                raise JournalUnavailable(
                    "disk", f"less than {MIN_FREE_BYTES >> 20} MiB are free under {self._root}; free some"
                )
            state = page.state
            await self._journal.commit(page.rows, {NOTES + name: state.note()}, page.keys)
        if state.done_ms is not None:
            return state
        if not source.whole:
            state = replace(state, unread=state.unread + 1)
        return await self._finish(name, state, resync=resync or state.unread > 0)

    async def _finish(self, name: str, state: ImportState, *, resync: bool) -> ImportState:
        """The import's last commit. With ``resync`` it asks the consumers to look for themselves."""
        state = replace(state, done_ms=int(time.time() * 1000))
        words = f"a journal was damaged: {state.unread} callback(s) of it could not be read"
        rows = [ResyncRequest(f"import/{name}", words)] if resync else []
        await self._journal.commit(rows, {NOTES + name: state.note()})
        log.info("journal.imported", folder=name, callbacks=state.rows, unread=state.unread)
        return state

    async def remove(self, older_than_s: float, *, forget: bool = False) -> list[str]:
        """Delete the damaged folders of which all was imported longer than ``older_than_s`` ago; ``forget``:
        also at once, and those that could not be read as a whole. Returns their names.

        Raises ``JournalUnavailable``, or ``OSError`` when the disk refuses."""
        states = import_states(await self._journal.notes(NOTES))
        until_ms = (time.time() - older_than_s) * 1000
        removed = []
        for folder in damaged(self._root):
            state = states.get(folder.name, ImportState())
            if state.done_ms is None or not (forget or (state.done_ms <= until_ms and not state.unread)):
                continue
            await asyncio.to_thread(shutil.rmtree, folder.path)
            log.info("journal.folder_removed", folder=folder.name)
            removed.append(folder.name)
        return removed


@dataclass(frozen=True, slots=True)
class _Page:
    """What the next commit keeps, and the state behind it."""

    rows: list[NewCallback]
    keys: list[SeenKey]
    state: ImportState


class _Source:
    """A folder that is imported, as far as it reads. Used in a thread: a failing disk may take long."""

    def __init__(self, folder: JournalFolder) -> None:
        """Raises ``JournalDamaged`` where nothing of it can be read, ``JournalNewer``, and ``apsw.Error``."""
        self._checkpoint: Checkpoint | None = None
        if not folder.journal.exists():
            raise JournalDamaged(f"{folder.journal} is not there")
        try:
            self._file = JournalFile(folder.journal, read_only=True)
        except JournalNewer:
            raise
        except (JournalError, *_DOES_NOT_READ) as error:
            raise JournalDamaged(f"{folder.journal} cannot be read ({error})") from error
        self.id, self._name = self._file.id, folder.name
        try:
            self._find_ends(folder)
        except BaseException:
            self.close()
            raise

    def _find_ends(self, folder: JournalFolder) -> None:
        """From where to where rows must be. ``whole``: the number of the last one is known for sure."""
        self._acked = self._published_up_to(folder)
        pruned_seq = self._number(self._file.pruned_seq)
        self._pruned = self._acked if pruned_seq is None else pruned_seq
        most = None if pruned_seq is None else pruned_seq + self._file.free_pages()[1] * _ROWS_PER_PAGE_MAX
        issued, last = self._number(self._file.issued_seq), self._number(self._file.last_seq)
        believed = [seq for seq in (issued, last) if seq is not None and (most is None or seq <= most)]
        self.whole = issued in believed
        self.highest_seq = max(believed, default=0)
        if self._acked > self.highest_seq:  # it knows more than the journal: not to be believed
            self._acked = 0

    def _published_up_to(self, folder: JournalFolder) -> int:
        """By the folder's checkpoint; 0 where that does not read: then all that was not pruned counts."""
        if not folder.checkpoint.exists():
            return 0
        try:
            self._checkpoint = checkpoint = Checkpoint(folder.path, read_only=True)
            checkpoint.check()
            return checkpoint.seq() if checkpoint.journal == self.id else 0
        except JournalNewer:
            raise
        except (JournalError, *_DOES_NOT_READ) as error:
            log.warning("journal.checkpoint_unread", folder=self._name, words=str(error))
            return 0

    def _number(self, read: Callable[[], int]) -> int | None:
        try:
            return read()
        except _DOES_NOT_READ:
            return None

    def close(self) -> None:
        self._file.close()
        if self._checkpoint is not None:
            self._checkpoint.close()

    def page(self, state: ImportState) -> _Page | None:
        """What comes behind ``state``; ``None``: nothing more."""
        if state.seq < self.highest_seq:
            return self._rows(state)
        keys = self._keys(state.key)
        if not keys:
            return None
        now_ms = time.time() * 1000
        sound = [(key, at_ms) for key, at_ms in keys if isinstance(at_ms, int) and 0 <= at_ms <= now_ms]
        return _Page([], sound, replace(state, key=keys[-1][0].hex(), done_ms=None))

    def _rows(self, state: ImportState) -> _Page:
        if state.seq < self._acked and self._checkpoint is not None:  # there, only what is parked
            wanted = sorted(self._checkpoint.parked_seqs(state.seq, _ROWS))
            rows, end = list[StoredCallback](), wanted[-1] if wanted else self._acked
        else:
            rows, wanted, end = self._chunk(state.seq)
        looked_up = [row for seq in wanted if (row := self._row(seq)) is not None]
        found = sorted((*rows, *looked_up), key=lambda row: row.seq)
        lost = [row.seq for row in found if not row.intact]
        if lost:
            log.error("journal.unread", folder=self._name, callbacks=len(lost), first=lost[0], last=lost[-1])
        kept = [_again(row) for row in found if row.intact]
        rows_so_far, unread = state.rows + len(kept), state.unread + len(lost)
        return _Page(kept, [], replace(state, seq=end, rows=rows_so_far, unread=unread, done_ms=None))

    def _chunk(self, after_seq: int) -> tuple[list[StoredCallback], list[int], int]:
        """Rows behind ``after_seq``, the numbers to look up, and up to where that is all."""
        try:
            chunk = self._file.chunk(after_seq, max_rows=_ROWS, max_bytes=_BYTES)
        except _DOES_NOT_READ:  # look each up, so that one hides no other
            end = min(after_seq + _ROWS, self.highest_seq)
            return [], list(range(after_seq + 1, end + 1)), end
        return chunk.rows, chunk.missing, chunk.end

    def _row(self, seq: int) -> StoredCallback | None:
        """``None`` where it was deleted; not intact where it does not read, or is missing."""
        try:
            row = self._file.row(seq)
        except _DOES_NOT_READ:
            return damaged_row(seq)
        return damaged_row(seq) if row is None and (seq > self._pruned or seq <= self._acked) else row

    def _keys(self, after: str) -> list[SeenKey]:
        """Where they do not read there are none: then a repeated push comes twice, and nothing is lost."""
        try:
            keys = self._file.seen(bytes.fromhex(after), _KEYS)
        except (*_DOES_NOT_READ, UnicodeDecodeError) as error:
            log.warning("journal.keys_unread", folder=self._name, words=str(error))
            return []
        return keys if keys and isinstance(keys[-1][0], bytes) and keys[-1][0].hex() > after else []


def _again(row: StoredCallback) -> NewCallback:
    """As it was received first: so its id stays what it was. Only what DingTalk has pushed again since is
    left out; of what has no identity of its own nobody knows, and it comes twice."""
    facts = extract_facts(row.body)
    pushed = row.via in ("http", "stream") and facts.has_identity
    key = dedupe_key(facts, row.app, row.body) if pushed else b""
    return NewCallback(
        row.received_ms, row.app, row.via, row.body, key, unconditional=True, traceparent=row.traceparent
    )
