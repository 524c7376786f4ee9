"""Parts of ``make bench-large`` about a large company: its sync, its past approvals, a day of its events."""
