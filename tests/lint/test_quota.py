"""What the guide says of DingTalk's month is what dev.quota computes."""

import re

import pytest

from dev import quota


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_guides_tables_are_those_of_the_calculation(lang):
    """After a change: python -m dev.quota"""
    page = quota.PAGES[lang].read_text(encoding="utf-8")
    assert quota.with_tables(page, lang) == page


def test_the_failed_list_is_read_as_often_as_the_setting_says():
    runs = quota.DAYS * 24 * 60 // quota.EVERYTHING.recovery_every_minutes
    assert runs == quota.calls(quota.COMPANIES[0], quota.EVERYTHING)["recovery"]
    for path in quota.PAGES.values():
        assert re.search(rf"\b{runs}\b", path.read_text(encoding="utf-8"))
