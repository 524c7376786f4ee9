"""A set of offsets is a set."""

from hypothesis import given
from hypothesis import strategies as st

from dingbridge.replay.offset_set import OffsetSet

offsets = st.lists(st.integers(0, 2**40) | st.integers(0, 40_000))


@given(offsets, offsets)
def test_it_holds_what_was_added_and_nothing_else(added, others):
    found = OffsetSet()
    for offset in added:
        found.add(offset)
    for offset in [*added, *others]:
        assert (offset in found) == (offset in set(added))
