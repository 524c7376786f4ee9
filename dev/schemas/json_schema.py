"""JSON Schemas of ``data``, and of whole records.

Responsible for: writing a ``DataModel`` down in what draft-07 and 2020-12 have in common, so that one text is
right under both. Not responsible for files, or for what an AsyncAPI document adds.

What tools need, and each has a test: everything inline, without ``$ref``; ``title`` on every object, since
generators make class names of it, and on nothing else; ``type`` beside every ``const`` and ``enum``; bounds
on every integer, since Java's generators take a 32-bit one otherwise. Values that matter are ``examples`` and
never an ``enum``: DingTalk adds some without a word, and a closed list would stop its readers.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from dingbridge.events.catalogue import FORMS, EventSpec, Form, catalogue, class_name
from dingbridge.events.envelope import TYPE_PREFIX, urn
from dingbridge.schema.model import (
    MAX_INTEGER,
    DataModel,
    Property,
    Shape,
    least_integer,
    model_of,
)

Dialect = Literal["draft-07", "2020-12"]
DIALECTS: Final[Mapping[Dialect, str]] = {
    "draft-07": "http://json-schema.org/draft-07/schema#",
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
}
"""Values of ``$schema``."""

Schema = dict[str, Any]

ANY: Final[Schema] = {"tsType": "unknown"}
"""Whatever comes. The keyword is json-schema-to-typescript's, which reads no type as an object."""


def data_schema(spec: EventSpec, form: Form | None = None) -> Schema:
    """The schema of this type's ``data``, without ``$schema``: of one form, or of whichever comes.

    Raises ``KeyError`` for a form that the type does not have.
    """
    return schema_of(model_of(spec, form), spec)


def schema_of(model: DataModel, spec: EventSpec) -> Schema:
    """The schema of a model of ``spec``'s, without ``$schema``."""
    schema = _object(class_name(model.event_type), model.properties, top=True)
    return {"title": schema.pop("title"), "description": f"{spec.title.both}. {spec.page}", **schema}


def record_schema(spec: EventSpec) -> Schema:
    """The schema of a whole record of this type, without ``$schema``: the envelope and its data."""
    name = spec.event_type
    schema = envelope_schema()
    schema["title"] = f"{class_name(name)}Event"
    schema["description"] = f"{spec.title.both}. {spec.page}"
    properties = schema["properties"]
    properties["type"] = _const(TYPE_PREFIX + name, "")
    properties["dataschema"]["examples"] = [urn(name, spec.version)]
    properties["data"] = data_schema(spec)
    for of_unclassified in ("data_base64", "fault"):
        del properties[of_unclassified]
    schema["required"] = [*schema["required"], "dataschema", "data"]
    return schema


def envelope_schema() -> Schema:
    """The schema of the envelope of any record in an event topic, without ``$schema``: a CloudEvent 1.0."""
    properties: dict[str, Schema] = {
        "specversion": _const("1.0", "CloudEvents' version."),
        "id": _text("Unique together with `source`; the same whenever this callback is published."),
        "source": _text("`/dingtalk/<corpId>/<app>`; `-` where DingTalk names no company."),
        "type": _text("`com.dingtalk.<EventType>`."),
        "subject": _text("The user, department, chat or approval instance that it is about."),
        "time": _time("The event's own time in UTC; the time of receipt where it has none."),
        "datacontenttype": _text("`application/json`; of unclassified ones `application/octet-stream`."),
        "dataschema": _text("`urn:dingbridge:<EventType>:<version>`."),
        "partitionkey": _text("The record's key."),
        "sequence": {
            **_text("The place in the order of receipt, within one `journal`. Compare as text."),
            "pattern": "^[0-9]{20}$",
        },
        "journal": _text("The journal that `sequence` counts in."),
        "receivedtime": _time("When the bridge received it, in UTC."),
        "via": {
            **_text("How it came: more ways may be added."),
            "examples": ["http", "stream", "failed-list"],
        },
        "form": {
            "type": "string",
            "enum": [*FORMS],
            "description": "DingTalk's payload generation; unknown where the catalogue has no such type.",
        },
        "rebuilt": _const(
            "true",
            "Put together from DingTalk's failed list: `id` may differ from the push's, `data` be poorer.",
        ),
        "verbatim": _text("Names in `data` that DingTalk spelled unusually, comma separated."),
        "data": _object("Data", ()),
        "data_base64": _text("Only in unclassified records: the callback's bytes."),
        "fault": _text("Only in unclassified records: why it could not be normalised."),
    }
    optional = {
        *("subject", "dataschema", "rebuilt", "verbatim"),
        *("data", "data_base64", "fault"),
    }
    return {
        "title": "DingbridgeEvent",
        "description": "A record of an event topic: a CloudEvents 1.0 document in structured mode.",
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": True,
    }


def document(schema: Schema, dialect: Dialect, urn: str | None = None) -> Schema:
    """A schema as a file of its own: with ``$schema``, and ``$id`` where it has a ``urn``."""
    head = {"$schema": DIALECTS[dialect]}
    return {**head, **({"$id": urn} if urn is not None else {}), **schema}


def _object(title: str, properties: tuple[Property, ...], *, top: bool = False) -> Schema:
    schema: Schema = {"title": title, "type": "object"}
    if properties:
        schema["properties"] = {found.name: _property(title, found, top=top) for found in properties}
        for name, value in schema["properties"].items():
            value.update(_names_of_its_own(name, schema["properties"]))
    if required := [found.name for found in properties if found.required]:
        schema["required"] = required
    return {**schema, "additionalProperties": True}


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _names_of_its_own(name: str, beside: Mapping[str, Schema]) -> Schema:
    """Other names for generators, for ``CorpId`` or ``event_time`` beside ``corpId`` or ``eventTime``.

    Else jsonschema2pojo refuses the type. To leave the field out is no way: Go's ``encoding/json`` takes no
    notice of case, and would read the one as the other.
    """
    upper = class_name(name)
    if name == _lower(upper) or _lower(upper) not in beside:
        return {}
    return {
        "javaName": f"{_lower(upper)}AsSent",  # jsonschema2pojo's keyword
        "goJSONSchema": {"identifier": f"{upper}AsSent"},  # go-jsonschema's
    }


def _property(owner: str, found: Property, *, top: bool) -> Schema:
    schema = _value(owner + class_name(found.name), found.shape)
    meaning = catalogue.meaning(found.name) if top else None
    words = [meaning.both] if meaning is not None else []
    words += [f"`{value}`: {means.both}" for value, means in found.values]
    if words:
        schema["description"] = "; ".join(words)
    if found.values:
        as_number = found.shape.type == "integer"
        schema["examples"] = [int(value) if as_number else value for value, _ in found.values]
    return schema


def _value(title: str, shape: Shape) -> Schema:
    if shape.type == "any":
        return {**ANY}
    if shape.type == "object":
        return _object(title, shape.properties)
    if shape.type == "array":
        items = {**ANY} if shape.items is None else _value(f"{title}Item", shape.items)
        return {"type": "array", "items": items}
    if shape.type == "integer":
        return {"type": "integer", "minimum": least_integer(shape), "maximum": MAX_INTEGER}
    return {"type": shape.type}


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _time(description: str) -> Schema:
    return {**_text(description), "format": "date-time"}


def _const(value: str, description: str) -> Schema:
    schema: Schema = {"type": "string", "const": value}
    return {**schema, "description": description} if description else schema
