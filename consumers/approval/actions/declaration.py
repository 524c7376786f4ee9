"""Business actions: one plain function for each template, called once when an instance is approved.

An actions module, named by ``APPROVAL_ACTIONS``, looks like this::

    async def forget_leave(approval: Approved, tx: Transaction) -> None:
        await tx.execute(delete(leave_ledger).where(leave_ledger.c.instance_id == approval.instance_id))

    @action("PROC-LEAVE", undo=forget_leave)
    async def record_leave(approval: Approved, tx: Transaction) -> None:
        await tx.execute(insert(leave_ledger).values(userid=approval.originator_userid, ...))

Both run in the transaction that archives the instance, so what they write happens exactly once, and only if
the archive's does. They must not call the network: an HTTP effect belongs into a consumer of its own.
Raise ``Reject("why")`` for a form that can never be acted on: the instance is archived, what the function
wrote is rolled back, and the words stand in ``approval_actions``; a replay of the event tries again. After
any other exception the instance is archived, too, and ``approval_actions`` has ``failed``, or ``not_undone``
for an undo; the function is called again for an hour.

A coroutine function ``forget(person, tx)`` beside them, which returns numbers of deleted rows by table, is
called by ``dingbridge forget`` for the tables that are the module's own.

Not here: when an action or its undo is called (``action_state.py``).
"""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from dingbridge import Person, Reject, Transaction
from dingbridge.consumers.approval.archive.components import Value, number_of
from dingbridge.consumers.approval.archive.document import cell_name, cell_value, cells_of, value_of
from dingbridge.consumers.approval.archive.times import local_day, local_time
from dingbridge.errors import SettingsError
from dingbridge.snapshots.coerce import as_list, as_text


class Form:
    """A form's values by the names that people see, as text, as DingTalk has them.

    A control with several names, such as a date range, is found by each of them. What DingTalk writes for a
    field that was left empty (``null``) is no value. DingTalk allows two fields of one name: where both are
    filled in, and differ, every method that asks by this name raises ``Reject``. ``alias`` tells them apart.
    """

    def __init__(self, fields: list[Any], zone: ZoneInfo) -> None:
        self._zone = zone
        self._by_name, self._by_alias = _Named(), _Named()
        for field in fields:
            if isinstance(field, Mapping):
                text = _filled(value_of(field, zone))
                for name, value in _named_values(field, text):
                    self._by_name.add(name, value, field)
                if alias := as_text(field.get("bizAlias")):
                    self._by_alias.add(alias, text, field)

    def __getitem__(self, name: str) -> str:
        """The value of a field that must be filled in. Raises ``Reject`` when it is absent or empty."""
        value = self._by_name.value(name)
        if value is None or _blank(value):
            raise Reject(f"the form has no value for {name!r}")
        return value

    def alias(self, name: str) -> str:
        """The value of the field whose ``bizAlias``, its name for programs, is ``name``: it stays when
        somebody renames the label. Raises ``Reject`` when it is absent or empty."""
        value = self._by_alias.value(name)
        if value is None or _blank(value):
            raise Reject(f"the form has no value for the alias {name!r}")
        return value

    def __contains__(self, name: str) -> bool:
        return name in self._by_name.values

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name.values)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a field that may be absent. Empty text is a value."""
        value = self._by_name.value(name)
        return default if value is None else value

    def day(self, name: str) -> date:
        """The day in a date or time field, as the form has it. Raises ``Reject`` if there is none."""
        day = local_day(self[name], self._zone)
        if day is None:
            raise Reject(f"{name!r} holds no day")
        return day

    def time(self, name: str) -> datetime:
        """A field with a day and a time, as UTC. Raises ``Reject`` if it is none, also for a day alone."""
        moment = local_time(self[name], self._zone)
        if moment is None:
            raise Reject(f"{name!r} holds no time of a day")
        return moment

    def number(self, name: str) -> Decimal:
        """A number field, with all its digits. Raises ``Reject`` when it is none."""
        number = number_of(self[name])
        if number is None:
            raise Reject(f"{name!r} holds no number")
        return number

    def parsed(self, name: str) -> Value | None:
        """A field by its type, as ``approval_form_values`` has it; None when there is none of this name."""
        field = self._by_name.field(name)
        if field is None:
            return None
        return value_of(field, self._zone)

    def table(self, name: str) -> list[dict[str, str | None]]:
        """A table's rows, each by the names of its columns; none when there is no such table."""
        rows: dict[int, dict[str, str | None]] = {}
        for row, cell in cells_of(self._by_name.field(name) or {}):
            rows.setdefault(row, {})[str(cell_name(cell))] = _filled(cell_value(cell, self._zone))
        return list(rows.values())


