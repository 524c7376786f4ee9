"""``dingbridge consumers``: which consumers are installed, and the revisions of their tables."""

import typer

from dingbridge.cli.consumers.listing import listing
from dingbridge.cli.consumers.migrate import migrate

command = typer.Typer(invoke_without_command=True)
command.callback()(listing)
command.command()(migrate)
