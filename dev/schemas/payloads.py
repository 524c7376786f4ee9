"""``dingbridge/generated/payloads.py``: the ``data`` of each EventType as a ``TypedDict``, for authors."""

from collections.abc import Iterable
from typing import Final

from datamodel_code_generator import InputFileType, PythonVersion, generate
from datamodel_code_generator.enums import DataModelType
from datamodel_code_generator.format import Formatter

from dev.schemas.json_schema import DIALECTS, data_schema
from dingbridge.events.catalogue import EventSpec

HEAD: Final = '''"""What ``data`` holds, by EventType. Made by ``python -m dev.schemas``; do not edit.

A key that is ``NotRequired`` is absent from some callbacks. Real callbacks may hold more than this, and less:
they are not checked. What each key means is in ``docs/reference/catalogue``.
"""'''


def text(specs: Iterable[EventSpec]) -> str:
    """The module's source, which datamodel-code-generator makes of our JSON Schemas."""
    schemas = [data_schema(spec) for spec in specs]
    made = generate(
        {"$schema": DIALECTS["draft-07"], "definitions": {schema["title"]: schema for schema in schemas}},
        input_file_type=InputFileType.JsonSchema,
        output_model_type=DataModelType.TypingTypedDict,
        target_python_version=PythonVersion.PY_311,
        custom_file_header=HEAD,
        disable_future_imports=True,
        formatters=[Formatter.BUILTIN],
        skip_root_model=True,
        use_schema_description=True,
        use_title_as_name=True,
    )
    return f"{made}\n"
