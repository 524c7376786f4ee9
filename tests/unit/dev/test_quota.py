"""What the guide says of DingTalk's month is what dev.quota computes."""

import re

import pytest

from dev import quota
from dingbridge.ingress.recovery.apps import Timer


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_guides_tables_are_those_of_the_calculation(lang):
    """After a change: python -m dev.quota"""
    page = quota.PAGES[lang].read_text(encoding="utf-8")
    assert quota.with_tables(page, lang) == page


def test_the_failed_list_is_read_as_often_as_its_timer_says():
    minutes = quota.EVERYTHING.recovery_every_minutes
    timer, now, runs = Timer(minutes * 60, 300, 0.0), 0.0, 0
    while now < quota.DAYS * 86_400:
        if timer.due(now, well=True):
            runs += 1
            timer.ended(now, well=True)
        now += 1.0 if runs == 0 else 60.0
    assert runs == quota.calls(quota.COMPANIES[0], quota.EVERYTHING)["recovery"]
    for path in quota.PAGES.values():
        assert re.search(rf"\b{runs}\b", path.read_text(encoding="utf-8"))


def test_both_languages_name_every_line():
    english, chinese = (quota.tables(lang) for lang in ("en", "zh"))
    assert english.keys() == chinese.keys()
    for name, text in english.items():
        figures = [re.findall(r"[\d,]+", line) for line in text.splitlines()[1:]]
        assert figures
        assert len(text.splitlines()) == len(chinese[name].splitlines())


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="quota: everything"):
        quota.with_tables("# no tables", "en")
