"""The tables of a journal's file, and the version that the file has."""

from pathlib import Path
from typing import Final

import apsw

from dingbridge.ingress.errors import JournalError

APPLICATION_ID: Final = 0x44494E4A  # "DINJ", for file(1)
_OF_OLD: Final = 0x44494E47
"""Of a journal that had its checkpoint in a second file."""
VERSION: Final = 1
"""``PRAGMA user_version``. A later version adds a step that brings the file up when it is opened; a file of a
newer version is refused."""

SCHEMA: Final = """
-- AUTOINCREMENT: else a table emptied by pruning begins again at 1, below what Kafka has acknowledged
CREATE TABLE callbacks (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  received_ms INTEGER NOT NULL,
  app TEXT NOT NULL,
  via TEXT NOT NULL,
  type TEXT,
  corp TEXT,
  happened_ms INTEGER,
  id TEXT NOT NULL,
  plain INTEGER NOT NULL,
  body BLOB NOT NULL,
  crc INTEGER NOT NULL -- of all the columns, see checksum()
);
CREATE TABLE seen (key BLOB PRIMARY KEY, received_ms INTEGER NOT NULL) WITHOUT ROWID; -- the dedupe keys
CREATE INDEX seen_by_receipt ON seen (received_ms);
CREATE TABLE parked (
  seq INTEGER NOT NULL,
  topic TEXT NOT NULL,
  reason TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  PRIMARY KEY (seq, topic)
) WITHOUT ROWID;
-- so that a million parked callbacks are counted, or read page by page, in a moment
CREATE INDEX parked_by_topic ON parked (topic, reason, seq, since_ms);
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


def refuse_other_version(db: apsw.Connection, path: Path) -> None:
    """Raises ``JournalError`` where the file is no journal, or of another version. Only the header is read: a
    newer schema may not parse here, which would look like damage."""
    application, version = int(db.pragma("application_id")), int(db.pragma("user_version"))
    if application == APPLICATION_ID and version == VERSION:
        return
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # nothing is changed by closing it
    if application == _OF_OLD:
        raise JournalError(
            f"{path} was written by an older dingbridge, whose relay was a process of its own; with "
            "that one installed run `dingbridge relay --until-empty`, then move the folder out of "
            "JOURNAL_DIR and start this one"
        )
    if application == APPLICATION_ID and version > VERSION:
        raise JournalError(
            f"{path} was written by a newer dingbridge (version {version}, this one knows "
            f"{VERSION}); start the newer one, nothing was changed; or go back: with the newer one run "
            "`dingbridge journal publish`, then move the folder out of JOURNAL_DIR and start this one"
        )
    raise JournalError(
        f"{path} is not a journal of dingbridge; move it away if it does not belong there, or "
        "restore the folder as a whole from its back-up"
    )
