"""Does what a command asks for: here if no ingress holds the journal, else by asking the one that does."""

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from dingbridge.admin_token import FILE, admin_token
from dingbridge.cli.terminal import open_here, refusal_of
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.logging import configure_logging
from dingbridge.settings import IngressSettings, JournalSettings, PublisherSettings
from ingress.errors import JournalLocked
from ingress.journal.directory import exclusive_locks, folders, ingress_lock, prepare_folder

Offline = Callable[[IngressSettings, dict[str, Any]], Awaitable[dict[str, Any]]]


def do(verb: str, options: dict[str, Any], offline: Offline, *, create: bool = False) -> dict[str, Any]:
    """The answer of the ingress that holds the journal, or of ``offline``. Without ``create`` there must be a
    journal. Raises ``BridgeError``."""
    root = JournalSettings.load().journal_path if create else journal_dir()
    prepare_folder(root, allow_unsafe=True)
    try:
        with exclusive_locks(ingress_lock(root)):
            settings = publisher_settings()

        async def run() -> dict[str, Any]:
            return await offline(settings, options)

        return asyncio.run(run())
    except JournalLocked:  # also of an ingress that was started meanwhile
        return ask(f"journal/{verb}", options)


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
    remedy = f"set ADMIN_HOST and {name} to its private listener"
    headers = {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {admin_token(settings.data_dir)}",
    }
    request = urllib.request.Request(url, json.dumps(options).encode(), headers, method="POST")
    try:
        with open_here(request, timeout=600) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == 401:
            raise BridgeError(
                f"the {process} at {url} has another token than {settings.data_dir / FILE}; "
                "set DATA_DIR as for the ingress"
            ) from None
        refusal = refusal_of(error) or f"no {process} answers at {url} ({error.code}); {remedy}"
        raise BridgeError(refusal) from None
    except (ValueError, HTTPException):
        raise BridgeError(f"what answers at {url} is no {process}; {remedy}") from None
    except OSError as error:
        raise BridgeError(
            f"a process holds the journal but no {process} answers at {url} "
            f"({getattr(error, 'reason', error)}); {remedy}"
        ) from error


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
