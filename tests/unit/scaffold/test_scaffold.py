"""The parts of ``dingbridge new-consumer``: examples of each type, texts of each name, all or nothing."""

import ast
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.examples import texts
from dingbridge.cli.new_consumer.names import LONGEST_NAME, ScaffoldError, check
from dingbridge.cli.new_consumer.project import WIDTH, in_clone, own_repository
from dingbridge.events import URL_CHECKS, catalogue, decode
from dingbridge.events.examples import example_callbacks
from dingbridge.generated import payloads
from dingbridge.testing import recorded

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "schemas" / "examples"
TYPES = tuple(event_type for event_type in catalogue if event_type not in URL_CHECKS)

parts = st.text("abcz019", min_size=1, max_size=5)
names = st.lists(parts, max_size=4).map(lambda found: "-".join(["a", *found])) | st.just("z" * LONGEST_NAME)


def test_of_every_known_type_there_are_examples_that_are_events_of_it():
    for event_type in TYPES:
        assert 1 <= len(example_callbacks(event_type)) <= 3
        for record in recorded(EXAMPLES / f"{event_type}.json"):
            assert (record.event_type, record.fault) == (event_type, None)
            decode(record.value)
    for name in ("no_such_type", "../catalogue", "check_url"):
        with pytest.raises(KeyError):
            example_callbacks(name)


def test_the_examples_are_those_that_the_simulator_sends_now():
    """After a change of it or of the catalogue: python -m dev.examples"""
    assert {path.name: path.read_text("utf-8") for path in EXAMPLES.iterdir()} == texts()


def test_an_approval_is_started_agreed_to_and_refused():
    callbacks = example_callbacks("bpms_instance_change")
    assert [(callback["type"], callback.get("result")) for callback in callbacks] == [
        ("start", None),
        ("finish", "agree"),
        ("finish", "refuse"),
    ]
    assert {callback["processCode"] for callback in callbacks} == {"PROC-LEAVE"}


@given(names, st.lists(st.sampled_from(TYPES), min_size=1, max_size=12), st.booleans())
def test_whatever_it_is_called_what_is_written_is_python_and_toml(name, events, own):
    try:
        asked = check(name, events, [])
    except ScaffoldError:  # a word of Python's
        return
    plan = own_repository(Path("no-such-folder"), asked, {}) if own else in_clone(ROOT, asked, {})
    for path, text in plan.new.items():
        if path.suffix == ".py":
            tree = ast.parse(text)
            imported = {alias.name for node in ast.walk(tree) for alias in _from_payloads(node)}
            assert len(imported) == (len(asked.events) if path.name == "consumer.py" else 0)
            assert imported <= vars(payloads).keys()
            assert max(map(len, text.splitlines()), default=0) <= WIDTH, path
        if path.suffix == ".toml":
            project = tomllib.loads(text)
            assert name in project["project"]["entry-points"]["dingbridge.consumers"]
    for path, after in plan.changed.items():
        before = path.read_text(encoding="utf-8")
        assert len(after) > len(before)
        if path.suffix == ".toml":
            points = [
                tomllib.loads(t)["project"]["entry-points"]["dingbridge.consumers"] for t in (before, after)
            ]
            assert points[1] == points[0] | {name: f"dingbridge.consumers.{asked.module}:{asked.class_name}"}
    assert plan.by_hand == []


def _from_payloads(node):
    of_payloads = isinstance(node, ast.ImportFrom) and node.module == payloads.__name__
    return node.names if of_payloads else ()


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project.entry-points."dingbridge.consumers"]\na = "b:C"\n')
    (tmp_path / "docker-compose.yml").write_text("services:\n  mine: {}\n")
    return in_clone(
        tmp_path, check("billing", ["user_add_org"], []), {"user_add_org": example_callbacks("user_add_org")}
    )


def test_a_compose_file_that_is_not_ours_is_left_alone_and_the_service_is_said(plan, tmp_path):
    assert [path.name for path in plan.changed] == ["pyproject.toml"]
    assert "command: [consume, billing]" in plan.by_hand[0]
    plan.write()
    assert (tmp_path / "pyproject.toml").read_text().splitlines()[1:] == [
        'a = "b:C"',
        'billing = "dingbridge.consumers.billing:Billing"',
    ]
    assert (tmp_path / "docker-compose.yml").read_text() == "services:\n  mine: {}\n"


def test_a_file_that_cannot_be_written_is_said_and_ours_are_not_changed(plan, tmp_path):
    (tmp_path / "tests").write_text("a file where a folder should be")
    before = {path: path.read_text() for path in plan.changed}
    with pytest.raises(ScaffoldError, match=r"tests.* cannot be written .* run this again"):
        plan.write()
    assert {path: path.read_text() for path in plan.changed} == before


def test_when_one_file_is_there_already_none_is_written(plan, tmp_path):
    mine = tmp_path / "consumers" / "billing" / "consumer.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ScaffoldError, match="nothing is overwritten"):
        plan.write()
    assert [p.name for p in (tmp_path / "consumers").rglob("*.py")] == ["consumer.py"]
    assert mine.read_text() == "mine"
