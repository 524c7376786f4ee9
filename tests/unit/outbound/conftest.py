import pytest

from tests.lives.sqlite import without_threads


@pytest.fixture(autouse=True, scope="package")
def _sqlite_in_the_loop():
    """Its threads would take a quarter of the time of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        without_threads(patch)
        yield
