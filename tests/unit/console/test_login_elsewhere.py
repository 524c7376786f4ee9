"""Logins by an OpenID provider and by DingTalk: who is let in, as what, and what proves nothing."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse
from pydantic import SecretStr
from yarl import URL

from dingbridge.console.access.oidc import LIFETIME_S
from dingbridge.console.access.users import Role
from dingbridge.console.render import load_words
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.support.waiting import eventually
from tests.unit.console.provider import OTHER_KEY, FakeProvider, provider
from tests.unit.console.support import PASSWORD, Browser, browser, settings_in


@asynccontextmanager
async def by_oidc(folder: Path, **settings: Any) -> AsyncIterator[tuple[Browser, FakeProvider]]:
    async with provider() as fake:
        given = {
            "console_url": "http://127.0.0.1:8088",
            "console_oidc_issuer": fake.issuer,
            "console_oidc_client_id": "console",
            "console_oidc_client_secret": SecretStr("s&cret"),
        }
        async with browser(settings_in(folder, **{**given, **settings})) as who:
            yield who, fake


async def leave(who: Browser, way: str = "oidc", to: str = "/audit") -> dict[str, str]:
    """What the browser is led to the provider with."""
    answer = await who.get(f"/login/{way}", params={"to": to})
    assert answer.status == 303, await answer.text()
    return dict(URL(answer.headers["Location"]).query)


async def come_back(who: Browser, way: str = "oidc", **query: str) -> ClientResponse:
    return await who.get(f"/login/{way}/callback", params=query)


async def log_in(who: Browser, fake: FakeProvider, **more: str) -> ClientResponse:
    query = await leave(who)
    return await come_back(who, code=fake.code(query), state=query["state"], **more)


REFUSALS = ("not_begun", "code_over", "unproved", "no_role", "no_name", "no_answer")


async def told(answer: ClientResponse) -> str:
    """Which of the refusals the page says."""
    text, words = unescape(await answer.text()), load_words()
    fixed = {key: max(re.split(r"\{\w+\}", words[f"login.{key}"]["en"]), key=len) for key in REFUSALS}
    [found] = [key for key, part in fixed.items() if part in text]
    return found


async def role_of(who: Browser) -> str:
    page = await (await who.get("/audit")).text()
    return page.partition("<span>")[2].partition("</span>")[0]


async def test_a_provider_s_user_comes_in_by_the_role_of_the_claim_and_goes_on_where_they_wanted(
    tmp_path: Path,
) -> None:
    async with by_oidc(tmp_path) as (who, fake):
        fake.claims = {"roles": ["viewer", "operator", "of another program"]}
        query = await leave(who, to="/find?q=张 三&p=1")
        assert query["redirect_uri"] == "http://127.0.0.1:8088/login/oidc/callback"
        assert query["code_challenge_method"] == "S256"
        answer = await come_back(who, code=fake.code(query), state=query["state"], iss=fake.issuer)
        assert answer.status == 200
        # a page, and no redirect: that would still be the provider's, and the cookie would stay behind
        assert answer.headers["Refresh"] == "0;url=/find?q=%E5%BC%A0%20%E4%B8%89&p=1"
        assert "SameSite=Strict" in "".join(answer.headers.getall("Set-Cookie"))
        assert fake.asked == ["Basic Y29uc29sZTpzJTI2Y3JldA=="]  # console:s%26cret
        assert await role_of(who) == "oidc:u-1 (operator)"
        [line] = await who.console.audit.read()
        assert (line.act, line.user, line.role, line.command) == ("login", "oidc:u-1", "operator", "oidc")
        token = await who.csrf()
        assert (await who.post("/logout", {"csrf": token})).status == 303
        assert (await who.get("/audit")).status == 303


BY_CLAIM = {"console_oidc_role_claim": "realm_access.roles"}
BY_URL = {"console_oidc_role_claim": "https://x.example/r"}
BY_MAP = {"console_oidc_roles": ["a=b=reader", "staff=viewer"]}
PLACES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    ({}, {"roles": "reader"}, {}, "oidc:u-1 (reader)"),
    ({}, {"roles": None}, {"roles": ["reader"]}, "oidc:u-1 (reader)"),
    ({}, {"roles": ["viewer"]}, {"roles": ["operator"]}, "oidc:u-1 (viewer)"),
    (BY_CLAIM, {"realm_access": {"roles": ["reader"]}}, {}, "oidc:u-1 (reader)"),
    (BY_URL, {"https://x.example/r": ["reader"]}, {}, "oidc:u-1 (reader)"),
    (BY_MAP, {"roles": ["a=b", "staff"]}, {}, "oidc:u-1 (reader)"),
    ({"console_oidc_name_claim": "email"}, {"email": "a@x.example"}, {}, "oidc:a@x.example (viewer)"),
]
"""Settings, what the token says, what the provider says of the user, and the name and role of that."""


async def test_name_and_role_are_found_where_the_provider_has_them(tmp_path: Path) -> None:
    for settings, claims, userinfo, shown in PLACES:
        async with by_oidc(tmp_path, **settings) as (who, fake):
            fake.claims, fake.userinfo = claims, userinfo
            fake.configuration = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
            assert (await log_in(who, fake)).status == 200
            assert await role_of(who) == shown
            assert fake.asked == ["form s&cret"]


UNPROVED: list[dict[str, Any]] = [
    {"nonce": "of another login"},
    {"nonce": None},
    {"aud": "another client"},
    {"aud": ["another client"]},
    {"azp": "another client", "aud": ["console", "another client"]},
    {"iss": "https://evil.example"},
    {"iss": None},
    {"sub": None},
    {"exp": 1},
    {"exp": None},
    {"exp": "never"},
    {"exp": float("inf")},
    {"iat": 4_000_000_000},
]
FORGED: list[dict[str, Any]] = [
    *({"claims": claims} for claims in UNPROVED),
    {"key": OTHER_KEY},
    {"header": {"kid": "2"}},
    {"header": {"alg": "HS256"}},
    *({"token": token} for token in ("eyJhbGciOiJub25lIn0.e30.", "no token", "é.é.é")),
]


async def test_what_the_provider_did_not_sign_for_this_login_lets_nobody_in(tmp_path: Path) -> None:
    async with by_oidc(tmp_path) as (who, fake):
        honest = {"claims": {}, "key": fake.key, "header": {}, "token": None}
        for change in FORGED:
            vars(fake).update({**honest, **change})
            answer = await log_in(who, fake)
            assert answer.status == 403, change
            assert await told(answer) == "unproved", change
            assert (await who.get("/audit")).status == 303, change
        assert [line.reason for line in await who.console.audit.read()] == ["unproved"] * len(FORGED)


async def test_a_code_counts_once_and_in_the_browser_that_began(tmp_path: Path) -> None:
    async with by_oidc(tmp_path) as (who, fake):
        query = await leave(who)
        code = fake.code(query)
        for state in ("", "x" * 43, "é", query["state"][:-1]):
            answer = await come_back(who, code=code, state=state)
            assert answer.status == 403
            assert await told(answer) == "not_begun"
            query = await leave(who)
        mangled = {"Cookie": "console-login=é.%2F"}
        for state in ("é", query["state"]):
            params = {"code": "x", "state": state}
            answer = await who.client.session.get(
                who.client.make_url("/login/oidc/callback"), params=params, headers=mangled
            )
            assert answer.status == 403
        query = await leave(who)
        # a stranger's code, with which somebody would be logged in as the stranger
        strangers = fake.code({**query, "code_challenge": "a stranger's"})
        answer = await come_back(who, code=strangers, state=query["state"])
        assert await told(answer) == "code_over"
        answer = await come_back(who, code=fake.code(query), state=query["state"])
        assert answer.status == 403, "its cookie is gone with the first return"
        query = await leave(who)
        code = fake.code(query)
        assert (await come_back(who, code=code, state=query["state"])).status == 200
        who.client.session.cookie_jar.clear()
        cookie = {"Cookie": f"console-login={query['state']}.%2F"}
        params = {"code": code, "state": query["state"]}
        answer = await who.get("/login/oidc/callback", params=params, headers=cookie)
        assert await told(answer) == "code_over"


async def test_who_has_no_role_or_no_name_is_told_what_to_ask_for(tmp_path: Path) -> None:
    async with by_oidc(tmp_path) as (who, fake):
        for roles in (None, [], ["god"], [3], {"a": 1}):
            fake.claims = {"roles": roles}
            answer = await log_in(who, fake)
            assert answer.status == 403
            assert await told(answer) == "no_role"
        assert (await who.console.audit.read())[0].user == "u-1"
        fake.claims = {"sub": "<b>\n"}
        assert await told(await log_in(who, fake)) == "no_name"
        fake.claims = {"sub": "x" * 65}
        assert await told(await log_in(who, fake)) == "no_name"
        query = await leave(who)
        answer = await come_back(who, error="access_denied", state=query["state"])
        assert "it says: access_denied" in await answer.text()
        query = await leave(who)
        answer = await come_back(who, error="call 0800-<b>", state=query["state"])
        assert "it says: ?" in await answer.text()
        query = await leave(who)
        answer = await come_back(who, code="x", state=query["state"], iss="https://evil.example")
        assert await told(answer) == "unproved"


async def test_a_provider_that_is_down_or_another_is_told_and_a_password_works(tmp_path: Path) -> None:
    async with by_oidc(tmp_path) as (who, fake):
        changes: list[dict[str, Any]] = [
            {"status": 500},
            {"configuration": {"issuer": "https://evil.example"}},
            {"configuration": {"authorization_endpoint": None}},
        ]
        for change in changes:
            before = {name: getattr(fake, name) for name in change}
            vars(fake).update(change)
            answer = await who.get("/login/oidc")
            assert answer.status == 503
            assert await told(answer) == "no_answer"
            vars(fake).update(before)
        query = await leave(who)
        fake.claims, fake.userinfo = {"roles": None}, {"sub": "somebody else", "roles": ["operator"]}
        answer = await come_back(who, code=fake.code(query), state=query["state"])
        assert answer.status == 503
        await who.log_in(Role.READER)
        assert await role_of(who) == "reader (reader)"


async def test_a_login_elsewhere_leads_to_no_other_site(tmp_path: Path) -> None:
    async with by_oidc(tmp_path) as (who, fake):
        for to in ("https://evil.example", "//evil.example", "/\\evil.example", "/" + "x" * 9000):
            who.client.session.cookie_jar.clear()
            query = await leave(who, to=to[:4000])
            answer = await come_back(who, code=fake.code(query), state=query["state"])
            assert "evil" not in answer.headers["Refresh"]
            assert answer.headers["Refresh"].startswith("0;url=/")
            who.client.session.cookie_jar.clear()
            cookie = f"{'s' * 43}.{URL.build(path='/', query={'to': to}).raw_query_string[3:]}"
            params = {"state": "s" * 43, "code": "x"}
            headers = {"Cookie": f"console-login={cookie}"}
            page = await (await who.get("/login/oidc/callback", params=params, headers=headers)).text()
            assert 'href="//' not in page
            assert 'value="https:' not in page


async def test_a_provider_s_session_lasts_an_hour_and_needs_no_file(tmp_path: Path) -> None:
    async with by_oidc(tmp_path) as (who, fake):
        now = [0.0]
        who.console.access.sessions._clock = lambda: now[0]
        assert (await log_in(who, fake)).status == 200
        now[0] = LIFETIME_S - 1
        assert (await who.get("/audit")).status == 200
        assert (await who.get("/login/oidc", params={"to": "/find"})).headers["Location"] == "/find"
        now[0] = LIFETIME_S
        assert (await who.get("/audit")).status == 303


@asynccontextmanager
async def by_dingtalk(folder: Path, **settings: Any) -> AsyncIterator[tuple[Browser, Simulator]]:
    async with Simulator(
        SimulatorSettings(simulator_port=0, simulator_users=5, simulator_departments=2)
    ) as company:
        key, secret = company.settings.dingtalk_app_key, company.settings.dingtalk_app_secret
        given = {
            "console_url": "http://127.0.0.1:8088",
            "console_dingtalk_client_id": key,
            "console_dingtalk_client_secret": secret,
            "dingtalk_api_base": company.base_url,
        }
        async with browser(settings_in(folder, **{**given, **settings})) as who:
            yield who, company


async def chosen(who: Browser, userid: str) -> dict[str, str]:
    """What DingTalk's page sends the browser back with."""
    answer = await who.get("/login/dingtalk")
    where = URL(answer.headers["Location"]).update_query(userid=userid)
    async with who.client.session.get(where, allow_redirects=False) as led:
        return dict(URL(led.headers["Location"]).query)


