"""The checks. Each module has a ``look``, which asks the world, and a ``judge``, which makes findings of what
was seen; only ``look`` does I/O."""
