"""The small pure parts of the ingress: whose address it was, and how many lines a flood may write."""

from types import SimpleNamespace

import pytest
from multidict import CIMultiDict

from ingress.limiter import LogLimiter
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
