"""When a record came to this process, so that a fetch that began later can serve all that had come by then.

No clock: tickets, drawn in the order in which things happen within the process. The worker draws one for each
record as it is fetched, and ``prepare`` finds it in ``arrived``; whoever fetches draws one before.
"""

import itertools
from contextvars import ContextVar

_tickets = itertools.count(1)

arrived: ContextVar[int | None] = ContextVar("arrived", default=None)
"""The ticket of the record that is being handled; None where nobody drew one."""


def ticket() -> int:
    """The next ticket: higher than every one before."""
    return next(_tickets)
