"""The course of the demo: set up, a company that lives, a kill in the middle, rest, the summary, the end.

Says what happens as it happens. How processes, figures and comparisons work is in the modules beside it.
"""

import asyncio
import contextlib
import io
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Final, Literal

from dev.demo import both_ways, console
from dev.demo.both_ways import BothWays
from dev.demo.poller import Figures, Poller
from dev.demo.processes import CONNECTIONS, CONSUMERS, GAP_S, Mode, Processes
from dev.demo.summary import Summary, compare, show_employees, show_record, shown, summarise
from dev.demo.table import Screen
from dingbridge.errors import BridgeError
from dingbridge.logging import configure_logging
from dingbridge.settings import LogSettings
from dingbridge.simulator.pushes.push import RETRY_DELAYS_S, STREAM_RETRY_DELAYS_S

RETRY_SCALE: Final[dict[Mode, float]] = {"http": 0.3, "stream": 0.05}
LOOK_EVERY_S: Final = 0.5
DOWN_FOR_S: Final = 1.0
"""How long the killed ingress is left dead, so that failed attempts can be seen."""

REST_WITHIN_S: Final = 60.0
TABLES_WITHIN_S: Final = 240.0
_STOPPED: Final = "everything is stopped, nothing is left running"
KEPT_RATE: Final = 1.0
"""Events per second while the demo is kept."""


@dataclass(frozen=True, slots=True)
class Options:
    """``rate`` is events per second; ``unsafe_journal`` says why ``folder`` is no place for a real journal,
    None if it is one."""

    folder: Path
    seconds: float
    rate: float
    keep: bool
    mode: Mode
    how: Literal["auto", "docker", "jars"]
    unsafe_journal: str | None


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


def new_folder(data_dir: Path) -> Path:
    """A new folder for one demo. Raises ``BridgeError`` when it cannot be made."""
    wanted = data_dir.resolve() / "demo" / datetime.now().strftime("%Y%m%d-%H%M%S")
    for folder in (wanted, *(wanted.with_name(f"{wanted.name}-{n}") for n in range(2, 100))):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise BridgeError(
                f"{folder} cannot be created ({error.strerror}); set DATA_DIR to where you may write"
            ) from error
        return folder
    raise BridgeError(f"{wanted} and its successors exist already; wait a second")


