"""The command: looks, refuses who is still wanted, reports, asks, forgets."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from dingbridge.cli.forget.company import apps_with_credentials, company_of, still_there
from dingbridge.cli.forget.databases import Had, forget, look
from dingbridge.cli.forget.elsewhere import Left, elsewhere
from dingbridge.cli.terminal import AsJson, DryRun, Yes, confirmed, print_json, print_list, say
from dingbridge.errors import BridgeError
from dingbridge.logging import configure_logging
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.outcomes import DependencyUnavailable
from dingbridge.worker.store.forgetting import Person

REFUSED = 3
COLUMNS = ("store", "what", "rows", "now", "until")


def command(
    userid: Annotated[str, typer.Argument(help="DingTalk's userid of somebody who has left.")],
    corp: Annotated[
        str | None,
        typer.Option("--corp", help="The company's corpId.", show_default="as the settings have it"),
    ] = None,
    dry_run: DryRun = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Even if DingTalk still has the person or does not answer, or the OA wants them."
        ),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete what the consumers' databases have of somebody who has left, or mask it where others took part;
    and list what other stores have, and when it is deleted there.

    The report comes first, then the question. Markers stay, so that old events do not bring the person back;
    somebody hired again under the same userid comes back. One transaction for each consumer: if it fails, run
    it again. Exit code 1: a database did not answer; 2: settings; 3: refused, since the person is still in
    DingTalk, or the OA wants them there.
    """
    if not userid or userid != userid.strip():  # an empty one stands in every text
        raise typer.BadParameter("is empty, or has blanks around it", param_hint="USERID")
    raise typer.Exit(asyncio.run(_forget(userid, corp, dry_run, force, yes, as_json)))


async def _forget(userid: str, corp: str | None, dry_run: bool, force: bool, yes: bool, as_json: bool) -> int:
    settings = ConsumerSettings.load()
    configure_logging(settings)
    apps = apps_with_credentials(settings)
    person = Person(corp or company_of(settings, apps), userid)
    there = await still_there(settings, apps, person.corp_id, userid)
    had = await look(settings, person)
    wanted = [f"{one.consumer}: {one.found.wanted}" for one in had if one.found and one.found.wanted]
    refused = [*([there] if there else []), *wanted]
    left = list(elsewhere(settings))
    failed = [one for one in had if one.failed]
    stopped = bool(refused or failed) and not force
    done = False
    if not as_json:
        print_list(COLUMNS, _rows(had, left, done=False), as_json=False)
    for words in (*refused, *(f"{one.consumer}: {one.why}" for one in failed)):
        say(words)
    if not (dry_run or stopped) and confirmed(f"Forget {userid} of {person.corp_id}?", yes):
        try:
            had, done = [*await forget(settings, person, had), *(one for one in had if not one.found)], True
        except DependencyUnavailable as error:
            raise BridgeError(f"{error.reason}. What is done stays done: run it again") from error
    if as_json:
        rows = list(_rows(had, left, done=done))
        said = {"corpId": person.corp_id, "userid": userid, "refused": refused, "done": done}
        print_json({**said, "stores": rows})
    what = f"{userid} is forgotten; the rest is deleted as listed" if done else "nothing was changed"
    say(f"{what}{'; --force does it all the same' if stopped and not dry_run else ''}")
    return 1 if failed else REFUSED if stopped else 0


def _rows(had: Sequence[Had], left: Sequence[Left], *, done: bool) -> Iterator[dict[str, Any]]:
    deleted, masked = ("deleted", "masked") if done else ("to be deleted", "to be masked")
    for one in had:
        if one.found is None:
            yield _row(one.consumer, one.why, None, "nothing", None)
            continue
        counts = [
            *((table, rows, deleted) for table, rows in one.found.deleted.items()),
            *((table, rows, masked) for table, rows in one.found.masked.items()),
            *([("files", len(one.found.files), deleted)] if one.found.files else []),
        ]
        for table, rows, now in counts:
            if rows:
                yield _row(one.consumer, table, rows, now, None)
        for words in one.found.stays:
            yield _row(one.consumer, words, None, "stays", None)
        if not one.found.stays and not any(rows for _, rows, _ in counts):
            yield _row(one.consumer, "nothing of the person", 0, "nothing", None)
    for other in left:
        yield _row(other.store, other.what, None, "stays", other.until)


def _row(store: str, what: str, rows: int | None, now: str, until: str | None) -> dict[str, Any]:
    return dict(zip(COLUMNS, (store, what, rows, now, until), strict=True))
