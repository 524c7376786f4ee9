"""The queue of instances to be fetched without an event: those that only another one's document names, those
that a resync could not fetch, and those whose answer lacked what an event had reported.

Not here: the fetching (``reconcile/refetch.py``).
"""

from typing import Any, Final

from dingbridge import Transaction
from dingbridge.consumers.approval.tables import approval_fetches
from dingbridge.work_queue import ORDINARY, WorkQueue

fetches: Final = WorkQueue(approval_fetches, lease_s=300)


async def fetch_later(
    tx: Transaction,
    key: dict[str, str],
    app: str,
    *,
    after_s: float,
    priority: int = ORDINARY,
    once: bool = False,
    **values: Any,
) -> None:
    """Queue a fetch of the instance ``key`` by ``app`` in ``after_s`` s; ``values`` of ``approval_fetches``.
    ``once``: not if it was queued before, however that ended."""
    at_ms = fetches.now_ms() + round(after_s * 1000)
    new = tx.insert(approval_fetches).values(**key, **values, app=app, due_ms=at_ms, priority=priority)
    if once:
        await tx.execute(new.on_conflict_do_nothing())
        return
    again = {"looks": 0, **values, **fetches.due(priority, at_ms)}
    await tx.execute(new.on_conflict_do_update(index_elements=list(key), set_=again))
