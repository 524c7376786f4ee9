"""Many cases of one check as one test: each test costs more to be collected, by each process, than such a
check takes."""

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
Check = Callable[[T], None]


def of_each(cases: Iterable[T], name: Callable[[T], str] = str) -> Callable[[Check[T]], Callable[[], None]]:
    """The check becomes a test that makes it for each of ``cases``, and names those that fail."""

    def test_of(check: Check[T]) -> Callable[[], None]:
        def test() -> None:
            faults, made = [], 0
            for case in cases:
                made += 1
                try:
                    check(case)
                except AssertionError as fault:
                    fault.add_note(f"of {name(case)}")
                    faults.append(fault)
            assert made, "there are no cases"
            if len(faults) == 1:
                raise faults[0]
            if faults:
                raise ExceptionGroup(f"of {made} cases {len(faults)} fail", faults)

        test.__name__, test.__qualname__ = check.__name__, check.__qualname__
        test.__module__, test.__doc__ = check.__module__, check.__doc__
        return test

    return test_of
