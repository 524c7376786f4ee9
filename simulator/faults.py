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
expire     the access token is over with this call
edit       the fields of ``drop`` are missing in the answer; a field is named by its path,
           ``result.list.mobile``, which goes through each item of a list
repeat     a page of a listing shows the first page's people, and says that there is more
half       the answer breaks off in its middle
late       reads lag ``lag_ms`` at most behind every change (``sight.py``); of no call by itself
=========  ====================================================================================

With ``done`` the call is done first, and only its answer is lost; that is so for ``cut`` unless it is false.
With ``match`` it hits only calls with these parameters: one person, one department, one approval.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import orjson

from dingbridge.simulator.cruelties import CRUELTIES
from dingbridge.simulator.errors import ActionError

Kind = Literal[
    "errcode", "http", "ban", "hang", "cut", "deny", "act", "expire", "edit", "repeat", "half", "late"
]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
KEPT: Final = 1_000
_FIELDS: Final = frozenset(
    {"api", "kind", "match", "errcode", "sub_code", "code", "status", "after", "times", "done"}
    | {"action", "arguments", "every", "for_s", "drop", "lag_ms"}
)
_BEFORE: Final = ("act", "expire")
_ANSWERED: Final = (*_BEFORE, "edit", "repeat", "half")
"""Kinds whose call is answered all the same: any number of them hits one call."""


@dataclass(slots=True)
class Fault:
    """One fault. ``api`` is a call's name (``v2/user/get``) or ``*``; ``match`` the parameters, of the body,
    the query or the path, that a call must have, all of them, each as text; ``after`` such calls are let
    through first, and of the others it hits each ``every``-th; ``times`` is how many more it hits (``None``:
    until cleared, or until ``until`` by the clock); ``hits`` how many it has hit;
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
    every: int = 1
    until: float = math.inf
    drop: list[str] = field(default_factory=list)
    lag_ms: int = 0
    met: int = 0
    hits: int = 0
    without: int = 0
    first_pages: dict[str, list[Any]] = field(default_factory=dict, repr=False)
    cleared: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def as_json(self) -> dict[str, Any]:
        shown = {
            name: getattr(self, name) for name in ("id", "api", "kind", "after", "times", "done", "hits")
        }
        optional = ("errcode", "sub_code", "code", "status", "action")
        shown |= {n: getattr(self, n) for n in optional if getattr(self, n) is not None}
        if self.every > 1:
            shown["every"] = self.every
        return shown | ({"match": self.match, "without": self.without} if self.match else {})

    def meets(self, parameters: Mapping[str, Any]) -> bool:
        """Whether a call of ``api`` with these is one that it hits."""
        self.without += bool(self.match) and self.match.keys().isdisjoint(parameters)
        return all(n in parameters and _text(parameters[n]) == v for n, v in self.match.items())

    def is_due(self) -> bool:
        """Count a call that it is meant for; whether it hits that one."""
        self.met += 1
        return self.met > self.after and (self.met - self.after) % self.every == 0


class Faults:
    """All faults, in the order in which they were asked for. ``apis``: the names of calls that there are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.apis: Collection[str] = ()
        self._clock = clock
        self._all: dict[int, Fault] = {}
        self._last_id = 0

    def __iter__(self) -> Iterator[Fault]:
        now = self._clock()
        for fault in [fault for fault in self._all.values() if fault.until <= now]:
            self.clear(fault.id)
        return iter(self._all.values())

    def lag_ms(self) -> int:
        """The longest lag of reads that any fault asks for, which is hit whenever a change asks for it."""
        late = [fault for fault in self if fault.kind == "late"]
        for fault in late:
            fault.hits += 1
        return max((fault.lag_ms for fault in late), default=0)

    def add(self, wanted: Mapping[str, Any]) -> Fault:
        """A new fault from its JSON, which may be based on one of ``CRUELTIES``. Raises ``ActionError`` when
        it makes no sense."""
        wanted = dict(wanted)
        if (cruelty := wanted.pop("cruelty", None)) is not None:
            if cruelty not in CRUELTIES:
                raise ActionError(f"there is no cruelty {cruelty}; there are {', '.join(CRUELTIES)}")
            wanted = {**CRUELTIES[cruelty], **wanted}
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
        if not isinstance(done := wanted.get("done", kind == "cut"), bool) or (done and kind in _ANSWERED):
            raise ActionError("done must be true or false, and an act has none")
        drop = wanted.get("drop", [])
        if not isinstance(drop, list) or (kind == "edit" and not drop):
            raise ActionError("an edit needs a list of fields to drop")
        if kind == "late" and (not wanted.get("lag_ms") or api != "*"):
            raise ActionError("reads that are late need a lag_ms, and no api")
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
            _number(wanted, "every", 1) or 1,
            self._clock() + (_number(wanted, "for_s", 1) or math.inf),
            drop,
            _number(wanted, "lag_ms", 1) or 0,
        )
        self._last_id = fault.id
        self._all[fault.id] = fault
        return fault

    def ask_parameters(self, api: str) -> bool:
        """Whether ``hit`` has to know the parameters of such a call."""
        return any(
            (fault.match or fault.kind == "repeat") and fault.api in (api, "*")
            for fault in self._all.values()
        )

    def hit(self, api: str, parameters: Mapping[str, Any] | None = None) -> list[Fault]:
        """The faults that this call meets, in order, each counted; at most one of them is its answer."""
        met: list[Fault] = []
        ended = False
        for fault in self:
            if fault.kind == "late" or fault.api not in (api, "*") or not fault.meets(parameters or {}):
                continue
            ends = fault.kind not in _ANSWERED
            if fault.times != 0 and fault.is_due() and not (ends and ended):
                met.append(fault)
                ended = ended or ends
        for fault in met:
            fault.hits += 1
            if fault.times is not None:
                fault.times -= 1
        return sorted(met, key=lambda fault: (fault.kind not in _BEFORE, fault.kind == "half"))

    def clear(self, fault_id: int | None = None) -> int:
        """Take away one fault, or all. Returns how many; calls that hang are let go."""
        gone = [f for f in self._all.values() if fault_id in (None, f.id)]
        for fault in gone:
            del self._all[fault.id]
            fault.cleared.set()
        return len(gone)


