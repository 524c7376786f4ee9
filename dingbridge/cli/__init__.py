"""The command line: ``main`` assembles the commands, each of which lives beside what it commands."""
