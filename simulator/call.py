"""The parameters of a call, by the names and types of DingTalk's pages.

Read leniently (numbers also as text, objects also as their JSON), as DingTalk's own SDKs differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from dingbridge.simulator.errors import PlatformError

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its parameters, of the query or the body; the address that the caller knows us by
    (``http://host:port``); ``escaped`` if its JSON has a character as ``\\uXXXX``."""

    body: Mapping[str, Any]
    origin: str = ""
    escaped: bool = False

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self.body.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value:
            raise PlatformError(400002, f"无效的参数: 缺少{name}")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value = self.body.get(name, default)
        if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise PlatformError(400002, f"无效的参数: {name}")
        return value

    def given(self, name: str, most: int, errcode: int) -> str:
        """A text that may be absent, which is the same as empty. Raises ``PlatformError`` with ``errcode``
        for one of more than ``most`` characters."""
        value = self.body.get(name)
        if value is None or value == "":
            return ""
        if isinstance(value, bool | float | list | dict) or len(text := str(value)) > most:
            raise PlatformError(errcode)
        return text

    def flag(self, name: str) -> bool:
        return self.body.get(name) in (True, "true", 1, "1")

    def page(
        self, start: str, most: int, *, first: int | None = None, size: int | None = None
    ) -> tuple[int, int]:
        """``(first, size)`` of a page whose place is called ``start``; with what stands for one not given."""
        first, size = self.number(start, first), self.number("size", size)
        if first < 0 or not 1 <= size <= most:
            raise PlatformError(40035, f"不合法的参数: size为1到{most}，{start}不小于0")
        return first, size

    def inner(self, name: str) -> "Call":
        """The call whose parameters are in the object ``name``, given as an object or as its JSON."""
        value = self.body.get(name)
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                value = None
        if not isinstance(value, dict):
            raise PlatformError(400002, f"无效的参数: 缺少{name}")
        return Call(value, self.origin, self.escaped)