def run(options: Options) -> int:
    """The whole demo; returns the exit code. Raises ``BridgeError`` when a part of it cannot start."""
    configure_logging(LogSettings.model_construct(log_level="ERROR"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without Chinese must not end the demo
    screen = Screen()
    processes = Processes(
        options.folder,
        mode=options.mode,
        retry_scale=RETRY_SCALE[options.mode],
        allow_unsafe=options.unsafe_journal is not None,
    )
    came_to_the_end = False
    try:
        _listen_to_signals()
        _announce(options, screen)
        began = time.monotonic()
        _set_up(processes, options, screen)
        summary = asyncio.run(_live_and_compare(processes, options, screen))
        _listen_to_signals()  # the event loop has put its own in their place, and taken them away
        if options.keep:
            summarise(summary, processes, screen, began)
            came_to_the_end = True
            _keep(processes, options, screen)
        with _uninterrupted(), _step(screen, "stopping") as done:
            summary.faults.extend(processes.stop())
            done(_STOPPED)
        summarise(summary, processes, screen, began)
        screen.line("To look around while everything runs: make demo KEEP=1")
        return 1 if summary.faults else 0
    except Interrupted as interrupted:
        with _uninterrupted():
            screen.line()
            with _step(screen, "stopping") as done:
                processes.stop()
                done(f"{interrupted.number.name}: {_STOPPED}")
        if came_to_the_end:
            return 1 if summary.faults else 0
        screen.line(f"The demo did not come to its end; what it wrote stays in {shown(options.folder)}")
        return 128 + interrupted.number
    finally:
        with _uninterrupted():
            processes.stop()


# -- setting up


def _announce(options: Options, screen: Screen) -> None:
    kept = "Then it stays up until Ctrl-C." if options.keep else "Then all is stopped."
    screen.text(
        f"About {options.seconds + 30:.0f} s: a company lives for {options.seconds:g} s. The ingress is "
        f"killed on the way, an OA writes to DingTalk and receives, and at the end all is compared. {kept}",
        "bold",
    )
    screen.text(f"{_retries(options.mode)} All that is written stays in {shown(options.folder)}.")
    if options.unsafe_journal is not None:
        screen.text(
            f"That folder is on {options.unsafe_journal}. For a demo that will do, so JOURNAL_ALLOW_UNSAFE=1 "
            "is set; without it the ingress would refuse the folder."
        )


def _retries(mode: Mode) -> str:
    """What happens to a push that is not answered, in a sentence."""
    scale = RETRY_SCALE[mode]
    if mode == "stream":
        retry = STREAM_RETRY_DELAYS_S[0]
        return (
            f"DingTalk's retry of what is not acknowledged comes after {retry * scale:g} s instead of "
            f"{retry:g} s, and STREAM_GAP_S is {GAP_S}."
        )
    first, second = RETRY_DELAYS_S
    return (
        f"DingTalk's retries come after {first * scale:g} s and {second * scale:g} s, not after {first:g} s "
        f"and {second:g} s."
    )


def _set_up(processes: Processes, options: Options, screen: Screen) -> None:
    screen.heading("Setting up")
    processes.start("simulator")
    with _step(screen, "Kafka is starting") as done:
        done(f"Kafka: {processes.start_kafka(options.how)}, at {processes.bootstrap}")
    processes.wait_until_ready("simulator")
    processes.add_console_user()
    for name in ("ingress", *CONSUMERS, "console"):
        processes.start(name)
    where = "no public listener" if options.mode == "stream" else processes.callback_url
    with _step(screen, f"ingress: {where}, private listener {processes.url('ingress')}"):
        processes.wait_until_ready("ingress")
    with _step(screen, f"consumers: {', '.join(CONSUMERS)}; the console: {processes.url('console')}"):
        for name in (*CONSUMERS, "console"):
            processes.wait_until_ready(name)
    dingtalk = f"simulated DingTalk, {processes.url('simulator')}"
    if options.mode == "stream":
        with _step(screen, f"{dingtalk}: the ingress has opened {CONNECTIONS} connections to it"):
            processes.wait_until_connected()
    else:
        with _step(screen, f"{dingtalk}: the callback is registered, and the URL checked"):
            processes.register()
    processes.write_environment()


# -- living


async def _live_and_compare(processes: Processes, options: Options, screen: Screen) -> Summary:
    with _cancelled_by_signals():
        async with Poller(processes) as poller:
            with screen.moving(options.seconds):
                figures, faults, both, found = await _live(processes, poller, options, screen)
            summary = await compare(poller, processes, figures, faults, both, found)
            show_record(poller, processes, screen)
            show_employees(poller, screen)
            return summary


async def _live(
    processes: Processes, poller: Poller, options: Options, screen: Screen
) -> tuple[Figures, list[str], BothWays, int | None]:
    """The company's life until everything has come to rest. Returns the last look, what did not rest or did
    not happen, the scene of both directions, and how many events the console found."""
    clock = asyncio.get_running_loop().time

    async def poll_until(condition: Callable[[Figures], bool], within_s: float) -> Figures | None:
        """Look and show until ``condition`` holds; None when it does not in time."""
        deadline = clock() + within_s
        while True:
            figures = await poller.poll()
            screen.figures(figures)
            if ended := processes.ended():
                raise BridgeError("\n".join(ended))
            if condition(figures):
                return figures
            if clock() >= deadline:
                return None
            await asyncio.sleep(max(0.0, min(LOOK_EVERY_S, deadline - clock())))

    def never(figures: Figures) -> bool:
        return False

    screen.heading("The company lives")
    end = clock() + options.seconds
    await poller.set_rate(options.rate)
    await poll_until(never, options.seconds / 2)

    processes.kill("ingress")
    killed = clock()
    is_stream = options.mode == "stream"
    now = "no connection is open, and pushes are lost" if is_stream else "DingTalk's pushes fail now"
    screen.line(f"         SIGKILL to the ingress, pid {processes.pid('ingress')}: {now}")
    await poll_until(never, DOWN_FOR_S)
    processes.start("ingress")
    back = await poll_until(lambda f: f.ingress_up, REST_WITHIN_S)
    if back is None:
        raise BridgeError(
            f"the ingress is not ready after {REST_WITHIN_S:g} s; see {processes.logs}/ingress.log"
        )
    then = "the consumers are to resync" if is_stream else "retries follow"
    screen.line(f"         the ingress is back after {clock() - killed:.1f} s, with its journal; {then}")
    await poll_until(never, max(0.0, end - clock()))

    async def deliver_all() -> list[str]:
        drained = asyncio.create_task(poller.drain(REST_WITHIN_S))
        try:
            await poll_until(lambda f: drained.done(), REST_WITHIN_S + 10)
            if not drained.done() or not drained.result():
                return [f"DingTalk still has pushes to deliver after {REST_WITHIN_S:g} s"]
            return []
        finally:
            drained.cancel()

    faults = await deliver_all()
    both = await both_ways.play(processes, poller, screen)
    faults += both.faults + await deliver_all()
    if await poll_until(lambda f: f.waiting == 0, REST_WITHIN_S) is None:
        faults.append(f"the journal still holds callbacks that are not in Kafka after {REST_WITHIN_S:g} s")
    deadline = clock() + REST_WITHIN_S
    while lag := await poller.lag():
        if clock() > deadline:
            faults.append(f"the consumers are {lag} records behind after {REST_WITHIN_S:g} s")
            break
        await poll_until(never, 0.2)
    if is_stream:
        # what was pushed while no connection was open is in the tables all the same, once they have looked
        poller.checked.resynced()
    # a late read is repeated after 2, 10 and 60 s (dingbridge/mirror/answers.py). A resync that is requested
    # meanwhile begins when the full sync before it is done
    deadline = clock() + TABLES_WITHIN_S
    while await poller.table_differences() and clock() < deadline:
        await poll_until(never, LOOK_EVERY_S)
    figures = await poller.poll()
    screen.figures(figures)
    await both.count()
    found, wrong = await console.visit(processes, both.about)
    return figures, faults + wrong, both, found


# -- staying up


def _keep(processes: Processes, options: Options, screen: Screen) -> None:
    folder = shlex.quote(shown(options.folder))
    screen.heading(f"Everything is up until Ctrl-C, and {KEPT_RATE:g} thing a second happens in the company")
    processes.set_rate(KEPT_RATE)
    screen.line(f"Kafka                {processes.bootstrap}")
    if options.mode == "http":
        screen.line(f"callbacks            {processes.callback_url}")
    for name in ("ingress", *CONSUMERS):
        screen.line(f"{name:<20} {processes.url(name)}/readyz and /metrics")
    screen.line(f"simulated DingTalk   {processes.url('simulator')}/_sim/ (in a browser)")
    for line in console.walk(processes):
        screen.line(line)
    screen.line("In another terminal, here:")
    for command in (
        f". {folder}/env",
        "dingbridge topics list",
        "dingbridge topics read user_add_org --limit 3",
        "dingbridge consume address-sync --show",
        "dingbridge consume approval --show",
        "dingbridge outbound status",
        "dingbridge journal stats",
        "dingbridge simulator act hire name=韩梅梅     # makes something happen",
        f"kcat -C -b {processes.bootstrap} -t dingtalk.bpms_instance_change -o beginning -e",
        f"sqlite3 {folder}/approval.db 'SELECT title, outcome FROM approval_instances'",  # noqa: S608
    ):
        screen.line(f"  {command}")
    known: set[str] = set()
    while True:
        time.sleep(1)
        for text in processes.ended():
            if (name := text.split(maxsplit=1)[0]) not in known:
                known.add(name)
                screen.line(text, "red")


# -- signals and steps


@contextlib.contextmanager
def _step(screen: Screen, words: str) -> Iterator[Callable[[str], None]]:
    """One step, with its duration; call what is yielded for better words. Says nothing if it fails."""
    began = time.monotonic()
    said = [words]
    with screen.waiting(f"{words.partition(':')[0]} …"):
        yield lambda better: said.__setitem__(0, better)
    screen.line(f"{time.monotonic() - began:5.1f} s  {said[0]}")


def _listen_to_signals() -> None:
    """Ctrl-C and SIGTERM raise ``Interrupted`` in plain code."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Stopping takes seconds, and nobody gains from stopping that."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """The same in a coroutine: its task is cancelled, so that connections are closed in order."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    got: list[int] = []

    def interrupt(number: int) -> None:
        got.append(number)
        if task is not None:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt, number)
    try:
        yield
    except asyncio.CancelledError:
        if got:
            raise Interrupted(got[0]) from None
        raise
