"""``dingbridge relay``; ``python -m dingbridge.ingress.relay.cli`` is the same, as the ingress starts it."""

import gc
import sys
from typing import Annotated

import typer
import uvloop

from dingbridge.errors import BridgeError
from dingbridge.ingress.relay.service import serve
from dingbridge.logging import configure_logging
from dingbridge.settings import PublisherSettings


def command(
    until_empty: Annotated[
        bool,
        typer.Option("--until-empty", help="End when nothing waits; 1: something parked may be retried."),
    ] = False,
    stop_at_eof: Annotated[bool, typer.Option("--stop-at-eof", hidden=True)] = False,
) -> None:
    """Publish the journal to Kafka: the process that `dingbridge ingress` starts by itself.

    Call it where INGRESS_RELAY=none makes it a service of its own, or to publish a journal that no ingress
    writes.
    Exit code 0: stopped, or empty; 1: the journal cannot be used, or another relay has it.
    """
    settings = PublisherSettings.load()
    configure_logging(settings)
    # the objects of a batch set live as long as the set, without cycles: frequent collections find nothing
    gc.freeze()
    gc.set_threshold(50_000)
    uvloop.run(serve(settings, until_empty=until_empty, stop_at_eof=stop_at_eof))


if __name__ == "__main__":
    try:
        typer.run(command)
    except BridgeError as error:
        print(f"dingbridge relay: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
