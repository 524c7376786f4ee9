"""The full sync of a company, in three steps: read it into tables of its own, apply what was read, fetch by
id what was not read. ``full_sync.py`` runs them. People's details, which no listing has, follow in the
background (``details.py``)."""
