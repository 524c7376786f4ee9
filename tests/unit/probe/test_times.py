"""An approval's clocks; ids and times in the form of captures."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.clock import CHINA
from dingbridge.probe.times import FORM, Clocks, clocks_of, form_of

BUSINESS_ID = "202604161534000123456"
INSTANCE_ID = "aBcDeFgHiJkLmNoPqRsT_-04221776324877"  # 2026-04-16 15:34:37 in China


@pytest.mark.parametrize(
    ("text", "form", "zone"),
    [
        ("2026-04-16T15:34Z", FORM, "false"),
        ("2026-04-16T07:34Z", FORM, "true"),
        ("2026-04-16T15:34:37Z", "9999-99-99T99:99:99Z", "false"),
        ("2026-04-16 15:34:37", "9999-99-99 99:99:99", "false"),
        ("2026-04-16T12:00Z", FORM, "unclear"),
        ("yesterday, Zhang", "aaaaaaaaa aaaaa", "unclear"),
        ("9999-99-99T99:99Z", FORM, "unclear"),
        ("", "", "unclear"),
    ],
)
def test_the_zone_is_what_agrees_with_the_business_id(text: str, form: str, zone: str) -> None:
    seen = clocks_of(INSTANCE_ID, {"createTime": text, "businessId": BUSINESS_ID})
    assert seen == Clocks(form if text != "yesterday, Zhang" else form_of(text), zone, True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("instance_id", "business_id", "agrees"),
    [
        ("6996855b-1111-2222-3333-444455556666", BUSINESS_ID, None),
        (INSTANCE_ID, "7", None),
        (INSTANCE_ID.replace("1776324877", "1776324937"), BUSINESS_ID, False),
    ],
)
def test_the_id_is_a_check_where_it_has_seconds(
    instance_id: str, business_id: str, agrees: bool | None
) -> None:
    seen = clocks_of(instance_id, {"createTime": "2026-04-16T15:34Z", "businessId": business_id})
    assert seen.id_agrees is agrees


@given(st.datetimes(datetime(2018, 1, 1), datetime(2100, 1, 1)))
def test_china_and_utc_are_never_confused(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC)
    business_id = at.astimezone(CHINA).strftime("%Y%m%d%H%M") + "000123456"
    for zone, expected in ((CHINA, "false"), (UTC, "true")):
        text = at.astimezone(zone).strftime("%Y-%m-%dT%H:%MZ")
        assert clocks_of("x", {"createTime": text, "businessId": business_id}).zone == expected
