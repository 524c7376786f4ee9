"""``dingbridge new-consumer``: a consumer of your own, that runs and is tested at once."""

import json
import shlex
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from urllib.request import url2pathname

import typer

from dingbridge.cli.new_consumer.names import check
from dingbridge.cli.new_consumer.project import clone_at, in_clone
from dingbridge.cli.new_consumer.project import own_repository as own
from dingbridge.cli.terminal import listed
from dingbridge.events.examples import example_callbacks
from dingbridge.worker.registry import GROUP


def command(
    name: Annotated[str, typer.Argument(help="As billing or leave-ledger; its consumer group, too.")],
    events: Annotated[
        list[str],
        typer.Option("--events", help="EventTypes that it reads, with commas."),
    ],
    own_repository: Annotated[
        Path | None,
        typer.Option("--own-repository", metavar="DIR", help="A project of its own in this new folder."),
    ] = None,
) -> None:
    """Write a consumer: handler, settings, a test with recorded events, compose service, entry point.

    Without --own-repository into the clone of dingbridge that this folder is in. Nothing that exists is
    overwritten. Exit code 2: the name or an EventType cannot be, or something is in the way.
    """
    names = check(name, listed(events), entry_points(group=GROUP).names)
    found = {event_type: example_callbacks(event_type) for event_type in names.events}
    if own_repository is None:
        plan = in_clone(clone_at(Path.cwd()), names, found)
        test = f"tests/unit/{names.module}"
        following = f"make install && .venv/bin/python -m pytest {test}"
    else:
        plan = own(own_repository, names, found)
        following = (
            f"cd {shlex.quote(str(own_repository))} && python3 -m venv .venv && "
            f".venv/bin/pip install {_dingbridge()} -e '.[test]' && .venv/bin/python -m pytest"
        )
    plan.write()
    for path in plan.new:
        print(f"wrote      {path.relative_to(plan.root)}")
    for path in plan.changed:
        print(f"changed    {path.relative_to(plan.root)}")
    for event_type, callbacks in found.items():
        print(f"events     {len(callbacks)} of {event_type}")
    for step in plan.by_hand:
        print(f"by hand    {step}")
    print(f"next       {following}")
    print("to run it  docker compose up --build --detach (without --build an older image is run)")


def _dingbridge() -> str:
    """What pip installs this dingbridge from: a clone, a wheel, a git address, or its name in an index."""
    known = json.loads(distribution("dingbridge").read_text("direct_url.json") or "{}")
    if "vcs_info" in known:
        return f"'dingbridge @ {known['vcs_info']['vcs']}+{known['url']}@{known['vcs_info']['commit_id']}'"
    if known.get("url", "").startswith("file://"):
        return shlex.quote(url2pathname(urlsplit(known["url"]).path))
    return f"dingbridge=={distribution('dingbridge').version}"
