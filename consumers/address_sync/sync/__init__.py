"""The full sync of a company, in three steps: read it beside the tables, apply what was read, fetch by name
what the reading left open. ``full_sync.py`` is their order. What no listing tells of people follows in the
background (``details.py``)."""
