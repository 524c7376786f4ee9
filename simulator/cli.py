"""``dingbridge simulator``: run the stand-in for the DingTalk Open Platform, or make it do something."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dingbridge.simulator.kafka.cli import command as kafka

if TYPE_CHECKING:
    from dingbridge.simulator.recording import Replay

app = typer.Typer(no_args_is_help=False)

DEFAULT_URL = "http://127.0.0.1:8090"

Host = Annotated[str | None, typer.Option(help="Address to listen on. (SIMULATOR_HOST, else 127.0.0.1)")]
Port = Annotated[int | None, typer.Option(help="Port, 0 for a free one. (SIMULATOR_PORT, else 8090)")]
Seed = Annotated[int | None, typer.Option(help="The same seed, the same company. (SIMULATOR_SEED, else 1)")]
Users = Annotated[int | None, typer.Option(help="Employees at the start. (SIMULATOR_USERS, else 60)")]
Departments = Annotated[
    int | None, typer.Option(help="Departments at the start. (SIMULATOR_DEPARTMENTS, else 12)")
]
Approvals = Annotated[
    int | None,
    typer.Option(help="Approvals that were over before the start. (SIMULATOR_APPROVALS, else 0)"),
]
Mode = Annotated[
    str | None,
    typer.Option(
        help="How events are pushed: http, or stream over open connections. (SIMULATOR_MODE, else http)"
    ),
]
Rate = Annotated[
    float | None, typer.Option(help="Events per second, once registered. (SIMULATOR_RATE, else 0)")
]
Script = Annotated[str | None, typer.Option(help="TOML or JSON file of steps to act out. (SIMULATOR_SCRIPT)")]
Generation = Annotated[
    str | None,
    typer.Option(help="Form of the payloads: old, new or mixed. (SIMULATOR_GENERATION, else mixed)"),
]
RetryScale = Annotated[
    float | None,
    typer.Option(
        help="Factor on the retry delays of 10, 30 and (Stream) 60 s. (SIMULATOR_RETRY_SCALE, else 1)"
    ),
]
Duplicates = Annotated[
    float | None, typer.Option(help="Share of pushes sent twice, 0 to 1. (SIMULATOR_DUPLICATES, else 0.02)")
]
OwnerKey = Annotated[
    str | None,
    typer.Option(help="What pushes are encrypted for. (SIMULATOR_OWNER_KEY, else the app key)"),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="What DingTalk may do and no page promises: reality or kind; single switches behind it, as "
        "reality,late=0. reality has late=0.1 (share of entities whose reads lag) late_ms=4000 refused=0.02 "
        "(share of people and departments that are refused) family_school=true (a department -1) "
        "new_token=true (a granted permission needs a new token). (SIMULATOR_PROFILE, else reality)",
    ),
]
CorpId = Annotated[
    str | None, typer.Option(help="The company's id. (SIMULATOR_CORP_ID, else dingcorpsample01)")
]


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    seed: Seed = None,
    users: Users = None,
    departments: Departments = None,
    approvals: Approvals = None,
    mode: Mode = None,
    rate: Rate = None,
    script: Script = None,
    generation: Generation = None,
    retry_scale: RetryScale = None,
    duplicates: Duplicates = None,
    profile: ProfileName = None,
    owner_key: OwnerKey = None,
    corp_id: CorpId = None,
) -> None:
    """A stand-in for the DingTalk Open Platform, over HTTP. Without a command: run it.

    gettoken accepts DINGTALK_APP_KEY and DINGTALK_APP_SECRET (or DINGTALK_APP_SECRET_FILE), the public
    sample values unless set. Register a callback with `dingbridge callback register`.
    """
    options = {k: v for k, v in context.params.items() if v is not None}
    if context.invoked_subcommand is None:
        _serve(options)
    elif options:
        raise typer.BadParameter(
            f"options belong behind the command: simulator {context.invoked_subcommand} …"
        )


@app.command()
def run(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    seed: Seed = None,
    users: Users = None,
    departments: Departments = None,
    approvals: Approvals = None,
    mode: Mode = None,
    rate: Rate = None,
    script: Script = None,
    generation: Generation = None,
    retry_scale: RetryScale = None,
    duplicates: Duplicates = None,
    profile: ProfileName = None,
    owner_key: OwnerKey = None,
    corp_id: CorpId = None,
) -> None:
    """Run it until SIGTERM or Ctrl-C; the same as without a command."""
    _serve({k: v for k, v in context.params.items() if v is not None})


def _serve(options: dict[str, Any], replay: "Replay | None" = None) -> None:
    import uvloop

    from dingbridge.logging import configure_logging
    from dingbridge.simulator.server import serve
    from dingbridge.simulator.settings import SimulatorSettings

    settings = SimulatorSettings.load(**{f"simulator_{name}": value for name, value in options.items()})
    configure_logging(settings)
    uvloop.run(serve(settings, replay))


@app.command()
def replay(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What GET /_sim/recording of a simulator answered.")
    ],
    speed: Annotated[
        float, typer.Option(min=0, max=10_000, help="1 is as fast as it was, 0 without any waiting.")
    ] = 1,
    host: Host = None,
    port: Port = None,
    mode: Mode = None,
    retry_scale: RetryScale = None,
    profile: ProfileName = None,
    owner_key: OwnerKey = None,
) -> None:
    """Run it, and let a recorded life happen again word for word, once a callback is registered or, with
    --mode stream, a connection is open."""
    from pathlib import Path

    from dingbridge.simulator.company.platform import now_ms
    from dingbridge.simulator.recording import Replay, load_recording

    again = Replay(load_recording(Path(file)), now_ms, speed=speed)
    options = {"host": host, "port": port, "mode": mode, "retry_scale": retry_scale}
    options |= {"profile": profile, "owner_key": owner_key}
    # what the recording fixes must not come from the environment as well
    _serve({k: v for k, v in options.items() if v is not None} | {"rate": 0, "script": None}, again)


@app.command()
def act(
    action: Annotated[
        str,
        typer.Argument(
            help="hire, move, rename, edit, report_to, leave, come_back, protect, accept; create_, rename_, "
            "move_ or remove_department, lead; create_, rename_, remove_, give_ or take_role; appoint_ or "
            "dismiss_admin; start_approval, approve, refuse, redirect, comment, revoke, modify_approved, "
            "revoke_approved, delete_approval"
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="name=value; what is not given is chosen at random. As: count=3 dept_ids=430001234"
        ),
    ] = None,
    url: Annotated[str, typer.Option(envvar="SIMULATOR_URL", help="The running simulator.")] = DEFAULT_URL,
) -> None:
    """Make one thing happen in a running simulator, and print its events, one JSON a line."""
    import json

    from dingbridge.cli.terminal import post_json

    body = {"action": action}
    for argument in arguments or []:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{argument!r} is not name=value; as: simulator act hire count=3")
        body[name] = value
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"--url {url} must begin with http:// or https://")
    remedy = "start one with `dingbridge simulator`, or name another --url"
    answer = post_json(f"{url.rstrip('/')}/_sim/act", body, "simulator", remedy)
    for event in answer["events"]:
        print(json.dumps(event["payload"], ensure_ascii=False))


app.command("kafka")(kafka)
