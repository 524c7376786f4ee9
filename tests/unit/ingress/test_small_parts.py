"""Small pure parts of the ingress: whose address it was, how many lines a flood may write, which owners."""

from types import SimpleNamespace

import pytest
from multidict import CIMultiDict

from ingress.limiter import LogLimiter
from ingress.owners import KEPT, Owners, joint
from ingress.proxies import client_address


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
    headers = CIMultiDict([("X-Forwarded-For", value) for value in forwarded])
    assert client_address(SimpleNamespace(remote=peer, headers=headers), trusted) == expected


def test_a_flood_of_one_reason_is_cut_and_counted_and_others_still_get_through():
    now = [0.0]
    limiter = LogLimiter(burst=2, period_s=10, clock=lambda: now[0])
    assert [limiter.allow("signature") for _ in range(5)] == [0, 0, None, None, None]
    assert limiter.allow("owner") == 0
    now[0] = 10
    assert limiter.allow("signature") == 3, "says how many were left out"
    assert limiter.allow("signature") == 0


def test_owner_keys_are_remembered_by_app_the_latest_last_and_not_without_end():
    now = [100.0]
    owners = Owners(clock=lambda: now[0])
    owners.refused("default", "dingcorp1")
    owners.accepted("hr", "dingcorp1")
    now[0] = 200.0
    owners.accepted("hr", "dingcorp1")
    assert owners.as_json() == {
        "owners": [
            {"app": "default", "owner": "dingcorp1", "accepted": 0, "refused": 1, "last": 100.0},
            {"app": "hr", "owner": "dingcorp1", "accepted": 2, "refused": 0, "last": 200.0},
        ]
    }
    for number in range(KEPT - 1):
        owners.refused("default", f"owner{number}")
    assert len(owners.as_json()["owners"]) == KEPT
    assert owners.as_json()["owners"][0]["app"] == "hr", "the one that was seen the longest ago is gone"


def test_what_several_workers_have_seen_of_owners_adds_up():
    first = {"app": "default", "owner": "dingcorp1", "accepted": 1, "refused": 2, "last": 10.0}
    second = {"app": "default", "owner": "dingcorp1", "accepted": 3, "refused": 0, "last": 5.0}
    other = {"app": "hr", "owner": "dingcorp1", "accepted": 1, "refused": 0, "last": 7.0}
    total = {"app": "default", "owner": "dingcorp1", "accepted": 4, "refused": 2, "last": 10.0}
    assert joint([{"owners": [first]}, {"owners": [second, other]}]) == {"owners": [total, other]}
