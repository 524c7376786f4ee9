"""For consumers that keep tables equal to DingTalk's data.

``VersionGuard`` stops an older fetch of an entity from overwriting a newer one, ``late_answers`` decides when
to fetch again, ``upsert`` writes only what differs, ``coerce`` turns the API's JSON into values that both
databases can store.
"""

from dingbridge.snapshots.upsert import replace_children, write_if_changed, write_rows
from dingbridge.snapshots.version_guard import FetchAttempt, VersionGuard

__all__ = [
    "FetchAttempt",
    "VersionGuard",
    "replace_children",
    "write_if_changed",
    "write_rows",
]
