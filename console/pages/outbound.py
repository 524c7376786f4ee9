"""Outbound: what the OA wants in DingTalk and is not done yet, and what an operator can release."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from sqlalchemy.exc import DBAPIError

from dingbridge import DependencyUnavailable
from dingbridge.console.access.middleware import USER
from dingbridge.console.acts import Act
from dingbridge.console.app import Console, Role, require
from dingbridge.console.commands import object_in
from dingbridge.console.outbound_choice import ACT_OF, MOST_ROWS, Choice, nameable, row_text
from dingbridge.console.page import page_number
from dingbridge.console.pages.acts import to_confirm
from dingbridge.consumers.outbound import waiting
from dingbridge.worker.registry import UnknownConsumer, check_installed
from dingbridge.worker.store.errors import is_missing_table

CONSUMER: Final = "outbound"
PER_PAGE: Final = 100


def routes(console: Console) -> list[web.RouteDef]:
    database = console.settings.own_database_of(CONSUMER)

    async def show(request: web.Request) -> web.Response:
        try:
            check_installed(CONSUMER)
            reader = console.databases.reader(CONSUMER)
            counts = await waiting.counts(reader)
            state = _state(request.query.get("state", ""), counts)
            page = page_number(request)
            part = {"limit": PER_PAGE, "offset": (page - 1) * PER_PAGE}
            if state == "requests":
                entries = await waiting.requests(reader, **part)
            else:
                entries = await waiting.entities(reader, waiting.STATES[state], **part)
        except UnknownConsumer:
            return await problem(request, "not_installed")
        except DependencyUnavailable as error:
            return await problem(request, "no_database", error.reason)
        except DBAPIError as error:
            if is_missing_table(error):
                return await problem(request, "no_tables")
            return await problem(request, "no_database", type(error.orig).__name__)
        return await console.page(
            request,
            "outbound.html",
            problem=None,
            words="",
            counts=counts,
            state=state,
            act=ACT_OF.get(state),
            entries=[{**entry, "row": _named(entry)} for entry in entries],
            page=page,
            more=page * PER_PAGE < counts[state],
            most=MOST_ROWS,
        )

    async def problem(request: web.Request, key: str, words: str = "") -> web.Response:
        shown = words if request[USER].role >= Role.READER else ""
        return await console.page(request, "outbound.html", problem=key, words=shown)

    async def count(request: web.Request) -> web.Response:
        require(request, Role.OPERATOR)
        form = await request.post()
        choice = Choice.of(form)
        if form.get("which") == "selected" and not choice.rows:
            raise web.HTTPBadRequest(text="nothing is selected; go back and tick some")
        if not choice.rows:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            choice = replace(choice, until=now)
        counted = await console.commands.run(request, choice.command(dry_run=True, database=database))
        found = int(object_in(counted.output).get("matching", 0))
        act = Act(
            choice.act,
            CONSUMER,
            choice.command(count=found, database=database),
            f"/outbound?state={choice.state}",
            counted,
            until=choice.until,
        )
        raise to_confirm(console.acts.keep(request[USER].name, act))

    return [
        web.get("/outbound", show),
        web.post("/outbound/count", count),
    ]


def _state(wanted: str, counts: dict[str, int]) -> str:
    """The one that is asked for, else the first in which something waits."""
    return wanted if wanted in counts else next((name for name, count in counts.items() if count), "removal")


def _named(entry: dict[str, Any]) -> str | None:
    """How the form names it; None where no command can, or none is for it."""
    if "request" in entry or not nameable(entry["id"]):
        return None
    return row_text((entry["corpId"], entry["kind"], entry["id"]))
