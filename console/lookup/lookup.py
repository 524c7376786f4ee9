"""Asks the consumers' tables side by side, each for a moment only; names those that did not answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from sqlalchemy.exc import SQLAlchemyError

from dingbridge.console.lookup.hits import MOST_HITS, Hit, Kind
from dingbridge.console.lookup.people import find_departments, find_people
from dingbridge.console.lookup.requests import find_approvals, find_requests
from dingbridge.console.sources.databases import Databases
from dingbridge.errors import BridgeError
from dingbridge.worker.context import Reader
from dingbridge.worker.store.errors import is_missing_table

LIMIT_S: Final = 4.0
"""How long each consumer's database is waited for, in s; it ends a statement itself before that."""

ADDRESS_SYNC: Final = "address-sync"
APPROVAL: Final = "approval"
OUTBOUND: Final = "outbound"

NO_RIGHT: Final = "42501"
"""PostgreSQL's SQLSTATE of a table that this user may not read."""

Trouble = Literal["absent", "silent"]
"""``absent``: no database, no tables, or no right to read them. ``silent``: not answered in time."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """``more``: kinds of which there are more than are shown. ``troubles``: what could not be asked, by
    consumer. ``people``: whether people were looked for, by name or a title."""

    hits: tuple[Hit, ...] = ()
    more: frozenset[Kind] = frozenset()
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    people: bool = False


async def look_up(databases: Databases, terms: Sequence[str], *, people: bool) -> LookedUp:
    """What ``terms`` may mean; ``people`` and titles only for who may see them."""
    if not terms:
        return LookedUp()
    searches: list[tuple[str, Callable[[Reader], Awaitable[list[Hit]]]]] = [
        (ADDRESS_SYNC, partial(find_departments, terms=terms)),
        (APPROVAL, partial(find_approvals, terms=terms, by_title=people)),
        (OUTBOUND, partial(find_requests, terms=terms)),
    ]
    if people:
        searches.insert(0, (ADDRESS_SYNC, partial(find_people, terms=terms)))
    answers = await asyncio.gather(*(_asked(databases, consumer, search) for consumer, search in searches))
    troubles = {
        consumer: answer
        for (consumer, _), answer in zip(searches, answers, strict=True)
        if isinstance(answer, str)
    }
    found = [answer for answer in answers if not isinstance(answer, str)]
    return LookedUp(
        tuple(hit for hits in found for hit in hits[:MOST_HITS]),
        frozenset(hits[0].kind for hits in found if len(hits) > MOST_HITS),
        troubles,
        people,
    )


async def _asked(
    databases: Databases, consumer: str, search: Callable[[Reader], Awaitable[list[Hit]]]
) -> list[Hit] | Trouble:
    try:
        reader = databases.reader(consumer)
    except (BridgeError, OSError):
        return "absent"
    try:
        async with asyncio.timeout(LIMIT_S):
            return await search(reader)
    except SQLAlchemyError as error:
        no_right = getattr(getattr(error, "orig", None), "sqlstate", None) == NO_RIGHT
        return "absent" if no_right or is_missing_table(error) else "silent"
    except (BridgeError, OSError, TimeoutError):
        return "silent"
