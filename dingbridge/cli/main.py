"""The ``dingbridge`` command: finds the commands by their entry points, and loads the one that is called."""

import errno
import inspect
import os
import re
import sys
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.metadata import version as distribution_version
from typing import Annotated, Any

import typer

from dingbridge.errors import BridgeError

COMMANDS = {
    "ingress": "Receive DingTalk's callbacks, and publish them to Kafka.",
    "journal": "Look into the journal, and act on parked records.",
    "recover": "Read DingTalk's list of failed pushes now.",
    "consumers": "List the installed consumers, write revisions of their tables.",
    "consume": "Run one consumer, or show what it has written.",
    "resync": "Compare address-sync, or a Mirror, with DingTalk now.",
    "approvals": "Export archived approvals, list templates, resync.",
    "outbound": "Write people, approvals and to-dos to DingTalk; see results.",
    "dlq": "List a consumer's dead letters, and send them back.",
    "replay": "Send a range of time once more to one consumer.",
    "forget": "Delete the data of somebody who has left.",
    "topics": "List, create and read the topics.",
    "schema": "Compare what stands in the topics with the catalogue.",
    "callback": "Register this bridge's callback URL at DingTalk.",
    "status": "Is the bridge well? One screen, and what to do.",
    "doctor": "Find out why callbacks do not arrive.",
    "probe": "Try a real app, and report what will not work.",
    "new-consumer": "Write a consumer of your own.",
    "console": "One event's whole life on one page, for operators.",
    "simulator": "A stand-in for the DingTalk Open Platform, for trials.",
}
"""One line of help for each command of ours. Which commands there are, the entry points of ``GROUP`` say: a
function, or a ``typer.Typer`` with several commands. Another package's command shows where it comes from."""

GROUP = "dingbridge.commands"
OURS = "dingbridge"
"""The distribution whose commands no other package can replace."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ExtraMissing(BridgeError):
    """A command that needs packages which an extra would bring."""

    exit_code = 2


def _build(called: str | None) -> typer.Typer:
    app = typer.Typer(
        name="dingbridge",
        help="DingTalk (钉钉) event callbacks: made durable, answered at once, published to Kafka topics.",
        no_args_is_help=True,
        invoke_without_command=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # they print local variables, and with them secrets and payloads
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    found = _found()
    first = [name for name in COMMANDS if name in found]
    for name in (*first, *sorted(found.keys() - COMMANDS.keys())):
        entry = found[name]
        if name != called:
            # enough for the list in --help: the module itself is imported only when it is called
            line = COMMANDS[name] if _is_ours(entry) and name in COMMANDS else f"From {_package(entry)}."
            app.command(name, help=line)(lambda: None)
            continue
        command = _load(entry)
        if isinstance(command, typer.Typer):
            for one in (*command.registered_commands, command.registered_callback):
                if one is None:
                    continue
                one.help = _unwrapped(one.help or (one.callback and one.callback.__doc__))
            if command.registered_callback is None and _is_ours(entry) and name in COMMANDS:
                app.add_typer(command, name=name, help=COMMANDS[name])  # a group without a text of its own
            else:
                app.add_typer(command, name=name)
        else:
            app.command(name, help=_unwrapped(command.__doc__))(command)
    return app


def _unwrapped(text: str | None) -> str | None:
    """``text`` with one line for each paragraph. Typer keeps the line ends of all but the first paragraph;
    those fit our source, not the reader's terminal."""
    if text is None:
        return None
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        print(f"dingbridge {distribution_version(OURS)}")
        raise typer.Exit


def _found() -> dict[str, EntryPoint]:
    """The commands by name; of two with one name ours, else that of the first package in the alphabet."""
    points = sorted(entry_points(group=GROUP), key=lambda entry: (not _is_ours(entry), _package(entry)))
    return {entry.name: entry for entry in reversed(points)}


def _load(entry: EntryPoint) -> Any:
    """The command itself. Raises ``ExtraMissing``, and ``BridgeError`` for a module of somebody else's that
    cannot be loaded."""
    package = _package(entry)
    if missing := _missing(entry):
        raise ExtraMissing(
            f"{entry.name} needs {', '.join(missing)}: install {package}[{','.join(entry.extras)}], from the "
            f"wheel or index that {package} came from"
        )
    try:
        return entry.load()
    except BridgeError:
        raise
    except Exception as error:
        remedy = "repair or remove that package"
        if _is_ours(entry):
            if entry.module not in sys.modules or hasattr(sys.modules[entry.module], entry.attr):
                raise
            remedy = "the sources are newer than what is installed: install again (make install)"
        raise BridgeError(
            f"the command {entry.name} ({entry.value}) of {package} cannot be loaded "
            f"({type(error).__name__}); {remedy}. All other commands work"
        ) from error


def _missing(entry: EntryPoint) -> list[str]:
    """The distributions that the entry's extras need, and that are not installed."""
    if entry.dist is None or not entry.extras:
        return []
    extras = re.compile(rf"""extra == ["'](?:{"|".join(entry.extras)})["']""")
    needed = (requirement for requirement in entry.dist.requires or () if extras.search(requirement))
    names = (re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in needed)
    return [name for name in names if not any(distributions(name=name))]


def _is_ours(entry: EntryPoint) -> bool:
    return entry.dist is not None and entry.dist.name == OURS


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value


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


if __name__ == "__main__":
    main()