def changed(answer: bytes, faults: Iterable[Fault], parameters: Mapping[str, Any]) -> bytes:
    """The answer of a call with ``parameters`` as ``faults`` show it; what is no JSON is halved only."""
    for fault in faults:
        if fault.kind == "half":
            answer = answer[: len(answer) // 2]
        elif fault.kind in ("edit", "repeat"):
            try:
                shown = orjson.loads(answer)
            except orjson.JSONDecodeError:
                continue
            if fault.kind == "edit":
                _edit(shown, fault)
            else:
                _repeat(shown, fault, parameters)
            answer = orjson.dumps(shown)
    return answer


def _edit(shown: Any, fault: Fault) -> None:
    for path in fault.drop:
        for holder, name in _places(shown, path.split(".")):
            del holder[name]


def _places(value: Any, names: Sequence[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Each object below ``value``, through lists, that has the field at the end of the path."""
    if isinstance(value, list):
        for item in value:
            yield from _places(item, names)
    elif isinstance(value, dict) and names[0] in value:
        if len(names) == 1:
            yield value, names[0]
        else:
            yield from _places(value[names[0]], names[1:])


def _repeat(shown: Any, fault: Fault, parameters: Mapping[str, Any]) -> None:
    page = shown.get("result") if isinstance(shown, dict) else None
    place = next((name for name in ("cursor", "offset") if name in parameters), None)
    if not isinstance(page, dict) or not isinstance(page.get("list"), list) or place is None:
        return
    listing = _text({n: str(v) for n, v in sorted(parameters.items()) if n != place})
    page["list"] = fault.first_pages.setdefault(listing, page["list"])
    following = int(parameters[place]) + int(parameters.get("size", 1))
    page |= (
        {"has_more": True, "next_cursor": following}
        if "has_more" in page
        else {
            "hasMore": True,
            "nextCursor": following,
        }
    )


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
