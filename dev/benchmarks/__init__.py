"""Figures, side by side in one run: ``make bench``. Never a test: no assertion depends on a time."""
