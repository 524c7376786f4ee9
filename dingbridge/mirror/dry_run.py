"""A dry run: reads whatever a full sync would read, and writes nothing, not even what is due.

Its report names each person, department and field that would change, and no values.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Collection
from typing import Final, NamedTuple

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import ApiError, NotFound, PermissionDenied
from dingbridge.mirror.engine import Engine
from dingbridge.mirror.entities import DEPARTMENT, LISTING, USER, Entity
from dingbridge.mirror.full_sync import AT_ONCE, visible_scope
from dingbridge.work_queue import whose
from dingbridge.worker.store.database import Database

_TRIES: Final = 3
"""The reads of an entity that fails, the others in between; and the entities in a row that end a dry run."""


class Difference(NamedTuple):
    """An entity that would change: the names of its fields, or ``new``, ``left_at`` and ``deleted_at``; none
    of one that could not be read."""

    kind: str
    entity_id: str
    fields: tuple[str, ...]


class _Failures:
    """The reads that failed."""

    def __init__(self) -> None:
        self._of = Counter[str]()
        self._in_a_row = 0

    def answered(self) -> None:
        self._in_a_row = 0

    def is_tried_again(self, an_id: str, error: ApiError) -> bool:
        """Return whether to read ``an_id`` again later. Raises ``error`` where it concerns all, or where so
        many fail in a row that it may."""
        self._of[an_id] += 1
        self._in_a_row += self._of[an_id] == 1
        if whose(error) is False or self._in_a_row == _TRIES:
            raise error
        return self._of[an_id] < _TRIES


async def dry_run(
    engine: Engine, database: Database, client: DingTalkClient, corp_id: str
) -> AsyncIterator[Difference]:
    """Compare the whole company. Raises ``ApiError``; what DingTalk refuses of one entity is left out."""
    found = {kind: dict.fromkeys(await _known(engine, database, corp_id, kind)) for kind in engine.kinds}
    async for name, an_id in _listed(engine, client, [int(one) for one in found.get(DEPARTMENT, ())]):
        if name in found:
            found[name][an_id] = None
        elif name == LISTING:
            yield Difference(name, an_id, ())
    for name, ids in found.items():
        kind, failures, left = engine.kinds[name], _Failures(), deque(ids)
        while left:
            an_id = left.popleft()
            await engine.pace.turn()
            try:
                answer = await kind.read(client, an_id)
            except NotFound:
                answer = None
            except ApiError as error:
                if isinstance(error, PermissionDenied) and error.about == "entity":
                    continue
                if failures.is_tried_again(an_id, error):
                    left.append(an_id)
                else:
                    yield Difference(name, an_id, ())
                continue
            failures.answered()
            entity = Entity(corp_id, name, an_id)
            async with database.transaction() as tx:
                if answer is None and not await kind.here(tx, corp_id, [an_id]):
                    continue
                fields = await kind.differences(tx, entity, answer)
            if fields:
                yield Difference(name, an_id, tuple(fields))


async def _known(engine: Engine, database: Database, corp_id: str, kind: str) -> list[str]:
    ids: list[str] = []
    while (chosen := engine.kinds[kind].known(corp_id, ids[-1] if ids else "", AT_ONCE)) is not None:
        more = [row[0] for row in await database.reader().execute(chosen)]
        if not more:
            break
        ids += more
    return ids


async def _listed(
    engine: Engine, client: DingTalkClient, known: Collection[int]
) -> AsyncIterator[tuple[str, str]]:
    """Kind and id of whatever DingTalk lists, also in the departments that are ``known``; and of each
    department that could not be listed."""
    chosen = engine.full_sync.chosen
    roots, people = chosen.starts(await visible_scope(client))
    for userid in people:
        yield USER, userid
    waiting, failures = deque(dict.fromkeys([*roots, *known])), _Failures()
    seen = set(waiting)
    while waiting:
        dept_id = waiting.popleft()
        yield DEPARTMENT, str(dept_id)
        await engine.pace.turn()
        try:
            for child in await client.sub_departments(dept_id) or ():
                below = child.get("dept_id")
                if isinstance(below, int) and below > 0 and below not in seen:
                    seen.add(below)
                    if chosen.named(below) is False:
                        continue
                    waiting.append(below)
            async for user in client.department_users(dept_id):
                if isinstance(userid := user.get("userid"), str):
                    yield USER, userid
            failures.answered()
        except NotFound:  # deleted since its parent was read
            continue
        except ApiError as error:
            if isinstance(error, PermissionDenied) and error.about == "entity":
                continue
            if failures.is_tried_again(str(dept_id), error):
                waiting.append(dept_id)
            else:
                yield LISTING, str(dept_id)
