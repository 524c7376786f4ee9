"""The full sync of a company, in three steps: read it beside the tables, apply what was read, fetch by name
what the reading could not tell. ``full_sync.py`` is their order."""
