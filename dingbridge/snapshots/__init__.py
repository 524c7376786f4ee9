"""What consumers share that keep tables equal to what DingTalk's API says.

``guard`` stops an older look at an entity from overwriting a newer one, ``recent`` spares the looks that
another serves, ``rows`` writes only what differs, ``values`` turns the API's JSON into values that both
databases can store.
"""

from dingbridge.snapshots.fetch_cache import Recent
from dingbridge.snapshots.upsert import replace_children, write_if_changed
from dingbridge.snapshots.version_guard import Guard, Look

__all__ = ["Guard", "Look", "Recent", "replace_children", "write_if_changed"]
