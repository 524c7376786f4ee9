"""docs/guide/reading-topics.md: fields and values are the catalogue's, its code is that of examples/."""

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator

import pytest

from dingbridge.events import catalogue
from dingbridge.events.catalogue import EventSpec
from dingbridge.schema.model import Property, model_of
from tests.support.documents import ROOT, blocks, prose

GUIDE = ROOT / "docs" / "guide" / "reading-topics.md"


def table(number: int) -> list[list[list[str]]]:
    """Of each row the names that each cell holds."""
    _, section = prose(GUIDE).split("## The events that are read most")
    rows = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)[number].splitlines()[2:]
    return [[re.findall(r"`(\w+)`", cell) for cell in row.split("|")[1:-1]] for row in rows]


FIELDS, VALUES = table(0), table(1)


@pytest.mark.parametrize("row", FIELDS, ids=lambda row: row[0][0])
def test_the_fields_are_those_of_the_catalogue(row: list[list[str]]) -> None:
    types, _, names = row
    for event_type in types:
        assert set(names) <= set(named(model_of(spec_of(event_type)).properties)), event_type


def named(properties: tuple[Property, ...]) -> Iterator[str]:
    for found in properties:
        yield found.name
        items = found.shape.items
        yield from named(found.shape.properties + (items.properties if items else ()))


def test_the_values_are_all_that_the_catalogue_knows() -> None:
    """Of each EventType that the guide shows."""
    shown: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for [event_type], tokens, _ in VALUES:
        field = ""
        for token in tokens:
            if token in values_of(event_type):
                field = token
            else:
                shown[event_type][field].add(token)
    for types, *_ in FIELDS:
        for event_type in types:
            assert shown[event_type] == values_of(event_type), event_type


def values_of(event_type: str) -> dict[str, set[str]]:
    """By the field's own name, also where it is a list's."""
    return {place.rpartition(".")[2]: set(known) for place, known in spec_of(event_type).values.items()}


def spec_of(event_type: str) -> EventSpec:
    spec = catalogue.get(event_type)
    assert spec is not None, event_type
    return spec


EXAMPLES = {
    "js": "node/read.js",
    "java": "java/src/main/java/ReadTopics.java",
    "go": "go/main.go",
    "python": "python/read_topics.py",
}


@pytest.mark.parametrize("language", EXAMPLES)
def test_the_code_is_that_of_the_examples(language: str) -> None:
    program = (ROOT / "examples" / EXAMPLES[language]).read_text(encoding="utf-8")
    shown = [code for _, code in blocks(GUIDE, language) if "dingbridge" not in code]
    assert shown
    for code in shown:
        indented = (textwrap.indent(code, unit * depth) for unit in (" ", "\t") for depth in range(17))
        assert any(piece in program for piece in indented), code
