"""Consumers' tables and their revisions: running them, and what a database lacks of the code."""
