"""Consumers: how far each is behind, what it waits for, and which keys are retried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from dingbridge.console.access.middleware import USER
from dingbridge.console.app import Console, Role
from dingbridge.console.line.window import Reading
from dingbridge.console.pages.now import shown_part
from dingbridge.console.watch import EACH_S, View
from dingbridge.kafka.group_lag import Group


@dataclass(frozen=True, slots=True)
class Shown:
    """One consumer. ``instances`` are the answers of its processes, none where it is not configured here;
    ``group`` has what it is behind, None where Kafka does not answer."""

    name: str
    parts: Sequence[dict[str, Any]]
    group: Group | None
    instances: Sequence[Reading]
    paused: Sequence[Mapping[str, Any]]
    records: Sequence[Mapping[str, Any]]
    in_flight: int


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        view = console.watch.view()
        is_reader = request[USER].role >= Role.READER
        names = dict.fromkeys(part.consumer for part in view.parts if part.consumer)
        consumers = [_shown(view, name, is_reader) for name in names]
        return await console.page(request, "consumers.html", view=view, each_s=EACH_S, consumers=consumers)

    return [web.get("/consumers", show)]


def _shown(view: View, name: str, is_reader: bool) -> Shown:
    instances = [reading for reading in view.readings if reading.name == name]
    answers = [reading.in_flight for reading in instances]
    return Shown(
        name,
        [shown_part(part, is_reader) for part in view.parts if part.consumer == name],
        view.groups.get(name),
        instances,
        [pause for answer in answers for pause in answer.get("paused", ())],
        [record for answer in answers for record in answer.get("records", ()) if record.get("outcome")],
        sum(answer.get("total", 0) for answer in answers),
    )
