"""Mirrors in memory."""

from tests.lives.sqlite import sqlite_in_the_loop

__all__ = ["sqlite_in_the_loop"]
