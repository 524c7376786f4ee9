"""Who owns which field: the TOML file that ``OUTBOUND_OWNERS`` names::

[users]
title = "dingtalk"          # what people change there is accepted
remark = "report"           # reported to the OA, and left until the OA's own value changes
exists = "report"           # somebody whom a person removed is not created again

[departments]
name = "oa"                 # the default: what people change there is written back

[templates."PROC-LEAVE"]
request_id_field = "OA No."
originators = ["*"]         # in whose names messages may start it: own ids; "*": of all whom the
                            # OA has named; without a list in nobody's
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from dingbridge.consumers.outbound.fields import NAMES
from dingbridge.consumers.outbound.ledger import EXISTS, Kind
from dingbridge.errors import SettingsError

Owner = Literal["oa", "dingtalk", "report"]
VARIABLE: Final = "OUTBOUND_OWNERS"

EVERYBODY: Final = "*"
"""In ``originators``: everybody whom the OA has named."""
_TABLES: Final[dict[str, Kind]] = {"users": "user", "departments": "department"}
_DEFAULTS: Final[dict[str, Owner]] = {"mobile": "dingtalk"}


@dataclass(frozen=True, slots=True)
class Template:
    """An approval template in the file: the form field for the OA's request id, and in whose names messages
    may start it: own ids, userids of people whom the OA has not named, and ``EVERYBODY``."""

    request_id_field: str | None = None
    originators: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Owners:
    """The content of the file; ``templates`` by process code."""

    users: dict[str, Owner] = field(default_factory=dict)
    departments: dict[str, Owner] = field(default_factory=dict)
    templates: Mapping[str, Template] = field(default_factory=dict)

    def owner_of(self, kind: Kind, name: str) -> Owner:
        """``oa`` unless the file says otherwise; of ``mobile`` it is ``dingtalk``."""
        table = self.users if kind == "user" else self.departments
        return table.get(name) or _DEFAULTS.get(name, "oa")

    def template(self, process_code: str) -> Template:
        """The template of this process code; one that the file lacks has nothing."""
        return self.templates.get(process_code, Template())


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


def _templates(found: Any, problems: list[str]) -> dict[str, Template]:
    templates = {}
    for code, table in found.items() if isinstance(found, dict) else [("", found)]:
        place = f'templates."{code}"'
        if not isinstance(table, dict) or not table or table.keys() - {"request_id_field", "originators"}:
            problems.append(f"{place}: must hold request_id_field or originators, and nothing else")
            continue
        name, listed = table.get("request_id_field"), table.get("originators", [])
        if name is not None and not (isinstance(name, str) and name):
            problems.append(f"{place}.request_id_field: must be the name of a form field")
        if not (isinstance(listed, list) and all(isinstance(one, str) and one for one in listed)):
            problems.append(f'{place}.originators: must be a list of own ids, or ["{EVERYBODY}"]')
            continue
        templates[code] = Template(name, frozenset(listed))
    return templates
