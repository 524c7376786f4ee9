"""The EventTypes that are known, and how each spells its fields.

Responsible for: loading ``catalogue.json`` and answering what a type's fields are called and typed in
either payload generation, and which of them says what the event is about. Not responsible for
applying that (``normalise``, ``split``).

The data file, one entry for each EventType::

    "org_dept_create": {
      "title": {"zh": "通讯录企业部门创建", "en": "Department created"},
      "family": "contact",
      "page": "https://open.dingtalk.com/document/…",
      "subject": {"kind": "department", "fields": ["deptId"], "list": true},
      "values": {"action": {"add": {"zh": "增加", "en": "added"}, …}},
      "old": {"TimeStamp": "str ms", "DeptId": "list[int] id", "OptStaffId?": "str id", …},
      "new": {"deptId": "list[int] id", …}
    }

``old`` and ``new`` are DingTalk's two payload generations: the flat, mostly PascalCase bodies of
``register_call_back``, each of which may hold what ``oldMay`` has, and the bodies of today's event pages,
which all begin with ``newEnvelope``; a type that comes without one of its names declares that name itself.
What third-party apps get under the same type names (whole users and departments, or a refusal:
enterprise-modifies-the-employee-incident, and captured) stands in ``new``, too.
A type is what JSON holds on DingTalk's side; ``ms`` marks epoch milliseconds, ``id`` an identifier. A ``?``
after the name says that callbacks come without the field, too. An object of which the fields are known is
written as an object of such declarations, a list of them as a list that holds it.
``fields`` of a subject are canonical (camelCase) names in order of preference; ``items`` names a list
of objects that each are one event (attendance), ``itemKey`` the name of an item's own identity;
``itemList`` says that an item's own field is a list, of which each entry is one event. ``values`` gives the
meaning of values that matter, by canonical field (``dataList.type`` in its objects); there may be more
tomorrow. ``version`` (1 where it
is absent) stands in ``dataschema`` and rises when a change of ``data`` breaks its readers. ``families`` and
``fields``, beside ``events``, hold the families' titles and what fields mean in whichever type they stand.

Sources: the event pages of open.dingtalk.com ("event-list"), and for the old form the historical
pages "HTTP回调 / 事件列表" (slug ``test-callback-url-events``).
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, NamedTuple

URL_CHECKS = frozenset({"check_url", "check_create_suite_url", "check_update_suite_url"})
"""Sent to verify a callback URL: answered, never published."""

EVENT_TYPE_RE = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""A legal EventType (to be matched whole): it becomes part of a topic's name, of which Kafka allows
249 characters in all."""

UNCLASSIFIED = "unclassified"
"""The topic of what cannot be normalised. Reserved: an EventType of this name is not legal."""

OTHER_FAMILY = "other"
"""What metrics call the family of an EventType that is not in the catalogue."""

Part = Literal["all", "contacts", "approvals"]
"""What consumers keep a copy of, and can compare with DingTalk."""

_CONTACTS = ("user_", "org_dept_", "org_admin_", "label_", "org_change")

Form = Literal["old", "new", "unknown"]
FORMS: tuple[Form, ...] = ("old", "new", "unknown")
_DOCUMENTED: tuple[Form, ...] = ("old", "new")


class Words(NamedTuple):
    """One text in Chinese and in English."""

    zh: str
    en: str

    @property
    def both(self) -> str:
        """The two in one line."""
        return f"{self.zh} · {self.en}"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. ``name`` is its camelCase name (below the top level: its own), ``wire`` its JSON type at
    DingTalk (``str``, ``int``, ``list[int]``, …), ``mark`` is ``ms``, ``id`` or empty. ``optional`` says that
    callbacks come without it, too. ``nested`` are the fields of an object, or of a list's objects, where
    they are known."""

    name: str
    wire: str
    mark: str
    is_list: bool
    optional: bool = False
    nested: tuple["Field", ...] = ()


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one form of one type spells its fields: ``fields`` by DingTalk's spelling, ``back`` from
    the camelCase name to the spelling where the two differ."""

    fields: Mapping[str, Field]
    back: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Subject:
    """What an event is about: see the module's docstring for the meaning of each part."""

    kind: str
    fields: tuple[str, ...]
    is_list: bool
    items: str | None
    item_key: str | None
    item_list: bool


@dataclass(frozen=True, slots=True, eq=False)
class EventSpec:
    """One EventType, of which there is one object. ``only`` holds the spellings by which a form is
    recognised, ``page`` is the address of DingTalk's description, ``values`` gives the meaning of values by
    canonical field, or by its path."""

    event_type: str
    subject: Subject | None
    spellings: Mapping[Form, Spelling]
    only: Mapping[Form, frozenset[str]]
    version: int
    title: Words
    family: str
    page: str
    values: Mapping[str, Mapping[str, Words]]

    def form_of(self, payload: Iterable[str]) -> Form:
        """The generation that most of the payload's names belong to; ``old`` if none decides, since every new
        body carries ``EventTime``."""
        if len(self.spellings) == 1:
            return next(iter(self.spellings))
        names = frozenset(payload)
        return "new" if len(names & self.only["new"]) > len(names & self.only["old"]) else "old"


