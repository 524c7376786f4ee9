"""Profiles of the simulator for tests that cannot have the whole of it, which is its default: as
``simulator_profile``, with a word on why."""

from typing import Final

AT_ONCE: Final = "reality,late=0"
"""No read is late: for a test that compares at one moment, or counts calls."""

ALL_TOLD: Final = "reality,refused=0"
"""Nobody is refused: for a test at whose end everybody must be right."""

KIND: Final = "kind"
"""Nothing that no page promises: for a test whose subject is one switch, or a page's words."""
