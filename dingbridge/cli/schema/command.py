"""``dingbridge schema``: the contract of the topics, in the forms that other programs read."""

import typer

from dingbridge.cli.schema import catalogue, connect, ddl, drift, publish

app = typer.Typer(no_args_is_help=True)
app.command("list")(catalogue.list_types)
app.command("show")(catalogue.show)
app.command("drift")(drift.command)
app.command("connect")(connect.command)
app.command("ddl")(ddl.command)
app.command("publish")(publish.command)
