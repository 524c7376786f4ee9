"""The journal in a back-up: its checkpoint, then its file, copied while others write them. A restore imports
them into a new journal, so that no ``sequence`` is given twice.

Found by the entry point ``journal`` of ``dingbridge.stores``.
"""

from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from dingbridge.backup.sqlite import copy_file
from dingbridge.backup.stores import Store
from dingbridge.errors import SettingsError
from dingbridge.ingress.admin.client import bring_in
from dingbridge.ingress.errors import JournalError, JournalLocked
from dingbridge.ingress.journal.directory import (
    JournalFolder,
    current,
    damaged,
    exclusive_locks,
    ingress_lock,
    relay_lock,
)
from dingbridge.ingress.journal.rows import IMPORTS, import_states
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.settings import JournalSettings, PublisherSettings

_DRAIN: Final = "`dingbridge journal drain {folder}` brings the back-up's into it, also while it is written"


def save(folder: Path) -> list[str]:
    """Of the journal that is written. Raises ``BridgeError``."""
    root = JournalSettings.load().journal_path
    source, copy = current(root), JournalFolder(folder)
    if not source.journal.exists():
        return []
    said = [f"{source.journal}, with its checkpoint"]
    # copied first: a checkpoint beyond its journal's end is refused; an older one only publishes twice
    if source.checkpoint.exists():
        copy_file(source.checkpoint, copy.checkpoint)
    copy_file(source.journal, copy.journal)
    with closing(JournalFile(source.journal, read_only=True)) as file:
        done = {name for name, state in import_states(file.notes(IMPORTS)).items() if state.done_ms}
    for waiting in damaged(root):
        if waiting.name not in done:
            said.append(f"not {waiting.path}, which is not imported yet: copy it while nobody runs")
    return said


def refusals(folder: Path) -> list[str]:
    """Why the copy in ``folder`` cannot be imported now."""
    try:
        root = PublisherSettings.load().journal_path
    except SettingsError as error:
        return [f"{words}: the journal needs the settings of its ingress" for words in error.problems]
    target, drain = current(root), _DRAIN.format(folder=folder)
    if not target.path.exists():
        return []
    try:
        with exclusive_locks(ingress_lock(root), relay_lock(target.path)):
            with closing(JournalFile(folder / target.journal.name, read_only=True)) as copy:
                wanted = copy.id
            with closing(JournalFile(target.journal, read_only=True)) as file:
                if file.id == wanted:
                    return [
                        f"{target.path} is the journal of the back-up and knows more than its copy: keep it, "
                        "and name with --only what else is to be restored"
                    ]
                if not file.highest_seq() or wanted in import_states(file.notes(IMPORTS)):
                    return []  # new, or an earlier run has begun
    except JournalLocked as error:
        return [f"{error}. {drain}"]
    except (JournalError, apsw.Error) as error:
        return [f"{target.path} holds something else ({error}); move it away"]
    return [f"there is another journal in {target.path}. {drain}"]


def restore(folder: Path) -> list[str]:
    """Import the copy into the journal of ``JOURNAL_DIR``. Raises ``BridgeError``."""
    result = bring_in(folder)
    return [
        f"{result['imported']} callback(s) imported, {result['unread']} could not be read",
        str(result.get("next", "")),
    ]


STORE = Store(save, refusals, restore)
