"""The ``dingbridge`` command: finds the commands by their entry points, and loads the one that is called."""

import errno
import os
import sys
from importlib.metadata import EntryPoint, entry_points

import typer

from dingbridge.errors import BridgeError

COMMANDS = {
    "ingress": "Receive DingTalk's callbacks, keep them, publish them to Kafka.",
    "journal": "Look into the journal, and act on what is parked.",
    "recover": "Read DingTalk's list of failed pushes now, and publish what it holds.",
    "consume": "Run one consumer, or show what it has written.",
    "resync": "Read the whole company now, and make address-sync's tables equal to it.",
    "approvals": "Export archived approvals, list templates, call what their actions lack.",
    "dlq": "List a consumer's dead letters, show one, send them back, give one up.",
    "replay": "Send a range of time once more to one consumer.",
    "topics": "List, create and read the topics.",
    "callback": "Register this bridge's callback URL at DingTalk, or show what is registered.",
    "doctor": "Find out why callbacks do not arrive; says in plain words what to do.",
    "new-consumer": "Write a consumer of your own: handler, test, settings, service.",
    "simulator": "A stand-in for the DingTalk Open Platform, for trials and tests.",
}
"""One line of help for each command of ours. Which commands there are, the entry points of ``GROUP`` say: a
function, or a ``typer.Typer`` with several commands. Another package's command shows where it comes from."""

GROUP = "dingbridge.commands"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _build(called: str | None) -> typer.Typer:
    app = typer.Typer(
        name="dingbridge",
        help="DingTalk (钉钉) event callbacks: made durable, answered at once, published to Kafka topics.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # they print local variables, and with them secrets and payloads
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    ours = [name for name in COMMANDS if name in found]
    for name in (*ours, *sorted(found.keys() - COMMANDS.keys())):
        entry = found[name]
        if name != called:
            # enough for the list in --help: the module itself is imported only when it is called
            app.command(name, help=COMMANDS.get(name) or _origin(entry))(lambda: None)
            continue
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _origin(entry: EntryPoint) -> str:
    return f"From {entry.dist.name if entry.dist else entry.value}."


def main() -> None:
    """Entry point. An error of ours is one plain text on standard error, without a traceback."""
    called = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), None)
    try:
        _run(called)
    except BridgeError as error:
        print(f"dingbridge: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # the reader of our output went away, as in `dingbridge topics read … | head`
        _drop_output()
        sys.exit(0)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _drop_output()
        print(
            f"dingbridge: the output cannot be written ({error.strerror}); make room on the disk, or write "
            "it elsewhere",
            file=sys.stderr,
        )
        sys.exit(1)


def _run(called: str | None) -> None:
    """Ends as typer ends it, by ``SystemExit``. Raises ``OSError`` for an output that takes no more."""
    try:
        _build(called)()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            raise ended.__context__ from None  # typer's exit code for it is the one of an error
        if not ended.code:
            sys.stdout.flush()  # not at the interpreter's end, where nobody could say why it failed
        raise


def _drop_output() -> None:
    """What is still to be written to standard output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
