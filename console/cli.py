"""``dingbridge console``: serve the pages, or name who may see them."""

import sys
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=False)


@app.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Serve the console: find an event, see its outcomes, send dead letters back.

    All settings come from the environment (docs/reference/settings.md). It needs a user first:
    `dingbridge console set-password NAME --role operator`. Ends at SIGTERM or Ctrl-C. Exit code 2: settings;
    1: an address or a file cannot be used.
    """
    if context.invoked_subcommand is not None:
        return
    import uvloop

    from dingbridge.console.app import open_console
    from dingbridge.console.server import run
    from dingbridge.console.settings import ConsoleSettings
    from dingbridge.logging import configure_logging

    settings = ConsoleSettings.load()
    configure_logging(settings)
    uvloop.run(run(open_console(settings)))


@app.command("set-password")
def set_password(
    name: Annotated[str, typer.Argument(help="The user: 1 to 64 of A-Z a-z 0-9 . _ @ -")],
    role: Annotated[
        str, typer.Option(help="viewer (values masked), reader, or operator (may act). A new user's: viewer.")
    ] = "",
) -> None:
    """Add a user, or give one another password or role. A console that runs takes it at once.

    The password is asked for; in a pipe it is the first line of standard input.
    """
    from dingbridge.console.access.users import UsersFile, check_name, role_of
    from dingbridge.console.settings import ConsoleSettings

    settings = ConsoleSettings.load()
    chosen = role_of(role) if role else None
    check_name(name)
    if sys.stdin.isatty():
        password = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    user = UsersFile(settings.users_file).set_password(name, password, chosen)
    print(f"{user.name} is {user.role.name.lower()} in {settings.users_file}")


@app.command("set-role")
def set_role(
    name: Annotated[str, typer.Argument(help="A unionid of DingTalk's, or a user who has a password.")],
    role: Annotated[str, typer.Option(help="viewer (values masked), reader, or operator (may act).")],
) -> None:
    """Let somebody in by DingTalk's login, or give any user another role; it holds at once.

    Whoever tries to log in by DingTalk and is not known yet is shown their unionid. To take somebody out,
    delete their entry in console-users.toml.
    """
    from dingbridge.console.access.users import UsersFile, role_of
    from dingbridge.console.settings import ConsoleSettings

    settings = ConsoleSettings.load()
    user, has_password = UsersFile(settings.users_file).set_role(name, role_of(role))
    way = "a password" if has_password else "DingTalk"
    print(f"{user.name} is {user.role.name.lower()} in {settings.users_file}, and logs in by {way}")
