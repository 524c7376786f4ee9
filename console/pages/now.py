"""Now: the line from DingTalk to the systems, each part with its state, and one sentence of what is wrong."""

from typing import Any

from aiohttp import web

from console.access.middleware import USER
from console.app import Console, Role
from console.line.model import Part, State, Trouble
from console.line.today import GOAL, WITHIN_S
from console.render import language_of
from console.watch import EACH_S
from dingbridge.doctor.findings import Lang

LOOKS = {
    State.OK: "good",
    State.UNKNOWN: "unknown",
    State.DEGRADED: "warn",
    State.UNREACHABLE: "bad",
    State.STOPPED: "bad",
}
"""How the style sheet calls a state."""


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        console.doctor.wanted()
        view = console.watch.view()
        lang: Lang = "zh" if language_of(request) == "zh" else "en"
        is_reader = request[USER].role >= Role.READER
        found = [(one.code, *console.doctor.said(one, lang)) for one in console.doctor.findings]
        errors = [one.code for one in console.doctor.findings if console.doctor.is_error(one)]
        return await console.page(
            request,
            "now.html",
            view=view,
            each_s=EACH_S,
            worst=view.worst and shown_part(view.worst, is_reader),
            parts=[shown_part(part, is_reader) for part in view.parts],
            today=console.watch.today,
            goal=GOAL,
            within_s=WITHIN_S,
            # a reader's: causes and remedies name addresses
            doctor=next((one for one in found if one[0] in errors), None) if is_reader else None,
            findings=found if is_reader else [],
            doctor_at=console.doctor.at,
            errors=len(errors),
        )

    return [web.get("/", show)]


def shown_part(part: Part, is_reader: bool) -> dict[str, Any]:
    """A part as the template shows it; what a process says in its own words is for readers."""
    trouble = part.trouble or Trouble(State.OK, "")
    return {
        "part": part,
        "state": part.state.word,
        "look": LOOKS[part.state],
        "code": trouble.code,
        "text": trouble.text if is_reader else "",
        "since": trouble.since,
        "given": {**trouble.values, "consumer": part.consumer},
    }
