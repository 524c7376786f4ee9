"""Small pure parts: whose address it was, how many lines a flood may write, which owners were seen."""

import pytest

from dingbridge.ingress.diagnostics import OWNERS_KEPT, Diagnostics
from dingbridge.logging import LogLimiter
from dingbridge.settings.trusted_proxies import client_address


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "expected"),
    [
        ((), "10.0.0.9", ["1.2.3.4"], "10.0.0.9"),
        (("10.0.0.0/8",), "10.0.0.9", ["1.2.3.4"], "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.9", ["6.6.6.6, 1.2.3.4, 10.1.1.1"], "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.9", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        (("10.0.0.0/8",), "8.8.8.8", ["1.2.3.4"], "8.8.8.8"),
        (("10.0.0.0/8",), "10.0.0.9", ["1.2.3.4, nonsense"], "10.0.0.9"),
        (("10.0.0.0/8",), "10.0.0.9", [], "10.0.0.9"),
        (("10.0.0.9",), "10.0.0.9", ["::1"], "::1"),
    ],
)
def test_only_trusted_proxies_are_believed(trusted, peer, forwarded, expected):
    assert client_address(peer, forwarded, trusted) == expected


def test_a_flood_of_one_reason_is_cut_at_5_lines_in_10_s_and_others_still_get_through():
    now = [0.0]
    limiter = LogLimiter(clock=lambda: now[0])
    assert [limiter.allow("signature") for _ in range(7)] == [0, 0, 0, 0, 0, None, None]
    assert limiter.allow("owner") == 0
    now[0] = 9.9
    assert limiter.allow("signature") is None
    now[0] = 10.0
    assert limiter.allow("signature") == 3, "says how many were left out"
    assert limiter.allow("signature") == 0


def test_owner_keys_are_remembered_by_app_the_latest_last_and_not_without_end():
    now = [100.0]
    seen = Diagnostics(clock=lambda: now[0])
    seen.owner_refused("default", "dingcorp1")
    seen.owner_accepted("hr", "dingcorp1")
    now[0] = 200.0
    seen.owner_accepted("hr", "dingcorp1")
    assert seen.owners() == [
        {"app": "default", "owner": "dingcorp1", "accepted": 0, "refused": 1, "last": 100.0},
        {"app": "hr", "owner": "dingcorp1", "accepted": 2, "refused": 0, "last": 200.0},
    ]
    for number in range(OWNERS_KEPT - 1):
        seen.owner_refused("default", f"owner{number}")
    assert len(seen.owners()) == OWNERS_KEPT
    assert seen.owners()[0]["app"] == "hr", "the one that was seen the longest ago is gone"
