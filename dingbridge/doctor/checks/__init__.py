"""The checks. Each module has a ``look``, which does the I/O, and a ``judge``, which makes findings of what
was seen and does none."""
