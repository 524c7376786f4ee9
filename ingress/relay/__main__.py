"""``python -m ingress.relay``: ``dingbridge relay`` alone, as the ingress starts it."""

import sys

import typer

from dingbridge.errors import BridgeError
from ingress.relay.cli import command

if __name__ == "__main__":
    try:
        typer.run(command)
    except BridgeError as error:
        print(f"dingbridge relay: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
