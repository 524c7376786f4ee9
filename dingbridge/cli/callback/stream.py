"""``dingbridge callback show`` of an app in Stream mode: the connections that the running ingress has open.

Nothing is registered by API then: the console of DingTalk has the mode and the events, and no API tells them.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

from dingbridge.cli.callback.check import told
from dingbridge.cli.callback.registration import NOTE

if TYPE_CHECKING:
    from dingbridge.cli.callback.target import ApiTarget


async def show(to: "ApiTarget", wanted: Iterable[str]) -> bool:
    """Say it; ``wanted`` are the EventTypes that consumers read. Whether a connection is open. Raises
    ``ApiError`` when DingTalk does not say what is registered."""
    from dingbridge.dingtalk.errors import CallbackMissing

    typer.echo("mode         stream")
    status = await _status(to.admin, to.app.name)
    if isinstance(status, str):
        typer.echo(f"connections  NOT known: {status}")
        connections = 0
    else:
        connections, last_s = status["connections"], status["last_frame_s"]
        reason = status["refused"] or "they are being opened"
        typer.echo(f"connections  {f'{connections} open' if connections else f'NONE open: {reason}'}")
        typer.echo(f"last frame   {'none yet' if last_s is None else f'{last_s:.0f} s ago'}")
        typer.echo(f"events       {status['events']} since the ingress started")
    typer.echo("To tick in DingTalk's console under event subscription (事件订阅), with Stream chosen:")
    for event_type in sorted(wanted):
        typer.echo(f"  {event_type}")
    async with to.client() as client:
        try:
            url = (await client.get_call_back()).url
        except CallbackMissing:
            return connections > 0
    typer.echo(
        f"{NOTE}{url} is registered by API too; what DingTalk does then is not documented. Delete it: "
        "dingbridge callback delete"
    )
    return connections > 0


async def _status(admin: str, app: str) -> dict[str, Any] | str:
    """What the ingress at ``admin`` (``host:port``) tells at ``/stream``; in words why it is not known."""
    try:
        status: dict[str, Any] | None = (await told(admin, "/stream"))["apps"].get(app)
    except (LookupError, TypeError, AttributeError):
        return f"no ingress tells it at {admin} (ADMIN_HOST, ADMIN_PORT); start it"
    if status is None:
        return f"the ingress of {admin} was started without this app in Stream mode; start it again"
    return status
