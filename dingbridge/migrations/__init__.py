"""How tables change: the bridge's own SQLite files by steps; consumers' tables by revisions, and what a
database lacks of the code."""
