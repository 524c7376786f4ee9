"""``dingbridge callback`` as a process against DingTalk in small: what it prints and how it exits."""

import asyncio

import pytest
from aiohttp.test_utils import unused_port

from tests.integration.api_support import (
    AES_KEY,
    APP_KEY,
    APP_SECRET,
    TOKEN,
    URL,
    Platform,
    base,
    platform,
    server,
)
from tests.support.processes import Processes

__all__ = ["base", "platform", "server"]


class TestCommand:
    """``dingbridge callback`` as a process: what it prints and how it exits."""

    @pytest.fixture(autouse=True)
    def _processes(self, processes: Processes) -> None:
        self.processes = processes

    async def run(self, base: str, *arguments: str, **environment: str) -> tuple[int, str]:
        settings = {
            "DINGTALK_API_BASE": base,
            "DINGTALK_APP_KEY": APP_KEY,
            "DINGTALK_APP_SECRET": APP_SECRET,
            "DINGTALK_TOKEN": TOKEN,
            "DINGTALK_AES_KEY": AES_KEY,
            "DINGTALK_OWNER_KEY": APP_KEY,
            "DINGTALK_CORP_ID": "dingcorp1",
        }
        done = await asyncio.to_thread(self.processes.run, "callback", *arguments, env=settings | environment)
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        for secret in (APP_SECRET, TOKEN, AES_KEY, "accessToken"):
            assert secret not in said
        return done.returncode, said

    async def test_register_show_and_replace(self, base: str, platform: Platform) -> None:
        events = "user_add_org, bpms_instance_change,user_add_org"
        code, said = await self.run(base, "register", "--no-check", "--url", URL, "--events", events)
        assert (code, said.splitlines()[0]) == (0, f"registered: {URL}")
        assert platform.callback is not None
        assert platform.callback["call_back_tag"] == ["user_add_org", "bpms_instance_change"]

        code, said = await self.run(base, "show")
        assert code == 0
        assert URL in said
        assert "to…01 (15 characters)" in said
        assert "ab…FA (43 characters)" in said
        assert "  bpms_instance_change\n  user_add_org\n" in said

        code, said = await self.run(base, "register", "--no-check", "--url", URL, "--events", "check_in")
        assert code == 1
        assert "71006" in said
        assert "callback show" in said
        assert "--replace" in said

        code, said = await self.run(base, "register", "--no-check", "--events", "check_in")
        assert (code, "--url" in said) == (2, True)
        code, said = await self.run(base, "register", "--no-check", "--events", "check_in", "--replace")
        assert (code, said.splitlines()[0]) == (0, f"replaced: {URL}")
        assert platform.callback["call_back_tag"] == ["check_in"]

    async def test_replace_where_nothing_is_registered(self, base: str, platform: Platform) -> None:
        code, said = await self.run(
            base, "register", "--no-check", "--url", URL, "--events", "check_in", "--replace"
        )
        assert (code, said.splitlines()[0]) == (0, f"registered: {URL}")
        assert platform.callback is not None

    async def test_replace_what_is_registered_where_nothing_is(self, base: str) -> None:
        code, said = await self.run(base, "register", "--no-check", "--events", "check_in", "--replace")
        assert (code, "callback register --url" in said) == (1, True)

    async def test_show_where_nothing_is_registered(self, base: str) -> None:
        code, said = await self.run(base, "show")
        assert code == 1
        assert "callback register --url" in said

    @pytest.mark.parametrize(
        ("errcode", "words"),
        [(71009, "DINGTALK_AES_KEY"), (71011, "https://"), (71012, "1.5 s"), (71013, "domain")],
    )
    async def test_refusals_have_words_and_a_next_step(
        self, base: str, platform: Platform, errcode: int, words: str
    ) -> None:
        platform.script("/call_back/register_call_back", {"errcode": errcode, "errmsg": "回调失败"})
        code, said = await self.run(base, "register", "--no-check", "--url", URL, "--events", "check_in")
        assert code == 1
        assert f"errcode {errcode}: 回调失败" in said
        assert words in said

    async def test_settings_mistakes_exit_with_2(self, base: str, platform: Platform) -> None:
        missing = dict.fromkeys(("DINGTALK_TOKEN", "DINGTALK_APP_KEY", "DINGTALK_CORP_ID"), "")
        code, said = await self.run(base, "register", "--url", URL, **missing)
        assert code == 2
        assert all(name in said for name in missing)
        assert platform.seen == []

    async def test_a_platform_that_is_not_there(self) -> None:
        code, said = await self.run(f"http://127.0.0.1:{unused_port()}", "show")
        assert code == 1
        assert "DINGTALK_API_BASE" in said
