"""The contract as readers see it: each golden file shows one family before and after."""

import json

import pytest

from tests.unit.events.golden import Golden, load_all

GOLDENS = load_all()


@pytest.mark.parametrize("golden", GOLDENS, ids=[g.path.stem for g in GOLDENS])
def test_golden(golden: Golden) -> None:
    # Compared as text: 1 and 1.0 and True are equal in Python, and not to a reader.
    expected = {"after": golden.document["after"], "back": golden.document["back"]}
    assert json.dumps(golden.outcome(), indent=1) == json.dumps(expected, indent=1)


def test_the_main_families_are_there() -> None:
    families = {g.path.stem.split(".")[0] for g in GOLDENS}
    assert families == {
        "contact", "label", "chat", "approval", "attendance", "meeting-room", "check-in", "suite",
        "unknown", "mixed", "unreadable",
    }  # fmt: skip


def test_the_form_of_the_content_hash_is_fixed() -> None:
    """Changing it would make every stored dedupe key and inbox row miss its repeat on upgrade."""
    golden = next(g for g in GOLDENS if g.path.stem == "contact.old-org_change")
    assert golden.body == b'{"EventType":"org_change","TimeStamp":"1731000000123","CorpId":"dingcorp01"}'
    value = golden.outcome()["after"][0]["value"]
    assert value["id"] == "f4747745d2fb6e691ac275a15677b099db083a8df1c77b83c51c52d59a07747c"
