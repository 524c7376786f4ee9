"""The documents against the code: what they name exists, what they show is so."""

import ast
import json
import re
import textwrap
import time
from collections import defaultdict
from datetime import datetime
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from dingbridge.cli.main import GROUP
from dingbridge.consumers.address_sync.metrics import AddressSyncMetrics
from dingbridge.consumers.address_sync.tables import look_again
from dingbridge.consumers.approval.metrics import ApprovalMetrics
from dingbridge.consumers.forward.metrics import ForwardMetrics
from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.events import Received, catalogue, content_hash, decode, to_dingtalk, to_records
from dingbridge.ingress.journal.checkpoint import DAMAGED
from dingbridge.ingress.metrics import (
    FolderMetrics,
    HttpMetrics,
    JournalMetrics,
    RecoveryMetrics,
    StreamMetrics,
    relay_restarts,
)
from dingbridge.ingress.relay.batches import partition_of
from dingbridge.ingress.relay.delivery import Refusal
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.mirror.look_again import LookAgain
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.metrics import WorkerMetrics
from tests.support.cases import of_each
from tests.support.documents import ROOT, anchor, blocks, body, footnotes, headings, links, prose

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
CLAIMS = ROOT / "docs" / "reference" / "claims.md"
METRICS_AND_LOGS = ROOT / "docs" / "reference" / "metrics-and-logs.md"
READMES = (ENGLISH, CHINESE)
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples" / "scale").glob("*/README.md"),
        ROOT / "examples" / "README.md",
    ]
)


of_each_document = of_each(DOCUMENTS, lambda path: str(path.relative_to(ROOT)))


@cache
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


# -- what is named exists


@of_each_document
def test_every_test_that_is_named_exists(document):
    for name, tests in footnotes(document).items():
        for test in tests:
            path, _, function = test.partition("::")
            assert function.startswith("test_"), f"[^{name}] names no test: {test}"
            assert (ROOT / path).is_file(), f"[^{name}]: there is no {path}"
            assert function in functions_of(ROOT / path), f"[^{name}]: there is no {test}"


@of_each_document
def test_every_footnote_is_defined_and_used(document):
    assert set(re.findall(r"\[\^([\w-]+)\]", body(document))) == set(footnotes(document))


@of_each_document
def test_every_link_leads_somewhere(document):
    for target in links(document):
        if target.startswith(("http://", "https://")):
            continue
        path, _, fragment = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        if fragment:
            assert fragment in {anchor(heading) for _, heading in headings(found)}, target


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@of_each_document
def test_every_make_target_that_is_named_exists(document):
    commands = "\n".join(code for _, code in blocks(document, "sh"))
    named = set(re.findall(r"`make ([a-z-]+)", prose(document)))
    named |= set(re.findall(r"^make ([a-z-]+)", commands, re.MULTILINE))
    assert named <= make_targets()


def test_help_and_the_readme_say_the_same_of_how_long_the_demo_takes():
    [in_readme] = re.findall(r"^It takes ([^:]+): a simulated company", prose(ENGLISH), re.MULTILINE)
    [in_help] = re.findall(r"^demo:.*## (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert in_readme in in_help


@cache
def our_commands() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


@cache
def verbs_of(command: str) -> set[str]:
    return set(typer.main.get_command(our_commands()[command].load()).commands)


@of_each_document
def test_every_command_that_is_named_exists(document):
    commands = our_commands()
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^|bin/)dingbridge ([a-z][a-z-]+)", text, re.MULTILINE))
    assert named <= commands.keys()
    for command, verbs in re.findall(r"dingbridge (journal|topics|callback|dlq|approvals) ([a-z|]+)", text):
        assert set(verbs.split("|")) <= verbs_of(command), f"dingbridge {command} {verbs}"


# -- every page is listed


