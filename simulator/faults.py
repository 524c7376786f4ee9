"""Faults of the Open API that somebody asked for: which call is hit by which, and when.

Pure: says what is to happen, ``dingbridge.simulator.api`` does it. Nothing here happens at DingTalk by
request; each kind is one of its own answers on a bad day (call-frequency-limit, server-api-error-codes-1),
but for ``act``.

=========  ====================================================================================
errcode    an answer with ``errcode`` (and ``sub_code``); on the newer host, one with ``code``
http       the HTTP ``status``, with no JSON
ban        the firewall's answer, which has no errcode; with a ``status``, its HTML page
hang       no answer until the fault is cleared; then the connection is cut
cut        the call is done, and its answer is lost: the connection is cut instead
deny       60020, the address is not allowed; with an ``errcode``, that permission is missing
act        something happens in the company (``action``, ``arguments``) before the call is answered
=========  ====================================================================================

With ``done`` the call is done first, and only its answer is lost; that is so for ``cut`` unless it is false.
With ``match`` it hits only calls with these parameters: one person, one department, one approval.
"""

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from dingbridge.simulator.errors import ActionError

Kind = Literal["errcode", "http", "ban", "hang", "cut", "deny", "act"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
KEPT: Final = 1_000
_FIELDS: Final = frozenset(
    {"api", "kind", "match", "errcode", "sub_code", "code", "status", "after", "times", "done"}
    | {"action", "arguments"}
)


@dataclass(slots=True)
class Fault:
    """One fault. ``api`` is a call's name (``v2/user/get``) or ``*``; ``match`` the parameters, of the body,
    the query or the path, that a call must have, all of them, each as text; ``after`` such calls are let
    through first; ``times`` is how many more it hits (``None``: until cleared); ``hits`` how many it has hit;
    ``without`` how many calls of ``api`` had none of the parameters: many, and no hit, is a misspelt name."""

    id: int
    api: str
    kind: Kind
    errcode: int | None = None
    sub_code: str | None = None
    status: int | None = None
    after: int = 0
    times: int | None = None
    action: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    code: str | None = None
    done: bool = False
    match: dict[str, str] = field(default_factory=dict)
    hits: int = 0
    without: int = 0
    cleared: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def as_json(self) -> dict[str, Any]:
        shown = {
            name: getattr(self, name) for name in ("id", "api", "kind", "after", "times", "done", "hits")
        }
        optional = ("errcode", "sub_code", "code", "status", "action")
        shown |= {n: getattr(self, n) for n in optional if getattr(self, n) is not None}
        return shown | ({"match": self.match, "without": self.without} if self.match else {})

    def meets(self, parameters: Mapping[str, Any]) -> bool:
        """Whether a call of ``api`` with these is one that it hits."""
        self.without += bool(self.match) and self.match.keys().isdisjoint(parameters)
        return all(n in parameters and _text(parameters[n]) == v for n, v in self.match.items())


class Faults:
    """All faults, in the order in which they were asked for. ``apis``: the names of calls that there are."""

    def __init__(self) -> None:
        self.apis: Collection[str] = ()
        self._all: dict[int, Fault] = {}
        self._last_id = 0

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._all.values())

    def add(self, wanted: Mapping[str, Any]) -> Fault:
        """A new fault from its JSON. Raises ``ActionError`` when it makes no sense."""
        if unknown := sorted(set(wanted) - _FIELDS):
            raise ActionError(f"a fault has no {unknown[0]}; it has {', '.join(sorted(_FIELDS))}")
        api, kind = wanted.get("api", "*"), wanted.get("kind")
        if api != "*" and api not in self.apis:
            raise ActionError(
                f"there is no call {api}; api must be * or one of {', '.join(sorted(self.apis))}"
            )
        if kind not in KINDS:
            raise ActionError(f"kind must be one of {', '.join(KINDS)}")
        if kind == "errcode" and wanted.get("errcode") is None and not wanted.get("code"):
            raise ActionError(
                'a fault of this kind needs an errcode, as {"kind": "errcode", "errcode": 90018}, or, on the '
                "newer host, a code"
            )
        if not isinstance(done := wanted.get("done", kind == "cut"), bool) or (done and kind == "act"):
            raise ActionError("done must be true or false, and an act has none")
        if kind == "act" and not isinstance(wanted.get("action"), str):
            raise ActionError('this fault needs an action, as {"kind": "act", "action": "leave"}')
        arguments = wanted.get("arguments", {})
        if not isinstance(arguments, dict):
            raise ActionError("arguments must be an object")
        match = wanted.get("match", {})
        if not isinstance(match, dict) or ("match" in wanted and not match):
            raise ActionError('match must be an object of parameters, as {"userid": "0000018855630065"}')
        if len(self._all) >= KEPT:
            raise ActionError(f"there are {KEPT} faults already; clear them with DELETE /_sim/faults")
        fault = Fault(
            self._last_id + 1,
            api,
            kind,
            _number(wanted, "errcode", -(2**31)),
            str(wanted["sub_code"]) if wanted.get("sub_code") is not None else None,
            _number(wanted, "status", 200, 599),
            _number(wanted, "after", 0) or 0,
            _number(wanted, "times", 1),
            wanted.get("action"),
            arguments,
            str(wanted["code"]) if wanted.get("code") is not None else None,
            done,
            {name: _text(value) for name, value in match.items()},
        )
        self._last_id = fault.id
        self._all[fault.id] = fault
        return fault

    def ask_parameters(self, api: str) -> bool:
        """Whether ``hit`` has to know the parameters of such a call."""
        return any(fault.match and fault.api in (api, "*") for fault in self._all.values())

    def hit(self, api: str, parameters: Mapping[str, Any] | None = None) -> list[Fault]:
        """The faults that this call meets, in order, each counted: any number of kind ``act``, and at most
        one other, the last of the list."""
        met: list[Fault] = []
        for fault in self._all.values():
            if fault.api not in (api, "*") or fault.times == 0 or not fault.meets(parameters or {}):
                continue
            if fault.after:
                fault.after -= 1
            elif fault.kind == "act" or not met or met[-1].kind == "act":
                met.append(fault)
        met.sort(key=lambda fault: fault.kind != "act")
        for fault in met:
            fault.hits += 1
            if fault.times is not None:
                fault.times -= 1
        return met

    def clear(self, fault_id: int | None = None) -> int:
        """Take away one fault, or all. Returns how many; calls that hang are let go."""
        gone = [f for f in self._all.values() if fault_id in (None, f.id)]
        for fault in gone:
            del self._all[fault.id]
            fault.cleared.set()
        return len(gone)


def _text(value: Any) -> str:
    """A parameter as it is compared: 1 and "1" are the same, as DingTalk's own SDKs differ."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(wanted: Mapping[str, Any], name: str, least: int, most: int = 2**31) -> int | None:
    value = wanted.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ActionError(f"{name} must be a whole number, {least} to {most}")
    return value
