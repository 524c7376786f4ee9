"""Every record that a test reads from an event topic is held against its schema.

The envelope and the headers must be valid without exception. ``data`` must be valid where the relay's own
check found no drift in what was pushed; where a test pushed what DingTalk never would, the two must agree
that it is not what the catalogue says. A type that the catalogue does not know has its envelope alone.
"""

import json
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from typing import Any

import jsonschema
from aiokafka.structs import ConsumerRecord

from dev.schemas.asyncapi import headers_schema
from dev.schemas.json_schema import data_schema, envelope_schema, record_schema
from dingbridge.events import UNCLASSIFIED, EventSpec, catalogue
from dingbridge.schema.drift import drift_of

validated: Counter[str] = Counter()
"""How many records were held against their schema in this process, by type; ``drift`` are those whose data is
not what the catalogue says, as their test pushed it."""


def in_words() -> str:
    """What was validated, in one line; empty if nothing was."""
    types = validated.keys() - {"drift", "other"}
    records = sum(validated[name] for name in (*types, "other"))
    if not records:
        return ""
    return (
        f"{records:,} records of {len(types)} known types were held against their schemas: "
        f"{records - validated['drift']:,} are valid, {validated['drift']:,} drift as their test pushed them"
    )


class NotWhatTheSchemaSays(AssertionError):
    """A record that was published is not what is promised to its readers."""


def validate(record: "ConsumerRecord[bytes, bytes]", event_type: str) -> None:
    """Raises ``NotWhatTheSchemaSays`` for a record of the topic of ``event_type``."""
    place = f"{record.topic}/{record.partition}/{record.offset}"
    if not record.value:
        return  # a test's own
    try:
        envelope = json.loads(record.value)
    except ValueError:
        return
    if not isinstance(envelope, dict) or not str(envelope.get("source", "")).startswith("/dingtalk/"):
        return  # written by the test itself, to see what readers make of it
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    _hold(_of_headers(), headers, place)
    _hold(_of_envelope(), envelope, place)
    if event_type == UNCLASSIFIED and "data_base64" not in envelope:
        event_type = str(envelope["type"]).removeprefix("com.dingtalk.")  # one beyond the limit of topics
    spec = catalogue.get(event_type)
    validated[event_type if spec is not None else "other"] += 1
    if spec is None:
        return
    drift = [
        found for found in drift_of(spec, envelope["form"], envelope["data"]) if found.kind != "unknown_field"
    ]
    if not drift:
        _hold(_of_record(spec), envelope, place)
        return
    validated["drift"] += 1
    if jsonschema.Draft7Validator(data_schema(spec, envelope["form"])).is_valid(envelope["data"]):
        raise NotWhatTheSchemaSays(f"{place}: drift {drift}, but the schema sees none")


def _hold(validator: jsonschema.Draft7Validator, value: Any, place: str) -> None:
    faults = [f"{'/'.join(map(str, fault.path))}: {fault.message}" for fault in validator.iter_errors(value)]
    if faults:
        raise NotWhatTheSchemaSays(f"{place} is not what its schema says: {'; '.join(faults)}")


_times = jsonschema.FormatChecker(formats=())
"""jsonschema's own check of ``date-time`` does nothing without one more package."""


@_times.checks("date-time", raises=ValueError)
def _is_utc(text: object) -> bool:
    return not isinstance(text, str) or datetime.fromisoformat(text).tzinfo is UTC


@cache
def _of_record(spec: EventSpec) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(record_schema(spec), format_checker=_times)


@cache
def _of_envelope() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(envelope_schema(), format_checker=_times)


@cache
def _of_headers() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(headers_schema())