@pytest.mark.parametrize("suffix", ["", ".zh-CN"], ids=["English", "Chinese"])
def test_the_index_lists_every_page(suffix):
    """Once, and in its own language where the page has it; families have an index of their own."""
    index = ROOT / "docs" / f"README{suffix}.md"
    families = (ROOT / "docs" / "decisions", ROOT / "docs" / "reference" / "catalogue")
    pages = [
        page.with_name(page.name.replace(".md", f"{suffix}.md"))
        for page in (ROOT / "docs").rglob("*.md")
        if not page.name.endswith(".zh-CN.md") and page.parent != index.parent
        if page.parent not in families or page.name == "README.md"
    ]
    expected = [page if page.exists() else page.with_name(page.name.replace(suffix, "")) for page in pages]
    rows = re.findall(r"^\| \[[^\]]+\]\(([^)]+)\)\S* \| \S.* \|$", prose(index), re.MULTILINE)
    listed = [(index.parent / row).resolve() for row in rows]
    assert [page for page in listed if index.parent in page.parents and listed.count(page) > 1] == []
    assert {page for page in listed if page.is_relative_to(index.parent)} == set(expected)


@pytest.mark.parametrize("family", ["decisions", "reference/catalogue"])
def test_a_familys_index_lists_its_pages(family):
    folder = ROOT / "docs" / family
    pages = {page.name for page in folder.glob("*.md")} - {"README.md", "README.zh-CN.md"}
    listed = {link.partition("#")[0] for index in folder.glob("README*.md") for link in links(index)}
    assert pages <= listed


# -- what is claimed is shown


def claims() -> dict[str, str]:
    """The claims of the register, each a sentence with the tests that show it."""
    sections = re.split(r"^## (\w+)$", CLAIMS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(sections[::2], sections[1::2], strict=True))


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_readme_leads_to_the_register_once(readme):
    assert links(readme).count("docs/reference/claims.md") == 1


def test_every_claim_is_a_sentence_and_names_tests_that_exist():
    for name, text in claims().items():
        assert re.match(r"\n\n[A-Z`a-z][^\n]*(\n[^\n]+)*\.\n\n- ", text), f"{name} says nothing"
        tests = re.findall(r"^- `(tests/[^`]+)`$", text, re.MULTILINE)
        assert tests, name
        for test in tests:
            path, _, function = test.partition("::")
            assert (ROOT / path).is_file(), f"{name}: there is no {path}"
            assert function in functions_of(ROOT / path), f"{name}: there is no {test}"


PROMISES = [
    (r"exactly.once|恰好一次|精确一次", None),  # a record may come twice
    (r"zero loss|no loss|nothing is lost|loses? nothing|never loses?", "answered"),
    (r"零丢失|不会丢失|绝不丢失|永不丢失", "应答"),
    (r"guarantee|保证|fault-tolerant|highly available|高可用|bulletproof|production-ready|real-time", None),
]


@of_each_document
def test_no_document_uses_words_that_promise_what_no_test_shows(document):
    for sentence in re.split(r"(?<=[.。;；])\s+|\n\n", prose(document)):
        for words, unless in PROMISES:
            if re.search(words, sentence, re.IGNORECASE):
                assert unless is not None, sentence
                assert unless in sentence, sentence


# -- what the documents show is so


def test_the_record_in_the_readme_is_what_its_callback_becomes():
    key, headers, value = blocks(ENGLISH, "text")[0][1].splitlines()
    event = decode(value.encode())
    received = Received(
        seq=int(event.sequence),
        journal=event.journal,
        received_ms=round(event.received_time.timestamp() * 1000),
        app=event.app,
        via=event.via,
        body=as_pushed(to_dingtalk(event), event.id),
    )
    [record] = to_records(received)
    assert record.value.decode() == value
    assert record.key.decode() == key
    assert ",".join(f"{name}={data.decode()}" for name, data in record.headers) == headers
    assert datetime.fromisoformat(event.envelope["time"]) < event.received_time


def as_pushed(payload: dict[str, Any], id_: str) -> bytes:
    """``data`` has the order of the push; where ``EventType`` stood, the id says, which is a
    hash of the bytes."""
    others = [name for name in payload if name != "EventType"]
    orders = [[*others[:at], "EventType", *others[at:]] for at in range(len(others) + 1)]
    bodies = [json.dumps({n: payload[n] for n in names}, separators=(",", ":")).encode() for names in orders]
    return next(body for body in bodies if id_.startswith(content_hash(body).hex()))