class _Named:
    """The fields of a form by a name, which two of them may have; one that is empty does not count."""

    def __init__(self) -> None:
        self.values: dict[str, str | None] = {}
        self._fields: dict[str, Mapping[str, Any]] = {}
        self._ambiguous: set[str] = set()

    def add(self, name: str, value: str | None, field: Mapping[str, Any]) -> None:
        known = self.values.get(name)
        if name not in self.values or (_blank(known) and not _blank(value)):
            self.values[name], self._fields[name] = value, field
        elif not _blank(value) and value != known:
            self._ambiguous.add(name)

    def value(self, name: str) -> str | None:
        """Raises ``Reject`` for two values that differ."""
        if name in self._ambiguous:
            raise Reject(f"the form has two different values for {name!r}; read the fields by alias")
        return self.values.get(name)

    def field(self, name: str) -> Mapping[str, Any] | None:
        """The field as DingTalk has it. Raises ``Reject`` for two values that differ."""
        self.value(name)
        return self._fields.get(name)


RevokedBy = Literal["terminated", "deleted", "revoked", "modified"]
"""What took an approval back: its ``terminate`` event or status after it was agreed to, its ``delete`` event,
or another instance that was approved and says REVOKE or MODIFY of it. After ``modified`` the action is called
for that other one, whose form is in force, unless it is taken back itself."""


@dataclass(frozen=True, slots=True)
class Approved:
    """An approved instance, as an action sees it. Times are UTC; None is what DingTalk does not have.

    ``form`` holds its values by name; ``document`` is the API's whole answer, where anything may be absent.
    ``revoked_by`` is None for an action, and what took the approval back for its undo. ``changes`` is the id
    of the instance whose form this one's replaces, None for a new approval; the action of that one is undone
    by now, or never ran.
    """

    corp_id: str
    instance_id: str
    process_code: str
    business_id: str | None
    title: str | None
    originator_userid: str | None
    originator_dept_id: str | None
    started_at: datetime | None
    finished_at: datetime | None
    form: Form
    document: Mapping[str, Any]
    revoked_by: RevokedBy | None = None
    changes: str | None = None


Function = Callable[[Approved, Transaction], Awaitable[None]]
Forget = Callable[[Person, Transaction], Awaitable[Mapping[str, int]]]
_Function = TypeVar("_Function", bound=Function)
_MARK = "__approval_actions__"


@dataclass(frozen=True, slots=True)
class Action:
    """What is called for the instances of a template. ``undo`` is None where nothing can take it back."""

    run: Function
    undo: Function | None = None


def action(*process_codes: str, undo: Function | None = None) -> Callable[[_Function], _Function]:
    """Mark a coroutine function as the action of these templates, and ``undo`` as what takes it back.

    Raises ``TypeError`` for anything else.
    """
    if not process_codes or not all(isinstance(code, str) and code for code in process_codes):
        raise TypeError('@action needs the template\'s process code, as @action("PROC-LEAVE")')
    if undo is not None and not inspect.iscoroutinefunction(undo):
        raise TypeError(f"@action: undo={undo!r} must be an async def")

    def mark(function: _Function) -> _Function:
        is_async = inspect.iscoroutinefunction(function)
        if not is_async:
            raise TypeError(f"@action: {function!r} must be an async def")
        marks = (*getattr(function, _MARK, ()), *((code, undo) for code in process_codes))
        setattr(function, _MARK, marks)
        return function

    return mark


def load_actions(where: str) -> dict[str, Action]:
    """The actions of the module ``where`` (dotted name, or path of a ``.py`` file), by process code.

    Functions that the module imports count too, so that it may pick from others. Raises ``SettingsError``.
    """
    module = _module(where)
    actions: dict[str, Action] = {}
    problems = []
    for value in vars(module).values():
        for code, undo in getattr(value, _MARK, ()) if inspect.isfunction(value) else ():
            if actions.setdefault(code, Action(value, undo)).run is not value:
                problems.append(
                    f"APPROVAL_ACTIONS: {where} has two actions for {code}, {name_of(actions[code].run)} and "
                    f"{name_of(value)}; keep one"
                )
    if problems:
        raise SettingsError(problems)
    return actions


def forgets_of(actions: Mapping[str, Action]) -> list[Forget]:
    """The functions ``forget`` of the modules in which ``actions`` are written."""
    modules = sorted({function.run.__module__ for function in actions.values()})
    found = (getattr(sys.modules.get(name), "forget", None) for name in modules)
    return [function for function in found if inspect.iscoroutinefunction(function)]


def name_of(function: Function) -> str:
    """Module and name of a function, for tables and logs."""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"


def _module(where: str) -> ModuleType:
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        path = Path(where).resolve()
        name = f"approval_actions_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    except Exception as error:
        # its text is the author's own mistake in words (a name, a line), at start, before any event
        raise SettingsError(
            [
                f"APPROVAL_ACTIONS: {where} cannot be loaded ({type(error).__name__}: {error}); it is "
                "a module such as consumers.approval.examples, or the path of a .py file"
            ]
        ) from error


def _blank(text: str | None) -> bool:
    return text is None or not text.strip()


def _filled(value: Value) -> str | None:
    """A value's text; None for DingTalk's ``null``. Empty text is a value."""
    return None if value.empty and value.text and value.text.strip() else value.text


def _named_values(field: Mapping[str, Any], value: str | None) -> Iterator[tuple[str, str | None]]:
    name = as_text(field.get("name"))
    if name is None:
        return
    yield name, value
    names, values = as_list(name), as_list(value)
    if names is not None and values is not None:
        yield from ((str(part), as_text(said)) for part, said in zip(names, values, strict=False))
