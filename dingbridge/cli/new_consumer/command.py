"""``dingbridge new-consumer``: a consumer of your own, that runs and is tested at once."""

from pathlib import Path
from typing import Annotated

import typer


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
    from importlib.metadata import entry_points

    from dingbridge.cli.new_consumer.names import check
    from dingbridge.cli.new_consumer.project import clone_at, in_clone
    from dingbridge.cli.new_consumer.project import own_repository as own
    from dingbridge.cli.new_consumer.samples import samples
    from dingbridge.cli.new_consumer.writing import write
    from dingbridge.cli.terminal import listed
    from dingbridge.worker.registry import GROUP

    names = check(name, listed(events), entry_points(group=GROUP).names)
    found = samples(names.events)
    if own_repository is None:
        plan = in_clone(clone_at(Path.cwd()), names, found)
        test = f"tests/unit/{names.module}"
        following = f"make install && .venv/bin/python -m pytest {test}"
    else:
        plan = own(own_repository, names, found)
        following = f"cd {own_repository} && pip install -e '.[test]' && python -m pytest"
    write(plan)
    for path in plan.new:
        print(f"wrote      {_short(path, plan.root)}")
    for path in plan.changed:
        print(f"changed    {_short(path, plan.root)}")
    for event_type, sampled in found.items():
        print(f"events     {len(sampled.callbacks)} of {event_type}, {sampled.origin}")
    for step in plan.by_hand:
        print(f"by hand    {step}")
    print(f"next       {following}")


def _short(path: Path, root: Path) -> Path:
    return path.relative_to(root)