async def test_people_of_the_users_file_come_in_by_dingtalk_and_nobody_else(tmp_path: Path) -> None:
    async with by_dingtalk(tmp_path) as (who, company):
        [zhang, li, *_] = company.platform.company.users.values()
        who.console.users.set_role(zhang.unionid, Role.OPERATOR)
        assert (await come_back(who, "dingtalk", **await chosen(who, zhang.userid))).status == 200
        assert await role_of(who) == f"{zhang.unionid} (operator)"
        assert (await who.console.audit.read())[0].command == "dingtalk"
        who.console.users.set_role(zhang.unionid, Role.VIEWER)
        assert await role_of(who) == f"{zhang.unionid} (viewer)"
        # a colleague and a stranger prove who they are, and may not
        who.client.session.cookie_jar.clear()
        for userid in (li.userid, "stranger"):
            answer = await come_back(who, "dingtalk", **await chosen(who, userid))
            assert answer.status == 403
            assert "dingbridge console set-role" in unescape(await answer.text())
        # nor does a unionid open a door that has a password
        who.console.users.set_password(li.unionid, PASSWORD, Role.OPERATOR)
        assert (await come_back(who, "dingtalk", **await chosen(who, li.userid))).status == 403
        assert (await come_back(who, "dingtalk", **await chosen(who, "-"))).status == 403
        # and no password opens an entry without one
        for password in ("", "None", PASSWORD):
            answer = await who.post("/login", {"name": zhang.unionid, "password": password})
            assert answer.status == 403


