"""Whose word counts for which field: the TOML file that ``OUTBOUND_OWNERS`` names::

[users]
title = "dingtalk"          # what people change there is accepted
remark = "report"           # told to the OA, and left until the OA's own value changes
exists = "report"           # somebody whom a person removed is not created again

[departments]
name = "oa"                 # the default: what people change there is written back

[templates."PROC-LEAVE"]
request_id_field = "OA No."
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from consumers.outbound.fields import NAMES
from consumers.outbound.ledger import EXISTS, Kind
from dingbridge.errors import SettingsError

Owner = Literal["oa", "dingtalk", "report"]
VARIABLE: Final = "OUTBOUND_OWNERS"

_TABLES: Final[dict[str, Kind]] = {"users": "user", "departments": "department"}
_DEFAULTS: Final[dict[str, Owner]] = {"mobile": "dingtalk"}


@dataclass(frozen=True, slots=True)
class Owners:
    """``users`` and ``departments`` are what the file says; ``request_id_fields`` is, by process code, the
    form field that holds the OA's request id."""

    users: dict[str, Owner] = field(default_factory=dict)
    departments: dict[str, Owner] = field(default_factory=dict)
    request_id_fields: dict[str, str] = field(default_factory=dict)

    def owner_of(self, kind: Kind, name: str) -> Owner:
        """``oa`` unless the file says otherwise; of ``mobile`` it is ``dingtalk``."""
        table = self.users if kind == "user" else self.departments
        return table.get(name) or _DEFAULTS.get(name, "oa")

    def request_id_field(self, process_code: str) -> str | None:
        """The form field for the request's id; None: this template has none."""
        return self.request_id_fields.get(process_code)


def load_owners(path: Path | None) -> Owners:
    """The file's; without one the defaults. Raises ``SettingsError`` with every mistake in it."""
    if path is None:
        return Owners()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError([f"{VARIABLE}: {path} cannot be read ({reason})"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{VARIABLE}: {path} is no TOML: {error}"]) from None
    problems = [
        f"{name}: is no table of this file; [users], [departments] and [templates] are"
        for name in document
        if name not in _TABLES and name != "templates"
    ]
    tables = {name: _owners(name, kind, document.get(name, {}), problems) for name, kind in _TABLES.items()}
    templates = _templates(document.get("templates", {}), problems)
    if problems:
        raise SettingsError([f"{VARIABLE}: {path}: {problem}" for problem in problems])
    return Owners(tables["users"], tables["departments"], templates)


def _owners(table: str, kind: Kind, found: Any, problems: list[str]) -> dict[str, Owner]:
    if not isinstance(found, dict):
        problems.append(f"{table}: is no table; it begins with [{table}]")
        return {}
    for name, owner in found.items():
        if name not in NAMES[kind] and name not in (EXISTS, "avatar"):
            problems.append(f"{table}.{name}: is no field; there are {', '.join((*NAMES[kind], EXISTS))}")
        elif owner not in get_args(Owner):
            problems.append(f"{table}.{name}: must be one of {', '.join(get_args(Owner))}")
        elif owner == "dingtalk" and name == EXISTS:
            problems.append(f"{table}.{name}: must be oa or report: who is there is the OA's to say")
        elif owner != "dingtalk" and name in ("mobile", "avatar"):
            problems.append(f"{table}.{name}: must be dingtalk, since no app can write it later")
    return found


def _templates(found: Any, problems: list[str]) -> dict[str, str]:
    fields = {}
    for code, table in found.items() if isinstance(found, dict) else [("", found)]:
        name = table.get("request_id_field") if isinstance(table, dict) else None
        if not isinstance(name, str) or not name or set(table) != {"request_id_field"}:
            place = f'templates."{code}"'
            problems.append(f'{place}: must hold request_id_field = "<name of a form field>", nothing else')
        else:
            fields[code] = name
    return fields
