"""The console's own index of what the topics hold: in SQLite, made anew whenever it is not understood."""
