"""``dingbridge new-consumer``: a consumer of your own, that runs and is tested at once."""

import shlex
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from dingbridge.cli.new_consumer.existing import into_project
from dingbridge.cli.new_consumer.names import check
from dingbridge.cli.new_consumer.project import clone_at, in_clone
from dingbridge.cli.new_consumer.project import own_repository as own
from dingbridge.cli.new_consumer.source import source_of
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
        typer.Option(
            "--own-repository",
            metavar="DIR",
            help="Outside of a clone: a project of its own in this new folder, or the project that is in it.",
        ),
    ] = None,
    package: Annotated[
        str, typer.Option("--package", help="In an existing project: the package to add it to.")
    ] = "",
    dingbridge: Annotated[
        str,
        typer.Option(
            "--dingbridge",
            metavar="WHEEL|INDEX-URL",
            help="What an own repository installs dingbridge from: its wheel file, or the address of your "
            "own package index; else what this one was installed from.",
        ),
    ] = "",
) -> None:
    """Write a consumer: handler, table with its first revision, settings, a test with recorded events,
    entry point, compose service, target of Prometheus.

    Without --own-repository it goes into the clone of dingbridge that this folder is in. An existing project
    keeps all it has: its pyproject.toml gets an entry point and pytest's plugin; what cannot be added there
    is listed (`by hand`). Nothing is overwritten. Exit code 2: the name or an EventType is not valid, or a
    file is in the way.
    """
    names = check(name, listed(events), entry_points(group=GROUP).names)
    found = {event_type: example_callbacks(event_type) for event_type in names.events}
    if own_repository is None:
        plan = in_clone(clone_at(Path.cwd()), names, found)
        test = f"tests/unit/{names.module}"
        following = f"make install && .venv/bin/python -m pytest {test}"
    else:
        source = source_of(dingbridge)
        folder = shlex.quote(str(own_repository))
        if (own_repository / "pyproject.toml").is_file():
            plan = into_project(own_repository.resolve(), names, found, source, package)
            [test] = {
                str(path.parent.relative_to(plan.root)) for path in plan.new if path.name.startswith("test_")
            }
            ready = {
                "": f"pip install {source.pip} -e . pytest pytest-asyncio &&",
                "poetry": "poetry install && poetry run",
                "uv": "uv run",
            }
            following = f"cd {folder} && {ready[plan.tool]} python -m pytest {shlex.quote(test)}"
        else:
            plan = own(own_repository, names, found, source)
            following = (
                f"cd {folder} && python3 -m venv .venv && "
                f".venv/bin/pip install {source.pip} -e '.[test]' && .venv/bin/python -m pytest"
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
    if any(path.name.startswith("docker-compose") for path in (*plan.new, *plan.changed)):
        print("to run it  docker compose up --build --detach (without --build an older image is run)")
