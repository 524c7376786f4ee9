"""The verbs of ``routes.py`` for a journal that no ingress holds, under its lock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import apsw
from prometheus_client import CollectorRegistry

from dingbridge.errors import BridgeError
from dingbridge.settings import IngressSettings
from ingress.admin.client import Offline, do
from ingress.admin.routes import retention, verbs
from ingress.journal.checkpoint import Checkpoint
from ingress.journal.directory import (
    current,
    exclusive_locks,
    ingress_lock,
    prepare_folder,
    relay_lock,
)
from ingress.journal.importing import Importer
from ingress.journal.writer import Journal
from ingress.metrics import JournalMetrics


@asynccontextmanager
async def opened(settings: IngressSettings) -> AsyncIterator[Journal]:
    """The current journal's writer, for what is kept without an ingress. Raises ``JournalError``;
    ``JournalLocked`` while an ingress holds it."""
    root = settings.journal_path
    prepare_folder(root, allow_unsafe=True)
    with exclusive_locks(ingress_lock(root)):
        journal = Journal(root, retention(settings), JournalMetrics(CollectorRegistry()))
        await journal.start()
        try:
            yield journal
        finally:
            await journal.stop()


def offline(verb: str) -> Offline:
    """How ``verb`` is done without an ingress."""

    async def done(settings: IngressSettings, options: dict[str, Any]) -> dict[str, Any]:
        try:
            async with opened(settings) as journal:
                importer = Importer(settings.journal_path, journal, retention(settings).callbacks_s)
                return await verbs(settings, journal, importer)[verb](options)
        except (apsw.Error, OSError) as error:
            raise BridgeError(
                f"the disk failed ({type(error).__name__}: {error}); free or repair it, and call this again"
            ) from error

    return done


def bring_in(folder: Path) -> dict[str, Any]:
    """Import ``folder``, which nobody writes: by the running ingress, or here. Raises ``BridgeError``."""
    here = offline("import")

    async def alone(settings: IngressSettings, options: dict[str, Any]) -> dict[str, Any]:
        found = await here(settings, options)
        return found | {"next": "`dingbridge relay --until-empty` publishes it, or the next ingress"}

    return do("import", {"folder": str(folder.resolve())}, alone, create=True)


def forget_damaged(settings: IngressSettings) -> int:
    """Give up the callbacks that are parked as damaged; how many. Raises ``JournalLocked`` while a relay
    publishes the journal, ``BridgeError`` when the disk refuses."""
    folder = current(settings.journal_path)
    if not folder.checkpoint.exists():
        return 0
    with exclusive_locks(relay_lock(folder.path)):
        try:
            with closing(Checkpoint(folder.path)) as checkpoint:
                return checkpoint.forget_damaged()
        except apsw.Error as error:
            raise BridgeError(f"{folder.checkpoint} takes no write ({error}); repair the disk") from error
