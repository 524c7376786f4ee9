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
