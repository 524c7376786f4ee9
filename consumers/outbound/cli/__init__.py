"""``dingbridge outbound``: send desired states and requests to DingTalk, and see the results."""

from dingbridge.consumers.outbound.cli.commands import app

__all__ = ["app"]
