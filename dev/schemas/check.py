"""``python -m dev.schemas check``: this contract against a former one.

Exit codes: 0 nothing breaks, or what breaks is announced by a new version; 1 something breaks; 2 there is
nothing to compare with.
"""

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dev.schemas.compare import Change, Contract, compare
from dev.schemas.files import ROOT
from dingbridge.cli.terminal import print_list, say

DOCUMENT, CATALOGUE = "asyncapi.json", "catalogue.json"


def command(
    against: Annotated[
        str,
        typer.Option(
            metavar="REF|FOLDER",
            help="The former contract: a folder with asyncapi.json (and catalogue.json), such as another "
            "release's `schemas`; or a git ref of the repository that you stand in, as `v1.2` or `main`.",
        ),
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="List what breaks nobody, too: new topics and fields.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Say which changes since a former contract break readers, and why.

    A reader of the former contract meets the records of this one: a new optional field or topic breaks
    nothing. Exit code 0: nothing breaks, or only under a new version; 1: something breaks; 2: there is
    nothing to compare with.
    """
    former = _from_folder(Path(against)) if Path(against).is_dir() else _from_git(against)
    changes = compare(former, _from_folder(ROOT / "schemas"))
    shown = [change for change in changes if everything or change.breaks]
    rows = [{**asdict(change), "verdict": _verdict(change)} for change in shown]
    if rows:
        print_list(("topic", "path", "words", "verdict", "why"), rows, as_json=as_json)
    breaks = [change for change in changes if change.breaks and not change.announced]
    announced = [change for change in changes if change.announced]
    harmless = len(changes) - len(breaks) - len(announced)
    say(
        f"since {against}: {len(breaks)} break(s), {len(announced)} under a new version, "
        f"{harmless} change(s) that break nobody"
    )
    if breaks:
        say(
            "what to do: take it back, or raise the version and warn the readers (docs/reference/contract.md)"
        )
        raise typer.Exit(1)


def _verdict(change: Change) -> str:
    if not change.breaks:
        return "ok"
    return "new version" if change.announced else "break"


def _from_folder(folder: Path) -> Contract:
    """``folder`` may be the repository, too."""
    for place in (folder, folder / "schemas"):
        document, catalogue = place / DOCUMENT, place / CATALOGUE
        if document.is_file():
            return _contract(document.read_bytes(), catalogue.read_bytes() if catalogue.is_file() else None)
    raise typer.BadParameter(f"{folder} holds no {DOCUMENT}", param_hint="--against")


def _from_git(ref: str) -> Contract:
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if commit is None:
        raise typer.BadParameter(
            f"{ref} is neither a folder nor a git ref of the repository here", param_hint="--against"
        )
    at = commit.decode().strip()
    document = _git("show", f"{at}:schemas/{DOCUMENT}")
    if document is None:
        raise typer.BadParameter(f"{ref} has no schemas/{DOCUMENT}", param_hint="--against")
    return _contract(document, _git("show", f"{at}:schemas/{CATALOGUE}"))


def _git(*arguments: str) -> bytes | None:
    """What git prints; ``None`` where it refuses, or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise typer.BadParameter("git is not installed; name a folder", param_hint="--against") from None
    return done.stdout if done.returncode == 0 else None


def _contract(document: bytes, catalogue: bytes | None) -> Contract:
    """Raises ``typer.BadParameter`` for what is no contract of ours."""
    try:
        subjects = None
        if catalogue is not None:
            events = json.loads(catalogue)["events"]
            subjects = {name: entry.get("subject") for name, entry in events.items()}
        parsed = json.loads(document)
        if not parsed["asyncapi"].startswith("3.") or "info" not in parsed:
            raise ValueError("not AsyncAPI 3")
        return Contract(parsed, subjects)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise typer.BadParameter(
            f"{DOCUMENT} there is no contract of ours ({type(error).__name__})", param_hint="--against"
        ) from None
