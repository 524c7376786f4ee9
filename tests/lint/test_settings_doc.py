"""docs/reference/settings.md and its Chinese page are made of the code, and are not stale."""

import tomllib

from dev.settings_doc import CHINESE, fields, pages


def test_the_pages_are_the_codes() -> None:
    """After a change of a setting: python -m dev.settings_doc"""
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text


def test_each_setting_says_in_both_languages_what_it_means() -> None:
    variables = {variable for _, variable, *_ in fields()}
    assert {variable for _, variable, _, meaning in fields() if not meaning} == set()
    assert tomllib.loads(CHINESE.read_text(encoding="utf-8")).keys() == variables
