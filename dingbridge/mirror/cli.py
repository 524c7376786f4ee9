"""``dingbridge resync``: read the whole company now, and make the tables of address-sync, or of another
``Mirror``, equal to it. It is the consumer's full sync, whose entities this process reads, too; the consumer
may be running meanwhile."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Annotated

import typer

from dingbridge.cli.terminal import progress, say
from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.mirror.dry_run import dry_run
from dingbridge.mirror.engine import Engine
from dingbridge.mirror.entities import COMPANY
from dingbridge.mirror.mirror import Mirror
from dingbridge.mirror.withheld import WITHHELD
from dingbridge.tasks import end
from dingbridge.worker.context import Reader
from dingbridge.worker.opened import open_consumer
from dingbridge.worker.registry import load_consumer

STOPPED = 3
"""Exit code when people wait beyond the limit of leavers."""

_TRIES = 3
"""The command waits for so many failures of an entity, while others of its kind are answered."""

_LOOK_S = 0.2
_ALL = 100_000_000
_KEPT = "What is to be read is kept: the running consumer goes on, and so does the same command."


def command(
    consumer: Annotated[str, typer.Argument(help="address-sync, or a Mirror of your own.")] = "address-sync",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read, print what would change, and change nothing.")
    ] = False,
    confirm_leavers: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="So many people did leave: mark them, beyond MAX_LEAVERS."),
    ] = None,
) -> None:
    """Read the company from DingTalk and make the consumer's tables equal to it.

    Each person and department is read by id; whoever is new is written early, from listings. An interrupted
    sync goes on where it was; the consumer may be running meanwhile. Exit code 0: done, but for what has
    failed three times while others were read; 1: DingTalk or the database did not work; 2: settings; 3: more
    people are missing than MAX_LEAVERS allows, and wait.
    """
    found = load_consumer(consumer)
    if not issubclass(found, Mirror):
        raise SettingsError([f"consumer {consumer} is no Mirror, so it has nothing to compare with DingTalk"])
    try:
        code = asyncio.run(_resync(found(), dry_run, confirm_leavers))
    except KeyboardInterrupt:
        say(f"interrupted. {_KEPT}")
        code = 130
    raise typer.Exit(code)


async def _resync(mirror: Mirror, dry: bool, confirmed: int | None) -> int:
    async with open_consumer(mirror):
        corp_id = mirror.settings.required_company()
        if dry:
            return await _dry_run(mirror, corp_id)
        if confirmed is not None:
            return await _confirm(mirror, corp_id, confirmed)
        return await _sync(mirror, corp_id)


async def _dry_run(mirror: Mirror, corp_id: str) -> int:
    count = not_read = 0
    try:
        async for one in dry_run(mirror.engine, mirror.database, mirror.dingtalk, corp_id):
            count += bool(one.fields)
            not_read += not one.fields
            print(f"{one.kind} {one.entity_id}: {', '.join(one.fields) or 'could not be read'}")
    except ApiError as error:
        raise BridgeError(f"{error} Nothing was changed.") from error
    unknown = f"{not_read:,} could not be read, " if not_read else ""
    print(f"a dry run: {count:,} entities would change, {unknown}and nothing did")
    return 0


async def _confirm(mirror: Mirror, corp_id: str, count: int) -> int:
    """Mark whoever waits, if these are not more than ``count``."""
    leavers = mirror.engine.leavers
    waiting = await leavers.confirm(mirror.database, corp_id, count)
    if waiting > count:
        raise BridgeError(
            f"{waiting:,} people wait, and {count:,} were confirmed: nothing was changed. If all of them did "
            f"leave: dingbridge resync {mirror.name} --confirm-leavers {waiting}"
        )
    while await mirror.engine.loop.run_due():
        pass
    left = await leavers.confirmed(mirror.database.reader(), corp_id)
    print(f"confirmed: {waiting - left:,} people were read, and those who left are marked")
    if left:
        say(f"DingTalk gives no answer about {left:,} of them just now. {_KEPT}")
    return 1 if left else 0


async def _sync(mirror: Mirror, corp_id: str) -> int:
    engine, database = mirror.engine, mirror.database
    since = await engine.full_sync.open_since(database.reader(), corp_id)
    if since is None:
        async with database.transaction() as tx:
            await engine.full_sync.request(tx, mirror.settings.own_app, corp_id)
    else:
        say("goes on with the full sync that is open")
        async with database.transaction() as tx:
            await engine.entities.retry_run(tx, corp_id)
    failures, not_read = _Failures(engine, database.reader(), corp_id), 0
    work = asyncio.create_task(engine.loop.run())
    try:
        with progress(0, "reading the company") as bar:
            known, error = 0, engine.loop.gave_up_on
            while (since := await engine.full_sync.open_since(database.reader(), corp_id)) is not None:
                await asyncio.wait([work], timeout=_LOOK_S)
                if work.done():
                    work.result()
                failing, tried = await failures.count()
                left = await engine.entities.left_of_run(database.reader(), corp_id, _ALL)
                known = max(known, left)
                bar.update(known - left, known)
                before, error = error, engine.loop.gave_up_on
                others = left - failing.total() + failing[COMPANY]
                if error is not None and before is not None and others:  # nor did what was under way
                    raise BridgeError(f"{error} {_KEPT}")
                if not others and (error is not None or failing == tried):
                    await failures.check(failing, since)
                if failing and failing == tried and not others:
                    not_read = left
                    break
    finally:
        await end(work)
    return await _result(mirror, corp_id, not_read)


class _Failures:
    """What fails again and again in an open full sync, whichever process reads it."""

    def __init__(self, engine: Engine, db: Reader, corp_id: str) -> None:
        self._engine, self._db, self._corp_id = engine, db, corp_id
        self._failed_ms: defaultdict[tuple[str, str], set[int]] = defaultdict(set)

    async def count(self) -> tuple[Counter[str], Counter[str]]:
        """Return how many entities of each kind fail, and how many of these have ``_TRIES`` times. Where a
        kind gets no answer any more, one failure while others got theirs is enough."""
        failing, tried = Counter[str](), Counter[str]()
        for row in await self._engine.entities.failing_of_run(self._db, self._corp_id):
            failed_ms = self._failed_ms[row.kind, row.entity_id]
            failed_ms.add(row.failed_ms)
            own = row.attempts > 0 and self._engine.loop.gave_up_on is not None
            failing[row.kind] += 1
            tried[row.kind] += own or len(failed_ms) >= _TRIES
        return failing, tried

    async def check(self, kinds: Iterable[str], since_ms: int) -> None:
        """Raise ``BridgeError`` where DingTalk has answered about nothing of one of ``kinds``."""
        for kind in set(kinds) - await self._engine.entities.kinds_read(self._db, self._corp_id, since_ms):
            error = self._engine.loop.errors.get(kind, f"DingTalk gives no answer of the kind {kind}.")
            raise BridgeError(f"{error} {_KEPT}")


async def _result(mirror: Mirror, corp_id: str, not_read: int) -> int:
    """Print what this process wrote, what has failed again and again, and what else is in doubt."""
    written = mirror.engine.written
    for kind in mirror.engine.kinds:
        counts = [f"{written[kind, what]:,} {what}" for what in ("changed", "gone") if written[kind, what]]
        print(f"{kind}: {', '.join(counts) or 'nothing differs'}")
    reader, states = mirror.database.reader(), mirror.engine.entities
    counted = await states.in_states(reader, corp_id)
    if missing := counted["missing"]:
        print(
            f"{missing:,} are not known to DingTalk; they are read again for an hour, and then believed to "
            "be gone"
        )
    shown = f"dingbridge consume {mirror.name} --show"
    if not_read:
        print(f"{not_read:,} could not be read in several tries, and the consumer goes on with them: {shown}")
    if refused := counted["refused"]:
        print(f"{refused:,} could not be read, and stay as they were: {shown}")
    if withheld := counted[WITHHELD]:
        print(
            f"{withheld:,} answers lack fields that the tables have and keep; these are read again. If the "
            "app's right to them is withdrawn, look at its permissions on open-dev.dingtalk.com"
        )
    if waiting := counted["waits"]:
        print(
            f"{waiting:,} people are not known to DingTalk, beyond the limit of a day: nobody is marked as "
            f"left. If they did leave: dingbridge resync {mirror.name} --confirm-leavers {waiting}. If "
            "not, look at the app's contact scope and permissions on open-dev.dingtalk.com"
        )
    return STOPPED if waiting else 0
