"""A rotation's changes of the apps file: only these, whatever else stands there, or none."""

import tomllib
from datetime import UTC, datetime, timedelta

import pytest

from dingbridge.apps.edit import begun, entry_of, finished, next_of, previous_of, put_in_place
from dingbridge.errors import BridgeError

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
NEW = {"token": "newToken", "aes_key": "n" * 43}
PLAIN = f"""\
# the company's apps

[apps.sales]
token = "tokenOfSales"   # theirs
aes_key = "{"s" * 43}"

[apps.hr]  # people
token = "tokenOfHr"
aes_key = "{"h" * 43}"
owner_keys = [
  "dinghr",  # Client ID
]

[apps.hr2]
token = "other"
aes_key = "{"o" * 43}"
"""


def apps(text):
    return tomllib.loads(text)["apps"]


def test_begun_then_finished_changes_this_apps_credentials_and_nothing_else():
    text = begun(PLAIN, "hr", NEW, NOW)
    assert next_of(text, "hr") == NEW
    lines = [line for line in PLAIN.splitlines() if line]
    assert [line for line in text.splitlines() if line in lines] == lines  # and a table more
    done = finished(text, "hr", NOW + timedelta(hours=24))
    hr = apps(done)["hr"]
    assert entry_of(done, "hr") == NEW
    assert next_of(done, "hr") is None
    assert hr["previous"] == [{"token": "tokenOfHr", "aes_key": "h" * 43, "until": NOW + timedelta(hours=24)}]
    for name in ("sales", "hr2"):
        assert apps(done)[name] == apps(PLAIN)[name]
    for comment in ("# the company's apps", "# theirs", "# people", "# Client ID"):
        assert comment in done


def test_files_take_the_place_of_files():
    text = '[apps.hr]\ntoken_file = "t"\naes_key_file = "k"\nowner_keys = ["a"]'
    files = {"token_file": "t.1", "aes_key_file": 'k."1\\'}
    done = finished(begun(text, "hr", files, NOW), "hr", NOW)
    assert entry_of(done, "hr") == files
    assert previous_of(done, "hr") == [{"token_file": "t", "aes_key_file": "k", "until": NOW}]


def test_the_next_rotation_drops_those_whose_time_has_run_out():
    once = finished(begun(PLAIN, "hr", NEW, NOW), "hr", NOW + timedelta(hours=1))
    later = NOW + timedelta(hours=1)
    assert len(previous_of(begun(once, "hr", NEW, later - timedelta(seconds=1)), "hr")) == 1
    assert previous_of(begun(once, "hr", NEW, later), "hr") == []
    twice = finished(begun(once, "hr", {**NEW, "token": "third"}, later), "hr", later)
    assert [entry["token"] for entry in previous_of(twice, "hr")] == ["newToken"]
    # and it stays as short as it was
    assert twice.count("\n") == once.count("\n")


def test_any_way_of_writing_a_table_is_understood():
    for text in (
        f'[apps.hr]\nnote = """\n[apps.hr]\n"""\ntoken = "t"\naes_key = "{"k" * 43}"\n',
        f'[apps."hr"]\ntoken = "t" # [apps.hr]\n"aes_key" = "{"k" * 43}"\n[other]\ntoken = "x"\n',
    ):
        done = finished(begun(text, "hr", NEW, NOW), "hr", NOW)
        assert entry_of(done, "hr") == NEW
        assert previous_of(done, "hr") == [{"token": "t", "aes_key": "k" * 43, "until": NOW}]
        before, after = tomllib.loads(text), tomllib.loads(done)
        assert after["apps"]["hr"].get("note") == before["apps"]["hr"].get("note")
        assert after.get("other") == before.get("other")


@pytest.mark.parametrize(
    "text",
    [
        f'apps.hr = {{token = "t", aes_key = "{"k" * 43}"}}',
        f'[apps]\nhr.token = "t"\nhr.aes_key = "{"k" * 43}"\n',
    ],
)
def test_a_file_that_is_written_otherwise_is_refused_and_never_spoilt(text):
    with pytest.raises(BridgeError, match="cannot be changed safely"):
        begun(text, "hr", NEW, NOW)


def test_a_file_that_cannot_be_written_is_told_in_words(tmp_path):
    with pytest.raises(BridgeError, match="cannot be replaced"):
        put_in_place(tmp_path / "absent" / "apps.toml", "new")
