"""Ports for servers that are about to start."""

import random

import pytest

from dingbridge.simulator.kafka import ports


def test_workers_whose_tests_seed_random_alike_choose_different_ports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = random.getstate()
    chosen = []
    try:
        for _ in ("one worker", "another"):
            monkeypatch.setattr(ports, "_given", set())
            random.seed(7)
            chosen.append([ports.free_port() for _ in range(3)])
    finally:
        random.setstate(before)
    assert chosen[0] != chosen[1]