async def test_a_dingtalk_session_ends_with_its_entry(tmp_path: Path) -> None:
    async with by_dingtalk(tmp_path) as (who, company):
        [zhang, *_] = company.platform.company.users.values()
        who.console.users.set_role(zhang.unionid, Role.OPERATOR)
        await come_back(who, "dingtalk", **await chosen(who, zhang.userid))
        assert (await who.get("/audit")).status == 200
        who.console.users.path.write_text("")
        assert (await who.get("/audit")).status == 303


async def test_dingtalk_s_refusals_are_told(tmp_path: Path) -> None:
    async with by_dingtalk(tmp_path) as (who, company):
        [zhang, *_] = company.platform.company.users.values()
        who.console.users.set_role(zhang.unionid, Role.OPERATOR)
        back = await chosen(who, zhang.userid)
        company.login.expire()
        assert await told(await come_back(who, "dingtalk", **back)) == "code_over"
        back = await chosen(who, zhang.userid)
        jar = who.client.session.cookie_jar.filter_cookies(who.client.make_url("/"))["console-login"].value
        assert (await come_back(who, "dingtalk", **back)).status == 200
        who.client.session.cookie_jar.clear()
        again = {"Cookie": f"console-login={jar}"}
        answer = await who.get("/login/dingtalk/callback", params=back, headers=again)
        assert await told(answer) == "code_over"
        company.rights.set(["Contact.User.Read"])
        assert (await come_back(who, "dingtalk", **await chosen(who, zhang.userid))).status == 503
        assert (await who.get("/audit")).status == 303
    wrong = {"console_dingtalk_client_secret": SecretStr("geheim-123")}
    async with by_dingtalk(tmp_path, **wrong) as (who, company):
        answer = await come_back(who, "dingtalk", **await chosen(who, zhang.userid))
        assert answer.status == 503


