"""``dingbridge outbound``: say what DingTalk shall be, and see what becomes of it."""

from dingbridge.consumers.outbound.cli.commands import app

__all__ = ["app"]
