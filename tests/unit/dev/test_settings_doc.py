"""docs/reference/settings.md is made of the code, and is not stale."""

import tomllib

from dev.settings_doc import CHINESE, PAGE, fields, page


def test_the_page_is_the_codes() -> None:
    """After a change of a setting: python -m dev.settings_doc"""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_each_setting_says_in_both_languages_what_it_means() -> None:
    variables = {variable for _, variable, *_ in fields()}
    assert {variable for _, variable, _, meaning in fields() if not meaning} == set()
    assert tomllib.loads(CHINESE.read_text(encoding="utf-8")).keys() == variables
