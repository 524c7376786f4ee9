"""``dingbridge forget``: takes somebody who has left out of the consumers' databases."""

from dingbridge.cli.forget.command import command

__all__ = ["command"]
