"""Writes everything that is made of the catalogue: ``python -m dev.schemas``.

``schemas/json*``, ``schemas/outbound``, ``schemas/asyncapi.json``, ``docs/reference/catalogue`` and
``dingbridge/generated``. Run it after a change of the catalogue, ``dingbridge/schema`` or
``consumers/outbound/forms.py``; a test fails as long as that was forgotten. Examples of callbacks are made by
``dev.examples``, before it. ``python -m dev.schemas check`` compares the contract with a former one.
"""
