"""Does what a command asks for: here if no ingress holds the journal, else by asking the one that does."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
from prometheus_client import CollectorRegistry

from dingbridge.admin_token import admin_token
from dingbridge.cli.terminal import post_json
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.ingress.admin.routes import retention, verbs
from dingbridge.ingress.errors import JournalLocked
from dingbridge.ingress.journal.checkpoint import Checkpoint
from dingbridge.ingress.journal.directory import (
    current,
    exclusive_locks,
    folders,
    ingress_lock,
    prepare_folder,
    relay_lock,
)
from dingbridge.ingress.journal.importing import Importer
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from dingbridge.logging import configure_logging
from dingbridge.settings import IngressSettings, JournalSettings, PublisherSettings

Offline = Callable[[IngressSettings, Journal, dict[str, Any]], Awaitable[dict[str, Any]]]
"""What a verb does to a journal that no ingress holds."""


def do(verb: str, options: dict[str, Any], offline: Offline | None = None) -> dict[str, Any]:
    """The answer of the ingress that holds the journal, or of ``offline`` (None: the verb of ``routes.py``)
    under its lock. But for ``import`` there must be a journal. Raises ``BridgeError``."""
    root = JournalSettings.load().journal_path if verb == "import" else journal_dir()
    prepare_folder(root, allow_unsafe=True)
    try:
        with exclusive_locks(ingress_lock(root)):
            result = asyncio.run(_here(verb, options, offline))
            if verb == "import":
                result["next"] = "`dingbridge relay --until-empty` publishes it, or the next ingress"
            return result
    except JournalLocked:
        return ask(f"journal/{verb}", options)
    except (apsw.Error, OSError) as error:
        raise BridgeError(
            f"the disk failed ({type(error).__name__}: {error}); free or repair it, and call this again"
        ) from error


async def _here(verb: str, options: dict[str, Any], offline: Offline | None) -> dict[str, Any]:
    settings = publisher_settings()
    limits = retention(settings)
    journal = Journal(settings.journal_path, limits, JournalMetrics(CollectorRegistry()))
    await journal.start()
    try:
        if offline is not None:
            return await offline(settings, journal, options)
        importer = Importer(settings.journal_path, journal, limits.callbacks_s)
        return await verbs(settings, journal, importer)[verb](options)
    finally:
        await journal.stop()


def bring_in(folder: Path) -> dict[str, Any]:
    """Import ``folder``, which nobody writes: by the running ingress, or here. Raises ``BridgeError``."""
    return do("import", {"folder": str(folder.resolve())})


def forget_damaged() -> int:
    """Give up the callbacks that are parked as damaged, by the relay that publishes them, or here; how many.
    Raises ``BridgeError``."""
    folder = current(journal_dir())
    if not folder.checkpoint.exists():
        return 0
    try:
        lock, path = relay_lock(folder.path), folder.path
        with exclusive_locks(lock), closing(Checkpoint(path)) as checkpoint:
            return checkpoint.forget_damaged()
    except JournalLocked:
        return int(ask("parked/forget-damaged", {})["forgotten"])
    except apsw.Error as error:
        raise BridgeError(f"{folder.checkpoint} takes no write ({error}); repair the disk") from error


def publisher_settings() -> IngressSettings:
    """The settings of an ingress, with logs to standard error: standard output is for the answer."""
    try:
        settings = PublisherSettings.load()
    except SettingsError as error:
        raise SettingsError(
            [*error.problems, "(no ingress runs, so this command needs the settings of one)"]
        ) from None
    configure_logging(settings)
    return settings


def ask(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the running ingress answers to ``POST /<path>`` on its private listener; its relay, to
    ``parked/…``. Raises ``BridgeError``."""
    settings = JournalSettings.load()
    process, port, name = "ingress", settings.admin_port, "ADMIN_PORT"
    if path.startswith("parked/"):
        process, port, name = "relay", settings.relay_admin_port, "RELAY_ADMIN_PORT"
    url = f"http://{settings.admin_host}:{port}/{path}"
    remedy = f"but a process holds the journal: set ADMIN_HOST and {name} to its private listener"
    answer: dict[str, Any] = post_json(url, options, process, remedy, token=admin_token(settings.data_dir))
    return answer


def journal_dir() -> Path:
    """The ``JOURNAL_DIR``, which has a journal. Raises ``BridgeError`` where there is none, or where this
    user may not look into it: looking for files would only find none."""
    root = JournalSettings.load().journal_path
    try:
        os.scandir(root).close()
    except PermissionError:
        raise BridgeError(
            f"user id {os.geteuid()} may not read the journal in {root}; run this as the user of the ingress"
        ) from None
    except OSError:
        pass
    if not folders(root):
        raise BridgeError(f"no journal in {root}; set JOURNAL_DIR (or DATA_DIR) as for the ingress")
    return root
