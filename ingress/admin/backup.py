"""The journal in a back-up: its file, copied while others write it. A restore puts the copy beside the
current journal, so that the ingress drains it at its next start: no ``sequence`` is given twice.

Found by the entry point ``journal`` of ``dingbridge.stores``.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from dingbridge.backup.sqlite import copy_file
from dingbridge.backup.stores import Store
from dingbridge.errors import BridgeError
from dingbridge.ingress.journal.folder import JOURNAL_FILE, current, put_aside
from dingbridge.settings import JournalSettings


def save(folder: Path) -> list[str]:
    """Of the journal that is written. Raises ``BridgeError``."""
    root = JournalSettings.load().journal_path
    if not current(root).exists():
        return []
    copy_file(current(root), folder / JOURNAL_FILE)
    waiting = [f"not {path.parent}, which is not drained yet" for path in put_aside(root)]
    return [str(current(root)), *waiting]


def refusals(folder: Path) -> list[str]:
    """Why the copy in ``folder`` cannot be restored now: nothing is in its way."""
    return []


def restore(folder: Path) -> list[str]:
    """Put the copy beside the current journal. Raises ``BridgeError``."""
    root = JournalSettings.load().journal_path
    target = root / f"restored-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        target.mkdir(mode=0o700, parents=True)
        part = target / f"{JOURNAL_FILE}-part"  # a running ingress drains each ``journal.db``
        shutil.copyfile(folder / JOURNAL_FILE, part)
        part.rename(target / JOURNAL_FILE)
    except OSError as error:
        raise BridgeError(
            f"{target} cannot be written ({error.strerror}); free or repair the disk"
        ) from error
    return [f"{target}: the ingress drains it within a minute, or when it starts"]


STORE = Store(save, refusals, restore)
