import pytest

from bridge.errors import SettingsError
from consumers.runtime import Consumer, registry
from consumers.runtime.registry import UnknownConsumer, known_consumers, load_consumer


@pytest.mark.parametrize("name", ["", "Billing", "a_b", "a.b", "ü", "x" * 101])
def test_a_name_that_cannot_be_a_group_is_refused_when_the_class_is_made(name: str) -> None:
    with pytest.raises(ValueError, match="a-z, 0-9 and -"):
        type("Bad", (Consumer,), {"name": name, "topics": ["x"]})


def test_topics_as_one_text_is_refused() -> None:
    with pytest.raises(ValueError, match="it is a list"):
        type("Bad", (Consumer,), {"name": "ok", "topics": "user_add_org"})


def test_dingtalk_without_credentials_says_which_settings() -> None:
    class Needy(Consumer):
        name = "needy"
        topics = ("user_add_org",)

    with pytest.raises(SettingsError, match="DINGTALK_APP_KEY"):
        _ = Needy().dingtalk


def test_installed_consumers_are_found_by_entry_point() -> None:
    assert {"address-sync", "approval"} <= set(known_consumers())
    assert load_consumer("approval").name == "approval"


def test_an_unknown_name_lists_those_known() -> None:
    with pytest.raises(UnknownConsumer, match="address-sync, approval"):
        load_consumer("biling")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no.such.module:Thing", "cannot be imported"),
        ("json:dumps", "not a subclass"),
        ("tests.unit.runtime.support:Recording", "calls itself 'recording'"),
    ],
)
def test_an_entry_point_that_is_no_such_consumer_is_said(
    monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    from importlib.metadata import EntryPoint

    point = EntryPoint("other", value, registry.GROUP)
    monkeypatch.setattr(registry, "_found", lambda: {"other": point})
    with pytest.raises(UnknownConsumer, match=words):
        load_consumer("other")
    assert known_consumers() == {}
