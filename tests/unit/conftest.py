"""Fixtures of all unit tests."""

from collections.abc import Iterator

import pytest

from tests.lives.sqlite import without_threads


@pytest.fixture(autouse=True, scope="session")
def _sqlite_in_the_loop() -> Iterator[None]:
    """Its threads would take a quarter of the time of the consumers' tests."""
    with pytest.MonkeyPatch.context() as patch:
        without_threads(patch)
        yield
