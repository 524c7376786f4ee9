"""The commands of ``dingbridge outbound``."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Column, ColumnElement, Row, Table, and_, func, or_, select

from dingbridge import Transaction
from dingbridge.cli.terminal import Yes, confirmed, listed, moment, print_json, print_list, say
from dingbridge.consumers.outbound import waiting
from dingbridge.consumers.outbound.cli.planning import Planned, plan
from dingbridge.consumers.outbound.cli.support import read_messages
from dingbridge.consumers.outbound.cli.support import send as send_messages
from dingbridge.consumers.outbound.consumer import Outbound
from dingbridge.consumers.outbound.contacts.rows import make_due
from dingbridge.consumers.outbound.contacts.wanted import approve as approve_row
from dingbridge.consumers.outbound.contacts.wanted import release as release_row
from dingbridge.consumers.outbound.requests.restored import paused, resume, still_to_read
from dingbridge.consumers.outbound.requests.store import UNKNOWN, refetch_approvals
from dingbridge.consumers.outbound.requests.store import release as release_request
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.store import now_ms
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.errors import BridgeError
from dingbridge.settings import KafkaSettings
from dingbridge.work_queue import RECONCILE
from dingbridge.worker.opened import open_consumer

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Own ids of people and departments.", show_default="")]
ReleasedIds = Annotated[
    list[str] | None,
    typer.Argument(help="Own ids of people and departments, ids of requests.", show_default=""),
]
All = Annotated[bool, typer.Option("--all", help="All that `status` lists so.")]
OfKind = Annotated[str | None, typer.Option("--kind", help="Only these: user, department, approval or todo.")]
OfCorp = Annotated[str | None, typer.Option("--corp", help="Only of this company, by its corpId.")]
Until = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="TIME", help="Only what `status` has listed since before: ISO 8601, or 2h ago."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]

_KINDS = {outbound_entity: ("user", "department"), outbound_requests: ("approval", "todo")}
_ByHand = tuple[Table, ColumnElement[bool], Callable[[Transaction, Row[Any]], Awaitable[None]]]
"""Rows of a table, and what is done to each."""


class NobodyNamed(BridgeError):
    """The command got neither ids nor --all."""

    exit_code = 2


@app.command()
def send(file: Annotated[Path, typer.Argument(help="Messages: a JSON array, or an object a line.")]) -> None:
    """Send messages to the topic that outbound reads; all of them, or with a fault in one of them none.

    Each is a CloudEvent, or only its `type` (user.desired), `subject` (the own id) and `data`. Exit code 2:
    the file has faults, each is named; 1: Kafka does not answer.
    """
    messages = read_messages(file)
    settings = KafkaSettings.load()
    asyncio.run(send_messages(settings, messages))
    print(f"sent: {len(messages)}; the answers come to {settings.control_prefix}outbound-results")


@app.command("plan")
def plan_command(
    file: Annotated[
        Path | None,
        typer.Argument(help="Messages not sent yet.", show_default="all that is wanted"),
    ] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the values, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what would be written to DingTalk now, and write nothing: not there, and not here.

    Reads each entity once. An entity that needs no write is only counted. For a file outbound's tables are
    made where there are none. Exit code 2: the file has faults; 1: DingTalk or the database does not answer.
    """
    asyncio.run(_plan(file, reveal, as_json))


async def _plan(file: Path | None, reveal: bool, as_json: bool) -> None:
    messages = None if file is None else [message for message, _ in read_messages(file)]
    counts: Counter[str] = Counter()
    rows = []
    async with open_consumer(Outbound(), migrate=file is not None) as consumer:
        async for planned in plan(consumer, messages):
            counts[planned.op] += 1
            if planned.op != "nothing":
                rows.append(_shown(planned, reveal, as_json))
    print_list(("op", "kind", "id", "dingtalkId", "fields", "reason"), rows, as_json=as_json)
    say(", ".join(f"{op}: {count}" for op, count in sorted(counts.items())) or "nothing is wanted")


def _shown(planned: Planned, reveal: bool, as_json: bool) -> dict[str, Any]:
    fields: Any = list(planned.fields)
    if reveal:
        fields = {name: {"old": old, "new": new} for name, (old, new) in planned.fields.items()}
    return {
        "op": planned.op, "kind": planned.kind, "id": planned.own_id, "dingtalkId": planned.ding_id,
        "fields": fields if as_json else _in_words(planned, reveal), "reason": planned.reason,
    }  # fmt: skip