async def test_one_address_that_asks_for_logins_all_the_time_keeps_nobody_else_out(tmp_path: Path) -> None:
    proxies = {"trusted_proxies": ["127.0.0.1"]}
    async with by_oidc(tmp_path, **proxies) as (who, fake):
        fake.open.clear()
        flood = [asyncio.create_task(leaving(who, "203.0.113.9")) for _ in range(30)]
        await eventually(lambda: sum(task.done() for task in flood) == 26)
        other = asyncio.create_task(leaving(who, "203.0.113.10"))
        await eventually(lambda: fake.asking == 5)
        fake.open.set()
        assert await other == 303
        assert sorted(await asyncio.gather(*flood)) == [303] * 4 + [429] * 26


async def leaving(who: Browser, address: str) -> int:
    return (await who.get("/login/oidc", headers={"X-Forwarded-For": address})).status


async def test_a_provider_s_code_stands_on_no_page(tmp_path: Path) -> None:
    async with by_oidc(tmp_path) as (who, fake):
        for roles, status in (["of another program"], 403), (["viewer"], 200):
            fake.claims = {"roles": roles}
            query = await leave(who)
            fake.codes = {"c0de": query}
            answer = await come_back(who, code="c0de", state=query["state"])
            assert answer.status == status
            page = await answer.text()
            assert "lang=zh" in page
            assert "c0de" not in page
            assert query["state"] not in page
