"""What the commands of ``dingbridge journal`` share: where the journal is, and how its ingress is asked."""

import os
from pathlib import Path
from typing import Any

from dingbridge.admin_token import admin_token
from dingbridge.cli.terminal import post_json
from dingbridge.errors import BridgeError
from dingbridge.ingress.journal.folder import current
from dingbridge.settings import JournalSettings


def ask(verb: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the running ingress answers to ``POST /journal/<verb>`` on its private listener. Raises
    ``BridgeError``."""
    settings = JournalSettings.load()
    url = f"http://{settings.admin_host}:{settings.admin_port}/journal/{verb}"
    remedy = (
        "start it, or set ADMIN_HOST and ADMIN_PORT to its private listener; without an ingress, "
        "`dingbridge journal publish` sends a folder to Kafka"
    )
    answer: dict[str, Any] = post_json(url, options, "ingress", remedy, token=admin_token(settings.data_dir))
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
    if not current(root).exists():
        raise BridgeError(f"no journal in {root}; set JOURNAL_DIR (or DATA_DIR) as for the ingress")
    return root
