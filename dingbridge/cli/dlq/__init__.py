"""``dingbridge dlq``: a consumer's dead letters."""

from dingbridge.cli.dlq.command import app

__all__ = ["app"]
