"""Now: the line from DingTalk to the systems, what of it waits for a person, and how the last day went."""

from typing import Any, Final

from aiohttp import web

from dingbridge.console.access.middleware import USER
from dingbridge.console.app import Console, Role
from dingbridge.console.index.trend import STEP_S, Trend
from dingbridge.console.line.drawing import curve, tall, wide
from dingbridge.console.line.part import WHERE, Part, State, Trouble, not_known, wrong
from dingbridge.console.line.today import GOAL, WITHIN_S
from dingbridge.console.render import language_of
from dingbridge.console.watch import EACH_S
from dingbridge.doctor.findings import Lang

LOOKS = {
    State.OK: "good",
    State.UNKNOWN: "unknown",
    State.DEGRADED: "warn",
    State.UNREACHABLE: "bad",
    State.STOPPED: "bad",
}
"""How the style sheet calls a state."""
ON_THE_LINE: Final = (
    *("dead_letters.waiting", "relay.parked", "relay.kafka", "relay.restarting", "relay.still"),
)
"""Findings of the doctor that the line itself shows, and sooner."""
CURVE: Final = (280, 48)
"""Width and height of a curve's drawing."""


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        console.doctor.wanted()
        view = console.watch.view()
        lang: Lang = "zh" if language_of(request) == "zh" else "en"
        is_reader = request[USER].role >= Role.READER
        found = [(one.code, *console.doctor.said(one, lang)) for one in console.doctor.findings]
        errors = [one.code for one in console.doctor.findings if console.doctor.is_error(one)]
        elsewhere = [one for one in found if one[0] in errors and one[0] not in ON_THE_LINE]
        return await console.page(
            request,
            "now.html",
            view=view,
            each_s=EACH_S,
            wrong=[shown_trouble(part, trouble, is_reader) for part, trouble in wrong(view.parts)],
            not_known=[shown_trouble(part, trouble, is_reader) for part, trouble in not_known(view.parts)],
            parts=[shown_part(part, is_reader) for part in view.parts],
            drawings={"wide": wide(view.parts), "tall": tall(view.parts)},
            looks=LOOKS,
            curves=_curves(console.watch.trend),
            curve_size=CURVE,
            today=console.watch.today,
            goal=GOAL,
            within_s=WITHIN_S,
            # a reader's: causes and remedies name addresses
            doctor=elsewhere[0] if elsewhere and is_reader else None,
            elsewhere=len(elsewhere),
            findings=found if is_reader else [],
            doctor_at=console.doctor.at,
            doctor_stopped=console.doctor.stopped,
            not_checked=[console.doctor.said(one, lang) for one in console.doctor.not_checked],
            errors=len(errors),
        )

    return [web.get("/", show)]


def shown_part(part: Part, is_reader: bool) -> dict[str, Any]:
    """A part as the templates show it, with its troubles."""
    troubles = [shown_trouble(part, trouble, is_reader) for trouble in part.troubles]
    return {"part": part, "state": part.state.word, "look": LOOKS[part.state], "troubles": troubles}


def shown_trouble(part: Part, trouble: Trouble, is_reader: bool) -> dict[str, Any]:
    """One trouble of a part as the templates show it; a process's own words are for readers.
    ``where`` is the page on which one acts, None where that is no page of the console."""
    where = WHERE.get(trouble.code)
    return {
        "part": part,
        "state": trouble.state.word,
        "look": LOOKS[trouble.state],
        "code": trouble.code,
        "text": trouble.text if is_reader else "",
        "since": trouble.since,
        "where": where and where.format(consumer=part.consumer),
        "given": {**trouble.values, "consumer": part.consumer},
    }


def _curves(trend: Trend | None) -> list[dict[str, Any]]:
    """``most`` is the largest value, and ``at`` when it was (the end of its step, epoch s)."""
    if trend is None:
        return []
    curves = []
    for name in ("rate", "freshness", "letters"):
        values: tuple[float | None, ...] = getattr(trend, name)
        known = [(value, step) for step, value in enumerate(values) if value is not None]
        most, step = max(known, default=(None, 0))
        at = trend.until - STEP_S * (len(values) - 1 - step)
        curves.append(
            {"name": name, "path": curve(values, *CURVE), "last": values[-1], "most": most, "at": at}
        )
    return curves
