"""The console's own index of the topics: in SQLite, rebuilt whenever its file cannot be used."""
