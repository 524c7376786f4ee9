"""``dingbridge schema``: compares the records in Kafka with the catalogue."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import typer
from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.cli.terminal import AsJson, print_list, progress, say
from dingbridge.events import UNCLASSIFIED, Event, EventSpec, NotAnEvent, catalogue, decode
from dingbridge.events.normalise import normalise
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import existing_topics
from dingbridge.logging import configure_logging
from dingbridge.schema.drift import drift_of
from dingbridge.settings import KafkaSettings

EventTypes = Annotated[
    list[str] | None, typer.Argument(help="EventTypes; without any, all that have a topic.")
]
Last = Annotated[
    int, typer.Option("--last", min=0, help="The last so many records of each partition; 0: all.")
]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def schema() -> None:
    """Compare what stands in the topics with the catalogue."""


@app.command()
def drift(event_types: EventTypes = None, last: Last = 1_000, as_json: AsJson = False) -> None:
    """Compare the records in Kafka with the catalogue.

    Each line is one field that is missing, of another type, or unknown to the catalogue, with the number of
    records in which it is so. Nothing of a field's value is shown. Commits nothing, joins no group.
    """
    report = _Report()
    topics = asyncio.run(read_last(event_types or [], last, report.add))
    _print(report, topics, as_json)


class _Found(NamedTuple):
    """One line of the answer."""

    event_type: str
    form: str
    kind: str
    field: str


class _Report:
    """What the records showed."""

    def __init__(self) -> None:
        self.records: Counter[tuple[str, str]] = Counter()  # by type and form
        self.found: Counter[_Found] = Counter()
        self.example: dict[_Found, str] = {}
        self.unknown: set[str] = set()
        self.unreadable = 0

    def add(self, record: ConsumerRecord[bytes, bytes]) -> None:
        """A record of an event topic."""
        try:
            event = decode(record.value or b"")
        except NotAnEvent:
            self.unreadable += 1
            return
        if event.data_bytes is not None or "rebuilt" in event.envelope:
            return  # unclassified, or put together by us from DingTalk's failed list
        spec = catalogue.get(event.event_type)
        if spec is None:
            self.unknown.add(event.event_type)
        else:
            self._compare(spec, event, f"{record.topic}/{record.partition}/{record.offset}")

    def _compare(self, spec: EventSpec, event: Event, place: str) -> None:
        form, data = next((form for form in spec.spellings if form == event.form), None), event.data
        if form is None:  # published before the catalogue had it
            form, data, *_ = normalise({"EventType": spec.event_type, **data}, spec.event_type, spec)
        self.records[spec.event_type, form] += 1
        for one in drift_of(spec, form, data):
            found = _Found(spec.event_type, form, one.kind, one.field)
            self.found[found] += 1
            self.example[found] = place

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                **found._asdict(),
                "records": count,
                "of": self.records[found.event_type, found.form],
                "example": self.example[found],
            }
            for found, count in sorted(self.found.items())
        ]


async def read_last(
    event_types: list[str], last: int, add: Callable[[ConsumerRecord[bytes, bytes]], None]
) -> int:
    """Hand to ``add`` the ``last`` records (0: all) of each partition of these types' topics, of all that
    there are without any; the unclassified topic is none of them. Returns the number of topics.

    Raises ``SettingsError``, ``KafkaUnavailable``.
    """
    settings = KafkaSettings.load()
    configure_logging(settings)
    prefix = settings.topic_prefix
    wanted = [prefix + name for name in event_types]
    topics = {
        name: partitions
        for name, partitions in (await existing_topics(settings, wanted)).items()
        if name.startswith(prefix) and not name.startswith(settings.control_prefix)
        if name in wanted or not wanted
        if name != prefix + UNCLASSIFIED
    }
    if missing := sorted(set(wanted) - topics.keys()):
        say(f"there is no topic {', '.join(missing)}; `dingbridge topics list` shows those that exist")
    if topics:  # aiokafka (0.14) ends in an error of its own when it is stopped before it has done anything
        async with TopicReader(settings) as reader:
            spans = _last_of(await reader.spans(topics), last)
            total = sum(span.end - span.begin for span in spans.values())
            with progress(total, "read") as shown:
                async for record in reader.read(spans):
                    add(record)
                    shown.advance(1)
    return len(topics)


def _last_of(spans: Mapping[TopicPartition, Span], last: int) -> dict[TopicPartition, Span]:
    return {p: Span(max(s.begin, s.end - last) if last else s.begin, s.end) for p, s in spans.items()}


def _print(report: _Report, topics: int, as_json: bool) -> None:
    columns = ("event_type", "form", "kind", "field", "records", "of", "example")
    print_list(columns, report.rows(), as_json=as_json)
    compared = report.records.total()
    say(f"{compared:,} records of {topics} topics were compared, {len(report.found)} fields drift")
    if report.unreadable:
        say(f"{report.unreadable:,} records are no events of ours")
    if names := sorted(report.unknown):
        say(
            f"the catalogue has no {', '.join(names)}; in a clone, `python -m dev.schemas propose` writes "
            "entries for it"
        )
