"""See the package."""

import typer

from dev.schemas import check, propose
from dev.schemas.files import write

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("check")(check.command)
app.command("propose")(propose.command)


@app.callback(invoke_without_command=True)
def generate(ctx: typer.Context) -> None:
    """Write everything that is made of the catalogue."""
    if ctx.invoked_subcommand is None:
        print("\n".join(write()) or "nothing has changed")


if __name__ == "__main__":
    app()
