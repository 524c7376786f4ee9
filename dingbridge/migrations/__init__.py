"""How tables change: the bridge's own SQLite files by steps, consumers' tables by revisions; and a check for
columns that a database lacks."""
