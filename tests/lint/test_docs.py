"""The documents against the code: what they name exists, what they show is so."""

import ast
import re
import textwrap
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
import typer
from prometheus_client import CollectorRegistry

from dingbridge.cli.main import GROUP
from dingbridge.consumers.approval.metrics import ApprovalMetrics
from dingbridge.consumers.forward.metrics import ForwardMetrics
from dingbridge.consumers.outbound.metrics import OutboundMetrics
from dingbridge.ingress.journal.rows import DAMAGED, FAULT, UNREADABLE
from dingbridge.ingress.metrics import (
    FolderMetrics,
    HttpMetrics,
    JournalMetrics,
    RecoveryMetrics,
    StreamMetrics,
)
from dingbridge.ingress.relay.sender import Refusal
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.mirror.loop import MirrorMetrics
from dingbridge.worker.metrics import WorkerMetrics
from tests.support.cases import of_each
from tests.support.claims import CLAIMS, claims
from tests.support.documents import ROOT, anchor, blocks, body, footnotes, headings, links, prose

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
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
def test_pages_name_claims_and_leave_tests_to_their_register(document):
    """``claims.md`` alone names tests, so that one can be moved without an edit of pages in two languages."""
    if document not in (CLAIMS, ROOT / "CONTRIBUTING.md") and "decisions" not in document.parts:
        assert re.findall(r"tests/[\w/]+\.py::\w+", prose(document)) == []
    for name in re.findall(r"claims\.md#([\w-]+)", prose(document)):
        assert name in claims(), name


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
    """Also of releases before this one on pages that are history, and on the page of how to leave them."""
    commands = our_commands()
    text = document.read_text(encoding="utf-8")
    if document.name == "CHANGELOG.md" or re.search(r"^Replaced by \[", text, re.MULTILINE):
        return
    if document.name.startswith("upgrade."):
        text = text.replace("dingbridge relay --until-empty", "")
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


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_readme_leads_to_the_register_once(readme):
    assert links(readme).count("docs/reference/claims.md") == 1


def test_every_claim_names_tests_that_exist():
    for name, tests in claims().items():
        assert tests, f"{name} has no proof"
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


def test_the_guides_programs_read_with_the_rights_that_a_team_is_given():
    commands = "\n".join(code for _, code in blocks(ROOT / "docs" / "guide" / "reading-topics.md", "sh"))
    [(group, types)] = re.findall(r"^GROUP_ID=(\S+) .*?\.py (.*)$", commands, re.MULTILINE)
    security = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
    [granted] = re.findall(r"<!-- acls: team -->\n```sh\n(.*?)```", security, re.DOTALL)
    [prefix] = re.findall(r"--group (\S+) --resource-pattern-type prefixed", granted)
    assert group.startswith(prefix)
    assert {f"dingtalk.{name}" for name in types.split()} <= set(re.findall(r"--topic (\S+)", granted))


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
    RecoveryMetrics(registry)
    StreamMetrics(registry, http.callbacks)
    WorkerMetrics("billing", registry)
    MirrorMetrics(registry)
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
    assert listed == {*Refusal, DAMAGED, FAULT, UNREADABLE}
