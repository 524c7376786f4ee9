"""``dingbridge consumers``: which consumers are installed, and the revisions of their tables."""

import typer

from dingbridge.cli.consumers.listing import listing
from dingbridge.cli.consumers.migrate import migrate

command = typer.Typer(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
)
command.callback()(listing)
command.command()(migrate)