def test_the_guide_names_types_as_the_records_have_them():
    """Numbers, ids, and the fields for which the catalogue knows no one type."""
    guide = (ROOT / "docs" / "guide" / "reading-topics.md").read_text(encoding="utf-8")
    of_numbers = guide[guide.index("**Numbers are exact**") : guide.index("**Unknown EventTypes flow.**")]
    types, of_no_one_type = defaultdict(set), set()
    for event_type in catalogue:
        for spelling in catalogue.get(event_type).spellings.values():
            for field in spelling.fields.values():
                types[field.name].add((field.wire, field.mark))
                if field.wire == "any":
                    of_no_one_type.add((field.name, event_type))
    assert set(re.findall(r"`(\w+)` of `(\w+)` is", of_numbers)) == of_no_one_type
    assert ("int", "ms") in types[re.search(r"Times such as `(\w+)`", of_numbers)[1]]
    assert types[re.search(r"fraction, as `(\w+)`", of_numbers)[1]] == {("float", "")}
    an_id = re.search(r"An id is no number: `(\w+)` is text", of_numbers)[1]
    assert {mark for _, mark in types[an_id]} == {"id"}
    assert ("int", "id") in types[an_id], "also where DingTalk sends a number"


def test_the_guides_programs_read_with_the_rights_that_a_team_is_given():
    commands = "\n".join(code for _, code in blocks(ROOT / "docs" / "guide" / "reading-topics.md", "sh"))
    [(group, types)] = re.findall(r"^GROUP_ID=(\S+) .*?\.py (.*)$", commands, re.MULTILINE)
    security = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
    [granted] = re.findall(r"<!-- acls: team -->\n```sh\n(.*?)```", security, re.DOTALL)
    [prefix] = re.findall(r"--group (\S+) --resource-pattern-type prefixed", granted)
    assert group.startswith(prefix)
    assert {f"dingtalk.{name}" for name in types.split()} <= set(re.findall(r"--topic (\S+)", granted))


def test_the_guide_lists_the_types_that_nothing_identifies():
    """Each type in a form of which all documented fields together have no id, no time, and no item of its own
    identity: two ingress instances cannot give one push the same id."""

    def pairs(body: str, received_ms: int) -> list[tuple[str, str]]:
        received = Received(1, "j", received_ms, "default", "http", body.encode())
        return [(event.source, event.id) for event in (decode(r.value) for r in to_records(received))]

    without = set()
    for event_type in catalogue:
        spec = catalogue.get(event_type)
        for form, spelling in spec.spellings.items():
            payload = dict.fromkeys(spelling.fields, "1731000000123")
            if form == "old":
                del payload["eventId"]  # which any of them may have, and none is known to
            if spec.subject is not None and spec.subject.items is not None:
                item = {key: "u1" for key in (*spec.subject.fields, spec.subject.item_key) if key is not None}
                payload = {name: [item] for name in payload if name.lower() == spec.subject.items.lower()}
            body = json.dumps({"EventType": event_type, **payload})
            if pairs(body, 1731000000456) != pairs(body, 1731000099999):
                without.add(event_type)
    text = prose(ROOT / "docs/guide/reading-topics.md")
    paragraph = re.search(r"^\*\*Some have no identity\.\*\*.*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", paragraph[0])) & set(catalogue) == without


def test_keys_go_where_javas_producers_would_put_them():
    """``Utils.toPositive(Utils.murmur2(key)) % n``, as kafka-clients 4.4.0 computed it."""
    for key, of_six, of_many in (
        ("dingcorpsample01:0000610902664218", 0, 527807),
        ("dingcorp01:u001", 3, 279397),
        ("dingcorp01:101", 4, 767677),
        ("dingcorp01:pi-1", 0, 77039),
        ("dingcorp01", 3, 646053),
        ("-", 0, 99082),
        ("企业:张三", 0, 23893),
    ):
        for count, expected in ((6, of_six), (1_000_003, of_many)):
            assert partition_of(key.encode(), count) == expected, key


