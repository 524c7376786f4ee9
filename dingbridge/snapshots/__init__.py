"""What consumers share that keep tables equal to what DingTalk's API says.

``VersionGuard`` stops an older fetch of an entity from overwriting a newer one, ``upsert`` writes only what
differs, ``coerce`` turns the API's JSON into values that both databases can store.
"""

from dingbridge.snapshots.upsert import (
    replace_children,
    replace_children_of,
    write_if_changed,
    write_rows,
)
from dingbridge.snapshots.version_guard import FetchAttempt, VersionGuard

__all__ = [
    "FetchAttempt",
    "VersionGuard",
    "replace_children",
    "replace_children_of",
    "write_if_changed",
    "write_rows",
]