class Catalogue(Mapping[str, EventSpec]):
    """All known EventTypes, each with its entry."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.envelope: Mapping[str, str] = document["newEnvelope"]
        """What all bodies of today's generation begin with, as it is declared."""
        self._old_may: Mapping[str, str] = document.get("oldMay", {})
        self._events: dict[str, dict[str, Any]] = document["events"]
        self._specs: dict[str, EventSpec] = {}
        self.families = {name: Words(**title) for name, title in document["families"].items()}
        """Each family's title."""
        self.meanings = {name: Words(**meaning) for name, meaning in document["fields"].items()}
        """What a field means, by its canonical name, whichever type it stands in."""

    def __contains__(self, event_type: object) -> bool:
        return event_type in self._events

    def __iter__(self) -> Iterator[str]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, event_type: str) -> EventSpec:
        spec = self._specs.get(event_type)
        if spec is None:
            spec = self._specs[event_type] = self._spec(event_type, self._events[event_type])
        return spec

    def spec(self, event_type: str) -> EventSpec | None:
        """``get``, without the exception by which that finds out: this is asked with each event."""
        return self._specs.get(event_type) or self.get(event_type)

    def meaning(self, field: str) -> Words | None:
        """What a field of this name means, in whichever type it stands."""
        return self.meanings.get(field) or self.meanings.get(camel_case(field))

    def _spec(self, event_type: str, entry: dict[str, Any]) -> EventSpec:
        spelled: dict[Form, dict[str, Any]] = {}
        if "old" in entry:
            spelled["old"] = {**entry["old"], **self._old_may}
        if "new" in entry:
            own = {_name(name)[0] for name in entry["new"]}
            head = {name: of for name, of in self.envelope.items() if _name(name)[0] not in own}
            spelled["new"] = {**head, **entry["new"]}
        spellings = {form: _spelling(names) for form, names in spelled.items()}
        old, new = (
            frozenset(spellings[form].fields) if form in spellings else frozenset[str]()
            for form in _DOCUMENTED
        )
        return EventSpec(
            event_type,
            _subject(entry.get("subject")),
            spellings,
            {"old": old - new, "new": new - old},
            entry.get("version", 1),
            Words(**entry["title"]),
            entry["family"],
            entry["page"],
            {
                name: {value: Words(**meaning) for value, meaning in values.items()}
                for name, values in entry.get("values", {}).items()
            },
        )


def camel_case(spelled: str) -> str:
    """``UserId``, ``user_id`` and ``userId`` are all ``userId``; ``userid`` stays, nothing in it says
    where a word begins."""
    head, *rest = spelled.split("_")
    return head[:1].lower() + head[1:] + "".join(part[:1].upper() + part[1:] for part in rest)


def class_name(name: str) -> str:
    """The name as a class has it: ``bpms_instance_change`` is ``BpmsInstanceChange``."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


def _spelling(names: Mapping[str, Any]) -> Spelling:
    fields: dict[str, Field] = {}
    back: dict[str, str] = {}
    for name, declared in names.items():
        spelled, _ = _name(name)
        canonical = camel_case(spelled)
        # A second spelling of one name (``EventTime``, ``event_time``) keeps its own, and so does
        # ``event_type`` beside the EventType that every body has.
        if canonical in back or canonical == "eventType":
            canonical = spelled
        elif canonical != spelled:
            back[canonical] = spelled
        fields[spelled] = _field(name, declared, canonical)
    return Spelling(fields, back)


def _name(declared: str) -> tuple[str, bool]:
    """``result?`` is ``result``, and optional."""
    return declared.removesuffix("?"), declared.endswith("?")


def _field(declared_name: str, declared: Any, canonical: str | None = None) -> Field:
    name, optional = _name(declared_name)
    name = canonical or name
    if isinstance(declared, str):
        wire, _, mark = declared.partition(" ")
        return Field(name, wire, mark, wire.startswith("list"), optional)
    is_list = isinstance(declared, list)
    inner = declared[0] if is_list else declared
    nested = tuple(_field(inner_name, value) for inner_name, value in inner.items())
    return Field(name, "list[object]" if is_list else "object", "", is_list, optional, nested)


def _subject(entry: Mapping[str, Any] | None) -> Subject | None:
    if entry is None:
        return None
    return Subject(
        entry["kind"],
        tuple(entry["fields"]),
        entry.get("list", False),
        entry.get("items"),
        entry.get("itemKey"),
        entry.get("itemList", False),
    )


catalogue = Catalogue(json.loads(files("dingbridge").joinpath("schemas/catalogue.json").read_bytes()))


def known(event_type: str | None) -> bool:
    """Is this EventType in the catalogue? Metric labels hold only names for which it is."""
    return event_type in catalogue


def nearest(event_type: str, among: Iterable[str] | None = None, most: int = 1) -> list[str]:
    """The EventTypes (all, or those of ``among``) that are spelled most like this one."""
    lower = {name.lower(): name for name in (catalogue if among is None else among)}
    return [lower[found] for found in difflib.get_close_matches(event_type.lower(), lower, n=most)]


def misspelt(event_type: str) -> str | None:
    """Why this EventType is taken for a misspelling, in words; None for one that is known, and for
    ``unclassified``."""
    if event_type in catalogue or event_type == UNCLASSIFIED:
        return None
    near = nearest(event_type)
    return f"this version knows no EventType {event_type!r}{f', {near[0]} is near it' if near else ''}"


def family_of(event_type: str | None) -> str:
    """The family that the catalogue puts this EventType into, for metrics; ``other`` for one it has not."""
    spec = catalogue.spec(event_type) if event_type is not None else None
    return OTHER_FAMILY if spec is None else spec.family


def part_of(event_type: str) -> Part | None:
    """What has to be compared after an event of this type that does not say whom it is about; None where no
    consumer of ours keeps a copy."""
    if event_type.startswith("bpms_"):
        return "approvals"
    return "contacts" if event_type.startswith(_CONTACTS) else None


def legal(event_type: str) -> bool:
    """May this EventType name a topic?"""
    return event_type in catalogue or (
        EVENT_TYPE_RE.fullmatch(event_type) is not None and event_type != UNCLASSIFIED
    )
