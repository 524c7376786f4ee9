"""Decodes records into generated models, with their own libraries alone: run by the example's Python.

A line of stdin is EventType, class and record; a line of stdout its outcome. The argument is the folder
of the package ``models``.
"""

import sys
from importlib import import_module

sys.path.insert(0, sys.argv[1])

for line in sys.stdin:
    event_type, class_name, record = line.split("\t", 2)
    model = getattr(import_module(f"models.{event_type}"), class_name)
    try:
        found = model.model_validate_json(record, strict=True)
    except ValueError as error:
        print("refused", str(error).replace("\n", " "), sep="\t")
    else:
        print("kept", found.model_dump_json(by_alias=True, exclude_unset=True), sep="\t")
