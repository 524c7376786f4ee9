"""``dingbridge schema``: the contract of the topics, in the forms that other programs read."""

import typer

from dingbridge.schema import cli_check, cli_ddl, cli_publish

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)
app.command("check")(cli_check.command)
app.command("ddl")(cli_ddl.command)
app.command("publish")(cli_publish.command)
