"""A dry run: reads whatever a full sync would read, and writes nothing, not even what is due.

Its report names each person, department and field that would change, and no values.
"""

from collections import deque
from collections.abc import AsyncIterator, Collection
from typing import NamedTuple

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import NotFound, PermissionDenied
from dingbridge.mirror.engine import Engine
from dingbridge.mirror.entities import DEPARTMENT, USER, Entity
from dingbridge.mirror.full_sync import AT_ONCE, visible_scope
from dingbridge.worker.store.database import Database


class Difference(NamedTuple):
    """An entity that would change: the names of its fields, or ``new``, ``left_at`` and ``deleted_at``."""

    kind: str
    entity_id: str
    fields: tuple[str, ...]


async def dry_run(
    engine: Engine, database: Database, client: DingTalkClient, corp_id: str
) -> AsyncIterator[Difference]:
    """Compare the whole company. Raises ``ApiError``; what DingTalk refuses of one entity is left out."""
    found = {kind: dict.fromkeys(await _known(engine, database, corp_id, kind)) for kind in engine.kinds}
    async for name, an_id in _listed(engine, client, [int(one) for one in found.get(DEPARTMENT, ())]):
        if name in found:
            found[name][an_id] = None
    for name, ids in found.items():
        kind = engine.kinds[name]
        for an_id in ids:
            await engine.pace.turn()
            try:
                answer = await kind.read(client, an_id)
            except NotFound:
                answer = None
            except PermissionDenied as error:
                if error.about != "entity":
                    raise
                continue
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
    """Kind and id of whatever DingTalk lists, also in the departments that are ``known``."""
    chosen = engine.full_sync.chosen
    roots, people = chosen.starts(await visible_scope(client))
    for userid in people:
        yield USER, userid
    waiting = deque(dict.fromkeys([*roots, *known]))
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
        except NotFound:  # deleted since its parent was read
            continue
        except PermissionDenied as error:
            if error.about != "entity":
                raise