def _in_words(planned: Planned, reveal: bool) -> str:
    if not reveal:
        return ", ".join(planned.fields)
    return "; ".join(
        f"{name}: {json.dumps(old, ensure_ascii=False)} → {json.dumps(new, ensure_ascii=False)}"
        for name, (old, new) in planned.fields.items()
    )


@app.command()
def status(as_json: AsJson = False) -> None:
    """List what is pending, refused, in conflict or adopted, with what to do about it."""
    asyncio.run(_status(as_json))


async def _status(as_json: bool) -> None:
    async with _ledger() as consumer:
        reader = consumer.database.reader()
        lost = await paused(reader)
        entries = [*await waiting.entities(reader), *await waiting.requests(reader)]
    columns = ("kind", "id", "dingtalkId", "result", "reason", "code", "since", "words")
    print_list(columns, entries, as_json=as_json)
    counts = waiting.by_result(entries).items()
    say(", ".join(f"{name}: {count}" for name, count in counts) or "nothing waits")
    if lost is not None:
        say("paused since its database went back, nothing is written to DingTalk: dingbridge outbound resume")


@app.command()
def release(
    ids: ReleasedIds = None,
    all_: All = False,
    kind: OfKind = None,
    corp: OfCorp = None,
    state: Annotated[
        str | None, typer.Option(help="Only these: adopted, conflict, refused or unknown.")
    ] = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let outbound write what it holds back: adopted, in conflict, or refused. `plan` shows what that is.

    An adopted person belongs to the own id from then on. An own id whose person is gone, or may be somebody
    else by now, only gives them up. Whoever is found then is adopted, and waits for another release. Requests
    of unknown outcome, after the database went back, are searched in DingTalk first, and carried out if they
    are not there.
    """
    if state not in (None, *waiting.RELEASABLE, "unknown"):
        raise typer.BadParameter("adopted, conflict, refused or unknown", param_hint="--state")
    which, kinds = (ids, all_, kind, corp, until), [kind for of in _KINDS.values() for kind in of]
    by_hand: list[_ByHand] = []
    if state != "unknown":
        releasable = or_(*waiting.RELEASABLE.values()) if state is None else waiting.RELEASABLE[state]
        by_hand.append((outbound_entity, _chosen(releasable, *which, kinds=kinds), release_row))
    if state in (None, "unknown"):
        requested = _chosen(UNKNOWN, *which, table=outbound_requests, kinds=kinds)
        by_hand.append((outbound_requests, requested, release_request))
    _by_hand("released", by_hand, ids, dry_run, yes, as_json)


@app.command()
def approve(
    ids: Ids = None,
    all_: All = False,
    kind: OfKind = None,
    corp: OfCorp = None,
    state: Annotated[str | None, typer.Option(help="Only these: removal or update.")] = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Approve removals beyond OUTBOUND_MAX_REMOVALS and changes beyond OUTBOUND_MAX_UPDATES; `status` lists
    them as removal-approval and update-approval."""
    if state not in (None, *waiting.APPROVABLE):
        raise typer.BadParameter("removal or update", param_hint="--state")
    approvable = or_(*waiting.APPROVABLE.values()) if state is None else waiting.APPROVABLE[state]
    chosen = _chosen(approvable, ids, all_, kind, corp, until)
    _by_hand("approved", [(outbound_entity, chosen, approve_row)], ids, dry_run, yes, as_json)


def _chosen(
    which: ColumnElement[bool],
    ids: Sequence[str] | None,
    all_: bool,
    kind: str | None,
    corp: str | None,
    until: str | None,
    *,
    table: Table = outbound_entity,
    kinds: Sequence[str] = _KINDS[outbound_entity],
) -> ColumnElement[bool]:
    """The rows of ``table`` that the options name; ``--kind`` may be one of ``kinds``. Raises ``NobodyNamed``
    and ``typer.BadParameter``."""
    columns = table.c
    named = listed(list(ids or ()))
    if bool(named) == all_:
        raise NobodyNamed("say which: own ids, or --all; dingbridge outbound status lists them")
    if kind not in (None, *kinds):
        raise typer.BadParameter(" or ".join(kinds), param_hint="--kind")
    where = [which]
    if named:
        where.append(_id_of(table).in_(named))
    if kind is not None:
        where.append(columns.kind == kind)
    if corp is not None:
        where.append(columns.corp_id == corp)
    if until is not None:
        where.append(columns.result_ms < round(moment(until, "--until").timestamp() * 1000))
    return and_(*where)


def _by_hand(
    done: str,
    by_hand: Sequence[_ByHand],
    ids: Sequence[str] | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Raises ``typer.Exit`` for a no, and what ``confirmed`` does."""
    found = asyncio.run(_changed(by_hand, dry_run or not yes))
    if found and not (dry_run or yes):
        if not confirmed(f"{len(found)} of them to be {done}?", yes):
            say(f"nothing was {done}")
            raise typer.Exit(1)
        found = asyncio.run(_changed(by_hand, dry_run))
    for own_id in sorted(set(listed(list(ids or ()))) - set(found)):
        say(f"{own_id}: not one of those that dingbridge outbound status lists so")
    counts = {"matching": len(found), done: 0 if dry_run else len(found)}
    if as_json:
        print_json(counts)
    else:
        print(f"to be {done}: {len(found)}" if dry_run else f"{done}: {len(found)}")


async def _changed(by_hand: Sequence[_ByHand], dry_run: bool) -> list[str]:
    """Ids of the rows, which are changed unless it is a ``dry_run``, all in one transaction."""
    ids: list[str] = []
    async with _ledger() as consumer, consumer.database.transaction() as tx:
        for table, where, change in by_hand:
            rows = (await tx.execute(select(table).where(where).with_for_update())).all()
            ids += [row._mapping[_id_of(table)] for row in rows]
            for row in () if dry_run else rows:
                await change(tx, row)
    return ids


def _id_of(table: Table) -> Column[Any]:
    return table.c.own_id if table is outbound_entity else table.c.request_id


@app.command("resume")
def resume_command(yes: Yes = False) -> None:
    """After its database went back: let outbound write to DingTalk again, once it has read what came since.

    `status` first: requests that may have been carried out since wait there as `unknown`, for `release`.
    Exit code 1: something is still to be read; let the consumer run, and call this again.
    """
    print(asyncio.run(_resume(yes)))


async def _resume(yes: bool) -> str:
    async with _ledger() as consumer:
        database = consumer.database
        if (lost := await paused(database.reader())) is None:
            return "it is not paused"
        if left := await still_to_read(consumer.settings, consumer.name, lost):
            raise BridgeError(
                f"{left} record(s) are still to be read again, and may want something else; let "
                "`dingbridge consume outbound` run, and call this again"
            )
        unknown = select(func.count()).select_from(outbound_requests).where(UNKNOWN)
        waits = await database.reader().scalar(unknown)
        if not confirmed("Let outbound write to DingTalk again?", yes):
            return "it stays paused"
        async with database.transaction() as tx:
            await resume(tx)
    return f"resumed; {waits} request(s) of unknown outcome wait for `dingbridge outbound release`"


@app.command()
def reconcile(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Have the consumer compare everything with DingTalk and repair it, whatever events reported."""
    count = asyncio.run(_count_known() if dry_run else _reconcile())
    if as_json:
        print_json({"known": count, "due": 0 if dry_run else count})
    elif dry_run:
        print(f"to be compared: {count}")
    else:
        print(f"due now: {count}; dingbridge consume outbound does it, behind what people wait for")


def _ledger() -> AbstractAsyncContextManager[Outbound]:
    """The consumer with its database; nothing of it runs."""
    return open_consumer(Outbound(), api=False, migrate=False)


async def _count_known() -> int:
    async with _ledger() as consumer:
        reader = consumer.database.reader()
        return int(await reader.scalar(select(func.count()).select_from(outbound_entity)) or 0)


async def _reconcile() -> int:
    async with _ledger() as consumer, consumer.database.transaction() as tx:
        corps = await tx.execute(select(outbound_requests.c.corp_id).distinct())
        for row in corps.all():
            await refetch_approvals(tx, row.corp_id, now_ms())
        return await make_due(tx, priority=RECONCILE)
