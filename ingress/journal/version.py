"""Files of a newer version: known by their header alone, before anything else of them is believed."""

from pathlib import Path

import apsw

from ingress.errors import JournalNewer


def refuse_newer(db: apsw.Connection, path: Path, known: int) -> None:
    """Raises ``JournalNewer`` where ``PRAGMA user_version`` is above ``known``; ``db`` then changes nothing
    as it closes. It reads no more than the header: a newer schema may not even parse here, and what does not
    parse would be taken for damage."""
    version = int(db.pragma("user_version"))
    if version > known:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        raise JournalNewer(
            f"{path} was written by a newer dingbridge (version {version}, this one knows {known}); start "
            "the newer one, nothing was changed"
        )
