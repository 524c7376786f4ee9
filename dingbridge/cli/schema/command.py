"""``dingbridge schema``: the contract of the topics, in the forms that other programs read."""

import typer

from dingbridge.cli.schema import check, connect, ddl, publish

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)
app.command("check")(check.command)
app.command("connect")(connect.command)
app.command("ddl")(ddl.command)
app.command("publish")(publish.command)