def test_the_consumer_in_the_guide_does_what_its_test_says():
    """The class and its test run as they stand there."""
    guide = ROOT / "docs" / "guide" / "writing-a-consumer.md"
    consumer, _, its_test = (code for _, code in blocks(guide, "python"))
    module = ModuleType("my_billing")
    exec(compile(consumer + "\n" + its_test, str(guide), "exec"), module.__dict__)
    import asyncio

    asyncio.run(module.test_an_agreed_approval_becomes_a_bill())


async def test_the_call_in_the_guide_has_one_key_whenever_it_is_made():
    """At a second attempt, and in a replay; the billing system is down at first."""
    guide = ROOT / "docs" / "guide" / "writing-a-consumer.md"
    module = ModuleType("my_invoices")
    exec(compile(blocks(guide, "python")[1][1], str(guide), "exec"), module.__dict__)
    statuses, keys = [503, 200, 200, 400], []

    async def post(request):
        keys.append(request.headers["Idempotency-Key"])
        return web.json_response({"number": "2026-1"}, status=statuses[len(keys) - 1])

    app = web.Application()
    app.router.add_post("/invoices", post)
    callback = b'{"EventType":"bpms_instance_change","type":"start","processInstanceId":"p","corpId":"c1"}'
    [one] = to_records(Received(1, "journal", 1731000100500, "default", "http", callback))
    [other] = to_records(
        Received(2, "journal", 1731000100500, "default", "http", callback.replace(b'"p"', b'"q"'))
    )
    async with TestServer(app) as server, MemoryRuntime(module.Invoices()) as runtime:
        runtime.consumer.address = server.make_url("/invoices")
        assert [(await runtime.deliver(one)).kind for _ in range(3)] == ["unavailable", "done", "seen"]
        assert (await runtime.deliver(one, replay_id="run-1")).kind == "done"
        assert (await runtime.deliver(other)).kind == "reject"
        assert [tuple(row) for row in await runtime.rows(select(module.invoices))] == [("p", "2026-1")]
    assert keys[0] == keys[1] == keys[2] != keys[3]


@of_each_document
def test_every_python_block_is_python(document):
    for _, code in blocks(document, "python"):
        ast.parse(textwrap.dedent(code))


def test_the_reference_lists_every_metric_and_no_other():
    registry = CollectorRegistry()
    JournalMetrics(registry)
    FolderMetrics(registry)
    http = HttpMetrics(registry)
    RelayStatus(registry)
    relay_restarts(registry)
    RecoveryMetrics(registry)
    StreamMetrics(registry, http.callbacks)
    WorkerMetrics("billing", registry)
    AddressSyncMetrics(registry)
    LookAgain(look_again, time.time, registry)
    ApprovalMetrics(registry)
    ForwardMetrics("a", registry)
    OutboundMetrics(registry)
    text = METRICS_AND_LOGS.read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(dingbridge_\w+)` \|", text, re.MULTILINE))
    assert listed == {metric.name for metric in registry.collect()}


def test_the_reference_lists_only_log_events_and_operations_only_park_reasons_that_exist():
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for package in ("consumers", "dingbridge", "ingress")
        for path in (ROOT / package).rglob("*.py")
    )
    section = METRICS_AND_LOGS.read_text(encoding="utf-8").split("## Log events")[1]
    cells = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    events = [event for cell in cells for event in re.findall(r"`([a-z_.]+)`", cell)]
    assert events
    for event in events:
        assert f'"{event}"' in source, event
    operations = (ROOT / "docs" / "guide" / "operations.md").read_text(encoding="utf-8")
    reasons = operations.split("### Parked records")[1].split("###")[0]
    listed = set(re.findall(r"^\| `(\w+)` \|", reasons, re.MULTILINE))
    assert listed == {*Refusal, DAMAGED}
