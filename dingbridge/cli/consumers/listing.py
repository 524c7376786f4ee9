"""The list of consumers: what each reads, and how it works."""

from types import SimpleNamespace
from typing import Any

import typer

from dingbridge.cli.terminal import AsJson, print_list, say
from dingbridge.errors import SettingsError
from dingbridge.settings import ConsumerLimits
from dingbridge.worker.registry import Installed, installed_consumers

COLUMNS = ("name", "events", "concurrency", "attempts", "delays", "time limit", "from")


def listing(
    context: typer.Context,
    as_json: AsJson = False,
) -> None:
    """The installed consumers with the EventTypes and control topics that they read, their limits in this
    environment, and the package that they come from.

    `<NAME>_CONCURRENCY`, `_MAX_ATTEMPTS`, `_RETRY_FIRST_S`, `_RETRY_MAX_S` and `_HANDLER_TIMEOUT_S` override
    the class, as BILLING_CONCURRENCY. A consumer that cannot be loaded is listed with the reason. forward is
    listed once for each system that FORWARD_FILE declares, as forward-crm.
    """
    if context.invoked_subcommand is not None:
        return
    problems, rows = [], []
    for one in installed_consumers():
        columns = ("name", "events") if as_json else COLUMNS
        rows.append(row := {**dict.fromkeys(columns), "name": one.name, "from": one.package})
        problem = one.problem
        try:
            row |= _of_class(one, as_json)
        except SettingsError as error:
            problem = str(error)
        if as_json:
            row["problem"] = problem
        problems += [problem] if problem is not None else []
    print_list(COLUMNS, rows, as_json=as_json)
    for problem in problems:
        say(problem)


def _of_class(one: Installed, as_json: bool) -> dict[str, Any]:
    """What the class and the environment say. Raises ``SettingsError``."""
    if (cls := one.consumer) is None:
        return {}
    topics = [*cls.topics, *cls.control_topics]
    works = SimpleNamespace(**{name: getattr(cls, name) for name in ConsumerLimits.model_fields})
    ConsumerLimits.of(one.name).apply(works)
    if as_json:
        return {"events": topics, **vars(works)}
    return {
        "events": ", ".join(topics),
        "concurrency": works.concurrency,
        "attempts": "no end" if works.max_attempts is None else works.max_attempts,
        "delays": f"{works.retry_first_s:g} to {works.retry_max_s:g} s",
        "time limit": f"{works.handler_timeout_s:g} s",
    }
