"""An act is begun once, by whomever and however often it is asked for, and its result stays for its user."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from dingbridge.console.access.middleware import ADDRESS, USER
from dingbridge.console.access.users import Role, User
from dingbridge.console.acts import KEPT_S, MOST, Act, Acts
from dingbridge.console.app import open_console
from dingbridge.console.audit import Audit, AuditError
from dingbridge.console.commands import Command, Commands, Result
from dingbridge.console.index.feed import Feed
from dingbridge.console.server import run
from dingbridge.console.watch import Watch
from dingbridge.tasks import TaskEnded
from tests.support.waiting import eventually
from tests.unit.console.support import browser, settings_in

SUBJECT = ("approval", "--record", "t:0:1")


def by(name: str) -> web.Request:
    request = make_mocked_request("POST", "/")
    request[USER], request[ADDRESS] = User(name, Role.OPERATOR), "127.0.0.1"
    return request


def act(consumer: str = "approval", seen: str = "") -> Act:
    return Act("replay", consumer, Command(("dlq", consumer), 2), "/", subject=SUBJECT, seen=seen)


class Slow(Commands):
    """Commands that end when they are told."""

    def __init__(self) -> None:
        self.go_on, self.begun, self.exit_code = asyncio.Event(), list[tuple[str, ...]](), 0
        self.problem: Exception | None = None

    async def run(self, request: web.Request, command: Command) -> Result:
        self.begun.append(command.argv)
        await self.go_on.wait()
        if self.problem is not None:
            raise self.problem
        return Result(command, self.exit_code, "")


@pytest.fixture
async def commands() -> Slow:
    return Slow()


async def test_what_is_sent_twice_is_begun_once_and_leads_to_one_result(commands: Slow) -> None:
    acts = Acts(commands)
    act_id = acts.keep("anna", act())
    acts.begin(by("anna"), act_id)
    acts.begin(by("anna"), act_id)
    await acts.ended("anna", act_id, within_s=0)
    assert acts.of("anna", act_id).running, "the page says that it goes on"
    commands.go_on.set()
    await acts.ended("anna", act_id)
    acts.begin(by("anna"), act_id)
    assert acts.of("anna", act_id).result is not None
    assert len(commands.begun) == 1
    with pytest.raises(web.HTTPNotFound):
        acts.of("bob", act_id)


async def test_acts_of_one_consumer_follow_one_another(commands: Slow) -> None:
    acts = Acts(commands)
    for consumer in ("approval", "approval", "billing"):
        acts.begin(by("anna"), acts.keep("anna", act(consumer)))
    await eventually(lambda: len(commands.begun) == 2)
    assert commands.begun == [("dlq", "approval"), ("dlq", "billing")]
    commands.go_on.set()
    await eventually(lambda: len(commands.begun) == 3)
    await acts.stop()


async def test_two_tabs_that_have_seen_the_same_act_once_unless_it_failed(commands: Slow) -> None:
    acts, first = Acts(commands), Acts.new_id()
    acts.begin(by("anna"), first, act(seen="open 0"))
    assert acts.begun(SUBJECT, "open 0") == ("anna", first)
    assert acts.begun(SUBJECT, "handled 1") is None, "who has seen what came of it means another"
    commands.exit_code = 1
    commands.go_on.set()
    await acts.ended("anna", first)
    assert acts.begun(SUBJECT, "open 0") is None, "it may be tried again"


async def test_what_could_not_be_begun_says_why(commands: Slow) -> None:
    acts = Acts(commands)
    commands.problem = AuditError("nothing is done")
    commands.go_on.set()
    acts.begin(by("anna"), act_id := acts.keep("anna", act()))
    await acts.ended("anna", act_id)
    entry = acts.of("anna", act_id)
    assert (entry.result, str(entry.problem)) == (None, "nothing is done")


async def test_an_act_is_forgotten_after_an_hour_and_of_many_the_oldest_but_none_that_runs(
    commands: Slow,
) -> None:
    now = [0.0]
    acts = Acts(commands, clock=lambda: now[0])
    acts.begin(by("anna"), running := acts.keep("anna", act()))
    ids = [acts.keep("anna", act()) for _ in range(MOST + 1)]
    with pytest.raises(web.HTTPNotFound):
        acts.of("anna", ids[0])
    assert acts.of("anna", ids[1])
    now[0] = KEPT_S + 1
    assert acts.of("anna", running).running
    with pytest.raises(web.HTTPNotFound):
        acts.of("anna", ids[-1])
    with pytest.raises(web.HTTPBadRequest):
        acts.begin(by("anna"), "x", act())
    await acts.stop()


async def test_an_act_ends_with_the_console_and_the_audit_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = Audit(tmp_path / "audit.jsonl")
    started = asyncio.Event()

    async def never(self: Commands, command: Command) -> Result:
        started.set()
        return await asyncio.Future()

    monkeypatch.setattr(Commands, "_finished", never)
    acts = Acts(Commands(audit))
    acts.begin(by("anna"), acts.keep("anna", act()))
    await started.wait()
    await acts.stop()
    assert [entry.reason for entry in await audit.read()] == ["console stopped", None]


async def test_the_page_follows_what_runs_and_is_headed_by_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dingbridge.console.acts.PATIENCE_S", 0)
    async with browser(settings_in(tmp_path)) as who:
        await who.log_in(Role.OPERATOR)
        ended = asyncio.Event()
        counted = Result(Command(("dlq",)), 0, "{}")

        async def failing(request: web.Request, command: Command) -> Result:
            await ended.wait()
            return Result(command, 1, "interrupted after 1 of 2")

        monkeypatch.setattr(who.console.commands, "run", failing)
        meant = Act("skip", "approval", Command(("dlq", "skip"), 2), "/", counted)
        where = f"/confirm/{who.console.acts.keep('operator', meant)}"
        assert "2 dead letter(s) of approval will be given up" in await (await who.get(where)).text()
        monkeypatch.setattr(who.console.acts, "ended", nothing)
        answers = [await who.post(where, {"csrf": await who.csrf()}) for _ in range(2)]
        [result] = {answer.headers["Location"] for answer in answers}
        assert {answer.status for answer in answers} == {303}
        assert (await who.get(where)).headers["Location"] == result, "the way back does not ask again"
        running = await (await who.get(result)).text()
        assert "<h1>Giving dead letters up</h1>" in running
        assert "hx-get" in running
        ended.set()

        async def told() -> str:
            text = await (await who.get(result)).text()
            return "" if "hx-get" in text else text

        page = await eventually(told)
        assert "<h1>Giving up failed</h1>" in page
        assert "interrupted after 1 of 2" in page
        assert "Given up</h1>" not in page


async def nothing(*_: object) -> None: ...


# -- The console does not outlive a task that it needs


@pytest.mark.parametrize(
    ("of", "method", "name"),
    [
        (Feed, "_follow", "fills the index"),
        (Watch, "_look", "looks at the listeners"),
        (Watch, "_look_at_groups", "looks at the groups"),
    ],
)
async def test_a_task_that_ends_ends_the_process_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: type, method: str, name: str
) -> None:
    async def fails(_: object) -> None:
        raise KeyError("张三")

    monkeypatch.setattr(of, method, fails)
    settings = settings_in(
        tmp_path, console_port=0, console_proxy_user_header="X-User", trusted_proxies=["127.0.0.0/8"]
    )
    with pytest.raises(TaskEnded, match=f"{name} has ended") as raised:
        async with asyncio.timeout(60):
            await run(open_console(settings))
    assert "张三" not in str(raised.value)
