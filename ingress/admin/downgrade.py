"""Takes a file of the journal back to an older version, for a dingbridge that has refused it."""

from contextlib import closing
from pathlib import Path

import apsw

from dingbridge.errors import BridgeError
from dingbridge.ingress.journal import checkpoint, store
from dingbridge.ingress.journal.directory import (
    CHECKPOINT_FILE,
    JOURNAL_FILE,
    connect,
    current,
    exclusive_locks,
    ingress_lock,
    relay_lock,
)
from dingbridge.migrations.file_format import FileFormat


def downgrade(root: Path, file: str, version: int) -> int:
    """Rewrite ``file`` of the current journal below ``root`` as ``version``; returns the version before.

    What later versions have added to it is deleted, all or nothing. Raises ``BridgeError``: another file, a
    version that it cannot have, or a process that uses it.
    """
    known = {JOURNAL_FILE: store.FORMAT, CHECKPOINT_FILE: checkpoint.FORMAT}.get(file)
    folder = current(root).path
    if known is None or not (folder / file).exists():
        raise BridgeError(
            f"there is no {file} to rewrite in {folder}; it is {JOURNAL_FILE} or {CHECKPOINT_FILE}"
        )
    try:
        with exclusive_locks(ingress_lock(root), relay_lock(folder)):
            return _rewrite(folder / file, known, version)
    except apsw.Error as error:
        raise BridgeError(
            f"{folder / file} cannot be rewritten ({type(error).__name__}: {error}), nothing was changed; "
            "free or repair the disk, and call this again"
        ) from error


def _rewrite(path: Path, known: FileFormat, version: int) -> int:
    with closing(connect(path, known, bring_up=True)) as db:
        found = int(db.pragma("user_version"))
        if not known.first <= version <= found:
            raise BridgeError(
                f"{path} is of version {found}, and can be taken back to one from {known.first} to {found}; "
                "the dingbridge that refused it names the one that it knows"
            )
        known.bring_down(db, version)
        return found
