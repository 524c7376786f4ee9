"""Which answers about people and departments are none, by the client of the Open API."""

from typing import Any

import pytest

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import Unavailable

PERSON = {"userid": "u1", "unionid": "union-1", "name": "王芳"}


class Scripted(DingTalkClient):
    """Gives ``result`` as the result of every call."""

    def __init__(self, result: Any) -> None:
        super().__init__(app_key="k", app_secret="s", base="http://127.0.0.1:9")
        self.result = result

    async def _call(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"errcode": 0, "result": self.result}


def without(name: str) -> dict[str, Any]:
    return {field: value for field, value in PERSON.items() if field != name}


@pytest.mark.parametrize("absent", list(PERSON))
@pytest.mark.parametrize(
    "how", [without, lambda name: PERSON | {name: None}, lambda name: PERSON | {name: ""}]
)
async def test_a_person_without_userid_unionid_or_name_is_no_answer(absent: str, how: Any) -> None:
    with pytest.raises(Unavailable, match="without the person's userid, unionid or name") as caught:
        await Scripted(how(absent)).user("u1")
    assert (caught.value.api, caught.value.about) == ("v2/user/get", "busy")


@pytest.mark.parametrize("result", [{}, PERSON | {"userid": "u2"}, PERSON | {"userid": "U1"}])
async def test_an_answer_about_another_person_is_no_answer(result: dict[str, Any]) -> None:
    assert await Scripted(PERSON).user("u1") == PERSON
    with pytest.raises(Unavailable):
        await Scripted(result).user("u1")


@pytest.mark.parametrize("result", [{}, {"name": "研发部"}, {"dept_id": 8, "name": "研发部"}])
async def test_an_answer_about_another_department_is_no_answer(result: dict[str, Any]) -> None:
    assert (await Scripted({"dept_id": "7", "name": "研发部"}).department(7))["dept_id"] == 7
    with pytest.raises(Unavailable, match="another department"):
        await Scripted(result).department(7)


@pytest.mark.parametrize("listing", ["department_users", "role_groups", "role_users"])
@pytest.mark.parametrize("page", [{}, {"has_more": False}, {"list": None}, {"list": {}}])
async def test_a_page_without_its_list_is_no_answer(listing: str, page: dict[str, Any]) -> None:
    async def read(page: dict[str, Any]) -> list[Any]:
        client = Scripted(page)
        if listing == "role_groups":
            return list(await client.role_groups())
        pages = client.department_users(1) if listing == "department_users" else client.role_users(1)
        return [one async for one in pages]

    assert await read({"has_more": False, "list": []}) == []
    with pytest.raises(Unavailable, match="without its list"):
        await read(page)
