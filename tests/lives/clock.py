"""A clock that jumps: hours of a life pass in a second, and the same seed gives the same life again.

The loop has no real waiting. When nothing is ready, its time is that of the next timer. Nothing runs beside
it: what the code gives to a thread runs in the loop (``run_in_executor`` here, SQLite in ``sqlite.py``), so
no order depends on a thread. ``time.time``, ``time.monotonic``, ``datetime.now`` and what took them as
defaults follow the loop while ``jumping`` is open. docs/decisions/0048 has the reasons.
"""

import asyncio
import datetime as datetime_module
import math
import re
import selectors
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FunctionType
from typing import Any

OURS = re.compile(r"(dingbridge|consumers|simulator|tests\.lives)(\.|$)")
"""The modules whose time jumps."""

BEGAN_S = 1_772_413_200.0
"""When every life begins, epoch s: Monday 2026-03-02, 09:00 in Shanghai."""

SHORTEST_COARSE_S = 0.4
"""Sleeps from here on are rounded up while the loop is coarse: polls, and not the pace of calls."""


class Stuck(Exception):
    """Nothing is ready and nothing is to come."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """``coarse_s``: sleeps end on multiples of it, so that what looks twice a second at nothing costs less;
    a machine that is busy does so, too. Deadlines (``call_at``) stay as they are."""

    def __init__(self) -> None:
        self.now = 0.0
        self.coarse_s = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        when = self.now + delay
        if self.coarse_s and delay >= SHORTEST_COARSE_S:
            when = math.ceil(when / self.coarse_s) * self.coarse_s
        return self.call_at(when, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future: asyncio.Future[Any] = self.create_future()
        self.call_soon(_run_into, future, func, args)
        return future


def _run_into(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        result = func(*args)
    except BaseException as error:
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("every task waits for something that nobody will do")
        if timeout > 0:
            # asyncio's own sum: its next timer, which must not come out a hair later than it is due
            self._loop.now = max(self._loop.now + timeout, self._loop._scheduled[0]._when)  # type: ignore[attr-defined]
        return []


class _MomentType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime_module.datetime)


@contextmanager
def jumping() -> Iterator[JumpingLoop]:
    """A loop whose time is everybody's time: what is loaded of ours sees it."""
    loop = JumpingLoop()

    class Moment(datetime_module.datetime, metaclass=_MomentType):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime_module.datetime.fromtimestamp(BEGAN_S + loop.now, tz)

    def epoch_s() -> float:
        return BEGAN_S + loop.now

    def epoch_ns() -> int:
        return round((BEGAN_S + loop.now) * 1000) * 1_000_000

    def since_start() -> float:
        return loop.now

    fake = {time.time: epoch_s, time.time_ns: epoch_ns, time.monotonic: since_start}
    with _replaced(fake, Moment):
        try:
            yield loop
        finally:
            loop.close()


@contextmanager
def _replaced(fake: dict[Any, Any], moment: type) -> Iterator[None]:
    undo: list[Callable[[], None]] = []

    def put(owner: Any, name: str, value: Any) -> None:
        before = vars(owner)[name] if isinstance(owner, type) else getattr(owner, name)
        setattr(owner, name, value)
        undo.append(lambda: setattr(owner, name, before))

    for real, stand_in in list(fake.items()):
        put(time, real.__name__, stand_in)
    for name, module in list(sys.modules.items()):
        if module is None or not OURS.match(name):
            continue
        for attribute, value in list(vars(module).items()):
            if value is datetime_module.datetime:
                put(module, attribute, moment)
            elif _is_one(value, fake):
                put(module, attribute, fake[value])
            elif isinstance(value, type) and value.__module__ == name:
                for inner, kept in list(vars(value).items()):
                    if isinstance(kept, staticmethod) and _is_one(kept.__func__, fake):
                        put(value, inner, staticmethod(fake[kept.__func__]))
        for function in _functions(module):
            defaults, keyword = function.__defaults__, function.__kwdefaults__
            if defaults and any(_is_one(value, fake) for value in defaults):
                put(function, "__defaults__", tuple(fake[v] if _is_one(v, fake) else v for v in defaults))
            if keyword and any(_is_one(value, fake) for value in keyword.values()):
                put(
                    function,
                    "__kwdefaults__",
                    {name: fake[v] if _is_one(v, fake) else v for name, v in keyword.items()},
                )
    try:
        yield
    finally:
        for one in reversed(undo):
            one()


def _is_one(value: Any, fake: dict[Any, Any]) -> bool:
    return callable(value) and any(value is real for real in fake)


def _functions(module: Any) -> Iterator[FunctionType]:
    for value in list(vars(module).values()):
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            yield value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for member in list(vars(value).values()):
                plain = getattr(member, "__func__", member)
                if isinstance(plain, FunctionType):
                    yield plain


def everywhere(real: Any, stand_in: Any) -> AbstractContextManager[None]:
    """``stand_in`` in every loaded module of ours that has ``real``, under whatever name."""
    return all_everywhere((real, stand_in))


@contextmanager
def all_everywhere(*pairs: tuple[Any, Any]) -> Iterator[None]:
    """The same of several pairs, in one pass through the modules."""
    stand_ins = {id(real): stand_in for real, stand_in in pairs}
    places = [
        (module, name, value)
        for where, module in list(sys.modules.items())
        if module is not None and OURS.match(where)
        for name, value in list(vars(module).items())
        if id(value) in stand_ins
    ]
    for module, name, real in places:
        setattr(module, name, stand_ins[id(real)])
    try:
        yield
    finally:
        for module, name, real in places:
            setattr(module, name, real)
