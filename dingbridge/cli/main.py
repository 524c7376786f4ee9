"""The ``dingbridge`` command: one module for each group of commands, imported only when it is used.

This is the only part of ``bridge`` that stands above the other packages.
"""

import errno
import importlib
import os
import sys

import typer

from dingbridge.errors import BridgeError

COMMANDS = {
    "ingress": "Receive DingTalk's callbacks, keep them, publish them to Kafka.",
    "consume": "Run one consumer, or show what it has written.",
    "resync": "Read the whole company now, and make address-sync's tables equal to it.",
    "approvals": "Export archived approvals, list templates, call what their actions lack.",
    "callback": "Register this bridge's callback URL at DingTalk, or show what is registered.",
    "doctor": "Find out why callbacks do not arrive; says in plain words what to do.",
    "topics": "List, create and read the topics.",
    "dlq": "List a consumer's dead letters, show one, send them back, give one up.",
    "replay": "Send a range of time once more to one consumer.",
    "new-consumer": "Write a consumer of your own: handler, test, settings, service.",
    "recover": "Read DingTalk's list of failed pushes now, and publish what it holds.",
    "journal": "Look into the journal, and act on what is parked.",
    "simulator": "A stand-in for the DingTalk Open Platform, for trials and tests.",
    "demo": "The whole bridge on this machine, with a simulated company, for 1 minute.",
}
"""Name and one-line help of each command; ``bridge/cli/<name>.py`` (_ for -) has its function ``command``, or
for several commands an ``app`` (a ``typer.Typer``)."""

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
    for name, text in COMMANDS.items():
        if name != called:
            # enough for the list in --help: the module itself is imported only when it is called
            app.command(name, help=text)(lambda: None)
            continue
        module = importlib.import_module(f"dingbridge.cli.main.{name.replace('-', '_')}")
        if hasattr(module, "command"):
            app.command(name)(module.command)
        else:
            app.add_typer(module.app, name=name)
    return app


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
