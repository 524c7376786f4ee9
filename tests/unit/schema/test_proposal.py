"""An entry that is proposed for an unknown type fits all that was seen of it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dev.schemas.__main__ import app
from dev.schemas.files import ROOT
from dev.schemas.proposal import Observed
from dingbridge.events import Catalogue, catalogue, to_records
from dingbridge.events.envelope import Drift
from dingbridge.events.examples import example_callbacks
from dingbridge.events.normalise import normalise
from dingbridge.events.strict_json import loads
from dingbridge.schema.drift import FIELD, drift_of
from tests.support.sizes import sized
from tests.unit.events.strategies import encode, received, values

NAMES = st.sampled_from(
    [
        *("UserId", "userIds", "deptId", "dept_name", "createTime", "FinishTime", "title", "body"),
        *("EventTime", "CorpId", "BizId", "eventId", "corpid", "event_type", "韩梅梅", "a?"),
    ]
)
"""No two of them are spellings of one name: types of such a pair may differ, and an entry has one."""


def drift(entry: dict[str, Any], callback: dict[str, Any]) -> tuple[Drift, ...]:
    """Of a callback, once the catalogue has this entry."""
    document = {"newEnvelope": catalogue.envelope, "families": {}, "fields": {}}
    spec = Catalogue({**document, "events": {"brand_new": json.loads(json.dumps(entry))}}).get("brand_new")
    assert spec is not None
    form, data, *_ = normalise(loads(encode(callback)), "brand_new", spec)
    return drift_of(spec, form, data)


def observed(callbacks: list[dict[str, Any]]) -> Observed:
    seen = Observed()
    for callback in callbacks:
        [record] = to_records(received(encode({"EventType": "brand_new", **callback})))
        seen.add(loads(record.value)["data"])
    return seen


@settings(max_examples=sized(30, 500, quick=10))
@given(st.lists(st.dictionaries(NAMES, values, max_size=8), min_size=1, max_size=5))
def test_what_was_seen_does_not_drift_from_what_is_proposed(callbacks: list[dict[str, Any]]) -> None:
    entry = observed(callbacks).entry()
    for callback in callbacks:
        found = drift(entry, {"EventType": "brand_new", **callback})
        left_out = [name for name in callback if not FIELD.fullmatch(name)]
        assert found == ((Drift("unknown_field", "?"),) if left_out else ())


def test_every_recorded_callback_gets_an_entry_that_it_fits() -> None:
    for event_type in catalogue:
        bodies = [{k: v for k, v in c.items() if k != "EventType"} for c in example_callbacks(event_type)]
        entry = observed(bodies).entry()
        for body in bodies:
            assert drift(entry, {"EventType": "brand_new", **body}) == (), event_type


def test_an_entry_is_what_a_person_would_have_written() -> None:
    head = {"EventTime": 1764057600000, "CorpId": "c", "BizId": "b", "eventId": "e"}
    one = {**head, "userIds": ["u1", "u2"], "createTime": "1764057600000", "level": 3, "rate": 0.5}
    other = {**head, "userIds": ["u3"], "createTime": "1764057600001", "level": 4, "rate": 1}
    more = {"body": {"taskId": "t", "done": True, "at": 1764057600000}, "list": [{"a": 1}, {"b": [1, 2]}]}
    assert observed([{**one, **more}, other]).entry() == {
        "title": {"zh": "", "en": ""},
        "family": "",
        "page": "",
        "new": {
            "userIds": "list[str] id",
            "createTime": "str ms",
            "level": "int",
            "rate": "float",
            "body?": {"taskId": "str id", "done": "bool", "at": "int ms"},
            "list?": [{"a": "int", "b": "list[int]"}],
        },
    }


def test_what_is_keyed_by_people_is_no_list_of_fields() -> None:
    by_name, by_number = {"韩梅梅": 1, "a": 2}, {f"u{n}": n for n in range(300)}
    entry = observed([{"scores": by_name, "users": by_number, "13800000000": 1}]).entry()
    assert entry["old"] == {"scores": "object", "users": "object"}


def test_only_the_names_that_todays_head_always_has_make_it_todays_form() -> None:
    head = {"EventTime": 1764057600000, "CorpId": "c", "BizId": "b", "eventId": "e"}
    old = observed([head, {"eventId": "e"}]).entry()["old"]
    assert old.keys() == {"EventTime?", "CorpId?", "BizId?", "eventId"}
    assert observed([head]).entry()["new"] == {}
    assert observed([head, {name: head[name] for name in head if name != "BizId"}]).entry()["new"] == {}


# -- `python -m dev.schemas check`: against a folder and against a git ref, with exit codes for scripts


Json = dict[str, Any]


DATA = ("channels", "bpms_task_change", "messages", "bpms_task_change", "payload", "properties", "data")


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


@pytest.fixture
def former(tmp_path: Path) -> Json:
    document: Json = json.loads((ROOT / "schemas/asyncapi.json").read_bytes())
    return document


def properties(document: Json) -> Json:
    for name in DATA:
        document = document[name]
    found: Json = document["properties"]
    return found


def in_folder(folder: Path, document: Json) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "asyncapi.json").write_text(json.dumps(document), encoding="utf-8")
    return str(folder)


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, former: Json, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its tag `v1` has a contract with one field more than ours, in the folder `schemas`."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    properties(former)["removedSince"] = {"type": "string"}
    in_folder(tmp_path / "schemas", former)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    git(tmp_path, "tag", "v1")
    return tmp_path


def test_our_own_contract_breaks_nothing() -> None:
    done = check("--against", str(ROOT))
    assert (done.exit_code, done.stdout) == (0, "")
    assert "0 break(s)" in done.stderr


def test_a_removed_field_is_a_break_that_scripts_see(tmp_path: Path, former: Json) -> None:
    properties(former)["removedSince"] = {"type": "string"}
    done = check("--against", in_folder(tmp_path, former), "--json")
    assert done.exit_code == 1
    [found] = map(json.loads, done.stdout.splitlines())
    assert (found["topic"], found["path"], found["verdict"]) == (
        "bpms_task_change",
        "data.removedSince",
        "break",
    )
    assert "docs/reference/contract.md" in done.stderr


def test_a_new_field_is_none_and_is_shown_on_request(tmp_path: Path, former: Json) -> None:
    name = next(name for name in properties(former) if name not in former)
    del properties(former)[name]
    # the field was not required then, either: whoever relies on it has it from us
    folder = in_folder(tmp_path, former)
    done = check("--against", folder)
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"data.{name}" in check("--against", folder, "--all").stdout


def test_a_git_ref_is_read_in_the_repository_that_one_stands_in(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "below").mkdir()
    monkeypatch.chdir(repository / "below")
    done = check("--against", "v1")
    assert done.exit_code == 1
    assert "data.removedSince" in done.stdout


def test_what_is_no_ref_is_a_mistake_of_usage(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "empty").mkdir()
    monkeypatch.chdir(repository / "empty")
    for ref in ("v2", "--output=x", "v1:schemas", "empty"):
        done = check(f"--against={ref}")
        assert (done.exit_code, "--against" in done.stderr) == (2, True), ref
        assert not (repository / "empty" / "x").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"asyncapi": "2.6.0", "info": {}, "channels": {}}'])
def test_a_file_that_is_no_contract_of_ours_is_a_mistake_of_usage(tmp_path: Path, text: str) -> None:
    (tmp_path / "asyncapi.json").write_text(text, encoding="utf-8")
    done = check("--against", str(tmp_path))
    assert done.exit_code == 2
    assert "no contract of ours" in " ".join(done.stderr.replace("│", " ").split())
