"""What an operator may do to a journal that no ingress holds, with its lock and the relay's."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
from prometheus_client import CollectorRegistry

from dingbridge.errors import BridgeError
from dingbridge.settings import IngressSettings
from ingress.admin.routes import older_than_s, retention
from ingress.errors import JournalDamaged
from ingress.journal.checkpoint import Checkpoint
from ingress.journal.directory import (
    CURRENT,
    JournalFolder,
    current,
    exclusive_locks,
    folders,
    ingress_lock,
    prepare_folder,
    relay_lock,
)
from ingress.journal.metrics import JournalMetrics
from ingress.journal.retention import RetentionJob, remove_drained
from ingress.journal.store import JournalFile
from ingress.journal.writer import Journal
from ingress.relay.drain import drain, retry_parked


@contextmanager
def held(root: Path) -> Iterator[None]:
    """No ingress runs on ``root`` meanwhile. Raises ``JournalLocked`` when one does."""
    prepare_folder(root, allow_unsafe=True)
    with exclusive_locks(ingress_lock(root)):
        yield


@asynccontextmanager
async def opened(settings: IngressSettings) -> AsyncIterator[Journal]:
    """The current journal's writer, for what is kept without an ingress. Raises ``JournalError``."""
    with held(settings.journal_path):
        journal = Journal(settings.journal_path, retention(settings), JournalMetrics(CollectorRegistry()))
        await journal.start()
        try:
            yield journal
        finally:
            await journal.stop()


async def retry(settings: IngressSettings, options: dict[str, Any]) -> dict[str, Any]:
    """Try what is parked; how many records still are, and which folders cannot be read."""
    result: dict[str, Any] = {"still_parked": 0}
    with held(settings.journal_path):
        for folder in folders(settings.journal_path):
            try:
                result["still_parked"] += await retry_parked(settings, folder.path)
            except JournalDamaged:
                result.setdefault("not_read", []).append(folder.name)
    return result


async def prune(settings: IngressSettings, options: dict[str, Any]) -> dict[str, Any]:
    """Delete what is published and old enough; with ``damaged`` also give up what is damaged."""
    root, older, forget = (
        settings.journal_path,
        older_than_s(settings, options),
        options.get("damaged") is True,
    )
    result: dict[str, Any] = {"deleted": 0}
    folder = current(root)
    with held(root):
        try:
            if folder.journal.exists() and folder.checkpoint.exists():
                with exclusive_locks(relay_lock(folder.path)):
                    result["deleted"] = _prune(settings, folder, older)
                    if forget:
                        with closing(Checkpoint(folder.path)) as checkpoint:
                            result["damaged_callbacks"] = checkpoint.forget_damaged()
            if removed := remove_drained(root, older, forget=forget):
                result["removed_folders"] = removed
        except (apsw.Error, OSError) as error:
            raise BridgeError(
                f"the journal in {root} could not be pruned ({type(error).__name__}: {error}); free or "
                "repair the disk, and call this again"
            ) from error
    return result


def _prune(settings: IngressSettings, folder: JournalFolder, older: float) -> int:
    job, deleted, more = RetentionJob(folder, replace(retention(settings), callbacks_s=older)), 0, True
    with closing(JournalFile(folder.journal)) as file:
        while more:
            rows, more = job.step(file)
            deleted += rows
    return deleted


async def drain_all(settings: IngressSettings, where: Path) -> list[JournalFolder]:
    """Publish what is in ``where``: one folder with a journal, or a ``JOURNAL_DIR`` with several, which
    nobody writes. Returns the folders, also those of which nothing can be read. Raises ``BridgeError``;
    ``JournalLocked`` while an ingress writes it."""
    here = _folders_in(where)
    for folder in here:
        locks = [ingress_lock(folder.path.parent)] if folder.name == CURRENT else []
        with exclusive_locks(*locks), suppress(JournalDamaged):  # the status of the folder says so
            await drain(settings, folder.path)
    return here


def _folders_in(where: Path) -> list[JournalFolder]:
    where = where.resolve()  # the folder's name tells whose it is
    here = [JournalFolder(where)] if JournalFolder(where).journal.exists() else folders(where)
    if not here:
        raise BridgeError(
            f"there is no journal in {where}; name a JOURNAL_DIR, or a folder with a journal.db"
        )
    return here
