"""When a record came to this process, so that a fetch that began later can serve all that had come by then.

No clock: numbers, drawn in the order in which things happen within the process. The worker draws one for each
batch of records as it is fetched, and a handler finds it in ``ctx.fetch_sequence``; whoever fetches from
elsewhere draws one before.
"""

import itertools

_numbers = itertools.count(1)


def next_number() -> int:
    """The next number of this process: higher than every one before."""
    return next(_numbers)
