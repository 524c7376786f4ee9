"""The way out of the company: which hosts are called, and through which proxy."""
